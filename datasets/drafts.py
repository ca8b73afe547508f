"""Folders of generated scenes that appear when they are complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def vacant(folder: Path, what: str) -> None:
    """Raise FileExistsError where a folder for `what` is there already."""
    if folder.exists():
        raise FileExistsError(
            f"{folder}: exists already; expected a new folder for {what}: remove it or give"
            " another name"
        )


@contextmanager
def drafted(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write into, which takes its name at the end; if an error comes
    before, nothing is left."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        draft.chmod(0o755)
        yield draft
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
