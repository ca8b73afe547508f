"""Signals in frames, torch throughout: short-time spectra, overlap and add, bands, least phase."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional as F

from splat.strategies.acoustic.arrival import SPEED

FLATTENED = 60
"""Rounds that flatten a carrier."""
APART = 0.175
"""Between two points that stand for the ears in a diffuse field, metres."""
LOWEST = 100.0
"""Hz of the second node of a bank; the first is at 0."""


@dataclass(frozen=True)
class Frames:
    """Frames of a signal of `length` samples, Hann's window at a quarter's hop."""

    size: int
    count: int
    first: int
    """Sample in the middle of the first one; before the start of the signal there is silence."""
    length: int

    @property
    def hop(self) -> int:
        """Samples between frames."""
        return self.size // 4

    @property
    def bins(self) -> int:
        """Frequencies, from 0 to half the rate."""
        return self.size // 2 + 1

    def spectra(self, signal: Float[Tensor, "*c samples"]) -> Complex[Tensor, "*c frames bins"]:
        """Of each frame."""
        start = self.first - self.size // 2
        padded = F.pad(signal, (max(0, -start), self.size + self.count * self.hop))
        parts = padded[..., max(0, start) :].unfold(-1, self.size, self.hop)[..., : self.count, :]
        found: Tensor = torch.fft.rfft(parts * self._window(signal))
        return found

    def signal(self, spectra: Complex[Tensor, "c frames bins"]) -> Float[Tensor, "c samples"]:
        """Overlapped and added, so that what `spectra` gives comes back between the ends."""
        parts = torch.fft.irfft(spectra, self.size)
        parts = parts * (self._window(parts) / 1.5)
        whole = (self.count - 1) * self.hop + self.size
        added = F.fold(parts.mT, (1, whole), (1, self.size), stride=(1, self.hop))[:, 0, 0]
        start = self.first - self.size // 2
        kept = added[:, max(0, -start) : max(0, self.length - start)]
        ahead = max(0, start)
        return F.pad(kept, (ahead, self.length - ahead - kept.shape[1]))

    def _window(self, like: Tensor) -> Float[Tensor, "size"]:
        return torch.hann_window(self.size, dtype=like.dtype, device=like.device)


def carrier(frames: Frames, rate: int, generator: torch.Generator) -> Complex[Tensor, "2 t bins"]:
    """Spectra of noise at two ears, left first, as flat as a signal's can be; mean power 1.

    Noise whose coherence is sin(x)/x, that of a diffuse field, is brought to magnitude 1 in all
    frames again and again (the iteration of Griffin & Lim 1984): the finer features of what shapes
    it are then its shaper's, not chance.
    """
    noise = torch.fft.rfft(torch.randn(2, frames.length, generator=generator))
    wave = 2 * APART / SPEED * torch.arange(noise.shape[1]) * rate / frames.length
    alike = torch.sinc(wave)
    mid, side = noise[0] * ((1 + alike) / 2).sqrt(), noise[1] * ((1 - alike) / 2).sqrt()
    signal = torch.fft.irfft(torch.stack([mid + side, mid - side]), frames.length)
    for _ in range(FLATTENED):
        found = frames.spectra(signal)
        signal = frames.signal(found / found.abs().clamp_min(1e-9))
    found = frames.spectra(signal)
    return found / found.abs().square().mean().sqrt()


def nodes(bands: int, rate: int) -> Float[Tensor, "bands"]:
    """Frequencies that a bank has values at, Hz: 0, then evenly in octaves up to half the rate."""
    rising = torch.linspace(math.log(LOWEST), math.log(rate / 2), bands - 1)
    return torch.cat([torch.zeros(1), rising.exp()])


def bank(bands: int, size: int, rate: int) -> Float[Tensor, "bands bins"]:
    """Weights that lead values at `nodes` straight to all frequencies of frames of `size`."""
    at = torch.arange(size // 2 + 1) * rate / size
    node = nodes(bands, rate)
    below = (torch.bucketize(at, node, right=True) - 1).clamp(0, bands - 2)
    share = (at - node[below]) / (node[below + 1] - node[below])
    found = torch.zeros(bands, len(at))
    columns = torch.arange(len(at))
    found[below, columns] = 1 - share
    found[below + 1, columns] += share
    return found


def at_nodes(bands: int, size: int, rate: int) -> Float[Tensor, "bands bins"]:
    """Weights of means about `nodes`, rows of sum 1; straight between bins where those are wide."""
    found = bank(bands, size, rate)
    for row, node in zip(found, nodes(bands, rate).tolist(), strict=True):
        if row.sum() < 1:
            at = min(node / rate * size, size / 2 - 1e-3)
            row.zero_()
            row[int(at)], row[int(at) + 1] = 1 - at % 1, at % 1
    return found / found.sum(1, keepdim=True)


def least_phase(log_size: Float[Tensor, "*c bins"]) -> Complex[Tensor, "*c bins"]:
    """The spectrum of least phase with these logarithms of magnitude (by its cepstrum)."""
    size = 2 * (log_size.shape[-1] - 1)
    fold = log_size.new_zeros(size)
    fold[0] = fold[size // 2] = 1
    fold[1 : size // 2] = 2
    return torch.exp(torch.fft.rfft(torch.fft.irfft(log_size, size) * fold))


def rise(samples: Float[Tensor, "n"], first: float, last: float) -> Float[Tensor, "n"]:
    """From 0 at `first` to 1 at `last` along a cosine."""
    return 0.5 - 0.5 * torch.cos(((samples - first) / (last - first)).clamp(0, 1) * math.pi)
