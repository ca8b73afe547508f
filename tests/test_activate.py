"""Scales and opacities out of what is stored, against torch, on every instruction set."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from splat import kernels

ROWS = [0, 1, 5, 16, 37, 1371, 5000]
"""Beside whole vectors and whole work items: what is left over behind them."""


def bound(dtype: torch.dtype) -> float:
    return 1e-14 if dtype == torch.float64 else 5e-7


def stored(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """From -20 to 20, in no order."""
    draw = torch.Generator().manual_seed(n)
    values = torch.rand(n, 4, generator=draw, dtype=torch.float64) * 40 - 20
    values = values.to(dtype)
    return values[:, :3].contiguous(), values[:, 3].contiguous()


def close(found: Tensor, expected: Tensor, within: float) -> None:
    """Relative to each value; float64."""
    worst = (found.double() / expected - 1).abs()
    assert found.shape == expected.shape and bool((worst <= within).all()), float(worst.max())


@pytest.mark.parametrize("n", ROWS)
def test_values_equal_torch(n: int, dtype: torch.dtype) -> None:
    logs, logits = stored(n, dtype)
    scales, opacities = kernels.activate(logs, logits)
    assert scales.dtype == opacities.dtype == dtype
    close(scales, logs.double().exp(), bound(dtype))
    close(opacities, logits.double().sigmoid(), bound(dtype))


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("used", ["both", "scales", "opacities"])
def test_gradients_equal_those_of_torch(n: int, used: str, dtype: torch.dtype) -> None:
    logs, logits = (t.requires_grad_() for t in stored(n, dtype))
    scales, opacities = kernels.activate(logs, logits)
    draw = torch.Generator().manual_seed(7)
    weights = torch.rand(n, 4, generator=draw, dtype=torch.float64).add_(0.5).to(dtype)
    parts = {"scales": (scales * weights[:, :3]).sum(), "opacities": opacities @ weights[:, 3]}
    sum(part for name, part in parts.items() if used in ("both", name)).backward()
    o = logits.detach().double().sigmoid()
    for name, leaf, expected in (
        ("scales", logs, logs.detach().double().exp() * weights[:, :3].double()),
        ("opacities", logits, o * logits.detach().double().neg().sigmoid() * weights[:, 3]),
    ):
        if used in ("both", name):
            assert leaf.grad is not None
            # 1 - o of a rounded o: beyond 0 its relative error grows as 1 / (1 - o) does.
            some = slice(None) if name == "scales" else leaf.detach() < 0
            close(leaf.grad[some], expected[some], 2 * bound(dtype))
            assert (
                (leaf.grad.double() - expected).abs().le(2 * bound(dtype) * expected + 2e-7).all()
            )
        else:
            assert leaf.grad is None or not leaf.grad.any()


def test_a_gradient_without_memory_of_its_own_is_read_right(dtype: torch.dtype) -> None:
    """That of a sum is one number, expanded."""
    logs, logits = (t.requires_grad_() for t in stored(37, dtype))
    scales, opacities = kernels.activate(logs, logits)
    (scales.sum() + opacities.sum()).backward()
    assert logs.grad is not None
    close(logs.grad, logs.detach().double().exp(), bound(dtype))


@pytest.mark.parametrize("n", ROWS[1:])
@pytest.mark.parametrize("rows_too", [True, False], ids=["rows-too", "means-alone"])
def test_means_and_their_gradients_equal_those_of_torch(
    n: int, rows_too: bool, dtype: torch.dtype
) -> None:
    logs, logits = (t.clamp(-3, 3).requires_grad_() for t in stored(n, dtype))
    scales, opacities = kernels.activate(logs, logits)
    means = kernels.mean_of(scales, 0.25), kernels.mean_of(opacities)
    exact = [t.detach().double().requires_grad_() for t in (logs, logits)]
    s, o = exact[0].exp(), exact[1].sigmoid()
    for found, expected in zip(means, (0.25 * s.mean(), o.mean()), strict=True):
        close(found.detach(), expected.detach(), 4 * bound(dtype))
    terms = [3 * means[0] - 2 * means[1], 0.75 * s.mean() - 2 * o.mean()]
    if rows_too:
        terms[0] = terms[0] + (scales.square().sum() + opacities.square().sum()) / n
        terms[1] = terms[1] + (s.square().sum() + o.square().sum()) / n
    for term in terms:
        term.backward()
    for leaf, expected in zip((logs, logits), exact, strict=True):
        assert leaf.grad is not None and expected.grad is not None
        torch.testing.assert_close(
            leaf.grad.double(), expected.grad, rtol=20 * bound(dtype), atol=2 * bound(dtype) / n
        )


def test_the_mean_of_what_activate_did_not_give(dtype: torch.dtype) -> None:
    """Made of it, or of something else: a mean that was found for other values is not used."""
    scales, opacities = kernels.activate(*stored(37, dtype))
    assert kernels.mean_of(scales * 2, 0.5) == 0.5 * (scales * 2).mean()
    assert kernels.mean_of(opacities[:5]) == opacities[:5].mean()


def test_strided_columns_are_read_right(dtype: torch.dtype) -> None:
    whole = torch.cat([t.reshape(37, -1) for t in stored(37, dtype)], 1)
    scales, opacities = kernels.activate(whole[:, 1:], whole[:, 0])
    close(scales, whole[:, 1:].double().exp(), bound(dtype))
    close(opacities, whole[:, 0].double().sigmoid(), bound(dtype))


def test_extremes(dtype: torch.dtype) -> None:
    """As documented: 0 below -87, capped above 88 and so never infinite; float64 is plain exp."""
    values = torch.tensor([-math.inf, -1e30, -100, -87.5, 0, 87, 100, 1e30, math.inf], dtype=dtype)
    scales, _ = kernels.activate(values.reshape(3, 3), torch.zeros(3, dtype=dtype))
    _, opacities = kernels.activate(torch.zeros(9, 3, dtype=dtype), values)
    found = scales.flatten()
    assert found[4] == pytest.approx(1, rel=bound(dtype))
    assert found[5].item() == pytest.approx(math.exp(87), rel=bound(dtype))
    if dtype == torch.float32:
        assert not found[:4].any()
        assert torch.isfinite(found).all()
        assert found[6:].tolist() == [pytest.approx(math.exp(88), rel=1e-6)] * 3
    else:
        close(found[2:7], values[2:7].exp(), 1e-14)
    assert opacities[:4].max() < 1e-37 and (opacities[5:] == 1).all()
    assert opacities[4] == pytest.approx(0.5, rel=bound(dtype))


def test_what_is_no_number_stays_none(dtype: torch.dtype) -> None:
    """It must not come out as a whole opacity: renderers leave out rows that are no number."""
    logs, logits = stored(37, dtype)
    logs[5, 1] = logits[30] = math.nan
    scales, opacities = kernels.activate(logs, logits)
    assert scales.isnan().nonzero().tolist() == [[5, 1]]
    assert opacities.isnan().nonzero().tolist() == [[30]]


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="logits has shape"):
        kernels.activate(torch.zeros(4, 3), torch.zeros(5))
    with pytest.raises(ValueError, match=r"logits is torch.float64 on cpu, log_scales is"):
        kernels.activate(torch.zeros(4, 3), torch.zeros(4, dtype=torch.float64))
