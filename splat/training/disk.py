"""What a run will write, and whether its disk has room for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from splat.loop import Run
from splat.options import Watching
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.system import machine
from splat.system.text import size

ROW_BYTES = 248
"""Bytes of a Gaussian in the `.ply` at the end, with three bands of harmonics."""
REST_BYTES = 10 << 20
"""Bytes of log, cameras, figures, contact sheet and curves."""


@dataclass(frozen=True)
class DiskPlan:
    """Predicted bytes of a run on disk."""

    checkpoint: int
    """Bytes of a checkpoint at its largest."""
    count: int
    """Checkpoints at once: those that are kept, one to roll back to, and one that is written."""
    files: int
    """Bytes of all else."""
    there: int
    """Bytes of checkpoints that are there already, and go."""
    free: int | None
    """Bytes free on that disk; None: nobody knows."""

    @classmethod
    def of(cls, run: Run, folder: Folder, watching: Watching) -> DiskPlan:
        """The plan of a run in a folder, with as many rows as it may have."""
        state = checkpoint.state_of(run)
        rows = len(run.model.cloud)
        most = max(run.rows, run.strategy.cap)
        of_rows = _bytes(state["model"])
        there = checkpoint.checkpoints_in(folder.checkpoints)
        return cls(
            checkpoint=_bytes(state) - of_rows + of_rows * most // max(rows, 1),
            count=watching.keep + 2,
            files=ROW_BYTES * most + REST_BYTES,
            there=sum(path.stat().st_size for path in there),
            free=machine.disk_free(folder.path),
        )

    @property
    def needed(self) -> int:
        """Bytes that have to be free."""
        return max(0, self.count * self.checkpoint - self.there) + self.files

    def text(self) -> str:
        """The plan in a sentence."""
        free = "" if self.free is None else f"; {size(self.free)} are free"
        return (
            f"at most {self.count} checkpoints of {size(self.checkpoint)} + files"
            f" {size(self.files)} = about {size(self.needed)}{free}"
        )

    def check(self, folder: Folder) -> None:
        """Raise ValueError where there is no room for it."""
        if self.free is not None and self.free < self.needed:
            raise ValueError(
                f"{folder.path}: this run writes {self.text()}; free some space, lower --cap or"
                " --keep, or give another folder with --out"
            )


def _bytes(state: Any) -> int:
    """Bytes of all tensors within a state."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(map(_bytes, state.values()))
    return sum(map(_bytes, state)) if isinstance(state, list | tuple) else 0
