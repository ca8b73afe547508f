"""The photos of a folder, or frames of a video, brought into the folder of the scene."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from splat.datasets.photo import SUFFIXES
from splat.photos.exif import HEIF, Unreadable
from splat.prep import video
from splat.prep.options import PrepOptions
from splat.prep.photos import Photo, suffix_for, taken_in
from splat.prep.quality import THUMBNAIL, Grey, blurry, same, sharpness, thumbnail
from splat.prep.suffixes import VIDEO, is_video
from splat.system.files import replacing

LEAST = 3
"""Photos that poses can be found from."""
Tick = Callable[[int, int], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gathered:
    """What lies in `images/`, and what was left out."""

    photos: tuple[Photo, ...]
    video: bool = False
    others: int = 0
    """Files that are no pictures."""
    broken: tuple[tuple[str, str], ...] = ()
    """Pictures that cannot be read, and why."""
    doubles: tuple[tuple[str, str], ...] = ()
    """Photos left out, and the one each repeats."""
    blurry: tuple[str, ...] = ()
    """Sources that are far less sharp than most."""
    dropped: bool = False
    """Whether these were left out."""
    notes: tuple[str, ...] = ()

    @staticmethod
    def read(path: Path) -> Gathered:
        """What `write` wrote."""
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found["photos"] = [Photo(**photo) for photo in found["photos"]]
        found |= {name: map(tuple, found[name]) for name in ("broken", "doubles")}
        lists = ("photos", "broken", "doubles", "blurry", "notes")
        return Gathered(**{**found, **{name: tuple(found[name]) for name in lists}})

    def write(self, path: Path) -> None:
        """Keep it for a second run."""
        write_json(path, asdict(self))

    def text(self) -> str:
        """The counts, in a line."""
        what = "frames" if self.video else "photos"
        parts = [f"{len(self.photos)} {what}"]
        for count, said in (
            (len(self.doubles), "that repeat others were left out"),
            (len(self.broken), "cannot be read"),
            (len(self.blurry), f"are blurry ({'left out' if self.dropped else 'kept'})"),
            (self.others, "other files are no photos"),
        ):
            parts += [f"{count} {said}"] if count else []
        return "; ".join(parts)


def write_json(path: Path, content: Any) -> None:
    """A file of JSON, whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def sources(path: Path) -> tuple[list[Path], int]:
    """Pictures below a folder, by name, and how many other files there are."""
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: does not exist; expected a folder of photos or a video: check the spelling"
        )
    if path.is_file():
        if not is_video(path):
            raise ValueError(
                f"{path}: is neither a folder of photos nor a video"
                f" ({', '.join(VIDEO)}); expected one of them: give the folder that holds"
                " the photos"
            )
        return [path], 0
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    wanted = (*SUFFIXES, *HEIF)
    found = [file for file in files if file.suffix.lower() in wanted]
    videos = [file for file in files if is_video(file)]
    if not found:
        hint = f": give {videos[0]} itself" if videos else ": give the folder that holds them"
        raise ValueError(
            f"{path}: holds no photos ({len(files)} other files); expected"
            f" {', '.join(wanted)}{hint}"
        )
    return found, len(files) - len(found)


def fingerprint(path: Path, files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Changes when a file does: names, sizes and times."""
    stats = ((file, file.stat()) for file in files)
    return [(_below(file, path), stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def gathered(path: Path, images: Path, journal: Path, options: PrepOptions, tick: Tick) -> Gathered:
    """Fill `images`; photos that `journal` says were taken in before are not read again."""
    files, others = sources(path)
    if path.is_file():
        found = _frames(path, images, options, tick)
    else:
        found = replace(_photos(path, files, images, journal, options, tick), others=others)
    _sweep(images, {photo.name for photo in found.photos})
    return found


def check_enough(path: Path, found: Gathered) -> None:
    """ValueError where poses cannot be found from what was gathered."""
    if len(found.photos) >= LEAST:
        return
    if found.video:
        what = "the camera stands still, or the video is too short"
    else:
        doubles, broken = len(found.doubles), len(found.broken)
        what = f"{doubles} more repeat others and {broken} cannot be read"
        what += f", the first {': '.join(found.broken[0])}" if broken else ""
    raise ValueError(
        f"{path}: holds {len(found.photos)} different pictures ({what}); expected at least"
        f" {LEAST}, from different places: take more while you walk round"
    )


def _frames(path: Path, images: Path, options: PrepOptions, tick: Tick) -> Gathered:
    found = video.picked(path, images, options.frames, options.every, tick)
    notes = []
    if found.still:
        notes.append(f"{found.still} spans were left out, in which the camera stands still")
    if found.frames < 0.9 * found.promised:
        notes.append(
            f"{path.name} says it has {found.promised} frames, but only {found.frames} can be"
            " decoded: it may be damaged"
        )
    return Gathered(found.photos, video=True, notes=tuple(notes))


def _photos(
    path: Path, files: Sequence[Path], images: Path, journal: Path, options: PrepOptions, tick: Tick
) -> Gathered:
    known = _known(journal)
    photos: list[Photo] = []
    thumbnails: list[Grey] = []
    broken: list[tuple[str, str]] = []
    names: set[str] = set()
    journal.parent.mkdir(parents=True, exist_ok=True)
    with open(journal, "a", encoding="utf-8") as log:
        for i, file in enumerate(files):
            name, key = _name(file, path, names), list(fingerprint(path, [file])[0])
            entry = known.get(name)
            if entry is None or entry["key"] != key or not _there(entry, images / name):
                entry = {"key": key, **_entry(file, path, images, name)}
                log.write(json.dumps({"name": name, **entry}) + "\n")
                log.flush()
            if "why" in entry:
                broken.append((_below(file, path), entry["why"]))
            else:
                photos.append(Photo(**entry["photo"]))
                rows = np.frombuffer(base64.b64decode(entry["thumbnail"]), np.uint8)
                thumbnails.append(rows.reshape(THUMBNAIL[::-1]))
            tick(i + 1, len(files))
    kept, doubles = _different(photos, thumbnails)
    flags = blurry([photo.sharpness for photo in kept])
    blurs = tuple(photo.source for photo, flag in zip(kept, flags, strict=True) if flag)
    if options.drop_blurry:
        kept = [photo for photo in kept if photo.source not in blurs]
    return Gathered(
        tuple(kept), broken=tuple(broken), doubles=tuple(doubles), blurry=blurs,
        dropped=options.drop_blurry,
    )  # fmt: skip


def _entry(file: Path, path: Path, images: Path, name: str) -> dict[str, Any]:
    """Take a photo in; what the journal says of it."""
    try:
        photo, grey = taken_in(file, images / name)
    except Unreadable as error:
        return {"why": str(error)}
    photo = replace(photo, name=name, source=_below(file, path), sharpness=sharpness(grey))
    small = base64.b64encode(thumbnail(grey).tobytes()).decode()
    return {"photo": asdict(photo), "thumbnail": small}


def _known(journal: Path) -> dict[str, dict[str, Any]]:
    """The journal by name; a last line cut off by an interruption is passed over."""
    found = {}
    if journal.is_file():
        for line in journal.read_text("utf-8", "replace").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[entry.pop("name")] = entry
    return found


def _there(entry: dict[str, Any], target: Path) -> bool:
    return "why" in entry or target.is_file()


def _different(
    photos: Sequence[Photo], thumbnails: Sequence[Grey]
) -> tuple[list[Photo], list[tuple[str, str]]]:
    """Photos less those that show what an earlier one shows, and those with the earlier one."""
    kept: list[Photo] = []
    small: list[Grey] = []
    doubles = []
    for photo, row in zip(photos, thumbnails, strict=True):
        first = same(row, small)
        if first is None:
            kept.append(photo)
            small.append(row)
        else:
            doubles.append((photo.source, kept[first].source))
    return kept, doubles


def _name(file: Path, path: Path, taken: set[str]) -> str:
    """Of a photo in the scene: lists of pairs are split at spaces, so names have none."""
    wanted = "_".join(_below(file, path).split())
    ending = suffix_for(file)
    name = wanted[: len(wanted) - len(file.suffix)] + ending
    if name in taken:
        name = wanted + ending
    taken.add(name)
    return name


def _below(file: Path, path: Path) -> str:
    return file.name if file == path else file.relative_to(path).as_posix()


def _sweep(images: Path, names: set[str]) -> None:
    """Remove files that belong to no photo of the scene, such as those of an earlier choice."""
    for file in list(images.rglob("*")) if images.is_dir() else ():
        if file.is_file() and file.relative_to(images).as_posix() not in names:
            file.unlink()
