"""Measures of a trained run against an object whose shape, material and light are known.

Lengths are in units of the input, in which the objects of `worlds.studio` have a radius of
about 1. Where a run shows nothing its normal is 90 degrees off, and its depth is 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from splat import mesh
from splat.cli.opened import Opened
from splat.evaluation.evaluate import psnr
from splat.render import drawing_as
from splat.strategies.deferred import panorama
from splat.strategies.deferred.drawing import maps_of
from splat.strategies.deferred.model import Relightable
from splat.strategies.deferred.relit import albedo_scale, light_of, relit
from splat.strategies.sdf.field import Field
from splat.strategies.sdf.rays import met, rays, sections
from splat.strategies.sdf.surface import Learned
from splat.types import Camera, Frame, Needs, Renderer, SceneData, View
from worlds import studio

Corners = tuple[list[float], list[float]]

AWAY = 0.05
"""True distance beyond which a Gaussian is a floater."""
CELLS = 256
"""Of a mesh, along the longest side of the box."""
TRUNCATION = 4
"""Cells before and behind a surface in which depth tells of its distance."""
POINTS = 100_000
"""On a surface that is compared with another."""
MARGIN = 0.1
"""Of the box around the true surface, of its longest side."""
NEAR = 0.1
"""Half sides of the box within which gradients of a learned distance should have length 1."""
SAMPLES = 24
"""Points on a ray through a learned distance."""
SOLID = 0.5
"""Alpha from which a pixel's albedo is compared."""


def against_truth(found: Opened, scene: Path, data: SceneData) -> dict[str, float | None]:
    """All measures, by name; those that a run has nothing for are left out or None."""
    card = studio.card(scene)
    record: dict[str, float | None] = {
        **maps_errors(found, scene, data.test),
        **floaters(found, card.object),
        **surfaces(found, card.object, data.train),
    }
    if (field := field_of(found)) is not None:
        record["eikonal"] = eikonal(field)
    if isinstance(found.seen_by, Relightable):
        record |= relighting(found, scene, data.test)
    return record


def maps_errors(found: Opened, scene: Path, views: Sequence[View]) -> dict[str, float]:
    """Means over views of errors inside the true outline.

    `normal`: degrees, of the blended normals of the Gaussians; `surface_normal`: of what rays meet
    in the learned distance; `depth`: absolute.
    """
    field, errors = field_of(found), dict[str, list[float]]()
    for view in views:
        camera, truth = found.placed(view.camera), studio.truth(scene, view.name)
        inside, normals = truth.mask, truth.normals[truth.mask]
        with torch.no_grad():
            needs = Needs(depth=True, normal=True)
            drawn = found.render(found.seen_by(camera), camera, needs, found.background)
        assert drawn.normal is not None and drawn.depth is not None
        depth = drawn.depth.cpu()[inside] / found.frame.scale
        mine = {
            "normal": degrees(drawn.normal.cpu()[inside], normals),
            "depth": float((depth - truth.depth[inside]).abs().mean()),
        }
        if field is not None:
            pixels = inside.flatten().nonzero().squeeze(1).to(field.box.device)
            mine["surface_normal"] = degrees(normals_met(field, camera, pixels).cpu(), normals)
        for name, value in mine.items():
            errors.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in errors.items()}


@torch.no_grad()
def normals_met(field: Field, camera: Camera, pixels: Int[Tensor, "r"]) -> Float[Tensor, "r 3"]:
    """Normals of a learned distance through pixels, numbered row by row; not of unit length."""
    draws = torch.Generator(field.box.device).manual_seed(0)
    through = rays(camera, field, pixels)
    none = field.box.new_zeros(0, 3)
    normals: Tensor = met(through, field, sections(through, field, SAMPLES, draws), none).normal
    return normals


def degrees(found: Float[Tensor, "n 3"], truth: Float[Tensor, "n 3"]) -> float:
    """The mean angle between directions of any length; 90 for one of no length."""
    cosine = (normalize(found.double(), dim=1) * normalize(truth.double(), dim=1)).sum(1)
    return float(torch.rad2deg(cosine.clamp(-1, 1).acos()).mean())


def floaters(found: Opened, name: str) -> dict[str, float]:
    """Shares of the Gaussians whose centres are away from the surface of the object `name`.

    `floaters` on either side, `floaters_outside` outside; `..._weighted` are shares of opacity.
    """
    frame, opacity = found.frame, found.gaussians.opacities.double().cpu()
    centre = torch.tensor(frame.centre, dtype=torch.float64)
    distance = studio.sdf(name)(found.gaussians.means.double().cpu() / frame.scale + centre)
    record = {}
    for what, away in (
        ("floaters", distance.abs() > AWAY),
        ("floaters_outside", distance > AWAY),
    ):
        share = away.double()
        record[what] = float(share.mean())
        record[f"{what}_weighted"] = float((share * opacity).sum() / opacity.sum())
    return record


def surfaces(found: Opened, name: str, views: Sequence[View]) -> dict[str, float | None]:
    """Chamfer distances between meshes of a run and the surface of the object `name`.

    `chamfer` is that of the learned distance where there is one, else of fused depth, which is
    `chamfer_depth` in any case; `accuracy` and `completeness` are its halves. None without a mesh.
    """
    low, high = boxed(name, found.frame)
    voxel = max(b - a for a, b in zip(low, high, strict=True)) / CELLS
    truncation = TRUNCATION * voxel
    cameras = [found.placed(view.camera) for view in views]
    pictures = (
        mesh.depth_picture(
            found.seen_by(camera), camera, found.render, found.background, truncation
        )
        for camera in cameras
    )
    best = by_depth = _apart(mesh.from_depth(pictures, low, high, voxel, truncation), found, name)
    if (surface := found.surface) is not None:
        # Beyond its own box a learned distance means nothing.
        low = [max(pair) for pair in zip(low, surface.box[0], strict=True)]
        high = [min(pair) for pair in zip(high, surface.box[1], strict=True)]
        cells = max(1, round(max(b - a for a, b in zip(low, high, strict=True)) / voxel))
        made = mesh.from_distance(surface, low, high, cells, found.render.device)
        best = _apart(made, found, name)
    halves = best or (None, None)
    return {
        "chamfer": None if best is None else sum(best) / 2,
        "accuracy": halves[0],
        "completeness": halves[1],
        "chamfer_depth": None if by_depth is None else sum(by_depth) / 2,
    }


def _apart(made: mesh.Mesh, found: Opened, name: str) -> tuple[float, float] | None:
    """Mean distances from a mesh in the frame of training to the true surface, and back."""
    made = mesh.tidied(made)
    if not len(made.faces):
        return None
    return mesh.chamfer(
        mesh.surface_points(made.out_of(found.frame), POINTS), true_surface(name).points
    )


@dataclass(frozen=True)
class TrueSurface:
    """Of an object."""

    points: mesh.mesh.Points
    low: tuple[float, ...]
    """Corners of the box that all meshes of it are made in."""
    high: tuple[float, ...]


@functools.lru_cache(maxsize=4)
def true_surface(name: str) -> TrueSurface:
    """By marching cubes of the exact distance."""
    reach = [studio.RADIUS] * 3
    made = mesh.from_distance(studio.sdf(name), [-r for r in reach], reach, CELLS)
    low, high = made.vertices.min(0), made.vertices.max(0)
    margin = MARGIN * float((high - low).max())
    corners = (low - margin).tolist(), (high + margin).tolist()
    return TrueSurface(mesh.surface_points(made, POINTS), *map(tuple, corners))


def boxed(name: str, frame: Frame) -> Corners:
    """The box of all meshes of an object, in the frame of training."""
    truth = true_surface(name)
    low, high = (
        [frame.scale * (x - c) for x, c in zip(corner, frame.centre, strict=True)]
        for corner in (truth.low, truth.high)
    )
    return low, high


@torch.no_grad()
def eikonal(field: Field, points: int = 200_000) -> float:
    """Mean | |gradient| - 1 | of a learned distance near its surface; NaN where it has none."""
    draws = torch.Generator().manual_seed(0)
    u = (2 * torch.rand(points, 3, generator=draws) - 1).to(field.box.device)
    u = u[field.value(u).abs() < NEAR]
    return float((field(u)[1].norm(dim=1) - 1).abs().mean()) if len(u) else math.nan


def field_of(found: Opened) -> Field | None:
    """The distance that was learned beside a run."""
    return found.surface.field if isinstance(found.surface, Learned) else None


def relighting(found: Opened, scene: Path, views: Sequence[View]) -> dict[str, float]:
    """PSNR of whole pictures under each light that no photo was taken under, mean over views.

    `relit_LIGHT` as learned; `relit_LIGHT_scaled` with albedo times the factors by channel that
    bring it nearest to the true one (linear, least squares over all views).
    """
    card, scale = studio.card(scene), scale_of_albedo(found, scene, views)
    record = {}
    for light in card.unseen:
        for end, factors in (("", None), ("_scaled", scale)):
            render = under(found, scene, light, card.exposures, factors)
            values = [
                psnr(drawn_by(render, found, view), true_picture(found, scene, view, light))
                for view in views
            ]
            record[f"relit_{light}{end}"] = sum(values) / len(values)
    return record


def under(
    found: Opened,
    scene: Path,
    light: str,
    exposures: Mapping[str, float],
    scale: Float[Tensor, "3"] | None = None,
) -> Renderer:
    """What draws a relightable run under a light of the scene, exposed as its pictures were."""
    assert isinstance(found.seen_by, Relightable)
    plain = drawing_as(found.drawing, found.frame, found.render.device)
    file, stops = scene / "lights" / f"{light}.hdr", math.log2(exposures[light])
    # As many rows as the file has: with those of the learned light mirrors would be blurred.
    shining = light_of(found.seen_by, str(file), rows=len(panorama.read(file)), stops=stops)
    return relit(found.seen_by, plain, shining, albedo_scale=scale)


def scale_of_albedo(found: Opened, scene: Path, views: Sequence[View]) -> Float[Tensor, "3"]:
    """Factors of the learned albedo, over all pixels of the views that show the object."""
    mine, true = [], []
    for view in views:
        camera, truth = found.placed(view.camera), studio.truth(scene, view.name)
        with torch.no_grad():
            drawn = found.render(found.seen_by(camera), camera, Needs(), None)
        counts = truth.mask & (drawn.alpha.cpu() >= SOLID)
        mine.append(maps_of(drawn).albedo.cpu()[counts])
        true.append(truth.albedo[counts])
    return albedo_scale(torch.cat(mine), torch.cat(true)).to(found.render.device)


def drawn_by(render: Renderer, found: Opened, view: View) -> Float[Tensor, "h w 3"]:
    """A view of a run, over its background; on the CPU, in [0, 1]."""
    camera = found.placed(view.camera)
    with torch.no_grad():
        image = render(found.seen_by(camera), camera, Needs(), found.background).image
    return image.cpu().clamp(0, 1)


def true_picture(found: Opened, scene: Path, view: View, light: str) -> Float[Tensor, "h w 3"]:
    """A test view under a light, over the background that the run was trained with."""
    picture = studio.relit(scene, light, view.name).float() / 255
    alpha = picture[..., 3:]
    behind = torch.zeros(3) if found.background is None else found.background.cpu()
    return alpha * picture[..., :3] + (1 - alpha) * behind
