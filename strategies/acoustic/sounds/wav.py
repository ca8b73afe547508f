"""WAV files in and out: the only place that knows soundfile.

Files are written by scipy: libsndfile puts the time of day into files of floats, and the same
sound must make the same bytes.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.io import wavfile
from scipy.signal import resample_poly
from torch import Tensor

from splat.system.files import replacing
from splat.system.foreign import Broken, check_claim, reading

CLIPPED = 3
"""So many samples at full scale in a row are taken for clipping: a mere peak has fewer."""
FULL = 0.9999
"""Full scale; integers stop short of 1."""
NAMES = {1: "mono", 2: "stereo"}


@dataclass(frozen=True)
class Format:
    """What the head of a file says."""

    rate: int
    """Hz."""
    channels: int
    frames: int
    """Samples of each channel."""

    @property
    def seconds(self) -> float:
        """How long the file is."""
        return self.frames / self.rate


def look(path: Path | str) -> Format:
    """Rate, channels and length of a sound file, from its head alone."""
    path = Path(path)
    head = _opened(path, lambda library: library.info(str(path)))
    return Format(int(head.samplerate), int(head.channels), int(head.frames))


def read_wav(
    path: Path | str,
    *,
    channels: int,
    rate: int,
    start: float = 0.0,
    seconds: float | None = None,
) -> Float[Tensor, "channels samples"]:
    """The samples of a sound file, or of `seconds` of it from `start` on; float32, full scale 1.

    Silence follows where the file ends before `seconds` are over, up to half of them. A file of
    another rate or number of channels, silent, with NaN or without samples is an error; of one
    that seems clipped a warning tells.
    """
    path = Path(path)
    _fits(path, look(path), channels, rate)
    longest = (1 << 53) / rate  # of which no file has more
    first, many = round(min(start, longest) * rate), -1
    if seconds is not None:
        many = round(min(seconds, longest) * rate)
    samples = _opened(path, lambda library: _decoded(library, path, first, many))
    if many >= 0:
        if 2 * len(samples) < many:
            raise ValueError(
                f"{path}: has {len(samples) / rate:.3f} s of sound from {start:g} s on; expected "
                f"at least half of {seconds:g} s: record longer, or leave this place out"
            )
        samples = np.pad(samples, ((0, many - len(samples)), (0, 0)))
    _sounds(path, samples)
    return torch.from_numpy(np.ascontiguousarray(samples.T))


def write_wav(
    path: Path | str,
    samples: Float[Tensor, "channels samples"],
    rate: int,
    *,
    depth: Literal["float", "16"] = "float",
) -> float:
    """Write a WAV file, which appears when it is complete; by how much samples were scaled.

    `float` holds 32-bit numbers of any size. `16` holds integers up to full scale: what is louder
    is scaled down as a whole, to just below, and a warning tells; else the scale is 1.
    """
    path = Path(path)
    values = samples.detach().cpu().numpy().astype(np.float32)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"{path}: would hold samples of shape {tuple(values.shape)}, not all finite; expected "
            "finite numbers, [channels, samples]: nothing was written"
            if values.size
            else f"{path}: would hold no sample; expected at least one: nothing was written"
        )
    scale, peak = 1.0, float(np.abs(values).max())
    if depth == "16" and peak > FULL:
        scale = FULL / peak
        warnings.warn(
            f"{path}: peaks at {peak:.2f} of full scale and was written {1 / scale:.2f} times "
            "quieter: 16 bits hold no more",
            stacklevel=2,
        )
    values = values.T * np.float32(scale)
    with replacing(path) as draft:
        wavfile.write(draft, rate, values if depth == "float" else _whole(values))
    return scale


def resampled(
    samples: Float[Tensor, "channels samples"], rate: int, wanted: int
) -> Float[Tensor, "channels other"]:
    """The same sound at another rate, lowpassed where that is lower (a polyphase filter)."""
    if rate == wanted:
        return samples
    shared = math.gcd(rate, wanted)
    values = resample_poly(samples.double().numpy(), wanted // shared, rate // shared, axis=1)
    return torch.from_numpy(values).to(samples.dtype)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values * 32768.0), -32768, 32767).astype(np.int16)


def _library() -> Any:
    try:
        import soundfile
    except (ImportError, OSError):
        raise ModuleNotFoundError(
            "soundfile is not installed; expected it for sounds: pip install 'splat-toolkit[sound]'"
        ) from None
    return soundfile


def _opened(path: Path, action: Any) -> Any:
    """What `action` finds in the file, or why it cannot be read."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: does not exist; expected a WAV file: check the name")
    library = _library()
    with reading(path, "WAV: convert it with `ffmpeg -i IN OUT.wav`"):
        try:
            return action(library)
        except library.LibsndfileError as error:
            raise Broken(
                f"is no sound file that can be read ({error.error_string.rstrip('.')}); "
                "expected WAV: convert it with `ffmpeg -i IN OUT.wav`"
            ) from error


def _decoded(library: Any, path: Path, first: int, many: int) -> np.ndarray:
    with library.SoundFile(str(path)) as file:
        wanted = file.frames if many < 0 else min(many, file.frames)
        check_claim(4 * wanted * file.channels, path.stat().st_size, "samples")
        file.seek(min(first, file.frames))
        return np.asarray(file.read(many, dtype="float32", always_2d=True))


def _fits(path: Path, head: Format, channels: int, rate: int) -> None:
    if head.rate != rate:
        raise ValueError(
            f"{path}: has {head.rate} samples a second; expected {rate}: convert it with "
            f"`ffmpeg -i {path.name} -ar {rate} OUT.wav`"
        )
    if head.channels != channels:
        found = NAMES.get(head.channels, f"of {head.channels} channels")
        todo = (
            "record both ears"
            if channels == 2
            else f"mix it down with `ffmpeg -i {path.name} -ac 1 OUT.wav`"
        )
        raise ValueError(
            f"{path}: is {found}; expected {NAMES.get(channels, f'{channels} channels')}: {todo}"
        )
    if head.frames == 0:
        raise ValueError(f"{path}: holds no sample; expected a sound: record or copy it again")


def _sounds(path: Path, samples: np.ndarray) -> None:
    if not np.isfinite(samples).all():
        raise ValueError(
            f"{path}: holds samples that are not finite; expected numbers: write the file again"
        )
    for number, channel in enumerate(samples.T):
        if not channel.any():
            which = (
                ("its left channel", "its right channel")[number] if samples.shape[1] == 2 else ""
            )
            raise ValueError(
                f"{path}: {which or 'the whole of it'} is silent; expected a sound: check the "
                "microphone and the cable, or leave this place out"
            )
    if (share := _clipped(samples)) > 0:
        warnings.warn(
            f"{path}: seems clipped ({share:.2%} of its samples are at full scale); expected no "
            "run of them, for what is learned would be distorted: record it at a lower level",
            stacklevel=3,
        )


def _clipped(samples: np.ndarray) -> float:
    """The share of samples in runs at exactly one level, at or above full scale's magnitude.

    Numbers above full scale are legal in files of floats, and no sign of clipping by themselves.
    """
    level = np.abs(samples).max()
    if level < FULL:
        return 0.0
    full = np.abs(samples) >= level * FULL
    runs = full[: len(full) - CLIPPED + 1].copy()
    for step in range(1, CLIPPED):
        runs &= full[step : len(full) - CLIPPED + 1 + step]
    return float(full.mean()) if runs.any() else 0.0
