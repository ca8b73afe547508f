"""`splat train-generator`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from splat.cli.asked.train_generator import TrainGenerator
from splat.cli.taught import begun, learn, prepared, report
from splat.datasets.objects import files
from splat.generate import encoders, store
from splat.generate.choices import Taught
from splat.generate.learning import Learning, Lessons
from splat.generate.store import PUBLISHED, Design
from splat.generate.words import vocabulary_of
from splat.options.parse import parsed
from splat.system import machine
from splat.system.foreign import Record, filled, reading


def main(arguments: Sequence[str]) -> int:
    """Train a generator; the exit code."""
    asked = parsed(TrainGenerator, "train-generator", arguments)
    config = begun(
        asked, "train-generator", arguments,
        published=asked.published, width=asked.width or 0, taught=asdict(asked.taught),
        encoder=asked.encoder or "",
    )  # fmt: skip
    where = asked.out / "config.json"
    with reading(where, "the settings of a training: begin anew with --overwrite"):
        said = Record(config)
        taught = filled(Taught, said.record("taught"))
        corpus = files.read(Path(said.text("corpus")))
        design = _design(said.flag("published"), said.whole("width", 0))
        encoder = said.text("encoder", "")
    edges = [corpus.cubes[i].edge for i in corpus.numbers("train")]
    design = replace(design, grid=corpus.grid, edges=(min(edges), max(edges)))
    words = encoders.read(encoder) if encoder else vocabulary_of(corpus.texts, corpus.properties)
    start = time.monotonic()
    shown = prepared(asked, "fields")
    lessons = Lessons.of(corpus, words, design, "train", shown)
    learning = Learning(lessons, design, words, taught, asked.threads or machine.cores())
    learn(asked, config, learning, store.NAME)
    metrics: dict[str, Any] = {
        "steps": learning.step,
        "seconds": round(time.monotonic() - start, 1),
        "things": len(lessons),
    }
    lost = ""
    if corpus.numbers("test"):
        losses = learning.held_out(Lessons.of(corpus, words, design, "test", shown))
        metrics["held_out"] = {name: round(value, 5) for name, value in losses.items()}
        lost = "; held-out loss: " + ", ".join(
            f"{name} {value:g}" for name, value in metrics["held_out"].items()
        )
    store.write(asked.out / store.NAME, design, words, learning.networks())
    report(asked, asked.out / store.NAME, metrics, "", lost)
    return 0


def _design(published: bool, width: int) -> Design:
    design = PUBLISHED if published else Design()
    if not width:
        return design
    return replace(
        design,
        geometry=replace(design.geometry, width=width),
        attributes=replace(design.attributes, width=width),
    )
