"""Photos grouped by camera, with the intrinsics known before poses are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from splat.prep.photos import Photo

FEW = 5
"""Photos below which a camera has too few for four distortion coefficients."""
GUESS = 1.2
"""Focal length over the longest side, where EXIF has none."""
FISHEYE_GUESS = 0.5


@dataclass(frozen=True)
class Group:
    """Photos of one size, made by one camera at one focal length."""

    names: tuple[str, ...]
    camera: str
    width: int
    height: int
    model: str
    focal: float
    """Focal length, pixels."""
    known: bool
    """Whether the focal length is from EXIF; else it is a guess."""


def groups(photos: Sequence[Photo], model: str) -> list[Group]:
    """The photos grouped by camera, in the order of their first photo. `model` may be auto."""
    photos_by_camera: dict[tuple[object, ...], list[Photo]] = {}
    for photo in photos:
        focal = None if photo.focal_35mm is None else round(photo.focal_35mm, 1)
        photos_by_camera.setdefault((photo.width, photo.height, photo.camera, focal), []).append(
            photo
        )
    return [_group(members, model) for members in photos_by_camera.values()]


def _group(members: Sequence[Photo], model: str) -> Group:
    first = members[0]
    if model == "auto":
        model = "OPENCV" if len(members) >= FEW else "SIMPLE_RADIAL"
    guess = FISHEYE_GUESS if "FISHEYE" in model else GUESS
    focal = first.focal or guess * max(first.width, first.height)
    names = tuple(photo.name for photo in members)
    return Group(
        names, first.camera, first.width, first.height, model, focal, first.focal is not None
    )


def cameras_text(families: Sequence[Group]) -> str:
    """Which cameras took the photos, in words."""
    known = sum(group.known for group in families)
    many = len(families) != 1
    lens = "its" if not many else "their"
    told = f"EXIF has {lens} focal length" if known else f"EXIF does not have {lens} focal length"
    if many and 0 < known < len(families):
        told = f"EXIF has the focal length of {known}"
    what = f"{len(families)} cameras" if many else "one camera"
    return f"{what}, told apart by photo size, make and focal length; {told}"
