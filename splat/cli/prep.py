"""`splat prep`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.parse import parsed
from splat.options.verbs import Json, Quiet
from splat.prep import PrepOptions, prepare
from splat.system.numbers import hint


@dataclass(frozen=True)
class Prep:
    """Make a posed scene of photographs or of a video: splat prep photos/ -o scene/

    A second run goes on where the first was interrupted; changed options redo what they change.
    """

    source: tyro.conf.Positional[Path]
    """Folder of photos, which is searched with all folders in it, or a video."""
    out: Annotated[
        Path | None, tyro.conf.arg(aliases=["-o"]), hint("the name of the source and _scene")
    ] = None
    """Folder for the scene."""
    overwrite: bool = False
    """Start anew in a folder that was prepared before."""
    json: Json = False
    quiet: Quiet = False
    preparing: PrepOptions = field(default_factory=PrepOptions)


def main(arguments: Sequence[str]) -> int:
    """Prepare a scene; the exit code."""
    asked = parsed(Prep, "prep", arguments)
    out = asked.out or usual_folder(asked.source)
    report = prepare(
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
