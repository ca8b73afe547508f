"""`splat dream`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from splat import formats, kernels
from splat.cli.asked.dream import Dream
from splat.cli.opened import open_scene, trained_from
from splat.core.frame import gaussians_from_frame
from splat.dream.choices import Dreamt
from splat.dream.doors import Known, check_same, known, teacher_at
from splat.dream.dream import run_of
from splat.dream.scene import Beginning, from_nothing, from_thing, from_views
from splat.dream.session import carry_out, looked_from, write_pictures
from splat.dream.teacher import Teacher
from splat.export.receipt import export
from splat.loop import Run
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.recipes import recipe
from splat.render import choose_device
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.runs.kept import checkpoints_in
from splat.system import errors, machine
from splat.system.files import read_json, write_json
from splat.system.foreign import Record, filled, reading
from splat.system.lock import locked
from splat.system.replaced import Replaced
from splat.training.stop import Stopped
from splat.types import Batch

FORMAT = "splat dream"


def main(arguments: Sequence[str]) -> int:
    """Dream; the exit code."""
    asked = parsed(Dream, "dream", arguments)
    formats.suffix_of(asked.out, written=True)
    place = folder_of(asked.out)
    config = _resumed(asked, place) if asked.resume else _begun(asked, place, arguments)
    settings = place / "config.json"
    with reading(settings, "the settings of a dream: begin anew with --overwrite"):
        said = Record(config)
        dreamt, text = filled(Dreamt, said.record("dreamt")), said.text("text")
        taught_by, start = said.text("teacher"), said.text("start", "")
        strategy = recipe.strategy_from_text(said.text("strategy"))
        was = filled(Known, said.record("known"))
    teacher = teacher_at(taught_by)
    check_same(was, known(taught_by, teacher), taught_by)
    device, _ = choose_device(asked.device)
    kernels.set_threads(asked.threads or machine.cores())
    beginning = _beginning(Path(start) if start else None, teacher, dreamt)
    state = checkpoint.load(_latest(place)) if asked.resume else None
    run = run_of(teacher, text, beginning, strategy, dreamt, device, state)
    place.mkdir(parents=True, exist_ok=True)
    try:
        with locked(place / ".lock", str(place)), _replacing(place, anew=not asked.resume):
            if not asked.resume:
                write_json(settings, config)
            seconds = carry_out(run, place, quiet=asked.quiet or asked.json)
    except Stopped as stop:
        said_so = f"stopped after step {stop.step:,}; `splat dream -o {asked.out} --resume` goes on"
        print(said_so, file=sys.stderr)
        if asked.json:
            print(errors.as_json(128 + stop.number, said_so), flush=True)
        return 128 + stop.number
    _told(asked, place, run, beginning, text, seconds)
    return 0


def folder_of(out: Path) -> Path:
    """Where a dream keeps what it goes on from, and its pictures."""
    return out.with_name(f"{out.name}.dream")


def _begun(asked: Dream, place: Path, arguments: Sequence[str]) -> dict[str, Any]:
    if asked.text is None or not asked.text.strip():
        raise ValueError("the text is empty; expected what to make, such as 'a large red torus'")
    check_free(asked.out, asked.overwrite)
    check_free(place, asked.overwrite)
    strategy = recipe.strategy_from_text(recipe.text_of(asked.strategy))
    if asked.start is not None and not asked.start.exists():
        raise FileNotFoundError(
            f"{asked.start} does not exist; expected a run or a file of Gaussians to start from"
        )
    teacher = teacher_at(asked.teacher)
    text = teacher.read(asked.text)
    here = Path(asked.teacher)
    return {
        "format": FORMAT,
        "version": 1,
        "text": text,
        "strategy": recipe.to_text(strategy),
        "start": "" if asked.start is None else str(asked.start.resolve()),
        "teacher": str(here.resolve()) if here.exists() else asked.teacher,
        "known": asdict(known(asked.teacher, teacher)),
        "dreamt": asdict(asked.dreamt),
        "command": shlex.join(["splat", "dream", *arguments]),
    }


def _resumed(asked: Dream, place: Path) -> Mapping[str, Any]:
    settings = place / "config.json"
    if not settings.is_file() or not checkpoints_in(place / "checkpoints"):
        raise FileNotFoundError(f"{place} holds no dream to go on with; begin one without --resume")
    if asked.text is not None:
        raise ValueError("a text is given with --resume, which goes on with its own; leave it out")
    return read_json(settings)


def _latest(place: Path) -> Path:
    return checkpoints_in(place / "checkpoints")[-1]


def _beginning(start: Path | None, teacher: Teacher, dreamt: Dreamt) -> Beginning:
    if start is None:
        return from_nothing(teacher.size, dreamt.points, dreamt.seed, teacher.background)
    opened = open_scene(start, "cpu", "auto")
    if opened.moves:
        raise ValueError(f"{start} moves, and a dream stands still; expected a scene that does")
    gaussians = gaussians_from_frame(opened.gaussians, opened.frame)
    if not len(gaussians):
        raise ValueError(f"{start} holds no Gaussians; expected some to start from")
    if start.is_dir() and Folder(start).cameras.is_file():
        behind = (0.0, 0.0, 0.0) if opened.background is None else opened.background.tolist()
        r, g, b = behind
        return from_views(
            gaussians, trained_from(Folder(start).cameras), teacher.size, dreamt.seed,
            (r, g, b), opened.drawing,
        )  # fmt: skip
    return from_thing(gaussians, teacher.size, dreamt.seed, teacher.background, opened.drawing)


@contextmanager
def _replacing(place: Path, *, anew: bool) -> Iterator[None]:
    """Within, a dream is dreamt anew; the old one is there again if that fails before it has a
    checkpoint."""
    old = Replaced(place, ("checkpoints", "config.json", "log.jsonl", "dream.json", "views.png"))
    if anew:
        old.set_aside(worth=(place / "config.json").is_file())
    try:
        yield
    except BaseException:
        if anew and not checkpoints_in(place / "checkpoints"):
            old.put_back()
        raise
    finally:
        if checkpoints_in(place / "checkpoints"):
            old.forget()


def _told(
    asked: Dream, place: Path, run: Run, beginning: Beginning, text: str, seconds: float
) -> None:
    """Write the file, its pictures and figures, and tell of them."""
    cameras = [camera.to(run.render.device) for camera in looked_from(beginning)]
    blank = [
        Batch(camera, torch.zeros(camera.height, camera.width, 3, dtype=torch.uint8))
        for camera in cameras
    ]
    receipt = export(
        run.baked(), run.frame, asked.out, run.shown, blank, run.background,
        drawing=run.drawing.plain, photos=False,
    )  # fmt: skip
    write_pictures(run, beginning, place / "views.png")
    record = {
        "text": text,
        "steps": run.step,
        "gaussians": receipt.gaussians,
        "strategy": recipe.to_text_or_names(run.strategy),
        "export": vars(receipt),
    }
    write_json(place / "dream.json", record)
    if asked.json:
        print(json.dumps(record, indent=1))
    else:
        print(
            f"{receipt.text()}\n{run.step:,} steps in {seconds:.0f} s; pictures: {place}/views.png"
        )
