"""The photos of a folder, or frames of a video, brought into the folder of the scene."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from splat.datasets.photo import SUFFIXES
from splat.photos.exif import HEIF
from splat.prep import video
from splat.prep.options import PrepOptions
from splat.prep.photos import Photo, import_photo, suffix_for
from splat.prep.quality import THUMBNAIL, Grey, blurry, same, sharpness, thumbnail
from splat.prep.suffixes import VIDEO, is_video
from splat.system.files import replacing, telling_faults
from splat.system.foreign import Broken, Record, filled, reading, record, shown

REDO = "what `splat prep` wrote: start anew with --overwrite"
"""What is expected of the files that a preparation keeps."""
LEAST = 3
"""Least number of photos that poses can be found from."""
Tick = Callable[[int, int], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gathered:
    """The pictures in `images/`, and what was left out."""

    photos: tuple[Photo, ...]
    video: bool = False
    others: int = 0
    """Number of files that are no pictures."""
    broken: tuple[tuple[str, str], ...] = ()
    """Pictures that cannot be read, each with the reason."""
    doubles: tuple[tuple[str, str], ...] = ()
    """Photos left out, each with the photo that it repeats."""
    blurry: tuple[str, ...] = ()
    """Source files that are far less sharp than most."""
    dropped: bool = False
    """Whether the blurry ones were left out."""
    notes: tuple[str, ...] = ()

    @staticmethod
    def read(path: Path) -> Gathered:
        """The record that `write` wrote."""
        with reading(path, REDO):
            content = record(path)
            photos = tuple(_photo(photo) for photo in content.records("photos"))
            gathered = filled(Gathered, {**content, "photos": photos})
            return replace(
                gathered,
                broken=tuple((one, why) for one, why in gathered.broken),
                doubles=tuple((one, other) for one, other in gathered.doubles),
                blurry=tuple(gathered.blurry),
                notes=tuple(gathered.notes),
            )

    def write(self, path: Path) -> None:
        """Write the record, for a second run."""
        write_json(path, asdict(self))

    def text(self) -> str:
        """The counts in a line."""
        unit = "frames" if self.video else "photos"
        parts = [f"{len(self.photos)} {unit}"]
        for count, state in (
            (len(self.doubles), "that repeat others were left out"),
            (len(self.broken), "cannot be read"),
            (len(self.blurry), f"are blurry ({'left out' if self.dropped else 'kept'})"),
            (self.others, "other files are no photos"),
        ):
            parts += [f"{count} {state}"] if count else []
        return "; ".join(parts)


def write_json(path: Path, content: Any) -> None:
    """Write a file of JSON, atomically."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def sources(path: Path) -> tuple[list[Path], int]:
    """Pictures below a folder, sorted by name, and the number of other files."""
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
    pictures = [file for file in files if file.suffix.lower() in wanted]
    videos = [file for file in files if is_video(file)]
    if not pictures:
        hint = f": give {videos[0]} itself" if videos else ": give the folder that holds them"
        raise ValueError(
            f"{path}: holds no photos ({len(files)} other files); expected"
            f" {', '.join(wanted)}{hint}"
        )
    return pictures, len(files) - len(pictures)


def fingerprint(path: Path, files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of files, which change when a file does."""
    stats = ((file, file.stat()) for file in files)
    return [(_below(file, path), stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def gather(path: Path, images: Path, journal: Path, options: PrepOptions, tick: Tick) -> Gathered:
    """Fill the folder `images`; photos that `journal` has already are not read again."""
    files, others = sources(path)
    if path.is_file():
        gathering = _frames(path, images, options, tick)
    else:
        gathering = replace(_photos(path, files, images, journal, options, tick), others=others)
    _sweep(images, {photo.name for photo in gathering.photos})
    return gathering


def check_enough(path: Path, gathering: Gathered) -> None:
    """Raise ValueError where there are too few pictures to find poses from."""
    if len(gathering.photos) >= LEAST:
        return
    if gathering.video:
        reason = "the camera stands still, or the video is too short"
    else:
        doubles, broken = len(gathering.doubles), len(gathering.broken)
        reason = f"{doubles} more repeat others and {broken} cannot be read"
        reason += f", the first {': '.join(gathering.broken[0])}" if broken else ""
    raise ValueError(
        f"{path}: holds {len(gathering.photos)} different pictures ({reason}); expected at least"
        f" {LEAST}, from different places: take more while you walk round"
    )


def _frames(path: Path, images: Path, options: PrepOptions, tick: Tick) -> Gathered:
    picked = video.pick_frames(path, images, options.frames, options.every, tick)
    notes = []
    if picked.still:
        notes.append(f"{picked.still} spans were left out, in which the camera stands still")
    if picked.frames < 0.9 * picked.promised:
        notes.append(
            f"{path.name} says it has {picked.promised} frames, but only {picked.frames} can be"
            " decoded: it may be damaged"
        )
    return Gathered(picked.photos, video=True, notes=tuple(notes))


def _photos(
    path: Path, files: Sequence[Path], images: Path, journal: Path, options: PrepOptions, tick: Tick
) -> Gathered:
    entries = _known(journal)
    photos: list[Photo] = []
    thumbnails: list[Grey] = []
    broken: list[tuple[str, str]] = []
    names: set[str] = set()
    journal.parent.mkdir(parents=True, exist_ok=True)
    with open(journal, "a", encoding="utf-8") as log:
        for i, file in enumerate(files):
            name, key = _name(file, path, names), list(fingerprint(path, [file])[0])
            entry = entries.get(name)
            if entry is None or entry.get("key") != key or not _there(entry, images / name):
                entry = {"key": key, **_entry(file, path, images, name)}
                with telling_faults(journal):
                    log.write(json.dumps({"name": name, **entry}) + "\n")
                    log.flush()
            if "why" in entry:
                broken.append((_below(file, path), entry["why"]))
            else:
                photos.append(replace(Photo(**entry["photo"]), name=name))
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
    """Import a photo; its entry in the journal."""
    try:
        photo, grey = import_photo(file, images / name)
    except Broken as error:
        return {"why": str(error)}
    photo = replace(photo, name=name, source=_below(file, path), sharpness=sharpness(grey))
    small = base64.b64encode(thumbnail(grey).tobytes()).decode()
    return {"photo": asdict(photo), "thumbnail": small}


def _known(journal: Path) -> dict[str, dict[str, Any]]:
    """Entries of the journal by name; lines that are none, as a last one that was cut off, are
    ignored: their photos are imported again."""
    entries = {}
    if journal.is_file():
        for line in journal.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError, RecursionError):
                entry = Record.of(json.loads(line))
                if "why" in entry:
                    entry.text("why")
                else:
                    _photo(entry.record("photo"))
                    small = base64.b64decode(entry.text("thumbnail"))
                    if len(small) != THUMBNAIL[0] * THUMBNAIL[1]:
                        continue
                entries[entry.text("name")] = {**entry}
    return entries


def _photo(content: Record) -> Photo:
    """A photo as a record has it; raises `Broken`, also where it lies elsewhere by its name."""
    photo = filled(Photo, content)
    place = PurePath(photo.name)
    if place.is_absolute() or ".." in place.parts:
        raise Broken(f"names a photo outside of images/, {shown(photo.name)}; expected one there")
    if min(photo.width, photo.height) < 1:
        raise Broken(f"has {shown(photo.name)} of {photo.width}x{photo.height} pixels")
    return photo


def _there(entry: dict[str, Any], target: Path) -> bool:
    return "why" in entry or target.is_file()


def _different(
    photos: Sequence[Photo], thumbnails: Sequence[Grey]
) -> tuple[list[Photo], list[tuple[str, str]]]:
    """Photos without near-duplicates of an earlier one, and the duplicates with that one."""
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
    """Unique name of a photo in the scene; without spaces, at which lists of pairs are split."""
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
    """Delete files that belong to no photo of the scene, such as those of an earlier choice."""
    for file in list(images.rglob("*")) if images.is_dir() else ():
        if file.is_file() and file.relative_to(images).as_posix() not in names:
            file.unlink()
