"""`splat train-generator`."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from splat.cli.asked.train_generator import TrainGenerator
from splat.cli.taught import SAVED, replacing, resumed, teach
from splat.datasets.objects import files
from splat.generate import store
from splat.generate.choices import Taught
from splat.generate.learning import FORMAT, VERSION, Learning, Lessons
from splat.generate.store import PUBLISHED, Design
from splat.generate.words import vocabulary_of
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.runs import checkpoint
from splat.system import machine
from splat.system.files import write_json
from splat.system.foreign import Record, filled, reading
from splat.system.lock import locked
from splat.system.text import size


def main(arguments: Sequence[str]) -> int:
    """Train a generator; the exit code."""
    asked = parsed(TrainGenerator, "train-generator", arguments)
    settings, saved = asked.out / "config.json", asked.out / SAVED
    config = resumed(asked.out, asked.corpus) if asked.resume else _begun(asked, arguments)
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
    with held, nullcontext() if asked.resume else replacing(asked.out, store.NAME):
        if not asked.resume:
            write_json(settings, config)
        teach(learning, asked.out, store.NAME, quiet=asked.quiet or asked.json)
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


def _design(published: bool, width: int) -> Design:
    design = PUBLISHED if published else Design()
    if not width:
        return design
    return replace(
        design,
        geometry=replace(design.geometry, width=width),
        attributes=replace(design.attributes, width=width),
    )
