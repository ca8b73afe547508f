"""Error-based growth: who grows and how much, what ebbs; worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from steps import assert_consistent, edits_of, model_of, refined, seen, step_of

from splat.core.maps import Dissimilarity, Error
from splat.strategies.error import WORST, ErrorBased

STILL = ErrorBased(opacity_leak=0.0)


def test_error_is_the_most_of_any_picture_at_full_size() -> None:
    model = model_of(3)
    STILL.begin(model)
    seen(STILL, model, torch.tensor([1.0, 4, 0]), shrink=2.0)
    seen(STILL, model, torch.tensor([5.0, 15, 0.5]))
    assert model.cloud.statistic(WORST).tolist() == [5, 16, 0.5]
    refined(STILL, step_of(model, 600))
    assert not model.cloud.statistic(WORST).any()


def test_the_rows_with_most_error_grow_and_no_more_than_the_share() -> None:
    scale = torch.tensor([0.009, 0.011] * 20)
    model, strategy = model_of(40, 0.5, scale), replace(STILL, grow_share=0.1)
    strategy.begin(model)
    error = torch.full((40,), 0.2)
    error[[3, 8, 21, 30]] = torch.tensor([9.0, 7.0, 8.0, 6.0])
    seen(strategy, model, error)
    change = refined(strategy, step_of(model, 600))
    assert change.after == 44 and change.parents is not None
    assert change.parents[-6:].tolist() == [8, 30, 3, 21, 3, 21], "small cloned, large split"
    assert_consistent(model.cloud)


def test_below_the_threshold_nothing_grows() -> None:
    model = model_of(5)
    STILL.begin(model)
    seen(STILL, model, torch.full((5,), 0.0999))
    assert not refined(STILL, step_of(model, 600))


def test_a_clone_keeps_the_peak() -> None:
    model = model_of(2, torch.tensor([0.3, 0.9]))
    strategy = replace(STILL, grow_share=1.0)
    strategy.begin(model)
    seen(strategy, model, torch.ones(2))
    refined(strategy, step_of(model, 600))
    pair = model.cloud["opacity_logit"].detach().sigmoid().reshape(2, 2)
    assert torch.allclose(1 - (1 - pair[0]) * (1 - pair[1]), torch.tensor([0.3, 0.9]), atol=1e-6)


def test_every_refinement_takes_a_little_opacity_and_leaves_moments() -> None:
    model, strategy = model_of(3, torch.tensor([0.9, 0.5, 0.0075])), ErrorBased()
    strategy.begin(model)
    for k in range(1, 4):
        change = refined(strategy, step_of(model, 500 + 100 * k))
        expected = torch.tensor([0.9, 0.5, 0.0075]) - 0.001 * k
        assert torch.allclose(model.cloud["opacity_logit"].detach().sigmoid(), expected, atol=1e-6)
        assert not change, "an ebb is no edit"
    assert refined(strategy, step_of(model, 900)).counts == {"drop:opacity": 1}


def test_doomed_rows_do_not_grow_and_make_room() -> None:
    opacity = torch.tensor([0.004, 0.5, 0.5])
    model, strategy = model_of(3, opacity), replace(STILL, cap=3, grow_share=1.0)
    strategy.begin(model)
    seen(strategy, model, torch.tensor([9.0, 1, 2]))
    change = refined(strategy, step_of(model, 600))
    assert change.parents is not None and change.parents.tolist() == [1, 2, 2]


def test_rows_never_pass_the_cap() -> None:
    model, strategy = model_of(40, 0.5, 0.02), replace(STILL, cap=100)
    strategy.begin(model)
    sizes = []
    for done in range(600, 4000, 100):
        seen(strategy, model, torch.ones(len(model.cloud)))
        sizes.append(refined(strategy, step_of(model, done)).after)
    grown = 40
    for size in sizes:
        grown = min(100, grown + math.ceil(0.05 * grown))
        assert size == grown
    assert sizes[-1] == 100


@pytest.mark.parametrize(
    ("steps", "edits"), [(30_000, range(600, 27_000, 100)), (3000, range(100, 2700, 50))]
)
def test_edits_fall_on_the_published_steps(steps: int, edits: range) -> None:
    strategy = ErrorBased().scheduled(steps)
    assert strategy.acts(steps) == {"grow, prune and leak": list(edits)}
    assert edits_of(strategy, model_of(3), steps) == list(edits)


def test_a_short_run_grows_and_leaks_as_much() -> None:
    assert ErrorBased().scheduled(30_000) == ErrorBased()
    short = ErrorBased().scheduled(3000)
    assert short.grow_share == pytest.approx(1.05**5 - 1)
    assert short.opacity_leak == pytest.approx(0.005)


def test_the_map_is_what_was_asked_for() -> None:
    assert ErrorBased().needs.weights == (Error(),)
    assert ErrorBased(error="ssim").needs.weights == (Dissimilarity(),)


def test_dissimilarity_is_ssim_in_square_windows() -> None:
    """Against a walk over all windows in float64."""
    draw = torch.Generator().manual_seed(0)
    step = step_of(model_of(1))
    pixels = torch.randint(0, 256, (20, 20, 3), generator=draw).to(torch.uint8)
    rendered = replace(step.rendered, image=torch.rand(20, 20, 3, generator=draw))
    mask = torch.ones(20, 20, dtype=torch.uint8)
    mask[4, 7] = 0
    batch = replace(step.batch, pixels=pixels, mask=mask)
    found = Dissimilarity(5)(rendered, batch)
    luma = np.array([0.299, 0.587, 0.114])
    x = rendered.image.double().numpy() @ luma
    y = pixels.double().numpy() / 255 @ luma
    for i in range(20):
        for j in range(20):
            place = np.s_[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
            a, b = x[place], y[place]
            cov = (a * b).mean() - a.mean() * b.mean()
            ssim = (2 * a.mean() * b.mean() + 1e-4) * (2 * cov + 9e-4)
            ssim /= (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var() + b.var() + 9e-4)
            expected = 0.0 if (i, j) == (4, 7) else (1 - ssim) / 2
            assert float(found[i, j]) == pytest.approx(expected, abs=2e-5)
    same = replace(step.batch, pixels=(rendered.image * 255).round().to(torch.uint8))
    assert float(Dissimilarity()(replace(rendered, image=same.image), same).max()) < 1e-4
