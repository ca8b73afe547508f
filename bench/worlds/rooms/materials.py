"""What walls are made of: how much sound they take and scatter, in octaves from 125 Hz to 8 kHz.

Figures are of the size that tables of building acoustics give for such surfaces; they are the
truth of the generated rooms, not measurements of a product.
"""

from __future__ import annotations

from dataclasses import dataclass

CENTRES = (125, 250, 500, 1000, 2000, 4000, 8000)
"""Of the octaves, Hz."""
AIR = (0.0001, 0.0003, 0.0006, 0.001, 0.0017, 0.0041, 0.0135)
"""Energy that air takes a metre, at 20 degrees and 60 % humidity (ISO 9613-1), by octave."""
VACUUM = (0.0,) * 7
"""Air that takes nothing."""
Bands = tuple[float, ...]


@dataclass(frozen=True)
class Material:
    """A surface as sound meets it."""

    name: str
    """Also of its look, see `paint`."""
    absorption: Bands
    """The share of energy that does not come back, by octave."""
    scattering: Bands
    """The share of what comes back that does not obey the law of reflection, by octave."""


def _ramp(low: float, high: float) -> Bands:
    return tuple(round(low + (high - low) * i / 6, 4) for i in range(7))


MATERIALS = {
    m.name: m
    for m in (
        Material("plaster", (0.16, 0.13, 0.11, 0.10, 0.10, 0.10, 0.10), _ramp(0.10, 0.20)),
        Material("brick", (0.02, 0.03, 0.03, 0.04, 0.05, 0.06, 0.07), _ramp(0.10, 0.30)),
        Material("boards", (0.15, 0.11, 0.10, 0.07, 0.06, 0.07, 0.07), _ramp(0.10, 0.20)),
        Material("carpet", (0.05, 0.12, 0.30, 0.45, 0.55, 0.62, 0.65), _ramp(0.10, 0.30)),
        Material("curtain", (0.14, 0.35, 0.55, 0.72, 0.75, 0.72, 0.68), _ramp(0.15, 0.50)),
        Material("absorber", (0.25, 0.55, 0.85, 0.95, 0.95, 0.92, 0.90), _ramp(0.15, 0.50)),
    )
}
