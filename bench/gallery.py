"""A gallery of scenes as pages that turn under the mouse, for the site or for any web space.

    python bench/gallery.py build/gallery                       # the built-in scenes
    python bench/gallery.py build/gallery --plush plush_phone/  # and photographs of a phone
    SPLAT_GALLERY=build/gallery .ci/site                        # joins the site

Each scene is trained by the command line that its page shows, exported as one `.html`, and drawn
once for the list. What is there already stays: delete a folder to have it made again. Two cores
take about ten minutes.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image

from splat.system import machine
from splat.system.version import version

SIDE = 480
"""Longest side of a picture in the list, pixels."""


@dataclass(frozen=True)
class Scene:
    """A scene of the gallery; `{scene}`, `{run}` and `{page}` are filled in."""

    name: str
    title: str
    credit: str
    made: tuple[str, ...]
    """Commands that make the scene's folder; none: it is given."""
    trained: str
    exported: str = "splat export {run} -o {page}"


@dataclass(frozen=True)
class Entry:
    """What the list says of a scene; `gallery.json` keeps it."""

    name: str
    title: str
    credit: str
    commands: tuple[str, ...]
    seconds: float
    bytes: int
    gaussians: int
    psnr: float | None
    machine: str
    version: str


def main(
    out: Annotated[Path, tyro.conf.Positional],
    *,
    plush: Path | None = None,
    steps: int = 0,
) -> None:
    """Make what is missing of a gallery.

    `plush`: folder of the capture `plush_phone` (MIT licence), which is larger than this
    repository. `steps`: of every run, for a quick look; 0: as the pages say.
    """
    out.mkdir(parents=True, exist_ok=True)
    scenes = [
        Scene(
            "still", "The built-in scene", "Drawn by splat, Apache-2.0",
            ("python -m splat.datasets.demo {scene}",),
            "splat train {scene} --out {run} --steps 3000 --budget 60k",
        ),
        Scene(
            "moving", "The built-in scene, in motion", "Drawn by splat, Apache-2.0",
            ("python -m splat.datasets.demo {scene} --moving",),
            "splat train {scene} --out {run} --steps 3000 --budget 40k",
        ),
    ]  # fmt: skip
    if plush is not None:
        scenes.append(
            Scene(
                "plush", "A plush toy, filmed with a phone", "The capture `plush_phone`, MIT", (),
                "splat train {scene} --out {run} --steps 3000 --budget 100k",
            )
        )  # fmt: skip
    entries = [_entry(scene, out, steps, None if scene.made else plush) for scene in scenes]
    (out / "index.md").write_text(_page(entries), "utf-8")
    print(f"{out / 'index.md'}: {len(entries)} scenes")


def _entry(scene: Scene, out: Path, steps: int, given: Path | None) -> Entry:
    """A scene's page, made where it is missing; `given` is its folder, if that is there."""
    folder = out / scene.name
    kept = folder / "gallery.json"
    if kept.is_file():
        record = json.loads(kept.read_text())
        return Entry(**{**record, "commands": tuple(record["commands"])})
    work = out.parent / f"{out.name}-work" / scene.name
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    work.mkdir(parents=True)
    folder.mkdir()
    names = {"scene": given or work / "scene", "run": work / "run", "page": folder / "scene.html"}
    trained = scene.trained if not steps else scene.trained.replace("3000", str(steps))
    lines = (*scene.made, trained, scene.exported)
    taken = 0.0
    for line in lines:
        start = time.perf_counter()
        _run(line.format(**names))
        if line == trained:
            taken = time.perf_counter() - start
    drawn = work / "picture"
    _run(f"splat render {names['run']} -o {drawn} --path turntable --frames 1 --max-side {SIDE}")
    with Image.open(next(drawn.glob("*.png"))) as picture:
        picture.convert("RGB").save(folder / "scene.jpg", quality=85)
    metrics = json.loads((names["run"] / "metrics.json").read_text())
    shown = {
        "scene": "scene/" if given is None else f"{given.name}/",
        "run": "run/",
        "page": "scene.html",
    }
    entry = Entry(
        scene.name, scene.title, scene.credit, tuple(line.format(**shown) for line in lines),
        taken, names["page"].stat().st_size, int(metrics["gaussians"]), metrics.get("psnr"),
        f"{machine.processor()}, {machine.cores()} cores", version(),
    )  # fmt: skip
    kept.write_text(json.dumps(vars(entry), indent=1))
    return entry


def _run(line: str) -> None:
    print(f"$ {line}", flush=True)
    words = shlex.split(line)
    # -P: this folder's names are no packages of the program's.
    start = ["-P"] if words[0] == "python" else ["-P", "-m", "splat"]
    subprocess.run([sys.executable, *start, *words[1:]], check=True)


def _page(entries: list[Entry]) -> str:
    """The list, as a page of the site."""
    parts = [
        "# Gallery\n",
        "Scenes as pages that turn under the mouse, and under a finger: each is one file that asks"
        " nothing of any server. Made by `python bench/gallery.py`, with the commands shown.\n",
    ]
    for entry in entries:
        quality = "" if entry.psnr is None else f", {entry.psnr:.2f} dB on photos held out"
        commands = "\n".join(f"    {line}" for line in entry.commands)
        parts.append(
            f"## {entry.title}\n\n"
            f"[![{entry.title}]({entry.name}/scene.jpg)]({entry.name}/scene.html)\n\n"
            f"[Open the page]({entry.name}/scene.html): {entry.bytes / 1e6:.2f} MB,"
            f" {entry.gaussians:,} Gaussians{quality}. Trained in"
            f" {entry.seconds / 60:.1f} minutes ({entry.machine}; splat {entry.version})."
            f" {entry.credit}.\n\n{commands}\n"
        )
    return "\n".join(parts)


if __name__ == "__main__":
    tyro.cli(main)
