"""The native random walk of 3DGS-MCMC: which rows move, how far, and how it is drawn."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from splat import kernels
from splat.math import covariances

DEAD, STEEPNESS, REACH = 0.005, 100.0, 1.7
LOGIT = math.log(0.01 / 0.99)
GATE = 1 / (1 + math.exp(STEEPNESS * (0.01 - DEAD)))
"""Of rows of opacity 0.01."""
QUAT = torch.tensor([0.3, -0.8, 0.4, 0.6], dtype=torch.float64)
SCALES = torch.tensor([0.5, 0.02, 0.2], dtype=torch.float64)
MANY = 40_000
RADIUS_MOST, RADIUS_LEAST = 0, 9174107
"""Seeds for which row 0 draws 24 bits of zeros and 24 bits of ones."""


def walked(quats: Tensor, log_scales: Tensor, logits: Tensor, **changed: Any) -> Tensor:
    given: dict[str, Any] = {
        "reach": REACH, "dead": DEAD, "steepness": STEEPNESS, "quiet": 0.0, "seed": 11,
    }  # fmt: skip
    return kernels.walk(quats, log_scales, logits, **(given | changed))


def alike(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """One rotated, flat Gaussian, n times."""
    return (
        QUAT.to(dtype).expand(n, 4).contiguous(),
        SCALES.log().to(dtype).expand(n, 3).contiguous(),
        torch.full((n,), LOGIT, dtype=dtype),
    )


def round_rows(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Balls of scale 1, for which the step is the draw itself times reach and gate."""
    quats = torch.zeros(n, 4, dtype=dtype)
    quats[:, 0] = 1
    return quats, torch.zeros(n, 3, dtype=dtype), torch.full((n,), LOGIT, dtype=dtype)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 37, 1100])
def test_only_quiet_rows_and_those_of_another_turn_stay(n: int, dtype: torch.dtype) -> None:
    quats, logs, _ = alike(n, dtype)
    quiet = -1.5
    logits = torch.linspace(-8, 4, n, dtype=torch.float64).to(dtype)
    logits[n // 2] = quiet
    for every, phase in ((1, 0), (3, 0), (3, 2), (2000, 4)):
        # The gate of an opaque row is 0 in float32: a step would show only with a flat one.
        delta = walked(quats, logs, logits, quiet=quiet, every=every, phase=phase, steepness=0.0)
        assert delta.shape == (n, 3) and delta.dtype == dtype
        moves = (logits < quiet) & (torch.arange(n) % every == phase)
        assert torch.equal(delta.ne(0).all(1), moves)
        assert torch.equal(delta.ne(0).any(1), moves)


def test_a_row_draws_the_same_whoever_else_walks(dtype: torch.dtype) -> None:
    rows = alike(100, dtype)
    whole = walked(*rows)
    assert torch.equal(walked(*(t[:37] for t in rows)), whole[:37])
    turn = walked(*rows, every=3, phase=1)
    assert torch.equal(turn[1::3], whole[1::3]) and not turn[0::3].any() and not turn[2::3].any()


def test_covariance_is_that_of_sigma_squared(dtype: torch.dtype) -> None:
    delta = walked(*alike(MANY, dtype)).double()
    sigma = covariances(QUAT[None], SCALES[None])[0]
    expected = (REACH * GATE) ** 2 * sigma @ sigma
    # An estimate of E[x y] has the variance (Cxx Cyy + Cxy^2) / n.
    d = expected.diagonal()
    error = ((d[:, None] * d + expected**2) / MANY).sqrt()
    assert ((torch.cov(delta.T) - expected).abs() < 4.5 * error).all()
    assert (delta.mean(0).abs() < 4.5 * (d / MANY).sqrt()).all()
    # Along the axes of the Gaussian it spreads by the square of each scale, the smallest included.
    _, axes = torch.linalg.eigh(sigma)
    spread = (delta @ axes).std(0) / (REACH * GATE)
    assert torch.allclose(spread, SCALES.sort().values ** 2, rtol=0.02)


def test_steps_are_normal_and_independent(dtype: torch.dtype) -> None:
    draws = (walked(*round_rows(MANY, dtype)).double() / (REACH * GATE)).numpy()
    for axis in range(3):
        assert stats.kstest(draws[:, axis], "norm").pvalue > 1e-3
    # Sum of squares: axes drawn from one radius must still be independent of each other.
    assert stats.kstest((draws**2).sum(1), "chi2", args=(3,)).pvalue > 1e-3
    noise = 4.5 / math.sqrt(MANY)
    moments = torch.from_numpy(draws)
    for powered in (moments, moments.square() - 1):
        across = torch.corrcoef(powered.T) - torch.eye(3, dtype=torch.float64)
        assert across.abs().max() < noise
        for lag in (1, 2, 4, 16, 512):
            product = (powered[lag:, :, None] * powered[:-lag, None, :]).mean(0)
            assert product.abs().max() < noise * float(powered.var(0).max())


def test_threads_and_instruction_sets_draw_alike_and_seeds_apart(threads: None) -> None:
    rows = alike(1371, torch.float32)
    truth = walked(*(t.double() for t in rows))
    usual = float(truth.norm(dim=1).mean())
    found = []
    for isa in kernels.isas():
        with kernels.use_isa(isa):
            kernels.set_threads(1)
            found.append(walked(*rows))
            for count in (2, 3):
                kernels.set_threads(count)
                assert torch.equal(walked(*rows), found[-1])
        # Relative to a row's step: a component may cancel.
        apart = (found[-1] - found[0]).norm(dim=1) / found[0].norm(dim=1)
        assert float(apart.max()) < 1e-5, isa
        # Of a draw near 1 a double keeps half a bit more, and the shortest steps are its logarithm.
        assert float((found[-1] - truth).norm(dim=1).max()) < 1e-5 * usual, isa
    noise = 4.5 / math.sqrt(MANY)
    ball = round_rows(MANY, torch.float32)
    draws = [walked(*ball, seed=s).flatten() for s in (0, 1, 2**32, 2**63 + 5, 2**64 - 1)]
    across = torch.corrcoef(torch.stack(draws).double()) - torch.eye(len(draws))
    assert across.abs().max() < noise


def test_length_of_a_quaternion_does_not_matter(dtype: torch.dtype) -> None:
    quats, logs, logits = alike(37, dtype)
    expected = walked(quats, logs, logits)
    for length in (1e-3, 0.5, 7.0, -1.0, 1e4):
        found = walked(quats * length, logs, logits)
        apart = (found - expected).norm(dim=1) / expected.norm(dim=1)
        assert float(apart.max()) < (1e-13 if dtype == torch.float64 else 1e-6)


def test_the_rarest_draws_are_finite() -> None:
    for isa in kernels.isas():
        with kernels.use_isa(isa):
            rows = round_rows(1, torch.float32)
            longest, shortest = (
                float((walked(*rows, seed=seed)[0, :2] / (REACH * GATE)).norm())
                for seed in (RADIUS_MOST, RADIUS_LEAST)
            )
        assert longest == pytest.approx(math.sqrt(2 * 25 * math.log(2)), rel=1e-5)
        assert 0 <= shortest <= math.sqrt(2**-23)


def test_strided_columns_are_read_right(dtype: torch.dtype) -> None:
    n = 37
    quats, logs, logits = (t.clone() for t in alike(n, dtype))
    logs += torch.arange(n, dtype=dtype)[:, None] / n
    expected = walked(quats, logs, logits)
    turned = [t.T.contiguous().T for t in (quats, logs)]
    every_other = torch.stack([logits, torch.zeros_like(logits)], 1)[:, 0]
    assert not any(t.is_contiguous() for t in (*turned, every_other))
    assert torch.equal(walked(*turned, every_other), expected)


def test_columns_that_do_not_fit_are_refused() -> None:
    quats, logs, logits = alike(5, torch.float32)
    with pytest.raises(ValueError, match="quats has shape"):
        walked(quats[:4], logs, logits)
    with pytest.raises(ValueError, match=r"logits is torch.float32 on cpu, quats is torch.float64"):
        walked(quats.double(), logs.double(), logits)
    for every, phase in ((0, 0), (2, 2), (2, -1)):
        with pytest.raises(ValueError, match=f"phase is {phase} of {every}; expected"):
            walked(quats, logs, logits, every=every, phase=phase)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1,), (5, 3), (4099, 3), (2, 2048)])
def test_a_step_is_added_as_torch_adds_it(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    draw = torch.Generator().manual_seed(0)
    values, delta = (torch.randn(shape, dtype=dtype, generator=draw) for _ in range(2))
    expected = values + delta
    kernels.add(values, delta)
    assert torch.equal(values, expected)


def test_what_is_not_our_kind_is_added_by_torch() -> None:
    half, delta = torch.ones(7, 3, dtype=torch.bfloat16), torch.full((7, 3), 0.5)
    kernels.add(half, delta)
    assert torch.equal(half, torch.full((7, 3), 1.5, dtype=torch.bfloat16))
    turned = torch.zeros(3, 7).T
    delta = torch.arange(21.0).view(7, 3)
    kernels.add(turned, delta)
    assert torch.equal(turned, delta)
    with pytest.raises(ValueError, match=r"delta has shape \(3,\), expected \(7, 3\)"):
        kernels.add(half, delta[0])
