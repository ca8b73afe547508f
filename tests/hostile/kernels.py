"""Every kernel with arrays that end where memory does: `python -m tests.hostile.kernels --calls N`.

Sizes, numbers and options are drawn from `--seed` and the number of the call. A quarter of the
calls have an argument of another shape, type, layout or place; they are to be refused in a
sentence, or where it holds nothing or is sparse by torch itself. Exit code 1 where a kernel touched
what is not its own, gave other bits than elsewhere, or failed otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .fuzz import environment

NAMES = ("rasterize", "activate", "moment", "adam", "decode", "field", "hexplane",
         "photometric", "errors", "toned", "walk", "add", "frustum")  # fmt: skip
"""Of `calls.CALLS`, which takes torch to import."""
PART = 2000
"""Calls of one process: what it counts goes with it where a kernel kills it."""


def called(
    names: Sequence[str], *, seed: str, calls: int, first: int = 0
) -> tuple[dict[str, Counter[str]], list[dict[str, Any]]]:
    """Counts by kernel, and what went wrong."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    wrong: list[dict[str, Any]] = []
    end, start = first + calls, first
    with tempfile.TemporaryDirectory(prefix="guarded-") as folder:
        at = Path(folder) / "at"
        while start < end:
            stop = min(end, start + PART)
            at.write_bytes(start.to_bytes(8, "little"))
            command = [sys.executable, "-m", "hostile.guarded", str(at), seed, str(start),
                       str(stop - start), *names]  # fmt: skip
            done = subprocess.run(
                command, env=environment(), cwd=folder, text=True, capture_output=True, check=False
            )
            records = [json.loads(line) for line in done.stdout.splitlines()]
            wrong += [record for record in records if "kind" in record]
            if done.returncode == 0:
                for name, found in records[-1]["counts"].items():
                    counts[name].update(found)
                start = stop
                continue
            i = int.from_bytes(at.read_bytes(), "little")
            died = Path(f"{at}.died").read_text("utf-8", "replace")
            if not died and done.returncode > 0:
                raise RuntimeError(f"the calls ended by themselves: {done.stderr[-2000:]}")
            name = names[i % len(names)]
            said = " < ".join(_frames(died)) or f"exit code {done.returncode}"
            wrong.append({"i": i, "kernel": name, "isa": "", "kind": "fault", "said": said})
            counts[name].update(fault=1, lost=i - start)
            start = i + 1
    return counts, wrong


def table(counts: dict[str, Counter[str]]) -> str:
    """Counts of every kernel, and of all."""
    total: Counter[str] = sum(counts.values(), Counter())
    good = ["done", "refused", "by torch"]
    kinds = [*good, *sorted(set(total) - {*good})]
    rows = [["kernel", *kinds]]
    rows += [[name, *(f"{found[k]:,}" for k in kinds)] for name, found in sorted(counts.items())]
    rows.append(["all", *(f"{total[k]:,}" for k in kinds)])
    widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", choices=NAMES, help="one kernel")
    asked = parser.parse_args(arguments)
    if os.name != "posix":
        parser.error("pages are guarded by mprotect, which this system has not")
    names = [asked.only] if asked.only else NAMES
    counts, wrong = called(names, seed=asked.seed, calls=asked.calls, first=asked.first)
    print(table(counts))
    for record in wrong[:50]:
        print(f"{record['kernel']} call {record['i']} {record['isa']}: {record['kind']}: "
              f"{record['said']}")  # fmt: skip
    print(f"{len(wrong)} calls went wrong, seed {asked.seed}")
    return 1 if wrong else 0


def _frames(died: str) -> list[str]:
    """Innermost frames of what `faulthandler` wrote."""
    lines = [line.strip() for line in died.splitlines() if line.startswith("  File ")]
    return [line.rpartition("/")[2].replace('"', "") for line in lines[:4]]


if __name__ == "__main__":
    sys.exit(main())
