"""`splat train-teacher`."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splat.cli.asked.train_teacher import TrainTeacher
from splat.cli.taught import SAVED, replacing, resumed, teach
from splat.datasets.objects import files
from splat.dream import tutor
from splat.dream.choices import Schooling
from splat.dream.learning import FORMAT, VERSION, Learning
from splat.dream.pictures import Pictures
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
    """Train a teacher; the exit code."""
    asked = parsed(TrainTeacher, "train-teacher", arguments)
    settings, saved = asked.out / "config.json", asked.out / SAVED
    config = resumed(asked.out, asked.corpus) if asked.resume else _begun(asked, arguments)
    with reading(settings, "the settings of a training: begin anew with --overwrite"):
        said = Record(config)
        schooling = filled(Schooling, said.record("schooling"))
        corpus = files.read(Path(said.text("corpus")))
        design = tutor.design_of(said.whole("size"), said.whole("width"))
    words = vocabulary_of(corpus.texts, corpus.properties)

    def pictures(split: str, views: int) -> Pictures:
        return Pictures.of(
            corpus, words, split, size=design.size, views=views, seed=schooling.seed,
            most=schooling.things,
        )  # fmt: skip

    begun = time.monotonic()
    shown = pictures("train", schooling.views)
    learning = Learning(shown, design, words, schooling, asked.threads or machine.cores())
    if asked.resume:
        state = checkpoint.load(saved, FORMAT, VERSION, what="training of a teacher")
        with checkpoint.fitting(state):
            learning.restore(state)
    asked.out.mkdir(parents=True, exist_ok=True)
    held = locked(asked.out / ".lock", str(asked.out))
    with held, nullcontext() if asked.resume else replacing(asked.out, tutor.NAME):
        if not asked.resume:
            write_json(settings, config)
        teach(learning, asked.out, tutor.NAME, quiet=asked.quiet or asked.json)
    metrics: dict[str, Any] = {
        "steps": learning.step,
        "seconds": round(time.monotonic() - begun, 1),
        "pictures": len(shown),
    }
    if corpus.numbers("test"):
        metrics["held_out"] = round(learning.held_out(pictures("test", 1)), 5)
    tutor.write(asked.out / tutor.NAME, design, words, learning.weights())
    write_json(asked.out / "metrics.json", metrics)
    if asked.json:
        print(json.dumps(metrics, indent=1))
    else:
        weight = size((asked.out / tutor.NAME).stat().st_size)
        told = f"; held-out loss {metrics['held_out']:g}" if "held_out" in metrics else ""
        print(
            f"{asked.out / tutor.NAME}: {weight}, {learning.step:,} steps over {len(shown):,}"
            f" pictures in {metrics['seconds']:.0f} s{told}"
        )
    return 0


def _begun(asked: TrainTeacher, arguments: Sequence[str]) -> dict[str, Any]:
    if asked.corpus is None:
        raise ValueError("no corpus is given; expected its folder before -o")
    tutor.design_of(asked.size, asked.width)
    check_free(asked.out, asked.overwrite)
    return {
        "format": "splat teacher",
        "version": 1,
        "corpus": str(asked.corpus.resolve()),
        "size": asked.size,
        "width": asked.width,
        "schooling": asdict(asked.schooling),
        "command": shlex.join(["splat", "train-teacher", *arguments]),
    }
