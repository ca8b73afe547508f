"""What an impulse response says about a room, and how far two sounds are apart.

Decay is read from the energy decay curve (Schroeder 1965: backward integration of the squared
response); T60, EDT and C50 follow ISO 3382-1. MAG and ENV are the distances of AV-NeRF (Liang et
al. 2023), with what their published evaluation does where the paper does not say.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Complex, Float
from torch import Tensor

SILENT = 1e-20
"""Of the whole energy: below, a curve has ended. 200 dB, for its logarithm must stay finite."""
ONSET = 20.0
"""Direct sound is where the response first comes within so many dB of its peak."""
EARLY = 0.05
"""Seconds after the onset that C50 counts as early."""
FALL = (-5.0, -35.0)
"""dB of the decay curve that T60 is read between."""
CEILING = 60.0
"""C50 of a response that is over by then, dB: sound without a room has no finite one."""
FFT, HOP = 512, 128
"""Of the spectra that MAG compares."""


class Decay(NamedTuple):
    """A response in three numbers."""

    t60: float
    """Seconds."""
    edt: float
    """Seconds."""
    c50: float
    """dB."""


def energy_decay(response: Float[Tensor, "c samples"]) -> Float[Tensor, "c samples"]:
    """Energy that is still to come at each sample, dB of the whole; float64, 0 at the first.

    It is -200 dB where nothing is to come. A channel without energy is an error.
    """
    energy = response.double().square()
    left = energy.flip(-1).cumsum(-1).flip(-1)
    whole = left[..., :1]
    if not bool((whole > 0).all()):
        raise ValueError(
            "a channel of the response is silent; expected an impulse response: check the file"
        )
    return 10 * (left / whole).clamp(min=SILENT).log10()


def onset(response: Float[Tensor, "c samples"]) -> int:
    """The sample at which sound arrives first, over all channels: `ONSET` dB below the peak."""
    size = response.abs().amax(0)
    return int((size >= size.max() * 10 ** (-ONSET / 20)).nonzero()[0, 0])


def decay_time(
    response: Float[Tensor, "c samples"], rate: int, first: float, last: float
) -> Float[Tensor, "c"]:
    """Seconds to 60 dB less, at the slope of the decay curve between two levels; NaN: not reached.

    The slope is that of the least-squares line through the curve's samples from `first` down to
    `last` dB (such as -5 and -35) of the energy from the onset on.
    """
    curve = energy_decay(response[..., onset(response) :])
    time = torch.arange(curve.shape[-1], dtype=torch.float64) / rate
    found = []
    for row in curve:
        within = (row <= first) & (row >= last)
        if row[-1] > last or int(within.sum()) < 2:
            found.append(torch.tensor(torch.nan, dtype=torch.float64))
            continue
        t, level = time[within], row[within]
        t = t - t.mean()
        slope = (t * (level - level.mean())).sum() / t.square().sum()
        found.append(-60 / slope)
    return torch.stack(found)


def t60(
    response: Float[Tensor, "c samples"], rate: int, last: float = FALL[1]
) -> Float[Tensor, "c"]:
    """Reverberation time, seconds: the slope from -5 to `last` dB, extrapolated (T30, by default).

    With `last=-25` it is T20, for responses whose end is noise.
    """
    return decay_time(response, rate, FALL[0], last)


def edt(response: Float[Tensor, "c samples"], rate: int) -> Float[Tensor, "c"]:
    """Early decay time, seconds: the slope from 0 to -10 dB, extrapolated to 60."""
    return decay_time(response, rate, 0.0, -10.0)


def c50(response: Float[Tensor, "c samples"], rate: int) -> Float[Tensor, "c"]:
    """Clarity, dB: energy of the first 50 ms from the onset against all that follows; at most 60.

    The onset is one for all channels.
    """
    start = onset(response)
    middle = start + round(EARLY * rate)
    energy = response.double().square()
    early, late = energy[..., start:middle].sum(-1), energy[..., middle:].sum(-1)
    floor = early * 10 ** (-CEILING / 10)
    return 10 * (early / torch.maximum(late, floor)).clamp(min=SILENT).log10()


def decay(response: Float[Tensor, "c samples"], rate: int) -> Decay:
    """T60 (T30), EDT and C50, each the mean over the channels."""
    measured = (t60(response, rate), edt(response, rate), c50(response, rate))
    a, b, c = (float(each.mean()) for each in measured)
    return Decay(a, b, c)


def stft(sound: Float[Tensor, "*c samples"]) -> Complex[Tensor, "*c bins frames"]:
    """Spectra: 512 samples a frame, 128 apart, Hann's window, silence before and after."""
    window = torch.hann_window(FFT, dtype=sound.dtype, device=sound.device)
    rows = sound.reshape(-1, sound.shape[-1])
    found = torch.stft(
        rows, FFT, HOP, window=window, center=True, pad_mode="constant", return_complex=True
    )
    return found.reshape(*sound.shape[:-1], *found.shape[1:])


def spectra(sound: Float[Tensor, "*c samples"]) -> Float[Tensor, "*c bins frames"]:
    """Magnitudes of `stft`, which MAG compares."""
    return torch.abs(stft(sound))


def envelope(sound: Float[Tensor, "*c samples"]) -> Float[Tensor, "*c samples"]:
    """The size of the analytic signal (Hilbert's transform, by FFT)."""
    samples = sound.shape[-1]
    weight = torch.zeros(samples, dtype=sound.dtype, device=sound.device)
    weight[0] = 1
    weight[1 : (samples + 1) // 2] = 2
    if samples % 2 == 0:
        weight[samples // 2] = 1
    return torch.abs(torch.fft.ifft(torch.fft.fft(sound) * weight))


def mag(found: Float[Tensor, "2 samples"], true: Float[Tensor, "2 samples"]) -> float:
    """MAG: mean square difference of the ears' magnitude spectra, both ears added."""
    return spectra_apart(spectra(found.double()), spectra(true.double()))


def env(found: Float[Tensor, "2 samples"], true: Float[Tensor, "2 samples"]) -> float:
    """ENV: root mean square difference of the ears' envelopes, both ears added."""
    return envelopes_apart(envelope(found.double()), envelope(true.double()))


def spectra_apart(
    found: Float[Tensor, "2 bins frames"], true: Float[Tensor, "2 bins frames"]
) -> float:
    """MAG of magnitude spectra."""
    return float((found - true).square().mean((-2, -1)).sum())


def envelopes_apart(found: Float[Tensor, "2 samples"], true: Float[Tensor, "2 samples"]) -> float:
    """ENV of envelopes."""
    return float((found - true).square().mean(-1).sqrt().sum())
