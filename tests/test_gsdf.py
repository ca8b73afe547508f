"""A signed distance that steers anchors: where they grow, which go, and how it is given."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS
from steps import refined, step_of
from torch import Tensor

from splat import api, datasets
from splat.core.edit import Change, Edit
from splat.core.fields import statistic_shapes
from splat.core.model import Making
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper
from splat.datasets import demo
from splat.loop import Run, train
from splat.options import Options, Reading, Watching
from splat.recipes.recipe import strategy_from_text, to_text
from splat.recipes.saved import description_of, strategy_from_description
from splat.runs import checkpoint
from splat.runs.folder import Folder, read_config
from splat.strategies.adc import Adc
from splat.strategies.scaffold import Scaffold
from splat.strategies.scaffold.anchors import Anchored
from splat.strategies.scaffold.density import GRADIENT, OPACITY, SEEN, VISITS
from splat.strategies.scaffold.gsdf import Gsdf
from splat.training.prepare import prepare
from splat.training.stop import Stopped
from splat.types import Frame

BASE = Scaffold(slots=1, voxel=0.01)
FRAME = Frame((1.0, 0.0, 0.0), 0.5)
"""The plane x = 3 of the scene is x = 1 in the frame of training."""
JUDGED = 1600


def plane(points: Tensor) -> Tensor:
    """Of the plane x = 3; not known below z = -2."""
    return (points[:, 0] - 3).where(points[:, 2] > -2, torch.nan)


def column(points: Tensor) -> Tensor:
    return points[:, :1]


OTHER = 3


def by(sdf: str = "plane", **options: Any) -> Gsdf:
    """The part, with a function of this file."""
    return Gsdf(BASE, sdf=f"{__name__}:{sdf}", **options)


def model_at(points: Tensor) -> Anchored:
    """Anchors in the frame of training, as small as their cells, seen often and opaque."""
    model = BASE.model({"mean": points}, Making(steps=30_000))
    assert isinstance(model, Anchored)
    model.frame = FRAME
    BASE.begin(model)
    cloud = model.cloud
    with torch.no_grad():
        cloud["reach"].fill_(math.log(0.01))
    cloud.statistic(SEEN).fill_(100)
    cloud.statistic(VISITS).fill_(100)
    cloud.statistic(OPACITY).fill_(100)
    return model


def bare(model: Anchored, seed: int = 0) -> Step:
    """A step at which anchors are born and dropped, and in which nothing was drawn."""
    return step_of(model, JUDGED, source=torch.empty(0, dtype=torch.int64), seed=seed)


def wall(x: float, n: int = 40, z: float = 0.0) -> Tensor:
    """Points over each other at one distance from the plane."""
    return torch.stack([torch.tensor([x, float(i), z]) for i in range(n)])


def pulled(model: Anchored, gradient: float) -> Anchored:
    """With offsets three cells of the coarsest grid to the side, and this gradient."""
    with torch.no_grad():
        model.cloud["offset"][..., 1] = 3 * 16.0
    model.cloud.statistic(GRADIENT).fill_(100 * gradient)
    return model


def born(edit: Edit | None) -> Tensor:
    assert edit is not None
    return torch.cat([torch.zeros(0, 3), *(append.rows["anchor"] for append in edit.append)])


def test_at_equal_gradient_offsets_at_the_surface_grow_and_others_do_not() -> None:
    model = pulled(model_at(torch.cat([wall(1.0), wall(1.3)])), 1e-4)
    assert not len(born(BASE.refine(bare(model))))
    found = born(by().refine(bare(model)))
    assert len(found) > 10 and ((found[:, 0] - 1).abs() < 0.1).all()
    # Over the threshold both do, and what is said of the surface is in scene units.
    found = born(by().refine(bare(pulled(model, 3e-4))))
    assert ((found[:, 0] - 1.3).abs() < 0.1).sum() > 10
    off = pulled(model_at(wall(3.0)), 1e-4)
    assert not len(born(by().refine(bare(off))))


def test_how_much_nearness_counts() -> None:
    points = torch.tensor([[1.0, 0, 0], [1.1, 0, 0], [0.9, 5, 1], [1.3, 0, 0], [1, 0, -1.5]])
    model, step = model_at(points), bare(model_at(points))
    wanted = [1, math.exp(-1), math.exp(-1), math.exp(-9), math.nan]
    near = by().nearness(model, points)
    assert near.tolist() == pytest.approx(wanted, rel=1e-4, nan_ok=True)
    half = by(band=0.02).nearness(model, points)
    assert float(half[1]) == pytest.approx(math.exp(-0.5), rel=1e-4)
    more = by(weight=3e-4).wanted(step, points)
    assert more.tolist() == pytest.approx([3e-4 * w for w in wanted[:4]] + [0], rel=1e-4)
    assert by().nearness(model, points[:0]).shape == (0,)


def test_far_large_anchors_go_and_small_ones_as_the_paper_has_it() -> None:
    """One anchor each: what it is, how large, what it was seen and how opaque; does it go?"""
    cases = {
        "far and large": ([2.0, 0, 0], 0.2, 100, 90, (True, True)),
        "far and small": ([2.0, 1, 0], 0.09, 100, 90, (False, True)),
        "far, large and opaque": ([2.0, 2, 0], 0.2, 100, 101, (False, False)),
        "far, large, seen too little": ([2.0, 3, 0], 0.2, 80, 0, (False, False)),
        "at the surface and large": ([1.0, 4, 0], 0.2, 100, 1, (False, False)),
        "at the surface and faint": ([1.0, 5, 0], 0.01, 100, 0, (True, True)),
        "not known": ([2.0, 6, -2], 0.2, 100, 1, (False, False)),
    }
    points = torch.tensor([case[0] for case in cases.values()])
    for which, prune_size in enumerate((0.1, 0.0)):
        model = model_at(points)
        cloud = model.cloud
        names = list(cases)
        for row, place in enumerate(cloud["anchor"][:, 1].round().long().tolist()):
            _, size, visits, opacity, _ = cases[names[place]]
            with torch.no_grad():
                cloud["reach"][row, 4] = math.log(size)
            cloud.statistic(VISITS)[row] = visits
            cloud.statistic(OPACITY)[row] = opacity
        change = refined(by(prune_size=prune_size), bare(model))
        left = {names[int(y)] for y in model.cloud["anchor"][:, 1].round()}
        assert left == {name for name, case in cases.items() if not case[-1][which]}
        assert change.counts == {"drop:opacity": len(cases) - len(left)}


def test_what_is_not_known_changes_nothing() -> None:
    points = wall(1.0, z=-1.5)
    for gradient in (1e-4, 3e-4):
        model = pulled(model_at(points), gradient)
        found, plain = by(prune_size=0.0).refine(bare(model)), BASE.refine(bare(model))
        assert torch.equal(born(found), born(plain))
        assert found is not None and not found.drop[0].rows.numel()


def test_it_acts_when_its_base_does() -> None:
    whole = by().scheduled(3000)
    assert whole.acts(3000) == Scaffold().scheduled(3000).acts(3000)
    assert whole.limited(77).cap == 77 and whole.handles == "anchors"
    assert whole.objectives() == BASE.objectives()
    assert statistic_shapes(by()) == statistic_shapes(BASE)


class Guided(Wrapper):
    """Forwards a guide's word."""

    def guided(self, step: Step, guide: Any) -> Edit | None:
        found: Edit | None = self.base.guided(step, guide)  # type: ignore[attr-defined]
        return found


def test_it_stands_behind_what_takes_its_word() -> None:
    for base in (Adc(), Wrapper(BASE), by()):
        strategy: Strategy = replace(by(), base=base)
        with pytest.raises(ValueError, match=r"takes no such word; put it right after scaffold"):
            statistic_shapes(strategy)
    model = pulled(model_at(wall(1.0)), 1e-4)
    found = born(replace(by(), base=Guided(BASE)).refine(bare(model)))
    assert torch.equal(found, born(by().refine(bare(model)))) and len(found)


@pytest.mark.parametrize(
    ("sdf", "said_"),
    [
        ("", "gsdf has no signed distance to go by; say where its function is: --sdf"),
        ("plane", "sdf 'plane' names no function; expected module:function"),
        (f"{__name__}:sphere", "holds no sphere; expected a function that takes points"),
        (f"{__name__}:OTHER", "holds another thing as OTHER"),
        ("no_such_module:f", "sdf module 'no_such_module' cannot be imported"),
    ],
)
def test_what_is_no_signed_distance_is_refused(sdf: str, said_: str) -> None:
    with pytest.raises(ValueError, match=said_):
        statistic_shapes(Gsdf(BASE, sdf=sdf))


def test_further_refusals() -> None:
    with pytest.raises(FileNotFoundError, match=r"sdf file .*none\.py does not exist"):
        statistic_shapes(Gsdf(BASE, sdf="none.py:plane"))
    points = torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"gave \(5, 1\) for points of \(5, 3\); expected one"):
        by("column").nearness(model_at(points), points)
    for options in ({"band": 0.0}, {"weight": -1.0}, {"prune_size": math.nan}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Gsdf(BASE, **options)


def test_its_recipe() -> None:
    text = "scaffold --cap 9k + gsdf --sdf splat.datasets.demo:sdf --prune-size 0"
    strategy = Gsdf(Scaffold(cap=9000), sdf="splat.datasets.demo:sdf", prune_size=0.0)
    assert (
        strategy_from_text(text) == strategy == strategy_from_description(description_of(strategy))
    )
    assert to_text(strategy) == text
    spaced = replace(strategy, sdf="my scenes/wall.py:wall")
    assert strategy_from_text(to_text(spaced)) == spaced


def near_the_surface(run: Run) -> float:
    """Share of the anchors that are within a tenth of the extent of the built-in scene's."""
    model = run.model
    places, frame = model.cloud["anchor"].detach().double(), model.frame
    distance = demo.sdf(places / frame.scale + torch.tensor(frame.centre)) * frame.scale
    return float((distance.abs() < 0.1).double().mean())


def test_anchors_come_to_the_surface(tiny_folder: Path) -> None:
    """From random points, with the same budget of anchors."""
    scene = replace(datasets.load(tiny_folder), points=None)
    options = Options(steps=160, threads=2, schedule="published", max_side=0)
    base = replace(METHODS["scaffold"], cap=600)  # type: ignore[type-var]
    shares = []
    for strategy in (
        base,
        Gsdf(base, sdf="splat.datasets.demo:sdf"),
        Gsdf(base, sdf="splat.datasets.demo:sdf", prune_size=0.0),
    ):
        with closing(prepare(scene, strategy, options)) as job:
            train(job.run)
            shares.append(near_the_surface(job.run))
    assert shares[0] < 0.15 and shares[1] > 2 * shares[0] and shares[2] > 0.6


def test_a_run_goes_on_from_its_folder(tiny_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "scene sdf.py"
    path.write_text(
        "from splat.datasets import demo\n\n\ndef sdf(points):\n    return demo.sdf(points)\n"
    )
    strategy = Gsdf(METHODS["scaffold"], sdf=f"{path}:sdf", prune_size=0.0)
    options = Options(steps=45, max_side=0, schedule="published", threads=2)

    def stop(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        if run.step == 33:
            os.kill(os.getpid(), signal.SIGTERM)

    for name, watchers in (("whole", ()), ("part", (stop,))):
        common: dict[str, Any] = {
            "out": tmp_path / name,
            "watching": Watching(quiet=True, pictures=False),
            "reading": Reading(),
            "watchers": watchers,
            "lpips": None,
        }
        if watchers:
            with pytest.raises(Stopped):
                api.train(api.load(tiny_folder), strategy, options, **common)
        else:
            api.train(api.load(tiny_folder), strategy, options, **common)
    assert (
        strategy_from_description(read_config(Folder(tmp_path / "part").config).method) == strategy
    )
    api.resume(tmp_path / "part", threads=1, lpips=None, watching=Watching(quiet=True))
    for name in ("checkpoints/step_00000045.pt",):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    state = checkpoint.load(tmp_path / "part/checkpoints/step_00000045.pt")
    assert len(checkpoint.rows(state)["anchor"]) > 500
