"""A sound through masks by time and frequency, that change along a path.

AV-NeRF (Liang et al. 2023) tells each ear's spectrum from that of the source by a mixture mask M
and a difference mask D: left = M (1 + D) S, right = M (1 - D) S. Here an ear hears the sound plus
(mask - 1) S brought back to samples, which is the same, and exactly the sound where the mask is 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from splat.strategies.acoustic.measure import FFT, HOP

BLOCK = 1024
"""Frames of spectra at a time."""


def gains(
    mixture: Float[Tensor, "n bins"], difference: Float[Tensor, "n bins"]
) -> Float[Tensor, "n 2 bins"]:
    """What each ear's spectrum is multiplied by, left first."""
    return torch.stack([mixture * (1 + difference), mixture * (1 - difference)], 1)


def masked(
    dry: Float[Tensor, "samples"],
    gain: Float[Tensor, "keys 2 bins"],
    times: Float[Tensor, "keys"],
) -> Float[Tensor, "2 samples"]:
    """A sound whose spectra are multiplied by gains that hold at `times`, in samples, ascending.

    Spectra are those of `measure.spectra`: 512 samples a frame, 128 apart, Hann's window. Between
    two times a frame has gains in between, by its middle; outside, those of the nearest.
    """
    samples = len(dry)
    frames = -(-samples // HOP) + FFT // HOP + 1
    # Whole frames of silence around it: then every sample is in four frames, and the squares of
    # the four windows over it add up to 1.5.
    padded = dry.new_zeros((frames - 1) * HOP + FFT)
    padded[FFT : FFT + samples] = dry
    found = dry.expand(2, -1).clone()
    change = dry.new_zeros(2, len(padded))
    for first in range(0, frames, BLOCK):
        last = min(first + BLOCK, frames)
        span = slice(first * HOP, (last - 1) * HOP + FFT)
        middles = (torch.arange(first, last) * HOP - FFT // 2).double()
        change[:, span] += _changed(padded[span], _at(gain, times, middles) - 1)
    found += change[:, FFT : FFT + samples]
    return found


def _changed(
    sound: Float[Tensor, "samples"], gain: Float[Tensor, "frames 2 bins"]
) -> Float[Tensor, "2 samples"]:
    """The frames of a sound times their gains, laid over each other."""
    window = torch.hann_window(FFT, dtype=sound.dtype)
    frames = torch.fft.rfft(sound.unfold(0, FFT, HOP) * window)
    parts = torch.fft.irfft(frames[:, None] * gain, FFT) * window / 1.5
    found = sound.new_zeros(2, len(sound) // HOP, HOP)
    # A frame is four hops long, and begins one hop after the last: hop by hop it is a plain sum.
    for hop, part in enumerate(parts.transpose(0, 1).split(HOP, dim=2)):
        found[:, hop : hop + len(gain)] += part
    return found.flatten(1)


def _at(
    gain: Float[Tensor, "keys 2 bins"],
    times: Float[Tensor, "keys"],
    wanted: Float[Tensor, "frames"],
) -> Float[Tensor, "frames 2 bins"]:
    """The gains at other times, on straight lines between those given."""
    after = torch.searchsorted(times, wanted).clamp(1, max(1, len(times) - 1))
    before, after = after - 1, after.clamp(max=len(times) - 1)
    span = (times[after] - times[before]).clamp(min=1e-9)
    share = ((wanted - times[before]) / span).clamp(0, 1).to(gain.dtype)[:, None, None]
    return gain[before] + share * (gain[after] - gain[before])
