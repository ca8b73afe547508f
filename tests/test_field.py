"""A field of planes and lines, its gradient, and what the two are differentiated by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import reference
import torch
from torch import Tensor

from splat.kernels.field import _value, by_torch, field, value

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIZES = [0, 1, 31, 32, 33, 1000]
"""Points: around a whole block, and many of them."""
SHAPES = [(3, 16, 16, 1.0), (4, 32, 48, 10.0), (10, 48, 128, 100.0), (37, 16, 64, 100.0)]
"""R, C, H and beta."""


def bound(dtype: torch.dtype) -> float:
    """Of the largest number of an array; single precision adds up some thousand products."""
    return 1e-10 if dtype == torch.float64 else 2e-5


@dataclass
class Case:
    """What the function reads: float64, but of values that a float32 holds."""

    points: Tensor
    learned: list[Tensor]
    """Planes, lines and the two layers."""
    beta: float
    v_values: Tensor
    v_gradients: Tensor

    def to(self, dtype: torch.dtype) -> Case:
        return replace(
            self,
            points=self.points.to(dtype),
            learned=[t.detach().to(dtype).requires_grad_() for t in self.learned],
            v_values=self.v_values.to(dtype),
            v_gradients=self.v_gradients.to(dtype),
        )

    def run(self, function: Callable[..., Any] = field) -> tuple[Tensor, Tensor]:
        f, g = function(self.points, *self.learned, self.beta)
        return f, g

    def passes(self, function: Callable[..., Any] = field) -> list[Tensor]:
        """Values, gradients, and the gradients by what is learned."""
        f, g = self.run(function)
        loss = (f * self.v_values).sum() + (g * self.v_gradients).sum()
        return [f.detach(), g.detach(), *torch.autograd.grad(loss, self.learned)]


def case(
    count: int, shape: tuple[int, int, int, float] = (10, 16, 64, 100.0), *, reach: float = 1.2
) -> Case:
    """Points up to `reach` from the middle along each axis: above 1, some of them lie outside."""
    side, channels, hidden, beta = shape
    draw = torch.Generator().manual_seed(count + side + hidden)

    def normal(*sizes: int, scale: float = 1) -> Tensor:
        return scale * torch.randn(*sizes, generator=draw)

    points = reach * (2 * torch.rand(count, 3, generator=draw) - 1)
    learned = [
        normal(3, side, side, channels, scale=0.3), normal(3, side, channels, scale=0.5),
        normal(3 * channels + 4, hidden, scale=0.2), normal(hidden + 1, scale=0.3),
    ]  # fmt: skip
    whole = Case(points, learned, beta, normal(count), normal(count, 3, scale=0.1))
    return whole.to(torch.float64)


def close(found: list[Tensor], expected: list[Tensor], within: float) -> None:
    for mine, other in zip(found, expected, strict=True):
        reference.close(mine, other, within)


@pytest.mark.parametrize("count", SIZES)
def test_equals_torch(count: int, dtype: torch.dtype) -> None:
    one = case(count)
    close(one.to(dtype).passes(), one.passes(by_torch), bound(dtype))


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torch_with_other_shapes(
    shape: tuple[int, int, int, float], dtype: torch.dtype
) -> None:
    one = case(200, shape)
    close(one.to(dtype).passes(), one.passes(by_torch), bound(dtype))


def test_by_torch_equals_itself_in_single_precision() -> None:
    one = case(300)
    close(one.to(torch.float32).passes(by_torch), one.passes(by_torch), 2e-5)


def test_points_between_and_at_the_ends_of_splines(dtype: torch.dtype) -> None:
    """R is 10: the pieces of the splines meet at multiples of 1/4, which floats hold exactly."""
    one = case(9**3)
    steps = torch.linspace(-1, 1, 9, dtype=torch.float64)
    one.points = torch.cartesian_prod(steps, steps, steps)
    close(one.to(dtype).passes(), one.passes(by_torch), bound(dtype))


def test_a_point_worked_by_hand(dtype: torch.dtype) -> None:
    """R is 4, so that s = u + 1; beta is so large that softplus is the larger of 0 and h.

    At (0.5, -0.25, 0) the weights are (1/8, 3/4, 1/8) of the second to fourth control point,
    (1/32, 11/16, 9/32) of the first to third, and (1/2, 1/2, 0) of the second to fourth.
    """
    planes, lines = torch.zeros(3, 4, 4, 16, dtype=dtype), torch.zeros(3, 4, 16, dtype=dtype)
    planes[0, 1, 2, 5] = 3.0  # y, z: 11/16 of 1/2
    lines[0, 3, 5] = 4.0  # x: 1/8, which grows by t = 1/2
    first, second = torch.zeros(52, 16, dtype=dtype), torch.zeros(17, dtype=dtype)
    first[5, 2], first[48 + 1, 2], first[51, 2] = 1.0, 2.0, 1.0
    second[2], second[16] = 10.0, 0.5
    f, g = field(torch.tensor([[0.5, -0.25, 0.0]], dtype=dtype), planes, lines, first, second, 1e4)
    P, L = 3 * 11 / 32, 4 / 8
    assert float(f) == pytest.approx(10 * (P * L + 2 * -0.25 + 1) + 0.5, rel=1e-6)
    # t is 1/2, 3/4 and 0: the weights grow by t, by 1 - 2 t and by 1 - 2 t.
    by_y, by_z = 3 * (1 - 2 * 0.75) / 2, 3 * (11 / 16)
    assert g[0].tolist() == pytest.approx(
        [10 * P * 4 * 0.5, 10 * (by_y * L + 2), 10 * by_z * L], rel=1e-6
    )


def test_the_gradient_equals_differences() -> None:
    one = case(300, (7, 16, 16, 5.0))
    _, g = one.run()
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-6
        above, below = (value(one.points + s, *one.learned, one.beta) for s in (step, -step))
        assert torch.allclose((above - below) / 2e-6, g[:, axis], rtol=0, atol=1e-8)


@pytest.mark.parametrize("function", [field, by_torch])
def test_gradients_equal_differences(function: Callable[..., Any]) -> None:
    """Along a random direction for each parameter, and of a few random sums of the results."""
    one = case(40, (5, 16, 16, 3.0))
    draw = torch.Generator().manual_seed(0)
    ways = [torch.randn(t.shape, generator=draw, dtype=torch.float64) for t in one.learned]
    shares = torch.randn(40, 2, generator=draw, dtype=torch.float64)
    amounts = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    def run(amounts: Tensor) -> Tensor:
        moved = [t.detach() + a * way for t, a, way in zip(one.learned, amounts, ways, strict=True)]
        f, g = function(one.points, *moved, one.beta)
        return torch.cat([f @ shares, (g.T @ shares).flatten()])

    assert torch.autograd.gradcheck(run, (amounts,), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("unused", ["values", "gradients"])
def test_a_result_without_a_gradient_counts_as_zero(unused: str, dtype: torch.dtype) -> None:
    one = case(65)
    if unused == "values":
        one.v_values = 0 * one.v_values
    else:
        one.v_gradients = 0 * one.v_gradients
    mine = one.to(dtype)
    f, g = mine.run()
    loss = (g * mine.v_gradients).sum() if unused == "values" else (f * mine.v_values).sum()
    close(list(torch.autograd.grad(loss, mine.learned)), one.passes(by_torch)[2:], bound(dtype))


def test_only_some_are_learned(dtype: torch.dtype) -> None:
    whole = case(100).to(dtype)
    expected = whole.passes()[2:]
    for wanted in range(4):
        one = case(100).to(dtype)
        for k, tensor in enumerate(one.learned):
            tensor.requires_grad_(k == wanted)
        f, g = one.run()
        ((f * one.v_values).sum() + (g * one.v_gradients).sum()).backward()
        assert [t.grad is not None for t in one.learned] == [k == wanted for k in range(4)]
        found = one.learned[wanted].grad
        assert found is not None and torch.equal(found, expected[wanted])


def test_bytes_do_not_depend_on_threads(
    dtype: torch.dtype, alike_by_threads: Callable[..., None]
) -> None:
    one = case(3000, (40, 16, 32, 100.0)).to(dtype)
    alike_by_threads(lambda: [*one.passes(), value(one.points, *one.learned, one.beta)])


def test_two_passes_wait_for_their_backward(dtype: torch.dtype) -> None:
    one, other = case(80).to(dtype), case(64).to(dtype)
    runs = [one.run(), other.run()]
    loss = sum((g * c.v_gradients).sum() for (_, g), c in zip(runs, (one, other), strict=True))
    found = torch.autograd.grad(loss, [*one.learned, *other.learned])
    one.v_values, other.v_values = 0 * one.v_values, 0 * other.v_values
    alone = [*one.passes()[2:], *other.passes()[2:]]
    assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_the_value_alone(dtype: torch.dtype) -> None:
    one = case(100).to(dtype)
    alone = value(one.points, *one.learned, one.beta)
    assert not alone.requires_grad
    close([alone], [case(100).run(by_torch)[0].detach()], bound(dtype))


def test_the_value_alone_by_torch() -> None:
    """As on other devices; no points at all give no values."""
    for count in (0, 100):
        one = case(count)
        alone = _value(one.points, *one.learned, one.beta)
        close([alone.detach()], [value(one.points, *one.learned, one.beta)], 1e-12)


def test_points_that_are_no_numbers_spoil_only_themselves(dtype: torch.dtype) -> None:
    one = case(50).to(dtype)
    expected = one.run()
    broken = [(7, 0, float("nan")), (20, 1, float("inf")), (49, 2, -1e30)]
    for row, axis, number in broken:
        one.points[row, axis] = number
    found, alone = one.run(), value(one.points, *one.learned, one.beta)
    kept = torch.ones(50, dtype=torch.bool)
    kept[[row for row, _, _ in broken]] = False
    assert all(torch.equal(a[kept], b[kept]) for a, b in zip(found, expected, strict=True))
    assert torch.isfinite(alone[kept]).all() and alone[7].isnan() and found[0][7].isnan()
    (found[0][kept].sum() + found[1][kept].sum()).backward()


def test_outside_the_value_goes_on_as_at_the_border(dtype: torch.dtype) -> None:
    """But for the coordinates that the network itself reads, which are left out here."""
    one = case(60).to(dtype)
    with torch.no_grad():
        one.learned[2][48:51] = 0
    f, g = one.run()
    inside, at_border = replace(one, points=one.points.clamp(-1, 1)).run()
    assert torch.equal(f, inside)
    beyond = one.points.abs() > 1
    assert beyond.sum() > 10
    assert not g[beyond].any() and torch.equal(g[~beyond], at_border[~beyond])


@pytest.mark.parametrize(
    ("place", "tensor", "message"),
    [
        (0, torch.zeros(5, 2), r"points are \(5, 2\); expected \(n, 3\)"),
        (0, torch.zeros(5, 3, dtype=torch.float64), "planes is torch.float32 on cpu, points is"),
        (1, torch.zeros(3, 2, 2, 16), r"planes are .* with R of 3 or more"),
        (1, torch.zeros(3, 5, 5, 20), "planes have 20 channels; expected 16, 32 or 48"),
        (1, torch.zeros(3, 5, 6, 16), r"planes has shape \(3, 5, 6, 16\), expected"),
        (2, torch.zeros(3, 6, 16), r"lines has shape \(3, 6, 16\), expected \(3, 5, 16\)"),
        (3, torch.zeros(51, 32), r"the first layer has shape \(51, 32\), expected \(52, 32\)"),
        (3, torch.zeros(52, 40), "40 hidden units; expected a multiple of 16 up to 128"),
        (4, torch.zeros(32), r"the second layer has shape \(32,\), expected \(33,\)"),
        (5, 0.0, "beta is 0.0; expected a number above 0"),
        (5, float("nan"), "beta is nan"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(place: int, tensor: Any, message: str) -> None:
    given: list[Any] = [
        torch.zeros(5, 3), torch.zeros(3, 5, 5, 16), torch.zeros(3, 5, 16), torch.zeros(52, 32),
        torch.zeros(33), 100.0,
    ]  # fmt: skip
    given[place] = tensor
    for function in (field, value):
        with pytest.raises(ValueError, match=message):
            function(*given)
