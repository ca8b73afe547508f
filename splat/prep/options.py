"""What a user may ask of `splat prep`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from splat.system.numbers import hint
from splat.system.ranges import above, at_least, check_fields

Matching = Literal["auto", "exhaustive", "sequential", "similar"]
CAMERA_MODELS = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV",
    "OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE",
)  # fmt: skip
"""Models that poses can be found with and that training reads."""


@dataclass(frozen=True)
class PrepOptions:
    """How photographs or a video become a posed scene."""

    frames: Annotated[int, at_least(3)] = 150
    """Pictures to take from a video, the sharpest of as many equal spans of time."""
    every: Annotated[float | None, above(0, default="by --frames")] = None
    """Seconds that such a span lasts, in place of --frames."""
    drop_blurry: bool = False
    """Leave out photos that are far less sharp than most; they are named in any case."""
    camera_model: Annotated[str, hint("auto: OPENCV, SIMPLE_RADIAL for few photos")] = "auto"
    """Camera model of COLMAP for all photos, such as OPENCV_FISHEYE."""
    max_side: Annotated[int, at_least(64)] = 3200
    """Longest side that features are looked for at, pixels; larger photos are shrunk for that."""
    features: Annotated[int, at_least(64)] = 8192
    """Most features of a photo."""
    matching: Matching = "auto"
    """Pairs of photos to compare. exhaustive: all; sequential: neighbours in the order of their
    names, and photos that look alike; similar: photos that look alike or were taken near each
    other, and direct neighbours. auto: sequential for a video, exhaustive for few photos, else
    similar."""
    overlap: Annotated[int, at_least(1)] = 10
    """Neighbours on each side that sequential compares."""
    alike: Annotated[int, at_least(1)] = 20
    """Photos that look most alike which similar compares with each."""
    frame: Literal["upright", "colmap"] = "upright"
    """upright: z is up, and metres where GPS or --distance say how long they are; colmap: as
    reconstructed."""
    distance: Annotated[tuple[str, str, float] | None, above(0, default="none")] = None
    """Metres between the places of two photos, which sets the scale: A.jpg B.jpg 2.5."""
    side: Annotated[int, at_least(16)] = 1600
    """Longest side of the frames that are taken from the videos of a rig, pixels."""
    instants: Annotated[int | None, at_least(1, default="every frame")] = None
    """Most instants to take from the videos of a rig, evenly spaced."""
    threads: Annotated[int | None, at_least(1, default="all cores, as far as memory allows")] = None
    """Threads. With one the same photos give the same bytes; with more the last digits may differ
    in large scenes."""
    seed: Annotated[int, at_least(0)] = 0
    """Seeds what is drawn at random."""

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        if self.camera_model not in ("auto", *CAMERA_MODELS):
            raise ValueError(
                f"camera-model is {self.camera_model!r}; expected auto or one of"
                f" {', '.join(CAMERA_MODELS)}"
            )
        if self.distance is not None and self.frame == "colmap":
            raise ValueError("distance is given and --frame colmap too; leave one of them out")
