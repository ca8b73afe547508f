"""`splat debug-step`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from splat import kernels
from splat.cli.asked.debug_step import DebugStep
from splat.options.parse import parsed
from splat.system.errors import FAILED
from splat.training.dump import Dump, read
from splat.training.reproduce import Entry, Report, reproduce


def main(arguments: Sequence[str]) -> int:
    """Print the values of a step; the exit code: 0 where something in it is not finite, 1 where
    all is on this machine."""
    asked = parsed(DebugStep, "debug-step", arguments)
    dump = read(asked.dump)
    reports = reproduce(dump)
    if asked.json:
        records = [record_of(dump, report) for report in reports]
        print(json.dumps(records[0] if len(records) == 1 else records, indent=1))
    else:
        print("\n\n".join([header(dump), *(text_of(report) for report in reports)]))
    return 0 if any(report.first for report in reports) else FAILED


def record_of(dump: Dump, report: Report) -> dict[str, Any]:
    """A repeated step as JSON has it; a magnitude is null where no value is finite."""
    entries = [_record(entry) for entry in report.entries]
    first = None if report.first is None else _record(report.first)
    return {
        "step": dump.step,
        "found": dump.found,
        "view": report.view,
        "first": first,
        "stopped": report.stopped or None,
        "entries": entries,
    }


def header(dump: Dump) -> str:
    """What a dump is of."""
    trained = f"splat {dump.made_by} on {dump.device}"
    return (
        f"step {dump.step + 1:,} of a run of {dump.scene.path} by {trained}, repeated here on the"
        f" CPU ({kernels.isa()})\nit was written as {dump.found}"
    )


def text_of(report: Report) -> str:
    """A repeated step as a table, with a sentence on where it breaks."""
    width = max((len(entry.name) for entry in report.entries), default=0)
    unit = max((len(f"{e.broken:,} of {e.total:,} {e.unit}") for e in report.entries), default=0)
    lines = [
        f"view {report.view}",
        f"{'stage':8}  {'what':{width}}  {'not finite':{unit}}  {'smallest':>9}  {'largest':>9}",
    ]
    for entry in report.entries:
        count = f"{entry.broken:,} of {entry.total:,} {entry.unit}" if entry.broken else "-"
        line = f"{entry.stage:8}  {entry.name:{width}}  {count:{unit}}"
        line += f"  {entry.smallest:9.3g}  {entry.largest:9.3g}"
        lines.append(line + (f"  {_numbers(entry)}" if entry.broken else ""))
    if report.stopped:
        lines.append(report.stopped)
    return "\n".join([*lines, _verdict(report)])


def _verdict(report: Report) -> str:
    first = report.first
    if first is None and report.stopped:
        return "all values up to there are finite"
    if first is None:
        return (
            "all values are finite here: what broke the run is in what this machine does otherwise,"
            " or in photos that the dump does not hold"
        )
    if first.stage == "loss":
        return f"first not finite: {first.phrase}"
    return (
        f"first not finite: {first.broken:,} of {first.total:,} {first.unit} of {first.phrase}"
        f" ({_numbers(first)})"
    )


def _numbers(entry: Entry) -> str:
    more = ", ..." if entry.broken > len(entry.rows) else ""
    return ", ".join(map(str, entry.rows)) + more


def _record(entry: Entry) -> dict[str, Any]:
    record = asdict(entry)
    for name in ("smallest", "largest"):
        record[name] = record[name] if math.isfinite(record[name]) else None
    return record
