"""`splat resume`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from splat import api
from splat.cli.blocks import check_no_block, resume_in_blocks
from splat.cli.run_options import Resume
from splat.cli.training import report
from splat.cli.viewing import viewing_for
from splat.options.parse import parsed
from splat.runs.folder import Folder, existing, read_config


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
            renderer=asked.renderer,
            threads=asked.threads,
            watching=replace(config.watching, quiet=asked.quiet),
            viewing=viewing_for(asked.viewing, arguments, silent=asked.json or asked.quiet),
            done=done,
        ),
        asked.run,
        asked.json,
    )
