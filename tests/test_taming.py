"""Taming 3DGS: the score of nine terms, who grows to the curve, who goes, worked by hand."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from steps import CAMERA, assert_consistent, model_of, refined, step_of, survey_of
from torch import Tensor

from splat.core.maps import Salience
from splat.core.model import Explicit
from splat.core.step import Step
from splat.rules.curve import share, target
from splat.rules.window import SCREEN_GRADIENT, VIEWS
from splat.strategies.taming import Taming, Terms, weighed
from splat.types import Batch, Surveyed

NONE = Terms(**dict.fromkeys(asdict(Terms()), 0.0))
BLEND = replace(NONE, blend=1.0)
TAMING = Taming(cap=100, curve="linear", views=1, terms=BLEND)


def ready(
    taming: Taming,
    model: Explicit,
    mass: Tensor,
    gradient: float | Tensor = 1e-3,
    done: int = 1000,
    **view: Tensor,
) -> Step:
    """A step with such mean screen gradients, and one view with such blending weights."""
    if SCREEN_GRADIENT not in model.cloud.statistics:
        taming.begin(model)
    n = len(model.cloud)
    model.cloud.statistic(SCREEN_GRADIENT).copy_(torch.as_tensor(gradient).expand(n))
    model.cloud.statistic(VIEWS).fill_(1.0)
    survey = survey_of(model, [{"mass": mass, **view}])
    # The picture is black: with a photograph of grey its loss is not zero.
    step = step_of(model, done, survey=survey)
    grey = torch.full((CAMERA.height, CAMERA.width, 3), 128, dtype=torch.uint8)

    def on_grey(index: int, maps: Any = ()) -> Surveyed:
        found = survey(index, maps)
        weighted = view.get("weighted", torch.ones(n, len(maps)))
        return replace(
            found, batch=Batch(CAMERA, grey), rows=replace(found.rows, weighted=weighted)
        )

    return replace(step, survey=on_grey)


def test_a_term_is_in_units_of_the_median_of_what_is_positive_in_sight() -> None:
    values = {"a": torch.tensor([1.0, 2, 8, 0, 400]), "b": torch.tensor([0.0, 5, 5, 0, 9])}
    seen = torch.tensor([True, True, True, True, False])
    found = weighed(values, {"a": 10.0, "b": 1.0}, seen)
    assert found.tolist() == [5.0, 11.0, 41.0, 0.0, 0.0]
    nothing = weighed({"a": torch.zeros(5)}, {"a": 1.0}, seen)
    assert not nothing.any()


def test_no_unit_of_a_term_matters() -> None:
    draw = torch.Generator().manual_seed(0)
    values = {name: torch.rand(200, generator=draw) for name in asdict(Terms())}
    seen = torch.rand(200, generator=draw) < 0.7
    plain = weighed(values, asdict(Terms()), seen)
    for name in values:
        scaled = {**values, name: 1000 * values[name]}
        assert torch.allclose(weighed(scaled, asdict(Terms()), seen), plain, rtol=1e-5)
    assert not plain[~seen].any() and (plain[seen] > 0).all()


def test_every_term_is_what_its_name_says() -> None:
    model = model_of(4, torch.tensor([0.2, 0.4, 0.6, 0.8]), torch.tensor([1.0, 1, 2, 1]))
    model.cloud["mean"].data[:, 2] = torch.tensor([1.0, 2, 3, 4])
    hits, mass = torch.tensor([1.0, 2, 4, 8]), torch.tensor([1.0, 3, 5, 7])
    weighted, radii = torch.tensor([[2.0], [4], [6], [8]]), torch.tensor([1.0, 3, 3, 0])
    more = {"hits": hits, "weighted": weighted, "radii": radii}
    expected = {
        "gradient": [1, 1, 1],
        "opacity": [0.2, 0.4, 0.6],
        "depth": [1, 2, 3],
        "radius": [1, 3, 3],
        "volume": [1, 1, 8],
        "distance": [1, 6, 12],
        "salience": [2, 4, 6],
        "pixels": [1, 2, 4],
        "blend": [1, 3, 5],
    }
    for name, terms in expected.items():
        taming = replace(TAMING, terms=replace(NONE, **{name: 1.0}))
        score = taming.score(ready(taming, model_like(model), mass, **more))
        middle = sorted(terms)[1]
        found = (score / score[0] * terms[0] / middle)[:3]
        assert found.tolist() == pytest.approx([term / middle for term in terms], rel=1e-5), name
        assert score[3] == 0, "out of sight"


def model_like(model: Explicit) -> Explicit:
    return Explicit(model.cloud.rows(torch.arange(len(model.cloud))), steps=30_000)


def test_salience_is_error_and_edge_each_from_its_least_to_its_most() -> None:
    step = step_of(model_of(1))
    pixels = torch.zeros(20, 20, 3, dtype=torch.uint8)
    pixels[:, 10:] = 255
    found = Salience()(step.rendered, Batch(CAMERA, pixels))
    # The picture is black: wrong by 1 on the right; the edge is one column to either side.
    assert found[5].tolist() == pytest.approx([0.0] * 9 + [1.0, 2.0] + [1.0] * 9)
    flat = Salience()(step.rendered, Batch(CAMERA, torch.zeros_like(pixels)))
    assert not flat.any()


def test_growth_meets_the_curve_and_each_kind_has_its_share() -> None:
    scale = torch.tensor([0.005] * 30 + [0.02] * 10)
    model = model_of(40, 0.5, scale)
    change = refined(TAMING, ready(TAMING, model, torch.ones(40)))
    # One of 28 parts is over: 40 + 60 / 28 = 42.1.
    assert change.after == target("linear", 40, 100, share(1000, 500, 15_000, 500)) == 42
    model = model_of(40, 0.5, scale)
    change = refined(TAMING, ready(TAMING, model, torch.ones(40), done=7000))
    # 13 of 28: 40 + 27.9 -> 67; of 27 new rows a quarter, 6.75 -> 7, are of splits.
    assert change.counts == {"append:clone": 20, "append:split": 14, "drop:split": 7}
    assert change.after == 67


def test_rows_below_the_threshold_or_without_a_score_do_not_grow() -> None:
    gradient = torch.tensor([1.9e-4, 3e-4, 3e-4, 3e-4])
    mass = torch.tensor([9.0, 1.0, 0.0, 2.0])
    model = model_of(4)
    change = refined(TAMING, ready(TAMING, model, mass, gradient))
    assert change.counts == {"append:clone": 2} and change.parents is not None
    assert sorted(change.parents[4:].tolist()) == [1, 3]
    model = model_of(4)
    assert not refined(TAMING, ready(TAMING, model, mass, 0.0)), "no candidate"
    model = model_of(4)
    assert not refined(TAMING, ready(TAMING, model, torch.zeros(4))), "no score"


def test_rows_grow_in_proportion_to_their_score() -> None:
    """Of two rows one grows: the second three times as often."""
    taming = replace(TAMING, cap=3)
    counts = [0, 0]
    for seed in range(400):
        model = model_of(2)
        step = ready(taming, model, torch.tensor([1.0, 3.0]), done=14_500)
        step = replace(step, generator=step_of(model, seed=seed).generator)
        change = refined(taming, step)
        assert change.parents is not None and change.after == 3
        counts[int(change.parents[2])] += 1
    # Standard deviation of the second is sqrt(400 * 0.75 * 0.25) = 8.7.
    assert abs(counts[1] - 300) < 35


def test_half_of_what_adc_would_prune_goes_and_first_what_has_no_score() -> None:
    opacity = torch.tensor([0.5] * 3 + [0.001] * 9)
    mass = torch.cat([torch.zeros(3), torch.zeros(4), torch.ones(5)])
    model = model_of(12, opacity)
    change = refined(TAMING, ready(TAMING, model, mass, gradient=0.0))
    assert change.counts == {"drop:opacity": 4} and change.parents is not None
    assert change.parents.tolist() == [0, 1, 2, *range(7, 12)]


def test_large_rows_go_after_the_first_reset_only() -> None:
    for done, expected in ((2500, {}), (3500, {"drop:size": 2})):
        model = model_of(5, 0.5, torch.tensor([0.2, 0.2, 0.2, 0.2, 0.05]))
        assert refined(TAMING, ready(TAMING, model, torch.zeros(5), done=done)).counts == expected


def test_rows_are_pruned_at_the_first_27_refinements() -> None:
    model = model_of(8, torch.tensor([0.5] * 4 + [0.001] * 4))
    assert not refined(TAMING, ready(TAMING, model, torch.zeros(8), done=14_500))
    model = model_of(8, torch.tensor([0.5] * 4 + [0.001] * 4))
    assert refined(TAMING, ready(TAMING, model, torch.zeros(8), done=14_000)).after == 6


def test_views_are_drawn_and_no_more_than_asked_for() -> None:
    model, asked = model_of(3), list[int]()
    TAMING.begin(model)
    views = [{"mass": torch.ones(3)}] * 40
    taming = replace(TAMING, views=10)
    for seed in range(3):
        survey = survey_of(model, views, asked)
        taming.score(step_of(model, 1000, survey=survey, views=40, seed=seed))
    assert len(asked) == 30 and len(set(asked[:10])) == 10 and set(asked[:10]) != set(asked[10:20])


@pytest.mark.parametrize(
    ("steps", "expected", "views"),
    [
        (
            30_000,
            {
                "grow and prune": list(range(1000, 14_500, 500)),
                "grow": [14_500],
                "reset opacity": [3000, 6000, 9000, 12_000],
            },
            10,
        ),
        (
            3000,
            {
                "grow and prune": list(range(100, 1450, 50)),
                "grow": [1450],
                "reset opacity": [300, 600, 900, 1200],
            },
            2,
        ),
    ],
)
def test_acts_fall_on_the_published_steps(
    steps: int, expected: dict[str, list[int]], views: int
) -> None:
    taming = Taming().scheduled(steps)
    assert {what: list(when) for what, when in taming.acts(steps).items()} == expected
    assert taming.views == views
    assert steps != 30_000 or taming == Taming()


def test_a_whole_growth_fills_the_cap_and_stays_below_the_curve() -> None:
    taming = replace(TAMING, cap=400, curve="parabola", reset_every=0)
    model = model_of(50, 0.9)
    for done in range(1000, 15_000, 500):
        n = len(model.cloud)
        found = refined(taming, ready(taming, model, torch.ones(n), done=done)).after
        aim = target("parabola", 50, 400, share(done, 500, 15_000, 500))
        assert found <= max(aim, n)
    assert len(model.cloud) == 400
    assert_consistent(model.cloud)
