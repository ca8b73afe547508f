"""The fused Adam step against torch.optim.Adam, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from splat import kernels

SHAPES = [
    (1,), (7,), (1001, 3), (333, 4), (250, 16, 3), (57, 1, 3), (33, 4, 7), (3, 100), (5, 9, 31),
]  # fmt: skip
STEPS = 4


def gradients(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """Sizes over many decades, some exactly zero."""
    generator = torch.Generator().manual_seed(len(shape))
    found = []
    for _ in range(STEPS):
        size = torch.rand(shape, generator=generator, dtype=torch.float64) * 8 - 8
        sign = torch.randint(-1, 2, shape, generator=generator)
        found.append((sign * 10**size).to(dtype))
    return found


def start(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def moved(
    values: Tensor, steps: list[Tensor], rate: float, tail: float, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Values and moments after the steps."""
    values, first, second = values.clone(), torch.zeros_like(values), torch.zeros_like(values)
    for count, gradient in enumerate(steps, 1):
        kernels.adam(
            values, gradient, first, second, rate=rate, tail=tail, count=count, epsilon=epsilon
        )
    return values, first, second


def moved_by_torch(
    values: Tensor, steps: list[Tensor], rate: float, tail: float, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same in float64. Of three axes, all but the first of the second one are the tail."""
    axis = min(1, values.ndim - 1)
    head = 1 if values.ndim == 3 else values.shape[axis]
    sizes = [head, values.shape[axis] - head]
    leaves = [part.clone().requires_grad_() for part in values.double().split(sizes, axis)]
    groups = [{"params": [leaves[0]], "lr": rate}, {"params": [leaves[1]], "lr": rate * tail}]
    optimizer = torch.optim.Adam(groups, eps=epsilon)
    for gradient in steps:
        for leaf, part in zip(leaves, gradient.double().split(sizes, axis), strict=True):
            leaf.grad = part.clone()
        optimizer.step()
    states = [optimizer.state[leaf] for leaf in leaves]
    return (
        torch.cat([leaf.detach() for leaf in leaves], axis),
        torch.cat([state["exp_avg"] for state in states], axis),
        torch.cat([state["exp_avg_sq"] for state in states], axis),
    )


@pytest.mark.parametrize("epsilon", [1e-15, 1e-3])
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_equal_torch(shape: tuple[int, ...], epsilon: float, dtype: torch.dtype) -> None:
    values, steps = start(shape, dtype), gradients(shape, dtype)
    found = moved(values, steps, 0.1, 0.05, epsilon)
    expected = moved_by_torch(values, steps, 0.1, 0.05, epsilon)
    bound = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(found[0].double(), expected[0], rtol=bound, atol=bound)
    # The first moment's terms may cancel, the second's cannot.
    torch.testing.assert_close(found[1].double(), expected[1], rtol=bound, atol=bound)
    torch.testing.assert_close(found[2].double(), expected[2], rtol=10 * bound, atol=0)


def test_head_and_tail_move_at_their_own_rates(dtype: torch.dtype) -> None:
    values = torch.zeros(11, 16, 3, dtype=dtype)
    found, _, _ = moved(values, [torch.ones_like(values)], 0.5, 0.01, 1e-15)
    torch.testing.assert_close(found[:, :1], torch.full_like(found[:, :1], -0.5))
    torch.testing.assert_close(found[:, 1:], torch.full_like(found[:, 1:], -0.005))


@pytest.mark.parametrize("shape", [(20_011, 3), (1801, 16, 3), (3,)])
def test_threads_change_nothing(
    shape: tuple[int, ...], dtype: torch.dtype, alike_by_threads: Callable[..., None]
) -> None:
    values, steps = start(shape, dtype), gradients(shape, dtype)
    alike_by_threads(lambda: moved(values, steps, 0.1, 0.05, 1e-15))


def test_a_row_moves_the_same_wherever_it_stands(dtype: torch.dtype) -> None:
    """A vector's lanes and the rest behind the last whole vector compute alike."""
    shape = (4099, 3)
    values, steps = start(shape, dtype), gradients(shape, dtype)
    whole = moved(values, steps, 0.1, 1.0, 1e-15)
    for rows in (slice(4098, 4099), slice(2, 7), slice(1001, 3000)):
        part = moved(values[rows], [g[rows] for g in steps], 0.1, 1.0, 1e-15)
        for found, expected in zip(part, whole, strict=True):
            assert torch.equal(found, expected[rows])


def test_rows_without_gradient_keep_still(dtype: torch.dtype) -> None:
    values = start((50, 3), dtype)
    found, first, second = moved(values, [torch.zeros_like(values)] * 3, 0.1, 1.0, 1e-15)
    assert torch.equal(found, values)
    assert torch.count_nonzero(first) == 0 and torch.count_nonzero(second) == 0


def test_no_rows_is_no_error(dtype: torch.dtype) -> None:
    values = torch.zeros(0, 16, 3, dtype=dtype)
    found, _, _ = moved(values, [torch.zeros_like(values)], 0.1, 0.05, 1e-15)
    assert found.shape == values.shape


def test_a_strided_column_is_refused() -> None:
    column = torch.zeros(6, 4)[:, :3]
    moments = torch.zeros(6, 3)
    with pytest.raises(ValueError, match="contiguous"):
        kernels.adam(column, torch.zeros(6, 3), moments, moments.clone(), rate=0.1, count=1)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_equals_torch(shape: tuple[int, ...], cuda_kernels: None) -> None:
    values, steps = start(shape, torch.float32), gradients(shape, torch.float32)
    found = moved(values.cuda(), [g.cuda() for g in steps], 0.1, 0.05, 1e-15)
    expected = moved_by_torch(values, steps, 0.1, 0.05, 1e-15)
    torch.testing.assert_close(found[0].cpu().double(), expected[0], rtol=1e-6, atol=1e-6)
