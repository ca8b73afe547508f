"""`Anchored`: anchors on a grid, each of which makes up to k Gaussians for a camera."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat import kernels
from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Change, Edit, Rows
from splat.core.frame import morton_order, neighbour_distances, spacing_of
from splat.core.model import Making, Model
from splat.math import spread
from splat.strategies.scaffold.bake import baked
from splat.strategies.scaffold.grid import cells, centres, unique
from splat.strategies.scaffold.networks import Networks
from splat.system.foreign import Broken
from splat.types import Camera, Gaussians

SKETCHED = 12
"""Views that a sketch looks from."""
FEATURE_RATE, REACH_RATE = 7.5e-3, 7e-3
OFFSET_RATES = (1e-2, 1e-4)
"""Learning rates (Scaffold-GS, released code). Offsets' fall over the run, the others' at the end
of a short one (`Rates.resting`)."""


def drawn_of(slots: int) -> int:
    """Gaussians that an anchor of so many slots makes in a picture, about: those of no opacity
    are left out."""
    return max(1, slots // 2)


class Anchored(Model):
    """The representation of Scaffold-GS (Lu et al., CVPR 2024, section 3.2).

    Columns: `anchor` [N, 3], the middle of a cell of the grid, which never moves; `feature`
    [N, F]; `reach` [N, 6], log sizes, three that offsets are in units of and three that Gaussians
    are at most as large as; `offset` [N, k, 3]. For a camera three small networks, which read an
    anchor's feature and the direction it is seen from, say what its k Gaussians are; those of no
    opacity are left out. Only anchors in the camera's frustum are asked.
    """

    unit = "anchors"
    own_suffix = ".anchors"
    left_out = (
        "how opacity, size and turn depend on the camera; colours became harmonics, by least"
        " squares over the training views"
    )
    place = "anchor"
    reach = "reach"

    def __init__(
        self,
        rows: Rows,
        making: Making,
        *,
        slots: int = 10,
        features: int = 32,
        hidden: int = 32,
        voxel: float = 0.0,
        distance: bool = False,
        codes: int = 0,
    ) -> None:
        """`rows` are Gaussians to start from, or the columns of another such model.

        `slots` is k, `hidden` the width of the networks. `voxel` is the side of the finest cells,
        frame of training; 0: the median distance between neighbours of the start, or, where that
        begins at random, what a pixel covers there (`pixel_of`). With `distance` the networks read
        how far the camera is, too; `codes` is the length of a photo's code.
        """
        super().__init__()
        self.slots, self.draws, self.distance = slots, drawn_of(slots), distance
        self.settings: dict[str, Any] = {
            "slots": slots,
            "features": features,
            "hidden": hidden,
            "distance": distance,
            "codes": codes,
        }
        if "anchor" not in rows:
            self.voxel = voxel or (
                pixel_of(rows["mean"], making.views)
                if making.at_random
                else spacing_of(rows["mean"])
            )
            rows = _begun(rows["mean"], self.voxel, slots, features)
        self.cloud = Cloud(making.moments)
        add = self.cloud.add
        add("anchor", rows["anchor"], Rate(0.0))
        add("feature", rows["feature"], making.rates.resting(FEATURE_RATE, making.steps))
        add("reach", rows["reach"], making.rates.resting(REACH_RATE, making.steps))
        add("offset", rows["offset"], Rate(*OFFSET_RATES, making.steps))
        draws = torch.Generator().manual_seed(making.seed)
        photos = (len(making.views) or making.photos, codes)
        networks = Networks(features, slots, hidden, photos, draws).to(rows["anchor"].device)
        self.beside["heads"] = networks.trained(making.steps)
        self.heads = networks.heads
        self.views = tuple(making.views)
        self._looked: tuple[Camera, Tensor] | None = None

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        return self._decoded(camera, self._look(camera), step)

    def _decoded(self, camera: Camera, rows: Int[Tensor, "m"], step: int | None) -> Gaussians:
        """What these anchors make for a camera."""
        heads = self.heads(None if step is None else camera.index)
        columns = {name: self.cloud[name] for name in self.cloud.names}
        return decoded(columns, heads, rows, camera, distance=self.distance)

    def rows_for(self, camera: Camera) -> Int[Tensor, "m"]:
        if self._looked is None or self._looked[0] is not camera:
            return self._look(camera)
        return self._looked[1]

    def order_rows(self) -> Int[Tensor, "n"]:
        self._looked = None
        order = morton_order(self.cloud["anchor"].detach())
        self.cloud.reorder(order)
        return order

    def apply(self, edit: Edit | None) -> Change:  # type: ignore[override]
        self._looked = None
        return super().apply(edit)

    @torch.no_grad()
    def bake(self, camera: Camera | None = None) -> Gaussians:
        """With a camera what is drawn for it, in plain colours; else one set for all views.

        That has harmonics of degree 3, and is what all views have in common (`baked`).
        """
        if camera is not None:
            return self.forward(camera)
        return baked(
            lambda camera, rows: self._decoded(camera, rows, None),
            self._look,
            len(self.cloud),
            self.slots,
            self.views,
        )

    @torch.no_grad()
    def sketch(self) -> Gaussians:
        views = [self.views[i] for i in spread(len(self.views), SKETCHED)]

        def made(camera: Camera, rows: Int[Tensor, "m"]) -> Gaussians:
            return self._decoded(camera, rows, None)

        return baked(made, self._look, len(self.cloud), self.slots, views, degree=0)

    def get_extra_state(self) -> dict[str, Any]:
        views = [_packed(camera) for camera in self.views]
        return {**self.cloud.state_dict(), "voxel": self.voxel, "views": views}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.cloud.load_state_dict(state)
        self._looked = None
        self.voxel = float(state["voxel"])
        self.views = tuple(_unpacked(view, self.cloud.device) for view in state["views"])

    def _look(self, camera: Camera) -> Int[Tensor, "m"]:
        """Which anchors a camera may see; what edits and the strategy then ask for again."""
        rows = in_sight({name: self.cloud[name] for name in ("anchor", "reach")}, camera)
        self._looked = (camera, rows)
        return rows


def decoded(
    columns: Rows,
    heads: kernels.Heads,
    rows: Int[Tensor, "m"],
    camera: Camera,
    *,
    distance: bool,
    masks: Float[Tensor, "n k"] | None = None,
) -> Gaussians:
    """What some anchors, given by their columns, make for a camera (`splat.kernels.decode`)."""
    found = kernels.decode(
        columns["anchor"],
        columns["feature"],
        columns["reach"],
        columns["offset"],
        heads,
        rows,
        camera.centre,
        distance=distance,
        masks=masks,
    )
    return Gaussians(
        means=found.means,
        quats=found.quats,
        scales=found.scales,
        opacities=found.opacities,
        colors=found.colors,
        source=found.source,
    )


def in_sight(columns: Rows, camera: Camera) -> Int[Tensor, "m"]:
    """Rows of the anchors, given by their columns, that a camera may see, ascending."""
    return kernels.in_frustum(
        columns["anchor"],
        columns["reach"],
        camera.world_to_camera,
        camera.K,
        camera.width,
        camera.height,
        kernels.NEAR,
    )


def _packed(camera: Camera) -> dict[str, Any]:
    """A camera as a checkpoint keeps it."""
    return {
        "pose": camera.world_to_camera.cpu(),
        "K": camera.K.cpu(),
        "size": [camera.width, camera.height],
        "index": camera.index,
    }


def _unpacked(saved: Mapping[str, Any], device: torch.device) -> Camera:
    width, height = saved["size"]
    pose, K, index = saved["pose"], saved["K"], saved["index"]
    kinds = {pose.dtype, K.dtype, torch.float32}
    if (pose.shape, K.shape, len(kinds)) != ((4, 4), (3, 3), 1) or min(
        width, height, index + 1
    ) < 1:
        raise Broken("has a view that is none; expected a pose, K, a size and a number")
    return Camera(pose, K, width, height, index=index).to(device)


def pixel_of(positions: Float[Tensor, "n 3"], views: Sequence[Camera]) -> float:
    """Side of what a pixel covers at positions: the median over views of the median depth of those
    before a view, over its focal length in pixels; their own spacing where no view sees any."""
    sides = []
    for view in views:
        turn, away = view.world_to_camera[2, :3], view.world_to_camera[2, 3]
        depths = positions @ turn.to(positions) + away.to(positions)
        before = depths[depths > 0]
        if len(before):
            sides.append(float(before.median() / view.K[0, 0]))
    return statistics.median(sides) if sides else spacing_of(positions)


def _begun(positions: Float[Tensor, "n 3"], voxel: float, slots: int, features: int) -> Rows:
    """Anchors in all cells that hold a point, each as large as its neighbours are far."""
    middle = centres(unique(cells(positions, voxel)), voxel)
    n = len(middle)
    size = neighbour_distances(middle).to(middle.device).log()
    return {
        "anchor": middle,
        "feature": middle.new_zeros(n, features),
        "reach": size[:, None].repeat(1, 6),
        "offset": middle.new_zeros(n, slots, 3),
    }
