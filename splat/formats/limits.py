"""Bounds of what files of Gaussians hold, and what is said of rows that are left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splat.system import foreign

FAINTEST = 1e-6
"""Opacities are written within [FAINTEST, 1 - FAINTEST], so that their logits are finite."""
MOST_FOLD = 64
"""How many times its own size a compressed file may take in memory: a few bytes a Gaussian."""
THINNEST = 1e-30
"""Least standard deviation that is written, so that its logarithm is finite."""
LEVELS = 256
"""Levels of a codebook of numbers."""
CHUNK = 256
"""Rows that share bounds in a .compressed.ply; fewer than that are near enough to each other."""

_log = logging.getLogger(__name__)


def check_rows(n: int, degree: int, size: int) -> None:
    """Raise `Broken` where a file of `size` bytes claims more Gaussians than it may."""
    needed = 4 * n * (11 + 3 * (degree + 1) ** 2)
    foreign.check_claim(needed, size, f"{n:,} Gaussians", MOST_FOLD)


def check_kept(keep: int, n: int, path: Path) -> None:
    """Raise ValueError where none of the `n` rows of a file is kept, as none is there or none is
    finite; a warning says where some are left out."""
    if not n:
        raise ValueError(f"{path}: there are no Gaussians; expected at least one")
    if not keep:
        raise ValueError(f"{path}: all {n:,} Gaussians hold NaN or infinite values")
    if keep < n:
        warn_left_out(path, n - keep, n, "Gaussians")


def warn_left_out(path: Path, broken: int, n: int, what: str) -> None:
    """Log a warning: how many rows are left out for NaN or infinite values."""
    _log.warning(
        "%s: %d of %d %s hold NaN or infinite values and are left out", path, broken, n, what
    )


@contextmanager
def broken_counts() -> Iterator[list[int]]:
    """Within, numbers of broken rows that files are read without, of which readers only warn."""
    counts: list[int] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.funcName == warn_left_out.__name__ and isinstance(record.args, tuple):
                counts.append(int(str(record.args[1])))

    handler = Ear()
    _log.addHandler(handler)
    try:
        yield counts
    finally:
        _log.removeHandler(handler)
