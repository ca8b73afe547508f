"""Pictures and videos, written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from splat.system.files import replacing


def write_video(
    frames: Iterable[Float[Tensor, "h w 3"]], path: str | Path, fps: float = 30.0
) -> int:
    """Write frames in [0, 1] and say how many: to `.mp4`, or to a folder as 00000.png, ...

    A video keeps the size of its first frame, less a row or column where that is odd.
    """
    path = Path(path)
    if path.suffix.lower() == ".mp4":
        with replacing(path) as draft:
            return write_mp4(frames, draft, fps)
    if path.suffix and not path.is_dir():
        raise ValueError(f"cannot write frames to {path}; give a name ending in .mp4, or a folder")
    count = 0
    for count, frame in enumerate(frames, 1):
        write_png(frame, path / f"{count - 1:05d}.png")
    if not count:
        raise ValueError(f"no frames to write to {path}; ask for at least one")
    return count


def write_png(image: Float[Tensor, "h w 3"], path: Path) -> None:
    """Write a picture in [0, 1] as an 8-bit PNG."""
    _, data = cv2.imencode(".png", _bgr(image))
    with replacing(path) as draft:
        draft.write_bytes(data.tobytes())


def write_mp4(frames: Iterable[Float[Tensor, "h w 3"]], path: Path, fps: float) -> int:
    """Write a video to a draft; how many pictures it has."""
    count, size, video = 0, (0, 0), None
    try:
        for count, frame in enumerate(frames, 1):
            pixels = _bgr(frame)
            if video is None:
                size = (pixels.shape[1] & ~1, pixels.shape[0] & ~1)
                video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
            if (pixels.shape[1] & ~1, pixels.shape[0] & ~1) != size:
                raise ValueError(f"frame {count} has another size than the first, {size}")
            video.write(np.ascontiguousarray(pixels[: size[1], : size[0]]))
    finally:
        if video is not None:
            video.release()
    if not count:
        raise ValueError("no frames for the video; ask for at least one")
    # The writer reports nothing, not even a full disk: what it wrote has to be looked at.
    if int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)) != count:
        raise OSError(f"the video could not be written to {path.parent}; is the disk full?")
    return count


def _bgr(image: Float[Tensor, "h w 3"]) -> NDArray[np.uint8]:
    pixels = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(pixels[..., ::-1])
