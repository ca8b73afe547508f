"""Pictures beside the figures of `surface.py`: one test view by every recipe, the truth above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from surface_truth import drawn_by, true_picture, under
from torch import Tensor
from torch.nn.functional import normalize

from splat.cli.opened import Opened
from splat.photos.photo import photograph
from splat.render.video import write_png
from splat.scene import shrunk
from splat.strategies.deferred.model import Relightable
from splat.types import Camera, Needs, SceneData, View
from worlds import studio

TITLE = 22
"""Height of the line of text above a strip, pixels."""


def write_strips(
    found: Opened, scene: Path, data: SceneData, name: str, folder: Path, max_side: int
) -> None:
    """The strip of a run as `strips/NAME.png`, and that of the truth as `strips/SCENE-truth.png`.

    A test view as it is drawn, its normals, and the view under the first unseen light.
    """
    view = (data.test or data.train)[0]
    known = (scene / "studio.json").is_file()
    size = view.camera if known else shrunk(view.camera, 1, max_side)
    camera = found.placed(size)
    with torch.no_grad():
        drawn = found.render(found.seen_by(camera), camera, Needs(normal=True), found.background)
    assert drawn.normal is not None
    seen = (drawn.alpha > 0.5).cpu()[..., None]
    parts = [drawn.image.cpu().clamp(0, 1), shown(drawn.normal.cpu(), seen)]
    light = studio.card(scene).unseen[:1] if known else ()
    if light and isinstance(found.seen_by, Relightable):
        render = under(found, scene, light[0], studio.card(scene).exposures)
        parts.append(drawn_by(render, found, view))
    write_png(torch.cat(parts, 1), folder / "strips" / f"{name}.png")
    truth = [photo_of(found, view, size).float() / 255]
    if known:
        maps = studio.truth(scene, view.name)
        truth.append(shown(maps.normals, maps.mask[..., None]))
        truth += [true_picture(found, scene, view, each) for each in light]
    write_png(torch.cat(truth, 1), folder / "strips" / f"{scene.name}-truth.png")


def write_sheet(scene: str, strips: Sequence[tuple[str, str]], folder: Path) -> Path | None:
    """Strips of a scene, by name and title, one below the other; None where there are none."""
    named = [(f"{scene}-truth", "photo, and what is known"), *strips]
    files = [(folder / "strips" / f"{name}.png", title) for name, title in named]
    decoded = [(cv2.imread(str(file)), title) for file, title in files if file.is_file()]
    read = [(strip, title) for strip, title in decoded if strip is not None]
    if not read:
        return None
    width = max(strip.shape[1] for strip, _ in read)
    rows = [row for strip, title in read for row in (titled(title, width), widened(strip, width))]
    sheet = torch.from_numpy(np.concatenate(rows)[..., ::-1].copy()).float() / 255
    path = folder / f"{scene}.png"
    write_png(sheet, path)
    return path


def shown(normals: Float[Tensor, "h w 3"], seen: Float[Tensor, "h w 1"]) -> Float[Tensor, "h w 3"]:
    """World normals as colours over white, -1 to 1 as 0 to 1."""
    return torch.where(seen, (normalize(normals, dim=-1) + 1) / 2, 1.0)


def photo_of(found: Opened, view: View, size: Camera) -> UInt8[Tensor, "h w 3"]:
    """The photo over the background of the run, of the size of a camera."""
    r, g, b = (0.0, 0.0, 0.0) if found.background is None else found.background.tolist()
    return torch.from_numpy(photograph(view, size.width, size.height, (r, g, b), "transparent")[0])


def titled(text: str, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """A line of text, black on white."""
    line = np.full((TITLE, width, 3), 255, np.uint8)
    place, font = (4, TITLE - 7), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(line, text, place, font, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return line


def widened(strip: UInt8[np.ndarray, "h w 3"], width: int) -> UInt8[np.ndarray, "h w 3"]:
    """White to the right of it."""
    return np.pad(strip, ((0, 0), (0, width - strip.shape[1]), (0, 0)), constant_values=255)
