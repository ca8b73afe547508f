"""From several videos of one moment, and a pose of each camera, to a clip with poses and times."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splat import datasets
from splat.datasets import photo
from splat.datasets.tracer.folders import write_ply
from splat.prep.films import Film, film_of, frames_of
from splat.prep.gather import fingerprint, write_json
from splat.prep.given import vacate
from splat.prep.options import PrepOptions
from splat.prep.rig_poses import (
    TRANSFORMS,
    Find,
    camera_record,
    found_poses,
    given_poses,
    has_poses,
    removed,
)
from splat.prep.suffixes import is_video
from splat.system.files import replacing
from splat.system.foreign import Broken, reading, record
from splat.types import Points

OFFSETS, POINTS = "offsets.json", "points.ply"
VERSION = 1
"""Version of what is kept of frames that were taken; another one takes them anew."""
LATEST = 1e9
"""Most seconds of a clock that are believed: thirty years."""
SAME_RATE = 5e-4
"""Share by which the rates of videos may differ and be one: a frame in a minute."""
_log = logging.getLogger(__name__)
Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class RigReport:
    """The result of taking the videos of a rig apart."""

    source: str
    scene: str
    cameras: tuple[str, ...]
    instants: int
    seconds: float
    """From the first instant to the last."""
    frames: int
    size: tuple[int, int]
    """Width and height of a frame of the first camera."""
    notes: tuple[str, ...]

    def text(self) -> str:
        """The result in a few lines."""
        width, height = self.size
        what = f"{self.instants} instants in {self.seconds:.3g} s"
        if self.instants == 1:
            what = "one instant only, and so a scene that stands still"
        first = f"{len(self.cameras)} cameras, {what}: {self.frames:,} frames of {width}x{height}"
        return "\n".join([first, *self.notes])

    def advice(self) -> list[str]:
        """Advice on what went wrong: none, as what is wrong ends in an error."""
        return []


def videos_in(folder: Path) -> list[Path]:
    """The videos that lie in a folder, sorted by name."""
    return sorted(file for file in folder.iterdir() if file.is_file() and is_video(file))


def is_rig(source: Path) -> bool:
    """Whether a folder is one of several videos, with poses or without photos."""
    if not source.is_dir() or len(videos_in(source)) < 2:
        return False
    return has_poses(source) or photo.count(source) == 0


def prepare_rig(
    source: Path, out: Path, options: PrepOptions, *, overwrite: bool, tick: Tick, find: Find
) -> RigReport:
    """Make the folder `out` a clip of the videos in `source`, all of one moment.

    `images/CAMERA/00000.jpg` and on are the frames that all of them have, at the size that
    `options.side` allows, `transforms.json` their cameras and times as parts of the clip. A pose is
    that of its video throughout: as it is given beside the videos, or as `find` gives it, which is
    told a folder of the first instant's frames and one for a COLMAP model of them. `offsets.json`
    says by the names of videos at which second of a common clock each begins; without it they begin
    together. A second call takes only frames that are missing.
    """
    films = [film_of(video) for video in videos_in(source)]
    by_name = {film.name: film for film in films}
    if double := [film for film in films if by_name[film.name] is not film]:
        name = double[0].name
        raise ValueError(
            f"{double[0].path}: has the name of {by_name[name].path.name}, which is that of its"
            " camera; expected one video a camera: take one of them away"
        )
    given = given_poses(source, films) if has_poses(source) else None
    if given is not None:
        films = [film for film in films if film.name in given.names]
    cuts, more = _cuts(source, films, options)
    replaced = vacate(source, out, overwrite)
    poses = given or found_poses(out / ".prep", [(cut.film, cut.begin) for cut in cuts], find)
    cuts = [cut for cut in cuts if cut.film.name in poses.names]
    notes = [*poses.notes, *more]
    sizes = {cut.film.name: cut.film.shrunk(options.side) for cut in cuts}
    # What is wrong with a camera is told before frames are taken.
    cameras = {
        cut.film.name: camera_record(cut.film, poses.view(cut.film), sizes[cut.film.name])
        for cut in cuts
    }
    counts = _taken(source, out, cuts, options, tick)
    instants, more = _common(cuts, counts)
    notes += more
    seconds = cuts[0].stride * (instants - 1) / cuts[0].film.rate
    if poses.points is not None:
        with replacing(out / POINTS) as draft:
            write_ply(draft, poses.points)
    with replacing(out / TRANSFORMS) as draft:
        content = _transforms(cuts, cameras, instants, seconds, poses.points)
        draft.write_text(json.dumps(content) + "\n", "utf-8")
    scene = datasets.load(out, eval="none")  # what is wrong with it is told now
    report = RigReport(
        source=str(source),
        scene=str(out),
        cameras=tuple(cut.film.name for cut in cuts),
        instants=instants,
        seconds=seconds,
        frames=len(scene.train),
        size=sizes[cuts[0].film.name],
        notes=tuple(notes),
    )
    write_json(out / "prep.json", asdict(report))
    replaced.forget()
    return report


@dataclass(frozen=True)
class _Cut:
    """What is taken of a video."""

    film: Film
    begin: int
    """Number of its frame at the first instant."""
    stride: int
    """Frames from one instant to the next."""
    instants: int

    @property
    def last(self) -> int:
        """Number of the last frame that is taken."""
        return self.begin + self.stride * (self.instants - 1)


def _cuts(
    source: Path, films: Sequence[Film], options: PrepOptions
) -> tuple[list[_Cut], list[str]]:
    """The part of each video that all have in common, and what to say of it."""
    first, notes = films[0], []
    for film in films[1:]:
        if abs(film.rate - first.rate) > SAME_RATE * first.rate:
            raise ValueError(
                f"{film.path}: has {film.rate:.6g} frames a second, {first.path.name} has"
                f" {first.rate:.6g}; expected one rate, as frames are paired by their numbers:"
                f" bring them to one, with `ffmpeg -i {film.path.name} -r {first.rate:.6g} OUT.mp4`"
            )
    offsets = _offsets(source / OFFSETS, films)
    begin = max(offsets.values())
    end = min(offsets[film.name] + film.frames / film.rate for film in films)
    begins = {film.name: round((begin - offsets[film.name]) * film.rate) for film in films}
    whole = min(film.frames - begins[film.name] for film in films)
    if whole < 1 or end <= begin:
        late = max(films, key=lambda film: offsets[film.name])
        early = min(films, key=lambda film: offsets[film.name] + film.frames / film.rate)
        raise ValueError(
            f"{source / OFFSETS}: leaves no moment that all videos show: {early.path.name} ends at"
            f" {end:.3g} s and {late.path.name} begins at {begin:.3g} s; expected the second of a"
            " common clock at which each begins"
        )
    spans = {film.frames - begins[film.name] for film in films}
    if len(spans) > 1:
        shortest = min(films, key=lambda film: film.frames - begins[film.name])
        notes.append(
            f"the videos go on for {min(spans)} to {max(spans)} frames from where they begin"
            f" together: the clip is the {whole} that all have ({shortest.path.name} is the"
            " shortest)"
        )
    off = {f.name: abs((begin - offsets[f.name]) * f.rate - begins[f.name]) for f in films}
    worst = max(off, key=lambda name: off[name])
    if off[worst] > 0.1:
        notes.append(
            f"frames are paired to the nearest: those of {worst} are {off[worst]:.2g} of a frame"
            " off"
        )
    stride = 1 if options.instants is None else max(1, math.ceil(whole / options.instants))
    instants = -(-whole // stride)
    if stride > 1:
        notes.append(f"every {stride} frames were taken, {instants} of {whole} (--instants)")
    return [_Cut(film, begins[film.name], stride, instants) for film in films], notes


def _offsets(file: Path, films: Sequence[Film]) -> dict[str, float]:
    """When each video begins, seconds of a common clock; 0 where there is no file."""
    if not file.is_file():
        return {film.name: 0.0 for film in films}
    with reading(file, "seconds by the names of the videos"):
        content = record(file, "seconds by the names of the videos")
        found = {}
        for film in films:
            key = next((key for key in (film.name, film.path.name) if key in content), None)
            if key is None:
                raise Broken(
                    f"has no offset of {film.path.name}; expected seconds for each of the"
                    f" {len(films)} videos"
                )
            found[film.name] = content.number(key, least=-LATEST, most=LATEST)
    return found


def _taken(
    source: Path, out: Path, cuts: Sequence[_Cut], options: PrepOptions, tick: Tick
) -> dict[str, int]:
    """Take the frames of all videos, as far as they are not there; how many each has."""
    kept = out / ".prep" / "rig.json"
    files = [*[cut.film.path for cut in cuts], source / OFFSETS]
    settings = [[cut.film.name, cut.begin, cut.stride, cut.instants] for cut in cuts]
    marks = fingerprint(source, [file for file in files if file.is_file()])
    text = json.dumps([VERSION, options.side, settings, marks])
    key = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    done: dict[str, int] = {}
    with suppress(OSError, ValueError):
        before = record(kept)
        if before.text("key") == key:
            done = {name: before.record("taken").whole(name) for name in before.record("taken")}
    if not done:
        for name in ("sparse", "images", TRANSFORMS, POINTS):
            removed(out / name)
    for i, cut in enumerate(cuts):
        folder = out / "images" / cut.film.name
        if done.get(cut.film.name) != sum(1 for _ in folder.glob("*.jpg")):
            removed(folder)
            folder.mkdir(parents=True)
            done[cut.film.name] = frames_of(
                cut.film, folder, range(cut.begin, cut.last + 1, cut.stride), options.side,
                lambda n, i=i, cut=cut: tick(i * cut.instants + n, len(cuts) * cut.instants),  # type: ignore[misc]
            )  # fmt: skip
            write_json(kept, {"key": key, "taken": done})
    return done


def _common(cuts: Sequence[_Cut], counts: Mapping[str, int]) -> tuple[int, list[str]]:
    """How many instants all videos have frames of; frames beyond are not named."""
    least = min(counts[cut.film.name] for cut in cuts)
    if least == cuts[0].instants:
        return least, []
    short = min(cuts, key=lambda cut: counts[cut.film.name])
    if least == 0:
        raise ValueError(
            f"{short.film.path}: holds no frame where the clip begins; expected a video that"
            " OpenCV's FFMPEG plays: convert it to H.264 in an .mp4, or copy it again"
        )
    return least, [
        f"{short.film.path.name} ends before its header says: the clip has {least} instants of"
        f" {cuts[0].instants}"
    ]


def _transforms(
    cuts: Sequence[_Cut],
    cameras: Mapping[str, Mapping[str, Any]],
    instants: int,
    seconds: float,
    points: Points | None,
) -> dict[str, Any]:
    frames = []
    for cut in cuts:
        for number in range(instants):
            frame: dict[str, Any] = {"file_path": f"images/{cut.film.name}/{number:05d}.jpg"}
            frame |= cameras[cut.film.name]
            if instants > 1:
                frame["time"] = number / (instants - 1)
            frames.append(frame)
    length = {"clip_seconds": seconds} if instants > 1 else {}
    return {**length, **({} if points is None else {"ply_file_path": POINTS}), "frames": frames}
