"""The checkpoints that a folder keeps, by their names."""

from __future__ import annotations

from pathlib import Path


def path_of(folder: Path, shown: int) -> Path:
    """The file of a run that has shown so many photos, one a step unless processes share it."""
    return folder / f"step_{shown:08d}.pt"


def shown_of(path: Path) -> int:
    """Photos that the run of a checkpoint has shown, by the name of its file."""
    number = path.stem.removeprefix("step_")
    return int(number) if number.isdecimal() else 0


def checkpoints_in(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step_*.pt"))


def prune(folder: Path, keep: int, spared: Path | None = None) -> None:
    """Delete all but the last `keep`, and but one that is `spared`."""
    for path in checkpoints_in(folder)[:-keep]:
        if path != spared:
            path.unlink(missing_ok=True)
