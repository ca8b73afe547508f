"""Anchors decoded into Gaussians, against torch in float64, on every instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from reference import close
from torch import Tensor

from splat import kernels
from splat.kernels import frustum
from splat.kernels.decode import Decoded, Heads, by_torch, decode

COLUMNS = ("means", "quats", "scales", "opacities", "colors")
SIZES = [0, 1, 63, 64, 65, 1000]
"""Anchors asked for: around a whole work item, and many of them."""
WIDTHS = [(32, 10, 32), (1, 1, 16), (50, 5, 32), (64, 16, 64), (6, 10, 16)]
"""F, k and H."""


def bound(dtype: torch.dtype) -> float:
    """Of the largest number of a column; single precision adds up a hundred products."""
    return 1e-12 if dtype == torch.float64 else 6e-6


@dataclass
class Case:
    """What decoding reads: float64, but of values that a float32 holds."""

    positions: Tensor
    learned: list[Tensor]
    """features, reach, offsets, the six weights, and masks if there are any."""
    rows: Tensor
    centre: Tensor
    distance: bool = False

    def to(self, dtype: torch.dtype) -> Case:
        return replace(
            self,
            positions=self.positions.to(dtype),
            learned=[t.detach().to(dtype).requires_grad_() for t in self.learned],
            centre=self.centre.to(dtype),
        )

    def run(self, function: Callable[..., Decoded] = decode) -> Decoded:
        features, reach, offsets, *w = self.learned
        heads = Heads((w[0], w[1]), (w[2], w[3]), (w[4], w[5]))
        return function(
            self.positions, features, reach, offsets, heads, self.rows, self.centre,
            distance=self.distance, masks=w[6] if len(w) > 6 else None,
        )  # fmt: skip


def case(
    count: int, widths: tuple[int, int, int] = (32, 10, 32), *, masks: bool = False, **rest: Any
) -> Case:
    """`count` of half as many more anchors; about half of the slots make a Gaussian."""
    features, slots, hidden = widths
    draw = torch.Generator().manual_seed(count + features)
    n = count + count // 2

    def normal(*shape: int, scale: float = 1) -> Tensor:
        return scale * torch.randn(*shape, generator=draw)

    learned = [normal(n, features), normal(n, 6, scale=0.3), normal(n, slots, 3)]
    for outputs in (slots, 3 * slots, 7 * slots):
        learned += [
            normal(features + 5, hidden, scale=0.2), normal(hidden + 1, outputs, scale=0.3)
        ]  # fmt: skip
    if masks:
        factors = torch.rand(n, slots, generator=draw)
        learned.append(factors * (torch.rand(n, slots, generator=draw) > 0.3))
    rows = torch.randperm(n, generator=draw)[:count].sort().values
    whole = Case(normal(n, 3), learned, rows, normal(3), **rest)
    return whole.to(torch.float64)


def weighted(made: Decoded, *names: str) -> Tensor:
    """A loss that asks something of every number in some columns, all by default."""
    total = made.means.new_zeros(())
    for name in names or COLUMNS:
        column = getattr(made, name)
        draw = torch.Generator().manual_seed(len(name))
        total = total + (column * torch.randn(column.shape, generator=draw).to(column)).sum()
    return total


def same(found: Case, expected: Case, within: float, *names: str) -> None:
    """One forward and one backward pass each."""
    made, truth = found.run(), expected.run(by_torch)
    assert torch.equal(made.source, truth.source)
    for name in COLUMNS:
        close(getattr(made, name), getattr(truth, name), within)
    if len(truth.source):
        weighted(made, *names).backward()
        weighted(truth, *names).backward()
        for mine, other in zip(found.learned, expected.learned, strict=True):
            assert mine.grad is not None
            close(mine.grad, torch.zeros_like(other) if other.grad is None else other.grad, within)


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("masks", [False, True])
def test_equals_torch(count: int, masks: bool, dtype: torch.dtype) -> None:
    one = case(count, masks=masks, distance=masks)
    same(one.to(dtype), one, bound(dtype))


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("distance", [False, True])
def test_equals_torch_with_other_widths(
    widths: tuple[int, int, int], distance: bool, dtype: torch.dtype
) -> None:
    one = case(130, widths, masks=distance, distance=distance)
    same(one.to(dtype), one, bound(dtype))


@pytest.mark.parametrize("used", COLUMNS)
def test_a_column_without_a_gradient_counts_as_zero(used: str, dtype: torch.dtype) -> None:
    one = case(65, masks=True)
    same(one.to(dtype), one, bound(dtype), used)


def test_rows_in_any_order(dtype: torch.dtype) -> None:
    one = case(200)
    shuffled = replace(one, rows=one.rows[torch.randperm(200, generator=torch.Generator())])
    same(shuffled.to(dtype), shuffled, bound(dtype))


def test_opacities_near_zero_keep_their_digits(dtype: torch.dtype) -> None:
    """1 - 2 / (e^2y + 1) would lose them: the weights are such that tanh is all there is."""
    y = torch.tensor([1e-6, -1e-6, 1e-3, 0.1, 0.6249, 0.6251, 1, 3, 8, 20], dtype=dtype)
    one = case(1).to(dtype)
    with torch.no_grad():
        one.learned[4].zero_()[-1] = y
    made = one.run()
    kept = y[y > 0]
    assert (made.source % 10).tolist() == [0, *range(2, 10)]
    worst = (made.opacities.detach().double() / kept.double().tanh() - 1).abs().max()
    assert worst < (1e-14 if dtype == torch.float64 else 5e-7)


def test_gradients_equal_differences() -> None:
    """In float64; far enough from the kinks that no difference of 1e-6 crosses one."""
    one = case(2, (3, 2, 16), masks=True, distance=True)
    with torch.no_grad():
        one.learned[9].add_(0.1)

    def run(*learned: Tensor) -> tuple[Tensor, ...]:
        made = replace(one, learned=list(learned)).run()
        return tuple(getattr(made, name) for name in COLUMNS)

    assert len(one.run().source) > 1
    assert torch.autograd.gradcheck(run, tuple(one.learned))


@pytest.mark.usefixtures("threads")
def test_bytes_do_not_depend_on_threads(
    dtype: torch.dtype, alike_by_threads: Callable[..., None]
) -> None:
    def run() -> list[Tensor | None]:
        one = case(1500, masks=True).to(dtype)
        made = one.run()
        weighted(made).backward()
        return [*(getattr(made, name) for name in COLUMNS), *(t.grad for t in one.learned)]

    alike_by_threads(run)


def test_what_is_not_decoded_gets_exactly_zero(dtype: torch.dtype) -> None:
    one = case(100, masks=True).to(dtype)
    made = one.run()
    weighted(made).backward()
    others = torch.ones(150, dtype=torch.bool)
    others[one.rows] = False
    features, reach, offsets, masks = (t.grad for t in (*one.learned[:3], one.learned[9]))
    assert all(not t[others].any() and t[~others].any() for t in (features, reach, offsets, masks))
    slots = torch.ones(1500, dtype=torch.bool)
    slots[made.source] = False
    assert not offsets.view(1500, 3)[slots].any()
    assert not masks.view(1500)[slots].any()


def test_source_names_anchor_and_slot(dtype: torch.dtype) -> None:
    """A gradient of the Gaussian of slot 7 of anchor 3 alone moves that offset alone."""
    one = case(20).to(dtype)
    with torch.no_grad():
        one.learned[4][-1] += 2  # most slots make a Gaussian
    one.rows = torch.tensor([9, 3, 5])
    made = one.run()
    (place,) = (made.source == 3 * 10 + 7).nonzero().tolist()[0]
    expected = one.positions[3] + one.learned[2][3, 7] * one.learned[1][3, :3].exp()
    close(made.means[place], expected.double(), bound(dtype))
    made.means[place].sum().backward()
    assert one.learned[2].grad is not None
    assert one.learned[2].grad.any(2).nonzero().tolist() == [[3, 7]]


def test_turns_have_length_one_and_none_stays_none(dtype: torch.dtype) -> None:
    one = case(64).to(dtype)
    close(one.run().quats.norm(dim=1), torch.ones(len(one.run().source)).double(), 1e-6)
    with torch.no_grad():
        one.learned[8].zero_()
    made = one.run()
    made.quats.sum().backward()
    assert not made.quats.any()
    assert one.learned[0].grad is not None and torch.isfinite(one.learned[0].grad).all()


def test_an_anchor_where_the_camera_is(dtype: torch.dtype) -> None:
    one = case(10, distance=True)
    one.centre = one.positions[one.rows[4]].clone()
    same(one.to(dtype), one, bound(dtype))


def test_without_gradients_nothing_is_kept(dtype: torch.dtype) -> None:
    one = case(65).to(dtype)
    with torch.no_grad():
        alone = one.run()
    made = one.run()
    assert alone.means.grad_fn is None and made.means.grad_fn is not None
    assert all(torch.equal(getattr(alone, name), getattr(made, name)) for name in COLUMNS)


def test_two_passes_wait_for_their_backward(dtype: torch.dtype) -> None:
    """As with two cameras and one loss."""
    one, other = case(80).to(dtype), case(64).to(dtype)
    first, second = one.run(), other.run()
    (weighted(first) + weighted(second)).backward()
    for each in (one, other):
        alone = each.to(dtype)
        weighted(alone.run()).backward()
        assert all(
            torch.equal(a.grad, b.grad) for a, b in zip(alone.learned, each.learned, strict=True)
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": torch.tensor([0, 15])}, "rows go from 0 to 15; expected 0 to 14"),
        ({"rows": torch.tensor([-1, 3])}, "rows go from -1 to 3"),
        ({"rows": torch.tensor([3, 1, 3])}, "rows name an anchor twice"),
        ({"rows": torch.tensor([0, 1], dtype=torch.int32)}, "rows are torch.int32"),
        ({"centre": torch.zeros(4, dtype=torch.float64)}, r"centre has shape \(4,\)"),
        ({"positions": torch.zeros(15, 3)}, "features is torch.float64 on cpu, positions is"),
        ({0: torch.zeros(15, 65).double()}, "F from 1 to 64"),
        ({0: torch.zeros(14, 32).double()}, r"features has shape \(14, 32\), expected \(15, 32\)"),
        ({1: torch.zeros(15, 5).double()}, "reach has shape"),
        ({2: torch.zeros(15, 17, 3).double()}, "k from 1 to 16"),
        ({3: torch.zeros(37, 20).double()}, "20 hidden units; expected 16, 32, 48 or 64"),
        ({5: torch.zeros(36, 32).double()}, "the first layer of color has shape"),
        ({8: torch.zeros(33, 60).double()}, "the second layer of covariance has shape"),
        ({9: torch.zeros(15, 9).double()}, "masks has shape"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change: dict[Any, Any], message: str) -> None:
    one = case(10, masks=True)
    for name, value in change.items():
        if isinstance(name, int):
            one.learned[name] = value
        else:
            setattr(one, name, value)
    with pytest.raises(ValueError, match=message):
        one.run()


def seen_by_torch(positions: Tensor, reach: Tensor, pose: Tensor, K: Tensor) -> list[int]:
    """One anchor after the other, in Python's own numbers, of a picture of 60 x 40 pixels."""
    found = []
    for row in range(len(positions)):
        x, y, z = (pose[:3, :3] @ positions[row] + pose[:3, 3]).tolist()
        if z <= 0.1:
            continue
        pad = 3 * math.exp(reach[row, :3].max()) * max(K[0, 0], K[1, 1]) / z
        u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
        if -pad <= u <= 60 + pad and -pad <= v <= 40 + pad:
            found.append(row)
    return found


@pytest.mark.parametrize("count", [0, 1, 63, 65, 5000])
def test_in_frustum(count: int, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(count)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64)).Q
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = turn, torch.tensor([0.1, -0.2, 1.0])
    K = torch.tensor([[50.0, 0, 31], [0, 45, 19], [0, 0, 1]], dtype=torch.float64)
    positions = 3 * torch.randn(count, 3, generator=draw).double()
    reach = torch.randn(count, 6, generator=draw).double() - 3
    expected = seen_by_torch(positions, reach, pose, K)
    found = kernels.in_frustum(positions.to(dtype), reach.to(dtype), pose, K, 60, 40, 0.1)
    assert found.dtype == torch.int64 and found.tolist() == expected
    elsewhere = frustum._in_frustum_by_torch(positions, reach, pose, K, 60, 40, 0.1)
    assert elsewhere.tolist() == expected
    if count == 5000:
        assert 500 < len(expected) < 3000


def test_at_the_border_of_the_frustum(dtype: torch.dtype) -> None:
    """fx is 8, the depth 2 and the reach 1: the picture is 12 pixels wider on each side."""
    K = torch.tensor([[8.0, 0, 32], [0, 4, 16], [0, 0, 1]])
    points = [
        (-10.99, 0, 2), (-11.01, 0, 2), (10.99, 0, 2), (11.01, 0, 2), (0, 13.99, 2), (0, 14.01, 2),
        (0, -13.99, 2), (0, -14.01, 2), (0, 0, 0.25), (0, 0, 0.26), (0, 0, -2), (0, 0, 0),
    ]  # fmt: skip
    positions = torch.tensor(points, dtype=dtype)
    reach = torch.tensor([-1.0, 0, -2, 9, 9, 9], dtype=dtype).expand(len(points), 6)
    found = kernels.in_frustum(positions, reach, torch.eye(4), K, 64, 32, 0.25)
    assert found.tolist() == [0, 2, 4, 6, 9]


def test_a_frustum_that_does_not_fit_is_refused() -> None:
    K, pose = torch.eye(3), torch.eye(4)
    with pytest.raises(ValueError, match="reach has shape"):
        kernels.in_frustum(torch.zeros(4, 3), torch.zeros(4, 5), pose, K, 8, 8, 0.1)
    with pytest.raises(ValueError, match="near is -1; expected 0 or more"):
        kernels.in_frustum(torch.zeros(4, 3), torch.zeros(4, 6), pose, K, 8, 8, -1.0)
