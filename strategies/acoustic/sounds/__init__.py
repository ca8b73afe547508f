"""Sounds heard in a scene: records, WAV files, and folders of three layouts.

`load` reads our own layout (`sounds.json`, see `own`), RWAVS (see `rwavs`) and impulse responses
as in SoundSpaces (see `soundspaces`). Whatever the layout, what is held out is heard at other
places than what is trained on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from splat.strategies.acoustic.sounds import own, rwavs, soundspaces
from splat.strategies.acoustic.sounds.split import shared
from splat.strategies.acoustic.sounds.types import Ears, Heard, SoundData, Source
from splat.strategies.acoustic.sounds.wav import look, read_wav, resampled, write_wav
from splat.system.foreign import reading

__all__ = [
    "Ears",
    "Heard",
    "SoundData",
    "Source",
    "load",
    "look",
    "read_wav",
    "resampled",
    "write_wav",
]

_READERS = (own.load, rwavs.load, soundspaces.load)


def load(path: Path | str, *, rate: int | None = None) -> SoundData:
    """The sounds in a folder, of whichever layout; no sound is decoded.

    `rate` is what its files must have, samples a second; None takes what they have.
    """
    path = Path(path)
    data = _read(path)
    if rate is not None and data.rate != rate:
        raise ValueError(
            f"{path}: its files have {data.rate} samples a second; expected {rate}: convert them, "
            f"each with `ffmpeg -i IN.wav -ar {rate} OUT.wav`"
        )
    if not data.train:
        raise ValueError(
            f"{path}: has no sound to learn from ({len(data.test)} are held out); expected at "
            "least one: add places, or hold out fewer"
        )
    if both := shared(data.train, data.test):
        note = f"{both} held-out sounds are heard where training ones are: they test no new place"
        data = replace(data, notes=(*data.notes, note))
    return data


def _read(path: Path) -> SoundData:
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: does not exist; expected a folder of sounds: check the spelling"
        )
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: is a file; expected a folder of sounds: give its folder")
    for reader in _READERS:
        with reading(path, "a folder of sounds: copy it again"):
            data = reader(path)
        if data is not None:
            return data
    state = "is no known layout of sounds" if any(path.iterdir()) else "is an empty folder"
    raise ValueError(
        f"{path}: {state}; expected sounds.json, transforms_scale_train.json with "
        "binaural_syn_re.wav (RWAVS), or 0/ to 270/ with RECEIVER_SOURCE.wav (SoundSpaces): "
        "see the documentation of sounds"
    )
