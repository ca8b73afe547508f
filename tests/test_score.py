"""Scores of rows over views, by hand and by brute force; surveys within a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from methods import job_of
from steps import CAMERA, model_of
from torch import Tensor

from splat.core.maps import Edge, Error
from splat.core.model import Explicit, Model
from splat.core.score import Significance, scores, significance, survey
from splat.core.step import Step
from splat.core.strategy import Fixed, Strategy
from splat.loop import advance, train
from splat.render.native import NativeRenderer
from splat.types import Batch, Camera, Contributions, Gaussians, Needs, Rendered, Surveyed

SCORES = ("mass", "hits", "transmitted", "most", "area", "squared", "weighted")


def surveyed(**values: list[float] | list[list[float]]) -> Surveyed:
    """What rows did in a view that nobody looks at; what is not given is 0."""
    n = len(next(iter(values.values())))
    given = {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}
    zeros = {name: torch.zeros(n, 1) if name == "weighted" else torch.zeros(n) for name in SCORES}
    batch = Batch(CAMERA, torch.zeros(CAMERA.height, CAMERA.width, 3, dtype=torch.uint8))
    gaussians = Gaussians(*(torch.zeros(0, k) for k in (3, 4, 3)), torch.zeros(0), torch.zeros(0))
    nothing = torch.zeros(CAMERA.height, CAMERA.width)
    rendered = Rendered(nothing[..., None], nothing, torch.zeros(0), gaussians)
    return Surveyed(batch, rendered, Contributions(**(zeros | given)))


VIEWS = [
    surveyed(
        mass=[4, 1, 0], hits=[8, 4, 0], transmitted=[6, 2, 0], most=[0.9, 0.3, 0],
        area=[5, 0, 0], squared=[2, 3, 0], weighted=[[1], [-2], [0]],
    ),
    surveyed(
        mass=[1, 2, 0.5], hits=[2, 4, 1], transmitted=[1, 3, 0.5], most=[0.4, 0.8, 0.5],
        area=[0, 2, 1], squared=[1, 1, 7], weighted=[[3], [5], [0.5]],
    ),
]  # fmt: skip


def test_views_are_summed_and_the_largest_kept() -> None:
    found = scores(view for view in VIEWS)
    wanted = {
        "mass": [5, 3, 0.5],
        "hits": [10, 8, 1],
        "transmitted": [7, 5, 0.5],
        "most": [0.9, 0.8, 0.5],
        "area": [5, 2, 1],
        "area_most": [5, 2, 1],
        "squared": [3, 4, 7],
        "weighted": [[4], [3], [0.5]],
        "weighted_most": [[3], [5], [0.5]],
        "mean": [0.5, 0.5, 0.5],  # 4 / 8 in the first view, 2 / 4 and 0.5 / 1 in the second
        "views": [2, 2, 1],
    }
    for name, values in wanted.items():
        torch.testing.assert_close(
            getattr(found, name).float(), torch.tensor(values, dtype=torch.float32), msg=name
        )


def test_counts_of_many_views_stay_whole() -> None:
    many = scores(surveyed(hits=[16_777_215.0, 1.0]) for _ in range(20))
    assert many.hits.tolist() == [335_544_300, 20]


def test_scores_of_no_views_and_of_views_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one"):
        scores([])
    with pytest.raises(ValueError, match="1 maps and 3 rows, another for 1 and 2"):
        scores([VIEWS[0], surveyed(mass=[1, 2])])


OPACITY = torch.tensor([0.5, 0.25, 1.0])
SCALE = torch.tensor([[1.0, 2, 4], [1, 1, 1], [0.5, 0.5, 2]])
"""Volumes 8, 1 and 0.5."""


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mass", [5, 3, 0.5]),
        ("hits", [10, 8, 1]),
        ("most", [0.9, 0.8, 0.5]),
        ("area", [5, 2, 1]),
        ("squared", [3, 4, 7]),
        ("mini", [5, 3, 0.5]),
        ("mini_outdoor", [0.5, 0.5, 0.5]),
        ("opacity", [0.5, 0.25, 1]),
        # A tenth of three rows is none: V_90 is the largest volume, 8.
        ("lightgaussian", [0.5 * 7, 0.25 * 5 * (1 / 8) ** 0.1, 0.5 * (0.5 / 8) ** 0.1]),
        # Nine tenths of three are two: V_10 is the smallest, 0.5.
        ("lightgaussian_released", [0.5 * 10 * 16**0.1, 0.25 * 8 * 2**0.1, 1]),
    ],
)
def test_significance_worked_by_hand(name: Significance, wanted: list[float]) -> None:
    found = significance(name, scores(VIEWS), OPACITY, SCALE)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float32))


def test_opaque_is_what_each_view_drew() -> None:
    views = [replace(VIEWS[0], opaque=torch.tensor([4.0, 2, 0])),
             replace(VIEWS[1], opaque=torch.tensor([0.5, 3, 1]))]  # fmt: skip
    found = significance("opaque", scores(views), OPACITY, SCALE)
    assert found.tolist() == [4.5, 5, 1]
    assert scores(VIEWS).opaque.tolist() == [0, 0, 0]


def test_volumes_are_measured_against_one_that_a_tenth_exceeds() -> None:
    """Of 20 rows two exceed V_90, and their factor is clipped to 1; 18 exceed V_10."""
    n = 20
    rows = scores([surveyed(hits=[2.0] * n, transmitted=[1.0] * n)])
    volumes = torch.arange(1, n + 1).float()
    scale = torch.stack([volumes, torch.ones(n), torch.ones(n)], 1)[torch.randperm(n)]
    ones = torch.ones(n)
    clipped = significance("lightgaussian", rows, ones, scale)
    torch.testing.assert_close(clipped, (scale[:, 0] / 18).clamp_max(1) ** 0.1)
    released = significance("lightgaussian_released", rows, ones, scale)
    torch.testing.assert_close(released, 2 * (scale[:, 0] / 2) ** 0.1)


def test_volumes_below_what_a_float_holds() -> None:
    scale = torch.full((4, 3), 1e-15)
    scale[0] = 1e-14
    rows = scores([surveyed(hits=[1.0] * 4, transmitted=[1.0] * 4)])
    found = significance("lightgaussian", rows, torch.ones(4), scale)
    torch.testing.assert_close(found, torch.tensor([1, *[1e-3**0.1] * 3]))


def test_rows_never_the_strongest_are_nothing_to_mini_splatting() -> None:
    rows = scores([VIEWS[0]])
    assert significance("mini", rows, OPACITY, SCALE).tolist() == [4, 0, 0]
    assert significance("mini_outdoor", rows, OPACITY, SCALE).tolist() == [0.5, 0, 0]
    assert significance("mass", rows, OPACITY, SCALE).tolist() == [4, 1, 0]


def test_opacity_needs_no_views_and_every_name_has_a_formula() -> None:
    assert torch.equal(significance("opacity", None, OPACITY, SCALE), OPACITY)
    for name in get_args(Significance):
        assert significance(name, scores(VIEWS), OPACITY, SCALE).shape == (3,)
    with pytest.raises(ValueError, match="'mass' is made from views"):
        significance("mass", None, OPACITY, SCALE)
    with pytest.raises(ValueError, match="no score of significance 'masses'; expected one of mass"):
        significance("masses", scores(VIEWS), OPACITY, SCALE)  # type: ignore[arg-type]


class Twins(Model):
    """Every row makes two Gaussians beside each other; the second of the first row is left out."""

    slots = 2

    def __init__(self, rows: Explicit) -> None:
        super().__init__()
        self.rows, self.cloud = rows, rows.cloud

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        one = self.rows(camera, step)
        n = len(one)
        which = torch.cat([torch.arange(n).flip(0) * 2, torch.arange(1, n) * 2 + 1])
        shift = (which % 2)[:, None] * torch.tensor([0.3, 0.1, 0.0])
        picked = which // 2
        return Gaussians(
            one.means[picked] + shift,
            one.quats[picked],
            one.scales[picked],
            one.opacities[picked],
            one.colors.detach()[picked],
            one.sh_degree,
            source=which,
        )

    def bake(self, camera: Camera | None = None) -> Gaussians:
        return self.rows.bake(camera)


def test_gaussians_of_a_row_are_brought_together() -> None:
    rows = model_of(40, opacity=0.4, scale=0.15, sh_degree=1)
    with torch.no_grad():
        rows.cloud["mean"].mul_(0.7)[:, 2].add_(3)
    model = Twins(rows)
    batch = Batch(CAMERA, torch.full((CAMERA.height, CAMERA.width, 3), 100, dtype=torch.uint8))
    maps = (Error(), Edge())
    render = NativeRenderer()
    found = survey(model, render, batch, maps).rows
    gaussians = model(CAMERA)
    assert gaussians.source is not None and len(gaussians) == 79
    _, each = render.survey(
        gaussians, CAMERA, None, lambda r: torch.stack([m(r, batch) for m in maps], -1)
    )
    assert each.hits.count_nonzero() > 40
    of = (gaussians.source // 2).tolist()
    for name in SCORES:
        apart, together = getattr(each, name), getattr(found, name)
        assert len(together) == 40
        for row in range(40):
            mine = [apart[i] for i in range(79) if of[i] == row]
            assert len(mine) == (1 if row == 0 else 2)
            wanted = torch.stack(mine).amax(0) if name == "most" else sum(mine)
            torch.testing.assert_close(together[row], wanted)


@dataclass(frozen=True)
class Asking(Strategy):
    """No density control; compares what the loop tells of weights with surveys of its own."""

    start_at: int = 3
    seen: list[float] = field(default_factory=list, compare=False)
    needs = Needs(weights=(Error(), Edge()))

    def observe(self, step: Step) -> None:
        if step.number % 7 != self.start_at:
            return
        maps = self.needs.weights
        found = step.survey(step.batch.camera.index, maps)
        assert torch.equal(found.rendered.image, step.rendered.image)
        assert torch.equal(found.batch.pixels, step.batch.pixels)
        for k, each in enumerate(maps):
            mine, theirs = step.rendered.weighted(each), found.rows.weighted[:, k]
            torch.testing.assert_close(mine, theirs, atol=1e-5 * float(theirs.max()), rtol=0)
        self.seen.append(float(found.rows.mass.sum()))

    def refine(self, step: Step) -> None:
        return None


def test_a_run_is_told_the_weights_and_is_the_same_as_without(tiny_folder: Path) -> None:
    asking, plain = Asking(), Fixed()
    runs = [job_of(tiny_folder, strategy, steps=20).run for strategy in (asking, plain)]
    for run in runs:
        train(run)
    assert len(asking.seen) == 3 and min(asking.seen) > 0
    for name in runs[0].model.cloud.names:
        assert torch.equal(runs[0].model.cloud[name], runs[1].model.cloud[name])


def test_a_step_surveys_as_one_does_by_hand(tiny_folder: Path) -> None:
    """Any view, at the step's size, with the bands of harmonics of the step and the background."""
    run = job_of(tiny_folder, Fixed(), steps=12, background="white").run
    for _ in range(5):
        advance(run)
    maps = (Error(),)
    for index in (0, 4):
        found = run.survey(index, maps)
        batch = run.photos(index, run.step)
        gaussians = run.model(batch.camera, run.step)
        drawn = run.render(gaussians, batch.camera, background=run.background)
        assert torch.equal(found.rendered.image, drawn.image)
        assert found.batch.camera.index == index
        again = survey(run.model, run.render, batch, maps, run.background, run.step)
        for name in SCORES:
            assert torch.equal(getattr(found.rows, name), getattr(again.rows, name))
        # What all rows together weigh is what the picture's alpha is.
        torch.testing.assert_close(found.rows.mass.sum(), drawn.alpha.sum(), rtol=1e-4, atol=0)
        weighed = (maps[0](drawn, batch) * drawn.alpha).sum()
        torch.testing.assert_close(found.rows.weighted.sum(), weighed, rtol=1e-4, atol=0)
        assert found.rows.area.sum() == (drawn.alpha > 0).sum()


def test_scores_of_a_run_rank_rows_alike_whatever_the_threads(
    tiny_folder: Path, threads: None
) -> None:
    orders: list[Tensor] = []
    for count in (1, 3):
        run = job_of(tiny_folder, Fixed(), steps=4, threads=count).run
        train(run)
        total = scores(run.survey(i) for i in range(len(run.views)))
        gaussians = run.model.bake()
        given = [
            significance(name, total, gaussians.opacities, gaussians.scales)
            for name in get_args(Significance)
        ]
        orders.append(torch.stack(given))
    assert torch.equal(*orders) and (orders[0] >= 0).all()
    assert (orders[0].sum(1) > 0).all()
