"""A head with two ears: KEMAR, as measured by Gardner and Martin (MIT Media Lab report 280, 1994).

MIT gives the measurements away without restriction if their authors are named. They come with the
PyPI package slab (MIT licence), which is read here as a file, for importing slab asks for an audio
device's library. Only arrays of numbers are accepted from that file.

An ear's response in a direction is a delay and a magnitude, its phase being the least that the
magnitude allows. Both are smoothed over 5 degrees, so that they change steadily as a head turns.
Magnitudes are divided by their root mean square over all directions, which takes out loudspeaker,
ear canal and the microphone's roll-off: sound from everywhere is heard as it is. Below 200 Hz,
where the loudspeaker gave little, they become 1. The set is of one pinna, mirrored: a mirrored
head hears exactly what the head hears, ears swapped.
"""

from __future__ import annotations

import bz2
import functools
import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FFT = 1024
"""Of an ear's response, samples at the rate of the room."""
DATA = "mit_kemar_normal_pinna.bz2"
SMOOTH = np.radians(5.0)
BROAD = np.radians(25.0)
"""About the width of a bin of direction, see `simulate.directions`."""
BLIND = (100.0, 200.0)
"""Hz: below, magnitudes are 1; above, as measured."""
FINE = 16
"""Delays are found to so many parts of a sample of the measurements."""


@dataclass(frozen=True)
class Head:
    """The left ear in all directions measured; the right ear hears their mirror images."""

    towards: np.ndarray
    """Of the source, unit, [n, 3]: x to the front, y to the left, z up."""
    weight: np.ndarray
    """Share of the sphere about each, [n]."""
    delay: np.ndarray
    """Seconds after the sound would be in the head's middle, [n]; 0 from the front."""
    level: np.ndarray
    """Logarithm of the magnitude, [n, FFT / 2 + 1]."""

    def ears(self, towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Delays [m, 2] and logarithms of magnitudes [m, 2, bins] of both ears, left first."""
        share = np.stack([self._near(towards, SMOOTH), self._near(_mirrored(towards), SMOOTH)], 1)
        return share @ self.delay, share @ self.level

    def power(self, towards: np.ndarray, bands: np.ndarray) -> np.ndarray:
        """What the ears hear of sound from broadly these directions, by band: [m, 2, bands].

        `bands` is each band's share of each frequency's energy, [bands, bins]. Sound of 1 from
        everywhere is heard as 1.
        """
        by_band = np.exp(2 * self.level) @ bands.T / bands.sum(1)
        sides = (self._near(t, BROAD) for t in (towards, _mirrored(towards)))
        return np.stack([share @ by_band for share in sides], 1)

    def _near(self, towards: np.ndarray, width: float) -> np.ndarray:
        """Weights of the measured directions about others, [m, n]: a bell over the sphere."""
        close = (towards @ self.towards.T - 1) / width**2
        share = np.exp(close - close.max(1, keepdims=True)) * self.weight
        return np.asarray(share / share.sum(1, keepdims=True))


@functools.cache
def kemar(rate: int) -> Head:
    """The measured head, for responses at `rate` (up to 44.1 kHz)."""
    towards, weight, taps, measured = _measured()
    frequency = np.arange(FFT // 2 + 1) * rate / FFT
    wave = np.exp(-2j * np.pi / measured * np.outer(np.arange(taps.shape[1]), frequency))
    size = np.abs(taps @ wave)
    diffuse = np.sqrt(weight @ size**2)
    known = np.clip((frequency - BLIND[0]) / (BLIND[1] - BLIND[0]), 0, 1)
    level = known * np.log(np.maximum(size / diffuse, 1e-4))
    delay = _delays(taps) / measured
    front = delay[np.argmax(towards[:, 0])]
    return Head(towards, weight, delay - front, level)


def least_phase(level: np.ndarray) -> np.ndarray:
    """The spectra of least phase with logarithms of magnitude `level`, [..., bins]: complex."""
    cepstrum = np.fft.irfft(level, axis=-1)
    half = cepstrum.shape[-1] // 2
    cepstrum[..., 1:half] *= 2
    cepstrum[..., half + 1 :] = 0
    return np.asarray(np.exp(np.fft.rfft(cepstrum, axis=-1)))


class _Numbers(pickle.Unpickler):
    """Reads arrays, and the two records of slab that hold them as bare names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("slab.hrtf", "HRTF"), ("slab.filter", "Filter")):
            return type(name, (), {})
        numpy = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        if module in numpy and name in ("_reconstruct", "ndarray", "dtype", "scalar"):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} is neither of slab's records nor an array")


def _measured() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Directions [n, 3], shares of the sphere [n], the left ear's taps [n, 512], their rate."""
    file = _file()
    try:
        with bz2.open(file) as stream:
            record = _Numbers(stream).load()
        angles = np.asarray(record.sources, np.float64)
        taps = np.stack([np.asarray(each.data, np.float64)[:, 0] for each in record.data])
        rate = float(record.samplerate)
    except (pickle.UnpicklingError, AttributeError, EOFError, OSError, IndexError) as error:
        raise ValueError(
            f"{file}: is not KEMAR as slab 1.8 holds it ({error}); expected its arrays: "
            "pip install 'slab>=1.8,<2'"
        ) from None
    around, up = np.radians(angles[:, 0]), np.radians(angles[:, 1])
    towards = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], 1)
    return towards, _shares(up), taps, rate


def _file() -> Path:
    # Finding a package does not import it.
    spec = importlib.util.find_spec("slab")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    for folder in folders:
        if (file := Path(folder) / "data" / DATA).is_file():
            return file
    raise ModuleNotFoundError(
        "slab, which holds the measured head, is not installed; expected it to generate rooms: "
        "pip install 'splat-toolkit[rooms]'"
    )


def _shares(up: np.ndarray) -> np.ndarray:
    """Rings of equal height share the sphere between them; the lowest has all that is below."""
    rings, ring = np.unique(up.round(6), return_inverse=True)
    between = np.concatenate([[-np.pi / 2], (rings[1:] + rings[:-1]) / 2, [np.pi / 2]])
    area = np.diff(np.sin(between)) / 2
    return np.asarray((area / np.bincount(ring))[ring])


def _delays(taps: np.ndarray) -> np.ndarray:
    """Samples by which each response lags behind the one of least phase: best correlation."""
    whole = 2 * taps.shape[1]
    spectrum = np.fft.rfft(taps, whole)
    least = least_phase(np.log(np.maximum(np.abs(spectrum), 1e-6)))
    alike = np.fft.irfft(spectrum * np.conj(least), whole * FINE)
    at = np.argmax(alike[:, : whole * FINE // 2], axis=1)
    return np.asarray(at / FINE)


def _mirrored(towards: np.ndarray) -> np.ndarray:
    return np.asarray(towards * np.array([1.0, -1.0, 1.0]))
