"""What sources play: phrases that are nearly speech, and notes, both by formula.

Speech is a train of glottal pulses (after Rosenberg 1971: a rise, a fall, then closed) with a
falling pitch and breath, through three formants of a vowel a syllable, which begins with a hiss or
without; notes are plucked strings of a scale, harmonics that die away the faster the higher they
are. The formants are those of vowels of an adult voice, rounded.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
)
"""Formants, Hz."""
WIDTHS = (80.0, 100.0, 140.0)
"""Bandwidths of the formants, Hz."""
PHRASE = (1.6, 2.8)
"""Seconds of speech, or of notes, before the other comes."""
SCALE = (0, 2, 4, 7, 9)
"""Semitones of the notes above an octave's first."""
LOUD = 0.1
"""Root mean square of each phrase; peaks stay well below full scale."""


def dry(rate: int, samples: int, seed: int, number: int = 0) -> np.ndarray:
    """What source `number` plays, float32 [samples]; no quarter of a second of it is silent."""
    generator = np.random.default_rng([seed, 6, number])
    voice = float(generator.uniform(95, 210))
    parts: list[np.ndarray] = []
    have = 0
    while have < samples:
        seconds = float(generator.uniform(*PHRASE))
        make = _notes if len(parts) % 2 else _speech
        part = make(rate, round(seconds * rate), voice, generator)
        part *= LOUD / np.sqrt((part**2).mean())
        parts.append(part)
        have += len(part)
    return np.concatenate(parts)[:samples].astype(np.float32)


def _speech(rate: int, samples: int, voice: float, generator: np.random.Generator) -> np.ndarray:
    """A phrase of syllables whose pitch falls by a third or so."""
    phrase, at = np.zeros(samples), 0
    while at < samples:
        many = min(round(generator.uniform(0.14, 0.3) * rate), samples - at)
        pitch = voice * (1.15 - 0.3 * at / samples) * generator.uniform(0.93, 1.07)
        phrase[at : at + many] += _syllable(rate, many, float(pitch), generator)
        at += many + round(generator.uniform(0.0, 0.06) * rate)
    return phrase


def _syllable(rate: int, samples: int, pitch: float, generator: np.random.Generator) -> np.ndarray:
    time = np.arange(samples) / rate
    turn = np.cumsum(pitch * (1 + 0.02 * np.sin(2 * np.pi * 5 * time)) / rate)
    breath = generator.standard_normal(samples)
    sound = np.diff(_glottis(turn % 1), prepend=0.0) + 0.004 * breath
    vowel = VOWELS[int(generator.integers(len(VOWELS)))]
    for centre, width in zip(vowel, WIDTHS, strict=True):
        sound = _formant(sound, centre * float(generator.uniform(0.95, 1.05)), width, rate)
    sound *= _swell(samples, 0.2) / max(float(np.abs(sound).max()), 1e-9)
    if generator.random() < 0.4:
        long = min(samples, round(0.08 * rate))
        hiss = np.diff(generator.standard_normal(long), prepend=0.0)
        sound[:long] += 0.15 * hiss * _swell(long, 0.4)
    return np.asarray(sound)


def _glottis(phase: np.ndarray) -> np.ndarray:
    """Flow over one cycle [0, 1): rises for 0.4, falls for 0.16, is closed for the rest."""
    rise = 0.5 * (1 - np.cos(np.pi * phase / 0.4))
    fall = np.cos(np.pi / 2 * np.clip((phase - 0.4) / 0.16, 0, 1))
    return np.asarray(np.where(phase < 0.4, rise, fall))


def _formant(sound: np.ndarray, centre: float, width: float, rate: int) -> np.ndarray:
    """A resonance of two poles, 1 at 0 Hz."""
    radius = np.exp(-np.pi * width / rate)
    b = -2 * radius * np.cos(2 * np.pi * centre / rate)
    return np.asarray(lfilter([1 + b + radius**2], [1, b, radius**2], sound))


def _swell(samples: int, share: float) -> np.ndarray:
    """1, from 0 and back to 0 along cosines over a share of it at either end."""
    ends = np.minimum(np.arange(samples) + 0.5, samples - np.arange(samples) - 0.5) / samples
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(ends / share, 0, 1)))


def _notes(rate: int, samples: int, voice: float, generator: np.random.Generator) -> np.ndarray:
    """Plucked notes, which ring on under the next ones until the phrase ends."""
    phrase, at = np.zeros(samples), 0
    while at < samples:
        time = np.arange(samples - at) / rate
        octave, step = int(generator.integers(1, 4)), int(generator.integers(len(SCALE)))
        pitch = 55.0 * 2 ** (octave + SCALE[step] / 12)
        number = np.arange(1, 1 + int(min(0.4 * rate / pitch, 24)))[:, None]
        partials = np.sin(
            2 * np.pi * number * pitch * time + generator.uniform(0, 6.28, number.shape)
        )
        fall = np.exp(-time * (3 + 0.8 * number)) / number
        phrase[at:] += (partials * fall).sum(0) * np.minimum(time / 0.004, 1)
        at += round(generator.choice([0.15, 0.15, 0.3]) * rate)
    return np.asarray(phrase * np.minimum(np.arange(samples, 0, -1) / (0.03 * rate), 1))
