"""Quality against bytes: what files of each representation show at equal sizes.

A representation is a method with a kind of file: Gaussians in a format, or a model in a file of its
own. For each size it is trained with as many rows as such a file holds, and the file itself is
weighed, read back and measured. How many that are is known once files were written: one that misses
its size is made again, twice at most, with as many rows as then are to be expected.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from splat import api, formats
from splat.comparison import runs
from splat.comparison.compare import Comparison, read
from splat.comparison.request import Request
from splat.comparison.results import Outcome
from splat.core.strategy import Strategy
from splat.export.receipt import Receipt, export
from splat.export.search import SCORED, Search
from splat.formats.settings import Settings
from splat.recipes.model_files import MODEL_FILES, key_of
from splat.recipes.recipe import strategy_from_text
from splat.rules.views import even_views
from splat.system.files import read_json, write_json
from splat.system.foreign import Record
from splat.system.numbers import amount
from splat.system.text import size as size_text
from splat.training.finish import held_out_fit
from splat.training.prepare import Job

KINDS = (".sog", ".spz")
"""Formats that Gaussians are written in where none are named."""
OWN = "own"
"""The kind of a model in a file of its own, before it is known which that is."""
OFF = 0.15
"""Share by which a file may miss its size and is not made again."""
TRIES = 3
"""Files that are made for a size, at most; the nearest counts."""
STRIDE = 4
"""Times as many rows, or as few, that are tried next, at most."""
FILES = "files"
"""The folder of files that are weighed."""

_log = logging.getLogger(__name__)
Compare = Callable[[Request], Comparison]
"""Carries out the runs of a request."""


@dataclass(frozen=True)
class Point:
    """Files of one representation at one size, the mean over seeds."""

    scene: str
    representation: str
    size: int
    """Bytes asked for."""
    rows: int
    """Rows that it was trained with, at most."""
    bytes: float
    psnr: float
    """dB on the held-out photos, of what is read back."""
    times: float | None = None
    """How many times as many bytes the `.ply` has that shows as much, of the first strategy that
    makes Gaussians; None where no `.ply` of its runs shows as little, or as much."""


def sizes_of(text: str) -> tuple[int, ...]:
    """`0.25MB,500kB`: bytes, ascending."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    asked = [amount(part) for part in parts]
    if not asked or not all(of_bytes for _, of_bytes in asked):
        raise ValueError(f"sizes is {text!r}; expected bytes of files, such as 0.25MB,0.5MB,1MB")
    return tuple(sorted({count for count, _ in asked}))


def kinds_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Endings of formats that are one file, checked; none given: `KINDS`."""
    found = tuple(f".{text.lstrip('.')}" for text in texts) or KINDS
    for kind in found:
        formats.suffix_of(Path(f"x{kind}"), written=True)
        if not formats.one_file(kind):
            raise ValueError(f"{kind} is not one file; compare sizes of formats that are")
    return found


def curves(
    request: Request, sizes: Sequence[int], kinds: Sequence[str], out: Path, compared: Compare
) -> list[Point]:
    """Points of all representations, scene by scene; what is done is not done again."""
    points = []
    seeds = request.seeds or (0,)
    for scene in request.scenes:
        here: list[Point] = []
        written: list[_Written] = []
        for name, asked in request.strategies.items():
            strategy = strategy_from_text(asked) if isinstance(asked, str) else asked
            one = replace(request, scenes=(scene,), strategies={name: asked}, seeds=seeds)
            for kind in (OWN,) if strategy.row_bytes else kinds:
                here += _curve(one, name, strategy, kind, sizes, out, compared)
            if not strategy.row_bytes and not written:
                written = _written(read(out), scene, name, seeds)
        points += [replace(point, times=_times(point, written)) for point in here]
    return points


class _Written(NamedTuple):
    """The `.ply` of a run: what it weighs and shows."""

    bytes: float
    psnr: float


def _written(
    comparison: Comparison, scene: Path, name: str, seeds: Sequence[int]
) -> list[_Written]:
    """The `.ply` of each budget's runs, the mean over seeds."""
    found: dict[int, list[_Written]] = {}
    for outcome in comparison.outcomes:
        entry = outcome.entry
        if outcome.state == "done" and entry.entrant == name and entry.seed in seeds:
            if comparison.plan.scene(entry.scene).path == scene.resolve():
                said = Record(outcome.metrics).record("export")
                file = _Written(said.number("bytes"), said.number("psnr_after"))
                found.setdefault(entry.budget, []).append(file)
    return [
        _Written(fmean(each.bytes for each in same), fmean(each.psnr for each in same))
        for same in found.values()
    ]


def _times(point: Point, written: Sequence[_Written]) -> float | None:
    """The bytes of the `.ply` that shows as much as a file, in files; on the line between the two
    next to it, over the logarithm of bytes, of those that no smaller one betters."""
    best: list[_Written] = []
    for each in sorted(written):
        if not best or each.psnr > best[-1].psnr:
            best.append(each)
    for less, more in pairwise(best):
        if less.psnr <= point.psnr <= more.psnr:
            share = (point.psnr - less.psnr) / (more.psnr - less.psnr)
            return less.bytes * math.pow(more.bytes / less.bytes, share) / point.bytes
    return None


def _curve(
    request: Request,
    name: str,
    strategy: Strategy,
    kind: str,
    sizes: Sequence[int],
    out: Path,
    compared: Compare,
) -> list[Point]:
    points: list[Point] = []
    degree = request.options.sh_degree
    for size in sizes:
        if points:
            rows = _rows(points[-1], size)
        elif kind == OWN:
            rows = max(1, size // strategy.row_bytes)
        else:
            rows = formats.most_in(size, degree, kind)
        tried = [_point(request, name, kind, size, rows, out, compared)]
        while len(tried) < TRIES and _off(tried[-1]) > OFF:
            rows = _rows(tried[-1], size, *tried[:-1])
            if rows in (point.rows for point in tried):
                break
            tried.append(_point(request, name, kind, size, rows, out, compared))
        point = min(tried, key=_off)
        _log.info(
            "size      %s, %s: %s at %s: %.2f dB", point.scene, point.representation,
            size_text(round(point.bytes)), size_text(size), point.psnr,
        )  # fmt: skip
        points.append(point)
    return points


def _off(point: Point) -> float:
    return abs(point.bytes / point.size - 1)


def _rows(point: Point, size: int, *before: Point) -> int:
    """Rows to be expected in so many bytes: in proportion to a file, or on the line through it and
    the last one `before` it, for some bytes of a file are of no row."""
    more = point.rows * (size / point.bytes - 1)
    if before:
        rows, weight = point.rows - before[-1].rows, point.bytes - before[-1].bytes
        if rows * weight > 0:
            more = (size - point.bytes) * rows / weight
    return round(min(max(point.rows + more, point.rows / STRIDE, 1), point.rows * STRIDE))


def _point(
    request: Request, name: str, kind: str, size: int, rows: int, out: Path, compared: Compare
) -> Point:
    comparison = compared(replace(request, budgets=(rows,)))
    mine = [
        outcome
        for outcome in comparison.outcomes
        if outcome.entry.entrant == name
        and outcome.entry.budget == rows
        and outcome.entry.seed in request.seeds
        and comparison.plan.scene(outcome.entry.scene).path == request.scenes[0].resolve()
    ]
    failed = [outcome for outcome in mine if outcome.state != "done"]
    if failed or not mine:
        why = failed[0].note.failed if failed else "nothing was trained"
        raise ValueError(f"{name} with {rows:,} rows has no file to weigh: {why}")
    found = [_file(outcome, kind, out) for outcome in mine]
    kinds = {each.kind for each in found}
    return Point(
        scene=mine[0].entry.scene,
        representation=f"{name}, {', '.join(sorted(kinds))}",
        size=size,
        rows=rows,
        bytes=fmean(each.bytes for each in found),
        psnr=fmean(each.psnr for each in found),
    )


@dataclass(frozen=True)
class _File:
    kind: str
    bytes: int
    psnr: float


def _file(outcome: Outcome, kind: str, out: Path) -> _File:
    """The file of a run that is done, written and measured where that was not done yet."""
    place = runs.folder_of(out, outcome.entry)
    if kind == OWN:
        metrics = Record(read_json(place.metrics))
        for suffix in MODEL_FILES:
            if key_of(suffix) in metrics:
                said = metrics.record(key_of(suffix))
                return _File(suffix, said.whole("bytes"), said.number("psnr_after"))
        raise ValueError(f"{place.path} has no file of its model; install all of splat")
    path = out / FILES / f"{outcome.entry.key.replace('/', '_')}{kind}"
    note = path.with_name(path.name + ".json")
    if not note.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(api.reopened(place.path)) as job:
            receipt = _exported(job, kind, path)
        write_json(note, {"bytes": receipt.bytes, "psnr": receipt.psnr_after})
    said = Record(read_json(note))
    return _File(kind, said.whole("bytes"), said.number("psnr"))


def _exported(job: Job, kind: str, path: Path) -> Receipt:
    """The file of a run as `splat export` writes it, measured as the run is."""
    run, settings = job.run, Settings().for_views()
    looked_at = [job.photos.batch(i) for i in even_views(job.photos.cameras, SCORED)]
    drawing, whole = run.drawing.plain, run.baked()
    search = Search.over(
        looked_at, whole, run.frame, drawing, run.shown, run.background,
        photos=False, finished_for=job.options.finish_for,
    )  # fmt: skip
    return export(
        search.best(kind, settings), run.frame, path, run.shown, job.test_batches(),
        run.background, drawing=drawing, settings=settings, whole=whole,
        fit=held_out_fit(job), weights=search.sight.seen,
    )  # fmt: skip
