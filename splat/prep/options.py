"""What a user may ask of `splat prep`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from splat.system.numbers import hint

Matching = Literal["auto", "exhaustive", "sequential", "similar"]
CAMERA_MODELS = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV",
    "OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE",
)  # fmt: skip
"""Models that poses can be found with and that training reads."""


@dataclass(frozen=True)
class PrepOptions:
    """How photographs or a video become a posed scene."""

    frames: int = 150
    """Pictures to take from a video, the sharpest of as many equal spans of time."""
    every: Annotated[float | None, hint("by --frames")] = None
    """Seconds that such a span lasts, in place of --frames."""
    drop_blurry: bool = False
    """Leave out photos that are far less sharp than most; they are named in any case."""
    camera_model: Annotated[str, hint("auto: OPENCV, SIMPLE_RADIAL for few photos")] = "auto"
    """Camera model of COLMAP for all photos, such as OPENCV_FISHEYE."""
    max_side: int = 3200
    """Longest side that features are looked for at, pixels; larger photos are shrunk for that."""
    features: int = 8192
    """Most features of a photo."""
    matching: Matching = "auto"
    """Pairs of photos to compare. exhaustive: all; sequential: neighbours in the order of their
    names, and photos that look alike; similar: photos that look alike or were taken near each
    other, and direct neighbours. auto: sequential for a video, exhaustive for few photos, else
    similar."""
    overlap: int = 10
    """Neighbours on each side that sequential compares."""
    alike: int = 20
    """Photos that look most alike which similar compares with each."""
    frame: Literal["upright", "colmap"] = "upright"
    """upright: z is up, and metres where GPS or --distance say how long they are; colmap: as
    reconstructed."""
    distance: Annotated[tuple[str, str, float] | None, hint("none")] = None
    """Metres between the places of two photos, which sets the scale: A.jpg B.jpg 2.5."""
    side: int = 1600
    """Longest side of the frames that are taken from the videos of a rig, pixels."""
    instants: Annotated[int | None, hint("every frame")] = None
    """Most instants to take from the videos of a rig, evenly spaced."""
    threads: Annotated[int | None, hint("all cores, as far as memory allows")] = None
    """Threads. With one the same photos give the same bytes; with more the last digits may differ
    in large scenes."""
    seed: int = 0
    """Seeds what is drawn at random."""

    def __post_init__(self) -> None:
        for name, least in (
            ("frames", 3), ("max_side", 64), ("features", 64), ("overlap", 1), ("alike", 1),
            ("side", 16), ("seed", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name.replace('_', '-')} is {getattr(self, name)}; expected {least} or more"
                )
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is {self.threads}; expected 1 or more")
        if self.instants is not None and self.instants < 1:
            raise ValueError(f"instants is {self.instants}; expected 1 or more")
        if self.every is not None and not self.every > 0:
            raise ValueError(f"every is {self.every:g}; expected seconds above 0")
        if self.camera_model not in ("auto", *CAMERA_MODELS):
            raise ValueError(
                f"camera-model is {self.camera_model!r}; expected auto or one of"
                f" {', '.join(CAMERA_MODELS)}"
            )
        if self.distance is not None and not self.distance[2] > 0:
            raise ValueError(f"distance is {self.distance[2]:g}; expected metres above 0")
        if self.distance is not None and self.frame == "colmap":
            raise ValueError("distance is given and --frame colmap too; leave one of them out")
