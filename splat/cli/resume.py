"""`splat resume`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from splat import api
from splat.cli.blocks import check_no_block, resume_in_blocks
from splat.cli.training import report
from splat.cli.viewing import viewing_for
from splat.options import Viewing
from splat.options.parse import parsed
from splat.options.verbs import DeviceName, Json, Quiet
from splat.runs.folder import Folder, existing, read_config
from splat.system.numbers import hint


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its last checkpoint.

    On the CPU it ends with the same bytes as if it had never stopped.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    steps: Annotated[int | None, hint("as the run was begun")] = None
    """A new end; a finished run needs one. Schedules are those of a run of that length."""
    scene: Annotated[Path | None, hint("where it was")] = None
    """Folder of the scene, if it was moved."""
    device: Annotated[DeviceName | None, hint("as the run was begun")] = None
    """Where to go on."""
    threads: Annotated[int | None, hint("as the run was begun")] = None
    """Threads on the CPU; results do not depend on it."""
    workers: Annotated[int | None, hint("cores / threads, or one for each GPU")] = None
    """Of a run in blocks, how many are trained at once."""
    on: Annotated[str | None, tyro.conf.arg(metavar="ray|ADDRESS"), hint("this machine")] = None
    """Of a run in blocks, who carries them out (`splat train --help`)."""
    json: Json = False
    quiet: Quiet = False
    viewing: Viewing = field(default_factory=Viewing)


def main(arguments: Sequence[str]) -> int:
    """Resume a run; the exit code."""
    asked = parsed(Resume, "resume", arguments)
    config = read_config(existing(asked.run).config)
    scene = None if asked.scene is None else api.reread(config, asked.scene)
    if Folder(asked.run).in_blocks():
        return resume_in_blocks(asked, scene)
    if asked.workers is not None or asked.on is not None:
        raise ValueError(
            f"{asked.run} is a run in one piece; expected --workers and --on with one in blocks:"
            " leave them out"
        )
    check_no_block(asked.run)
    return report(
        lambda done: api.resume(
            asked.run,
            scene,
            steps=asked.steps,
            device=asked.device,
            threads=asked.threads,
            watching=replace(config.watching, quiet=asked.quiet),
            viewing=viewing_for(asked.viewing, arguments, silent=asked.json or asked.quiet),
            done=done,
        ),
        asked.run,
        asked.json,
    )
