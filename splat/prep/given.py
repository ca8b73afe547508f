"""Checks of what a user gives `splat prep`: the folder of the scene, a distance, GPS places."""

from __future__ import annotations

from pathlib import Path

from splat.prep.gather import Gathered
from splat.prep.options import PrepOptions
from splat.prep.photos import Photo
from splat.system.replaced import Replaced

OURS = (
    "sparse", "images", ".prep", "photos.json", "prep.json", "prep.txt", "transforms.json",
    "points.ply",
)  # fmt: skip
"""Files and folders that a preparation writes into the folder of the scene."""


def vacate(source: Path, out: Path, overwrite: bool) -> Replaced:
    """Prepare the folder `out`; with `overwrite` what was prepared there is moved aside.

    It is given back, to be forgotten once there is a new scene.
    """
    here, there = source.resolve(), out.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise ValueError(
            f"{out}: lies within {source}, or that in it; expected a folder apart from the photos:"
            " give another with -o"
        )
    replaced = Replaced(out, OURS)
    ours = (out / ".prep").is_dir() or replaced.is_there
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not ours):
        raise FileExistsError(
            f"{out} holds something that `splat prep` did not make; give another folder with -o"
        )
    if overwrite:
        worth = (out / "sparse").is_dir() or (out / "transforms.json").is_file()
        replaced.set_aside(worth=worth)
    (out / ".prep").mkdir(parents=True, exist_ok=True)
    return replaced


def named_distance(
    options: PrepOptions, gathering: Gathered, registered: list[str]
) -> tuple[str, str, float] | None:
    """The two photos of --distance, by their names in the scene, and the metres between them."""
    if options.distance is None:
        return None
    one, other, metres = options.distance
    ends = []
    for asked in (one, other):
        name = next((p.name for p in gathering.photos if asked in (p.name, p.source)), None)
        if name is None or name not in registered:
            state = "is no photo of the scene" if name is None else "has no camera pose"
            raise ValueError(
                f"distance is given for {asked}, which {state}; expected two photos with poses,"
                f" such as {registered[0]} {registered[-1]} {metres:g}"
            )
        ends.append(name)
    return ends[0], ends[1], metres


def place_of(photo: Photo) -> tuple[float, float, float] | None:
    """Latitude, longitude and altitude (NaN where unknown) of a photo, or None."""
    if photo.latitude is None or photo.longitude is None:
        return None
    return (
        photo.latitude,
        photo.longitude,
        float("nan" if photo.altitude is None else photo.altitude),
    )
