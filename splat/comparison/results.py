"""Outcomes of the runs of a comparison, read from their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from splat.comparison import runs
from splat.comparison.asked import OWN
from splat.comparison.plan import Entry, Plan
from splat.comparison.runs import Note, State
from splat.runs.log import LOOK, STRATEGY, read_log
from splat.system import foreign
from splat.system.foreign import Record, reading

OFF = 0.01
"""Relative deviation of the last number of Gaussians from the budget that is not marked."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run."""

    entry: Entry
    state: State
    note: Note
    figures: Mapping[str, float | None] = field(default_factory=dict)
    """Figures by their names in `splat.comparison.table.FIGURES`, and `start`; of a run that is
    done."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Content of `metrics.json`."""
    looks: tuple[tuple[int, float, float], ...] = ()
    """Measurements: step, seconds of training, and PSNR on the held-out views, in order; the end
    included."""
    counts: tuple[tuple[int, int], ...] = ()
    """Number of Gaussians by step."""
    edits: tuple[tuple[int, Mapping[str, int]], ...] = ()
    """Rows by verb and reason (`Change.counts`), by step."""

    @property
    def off(self) -> float | None:
        """Gaussians at the end as a share of the budget, where that is not met."""
        last, budget = self.figures.get("gaussians"), self.entry.budget
        if last is None or budget == OWN or abs(last - budget) <= OFF * budget:
            return None
        return last / budget

    @property
    def over(self) -> float | None:
        """Most Gaussians as a share of the budget, where that was exceeded."""
        most, budget = self.figures.get("peak_gaussians"), self.entry.budget
        return most / budget if most is not None and most > budget != OWN else None


def outcomes(plan: Plan, out: Path, entries: Sequence[Entry] | None = None) -> list[Outcome]:
    """The outcomes of all runs of a plan, or of some, in their order."""
    return [outcome(plan, out, entry) for entry in entries or plan.entries()]


def outcome(plan: Plan, out: Path, entry: Entry) -> Outcome:
    """The outcome of a run so far."""
    state, note = runs.state_of(plan, out, entry), runs.note_of(out, entry)
    if state != "done":
        return Outcome(entry, state, note)
    note = replace(note, failed="")  # its last file is there, whatever the disk said of it
    place = runs.folder_of(out, entry)
    metrics, log = _metrics(place.metrics), read_log(place.log)
    with reading(place.log, "the log of a run"):
        looks, counts = _looks(log), _counts(log)
        edits = tuple((r["step"], {**Record(r).record("counts")}) for r in log if "counts" in r)
    looking = sum(record.get(LOOK, 0.0) for record in log)
    seconds = metrics["seconds"] - looking
    on_cpu = metrics["peak_gpu_memory_mb"] is None
    alone = note.at_once and 0 not in note.at_once
    memory = metrics.get("training_memory_mb") if on_cpu else metrics["peak_gpu_memory_mb"]
    spent = max((record.get(STRATEGY, 0.0) for record in log), default=0.0)
    figures = {
        "psnr": metrics["psnr"],
        **_clip(metrics.get("clip") or {}),
        "ssim": metrics["ssim"],
        "lpips": metrics["lpips"],
        **_off_path(metrics.get("off_path") or {}),
        "gaussians": metrics["gaussians"],
        "peak_gaussians": max((count for _, count in counts), default=metrics["gaussians"]),
        "bytes": metrics["export"]["bytes"],
        "seconds": seconds,
        "share": spent / seconds if seconds > 0 else None,
        "memory": memory if alone else None,
        "start": counts[0][1] if counts else None,
    }
    end = (metrics["steps"], seconds, metrics["psnr"])
    return Outcome(
        entry=entry,
        state=state,
        note=note,
        figures=figures,
        metrics=metrics,
        looks=(*looks, end) if metrics["psnr"] is not None else looks,
        counts=counts,
        edits=edits,
    )


def _metrics(path: Path) -> dict[str, Any]:
    """The metrics of a run, with all that a comparison takes of them."""
    with reading(path, "the metrics of a run: measure it again with `splat eval`"):
        metrics = foreign.record(path)
        for key in ("seconds", "gaussians", "steps"):
            metrics.number(key)
        for key in ("psnr", "ssim", "lpips", "peak_gpu_memory_mb", "threads"):
            metrics[key], metrics.number(key, 0.0)
        for key in ("isa", "device", "lpips_net"):
            metrics[key], metrics.text(key, "")
        metrics.numbers("size", 2)
        metrics.record("export").number("bytes")
        off_path = metrics.record("off_path", {})
        more = (
            (metrics, ("training_memory_mb",)),
            (metrics.record("clip", {}), _CLIP.values()),
            (off_path, ("psnr",)),
            (off_path.record("between", {}), _BETWEEN.values()),
        )
        for record, names in more:
            for name in names:
                record.number(name, 0.0)
        return {**metrics}


_CLIP = {"moving": "psnr_moving", "elsewhere": "psnr_rest", "flow": "flow_error"}
_BETWEEN = {"confirmed": "depth", "floating": "floaters", "sharpness": "sharpness"}
"""Figures of a comparison, and their names in metrics."""


def _clip(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Figures on what moves, and on what does not; None where the scene stands still."""
    return {figure: record.get(name) for figure, name in _CLIP.items()}


def _off_path(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Figures of a run off the path of its photos, as `OffPath.as_dict` gives them."""
    between = record.get("between") or {}
    return {
        "off_path": record.get("psnr"),
        **{figure: between.get(name) for figure, name in _BETWEEN.items()},
    }


def _looks(log: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, float, float], ...]:
    """Measurements, with the seconds of training only that came before each."""
    looks, looking = [], 0.0
    for record in log:
        if "test_psnr" in record:
            looking += record[LOOK]
            looks.append((record["step"], record["seconds"] - looking, record["test_psnr"]))
    return tuple(looks)


def _counts(log: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, int], ...]:
    """Gaussians from the start on, before and after every edit."""
    counts: list[tuple[int, int]] = []
    for record in log:
        if LOOK in record:  # it may stand before the line of its step's edit
            continue
        before = record.get("before", record["gaussians"])
        if not counts:
            counts.append((0, before))
        if before != counts[-1][1]:
            counts.append((record["step"], before))
        counts.append((record["step"], record["gaussians"]))
    return tuple(counts)
