"""What `splat view` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from splat.options.verbs import DrawOn
from splat.system.numbers import hint


@dataclass(frozen=True)
class View:
    """Look at a finished run, a checkpoint or a file of Gaussians in a browser; or at two of them,
    one held against the other."""

    what: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="WHAT [WHAT]"), hint("needed")
    ]
    """Folder of a run, a checkpoint of one, or a file of Gaussians; one or two."""
    cameras: Annotated[Path | None, hint("those of the run")] = None
    """The cameras.json of a run, to look at a file of Gaussians from."""
    host: str = "localhost"
    """Address to listen on. Any but this machine's own is open to the network, and then asks for a
    token."""
    port: int = 8080
    """Port; the next free one if it is taken."""
    token: Annotated[str | None, hint("made where one is needed")] = None
    """What a browser must know to be let in."""
    background: str = "auto"
    """black, white or #rrggbb; auto: as in training."""
    device: DrawOn = "auto"
