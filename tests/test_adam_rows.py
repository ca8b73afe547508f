"""What a step of Adam may leave out or round: rows out of sight, columns, bands, moments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference import sh_basis
from torch import Tensor

from splat import kernels
from splat.kernels import HarmonicsGradient

BF16 = torch.bfloat16
State = tuple[Tensor, Tensor, Tensor]
"""Values and the two moments."""
SHAPES = [(1,), (15, 4), (16, 3), (33, 16, 3), (300,), (523, 3), (300, 4, 3), (37, 4, 7), (3, 100)]
"""Whole groups of any instruction set, parts of one, and more than one work item."""
MASKS = ["none", "all", "first", "mixed", "groups"]


def start(shape: tuple[int, ...], dtype: torch.dtype, moments: torch.dtype | None = None) -> State:
    draw = torch.Generator().manual_seed(sum(shape))
    values, first, second = (
        torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(3)
    )
    return (
        values.to(dtype),
        first.to(dtype).to(moments or dtype),
        (second**2 + 0.1).to(dtype).to(moments or dtype),
    )


def gradient_of(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    draw = torch.Generator().manual_seed(77)
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)


def stepped(state: State, gradient: Tensor | HarmonicsGradient, **changed: Any) -> State:
    """A copy of the state after one step."""
    values, first, second = (t.clone() for t in state)
    given: dict[str, Any] = {"rate": 0.1, "tail": 0.05, "count": 7} | changed
    kernels.adam(values, gradient, first, second, **given)
    return values, first, second


def mask_of(name: str, n: int) -> Tensor:
    """Rows in sight. Groups of 16 that are all seen, none seen, and mixed."""
    draw = torch.Generator().manual_seed(n)
    mixed = torch.rand(n, generator=draw) < 0.4
    row = torch.arange(n)
    groups = torch.where(row // 16 % 3 == 2, mixed, row // 16 % 3 == 0)
    return {
        "none": row < 0, "all": row >= 0, "first": row == 0, "mixed": mixed, "groups": groups,
    }[name]  # fmt: skip


def same(found: State, expected: State, where: Any = ...) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and torch.equal(one[where], other[where])


@pytest.mark.parametrize("moments", [None, BF16])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_out_of_sight_stay_and_those_in_sight_move_as_ever(
    shape: tuple[int, ...], mask: str, moments: torch.dtype | None, dtype: torch.dtype
) -> None:
    before, gradient = start(shape, dtype, moments), gradient_of(shape, dtype)
    visible = mask_of(mask, shape[0])
    dense = stepped(before, gradient)
    found = stepped(before, gradient, visible=visible)
    same(found, dense, visible)
    same(found, before, ~visible)
    moved = (dense[0] != before[0]).reshape(len(visible), -1).any(1)
    assert moved.all(), "all rows are to move where none is left out"


@pytest.mark.parametrize("moments", [None, BF16])
@pytest.mark.parametrize("mask", ["all", "groups"])
@pytest.mark.parametrize("shape", [(1, 4, 3), (19, 16, 3), (300, 4, 3), (37, 4, 7), (33, 1, 3)])
def test_head_and_tail_make_up_the_whole(
    shape: tuple[int, ...], mask: str, moments: torch.dtype | None, dtype: torch.dtype
) -> None:
    before, gradient = start(shape, dtype, moments), gradient_of(shape, dtype)
    visible = mask_of(mask, shape[0])
    whole = stepped(before, gradient, visible=visible)
    head = stepped(before, gradient, visible=visible, part="head")
    tail = stepped(before, gradient, visible=visible, part="tail")
    one, others = (slice(None), slice(0, 1)), (slice(None), slice(1, None))
    same(head, before, others)
    same(head, whole, one)
    same(tail, before, one)
    same(tail, whole, others)
    same(stepped(head, gradient, visible=visible, part="tail"), whole)


@pytest.mark.parametrize("shape", [(21,), (21, 3)])
def test_columns_of_two_axes_are_all_head(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    before, gradient = start(shape, dtype), gradient_of(shape, dtype)
    same(stepped(before, gradient, part="head"), stepped(before, gradient))
    same(stepped(before, gradient, part="tail"), before)


def factors_of(n: int, dtype: torch.dtype, degree: int) -> HarmonicsGradient:
    """Of which every fifth row is out of sight."""
    draw = torch.Generator().manual_seed(n)
    color = torch.randn(n, 3, generator=draw, dtype=torch.float64)
    direction = torch.randn(n, 3, generator=draw, dtype=torch.float64)
    factors = torch.cat([color, torch.nn.functional.normalize(direction)], 1)
    factors[::5] = 0
    return HarmonicsGradient(factors.to(dtype), degree)


def written_out(given: HarmonicsGradient, coefficients: int) -> Tensor:
    """By the reference, in float64."""
    color, direction = given.factors.double().split(3, 1)
    dense = color.new_zeros(len(color), coefficients, 3)
    basis = sh_basis(given.degree, direction)
    dense[:, : basis.shape[1]] = basis[:, :, None] * color[:, None]
    return dense


@pytest.mark.parametrize("part", ["all", "head", "tail"])
@pytest.mark.parametrize(
    ("degree", "coefficients"), [(0, 1), (0, 4), (1, 4), (1, 9), (2, 9), (2, 16), (3, 16)]
)
def test_factors_step_as_the_gradient_written_out(
    degree: int, coefficients: int, part: str, dtype: torch.dtype
) -> None:
    drawn = (degree + 1) ** 2
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    for n in (1, 16, 37, 300):
        before = start((n, coefficients, 3), dtype)
        given = factors_of(n, dtype, degree)
        truth = tuple(t.double() for t in before)
        expected = stepped(truth, written_out(given, coefficients), part=part)
        found = stepped(before, given, part=part)
        bands = (slice(None), slice(0, drawn))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.double()[bands], other[bands], rtol=bound, atol=bound)
        # Bands beyond have had no gradient: even moments that they could not have do not move.
        same(found, before, (slice(None), slice(drawn, None)))
        visible = mask_of("groups", n)
        some = stepped(before, given, part=part, visible=visible)
        same(some, found, visible)
        same(some, before, ~visible)


def test_factors_step_bfloat16_moments_alike() -> None:
    before = start((300, 16, 3), torch.float32, BF16)
    given = factors_of(300, torch.float32, 3)
    found, expected = stepped(before, given), stepped(before, given.dense(16))
    # A rounding of the gradient may tip a moment over to its neighbour; it seldom does.
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert (one != other).float().mean() < 1e-3
        torch.testing.assert_close(one, other, rtol=1 / 128, atol=0)


def test_columns_beyond_48_take_factors_written_out(dtype: torch.dtype) -> None:
    before, given = start((9, 25, 3), dtype), factors_of(9, dtype, 3)
    same(stepped(before, given), stepped(before, given.dense(25)))


G = 0.37
HALFWAY = 0.5 * G**2


def test_rounding_to_the_nearest_would_stall() -> None:
    """What the random rounding is for: a thousandth of a number is below bfloat16's last bit."""
    second = torch.tensor(HALFWAY, dtype=BF16)
    for _ in range(1000):
        second = (second.float() + 1e-3 * (G**2 - second.float())).to(BF16)
    assert second == torch.tensor(HALFWAY, dtype=BF16)


def test_bfloat16_moments_converge_to_a_constant_gradient(dtype: torch.dtype) -> None:
    values = torch.zeros(37, 3, dtype=dtype)
    first = torch.zeros(37, 3, dtype=BF16)
    second = torch.full((37, 3), HALFWAY, dtype=BF16)
    gradient = torch.full_like(values, G)
    for count in range(1, 5001):
        kernels.adam(values, gradient, first, second, rate=0.0, count=count)
    # Half a percent of what there was to go is left; the rounding is worth about its last bit.
    assert float(second.double().mean()) == pytest.approx(G**2, rel=0.008)
    assert (second.double() / G**2 - 1).abs().max() < 0.04
    assert (first.double() / G - 1).abs().max() < 0.02


def test_roundings_have_the_right_mean_and_are_the_two_neighbours(dtype: torch.dtype) -> None:
    n, old, g = 40_000, 0.75, -1.3
    values, first, second = (torch.full((n,), old, dtype=t) for t in (dtype, BF16, BF16))
    kernels.adam(values, torch.full_like(values, g), first, second, rate=0.1, count=3)
    for moment, exact in ((first, old + 0.1 * (g - old)), (second, old + 0.001 * (g**2 - old))):
        found = moment.double()
        below, above = found.unique().tolist()
        gap = above - below
        assert below < exact < above and gap <= abs(exact) / 128
        share = (exact - below) / gap
        noise = gap * (share * (1 - share) / n) ** 0.5
        assert abs(float(found.mean()) - exact) < 4.5 * noise + 1e-4 * gap
    assert len(values.unique()) == 1, "the step itself is not rounded"


def test_bfloat16_depends_on_count_and_place_alone(dtype: torch.dtype, threads: None) -> None:
    shape = (1801, 4, 3)
    before, gradient = start(shape, dtype, BF16), gradient_of(shape, dtype)
    kernels.set_threads(1)
    one = stepped(before, gradient)
    kernels.set_threads(3)
    same(stepped(before, gradient), one)
    fewer = tuple(t[:1001] for t in before)
    same(stepped(fewer, gradient[:1001]), tuple(t[:1001] for t in one))
    betas = (0.9, 0.999)
    other = stepped(before, gradient, betas=betas, count=8)
    for moment in (1, 2):
        assert (other[moment] != one[moment]).any(), "another step rounds otherwise"


def test_rows_that_have_no_moment_get_none(dtype: torch.dtype) -> None:
    """Zero is a bfloat16, and a value that is one is never rounded away from itself."""
    values = torch.zeros(50, 3, dtype=dtype)
    first, second = torch.zeros(50, 3, dtype=BF16), torch.zeros(50, 3, dtype=BF16)
    for count in range(1, 20):
        kernels.adam(values, torch.zeros_like(values), first, second, rate=0.1, count=count)
    assert not values.any() and not first.any() and not second.any()


def test_what_does_not_fit_is_refused() -> None:
    values, first, second = start((6, 4, 3), torch.float32)
    gradient = gradient_of((6, 4, 3), torch.float32)

    def refused(words: str, **changed: Any) -> None:
        given = {"gradient": gradient, "first": first, "second": second} | changed
        before = values.clone()
        with pytest.raises(ValueError, match=words):
            kernels.adam(values, rate=0.1, count=1, **given)
        assert torch.equal(values, before)

    refused("visible has shape", visible=torch.ones(5, dtype=torch.bool))
    refused("visible is torch.float32", visible=torch.ones(6))
    refused("factors has shape", gradient=HarmonicsGradient(torch.zeros(5, 6), 1))
    refused("factors is torch.float64", gradient=HarmonicsGradient(torch.zeros(6, 6).double(), 1))
    refused("first is torch.float16", first=first.half(), second=second.half())
    refused("second is torch.bfloat16", second=second.to(BF16))
    refused("first is torch.bfloat16", first=first.to(BF16))


@pytest.mark.gpu
@pytest.mark.parametrize("moments", [None, BF16])
@pytest.mark.parametrize("part", ["all", "head", "tail"])
@pytest.mark.parametrize("shape", [(1, 4, 3), (523, 3), (300, 16, 3), (37, 4, 7)])
def test_cuda_equals_the_cpu(
    shape: tuple[int, ...], part: str, moments: torch.dtype | None, cuda_kernels: None
) -> None:
    before, gradient = start(shape, torch.float32, moments), gradient_of(shape, torch.float32)
    visible = mask_of("groups", shape[0])
    expected = stepped(before, gradient, part=part, visible=visible)
    there = tuple(t.cuda() for t in before)
    found = stepped(there, gradient.cuda(), part=part, visible=visible.cuda())
    found = tuple(t.cpu() for t in found)
    same(found, before, ~visible)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-6)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == other.dtype
        if moments is None:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        else:  # both draw the same bits, but may round the number before otherwise
            assert (one != other).float().mean() < 1e-2
            torch.testing.assert_close(one, other, rtol=1 / 128, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_cuda_takes_factors(degree: int, cuda_kernels: None) -> None:
    before, given = start((37, 16, 3), torch.float32), factors_of(37, torch.float32, degree)
    # Bands beyond have no moments in a run, and CUDA's step is then 0.
    for moment in before[1:]:
        moment[:, (degree + 1) ** 2 :] = 0
    expected = stepped(before, given)
    there = HarmonicsGradient(given.factors.cuda(), degree)
    found = stepped(tuple(t.cuda() for t in before), there)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-6)
