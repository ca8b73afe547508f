"""How sound dies away at a place, from its energy alone: no head, no noise."""

from __future__ import annotations

import numpy as np

from splat.strategies.acoustic.arrival import SPEED
from worlds.rooms.binaural import arrivals, shares
from worlds.rooms.head import FFT
from worlds.rooms.simulate import BIN, Echoes

EARLY = 0.05
"""Seconds that C50 counts as early."""
LEVELS = {"t60": (-5.0, -35.0), "edt": (0.0, -10.0)}
"""dB between which the line is laid whose slope is extrapolated to 60 dB (ISO 3382-1)."""


def energies(
    echoes: Echoes, listener: int, place: np.ndarray, rate: int, samples: int
) -> np.ndarray:
    """Energy by octave and sample at a place, [7, samples]: images and traced rays."""
    found = arrivals(echoes, listener, place)
    each = round(BIN * rate)
    # Bins that end with the sound, which need not be whole.
    traced = echoes.tail[listener].sum(0).astype(np.float64).repeat(each, -1)[:, :samples] / each
    energy = np.pad(traced, ((0, 0), (0, samples - traced.shape[1])))
    at = np.round(found.distance / SPEED * rate).astype(int)
    within = at < samples
    np.add.at(energy.T, at[within], found.level[within] ** 2)
    energy[:, : int(found.straight / SPEED * rate)] = 0
    return energy


def measured(energy: np.ndarray, rate: int) -> dict[str, float | None]:
    """T60 (T30) and EDT in seconds, C50 in dB, of energy by sample; None where not reached."""
    heard = np.flatnonzero(energy)
    if not len(heard):
        return {"t60": None, "edt": None, "c50": None}
    energy = energy[heard[0] :]
    left = np.cumsum(energy[::-1])[::-1]
    level = 10 * np.log10(np.maximum(left / left[0], 1e-20))
    found: dict[str, float | None] = {}
    for name, (first, last) in LEVELS.items():
        within = np.flatnonzero((level <= first) & (level >= last))
        reached = level[-1] < last and len(within) > 1
        slope = np.polyfit(within / rate, level[within], 1)[0] if reached else 0.0
        found[name] = float(-60 / slope) if reached else None
    early = round(EARLY * rate)
    late = max(energy[early:].sum(), 1e-6 * energy[:early].sum())
    found["c50"] = float(10 * np.log10(energy[:early].sum() / late))
    return found


def told(
    echoes: Echoes, listener: int, place: np.ndarray, rate: int, samples: int
) -> dict[str, object]:
    """What `truth.json` says of a place: over all octaves, and T60 octave by octave."""
    energy = energies(echoes, listener, place, rate, samples)
    broad = measured(shares(rate, FFT).mean(1) @ energy, rate)
    direct = bool(echoes.seen[listener, 0])
    return {**broad, "t60_octaves": [measured(e, rate)["t60"] for e in energy], "direct": direct}
