"""What may be chosen of the formats that leave a choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """Choices within formats; each format reads those that bear its name."""

    spz_version: Literal[2, 3, 4] = 3
    """Of .spz: 2 for old viewers, 4 (zstd) for new ones only."""
    spz_axes: Literal["ply", "rub"] = "ply"
    """Axes in an .spz: those of the .ply, as nearly all tools have it, or right-up-back, as its
    specification says."""
    spz_sh_bits: tuple[int, int] = (5, 4)
    """Bits of harmonics in an .spz, of the first band and of the others: 1 to 8."""
    sog_palette: int = 0
    """Rows of the palette of harmonics in a .sog; 0: chosen by the number of Gaussians."""
    seed: int = 0
    """Of what is drawn at random while codebooks are made."""
