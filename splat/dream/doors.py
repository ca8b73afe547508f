"""Teachers by what names them: ours by its folder, pipelines of `diffusers` by theirs, anybody's by
a place of code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from splat.dream import tutor
from splat.dream.teacher import Teacher
from splat.system.import_path import IMPORT_PATH, module_of, vouch, where_and_name

PIPELINE = "model_index.json"
"""What lies in the folder of a pipeline of `diffusers`."""


@dataclass(frozen=True)
class Known:
    """What a dream remembers of its teacher, so that it goes on with the same."""

    size: int
    channels: int
    digest: str
    """Of the file of ours; empty for others."""


def teacher_at(place: str) -> Teacher:
    """The teacher of a folder, a file, or `module:Class` or `file.py:Class`, made without
    arguments, for which the user vouches by naming it; ValueError with a sentence where there is
    none."""
    path = Path(place)
    if not path.exists() and IMPORT_PATH.fullmatch(place):
        return _of_others(place)
    if (path / PIPELINE).is_file():
        from splat.dream import pipelines

        return pipelines.read(path)
    return tutor.read(path)


def known(place: str, teacher: Teacher) -> Known:
    """What is remembered of a teacher."""
    path = Path(place)
    file = path / tutor.NAME if path.is_dir() else path
    ours = isinstance(teacher, tutor.Tutor)
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() if ours else ""
    return Known(teacher.size, teacher.channels, digest)


def check_same(was: Known, now: Known, place: str) -> None:
    """ValueError where a dream is to go on with another teacher."""
    if (was.size, was.channels) != (now.size, now.channels):
        raise ValueError(
            f"the teacher {place} looks at pictures of {now.size}x{now.size} pixels in"
            f" {now.channels} channels, and the dream was begun with one of {was.size}x{was.size}"
            f" in {was.channels}; go on with that one"
        )
    if was.digest != now.digest:
        raise ValueError(
            f"the teacher {place} is another than the dream was begun with, or was trained since;"
            " go on with that one, or begin anew"
        )


def _of_others(place: str) -> Teacher:
    where, name = where_and_name(place, "teacher", "Class")
    vouch(place)
    kind = vars(module_of(where, "teacher")).get(name)
    if not isinstance(kind, type):
        raise ValueError(f"teacher {place!r}: {where} holds no class {name}; expected one")
    made = kind()
    asked = ("size", "channels", "background", "read", "latent", "signal", "noise")
    if missing := [each for each in asked if getattr(made, each, None) is None]:
        raise ValueError(
            f"teacher {place!r} lacks {', '.join(missing)}; expected what"
            " splat.dream.teacher.Teacher has"
        )
    teacher: Teacher = made
    return teacher
