"""Ways to correct exposures, by their names; what options need to know, and no more."""

from __future__ import annotations

from typing import Literal

Exposure = Literal["off", "channel", "affine", "grid"]
"""channel: a gain and a bias for each channel of a photo; affine: a matrix; grid: a bilateral
grid."""
