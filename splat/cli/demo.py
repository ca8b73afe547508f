"""`splat demo`."""

from __future__ import annotations

import logging
import shlex
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from splat import api
from splat.cli.asked.demo import Demo
from splat.cli.training import report
from splat.cli.viewing import viewing_for
from splat.datasets import demo
from splat.datasets.demo import clip
from splat.options import Options, Reading
from splat.options.parse import parsed
from splat.recipes import recipe
from splat.runs.folder import vacant
from splat.system import machine

SIZE = (400, 300)
DRAFT_SECONDS = 3600.0
"""Age from which a draft of the scene is of no process that still draws."""

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Draw the scene, train, measure, export; the exit code."""
    asked = parsed(Demo, "demo", arguments)
    out = asked.out or Path("runs/moving" if asked.moving else "runs/demo")
    vacant(out, asked.overwrite)
    options = Options(steps=asked.steps, max_side=0, device=asked.device)
    _log.info("the built-in scene is drawn, or taken from the cache ...")
    start = time.monotonic()
    _sweep()
    if asked.moving:
        folder = clip.cached()
    else:
        folder = demo.cached(width=SIZE[0], height=SIZE[1])
    _log.info("%s, after %.0f s", folder, time.monotonic() - start)
    usual = recipe.usual_strategy()
    strategy = recipe.moving(usual) if asked.moving else usual
    return report(
        lambda done: api.train(
            api.load(folder),
            strategy.limited(asked.cap),
            options,
            out=out,
            overwrite=asked.overwrite,
            watching=asked.watching,
            reading=Reading(),
            command=shlex.join(["splat", "demo", *arguments]),
            viewing=viewing_for(
                asked.viewing, arguments, silent=asked.json or asked.watching.quiet
            ),
            done=done,
        ),
        out,
        asked.json,
    )


def _sweep() -> None:
    """Delete what processes left in the cache that were killed while they drew the scene."""
    for name in (".demo-*", ".moving-*"):
        for draft in machine.user_cache().glob(name):
            with suppress(OSError):  # another process may sweep too
                if draft.stat().st_mtime < time.time() - DRAFT_SECONDS:
                    shutil.rmtree(draft)
