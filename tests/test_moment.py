"""Moving Gaussians at an instant: our kernel against torch, on every instruction set."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from splat import kernels
from splat.math import moment
from splat.types import ALWAYS

ROWS = [0, 1, 5, 16, 37, 1371, 5000]
LEAST = 0.02


def drawn(n: int, dtype: torch.dtype, lasting: float = 0.2) -> list[Tensor]:
    """Means, opacities, times, log durations and velocities; some rows last."""
    draw = torch.Generator().manual_seed(n)
    values = torch.rand(n, 9, generator=draw, dtype=torch.float64)
    logs = values[:, 8] * 5 - 5
    logs[torch.rand(n, generator=draw) < lasting] = math.log(ALWAYS)
    times = values[:, 7] * 1.4 - 0.2
    given = [values[:, :3] * 4 - 2, values[:, 6], times, logs, values[:, 3:6] * 4 - 2]
    return [each.to(dtype).contiguous().requires_grad_() for each in given]


def by_torch(rows: list[Tensor], at: float) -> tuple[Tensor, Tensor]:
    means, opacities, times, logs, velocities = (row.double() for row in rows)
    return moment(means, opacities, times, kernels.durations(logs, LEAST), velocities, at)


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("used", ["both", "means", "opacities"])
def test_values_and_gradients_equal_those_of_torch(n: int, used: str, dtype: torch.dtype) -> None:
    rows = drawn(n, dtype)
    found = kernels.moment(*rows, at=0.3, least=LEAST)
    expected = by_torch(rows, 0.3)
    bound = 1e-12 if dtype == torch.float64 else 3e-5
    draw = torch.Generator().manual_seed(7)
    weights = torch.rand(n, 4, generator=draw, dtype=torch.float64)
    for values, same in zip(found, expected, strict=True):
        assert values.dtype == dtype
        torch.testing.assert_close(values.double(), same, rtol=bound, atol=bound)

    def gradients(moved: Tensor, faded: Tensor) -> list[Tensor | None]:
        parts = {
            "means": (moved * weights[:, :3].to(moved)).sum(),
            "opacities": (faded * weights[:, 3].to(faded)).sum(),
        }
        total = sum(part for name, part in parts.items() if used in ("both", name))
        return list(torch.autograd.grad(total, rows, allow_unused=True))

    names = ("means", "opacities", "times", "log_durations", "velocities")
    for name, ours, theirs in zip(names, gradients(*found), gradients(*expected), strict=True):
        theirs = torch.zeros(()) if theirs is None else theirs
        ours = torch.zeros(()) if ours is None else ours
        # Times of short rows pull by up to 1 / duration.
        scale = 50 if name in ("times", "log_durations") else 1
        difference = (ours.double() - theirs.double()).abs()
        assert float(difference.max() if n else 0) <= scale * bound, name


def test_by_finite_differences() -> None:
    rows = drawn(7, torch.float64, lasting=0)
    faded = torch.autograd.gradcheck(
        lambda *values: kernels.moment(*values, at=0.4, least=LEAST)[1], rows
    )
    held = rows[2].detach()  # where a row is in a picture does not pull at its time
    moved = torch.autograd.gradcheck(
        lambda means, velocities: kernels.moment(
            means, rows[1].detach(), held, rows[3].detach(), velocities, at=0.4, least=LEAST
        )[0],
        (rows[0], rows[4]),
    )
    assert faded and moved


def test_what_lasts_is_untouched_and_not_pulled_at() -> None:
    rows = drawn(100, torch.float32, lasting=2.0)
    moved, faded = kernels.moment(*rows, at=0.9, least=LEAST)
    assert torch.equal(moved, rows[0]) and torch.equal(faded, rows[1])
    (moved.sum() + faded.sum()).backward()
    for values in rows[2:]:
        assert values.grad is not None and not values.grad.any()
    assert rows[0].grad is not None and torch.equal(rows[0].grad, torch.ones(100, 3))


def test_far_from_its_time_a_row_is_gone_and_nothing_is_broken() -> None:
    rows = drawn(3, torch.float32, lasting=0)
    rows[3].data[:] = torch.tensor([-30.0, -1e30, 5.0])
    moved, faded = kernels.moment(*rows, at=30.0, least=LEAST)
    (moved.sum() + faded.sum()).backward()
    assert bool((faded[:2] < 1e-17).all())
    assert all(values.grad is not None and values.grad.isfinite().all() for values in rows)


def test_threads_and_shapes(alike_by_threads: Callable[..., None]) -> None:
    rows = drawn(20_000, torch.float32)
    alike_by_threads(lambda: kernels.moment(*rows, at=0.2, least=LEAST))
    with pytest.raises(ValueError, match=r"velocities has shape \(20000, 2\)"):
        kernels.moment(*rows[:4], rows[4][:, :2], at=0.2, least=LEAST)
