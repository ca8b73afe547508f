"""Scenes that move: recipes with all else equal, on held-out cameras of the built-in clip.

    python bench/clips.py --out runs/clips [--seeds 0 1 2] [--steps 2500] [--cap 8k]
        [--layout rig|orbit] [--scene FOLDER] [--instants 4] [--thing bead]
        "mrnf" "mrnf + moving" ...

PSNR over all pixels, on those that move and on the others (`splat.training.clip_figures`), CPU time
of a step, and where truth is known the flow: the median, over what is seen of what moves, of the
difference between the velocity of a Gaussian and that of the thing, over the latter. Of what a
field deforms the file is the `.clip`, and the last column how many times smaller it is than rows
and planes of the first such recipe as floats. `--instants`
trains so many single instants apart with the first recipe: with all steps each, and with as many
in all as the clip has; `--unseen` trains without every fourth instant, and measures on those.
`--thing` measures on the pixels of one thing, too, of what the file for all times shows.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import markdown

from splat import api, datasets
from splat import results as files
from splat.datasets.demo import clip
from splat.datasets.demo.shapes import SOLIDS
from splat.datasets.tracer.folders import read_image
from splat.math import spread
from splat.options import Options, Watching
from splat.recipes.recipe import strategy_from_text
from splat.runs.folder import Folder
from splat.training.clip_figures import ClipFigures
from splat.training.prepare import prepare
from splat.types import Camera, SceneData


@dataclass(frozen=True)
class Figures:
    """Of a run; dB, seconds."""

    psnr: float
    moving: float | None
    rest: float | None
    step: float
    bytes: int
    flow: float | None = None
    file: float | None = None
    """Of the file, read back."""
    floats: int = 0
    """Bytes of rows and planes as floats; 0: nothing is deformed."""
    smaller: float | None = None
    thing: float | None = None
    """PSNR on the pixels of one thing."""


def trained(
    scene: SceneData, recipe: str, seed: int, out: Path, steps: int, cap: int
) -> dict[str, Any]:
    """Train, or take the run that is there; its metrics."""
    if not (out / "metrics.json").is_file():
        api.train(
            scene,
            strategy_from_text(recipe).limited(cap),
            Options(steps=steps, seed=seed, max_side=0, device="cpu", sh_degree=1),
            out=out,
            overwrite=True,
            watching=Watching(quiet=True, pictures=False),
            lpips=None,
        )
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def figures(metrics: dict[str, Any]) -> Figures:
    """Those of a run of the whole clip."""
    moved = metrics["clip"]
    own = metrics.get("clip_file") or metrics["export"]
    return Figures(
        metrics["psnr"], moved["psnr_moving"], moved["psnr_rest"], metrics["seconds_per_step"],
        own["bytes"], moved.get("flow_error"), own["psnr_after"],
        own.get("as_floats", 0),
    )  # fmt: skip


def on_thing(scene: SceneData, name: str, out: Path) -> float:
    """PSNR of a run's Gaussians over all held-out pixels of a thing of the built-in clip."""
    number = 1 + next(i for i, solid in enumerate(SOLIDS) if solid.name == name)
    drawn, total, count = files.read(Folder(out).gaussians), 0.0, 0
    for view in scene.test:
        shows = clip.truth(scene.path, view.name).objects == number
        photo = torch.from_numpy(read_image(scene.path / "images" / view.name)) / 255
        error = (drawn.render(view.camera).clamp(0, 1) - photo)[shows]
        total, count = total + float(error.double().square().sum()), count + error.numel()
    return -10 * math.log10(total / count)


def single_instants(
    scene: SceneData, recipe: str, seed: int, out: Path, steps: int, cap: int, count: int
) -> Figures:
    """Runs of some instants, each trained on its own photos; the mean over them."""
    times = sorted({view.camera.time for view in scene.test})
    with closing(prepare(scene, strategy_from_text("fixed"), Options(steps=1, max_side=0))) as job:
        gathered, step, weight = ClipFigures(job), [], 0
        for time in (times[i] for i in spread(len(times), count)):
            part = of_times(scene, {time})
            folder = out / f"{time:.3f}"
            metrics = trained(part, recipe, seed, folder, steps, cap)
            step.append(metrics["seconds_per_step"])
            weight += Folder(folder).gaussians.stat().st_size
            drawn = files.read(Folder(folder).gaussians)
            for batch in _batches(job, time):
                camera = _in_input(scene, batch.name)
                image = drawn.render(camera.resized(batch.camera.width, batch.camera.height))
                error = (image.clamp(0, 1) - batch.image).square().mean()
                gathered.look(batch, image, float(-10 * error.log10()))
        record = gathered.record(gathered.views)
        assert record is not None
        psnr = statistics.fmean(view.psnr for view in gathered.views)
        return Figures(
            psnr, record["psnr_moving"], record["psnr_rest"], statistics.fmean(step),
            weight * len(times) // count,
        )  # fmt: skip


def _batches(job: Any, time: float) -> Iterator[Any]:
    return (batch for batch in job.test_batches() if batch.camera.time == time)


def _in_input(scene: SceneData, name: str) -> Camera:
    return next(view.camera for view in scene.test if view.name == name)


def of_times(scene: SceneData, times: set[float]) -> SceneData:
    """The scene as it is at some instants."""
    kept = {
        name: tuple(view for view in getattr(scene, name) if view.camera.time in times)
        for name in ("train", "test")
    }
    points = scene.points
    if points is not None and points.times is not None and len(times) == 1:
        near = points.times.unique()
        (time,) = times
        there = near[(near - time).abs().argmin()]
        points = replace(points.take(points.times == there), times=None)
    numbered = tuple(
        replace(view, camera=replace(view.camera, index=i)) for i, view in enumerate(kept["train"])
    )
    still = scene.clip if len(times) > 1 else None
    return replace(scene, train=numbered, test=kept["test"], points=points, clip=still)


def unseen(scene: SceneData) -> tuple[SceneData, set[float]]:
    """The scene with every fourth instant held out of training, and these instants."""
    times = sorted({view.camera.time for view in scene.train})
    out = set(times[2::4])
    train = tuple(view for view in scene.train if view.camera.time not in out)
    numbered = tuple(
        replace(view, camera=replace(view.camera, index=i)) for i, view in enumerate(train)
    )
    return replace(scene, train=numbered), out


def row(name: str, found: Sequence[Figures]) -> list[str]:
    """A row of the table: means, and standard deviations of several seeds."""

    def of(field: str, digits: int = 2, factor: float = 1.0) -> str:
        values = [getattr(each, field) for each in found]
        if any(value is None for value in values):
            return "–"
        mean = f"{factor * statistics.fmean(values):.{digits}f}"
        if len(values) < 2:
            return mean
        return f"{mean} ± {factor * statistics.stdev(values):.{digits}f}"

    return [
        name, of("psnr"), of("moving"), of("rest"), of("step", 1, 1e3), of("bytes", 3, 1e-6),
        of("flow"), of("file"), of("smaller", 1), of("thing"),
    ]  # fmt: skip


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=["mrnf", "mrnf + moving", "mcmc + moving"])
    parser.add_argument("--out", type=Path, default=Path("runs/clips"))
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--layout", choices=("rig", "orbit"), default="rig")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--cap", type=int, default=8000)
    parser.add_argument("--instants", type=int, default=0)
    parser.add_argument("--unseen", action="store_true")
    parser.add_argument("--thing", default="")
    asked = parser.parse_args()
    folder = asked.scene or clip.cached(layout=asked.layout)
    scene = datasets.load(folder)
    table: dict[str, list[Figures]] = defaultdict(list)
    for recipe in asked.recipes:
        for seed in asked.seeds:
            out = asked.out / f"{recipe.replace(' ', '')}_{asked.steps}_{asked.cap}_{seed}"
            metrics = trained(scene, recipe, seed, out, asked.steps, asked.cap)
            thing = on_thing(scene, asked.thing, out) if asked.thing else None
            table[recipe].append(replace(figures(metrics), thing=thing))
            if asked.unseen:
                part, instants = unseen(scene)
                found = trained(part, recipe, seed, Path(f"{out}_unseen"), asked.steps, asked.cap)
                by_time = {each["time"]: each["psnr"] for each in found["clip"]["by_instant"]}
                for name, chosen in (
                    ("instants seen", set(by_time) - instants),
                    ("instants never seen", instants),
                ):
                    psnr = statistics.fmean(by_time[time] for time in chosen)
                    table[f"{recipe}, {name}"].append(
                        Figures(psnr, None, None, found["seconds_per_step"], 0)
                    )
    if asked.instants and scene.clip is not None:
        base, count = asked.recipes[0], asked.instants
        for seed in asked.seeds:
            for name, steps in (
                ("single instants, as many steps in all", asked.steps // scene.clip.instants),
                ("single instants, all steps each", asked.steps),
            ):
                out = asked.out / f"single_{steps}_{asked.cap}_{seed}"
                table[name].append(single_instants(scene, base, seed, out, steps, asked.cap, count))
    whole = next((runs[0].floats for runs in table.values() if runs[0].floats), 0)
    for name, runs in table.items():
        table[name] = [
            replace(each, smaller=whole / each.bytes) if each.floats else each for each in runs
        ]
    head = ["recipe", "all, dB", "moving", "others", "ms a step", "MB", "flow error", "file, dB"]
    head += ["times smaller", f"{asked.thing or 'a thing'}, dB"]
    print(markdown(head, [row(name, found) for name, found in table.items()]))


if __name__ == "__main__":
    main()
