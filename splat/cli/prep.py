"""`splat prep`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from splat.cli.asked.prep import Prep
from splat.options.parse import parsed
from splat.prep import prepare_any


def main(arguments: Sequence[str]) -> int:
    """Prepare a scene; the exit code."""
    asked = parsed(Prep, "prep", arguments)
    out = asked.out or usual_folder(asked.source)
    report = prepare_any(
        asked.source, out, asked.preparing, overwrite=asked.overwrite,
        quiet=asked.quiet or asked.json,
    )  # fmt: skip
    if asked.json:
        print(json.dumps({**asdict(report), "advice": report.advice()}, indent=1))
    else:
        print(f"{report.text()}\nnow: splat train {out}")
    return 0


def usual_folder(source: Path) -> Path:
    """The default folder of a scene, beside its photos."""
    path = source.resolve()
    return path.with_name(f"{path.stem if path.is_file() else path.name}_scene")
