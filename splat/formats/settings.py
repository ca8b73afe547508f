"""Options of the formats that have any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from splat.system.numbers import hint

PLAIN_BITS = (8, 8)
"""Default bits of harmonics, of the first band and the others, rounded one by one."""
VIEWED_BITS = (5, 4)
"""Default bits of harmonics that are rounded for what views see of them: about 0.1 dB lost."""


@dataclass(frozen=True)
class Settings:
    """Choices within formats; each format reads those that bear its name."""

    spz_version: Literal[2, 3, 4] = 3
    """Version of an .spz: 2 for old viewers, 4 (zstd) for new ones only."""
    spz_axes: Literal["ply", "rub", "gltf"] = "ply"
    """Axes in an .spz: those of the .ply, as nearly all tools have it, right-up-back, as its
    specification says, or left-up-front, as within a .spz.glb."""
    spz_sh_bits: Annotated[
        tuple[int, int] | None, hint("5 4 where they are rounded for cameras, else 8 8")
    ] = None
    """Bits of harmonics in an .spz, of the first band and of the others: 1 to 8. Other writers take
    5 and 4; rounded one by one, those can cost some dB."""
    sog_palette: int = 0
    """Rows of the palette of harmonics in a .sog or .tsog; 0: chosen by the number of Gaussians."""
    sog_bits: Annotated[
        tuple[int, int, int, int, int] | None,
        hint("16 8 8 8 8 and codebooks; with --max-loss chosen by what views see"),
    ] = None
    """Bits in a .sog or .tsog of positions, rotations, scales, colours and opacities, on even steps
    that take so much less room: 12 5 5 6 4 makes a row half as large. Harmonics follow colours."""
    page_background: str = "auto"
    """Behind the scene of an .html: black, white or #rrggbb; auto: as in training, where that was
    another colour than black, else the mean colour along the border of the first view."""
    page_seconds: float = 4.0
    """Seconds in which an .html or .tsog plays a scene that moves, where its run does not say."""
    tiles_origin: Annotated[
        tuple[float, float, float] | None, hint("as splat prep found it by GPS, else none")
    ] = None
    """Of a tileset.json whose axes are metres east, north and up: latitude, longitude (degrees) and
    altitude (metres above the ellipsoid) of its origin, for it to lie on the globe."""
    tiles_content: Literal["spz", "glb"] = "spz"
    """What the tiles of a tileset.json are: compressed, as CesiumJS draws them, or as they are."""
    seed: int = 0
    """Seed of the random numbers that codebooks are made with."""

    @property
    def sh_bits(self) -> tuple[int, int]:
        """Bits of harmonics in an .spz, of the first band and of the others."""
        return self.spz_sh_bits or PLAIN_BITS

    def for_views(self) -> Settings:
        """These settings for harmonics that are rounded for what views see of them."""
        return self if self.spz_sh_bits else replace(self, spz_sh_bits=VIEWED_BITS)
