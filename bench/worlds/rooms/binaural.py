"""What the ears of a listener hear: images one by one, then a diffuse tail.

Each image arrives after its distance, with 1/r, what walls and air leave of it by octave, and the
ears' response in its direction; all that filters it is of least phase, so that nothing sounds
before its time. The tail is noise of the listener's own, drawn from the seed: in each octave it
has, bin by bin, the energy that the traced rays brought, each direction counted as the ear hears
it; between the ears it is as alike as a diffuse field is at two points (coherence sin(x)/x with
x = 2 pi f d / c).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from splat.strategies.acoustic.arrival import SPEED
from splat.strategies.acoustic.signal import APART
from splat.strategies.acoustic.sounds.types import Ears
from worlds.rooms.head import FFT, Head, least_phase
from worlds.rooms.materials import CENTRES
from worlds.rooms.simulate import BIN, Echoes, directions

ROLL_OFF = 0.875
"""Share of the highest frequency above which everything fades out, so that arrivals are short."""
GUARD = 64
"""Samples kept before an arrival for what its interpolation rings ahead."""


@dataclass(frozen=True)
class Arrivals:
    """The images that a listener hears."""

    distance: np.ndarray
    """Metres, [n]."""
    towards: np.ndarray
    """World axes, unit, from the listener to the image, [n, 3]."""
    level: np.ndarray
    """Amplitude by octave, distance and air counted, [n, 7]."""

    straight: float
    """Metres to the source itself, heard or not: nothing arrives earlier."""


def arrivals(echoes: Echoes, listener: int, place: np.ndarray) -> Arrivals:
    """The images that listener number `listener`, at `place`, hears."""
    seen = echoes.seen[listener]
    way = echoes.images[seen] - place
    distance = np.linalg.norm(way, axis=1)
    left = np.exp(-0.5 * np.array(echoes.air) * distance[:, None])
    level = echoes.gains[seen] * left / distance[:, None]
    straight = float(np.linalg.norm(echoes.images[0] - place))
    return Arrivals(distance, way / distance[:, None], level, straight)


@functools.cache
def shares(rate: int, samples: int) -> np.ndarray:
    """Each octave's share of each frequency's energy, [7, samples / 2 + 1].

    They add up to 1, less the roll-off; lowest and highest octave reach to the ends.
    """
    frequency = np.arange(samples // 2 + 1) * rate / samples
    octave = np.log2(np.maximum(frequency, 1) / CENTRES[0])
    near = np.clip(1 - np.abs(np.clip(octave, 0, 6) - np.arange(7)[:, None]), 0, 1)
    return np.asarray(np.sin(near * np.pi / 2) ** 2 * roll_off(samples) ** 2)


def roll_off(samples: int) -> np.ndarray:
    """Amplitude by frequency, [samples / 2 + 1]: 1, then down to 0 along a cosine."""
    share = np.linspace(0, 1, samples // 2 + 1)
    return np.asarray(np.cos(np.clip((share - ROLL_OFF) / (1 - ROLL_OFF), 0, 1) * np.pi / 2) ** 2)


def axes(ears: Ears) -> np.ndarray:
    """Front, left and up of a head, rows [3, 3]; `up` is made perpendicular to `facing`."""
    front = np.array(ears.facing) / np.linalg.norm(ears.facing)
    left = np.cross(ears.up, front)
    if np.linalg.norm(left) < 1e-6:
        raise ValueError(
            f"a listener faces along {ears.facing}, which is its `up`; expected another direction"
        )
    left /= np.linalg.norm(left)
    return np.stack([front, left, np.cross(front, left)])


def early(
    found: Arrivals, head: Head | None, turned: np.ndarray, rate: int, samples: int
) -> np.ndarray:
    """The images as both ears hear them, [2, samples]; without a head, as its middle does."""
    signal = np.zeros((2, samples + FFT + GUARD))
    if not len(found.distance):
        return signal[:, :samples]
    delay = np.zeros((len(found.distance), 2))
    level = _spectrum(found.level, rate)[:, None].repeat(2, 1)
    if head is not None:
        lag, heard = head.ears(found.towards @ turned.T)
        delay, level = delay + lag, level + heard
    time = (found.distance[:, None] / SPEED + delay) * rate
    whole = np.floor(time).astype(int)
    turn = -2j * np.pi / FFT * np.arange(FFT // 2 + 1)
    ramp = np.exp(turn * (time - whole + GUARD)[..., None])
    pulses = np.fft.irfft(least_phase(level) * ramp * roll_off(FFT), axis=-1)
    for i, ear in np.argwhere(whole < samples):
        signal[ear, whole[i, ear] : whole[i, ear] + FFT] += pulses[i, ear]
    return signal[:, GUARD : GUARD + samples]


def _spectrum(level: np.ndarray, rate: int) -> np.ndarray:
    """Logarithms of amplitude by frequency, straight in octaves between the centres: [n, bins]."""
    octave = np.log2(np.maximum(np.arange(FFT // 2 + 1) * rate / FFT, 1) / CENTRES[0])
    rows = np.log(np.maximum(level, 1e-9))
    return np.stack([np.interp(octave, np.arange(7), row) for row in rows])


def tail(
    energy: np.ndarray, after: float, rate: int, samples: int, generator: np.random.Generator
) -> np.ndarray:
    """Noise of both ears, [2, samples], that has `energy` [2, 7, bins] from `after` seconds on."""
    # Of each octave's own, so that energies add up where octaves overlap.
    noise = np.fft.rfft(generator.standard_normal((2, len(CENTRES), samples)))
    wave = 2 * APART / SPEED * np.arange(samples // 2 + 1) * rate / samples
    alike = np.sinc(wave)
    mid, side = np.sqrt((1 + alike) / 2) * noise[0], np.sqrt((1 - alike) / 2) * noise[1]
    ears = np.stack([mid + side, mid - side]) * np.sqrt(shares(rate, samples))
    bands = np.fft.irfft(ears, samples, axis=-1)
    each = round(BIN * rate)
    loud = np.sqrt(energy.repeat(each, -1)[..., :samples] / each)
    loud[..., : int(np.ceil(after * rate))] = 0
    return np.asarray((bands[..., : loud.shape[-1]] * loud).sum(1))


def heard(
    echoes: Echoes,
    listener: int,
    ears: Ears,
    head: Head,
    rate: int,
    samples: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """The impulse response at both ears, left first: float32 [2, samples]."""
    found, turned = arrivals(echoes, listener, np.array(ears.position)), axes(ears)
    power = head.power(directions() @ turned.T, shares(rate, FFT))
    energy = np.einsum("deb,dbt->ebt", power, echoes.tail[listener].astype(np.float64))
    late = tail(energy, found.straight / SPEED, rate, samples, generator)
    return np.asarray((early(found, head, turned, rate, samples) + late).astype(np.float32))
