"""Rays through the cube of a field: where they are looked at, and what they meet."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.strategies.sdf.field import GRID, Field
from splat.types import Camera

LED_BY = 64
"""Cells of the grid that a ray is led by, evenly spaced."""
EVENLY = 0.1
"""Share of a ray's samples that are spread evenly over it, wherever the surface seems to be."""
WIDEST = 0.05
"""Half sides over which the value at a section's middle and its slope tell those at its ends."""
NEVER = 1e-7


@dataclass(frozen=True)
class Rays:
    """Rays of pixels, in coordinates of the cube."""

    pixels: Int[Tensor, "r"]
    """Numbers of the pixels, row by row."""
    origin: Float[Tensor, "3"]
    direction: Float[Tensor, "r 3"]
    """Unit length."""
    enter: Float[Tensor, "r"]
    """Where they enter the cube; where they miss it, not before `leave`."""
    leave: Float[Tensor, "r"]
    to_depth: Float[Tensor, "r"]
    """Camera depth, frame of training, of a half side along each."""

    @property
    def hit(self) -> Bool[Tensor, "r"]:
        """Whether they pass through the cube."""
        return self.enter < self.leave

    def at(self, t: Float[Tensor, "r s"]) -> Float[Tensor, "r s 3"]:
        """Points along them."""
        return self.origin + t[..., None] * self.direction[:, None]


@dataclass(frozen=True)
class Met:
    """What rays meet."""

    opacity: Float[Tensor, "r"]
    distance: Float[Tensor, "r"]
    """Mean distance along the ray, half sides, over `opacity`."""
    normal: Float[Tensor, "r 3"]
    """Mean gradient of the field, not of unit length."""
    middles: Float[Tensor, "r s"]
    """Where along the rays the field was looked at, half sides."""
    values: Float[Tensor, "m"]
    """Signed distances of all points that were looked at, and of the extra ones after them."""
    slopes: Float[Tensor, "m 3"]
    """Gradients of the signed distance there."""


def chosen(
    camera: Camera, field: Field, count: int, generator: torch.Generator
) -> Int[Tensor, "r"]:
    """Pixels drawn evenly from those that the cube covers, about."""
    device = field.box.device
    signs = torch.tensor([-1.0, 1.0], device=device)
    corners = torch.cartesian_prod(signs, signs, signs) * field.half_side + field.centre
    pose = camera.world_to_camera
    x, y, z = (corners @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    low, high = [0, 0], [camera.width, camera.height]
    if float(z.min()) > 0:
        K = camera.K
        for axis, seen in enumerate((K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2])):
            low[axis] = min(max(int(seen.min()), 0), high[axis] - 1)
            high[axis] = max(min(int(seen.max()) + 1, high[axis]), low[axis] + 1)
    draws = torch.rand(2, count, generator=generator, device=device)
    columns = low[0] + (draws[0] * (high[0] - low[0])).long().clamp_max(high[0] - low[0] - 1)
    rows = low[1] + (draws[1] * (high[1] - low[1])).long().clamp_max(high[1] - low[1] - 1)
    return rows * camera.width + columns


def rays(camera: Camera, field: Field, pixels: Int[Tensor, "r"]) -> Rays:
    """The rays of pixels of a camera (frame of training)."""
    K, pose = camera.K, camera.world_to_camera
    x = (pixels % camera.width + 0.5 - K[0, 2]) / K[0, 0]
    y = (pixels.div(camera.width, rounding_mode="floor") + 0.5 - K[1, 2]) / K[1, 1]
    way = torch.stack([x, y, torch.ones_like(x)], 1)
    length = way.norm(dim=1)
    direction = (way / length[:, None]) @ pose[:3, :3]
    origin = field.placed(camera.centre[None])[0]
    slope = direction.where(direction.abs() > NEVER, torch.full_like(direction, NEVER))
    near, far = (-1 - origin) / slope, (1 - origin) / slope
    enter = torch.minimum(near, far).amax(1).clamp_min(0)
    leave = torch.maximum(near, far).amin(1)
    return Rays(pixels, origin, direction, enter, leave, field.half_side / length)


@torch.no_grad()
def sections(
    found: Rays, field: Field, count: int, generator: torch.Generator
) -> Float[Tensor, "r s+1"]:
    """Ends of `count` sections of each ray, close together where the grid has a surface."""
    n, device = len(found.pixels), field.grid.device
    span = (found.leave - found.enter).clamp_min(1e-4)
    steps = torch.linspace(0, 1, LED_BY + 1, device=device)
    ends = found.enter[:, None] + span[:, None] * steps
    cells = ((found.at(ends) + 1) * (GRID / 2)).long().clamp_(0, GRID - 1)
    place = (cells[..., 0] * GRID + cells[..., 1]) * GRID + cells[..., 2]
    values = field.grid.flatten().index_select(0, place.flatten()).view(n, -1)
    # Sharper than its cells the grid knows nothing.
    sharpness = field.sharpness.clamp_max(0.75 * GRID)
    weight = weights(opaque(values[:, :-1], values[:, 1:], sharpness))[0]
    # Cells are coarse: the surface may be in the section beside the one where they have it.
    pair = torch.maximum(weight[:, 1:], weight[:, :-1])
    weight = 1e-5 + 0.5 * (
        torch.cat([weight[:, :1], pair], 1) + torch.cat([pair, weight[:, -1:]], 1)
    )
    weight = weight / weight.sum(1, keepdim=True) * (1 - EVENLY) + EVENLY / LED_BY
    total = torch.cat([torch.zeros_like(weight[:, :1]), weight.cumsum(1)], 1)
    total = total / total[:, -1:]
    jitter = torch.rand(n, 1, generator=generator, device=device)
    wanted = (torch.arange(count + 1, device=device) + jitter - 0.5).clamp(0, count) / count
    above = torch.searchsorted(total, wanted.contiguous(), right=True).clamp(1, LED_BY)
    low, high = total.gather(1, above - 1), total.gather(1, above)
    share = ((wanted - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    return found.enter[:, None] + span[:, None] * (above - 1 + share) / LED_BY


def opaque(
    before: Float[Tensor, "r s"], after: Float[Tensor, "r s"], sharpness: Tensor
) -> Float[Tensor, "r s"]:
    """Opacity of sections from the distances at their ends (NeuS, Wang et al. 2021, eq. 13)."""
    first, second = (before * sharpness).sigmoid(), (after * sharpness).sigmoid()
    return ((first - second + 1e-5) / (first + 1e-5)).clamp(0, 1)


def weights(alpha: Float[Tensor, "r s"]) -> tuple[Float[Tensor, "r s"], Float[Tensor, "r"]]:
    """Blending weights of sections, front to back, and what is left behind the last."""
    through = (1 - alpha + NEVER).cumprod(1)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], 1)
    return alpha * before, through[:, -1]


def met(
    found: Rays,
    field: Field,
    ends: Float[Tensor, "r s+1"],
    extra: Float[Tensor, "e 3"],
    turned: float = 1.0,
) -> Met:
    """What rays meet in the field, differentiably; `extra` points are looked at along with them.

    The distances at a section's ends follow from value and slope at its middle. Until `turned` is 1
    rays that leave the surface behind count, too: half at 0 (NeuS's annealing).
    """
    middle, width = 0.5 * (ends[:, 1:] + ends[:, :-1]), ends[:, 1:] - ends[:, :-1]
    n, count = middle.shape
    u = torch.cat([found.at(middle).reshape(-1, 3), extra])
    values, slopes = field(u)
    value, slope = values[: n * count].view(n, count), slopes[: n * count].view(n, count, 3)
    fall = (slope * found.direction[:, None]).sum(2)
    fall = -((0.5 - 0.5 * fall).relu() * (1 - turned) + (-fall).relu() * turned)
    # A long section is where the grid has no surface; what holds at its middle says nothing of its
    # ends.
    change = 0.5 * fall * width.clamp_max(WIDEST)
    weight, _ = weights(opaque(value - change, value + change, field.sharpness))
    weight = weight * found.hit[:, None]
    opacity = weight.sum(1)
    distance = (weight * middle).sum(1) / opacity.clamp_min(1e-6)
    normal = (weight[..., None] * slope).sum(1)
    return Met(opacity, distance, normal, middle, values, slopes)
