"""Frames of a video: the sharpest of each of many equal spans of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from splat.prep.photos import Photo
from splat.prep.quality import STILL, Grey, same, sharpness, shrunk_copy, thumbnail
from splat.system.files import replacing

CANDIDATES = 8
"""Frames of a span that are judged; others are skipped, which is faster."""
SIDE = 512
"""Longest side of the copy that frames are judged by, pixels."""


@dataclass(frozen=True)
class _Frame:
    number: int
    pixels: npt.NDArray[np.uint8]
    sharpness: float
    thumbnail: Grey


@dataclass(frozen=True)
class Picked:
    """The frames that were taken from a video."""

    photos: tuple[Photo, ...]
    still: int
    """Number of spans left out, since they show what the span before shows."""
    frames: int
    """Number of frames that could be decoded."""
    promised: int
    """Number of frames by the file's header, 0 where it does not say."""


def pick_frames(
    video: Path, images: Path, frames: int, every: float | None, tick: Callable[[int, int], None]
) -> Picked:
    """Write frames as `frame_00001.jpg` and on; `tick` is told frames read and to read."""
    reader = cv2.VideoCapture(str(video))
    try:
        promised = max(0, int(reader.get(cv2.CAP_PROP_FRAME_COUNT)))
        rate = reader.get(cv2.CAP_PROP_FPS)
        rate = rate if 0 < rate < 1000 else 30.0
        if not reader.isOpened():
            raise ValueError(
                f"{video}: cannot be opened as a video; expected one that OpenCV's FFMPEG plays:"
                " convert it to H.264 in an .mp4, or copy it again"
            )
        total = promised or _counted(video)
        span = every * rate if every is not None else total / min(frames, max(1, total // 2))
        kept: list[Photo] = []
        last: _Frame | None = None
        still = read = 0
        for window_best in _sharpest(reader, max(1.0, span), lambda n: tick(n, total)):
            best, read = window_best
            if best is None:
                continue
            if last is not None and same(best.thumbnail, [last.thumbnail], STILL) is not None:
                still += 1
                continue
            last = best
            kept.append(_saved(best, images, f"frame_{len(kept) + 1:05d}.jpg", video, rate))
    finally:
        reader.release()
    if not read:
        raise ValueError(
            f"{video}: holds no frame that can be decoded; expected a video that OpenCV's FFMPEG"
            " plays: convert it to H.264 in an .mp4, or copy it again"
        )
    return Picked(tuple(kept), still, read, promised)


def _counted(video: Path) -> int:
    """Number of frames of a file whose header does not say it."""
    reader, count = cv2.VideoCapture(str(video)), 0
    while reader.grab():
        count += 1
    reader.release()
    return count


def _sharpest(
    reader: cv2.VideoCapture, span: float, tick: Callable[[int], None]
) -> Iterator[tuple[_Frame | None, int]]:
    """The sharpest frame of each span of so many frames, and the frames read so far.

    One frame is held at a time. The last span counts if at least half of it is there.
    """
    step = max(1, math.ceil(span / CANDIDATES))
    best: _Frame | None = None
    window = number = 0
    while reader.grab():
        if number >= (window + 1) * span:
            yield best, number
            window, best = int(number / span), None
        if (number - math.ceil(window * span)) % step == 0:
            readable, pixels = reader.retrieve()
            if readable and pixels is not None and pixels.size:
                frame = _judged(number, np.asarray(pixels, np.uint8))
                if best is None or frame.sharpness > best.sharpness:
                    best = frame
        number += 1
        tick(number)
    yield (best if number - window * span >= span / 2 or window == 0 else None), number


def _judged(number: int, pixels: npt.NDArray[np.uint8]) -> _Frame:
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    small = shrunk_copy(grey, SIDE)
    return _Frame(number, pixels, sharpness(small), thumbnail(small))


def _saved(frame: _Frame, images: Path, name: str, video: Path, rate: float) -> Photo:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    done, data = cv2.imencode(".jpg", frame.pixels, quality)
    assert done
    with replacing(images / name) as draft:
        draft.write_bytes(data.tobytes())
    height, width = frame.pixels.shape[:2]
    return Photo(
        name, video.name, width, height, sharpness=frame.sharpness, time=frame.number / rate
    )
