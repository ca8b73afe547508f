"""A picture of a sound: what both ears hear, by time and frequency."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from splat.evaluation.pictures import FAINT, INK, figure_pixels, png, styled
from splat.strategies.acoustic.measure import FFT, HOP, spectra
from splat.system.files import replacing

DEEPEST = -80.0
"""dB below the loudest that is still told from silence."""
COLUMNS = 1200
"""Most times that are told apart."""
_BLOCK = 256
"""Columns whose spectra are held at a time."""


def spectrogram(sound: Float[Tensor, "2 samples"], rate: int, path: Path, title: str) -> None:
    """Write a PNG with a panel an ear: seconds, Hz, and dB below the loudest of both."""
    power = _power(sound)
    level = 10 * (power / power.max().clamp(min=1e-30)).clamp(min=1e-30).log10()
    seconds = sound.shape[1] / rate
    figure = Figure(figsize=(10, 6), dpi=100, facecolor="white", layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for axes, rows, name in zip(panels, level, ("Left ear", "Right ear"), strict=True):
        styled(axes, name, seconds)
        axes.grid(False)
        image = axes.imshow(
            rows.clamp(min=DEEPEST).numpy(),
            cmap="magma",
            vmin=DEEPEST,
            vmax=0,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            extent=(0, seconds, 0, rate / 2),
        )
        axes.set_xlabel("")
        axes.set_ylabel("Hz", color=FAINT, fontsize=9)
    panels[1].set_xlabel("seconds", color=FAINT, fontsize=9)
    scale = figure.colorbar(image, ax=list(panels), pad=0.01)
    scale.set_label("dB below the loudest", color=FAINT, fontsize=9)
    scale.ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    with replacing(path) as draft:
        draft.write_bytes(png(figure_pixels(figure)))


def _power(sound: Float[Tensor, "2 samples"]) -> Float[Tensor, "2 bins columns"]:
    """Mean squares of the spectra's magnitudes over as many frames as a column shows."""
    frames = -(-sound.shape[1] // HOP)
    each = -(-frames // COLUMNS)
    parts: list[Tensor] = []
    for first in range(0, frames, _BLOCK * each):
        last = min(first + _BLOCK * each, frames)
        # With what sounds before and after it: silence there would be a click.
        low = max(0, first - FFT // HOP)
        block = sound[:, low * HOP : last * HOP + FFT].float()
        found = spectra(block).square()[..., first - low : last - low]
        parts.extend(column.mean(-1) for column in found.split(each, dim=-1))
    return torch.stack(parts, -1)
