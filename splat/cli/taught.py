"""What verbs that teach networks share: begun anew or gone on with, logs, checkpoints."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from splat.cli.asked.taught import Teaching
from splat.generate.course import VERSION, Course, multiplies_half
from splat.options.verbs import check_free
from splat.runs import checkpoint
from splat.system.files import read_json, write_json
from splat.system.lock import locked
from splat.system.replaced import Replaced
from splat.system.text import size

SAVED = "training.pt"
LOG_EVERY = 10
SAVE_EVERY = 250


def begun(asked: Teaching, verb: str, arguments: Sequence[str], **own: Any) -> Mapping[str, Any]:
    """The settings of a training: `own` and others, of one that begins, or as it was begun."""
    if asked.resume:
        return resumed(asked.out, asked.corpus)
    if asked.corpus is None:
        raise ValueError("no corpus is given; expected its folder before -o")
    check_free(asked.out, asked.overwrite)
    usual = "bfloat16" if multiplies_half() else "float32"
    return {
        "format": f"splat {verb.removeprefix('train-')}",
        "version": 1,
        "corpus": str(asked.corpus.resolve()),
        "precision": usual if asked.precision == "auto" else asked.precision,
        **own,
        "command": shlex.join(["splat", verb, *arguments]),
    }


def resumed(folder: Path, corpus: Path | None) -> Mapping[str, Any]:
    """The settings of a training that is gone on with; the corpus may lie elsewhere by now."""
    settings = folder / "config.json"
    if not settings.is_file() or not (folder / SAVED).is_file():
        raise FileNotFoundError(
            f"{folder} holds no training to go on with; begin one without --resume"
        )
    config = dict(read_json(settings))
    if corpus is not None:
        config["corpus"] = str(corpus.resolve())
    return config


@contextmanager
def replacing(folder: Path, made: str) -> Iterator[None]:
    """Within, what a file named `made` holds is trained anew; the old one is there again if that
    fails before it has a checkpoint."""
    old = _replaced(folder, made)
    old.set_aside(worth=(folder / SAVED).is_file() or (folder / made).is_file())
    try:
        yield
    except BaseException:
        if not (folder / SAVED).is_file():
            old.put_back()
        raise


def prepared(asked: Teaching, what: str) -> Callable[[Iterable[int]], Iterable[int]]:
    """A bar over things of which something is prepared."""

    def bar(things: Iterable[int]) -> Iterable[int]:
        quiet = asked.quiet or asked.json or None
        return tqdm(things, what, unit="thing", disable=quiet, leave=False)  # type: ignore[no-any-return]

    return bar


def learn(asked: Teaching, config: Mapping[str, Any], lesson: Course, made: str) -> None:
    """Go through a training that makes a file named `made`, or through what is left of it."""
    lesson.half = config.get("precision") == "bfloat16"
    if asked.resume:
        state = checkpoint.load(
            asked.out / SAVED, lesson.format, VERSION, what=f"training of a {lesson.kind}"
        )
        with checkpoint.fitting(state):
            lesson.restore(state)
    asked.out.mkdir(parents=True, exist_ok=True)
    held = locked(asked.out / ".lock", str(asked.out))
    with held, nullcontext() if asked.resume else replacing(asked.out, made):
        if not asked.resume:
            write_json(asked.out / "config.json", config)
        teach(lesson, asked.out, made, quiet=asked.quiet or asked.json)


def report(asked: Teaching, file: Path, metrics: Mapping[str, Any], of: str, lost: str) -> None:
    """Write the metrics of a training that has ended, and say them: `of` what it learned, and
    held-out losses."""
    write_json(asked.out / "metrics.json", metrics)
    if asked.json:
        print(json.dumps(metrics, indent=1))
        return
    print(
        f"{file}: {size(file.stat().st_size)}, {metrics['steps']:,} steps{of} in"
        f" {metrics['seconds']:.0f} s{lost}"
    )


def teach(lesson: Course, folder: Path, made: str, *, quiet: bool) -> None:
    """All steps that are left, with a checkpoint now and then and at the end."""
    lines = kept_lines(folder / "log.jsonl", lesson.step)
    bar = tqdm(total=lesson.steps, initial=lesson.step, unit="step", disable=quiet or None)
    with bar, (folder / "log.jsonl").open("w", encoding="utf-8", buffering=1) as log:
        log.writelines(lines)
        mean: dict[str, float] = {}
        while lesson.step < lesson.steps:
            stage, loss = lesson.advance()
            mean[stage] = 0.98 * mean.get(stage, loss) + 0.02 * loss
            bar.update()
            bar.set_postfix_str(f"{stage} {mean[stage]:.4f}")
            if lesson.step % LOG_EVERY == 0:
                line = {"step": lesson.step, "stage": stage, "loss": round(loss, 6)}
                log.write(json.dumps(line) + "\n")
            if lesson.step % SAVE_EVERY == 0 or lesson.step == lesson.steps:
                checkpoint.write(lesson.state(), folder / SAVED)
                _replaced(folder, made).forget()


def kept_lines(path: Path, step: int) -> Sequence[str]:
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


def _replaced(folder: Path, made: str) -> Replaced:
    """What was here before, until what replaces it has a checkpoint."""
    return Replaced(folder, (SAVED, made, "config.json", "log.jsonl", "metrics.json"))
