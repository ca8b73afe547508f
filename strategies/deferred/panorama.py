"""Panoramas of light: which way a texel looks, and how they are read, sized, turned and written.

A panorama is equirectangular, [h, 2h, 3], linear RGB. The point (u, v) of it, both in [0, 1], looks
along d = (sin t cos p, sin t sin p, cos t) with t = pi v and p = 2 pi (1/2 - u), in the axes of the
input: the first row is up (+z), the middle column looks along +x, and columns go on towards -y, to
the right of one who stands inside, as in panoramas that cameras take.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy.typing import NDArray
from torch import Tensor

from splat.photos import exr, pictures
from splat.strategies.deferred.color import linear
from splat.system.files import replacing

BRIGHTEST = 1e5
"""Radiance above this is taken for it: one broken texel would else be all the light there is."""


def directions(rows: int) -> Float[Tensor, "h w 3"]:
    """Where the middles of the texels look, for `rows` x 2 `rows`; float64, unit length."""
    t = torch.pi * (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    p = torch.pi * (1 - (torch.arange(2 * rows, dtype=torch.float64) + 0.5) / rows)
    flat = torch.stack([p.cos(), p.sin()], 1)[None] * t.sin()[:, None, None]
    up = t.cos()[:, None, None].expand(-1, 2 * rows, 1)
    return torch.cat([flat, up], 2)


def solid_angles(rows: int) -> Float[Tensor, "h"]:
    """Of a texel in each row, steradians; float64."""
    edges = (torch.pi * torch.arange(rows + 1, dtype=torch.float64) / rows).cos()
    return (edges[:-1] - edges[1:]) * torch.pi / rows


def coordinates(
    direction: Float[Tensor, "3 *n"],
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """(u, v) of directions of any length; differentiable everywhere, at the poles with 0."""
    x, y, z = direction
    level = (x * x + y * y + 1e-20).sqrt()
    return 0.5 - torch.atan2(y, x) / (2 * torch.pi), torch.atan2(level, z) / torch.pi


def read(path: Path) -> Float[Tensor, "h w 3"]:
    """The panorama of a file, as large as it is: .hdr, .exr, or 8 or 16 bit pictures as sRGB."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a panorama, such as studio.hdr")
    found = _of_exr(path) if path.suffix.lower() == ".exr" else pictures.read(path)
    if found.ndim == 2:
        found = cv2.cvtColor(found, cv2.COLOR_GRAY2BGR)
    height, width = found.shape[:2]
    if width != 2 * height or height < 4:
        raise ValueError(
            f"{path} has {width}x{height} pixels; expected a panorama of the whole sphere, twice as"
            " wide as it is high (equirectangular)"
        )
    rgb = torch.from_numpy(np.ascontiguousarray(found[..., 2::-1]).astype(np.float64))
    if found.dtype in (np.uint8, np.uint16):
        return linear(rgb / (255 if found.dtype == np.uint8 else 65535)).float()
    if not bool(rgb.isfinite().any()):
        raise ValueError(f"{path} has no finite value; expected radiance")
    return rgb.nan_to_num(0.0, BRIGHTEST, 0.0).clamp(0, BRIGHTEST).float()


def _of_exr(path: Path) -> Float32[np.ndarray, "h w 3"]:
    """Channels from blue on, as OpenCV has them."""
    channels = exr.read(path)
    missing = [name for name in "BGR" if name not in channels]
    if missing:
        raise ValueError(f"{path} has no channel {missing[0]}; expected a panorama with R, G and B")
    return np.stack([channels[name] for name in "BGR"], 2)


def write(panorama: Float[Tensor, "h w 3"], path: Path) -> None:
    """Write a panorama as Radiance .hdr, whose colours share an exponent of 8 bits."""
    bgr: NDArray[np.float32] = np.ascontiguousarray(
        panorama.detach().cpu().float().numpy()[..., ::-1]
    )
    _, data = cv2.imencode(".hdr", bgr)
    with replacing(path) as draft:
        draft.write_bytes(data.tobytes())


def resized(panorama: Float[Tensor, "h w 3"], rows: int) -> Float[Tensor, "rows 2*rows 3"]:
    """The panorama in `rows` rows: means over solid angle, so that the light stays what it is."""
    given = panorama.double().cpu()
    if len(given) < rows:
        wide = np.concatenate([given[:, -1:], given, given[:, :1]], 1)
        scale = rows / len(given)
        column = (np.arange(2 * rows) + 0.5) / scale + 0.5
        row = (np.arange(rows) + 0.5) / scale - 0.5
        x, y = np.meshgrid(column.astype(np.float32), row.astype(np.float32))
        found = cv2.remap(wide, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return torch.from_numpy(found).to(panorama)
    weight = solid_angles(len(given))[:, None, None]
    # cv2 halves what it is told to, by area; so weights are halved alike.
    size = (2 * rows, rows)
    light = cv2.resize((given * weight).numpy(), size, interpolation=cv2.INTER_AREA)
    share = cv2.resize(
        np.ascontiguousarray(weight[..., 0].expand(-1, given.shape[1]).numpy()),
        size,
        interpolation=cv2.INTER_AREA,
    )
    return torch.from_numpy(light / share[..., None]).to(panorama)


def turned(panorama: Float[Tensor, "h w 3"], degrees: float) -> Float[Tensor, "h w 3"]:
    """The light turned about the z axis, from +x towards +y, linearly between columns."""
    width = panorama.shape[1]
    shift = -degrees / 360 * width
    whole = int(np.floor(shift))
    part = shift - whole
    return (1 - part) * panorama.roll(whole, 1) + part * panorama.roll(whole + 1, 1)
