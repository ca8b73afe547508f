"""Pictures and videos, written: the only place that codes videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from splat.system.files import replacing

CODECS: dict[str, dict[str, dict[str, str]]] = {
    ".mp4": {
        "libx264": {"crf": "18", "preset": "medium"},
        "h264": {"b": "8M"},
        "libvpx-vp9": {"crf": "24", "b": "0"},
    },
    ".webm": {"libvpx-vp9": {"crf": "24", "b": "0"}},
}
"""Encoders by the end of a name, the first that is there is taken, and what they are told: about
as good as the pictures themselves. Browsers play all of them."""
MOVING = {".gif": "GIF", ".webp": "WEBP"}
"""Pictures that move, by the end of a name: they loop, and show in a README."""
SUFFIXES = (*CODECS, *MOVING)
INSTALL = "pip install 'splat-toolkit[video]'"
"""What brings PyAV: an extra, as it is a tenth of what a plain install would fetch with it."""
_BT709 = 1
"""Number of ITU-R BT.709 in coded video: how players turn it into RGB again."""


def write_video(
    frames: Iterable[Float[Tensor, "h w 3"]], path: str | Path, fps: float = 30.0
) -> int:
    """Write frames in [0, 1] and say how many: to a file (`SUFFIXES`), or to a folder as 00000.png.

    A video keeps the size of its first frame, less a row or column where that is odd.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in CODECS:
        with replacing(path) as draft:
            return write_film(frames, draft, fps)
    if suffix in MOVING:
        with replacing(path) as draft:
            return _write_moving(frames, draft, fps)
    if suffix and not path.is_dir():
        raise ValueError(
            f"cannot write frames to {path}; give a name ending in {', '.join(SUFFIXES)}, or a"
            " folder"
        )
    count = 0
    for count, frame in enumerate(frames, 1):
        write_png(frame, path / f"{count - 1:05d}.png")
    if not count:
        raise ValueError(f"no frames to write to {path}; ask for at least one")
    return count


def write_png(image: Float[Tensor, "h w 3"], path: Path) -> None:
    """Write a picture in [0, 1] as an 8-bit PNG."""
    data = png_bytes(image)
    with replacing(path) as draft:
        draft.write_bytes(data)


def png_bytes(image: Float[Tensor, "h w 3"]) -> bytes:
    """A picture in [0, 1] as an 8-bit PNG."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(_bytes(image)[..., ::-1]))
    return data.tobytes()


def write_film(frames: Iterable[Float[Tensor, "h w 3"]], path: Path, fps: float) -> int:
    """Write a video that browsers play (`CODECS`) to a draft; how many pictures it has."""
    av, count, suffix = library(), 0, path.suffix.lower()
    rate = Fraction(fps).limit_denominator(1001)
    codec, options = encoder(av, suffix)
    # The same pictures make the same bytes; a page shows an .mp4 before it has all of it.
    told = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if suffix == ".mp4" else {})
    with av.open(str(path), "w", options=told) as film:
        video: Any = None
        for pixels in _even(frames):
            count += 1
            if video is None:
                video = film.add_stream(codec, rate=rate, options=options)
                video.height, video.width, video.pix_fmt = *pixels.shape[:2], "yuv420p"
                context = video.codec_context
                context.colorspace = context.color_primaries = context.color_trc = _BT709
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
            film.mux(video.encode(frame))
        if video is not None:
            film.mux(video.encode(None))
    if not count:
        raise ValueError("no frames for the video; ask for at least one")
    return count


def usual_suffix() -> str:
    """How names end that nobody gave: `.mp4`, or where PyAV is not installed `.webp`."""
    return ".mp4" if find_spec("av") else ".webp"


def library() -> Any:
    """PyAV; ModuleNotFoundError says how to install it."""
    try:
        import av
    except (ImportError, OSError):
        raise ModuleNotFoundError(
            f"PyAV is not installed; expected it for videos: {INSTALL}, or give a name ending in"
            f" {' or '.join(MOVING)}, or a folder"
        ) from None
    return av


def encoder(av: Any, suffix: str) -> tuple[str, dict[str, str]]:
    """The encoder for names that end so, and what it is told; ValueError where there is none."""
    for name, options in CODECS[suffix].items():
        try:
            av.codec.Codec(name, "w")
        except ValueError:  # it is not in this build
            continue
        return name, options
    raise ValueError(
        f"PyAV codes no video for {suffix} here, it has none of {', '.join(CODECS[suffix])};"
        f" give a name ending in {' or '.join(MOVING)}, or a folder"
    )


def _write_moving(frames: Iterable[Float[Tensor, "h w 3"]], path: Path, fps: float) -> int:
    """Write a picture that moves, over and over, to a draft; how many pictures it has."""
    kind, count = MOVING[path.suffix.lower()], 0

    def counted() -> Iterator[Image.Image]:
        nonlocal count
        for pixels in _even(frames):
            count += 1
            picture = Image.fromarray(pixels)
            yield _dithered(picture) if kind == "GIF" else picture

    pictures = counted()
    first = next(pictures, None)
    if first is None:
        raise ValueError("no frames for the picture; ask for at least one")
    more = {"quality": 90} if kind == "WEBP" else {}
    first.save(
        path, kind, save_all=True, append_images=pictures, duration=1000 / fps, loop=0, **more
    )
    return count


def _dithered(picture: Image.Image) -> Image.Image:
    """A picture in the 256 colours that suit it best."""
    few = picture.copy()
    few.thumbnail((160, 160), Image.Resampling.NEAREST)
    palette = few.quantize(256, Image.Quantize.MEDIANCUT, kmeans=1)
    return picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def size_of(out: Path, width: int, height: int) -> tuple[int, int]:
    """Width and height of pictures of this size as they are written to a file, or to a folder."""
    return (width, height) if not out.suffix else (max(2, width // 2 * 2), max(2, height // 2 * 2))


def _even(frames: Iterable[Float[Tensor, "h w 3"]]) -> Iterator[NDArray[np.uint8]]:
    """Frames as bytes, all of one size that codecs can take."""
    size: tuple[int, ...] | None = None
    for number, frame in enumerate(frames, 1):
        pixels = _bytes(frame)
        pixels = pixels[: pixels.shape[0] & ~1, : pixels.shape[1] & ~1]
        size = size or pixels.shape
        if pixels.shape != size:
            raise ValueError(f"frame {number} has another size than the first, {size[:2]}")
        yield np.ascontiguousarray(pixels)


def _bytes(image: Float[Tensor, "h w 3"]) -> NDArray[np.uint8]:
    return (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
