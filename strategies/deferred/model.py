"""`Relightable`: rows that are Gaussians with a material, and the light that they are seen by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat import kernels
from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Rows
from splat.core.frame import morton_order
from splat.core.model import Making, Model, add_shapes, module_of
from splat.math import SH_C0
from splat.render.normals import facing_normals
from splat.strategies.deferred.baking import baked, outward
from splat.strategies.deferred.drawing import Shaded
from splat.strategies.deferred.light import Light, Lit
from splat.types import Camera, Gaussians, Renderer

ALBEDO_RATE, ROUGHNESS_RATE, METALLIC_RATE = 5e-3, 2e-2, 1e-2
"""Learning rates of materials, all of them logits."""
ALBEDO, ROUGHNESS, METALLIC = 0.7, 0.35, 0.2
"""Of every row at the start."""
SEEN_FROM = "seen_from"
"""Statistic: normals towards the cameras that saw a row, summed; where the outside is."""


class Relightable(Model):
    """Every row is one Gaussian with a material; a light beside them shades what is blended.

    Columns: `mean`, `quat`, `log_scale`, `opacity_logit` as `Explicit` has them, `albedo` [N, 3]
    (linear RGB), `roughness` [N] and `metallic` [N], all three logits. Normals are the shortest
    axes. The Gaussians it makes carry albedo as harmonics of degree 0, and as features roughness,
    metallic and normal (`splat.strategies.deferred.drawing`).
    """

    unit = "lit Gaussians"
    rows_are_gaussians = True
    left_out = (
        "materials, the light, and reflections beyond harmonics of degree 3: each Gaussian is"
        " shaded by itself and rounded to these"
    )

    def __init__(self, rows: Rows, making: Making, light_rows: int) -> None:
        """`rows` are Gaussians to start from, or the columns of another such model; the panorama
        of the light has `light_rows` rows."""
        super().__init__()
        if "albedo" not in rows:
            rows = _begun(rows)
        self.cloud = Cloud(making.moments)
        add_shapes(self.cloud, rows, making.rates, making.steps)
        self.cloud.add("albedo", rows["albedo"], Rate(ALBEDO_RATE))
        self.cloud.add("roughness", rows["roughness"], Rate(ROUGHNESS_RATE))
        self.cloud.add("metallic", rows["metallic"], Rate(METALLIC_RATE))
        light = Light(light_rows).to(rows["mean"].device)
        self.beside["light"] = light.trained(making.steps)

    @property
    def light(self) -> Light:
        """What is learned of the light."""
        return module_of(self, "light", Light)

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        del step
        plain, roughness, metallic = self._materials()
        features = torch.cat(
            [roughness[:, None], metallic[:, None], facing_normals(plain, camera)], 1
        )
        return _with(plain, features)

    def drawn_by(self, render: Renderer) -> Renderer:
        return Shaded(render, self.light)

    def order_rows(self) -> Int[Tensor, "n"]:
        order = morton_order(self.cloud["mean"].detach())
        self.cloud.reorder(order)
        return order

    @torch.no_grad()
    def bake(self, camera: Camera | None = None) -> Gaussians:
        """With a camera what is drawn for it; else a set for all views, each Gaussian shaded by
        itself as though it were alone, which is fitted by harmonics of degree 3."""
        return self.forward(camera) if camera is not None else self._baked(self.light(), 3)

    @torch.no_grad()
    def sketch(self) -> Gaussians:
        return self._baked(self.light(), 1)

    def normals(self) -> Float[Tensor, "n 3"]:
        """Shortest axes, pointing to where the cameras were that saw them; unit length."""
        cloud = self.cloud
        known = SEEN_FROM in cloud.statistics
        seen = cloud.statistic(SEEN_FROM) if known else torch.zeros_like(cloud["mean"])
        return outward(self._materials()[0], seen)

    def get_extra_state(self) -> dict[str, Any]:
        return self.cloud.state_dict()

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.cloud.load_state_dict(state)

    def _baked(self, light: Lit, degree: int) -> Gaussians:
        plain, roughness, metallic = self._materials()
        return baked(plain, roughness, metallic, self.normals(), light, degree)

    def _materials(self) -> tuple[Gaussians, Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The set in the colours of its albedo; roughness and metallic."""
        cloud = self.cloud
        scales, opacities = kernels.activate(cloud["log_scale"], cloud["opacity_logit"])
        plain = Gaussians(
            means=cloud["mean"],
            quats=cloud["quat"],
            scales=scales,
            opacities=opacities,
            colors=cloud["albedo"].sigmoid(),
        )
        return plain, cloud["roughness"].sigmoid(), cloud["metallic"].sigmoid()


def _with(plain: Gaussians, features: Float[Tensor, "n 5"]) -> Gaussians:
    """The set as renderers shade it."""
    return Gaussians(
        means=plain.means,
        quats=plain.quats,
        scales=plain.scales,
        opacities=plain.opacities,
        colors=((plain.colors - 0.5) / SH_C0)[:, None],
        sh_degree=0,
        features=features,
    )


def _begun(rows: Rows) -> Rows:
    """Columns for Gaussians to start from. Their colours are left behind: how much of them is the
    light's is not known, and bright grey is found to be the best of guesses."""
    mean = rows["mean"]
    shapes = {name: rows[name] for name in ("mean", "quat", "log_scale", "opacity_logit")}

    def even(value: float, *shape: int) -> Tensor:
        return mean.new_full((len(mean), *shape), value).logit()

    return {
        **shapes,
        "albedo": even(ALBEDO, 3),
        "roughness": even(ROUGHNESS),
        "metallic": even(METALLIC),
    }
