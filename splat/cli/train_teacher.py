"""`splat train-teacher`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splat.cli.asked.train_teacher import TrainTeacher
from splat.cli.taught import begun, learn, prepared, report
from splat.datasets.objects import files
from splat.dream import tutor
from splat.dream.choices import Schooling
from splat.dream.learning import STAGE, Learning
from splat.dream.pictures import Pictures
from splat.generate.words import vocabulary_of
from splat.options.parse import parsed
from splat.system import machine
from splat.system.foreign import Record, filled, reading


def main(arguments: Sequence[str]) -> int:
    """Train a teacher; the exit code."""
    asked = parsed(TrainTeacher, "train-teacher", arguments)
    tutor.design_of(asked.size, asked.width)
    config = begun(
        asked, "train-teacher", arguments,
        size=asked.size, width=asked.width, schooling=asdict(asked.schooling),
    )  # fmt: skip
    where = asked.out / "config.json"
    with reading(where, "the settings of a training: begin anew with --overwrite"):
        said = Record(config)
        schooling = filled(Schooling, said.record("schooling"))
        corpus = files.read(Path(said.text("corpus")))
        design = tutor.design_of(said.whole("size"), said.whole("width"))
    words = vocabulary_of(corpus.texts, corpus.properties)

    def pictures(split: str, views: int) -> Pictures:
        return Pictures.of(
            corpus, words, split, size=design.size, views=views, seed=schooling.seed,
            most=schooling.things, told=prepared(asked, "pictures"),
        )  # fmt: skip

    start = time.monotonic()
    shown = pictures("train", schooling.views)
    learning = Learning(shown, design, words, schooling, asked.threads or machine.cores())
    learn(asked, config, learning, tutor.NAME)
    metrics: dict[str, Any] = {
        "steps": learning.step,
        "seconds": round(time.monotonic() - start, 1),
        "pictures": len(shown),
    }
    if corpus.numbers("test"):
        metrics["held_out"] = round(learning.held_out(pictures("test", 1))[STAGE], 5)
    tutor.write(asked.out / tutor.NAME, design, words, learning.weights())
    lost = f"; held-out loss {metrics['held_out']:g}" if "held_out" in metrics else ""
    report(asked, asked.out / tutor.NAME, metrics, f" over {len(shown):,} pictures", lost)
    return 0
