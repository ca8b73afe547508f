"""Whether a verb that trains serves the viewer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from splat.options import Viewing
from splat.parallel import current_ranks
from splat.viewer.server import available


def viewing_for(asked: Viewing, arguments: Sequence[str], *, silent: bool) -> Viewing:
    """The viewer's options; where none is given, the viewer is on for people at a terminal.

    Who asks for it by name wants it until Ctrl-C. `silent`: the output is for a script. A run of
    several processes has none.
    """
    if "--viewer" in arguments:
        return replace(asked, stay=True)
    if "--no-viewer" in arguments or silent or not current_ranks().alone:
        return asked
    return replace(asked, viewer=_at_a_terminal() and available())


def _at_a_terminal() -> bool:
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
