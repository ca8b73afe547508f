"""Scenes of the literature by the protocol of the literature, beside the figures it published.

    python bench/standard.py nerf-synthetic DATA --out runs/standard --scenes lego --budgets 325k
    python bench/standard.py mip-nerf360 DATA "mrnf + renew" mcmc scaffold --out runs/standard
    python bench/standard.py nerf-synthetic lego=DATA/lego_800 --out runs/standard --only-table

DATA is a folder that has the scenes by their names, or one scene each as NAME=FOLDER. 30,000 steps,
full size, every strategy with every budget and seed, one run after the other; a command that is
given again goes on where it was stopped. `--schedule published` trains methods as their own code
does: whole photos from the first step on (small ones at first are ours, and what grows by gradients
on screen does not see what these do not show), and growth as fast as it comes. A scene with files
missing, of another size or with another split than the protocol's is refused before anything is
trained.

What counts is drawn anew from the last checkpoint and rounded to eight bits, as figures are that
were taken of pictures on disk. LPIPS is `published` as the code of 3DGS takes it (VGG,
pictures in [0, 1] where the network expects [-1, 1]), and `alex` and `vgg` as their authors meant
them; with VGG it takes some seconds a view on a CPU, and --lpips says which to take.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import torch
from common import machine, markdown, write_json
from jaxtyping import Float
from torch import Tensor

from splat import api
from splat.evaluation.evaluate import ViewMetrics, evaluate, psnr, ssim
from splat.evaluation.lpips import Lpips, Net
from splat.options import Options, Reading, Watching
from splat.recipes.recipe import strategy_from_text
from splat.runs.folder import Folder
from splat.system.files import read_json
from splat.system.numbers import whole
from splat.types import Batch, SceneData

STRATEGIES = ("mrnf + renew", "mcmc", "adc", "igs", "scaffold")
STEPS = 30_000
LPIPS: Mapping[str, Net] = {"published": "vgg", "vgg": "vgg", "alex": "alex"}
EVERY = 8
"""Of views in the order of their names, which one in so many is held out, beginning with the
first, where a scene has no split of its own (Mip-NeRF 360)."""


@dataclass(frozen=True)
class Known:
    """A published figure."""

    method: str
    source: str
    psnr: Mapping[str, float]
    """PSNR after 30,000 steps by scene, dB."""


@dataclass(frozen=True)
class Protocol:
    """How a set of scenes is trained and measured."""

    scenes: Mapping[str, int]
    """How many times the photos of each scene are shrunk, along a side."""
    background: str
    sizes: tuple[int, int] | None = None
    """Width and height of all photos; None: those of the scene."""
    split: tuple[int, int] | None = None
    """Photos to train on and held out; None: every eighth is."""
    known: tuple[Known, ...] = ()


KERBL = "Kerbl et al. 2023, tables of the appendix"
PROTOCOLS = {
    "nerf-synthetic": Protocol(
        dict.fromkeys(("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship"), 1),
        background="white",
        sizes=(800, 800),
        split=(100, 200),
        known=(
            Known(
                "3DGS",
                KERBL,
                {
                    **{"chair": 35.83, "drums": 26.15, "ficus": 34.87, "hotdog": 37.72},
                    **{"lego": 35.78, "materials": 30.00, "mic": 35.36, "ship": 30.80},
                },
            ),
            Known("3DGS-MCMC, 325,000", "nerfbaselines, its own runs", {"lego": 36.01}),
            Known("Scaffold-GS", "Lu et al. 2024, table of the supplement", {"lego": 35.69}),
        ),
    ),
    "mip-nerf360": Protocol(
        {
            **dict.fromkeys(("bicycle", "flowers", "garden", "stump", "treehill"), 4),
            **dict.fromkeys(("room", "counter", "kitchen", "bonsai"), 2),
        },
        background="black",
        known=(
            Known(
                "3DGS",
                KERBL,
                {
                    **{"bicycle": 25.25, "flowers": 21.52, "garden": 27.41, "stump": 26.55},
                    **{"treehill": 22.49, "room": 30.63, "counter": 28.70, "kitchen": 30.32},
                    **{"bonsai": 31.98},
                },
            ),
        ),
    ),
    "tanks-and-temples": Protocol(
        {"truck": 1, "train": 1},
        background="black",
        known=(Known("3DGS", KERBL, {"truck": 25.19, "train": 21.10}),),
    ),
    "deep-blending": Protocol(
        {"drjohnson": 1, "playroom": 1},
        background="black",
        known=(Known("3DGS", KERBL, {"drjohnson": 28.77, "playroom": 30.04}),),
    ),
}


@dataclass(frozen=True)
class Found:
    """A scene on disk that is as its protocol says."""

    name: str
    path: Path
    reading: Reading
    downscale: float
    note: str
    """What was done to its photos, where that is not what the authors did; else empty."""


@dataclass(frozen=True)
class Wanted:
    """What is trained on a scene."""

    method: str
    budget: str
    seed: int
    steps: int
    schedule: Literal["scaled", "published"]

    @property
    def name(self) -> str:
        """The folder of the run."""
        words = "_".join(word for word in self.method.replace("+", " ").replace("--", "").split())
        parts = [words, str(whole(self.budget)), str(self.seed)]
        parts += [f"{self.steps}steps"] if self.steps != STEPS else []
        parts += [self.schedule] if self.schedule != "scaled" else []
        return "_".join(parts)


@dataclass(frozen=True)
class Figures:
    """Means over the views that are held out."""

    psnr: float
    psnr_of_floats: float
    ssim: float
    gaussians: int
    megabytes: float
    """Of the run's file of Gaussians, or of its anchors."""
    minutes: float
    peak_memory_mb: float
    worst_view: float
    lpips_published: float | None = None
    lpips_vgg: float | None = None
    lpips_alex: float | None = None


@dataclass
class Measured:
    """Sums over views, each picture as it is on disk."""

    asked: Sequence[str]
    """Which LPIPS; see `LPIPS`."""
    values: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nets = {name: Lpips(LPIPS[name]) for name in self.asked}

    @torch.no_grad()
    def look(self, batch: Batch, image: Float[Tensor, "h w 3"], floats: ViewMetrics) -> None:
        """Measure a picture; `splat.evaluation.evaluate` calls this."""
        drawn = image.clamp(0, 1).mul(255).round().div(255)
        photo = batch.image
        self.values.append(
            {
                "psnr": psnr(drawn, photo, batch.mask),
                "psnr_of_floats": floats.psnr,
                "ssim": ssim(drawn, photo, batch.mask),
                **{f"lpips_{name}": self._distance(name, drawn, photo) for name in self.nets},
            }
        )

    def _distance(self, name: str, *pictures: Float[Tensor, "h w 3"]) -> float:
        if name == "published":
            # Half of [-1, 1]: what takes [0, 1] to [-1, 1] then leaves pictures as they are.
            pictures = tuple((each + 1) / 2 for each in pictures)
        return self.nets[name](*pictures)


def main() -> None:
    """Train what is not there yet, measure it, write the table."""
    asked = arguments()
    protocol = PROTOCOLS[asked.protocol]
    scenes = list(asked.scenes or protocol.scenes)
    if unknown := [name for name in scenes if name not in protocol.scenes]:
        raise SystemExit(
            f"{asked.protocol} has no scene {unknown[0]!r}; it has {', '.join(protocol.scenes)}"
        )
    out = asked.out / asked.protocol
    try:
        found = [] if asked.only_table else [scene_at(asked, protocol, name) for name in scenes]
        for scene in found:
            for wanted in combinations(asked):
                run = out / scene.name / wanted.name
                trained(run, scene, protocol, wanted)
                measure(run, scene, asked.lpips)
                write_tables(out, asked.protocol)
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    write_tables(out, asked.protocol)
    print((out / "table.md").read_text())


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("data", nargs="+", help="folder of the scenes, or NAME=FOLDER; methods")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", help="some of the protocol's, not all")
    parser.add_argument(
        "--budgets", nargs="+", type=budget, default=["325k"], help="most Gaussians"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="other than 30,000: to try it")
    parser.add_argument("--schedule", choices=("scaled", "published"), default="scaled")
    parser.add_argument("--lpips", nargs="*", choices=LPIPS, default=["published", "alex"])
    parser.add_argument("--only-table", action="store_true", help="of the runs that are there")
    asked = parser.parse_intermixed_args()
    places = [word for word in asked.data if "=" in word and Path(word.split("=", 1)[1]).is_dir()]
    rest = [word for word in asked.data if word not in places]
    asked.at = {name: Path(path) for name, path in (word.split("=", 1) for word in places)}
    asked.folder = Path(rest.pop(0)) if rest and Path(rest[0]).is_dir() else None
    asked.strategies = rest or list(STRATEGIES)
    if not asked.at and asked.folder is None:
        parser.error(f"no folder of scenes among {' '.join(asked.data)}")
    if asked.at and asked.folder is None and not asked.scenes:
        asked.scenes = list(asked.at)
    return asked


def budget(text: str) -> str:
    """What says how many Gaussians there may be, once it is known to."""
    try:
        whole(text)
    except ValueError as error:
        # An option that takes several words takes methods that stand after it, too.
        raise argparse.ArgumentTypeError(f"{error}; give methods before the options") from None
    return text


def combinations(asked: argparse.Namespace) -> Iterator[Wanted]:
    """Strategy, budget and seed of each run of a scene; seeds last, so that a first table is of
    all strategies."""
    for seed in asked.seeds:
        for budget in asked.budgets:
            for method in asked.strategies:
                yield Wanted(method, budget, seed, asked.steps, asked.schedule)


def scene_at(asked: argparse.Namespace, protocol: Protocol, name: str) -> Found:
    """A scene, once it is known to be as the protocol says; else ValueError."""
    path = asked.at.get(name) or (asked.folder / name if asked.folder else None)
    if path is None or not path.is_dir():
        raise ValueError(
            f"scene {name} of {asked.protocol} is not at {path or 'any place that was given'};"
            " put it there, or leave it out with --scenes, and the table says so"
        )
    factor, images, note = protocol.scenes[name], None, ""
    if factor > 1 and (path / f"images_{factor}").is_dir():
        images, factor = f"images_{factor}", 1
    elif factor > 1:
        note = f"{name}: shrunk {factor} times by area here, for there is no images_{factor}"
    reading = Reading(images=images, eval="auto" if protocol.split else str(EVERY))
    check(name, api.read_scene(path, reading), protocol)
    return Found(name, path, reading, float(factor), note)


def check(name: str, scene: SceneData, protocol: Protocol) -> None:
    """Raise ValueError where a scene is not what the protocol measures."""
    split = (len(scene.train), len(scene.test))
    total = len({view.name for view in (*scene.train, *scene.test)})
    expected = protocol.split or (total - -(-total // EVERY), -(-total // EVERY))
    if split != expected:
        raise ValueError(
            f"{name} at {scene.path} has {split[0]} photos to train on and {split[1]} held out; the"
            f" protocol has {expected[0]} and {expected[1]}"
        )
    views = (*scene.train, *scene.test)
    if missing := [view.image for view in views if view.image and not view.image.is_file()]:
        raise ValueError(f"{name}: {len(missing)} photos are missing, {missing[0]} first")
    sizes = {(view.camera.width, view.camera.height) for view in views}
    if protocol.sizes is not None and sizes != {protocol.sizes}:
        other = next(iter(sizes - {protocol.sizes}))
        raise ValueError(
            f"{name} at {scene.path} has photos of {other[0]}x{other[1]}; the protocol's are"
            f" {protocol.sizes[0]}x{protocol.sizes[1]}"
        )


def trained(run: Path, scene: Found, protocol: Protocol, wanted: Wanted) -> Path:
    """The folder of a run that is trained, once it is: begun, gone on with, or as it was."""
    folder = Folder(run)
    if folder.metrics.is_file():
        return run
    print(f"{time.strftime('%H:%M')} {run}", flush=True)
    # In a process of its own, whose memory is that of the run.
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=train, args=(run, scene, protocol, wanted))
    child.start()
    child.join()
    if not folder.metrics.is_file():
        raise ValueError(f"{run} was not trained to its end; give the command again to go on")
    return run


def train(run: Path, scene: Found, protocol: Protocol, wanted: Wanted) -> None:
    """Train a run, from its last checkpoint where there is one."""
    watching = Watching(quiet=True, pictures=False, checkpoint_every=max(1, wanted.steps // 12))
    folder = Folder(run)
    if folder.is_run() and any(folder.checkpoints.glob("*")):
        api.resume(run, watching=watching, lpips=None)
        return
    options = Options(
        steps=wanted.steps,
        schedule=wanted.schedule,
        seed=wanted.seed,
        background=protocol.background,
        downscale=scene.downscale,
    )
    api.train(
        api.read_scene(scene.path, scene.reading),
        strategy_from_text(wanted.method).limited(whole(wanted.budget)),
        options,
        out=run,
        overwrite=True,
        watching=watching,
        reading=scene.reading,
        command=f"bench/standard.py: {wanted.method}, {wanted.budget}, {scene.path}",
        lpips=None,  # measured below, with two networks
    )


def measure(run: Path, scene: Found, lpips: Sequence[str]) -> None:
    """Write the figures of a run beside it, if they are not there."""
    file = run / "standard.json"
    before = read_json(file)["figures"] if file.is_file() else {}
    if before and all(before[f"lpips_{name}"] is not None for name in lpips):
        return
    measured = Measured(lpips)
    with closing(api.reopened(run, scene.path)) as job:
        model, render = job.run.model, job.run.last_render
        evaluate(
            model, render, job.test_batches(), job.run.background, lpips=None, look=measured.look
        )
    metrics, values = read_json(run / "metrics.json"), measured.values
    kept = {name: value for name, value in before.items() if name.startswith("lpips_")}
    means = {name: mean(view[name] for view in values) for name in values[0]}
    # Where rows make Gaussians for a camera, the file of the rows is what is measured.
    file_record = next(
        (metrics[key] for key in metrics if key.endswith("_file")), metrics["export"]
    )
    figures = Figures(
        **(kept | means),
        gaussians=metrics["gaussians"],
        megabytes=file_record["bytes"] / 1e6,
        minutes=metrics["seconds"] / 60,
        peak_memory_mb=metrics["peak_memory_mb"],
        worst_view=min(view["psnr"] for view in values),
    )
    record: dict[str, Any] = {
        "figures": vars(figures),
        "views": len(values),
        "steps": metrics["steps"],
        "schedule": read_json(run / "config.json")["options"]["schedule"],
        "recipe": metrics["recipe"],
        "seed": metrics["seed"],
        "scene": scene.name,
        "note": scene.note,
        "version": metrics["version"],
        "machine": machine(),
    }
    write_json(file, record)


def write_tables(out: Path, name: str) -> None:
    """`table.md` and `table.json` of all runs that are measured, beside what is published."""
    protocol = PROTOCOLS[name]
    records = [read_json(path) for path in sorted(out.glob("*/*/standard.json"))]
    groups: dict[tuple[str, int], dict[str, list[dict[str, Any]]]] = {}
    for record in records:
        published = record.get("schedule") == "published"
        recipe = f"`{record['recipe']}`" + (", its own schedule" if published else "")
        group = groups.setdefault((recipe, record["steps"]), {})
        group.setdefault(record["scene"], []).append(record)
    lines = [known_line(each, protocol) for each in protocol.known]
    lines += [line_of(*key, group, protocol) for key, group in sorted(groups.items())]
    scenes = list(protocol.scenes)
    heads = [
        "method",
        "steps",
        *scenes,
        "mean",
        "SSIM",
        "LPIPS",
        "VGG",
        "Alex",
        "Gaussians",
        "MB",
        "min",
    ]
    notes = sorted({record["note"] for record in records if record["note"]})
    sources = [f"{each.method}: {each.source}" for each in protocol.known]
    text = "\n".join(
        [
            f"# {name}",
            "",
            "Held-out PSNR in dB, ± over seeds; SSIM, LPIPS (as the code of 3DGS takes it; VGG and"
            " AlexNet as their authors meant them), Gaussians, MB and minutes are means over the"
            " scenes of a line. A scene that was not run is –, and such a line has no mean.",
            "",
            markdown(heads, lines),
            "",
            *(f"- {line}" for line in (*sources, *notes)),
            "",
        ]
    )
    write_json(out / "table.json", {"runs": records})
    (out / "table.md").write_text(text)


def known_line(known: Known, protocol: Protocol) -> list[str]:
    """A line of published figures."""
    cells = [f"{known.psnr[s]:.2f}" if s in known.psnr else "–" for s in protocol.scenes]
    whole = len(known.psnr) == len(protocol.scenes)
    return [
        f"*{known.method}, published*",
        f"{STEPS:,}",
        *cells,
        f"{mean(known.psnr.values()):.2f}" if whole else "–",
        *["–"] * 7,
    ]


def line_of(
    recipe: str, steps: int, group: Mapping[str, Sequence[Mapping[str, Any]]], protocol: Protocol
) -> list[str]:
    """A line of ours: means over seeds, then over scenes."""
    cells, means = [], []
    for scene in protocol.scenes:
        values = [record["figures"]["psnr"] for record in group.get(scene, ())]
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(f"{mean(values):.2f}{spread}" if values else "–")
        means += [mean(values)] if values else []
    whole = len(means) == len(protocol.scenes)
    every = [record["figures"] for records in group.values() for record in records]

    def over(name: str, text: Callable[[float], str]) -> str:
        values = [figures[name] for figures in every]
        return "–" if None in values else text(mean(values))

    return [
        recipe,
        f"{steps:,}",
        *cells,
        f"{mean(means):.2f}" if whole else "–",
        over("ssim", "{:.4f}".format),
        over("lpips_published", "{:.4f}".format),
        over("lpips_vgg", "{:.4f}".format),
        over("lpips_alex", "{:.4f}".format),
        over("gaussians", "{:,.0f}".format),
        over("megabytes", "{:.1f}".format),
        over("minutes", "{:.1f}".format),
    ]


if __name__ == "__main__":
    main()
