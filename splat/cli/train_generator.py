"""`splat train-generator`."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from splat.cli.asked.train_generator import TrainGenerator
from splat.datasets.objects import files
from splat.generate import store
from splat.generate.choices import Taught
from splat.generate.learning import FORMAT, VERSION, Learning, Lessons, steps_of
from splat.generate.store import PUBLISHED, Design
from splat.generate.words import vocabulary_of
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.runs import checkpoint
from splat.system import machine
from splat.system.files import read_json, write_json
from splat.system.foreign import Record, filled, reading
from splat.system.lock import locked
from splat.system.replaced import Replaced
from splat.system.text import size

SAVED = "training.pt"
LOG_EVERY = 10
SAVE_EVERY = 250
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Train a generator; the exit code."""
    asked = parsed(TrainGenerator, "train-generator", arguments)
    settings, saved = asked.out / "config.json", asked.out / SAVED
    config = _resumed(asked, settings, saved) if asked.resume else _begun(asked, arguments)
    with reading(settings, "the settings of a training: begin anew with --overwrite"):
        said = Record(config)
        taught = filled(Taught, said.record("taught"))
        corpus = files.read(Path(said.text("corpus")))
        design = _design(said.flag("published"), said.whole("width", 0))
    design = replace(design, grid=corpus.grid)
    words = vocabulary_of(corpus.texts, corpus.properties)
    lessons = Lessons.of(corpus, words, design, "train")
    learning = Learning(lessons, design, words, taught, asked.threads or machine.cores())
    if asked.resume:
        state = checkpoint.load(saved, FORMAT, VERSION, what="training of a generator")
        with checkpoint.fitting(state):
            learning.restore(state)
    begun = time.monotonic()
    asked.out.mkdir(parents=True, exist_ok=True)
    held = locked(asked.out / ".lock", str(asked.out))
    with held, nullcontext() if asked.resume else _replacing(asked.out):
        if not asked.resume:
            write_json(settings, config)
        _train(learning, asked.out, saved, quiet=asked.quiet or asked.json)
    metrics: dict[str, Any] = {
        "steps": learning.step,
        "seconds": round(time.monotonic() - begun, 1),
        "things": len(lessons.things),
    }
    if corpus.numbers("test"):
        held_out = learning.held_out(Lessons.of(corpus, words, design, "test"))
        metrics["held_out"] = {name: round(value, 5) for name, value in held_out.items()}
    store.write(asked.out / store.NAME, design, words, learning.networks())
    write_json(asked.out / "metrics.json", metrics)
    if asked.json:
        print(json.dumps(metrics, indent=1))
    else:
        weight = size((asked.out / store.NAME).stat().st_size)
        losses = metrics.get("held_out", {})
        told = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        print(
            f"{asked.out / store.NAME}: {weight}, {learning.step:,} steps in"
            f" {metrics['seconds']:.0f} s" + (f"; held-out loss: {told}" if told else "")
        )
    return 0


def _begun(asked: TrainGenerator, arguments: Sequence[str]) -> dict[str, Any]:
    if asked.corpus is None:
        raise ValueError("no corpus is given; expected its folder before -o")
    check_free(asked.out, asked.overwrite)
    return {
        "format": "splat generator",
        "version": 1,
        "corpus": str(asked.corpus.resolve()),
        "published": asked.published,
        "width": asked.width or 0,
        "taught": asdict(asked.taught),
        "command": shlex.join(["splat", "train-generator", *arguments]),
    }


def _resumed(asked: TrainGenerator, settings: Path, saved: Path) -> Mapping[str, Any]:
    if not settings.is_file() or not saved.is_file():
        raise FileNotFoundError(
            f"{asked.out} holds no training to go on with; begin one without --resume"
        )
    config = dict(read_json(settings))
    if asked.corpus is not None:
        config["corpus"] = str(asked.corpus.resolve())
    return config


def _replaced(folder: Path) -> Replaced:
    """What was here before, until what replaces it has a checkpoint."""
    return Replaced(folder, (SAVED, store.NAME, "config.json", "log.jsonl", "metrics.json"))


@contextmanager
def _replacing(folder: Path) -> Iterator[None]:
    """Within, a generator is trained anew; the old one is there again if that fails before it has
    a checkpoint."""
    old = _replaced(folder)
    old.set_aside(worth=(folder / SAVED).is_file() or (folder / store.NAME).is_file())
    try:
        yield
    except BaseException:
        if not (folder / SAVED).is_file():
            old.put_back()
        raise


def _design(published: bool, width: int) -> Design:
    design = PUBLISHED if published else Design()
    if not width:
        return design
    return replace(
        design,
        geometry=replace(design.geometry, width=width),
        attributes=replace(design.attributes, width=width),
    )


def _train(learning: Learning, folder: Path, saved: Path, *, quiet: bool) -> None:
    """All steps that are left, with a checkpoint now and then and at the end."""
    lines = _lines(folder / "log.jsonl", learning.step)
    bar = tqdm(total=learning.steps, initial=learning.step, unit="step", disable=quiet or None)
    with bar, (folder / "log.jsonl").open("w", encoding="utf-8", buffering=1) as log:
        log.writelines(lines)
        mean: dict[str, float] = {}
        for stage, loss in steps_of(learning):
            mean[stage] = 0.98 * mean.get(stage, loss) + 0.02 * loss
            bar.update()
            bar.set_postfix_str(f"{stage} {mean[stage]:.4f}")
            if learning.step % LOG_EVERY == 0:
                line = {"step": learning.step, "stage": stage, "loss": round(loss, 6)}
                log.write(json.dumps(line) + "\n")
            if learning.step % SAVE_EVERY == 0 or learning.step == learning.steps:
                checkpoint.write(learning.state(), saved)
                _replaced(folder).forget()


def _lines(path: Path, step: int) -> list[str]:
    """Lines of a log up to a step; what was written after the checkpoint is taken back."""
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            known = json.loads(line)["step"] <= step
        except (ValueError, KeyError, TypeError):
            known = False  # cut off as it was written
        kept += [line] if known else []
    return kept
