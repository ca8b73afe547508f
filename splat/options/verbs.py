"""Options that many verbs have, and how they are checked; each is written once, here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from splat.system.files import sweep_drafts

DeviceName = Literal["auto", "cpu", "cuda"]
"""A device as users name it; auto: CUDA where everything for it is there, else the CPU."""
RendererName = Literal["auto", "native", "gsplat"]
"""A renderer as users name it; auto: our own kernels."""
Json = Annotated[bool, tyro.conf.arg(help="Print the result as JSON.")]
"""Whether a verb prints JSON for programs, and not text for people."""
Quiet = Annotated[bool, tyro.conf.arg(help="Say nothing but warnings and the result.")]
"""Whether a verb keeps its progress to itself."""
Overwrite = Annotated[bool, tyro.conf.arg(help="Replace what is there.")]
"""Whether a verb may write where something lies already."""
Resume = Annotated[
    bool,
    tyro.conf.arg(
        help="Go on from the last checkpoint; it ends with the same bytes as if it had never"
        " stopped."
    ),
]
"""Whether a verb that trains goes on where it stopped."""
DrawOn = Annotated[DeviceName, tyro.conf.arg(help="Where to draw.")]
"""The device of a verb that draws."""
DrawWith = Annotated[
    RendererName,
    tyro.conf.arg(help="What draws: our own kernels, which auto takes, or gsplat, on CUDA only."),
]
"""The renderer of a verb that draws."""


def check_target(out: Path | None, dry_run: bool) -> None:
    """Raise ValueError where no file to write is given, and not said that none is wanted."""
    if out is None and not dry_run:
        raise ValueError("give the file to write with -o, or --dry-run to write none")


def check_free(path: Path, overwrite: bool) -> None:
    """Raise FileExistsError where there is something at a path that is not to be overwritten.

    An empty folder is nothing. Drafts that killed processes left are removed.
    """
    taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if taken and not overwrite:
        raise FileExistsError(f"{path} exists; replace it with --overwrite, or give another name")
    sweep_drafts(path)
