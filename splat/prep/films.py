"""Videos frame by frame, by their numbers: what `splat prep` takes of a rig."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from splat.system.files import replacing

QUALITY = 95
"""Of the JPEG of a frame."""
_AGAIN = "expected one that OpenCV's FFMPEG plays: convert it to H.264 in an .mp4, or copy it again"


@dataclass(frozen=True)
class Film:
    """What the header of a video says."""

    path: Path
    rate: float
    """Frames a second."""
    frames: int
    width: int
    """As it is shown, pixels."""
    height: int

    @property
    def name(self) -> str:
        """Of its camera: that of the file, less its suffix."""
        return self.path.stem

    def shrunk(self, side: int) -> tuple[int, int]:
        """Width and height of its frames, no longer than `side`."""
        shrink = max(1.0, max(self.width, self.height) / side)
        return max(1, round(self.width / shrink)), max(1, round(self.height / shrink))


def film_of(path: Path) -> Film:
    """The header of a video; raises ValueError where there is no frame, or no rate."""
    reader = cv2.VideoCapture(str(path))
    try:
        readable, first = reader.read() if reader.isOpened() else (False, None)
        if not readable or first is None or not first.size:
            raise ValueError(f"{path}: holds no frame that can be decoded; {_AGAIN}")
        rate, frames = reader.get(cv2.CAP_PROP_FPS), int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
        if not 0 < rate < 1000:
            raise ValueError(f"{path}: does not say how many frames a second has; {_AGAIN}")
        if frames < 1:  # the header does not say
            frames = 1
            while reader.grab():
                frames += 1
        height, width = first.shape[:2]
        return Film(path, float(rate), frames, width, height)
    finally:
        reader.release()


def frames_of(
    film: Film, folder: Path, wanted: range, side: int, tick: Callable[[int], None]
) -> int:
    """Write frames by their numbers as `00000.jpg` and on, no longer than `side` pixels; how many
    there were. `tick` is told of each."""
    reader, taken = cv2.VideoCapture(str(film.path)), 0
    size = film.shrunk(side)
    try:
        for number in range(wanted.stop):
            if not reader.grab():
                break
            if number not in wanted:
                continue
            readable, pixels = reader.retrieve()
            if not readable or pixels is None or not pixels.size:
                break
            if size != (film.width, film.height):
                pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            done, data = cv2.imencode(
                ".jpg", np.asarray(pixels), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            )
            assert done
            with replacing(folder / f"{taken:05d}.jpg") as draft:
                draft.write_bytes(data.tobytes())
            taken += 1
            tick(taken)
    finally:
        reader.release()
    return taken
