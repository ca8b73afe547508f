"""A field over space and time: what it says of points, and what that is differentiated by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from splat.kernels.hexplane import by_torch, hexplane, instants_read

pytestmark = pytest.mark.usefixtures("one_torch_thread")

Shape = tuple[tuple[int, ...], int, int, int, tuple[int, ...]]
SIZES = [0, 1, 31, 32, 33, 700]
"""Points: around a whole block, and many of them."""
SHAPES: list[Shape] = [
    ((2,), 1, 16, 16, (3,)),
    ((5, 9), 4, 32, 48, (3, 3, 4)),
    ((4, 8, 16, 32), 7, 48, 64, (3, 3, 4, 1)),
    ((12,), 3, 16, 32, (1, 7)),
]
"""Sides by scale, instants, channels, width and outputs by head."""


@dataclass
class Case:
    points: Tensor
    time: float
    learned: list[Tensor]
    """Planes of space, planes of time, the three layers."""
    outputs: tuple[int, ...]
    v_out: Tensor

    def to(self, dtype: torch.dtype) -> Case:
        return replace(
            self,
            points=self.points.to(dtype),
            learned=[t.detach().to(dtype).requires_grad_() for t in self.learned],
            v_out=self.v_out.to(dtype),
        )

    def passes(self, function: Callable[..., Tensor] = hexplane) -> list[Tensor]:
        """The outputs, and the gradients by what is learned."""
        *planes, trunk, hidden, last = self.learned
        half = len(planes) // 2
        out = function(
            self.points, self.time, planes[:half], planes[half:], trunk, hidden, last, self.outputs
        )
        return [out.detach(), *torch.autograd.grad((out * self.v_out).sum(), self.learned)]


def case(count: int, shape: Shape = SHAPES[1], *, time: float = 0.3, reach: float = 1.2) -> Case:
    """Points up to `reach` from the middle along each axis: above 1, some of them lie outside."""
    sides, instants, channels, width, outputs = shape
    draw = torch.Generator().manual_seed(count + sum(sides) + width)

    def normal(*sizes: int, scale: float = 1.0, about: float = 0.0) -> Tensor:
        return about + scale * torch.randn(*sizes, generator=draw)

    points = reach * (2 * torch.rand(count, 3, generator=draw) - 1)
    learned = [
        *(normal(3, side, side, channels, scale=0.3, about=0.8) for side in sides),
        *(normal(3, instants, side, channels, scale=0.3, about=0.8) for side in sides),
        normal(len(sides) * channels + 1, width, scale=0.3),
        normal(width + 1, len(outputs) * width, scale=0.3),
        normal(width + 1, sum(outputs), scale=0.3),
    ]
    whole = Case(points, time, learned, outputs, normal(count, sum(outputs)))
    return whole.to(torch.float64)


def close(one: Case, dtype: torch.dtype) -> None:
    """Against torch in float64. In single precision a unit may be on the other side of 0, which
    changes a few gradients by much and the outputs by nothing."""
    found, expected = one.to(dtype).passes(), one.passes(by_torch)
    single = dtype == torch.float32
    for i, (mine, other) in enumerate(zip(found, expected, strict=True)):
        assert mine.shape == other.shape
        away = mine.double() - other
        largest = float(other.abs().max()) if other.numel() else 0.0
        if single and i:
            assert float(away.norm()) <= 1e-3 * float(other.norm())
        elif other.numel():
            assert float(away.abs().max()) <= (2e-5 if single else 1e-11) * largest


@pytest.mark.parametrize("count", SIZES)
def test_equals_torch(count: int, dtype: torch.dtype) -> None:
    close(case(count), dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_torch_with_other_shapes(shape: Shape, dtype: torch.dtype) -> None:
    for time in (-1.0, 0.25, 1.0, 3.0):
        close(case(200, shape, time=time), dtype)


def test_gradients_are_what_finite_differences_say() -> None:
    *_, trunk, hidden, last = (one := case(9, ((3, 5), 3, 16, 16, (2, 1)))).learned
    planes = one.learned[:4]

    def function(*learned: Tensor) -> Tensor:
        return hexplane(one.points, 0.3, learned[:2], learned[2:4], *learned[4:], one.outputs)

    given = tuple(t.detach().requires_grad_() for t in (*planes, trunk, hidden, last))
    assert torch.autograd.gradcheck(function, given, eps=1e-6, atol=1e-7, fast_mode=True)


def test_any_number_of_threads_gives_the_same_bytes(alike_by_threads: Callable[..., None]) -> None:
    alike_by_threads(case(900).to(torch.float32).passes)


def test_a_point_worked_by_hand(dtype: torch.dtype) -> None:
    """One scale of 3 by 3 cells of side 1: at (0.5, -0.25, 0) the weights of the two values that
    are read are (1/2, 1/2) of the second and third, (1/4, 3/4) of the first two, and (1, 0) of the
    second and third. Time 0.5 lies half-way between the second and third of three instants."""
    space, times = torch.ones(3, 3, 3, 16, dtype=dtype), torch.ones(3, 3, 3, 16, dtype=dtype)
    space[0, 0, 1, 7], space[0, 1, 1, 7] = 5.0, 1.0  # y, z: 1/4 of 5 and 3/4 of 1
    times[0, 1, 1, 7], times[0, 2, 2, 7] = 3.0, 7.0  # x: the mean of (3, 1) and of (1, 7)
    trunk, hidden = torch.zeros(17, 16, dtype=dtype), torch.zeros(17, 32, dtype=dtype)
    trunk[7, 4], trunk[16, 4] = 2.0, -1.0
    hidden[4, 16 + 3], hidden[16, 16 + 3] = 10.0, 0.5  # of the second head
    last = torch.zeros(17, 2, dtype=dtype)
    last[3, 1], last[16] = 3.0, torch.tensor([0.25, -2.0], dtype=dtype)
    point = torch.tensor([[0.5, -0.25, 0.0]], dtype=dtype)
    out = hexplane(point, 0.5, [space], [times], trunk, hidden, last, (1, 1))
    feature = (5 / 4 + 3 / 4) * ((3 + 1) / 2 + (1 + 7) / 2) / 2
    assert out[0].tolist() == pytest.approx(
        [0.25, 3 * (10 * (2 * feature - 1) + 0.5) - 2], rel=1e-6
    )


def test_instants_between_which_a_time_lies() -> None:
    assert instants_read(-1.0, 5) == (0, 1, 0.0)
    assert instants_read(1.0, 5) == (3, 4, 1.0)
    assert instants_read(0.25, 5) == (2, 3, 0.5)
    assert instants_read(9.0, 2) == (0, 1, 1.0)
    assert instants_read(0.5, 1) == (0, 0, 0.0)


def test_what_does_not_fit_is_said() -> None:
    one = case(3)
    *planes, trunk, hidden, last = one.learned
    space, times = planes[:2], planes[2:]
    with pytest.raises(ValueError, match=r"20 channels and 48 hidden units; expected multiples"):
        wrong = [t[..., :20] for t in planes]
        hexplane(one.points, 0, wrong[:2], wrong[2:], trunk, hidden, last, one.outputs)
    with pytest.raises(ValueError, match=r"of space at 2 scales and of time at 1; expected as"):
        hexplane(one.points, 0, space, times[:1], trunk, hidden, last, one.outputs)
    with pytest.raises(ValueError, match=r"the heads give \[9, 9\] numbers"):
        hexplane(one.points, 0, space, times, trunk, hidden, last, (9, 9))
    with pytest.raises(ValueError, match=r"the trunk has shape \(64, 48\), expected \(65, 48\)"):
        hexplane(one.points, 0, space, times, trunk[:-1], hidden, last, one.outputs)
    with pytest.raises(ValueError, match=r"points are \(3, 2\); expected \(n, 3\)"):
        hexplane(one.points[:, :2], 0, space, times, trunk, hidden, last, one.outputs)
