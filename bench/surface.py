"""How good surfaces are, with and without a signed distance, and what materials make of new light.

    python bench/surface.py [--scenes FOLDER ...] [--recipes "adc --cap 30k" ...] [--seeds 0 1] \
        [--steps 7000] [--out surface.json] [--ablation | --table]

Every scene is trained by every recipe and seed, one run at a time, and measured: against the truth
where the scene is one of `worlds.studio` (the default), else by the outlines of its masks.
A run that is measured is not repeated, one that is trained is not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from common import machine, markdown, trained, write_json
from surface_sheet import write_sheet, write_strips
from surface_truth import against_truth

from splat import datasets
from splat.cli.opened import Opened, open_scene
from splat.mesh.cubes import check_scikit_image
from splat.photos.loader import Loader
from splat.types import SceneData
from worlds import studio

PLAIN = ("adc --cap 30k", "mcmc --cap 30k")
RECIPES = (
    *PLAIN,
    *(f"{base} + sdf" for base in PLAIN),
    "adc --cap 30k + deferred",
    "adc --cap 30k + deferred + sdf",
)
ABLATION = (
    PLAIN[0],
    f"{PLAIN[0]} + sdf --no-mutual",
    f"{PLAIN[0]} + sdf --no-prune",
    f"{PLAIN[0]} + sdf",
)
MISSED = 3
"""Views whose outline leaves a Gaussian out from which it is a floater."""
Columns = Mapping[str, tuple[str, str]]
SHAPE: Columns = {
    "psnr": ("PSNR, dB", "{:.2f}"),
    "normal": ("normal, degrees", "{:.2f}"),
    "surface_normal": ("of the distance", "{:.2f}"),
    "depth": ("depth", "{:.4f}"),
    "chamfer": ("Chamfer", "{:.4f}"),
    "chamfer_depth": ("by depth", "{:.4f}"),
    "floaters": ("floaters, %", "{:.2%}"),
    "floaters_outside": ("outside, %", "{:.2%}"),
    "floaters_weighted": ("by opacity, %", "{:.2%}"),
    "floaters_outside_weighted": ("outside by opacity, %", "{:.2%}"),
    "outside_masks": ("beside masks, %", "{:.2%}"),
    "eikonal": ("eikonal", "{:.3f}"),
    "gaussians": ("Gaussians", "{:,.0f}"),
    "seconds": ("seconds", "{:.0f}"),
}
"""Keys of a record, their heads and forms."""
_RELIT = "relit_"


@dataclass(frozen=True)
class Job:
    """One run."""

    scene: Path
    recipe: str
    """As it is typed behind `splat train`."""
    steps: int
    seed: int
    max_side: int
    """Longest side of the photos of scenes without truth, pixels."""

    @property
    def name(self) -> str:
        """Of the run's folder and record: unlike settings never share one."""
        recipe = re.sub(r"[^a-z0-9.]+", "-", self.recipe.lower())
        size = "" if self.known else f"-{self.max_side}"
        return f"{self.scene.name}-{recipe}-{self.steps}{size}-s{self.seed}"

    @property
    def known(self) -> bool:
        """Whether the scene's truth is."""
        return (self.scene / "studio.json").is_file()

    def arguments(self, folder: Path) -> list[str]:
        """What `splat` is given."""
        more = [] if self.known else ["--max-side", str(self.max_side)]
        if not self.known and (self.scene / "masks").is_dir():
            more += ["--masks", "auto", "--mask-mode", "transparent"]
        return [
            "train", str(self.scene), "--out", str(folder), "--steps", str(self.steps),
            "--seed", str(self.seed), "--quiet", "--overwrite", *more, *self.recipe.split(),
        ]  # fmt: skip

    def measured(self, folder: Path, sheets: Path) -> dict[str, Any]:
        """The record of a trained run; its strip of pictures goes to `sheets`."""
        metrics = json.loads((folder / "metrics.json").read_text())
        found, data = open_scene(folder, "auto", "auto"), datasets.load(self.scene)
        if self.known:
            measures = against_truth(found, self.scene, data)
        else:
            measures = {"outside_masks": beside_masks(found, data, self.max_side)}
        write_strips(found, self.scene, data, self.name, sheets, self.max_side)
        kept = ("psnr", "ssim", "lpips", "seconds", "gaussians", "peak_memory_mb", "device")
        return {
            "scene": self.scene.name,
            "recipe": self.recipe,
            "steps": self.steps,
            "seed": self.seed,
            **{key: metrics.get(key) for key in kept},
            **{key: _finite(value) for key, value in measures.items()},
        }


def beside_masks(found: Opened, data: SceneData, max_side: int) -> float | None:
    """Share of Gaussians that are in the pictures of `MISSED` views or more, but not in the masks.

    Whether something hides them there is not asked. None where photos have no masks.
    """
    loader = Loader(
        data.train, frame=found.frame, max_side=max_side, masks="transparent", outlines=True
    )
    means = found.gaussians.means.cpu()
    missed, masked = torch.zeros(len(means)), False
    try:
        for index in range(len(loader)):
            batch = loader.batch(index)
            if batch.outline is None:
                continue
            masked, camera = True, batch.camera
            K, pose = camera.K, camera.world_to_camera
            x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
            z = z.where(z > 0, torch.nan)
            column, row = (K[0, 0] * x / z + K[0, 2]), (K[1, 1] * y / z + K[1, 2])
            seen = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
            pixel = row[seen].long() * camera.width + column[seen].long()
            missed[seen] += (batch.outline.flatten().index_select(0, pixel) < 128).float()
    finally:
        loader.close()
    return float((missed >= MISSED).float().mean()) if masked else None


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def tables(records: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown: shape, and below it light where a run has been lit anew.

    Means over seeds, with standard deviations where there are several; columns that no run has
    anything for are left out.
    """
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["scene"], record["recipe"], record["steps"]), []).append(record)
    lights = dict.fromkeys(key for record in records for key in record if key.startswith(_RELIT))
    light: Columns = {key: (_head(key), "{:.2f}") for key in lights}
    lit = {key: some for key, some in groups.items() if any(name in some[0] for name in lights)}
    made = [_table(groups, SHAPE), _table(lit, light) if lit else ""]
    return "\n\n".join(table for table in made if table)


def _head(key: str) -> str:
    name = key.removeprefix(_RELIT)
    scaled = name.removesuffix("_scaled")
    return f"{name}, dB" if scaled == name else f"{scaled}, albedo scaled, dB"


def _table(
    groups: Mapping[tuple[str, str, int], Sequence[Mapping[str, Any]]], columns: Columns
) -> str:
    every = [record for some in groups.values() for record in some]
    used = {
        key: how
        for key, how in columns.items()
        if any(record.get(key) is not None for record in every)
    }
    lines = [
        [scene, recipe, str(steps), str(len(some))]
        + [_cell([record.get(key) for record in some], form) for key, (_, form) in used.items()]
        for (scene, recipe, steps), some in groups.items()
    ]
    heads = ["scene", "recipe", "steps", "seeds", *(head for head, _ in used.values())]
    return markdown(heads, lines)


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    # The heads say what is in percent.
    said = [form.format(mean(known)).rstrip("%")]
    if len(known) > 1:
        said.append(form.format(stdev(known)).rstrip("%"))
    return " ± ".join(said)


def sheets(records: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """A picture for every scene, with the strips of the first seed of each recipe."""
    strips: dict[str, dict[str, tuple[str, str]]] = {}
    for name, record in records.items():
        title = f"{record['recipe']}, {record['steps']} steps"
        strips.setdefault(record["scene"], {}).setdefault(title, (name, title))
    made = (write_sheet(scene, list(some.values()), folder) for scene, some in strips.items())
    return [path for path in made if path is not None]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--scenes", nargs="+", type=Path, metavar="FOLDER", help="default: generated objects")
    add("--recipes", nargs="+", metavar="RECIPE", help="each in quotes, as `splat train` has it")
    add("--seeds", nargs="+", type=int, default=[0])
    add("--steps", type=int, default=7000)
    add("--max-side", type=int, default=450, help="of photos of scenes without truth, pixels")
    add("--out", type=Path, default=Path("surface.json"), help="runs and pictures lie beside it")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--ablation", action="store_true", help="parts of sdf, on one object")
    only.add_argument("--table", action="store_true", help="print what is measured, train nothing")
    asked = parser.parse_args()
    record = {"machine": machine(), "runs": {}}
    if asked.out.is_file():
        record = json.loads(asked.out.read_text())
    if not asked.table:
        check_scikit_image()
    runs, folder, failed = record["runs"], asked.out.with_suffix(""), 0
    for job in [] if asked.table else jobs(asked):
        if job.name in runs:
            continue
        start = time.perf_counter()
        try:
            trained(folder / job.name, job.arguments(folder / job.name))
            runs[job.name] = job.measured(folder / job.name, folder)
        except (RuntimeError, OSError, ValueError) as error:
            print(f"{job.name}: failed: {error}", flush=True)
            failed += 1
            continue
        write_json(asked.out, record)
        print(f"{job.name}: {time.perf_counter() - start:.0f} s", flush=True)
    print(f"\n{tables(list(runs.values()))}")
    for path in sheets(runs, folder):
        print(f"\n{path}")
    return 1 if failed else 0


def jobs(asked: argparse.Namespace) -> list[Job]:
    """Runs in the order that they are done in: seed by seed, so that all recipes have one first."""
    objects: Any = studio.OBJECTS[:1] if asked.ablation else studio.OBJECTS
    scenes = asked.scenes or [studio.cached(name) for name in objects]
    recipes = asked.recipes or (ABLATION if asked.ablation else RECIPES)
    return [
        Job(scene.resolve(), " ".join(recipe.split()), asked.steps, seed, asked.max_side)
        for seed in asked.seeds
        for scene in scenes
        for recipe in recipes
    ]


if __name__ == "__main__":
    raise SystemExit(main())
