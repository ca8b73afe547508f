"""`splat hear`."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

from splat.cli.asked.render import Render
from splat.cli.opened import run_of
from splat.cli.render import asked_cameras
from splat.options.parse import parsed
from splat.strategies.acoustic import moving
from splat.strategies.acoustic.sounds import Ears, Source, write_wav
from splat.strategies.acoustic.verbs import sounding
from splat.strategies.acoustic.verbs.asked.hear import Hear

_log = logging.getLogger(__name__)


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
    seconds, peak = found.shape[1] / field.rate, scale * float(found.abs().max())
    level = 20 * math.log10(peak) if peak else None
    if asked.json:
        record = {
            "file": str(asked.out),
            "seconds": seconds,
            "rate": field.rate,
            "took_seconds": round(took, 3),
            "peak_db": None if level is None else round(level, 2),
            "factor": scale,
        }
        print(json.dumps(record, indent=1))
    else:
        print(_result(asked.out, seconds, took, level))
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


def _result(out: Path, seconds: float, took: float, level: float | None) -> str:
    told = "silent" if level is None else f"peak {level:.1f} dB of full scale"
    return (
        f"{out}: {seconds:.2f} s of sound in {took:.2f} s ({seconds / max(took, 1e-9):.1f} x real"
        f" time), {told}"
    )
