"""`python -m splat.strategies.garment.dressed FOLDER`: a scene of a dressed figure, to try on.

The figure and its garments are our own (`splat.strategies.garment.figure`), drawn as Gaussians:
photos with an alpha channel, masks of the garment, and the body as a mesh with bones.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
import tyro
from jaxtyping import Float
from numpy import ndarray

from splat.mesh import Mesh
from splat.options.verbs import check_free
from splat.render.native import NativeRenderer
from splat.strategies.garment import figure, rig
from splat.strategies.garment.body import Body
from splat.strategies.garment.rows import rows_on, sampled
from splat.system.files import replacing
from splat.types import Camera, Frame, Gaussians
from splat.types import joined as together

Color = Callable[[Float[ndarray, "n 3"]], Float[ndarray, "n 3"]]
FRAME = Frame((0.0, 0.0, 0.0), 1.0)
ROWS = 60_000
"""Gaussians that each of body and garment is drawn with."""
MASKS, BODY = "garments", "body.glb"
"""Where masks and the body lie in a scene."""


def _stripes(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    return _mixed(
        np.sin(points[:, 1] * 2 * math.pi / 0.08) > 0, (0.75, 0.1, 0.12), (0.95, 0.9, 0.8)
    )


def _checks(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    angle = np.arctan2(points[:, 0], points[:, 2]) / 2 / math.pi
    odd = (np.floor(angle * 28) + np.floor(points[:, 1] / 0.07)) % 2 > 0
    return _mixed(odd, (0.1, 0.25, 0.6), (0.25, 0.6, 0.75))


def _dots(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    near = np.linalg.norm((points / 0.06 + 0.5) % 1 - 0.5, axis=1) < 0.33
    return _mixed(near, (0.95, 0.85, 0.25), (0.15, 0.4, 0.25))


def _mixed(chosen: ndarray, one: Sequence[float], other: Sequence[float]) -> Float[ndarray, "n 3"]:
    return np.where(chosen[:, None], np.array(one), np.array(other))


def skin(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n 3"]:
    """Skin, hair above the brow and behind, and shorts."""
    rgb = np.tile([0.78, 0.58, 0.47], (len(points), 1))
    y, z = -points[:, 1], points[:, 2]
    rgb[(y > 1.63) | ((y > 1.55) & (z < -0.01))] = (0.22, 0.14, 0.09)
    return rgb


COLORS: dict[str, Color] = {"shirt": _checks, "trousers": _dots, "dress": _stripes}


def drawn(
    mesh: Mesh, color: Color, share: float, count: int = ROWS, before: Mesh | None = None
) -> Gaussians:
    """A mesh as Gaussians, all of whose features are `share`; `before` is the same mesh where its
    colours are."""
    samples = sampled(mesh, count)
    places = samples.on(mesh)
    colors = color(places if before is None else samples.on(before))
    like = {"mean": torch.zeros(1, 3), "sh": torch.zeros(1, 1, 3)}
    rows = rows_on(places, samples.normals(mesh), samples.spacing, colors, 0.95, FRAME, like)
    return Gaussians(
        rows["mean"], rows["quat"], rows["log_scale"].exp(), rows["opacity_logit"].sigmoid(),
        rows["sh"], 0, features=torch.full((count, 1), share),
    )  # fmt: skip


def ring(
    body: Body, views: int, width: int, height: int, heights: Sequence[float] = (0.15, -0.25)
) -> list[Camera]:
    """Cameras around a body that see all of it, at two heights by turns."""
    low, high = body.mesh.vertices.min(0), body.mesh.vertices.max(0)
    middle, tall = (low + high) / 2, body.height
    away, focal = 1.75 * tall, 1.45 * height
    cameras = []
    for view in range(views):
        angle = 2 * math.pi * view / views
        offset = np.array([math.sin(angle), heights[view % len(heights)], math.cos(angle)])
        cameras.append(_looking(middle + away * offset, middle, focal, width, height))
    return cameras


def _looking(
    eye: Float[ndarray, "3"], at: Float[ndarray, "3"], focal: float, width: int, height: int
) -> Camera:
    ahead = (at - eye) / np.linalg.norm(at - eye)
    right = np.cross([0.0, 1.0, 0.0], ahead)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(ahead, right), ahead])
    pose[:3, 3] = -pose[:3, :3] @ eye
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(pose), K, width, height)


def joined(parts: Sequence[Gaussians]) -> Gaussians:
    """Gaussians of body and garment as one set, features included."""
    features = [part.features for part in parts if part.features is not None]
    return replace(together(parts), features=torch.cat(features))


@torch.no_grad()
def write(
    folder: Path, body: Body, garment: Mesh, color: Color, views: int, width: int, height: int,
    count: int = ROWS,
) -> None:  # fmt: skip
    """Write a scene: `transforms.json`, `images/`, masks in `garments/`, and `body.glb`."""
    for name in ("images", MASKS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rig.write(body, folder / BODY)
    person = drawn(body.mesh, skin, 0.0, count)
    whole = joined([person, drawn(garment, color, 1.0, count)])
    render, frames = NativeRenderer("cpu"), []
    cameras = ring(body, views, width, height)
    for number, camera in enumerate(cameras):
        picture = render(whole, camera)
        assert picture.features is not None
        alpha = picture.alpha.clamp(0, 1)
        rgb = (picture.image / alpha.clamp_min(1e-3)[..., None]).clamp(0, 1)
        rgba = torch.cat([rgb.flip(2), alpha[..., None]], 2)
        name = f"{number:03d}.png"
        _write(folder / "images" / name, (rgba * 255).round().byte().numpy())
        mask = (picture.features[..., 0] > 0.5).byte() * 255
        _write(folder / MASKS / name, mask.numpy())
        turned = np.linalg.inv(camera.world_to_camera.numpy()) @ np.diag([1.0, -1, -1, 1])
        frames.append({"file_path": f"images/{name}", "transform_matrix": turned.tolist()})
    K = cameras[0].K
    scene = {
        "camera_model": "OPENCV", "w": width, "h": height, "fl_x": float(K[0, 0]),
        "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2]), "frames": frames,
    }  # fmt: skip
    with replacing(folder / "transforms.json") as draft:
        draft.write_text(json.dumps(scene, indent=1) + "\n")


def _write(path: Path, image: ndarray) -> None:
    with replacing(path) as draft:
        done, data = cv2.imencode(".png", image)
        assert done
        draft.write_bytes(data.tobytes())


@dataclass(frozen=True)
class Asked:
    """Make a scene of a dressed figure: photos, masks of the garment, and the body."""

    folder: tyro.conf.Positional[Path]
    garment: Literal["shirt", "trousers", "dress"] = "dress"
    """What it wears."""
    views: int = 40
    """Photos all around it."""
    side: int = 480
    """Height of the photos, pixels."""
    overwrite: bool = False
    """Replace what is there."""


def main(asked: Asked) -> None:
    """Write what is asked for."""
    if asked.views < 2 or asked.side < 16:
        raise ValueError(f"views is {asked.views} and side {asked.side}; expected 2 and 16 or more")
    check_free(asked.folder, asked.overwrite)
    garment = figure.GARMENTS[asked.garment]()
    width = round(asked.side * 0.72)
    write(
        asked.folder, figure.body(), garment, COLORS[asked.garment], asked.views, width, asked.side
    )
    rig.write(figure.body("large"), asked.folder / "large.glb")
    rig.write(figure.body().for_dreams(), asked.folder / "dream.glb")
    print(f"{asked.folder}: {asked.views} photos of a {asked.garment}, masks in {MASKS}/, {BODY}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Asked))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"splat.strategies.garment.dressed: {error}")
