"""What verbs take for sound: the field of a run, listeners, sources, and what a source plays."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat.cli.opened import run_of, views_of
from splat.render import camera_paths
from splat.render.video import library, write_film
from splat.strategies.acoustic import film, moving, sounds
from splat.strategies.acoustic.hearing import Hearing
from splat.strategies.acoustic.sounds import Ears, Source
from splat.strategies.acoustic.sounds.types import Triple, triple_of
from splat.strategies.acoustic.sounds.wav import FULL
from splat.strategies.acoustic.verbs import heard
from splat.system.files import drafted, sweep_drafts
from splat.types import Camera

SAME = 0.01
"""Metres from where a source was trained that count as there."""
_log = logging.getLogger(__name__)


def hearing(run: Path) -> Hearing:
    """The trained field of sound of a run, given its folder or one of its checkpoints."""
    if run.is_file() and run.suffix != ".pt":
        raise ValueError(
            f"{run}: is a file without sound; expected a run whose field of sound is trained: give"
            " its folder"
        )
    return heard.hearing(run)


def ears_of(camera: Camera) -> Ears:
    """Who stands where a camera does and looks where it looks."""
    right, down, ahead = camera.world_to_camera[:3, :3].double().tolist()
    del right
    return Ears(triple_of(camera.centre.double()), triple_of(ahead), triple_of(-x for x in down))


def turned(at: Triple, facing: Triple, up: Triple) -> Ears:
    """A listener who looks along `facing`, the head as upright as that allows."""
    nose, top = np.array(facing, np.float64), np.array(up, np.float64)
    for name, vector in (("facing", nose), ("up", top)):
        if not (np.isfinite(vector).all() and vector.any()):
            raise ValueError(f"{name} is {said(vector)}; expected a direction, such as 1 0 0")
    nose, top = nose / np.linalg.norm(nose), top / np.linalg.norm(top)
    top = top - (top @ nose) * nose
    if np.linalg.norm(top) < 1e-3:
        raise ValueError(
            f"facing is {said(facing)} and up {said(up)}; expected two directions that differ: give"
            " another --up"
        )
    top /= np.linalg.norm(top)
    return Ears(at, triple_of(nose), triple_of(top))


def upright(run: Path) -> Triple:
    """Which way is up in a scene: as its cameras have it."""
    return triple_of(camera_paths.upward(views_of(run_of(run).path, None)))


def placed(field: Hearing, where: Triple | None) -> Source:
    """The source at a place, or the first that the field was trained with."""
    if where is None:
        source = field.sources[0]
        if len(field.sources) > 1:
            place, count = said(source.position), len(field.sources)
            _log.info("the source is at %s, the first of %d trained: see --from", place, count)
        return source
    far = [math.dist(where, source.position) * field.metres for source in field.sources]
    nearest = field.sources[int(np.argmin(far))]
    if min(far) <= SAME:
        return nearest
    _within(field, Ears(where, (1.0, 0.0, 0.0)), "the source")
    _log.warning(
        "the source at %s is %.2g m from the nearest that the field learned, at %s: what is heard"
        " of it is a guess",
        *(said(where), min(far), said(nearest.position)),
    )
    return Source(where)


def check_within(field: Hearing, ears: Sequence[Ears]) -> None:
    """ValueError where a listener is outside of the scene."""
    for i, each in enumerate(ears, 1):
        _within(field, each, f"place {i} of {len(ears)} of the path" if len(ears) > 1 else "at")


def _within(field: Hearing, ears: Ears, what: str) -> None:
    if not (all(map(math.isfinite, ears.position)) and field.inside(ears)):
        low, high = field.bounds
        raise ValueError(
            f"{what} is {said(ears.position)}, outside of the scene, which reaches from {said(low)}"
            f" to {said(high)}; expected a place within: give another"
        )


def played(path: Path, rate: int) -> Float[Tensor, "samples"]:
    """What a source plays, from a sound file: at this rate, the mean of both channels of two."""
    head = sounds.look(path)
    channels = 2 if head.channels == 2 else 1
    with aloud():
        sound = sounds.read_wav(path, channels=channels, rate=head.rate)
    if channels == 2:
        _log.info("%s: is stereo; the source plays the mean of both channels", path)
        sound = sound.mean(0, keepdim=True)
        if not sound.any():
            raise ValueError(
                f"{path}: its channels are opposites, whose mean is silent; expected a sound: give"
                f" one of them, such as with `ffmpeg -i {path.name} -af pan=mono|c0=c0 OUT.wav`"
            )
    if head.rate != rate:
        _log.info("%s: resampled from %d Hz to the %d Hz of the field", path, head.rate, rate)
    return sounds.resampled(sound, head.rate, rate)[0]


def under(
    run: Path, cameras: Sequence[Camera], fps: float, path: Path, where: Triple | None
) -> Float[Tensor, "2 samples"]:
    """What is heard along a video of these cameras, just as long, at the rate of
    `splat.strategies.acoustic.film`; it is no louder than full scale."""
    library()
    field = hearing(run)
    source, ears = placed(field, where), [ears_of(camera) for camera in cameras]
    check_within(field, ears)
    dry = played(path, field.rate)
    lasts, shown = len(dry) / field.rate, len(cameras) / fps
    if abs(lasts - shown) > 1 / fps:
        so = "it is cut" if lasts > shown else "silence follows its last echo"
        _log.info("%s: lasts %.1f s, and the video %.1f s: %s", path, lasts, shown, so)
    dry = dry[: math.ceil(shown * field.rate)]
    with listening():
        found = moving.heard(field, ears, source, dry, fps=fps)
    found = sounds.resampled(found[:, : math.ceil(shown * field.rate)], field.rate, film.RATE)
    samples = round(shown * film.RATE)
    found = torch.nn.functional.pad(found[:, :samples], (0, max(0, samples - found.shape[1])))
    if (peak := float(found.abs().max())) > FULL:
        _log.warning("the sound peaks at %.2f of full scale and is made quieter", peak)
        found = found * (FULL / peak)
    return found


@contextmanager
def listening() -> Iterator[None]:
    """Within, nothing is learned, and one thread of torch works: the same bytes on all machines.

    The parts are so small that threads would wait for each other more than they help.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def aloud() -> Iterator[None]:
    """Python's warnings said as the program's own, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for said_once in dict.fromkeys(str(each.message) for each in caught):
        _log.warning("%s", said_once)


def said(place: Sequence[float] | np.ndarray) -> str:
    """A place as it is given on the command line."""
    return " ".join(f"{round(value, 6) + 0.0:.4g}" for value in place)


def filmed(
    pictures: Iterator[Float[Tensor, "h w 3"]],
    out: Path,
    fps: float,
    heard: Float[Tensor, "2 samples"],
) -> int:
    """Write a video with what is heard along it; how many pictures it has."""
    pictures_only = out.with_name(f"{out.stem}.silent{out.suffix}")
    sweep_drafts(pictures_only)
    with drafted(pictures_only) as silent:
        count = write_film(pictures, silent, fps)
        film.join(silent, heard, out)
    return count
