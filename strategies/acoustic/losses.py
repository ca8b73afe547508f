"""What is lost between what is heard and what was: magnitudes, and how energy decays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor
from torch.nn import functional as F

from splat.strategies.acoustic.measure import EARLY, FALL, FFT, envelope, stft
from splat.strategies.acoustic.response import Grid
from splat.strategies.acoustic.signal import at_nodes

BANDS = 32
DEPTH = 42.0
"""dB below the whole down to which the decay curve counts: T60 is read down to 35."""
FLOOR = 1e-4
"""Of the whole energy: less than this in an interval is silence."""
TICK = 0.002
"""Seconds between the places of a decay curve that its slope is read from."""
STEEP = -1.0
"""dB a second: a decay is steeper."""
INTERVALS = 40
"""From 2 ms after the arrival to the end, evenly in logarithms."""


@dataclass(frozen=True)
class Weights:
    """Of the terms of the loss."""

    spectrum: float = 1.0
    """Mean square difference of magnitudes, of the training set's mean square."""
    envelope: float = 1.0
    """Mean square difference of envelopes, of the training set's mean square."""
    bands: float = 0.3
    """Mean difference of logarithms of energy by band and time."""
    decay: float = 0.6
    """Mean difference of energy decay curves, dB."""
    clarity: float = 0.1
    """Difference of C50, dB."""
    energy: float = 0.1
    """Mean difference of energy in intervals of time, dB."""
    time: float = 5.0
    """Mean relative difference of T60. Without it decays were learned 1 to 2 % too steep, at the
    training places as elsewhere."""


class ResponseLoss:
    """Terms for responses in local time, compared with those of training places."""

    def __init__(self, truth: Float[Tensor, "n 2 samples"], grid: Grid) -> None:
        self.truth = truth
        device = truth.device
        self.means = at_nodes(BANDS, FFT, grid.rate).to(truth)
        self.scale = torch.stack([magnitudes(t).square().mean() for t in truth]).mean()
        self.loud = truth.square().mean()
        ends = torch.exp(torch.linspace(math.log(0.002), math.log(grid.seconds * 0.875), INTERVALS))
        starts = torch.tensor([0, grid.arrival - grid.samples(16)])
        edges = torch.cat([starts, (grid.arrival + ends * grid.rate).long()])
        self.edges = torch.unique(edges).to(device)
        early = grid.arrival + EARLY * grid.rate
        self.clear = int((self.edges - early).abs().argmin())
        ticks = torch.arange(grid.arrival, grid.length, max(1, round(TICK * grid.rate)))
        self.ticks, self.seconds = ticks.to(device), (ticks / grid.rate).to(truth)

    def __call__(
        self, found: Float[Tensor, "b 2 samples"], rows: Tensor
    ) -> dict[str, Float[Tensor, ""]]:
        """By the names of `Weights`."""
        truth = self.truth[rows]
        size, true_size = magnitudes(found), magnitudes(truth)
        bands, true_bands = self._bands(size), self._bands(true_size)
        least = 1e-6 * true_bands.amax((-1, -2), keepdim=True)
        energy, true_energy = self._energies(found), self._energies(truth)
        whole, true_whole = energy[..., -1:], true_energy[..., -1:]
        left, true_left = _db((whole - energy) / true_whole), _db((true_whole - true_energy)
                                                                  / true_whole)  # fmt: skip
        counts = (true_left > -DEPTH).float()
        within, true_within = (_db(e.diff(dim=-1) / true_whole + FLOOR)
                               for e in (energy, true_energy))  # fmt: skip
        return {
            "spectrum": (size - true_size).square().mean() / self.scale,
            "envelope": (envelope(found) - envelope(truth)).square().mean() / (2 * self.loud),
            "bands": ((bands + least).log() - (true_bands + least).log()).abs().mean(),
            "decay": ((left.clamp_min(-DEPTH - 18) - true_left).abs() * counts).sum()
            / counts.sum(),
            "clarity": (self._clarity(energy) - self._clarity(true_energy)).abs().mean(),
            "energy": (within - true_within)[..., :-1].abs().mean(),
            "time": self._time_apart(found, truth),
        }

    def _bands(self, size: Float[Tensor, "*b bins frames"]) -> Float[Tensor, "*b bands half"]:
        power = torch.einsum("kf,...ft->...kt", self.means, size.square())
        even = power.shape[-1] // 2 * 2
        found: Tensor = power[..., :even].unflatten(-1, (-1, 2)).mean(-1)
        return found

    def _energies(self, sound: Float[Tensor, "*b samples"]) -> Float[Tensor, "*b edges"]:
        """Energy up to each edge, and of the whole."""
        running = F.pad(sound.square().cumsum(-1), (1, 0))
        return torch.cat([running.index_select(-1, self.edges), running[..., -1:]], -1)

    def _time_apart(
        self, found: Float[Tensor, "b 2 samples"], truth: Float[Tensor, "b 2 samples"]
    ) -> Float[Tensor, ""]:
        """Mean of |T60 found / true - 1| over ears that have both; 0 where none has."""
        (time, known), (true_time, true_known) = self.times(found), self.times(truth)
        both = known & true_known
        apart = ((time - true_time).abs() / true_time).where(both, 0)
        return apart.sum() / both.sum().clamp_min(1)

    def times(
        self, sound: Float[Tensor, "*b samples"]
    ) -> tuple[Float[Tensor, "*b"], Bool[Tensor, "*b"]]:
        """T60 as `measure` has it, from fewer samples of the decay curve and with a gradient,
        seconds; and whether there is one (elsewhere it is 1 s)."""
        running = F.pad(sound.square().cumsum(-1), (1, 0))
        left = running[..., -1:] - running.index_select(-1, self.ticks)
        curve = _db(left / left[..., :1].clamp_min(1e-14))
        first, last = FALL
        within = ((curve <= first) & (curve >= last)).to(curve)
        many = within.sum(-1, keepdim=True)
        at = self.seconds - (within * self.seconds).sum(-1, keepdim=True) / many.clamp_min(1)
        at = at * within
        slope = (at * curve).sum(-1) / at.square().sum(-1).clamp_min(1e-9)
        known = (many[..., 0] > 2) & (curve[..., -1] < last) & (slope < STEEP)
        return -60 / slope.where(known, -60), known

    def _clarity(self, energy: Float[Tensor, "*b edges"]) -> Float[Tensor, "*b"]:
        early = energy[..., self.clear]
        return _db(early) - _db(energy[..., -1] - early)


def magnitudes(sound: Float[Tensor, "*b samples"]) -> Float[Tensor, "*b bins frames"]:
    """As `splat.strategies.acoustic.measure.spectra`, with a gradient where they are 0."""
    return sizes(stft(sound))


def sizes(spectra: Complex[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Absolute values, of finite derivative at 0."""
    return (spectra.real.square() + spectra.imag.square() + 1e-12).sqrt()


def _db(energy: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    return 10 * torch.log10(energy.clamp_min(1e-14))
