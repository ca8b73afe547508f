"""Improved-GS: who is split up to the curve, and who goes after a reset, worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from steps import assert_consistent, edits_of, fill_moments, model_of, refined, step_of
from torch import Tensor

from splat.core.maps import Edge
from splat.core.model import Explicit
from splat.rules.curve import share, target
from splat.strategies.igs import EDGES, ImprovedGs

LINEAR = ImprovedGs(cap=100, curve="linear")


def seen(
    igs: ImprovedGs,
    model: Explicit,
    edges: Tensor,
    gradient: float | Tensor = 1e-3,
    done: int = 600,
    **more: Any,
) -> None:
    """One picture in which rows stand for such edges and have such absolute gradients."""
    length = torch.as_tensor(gradient).expand(len(edges))
    absolute = length[:, None] * torch.tensor([0.6, 0.8])
    with torch.no_grad():
        igs.observe(step_of(model, done, absolute=absolute, weighted={Edge(): edges}, **more))


def test_edges_are_in_units_of_the_mean_of_each_picture() -> None:
    model = model_of(3)
    LINEAR.begin(model)
    seen(LINEAR, model, torch.tensor([1.0, 3, 0]))
    seen(LINEAR, model, torch.tensor([0.0, 50, 100]))
    assert model.cloud.statistic(EDGES).tolist() == pytest.approx([0.5, 1.5 + 2 / 3, 4 / 3])
    seen(LINEAR, model, torch.zeros(3))
    assert torch.isfinite(model.cloud.statistic(EDGES)).all()
    assert LINEAR.needs.absolute_gradient and LINEAR.needs.weights == (Edge(),)


def test_a_photograph_a_thousand_times_harsher_counts_no_more() -> None:
    edges = torch.rand(50, generator=torch.Generator().manual_seed(0))
    found = []
    for factor in (1.0, 1000.0):
        model = model_of(50)
        LINEAR.begin(model)
        seen(LINEAR, model, factor * edges)
        found.append(model.cloud.statistic(EDGES))
    assert torch.allclose(*found)


def test_the_candidates_with_most_edges_are_split_up_to_the_curve() -> None:
    model = model_of(10)
    LINEAR.begin(model)
    gradient = torch.tensor([1e-3] * 6 + [2.9e-4] * 4)
    edges = torch.tensor([1.0, 5, 3, 0, 2, 4, 9, 9, 9, 9])
    seen(LINEAR, model, edges, gradient)
    # At step 1,100 of 600 .. 14,900 six of 144 parts are over: 10 + 90 * 6 / 144 = 13.75.
    change = refined(LINEAR, step_of(model, 1100))
    assert change.after == 13 and change.counts == {"append:split": 6, "drop:split": 3}
    assert change.parents is not None and change.parents[-3:].tolist() == [1, 2, 5]
    assert not model.cloud.statistic(EDGES).any()


def test_rows_without_edges_and_doomed_ones_are_not_split() -> None:
    opacity = torch.tensor([0.5, 0.004, 0.5])
    model, igs = model_of(3, opacity), replace(LINEAR, refine_until=700)
    igs.begin(model)
    seen(igs, model, torch.tensor([0.0, 9, 1]))
    change = refined(igs, step_of(model, 600))
    assert change.counts == {"append:split": 2, "drop:split": 1, "drop:opacity": 1}
    assert change.parents is not None and change.parents.tolist() == [0, 2, 2]


@pytest.mark.parametrize("curve", ["sqrt", "parabola", "linear"])
def test_the_number_of_rows_follows_the_curve_and_fills_the_cap(curve: Any) -> None:
    igs = replace(ImprovedGs(cap=400, curve=curve), reset_every=0)
    model = model_of(50, 0.9, 0.02)
    igs.begin(model)
    for done in range(600, 15_000, 100):
        n = len(model.cloud)
        # Long-axis splits dim: what becomes faint is pruned, and made up for.
        with torch.no_grad():
            model.cloud["opacity_logit"].clamp_min_(-1.0)
        seen(igs, model, torch.ones(n), done=done)
        found = refined(igs, step_of(model, done)).after
        aim = target(curve, 50, 400, share(done, 500, 15_000, 100))
        assert found <= max(aim, n)
        assert found == max(min(aim, 2 * n), n), "all rows are candidates"
    assert_consistent(model.cloud)
    assert len(model.cloud) == 400


def test_what_recovered_least_goes_and_exactly_the_share_of_it() -> None:
    draw = torch.Generator().manual_seed(4)
    opacity = 0.1 + 0.8 * torch.rand(53, generator=draw)
    model, igs = model_of(53, opacity), replace(LINEAR, refine_until=3000)
    igs.begin(model)
    change = refined(igs, step_of(model, 3300))
    assert change.counts == {"drop:recovery": math.floor(0.2 * 53)} and change.parents is not None
    gone = sorted(set(range(53)) - set(change.parents.tolist()))
    assert gone == sorted(opacity.argsort()[:10].tolist())
    assert igs.refine(step_of(model, 3200)) is None, "not before"
    assert refined(igs, step_of(model, 9300)).after == 43, "nor after the first two resets"


def test_a_reset_leaves_no_row_above_its_limit_and_zeroes_opacity_moments_only() -> None:
    model = model_of(3, torch.tensor([0.9, 0.5, 0.03]))
    LINEAR.begin(model)
    fill_moments(model.cloud)
    seen(LINEAR, model, torch.tensor([1.0, 0, 0]))
    change = refined(LINEAR, step_of(model, 3000))
    assert change.counts == {"overwrite:reset": 3, "append:split": 2, "drop:split": 1}
    opacity = model.cloud["opacity_logit"].detach().sigmoid()
    assert opacity.tolist() == pytest.approx([0.05, 0.03, 0.05, 0.05], rel=1e-5)
    assert not model.cloud.moments("opacity_logit")[0].any()
    assert model.cloud.moments("mean")[0][:2].all()


def test_faint_rows_go_early_once() -> None:
    model = model_of(4, torch.tensor([0.5, 0.019, 0.021, 0.001]))
    LINEAR.begin(model)
    assert LINEAR.refine(step_of(model, 200)) is None
    assert refined(LINEAR, step_of(model, 300)).counts == {"drop:early": 2}
    assert not refined(replace(LINEAR, early_at=0), step_of(model, 300))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            30_000,
            {
                "split and prune": list(range(600, 15_000, 100)),
                "prune faint rows": [300],
                "prune what recovered least": [3300, 6300],
                "reset opacity": [3000, 6000, 9000, 12_000],
            },
        ),
        (
            3000,
            {
                "split and prune": list(range(100, 1500, 50)),
                "prune faint rows": [30],
                "prune what recovered least": [350, 650],
                "reset opacity": [300, 600, 900, 1200],
            },
        ),
    ],
)
def test_acts_fall_on_the_published_steps(steps: int, expected: dict[str, list[int]]) -> None:
    igs = ImprovedGs().scheduled(steps)
    assert {what: list(when) for what, when in igs.acts(steps).items()} == expected
    assert edits_of(igs, model_of(3), steps) == sorted(
        {done for when in expected.values() for done in when}
    )


def test_a_published_schedule_is_its_own_fit() -> None:
    assert ImprovedGs().scheduled(30_000) == ImprovedGs()
    assert ImprovedGs().resets and not ImprovedGs(reset_every=0).resets
    assert ImprovedGs(reset_until=30_000).scheduled(30_000).reset_until == 25_500
