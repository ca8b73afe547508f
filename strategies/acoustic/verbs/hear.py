"""`splat hear`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from splat.cli.asked.render import Render
from splat.cli.opened import run_of
from splat.cli.render import asked_cameras
from splat.options.parse import parsed
from splat.strategies.acoustic import moving
from splat.strategies.acoustic.sounds import Ears, Source, write_wav
from splat.strategies.acoustic.sounds.types import Triple
from splat.strategies.acoustic.verbs import sounding
from splat.system.numbers import hint

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hear:
    """Hear a sound in a scene, standing still or along a path of cameras, as a stereo WAV.

    splat hear run/ --source speech.wav --at 1 2 1.5 --facing 0 1 0 -o there.wav

    splat hear run/ --source speech.wav --path turntable -o round.wav
    """

    run: tyro.conf.Positional[Path]
    """Folder of a run whose field of sound is trained."""
    source: Path
    """What the source plays, a WAV file; of stereo the mean of both channels."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """A name ending in .wav; the left ear is the first channel."""
    at: Annotated[Triple | None, hint("along --path")] = None
    """Where the listener stands, X Y Z in the coordinates of the scene."""
    facing: Annotated[Triple | None, hint("the source")] = None
    """Where the listener looks, a direction."""
    up: Annotated[Triple | None, hint("as the cameras have it")] = None
    """To the top of the listener's head."""
    path: Annotated[str | None, hint("standing --at a place")] = None
    """turntable, along, views or a JSON file, as in `splat render`: the listener goes with the
    cameras, and stays where they end."""
    frames: Annotated[int | None, hint("as long as the sound")] = None
    """Cameras of turntable and along."""
    fps: float = 30
    """Cameras a second."""
    source_at: Annotated[
        Triple | None, tyro.conf.arg(name="from"), hint("the first that was trained")
    ] = None
    """Where the source is."""
    keys: float = moving.KEYS
    """Times a second that the field is asked along a path; between, it is faded."""
    floats: Annotated[bool, tyro.conf.arg(name="float")] = False
    """Write 32-bit numbers of any size; else 16 bits, made quieter as a whole where too loud."""
    spectrogram: Annotated[Path | None, hint("none")] = None
    """A name ending in .png, for a picture of what both ears hear."""
    overwrite: bool = False
    """Replace what is there."""
    quiet: bool = False
    """Say nothing but warnings and the result."""


def main(arguments: Sequence[str]) -> int:
    """Hear; the exit code."""
    asked = parsed(Hear, "hear", arguments)
    _checked(asked)
    field = sounding.hearing(asked.run)
    source = sounding.placed(field, asked.source_at)
    dry = sounding.played(asked.source, field.rate)
    ears = _listeners(asked, source, len(dry) / field.rate)
    sounding.check_within(field, ears)
    began = time.perf_counter()
    with sounding.listening():
        found = moving.heard(field, ears, source, dry, fps=asked.fps, keys=asked.keys)
    took = time.perf_counter() - began
    with sounding.aloud():
        scale = write_wav(asked.out, found, field.rate, depth="float" if asked.floats else "16")
    if asked.spectrogram is not None:
        from splat.strategies.acoustic.picture import spectrogram

        spectrogram(found, field.rate, asked.spectrogram, f"{asked.source.name} in {asked.run}")
    print(_result(asked.out, found.shape[1] / field.rate, took, scale * float(found.abs().max())))
    return 0


def _checked(asked: Hear) -> None:
    for file, suffix in ((asked.out, ".wav"), (asked.spectrogram, ".png")):
        if file is not None and file.suffix.lower() != suffix:
            raise ValueError(f"{file}: ends in {file.suffix or 'nothing'}; expected {suffix}")
        if file is not None and file.exists() and not asked.overwrite:
            raise FileExistsError(
                f"{file} exists; replace it with --overwrite, or give another name"
            )
    if (asked.at is None) == (asked.path is None):
        both = "both of" if asked.path else "neither of"
        raise ValueError(
            f"{both} --at and --path are given; expected one: --at X Y Z to stand there, --path"
            " turntable to move"
        )
    if asked.at is None and (asked.facing or asked.up):
        raise ValueError("--facing and --up are given with --path; expected them with --at only")
    if not 0 < asked.fps < math.inf:
        raise ValueError(f"fps is {asked.fps:g}; expected above 0")


def _listeners(asked: Hear, source: Source, seconds: float) -> list[Ears]:
    if asked.at is not None:
        facing = asked.facing
        if facing is None:
            x, y, z = (b - a for a, b in zip(asked.at, source.position, strict=True))
            facing = (x, y, z)
        return [sounding.turned(asked.at, facing, asked.up or sounding.upright(asked.run))]
    assert asked.path is not None
    frames = asked.frames if asked.frames is not None else max(1, round(seconds * asked.fps))
    cameras = asked_cameras(Render(run_of(asked.run).path, path=asked.path, frames=frames))
    if (ends := len(cameras) / asked.fps) < seconds - 1 / asked.fps:
        _log.info("the path ends after %.1f of %.1f s: the listener stays there", ends, seconds)
    return [sounding.ears_of(camera) for camera in cameras]


def _result(out: Path, seconds: float, took: float, peak: float) -> str:
    level = f"peak {20 * math.log10(peak):.1f} dB of full scale" if peak else "silent"
    return (
        f"{out}: {seconds:.2f} s of sound in {took:.2f} s ({seconds / max(took, 1e-9):.1f} x real"
        f" time), {level}"
    )
