"""Image formation of 3D Gaussian Splatting in plain torch: the oracle every renderer is held to.

It follows gsplat 1.5.3's `rasterization` for pinhole cameras, in the dtype it is given, and blends
densely: every shown Gaussian meets every pixel. What a threshold selects (culling, 1/255, the
early stop, the depth order) carries no gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ALPHA_LEAST = 1 / 255
"""A Gaussian fainter than this at a pixel is skipped there."""
ALPHA_MOST = 0.999
TRANSMITTANCE_LEAST = 1e-4
"""A pixel is finished before the Gaussian that would leave it this much or less."""
EXTENT_MOST = 3.33
"""Standard deviations; never reached while opacities are at most 1, see `_radii`."""
FIELD_MARGIN = 0.3
"""How far past the image's edge, in half fields of view, the Jacobian still follows the mean."""


class Projection(NamedTuple):
    """Gaussians on screen, one row each; rows with `depth` outside [near, far] mean nothing."""

    means2d: Float[Tensor, "n 2"]
    depth: Float[Tensor, "n"]
    covariance: Float[Tensor, "n 2 2"]
    """Pixels squared, with the low-pass `eps2d` added."""
    compensation: Float[Tensor, "n"]
    """sqrt(det before / det after the low-pass), 0 where the former is not positive."""
    straight: Bool[Tensor, "n"]
    """Whether the Jacobian is that of the mean itself, not of a place nearer to the picture."""


def render(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    opacities: Float[Tensor, "n"],
    colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"],
    sh_degree: int | None,
    world_to_camera: Float[Tensor, "4 4"],
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    width: int,
    height: int,
    *,
    background: Float[Tensor, "3"] | None = None,
    features: Float[Tensor, "n f"] | None = None,
    antialiased: bool = False,
    eps2d: float = 0.3,
    near: float = 0.01,
    far: float = 1e10,
    radius_clip: float = 0.0,
    beside: bool = True,
) -> dict[str, Tensor]:
    """A picture and what led to it.

    `image` [h, w, 3]; `alpha` [h, w]; `depth` [h, w], blended camera z over 0, not divided by
    alpha; `features` [h, w, f] (f = 0 without features), over 0.
    `means2d` [n, 2], pixels: after backward its `.grad` is the signed screen gradient.
    `radii` [n]: longer half extent, rounded up to whole pixels as gsplat does, 0 where culled.
    `order` [m]: the shown Gaussians, front to back; `deltas` [h * w, m, 2]: their means relative
    to the pixels, whose `.grad` holds each pixel's share (see `absolute_gradient`).
    `margin` [h, w]: smallest relative distance |value / threshold - 1|, over the Gaussians that
    the pixel looks at before it is finished, of their alpha (before it is capped) to 1/255 and
    to 0.999, and of the transmittance behind them to 1e-4; infinite where no Gaussian is looked
    at. Where it is small (below 1e-4, say), a renderer that rounds may decide otherwise. It knows
    nothing of near and far, nor of ties in depth; other culling does not touch the picture.
    `values` [h * w, m], `opacities` [m] and `rgb` [m, 3] are those of the shown ones as drawn.
    """
    intrinsics = (fx, fy, cx, cy, width, height)
    seen = project(means, quats, scales, world_to_camera, intrinsics, eps2d, near, far)
    _keep_gradient(seen.means2d)
    if antialiased:
        opacities = opacities * seen.compensation
    inside = (seen.depth >= near) & (seen.depth <= far) & (seen.straight | beside)
    radii = _radii(seen, opacities, inside, width, height, radius_clip)
    shown = radii.nonzero()[:, 0]
    order = shown[seen.depth[shown].argsort(stable=True)]

    deltas = seen.means2d[order] - _pixel_centres(width, height, means)[:, None]
    _keep_gradient(deltas)
    distance = torch.einsum("pmi,mij,pmj->pm", deltas, seen.covariance[order].inverse(), deltas)
    values = (-distance / 2).exp()
    weights, _, margin = blend(values, opacities[order])
    alpha = weights.sum(1)
    shown_rgb = _rgb(colors, sh_degree, means, world_to_camera, order)
    rgb = weights @ shown_rgb
    if background is not None:
        rgb = rgb + (1 - alpha)[:, None] * background
    extra = means.new_empty(len(means), 0) if features is None else features
    size = (height, width)
    return {
        "image": rgb.unflatten(0, size),
        "alpha": alpha.unflatten(0, size),
        "depth": (weights @ seen.depth[order]).unflatten(0, size),
        "features": (weights @ extra[order]).unflatten(0, size),
        "means2d": seen.means2d,
        "radii": radii,
        "order": order,
        "deltas": deltas,
        "margin": margin.unflatten(0, size),
        "values": values,
        "opacities": opacities[order],
        "rgb": shown_rgb,
    }


def contributions(
    rendered: dict[str, Tensor],
    background: Float[Tensor, "3"],
    maps: Float[Tensor, "h w m"],
) -> dict[str, Tensor]:
    """What each Gaussian did in a picture (`splat.types.Contributions`), by brute force.

    Besides: `strongest` [h, w], -1 where nothing is drawn, and `margin` [h, w], the relative
    distance of a pixel's two largest blending weights.
    """
    order, opacities, rgb = (rendered[name].detach() for name in ("order", "opacities", "rgb"))
    values = rendered["values"].detach().requires_grad_()
    weights, before, _ = blend(values, opacities)
    image = weights @ rgb + (1 - weights.sum(1))[:, None] * background
    slopes = [torch.autograd.grad(each.sum(), values, retain_graph=True)[0] for each in image.T]
    w, drawn = weights.detach(), weights.detach() > 0
    # NumPy's argmax is the first, the nearest, of equals.
    first = torch.from_numpy(w.numpy().argmax(1)) if len(order) else w.new_zeros(len(w)).long()
    none = ~drawn.any(1)
    best = w.topk(min(2, w.shape[1]), 1).values
    margin = 1 - best[:, 1] / best[:, 0] if w.shape[1] > 1 else torch.ones(len(w))
    found = {
        "mass": w.sum(0),
        "hits": drawn.sum(0).to(w),
        "transmitted": (before.detach() * drawn).sum(0),
        "most": w.amax(0),
        "area": first[~none].bincount(minlength=len(order)).to(w),
        "squared": sum(slope.square() for slope in slopes).sum(0),
        "weighted": w.T @ maps.flatten(0, 1).to(w),
    }
    n, size = len(rendered["radii"]), rendered["margin"].shape
    rows = {
        name: values.new_zeros(n, *each.shape[1:]).index_copy_(0, order, each)
        for name, each in ((name, each.detach()) for name, each in found.items())
    }
    rows["strongest"] = order[first].masked_fill(none, -1).view(size)
    rows["margin"] = margin.masked_fill(none, 1).view(size)
    return rows


def absolute_gradient(rendered: dict[str, Tensor]) -> Float[Tensor, "n 2"]:
    """Sum over pixels of |d loss / d mean2d|, each component alone, after backward (AbsGS)."""
    deltas = rendered["deltas"].grad
    assert deltas is not None
    total = torch.zeros_like(rendered["means2d"])
    total[rendered["order"]] = deltas.abs().sum(0)
    return total


def _keep_gradient(tensor: Tensor) -> None:
    if tensor.requires_grad:
        tensor.retain_grad()


def _pixel_centres(width: int, height: int, like: Tensor) -> Float[Tensor, "hw 2"]:
    rows = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    columns = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    return torch.cartesian_prod(rows, columns).flip(1)


def rotations(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3 3"]:
    """Rotation matrices of (w, x, y, z) quaternions of any length but 0."""
    w, x, y, z = (quats / quats.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], 1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], 1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1),
    ]
    return torch.stack(rows, 1)


def project(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n 3"],
    world_to_camera: Float[Tensor, "4 4"],
    intrinsics: tuple[float, float, float, float, int, int],
    eps2d: float,
    near: float,
    far: float,
) -> Projection:
    """Every Gaussian on the screen of a camera with `intrinsics` fx, fy, cx, cy, width, height.

    mean2d is the exact projection; the covariance goes through the Jacobian at a mean moved
    back to `FIELD_MARGIN` past the edges, which are off-centre where the principal point is.
    """
    fx, fy, cx, cy, width, height = intrinsics
    rotation, translation = world_to_camera[:3, :3], world_to_camera[:3, 3]
    x, y, depth = (means @ rotation.T + translation).unbind(1)
    # Rows out of range are culled later; a harmless depth keeps their gradients finite.
    z = torch.where((depth >= near) & (depth <= far), depth, torch.ones_like(depth))
    means2d = torch.stack([fx * x / z + cx, fy * y / z + cy], 1)

    margin_x, margin_y = FIELD_MARGIN * width / (2 * fx), FIELD_MARGIN * height / (2 * fy)
    slope_x = (x / z).clamp(-cx / fx - margin_x, (width - cx) / fx + margin_x)
    slope_y = (y / z).clamp(-cy / fy - margin_y, (height - cy) / fy + margin_y)
    straight = (slope_x == x / z) & (slope_y == y / z)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [fx / z, zero, -fx * slope_x / z, zero, fy / z, -fy * slope_y / z], 1
    ).unflatten(1, (2, 3))

    half = jacobian @ rotation @ rotations(quats) * scales[:, None]
    sharp = half @ half.mT
    blurred = sharp + eps2d * torch.eye(2, dtype=means.dtype, device=means.device)
    ratio = torch.linalg.det(sharp) / torch.linalg.det(blurred)
    root = torch.where(ratio > 0, ratio, torch.ones_like(ratio)).sqrt()
    compensation = torch.where(ratio > 0, root, zero)
    return Projection(means2d, depth, blurred, compensation, straight)


@torch.no_grad()
def _radii(
    seen: Projection,
    opacities: Float[Tensor, "n"],
    inside: Bool[Tensor, "n"],
    width: int,
    height: int,
    radius_clip: float,
) -> Float[Tensor, "n"]:
    """Longer half extent of the rectangle around {alpha >= 1/255}; 0 where nothing is drawn.

    The half extent along x is min(3.33, sqrt(2 ln(255 opacity))) standard deviations. As
    sqrt(2 ln 255) = 3.329, the cap of 3.33 acts on opacities above 1 only, so the rectangle
    holds all pixels with alpha >= 1/255. gsplat tests every pixel of the 16 x 16 tiles that the
    rounded-up rectangle touches, against 1/255 as well: for opacities up to 1 it draws exactly
    the (pixel, Gaussian) pairs with alpha >= 1/255, whatever the tile size, as does this file.
    """
    bright = opacities >= ALPHA_LEAST
    extent = (2 * (opacities.clamp(min=ALPHA_LEAST) / ALPHA_LEAST).log()).sqrt()
    deviations = seen.covariance.diagonal(dim1=1, dim2=2).sqrt()
    radii = (extent.clamp(max=EXTENT_MOST)[:, None] * deviations).ceil()
    size = seen.means2d.new_tensor([width, height])
    on_screen = (seen.means2d + radii > 0) & (seen.means2d - radii < size)
    kept = inside & bright & (radii > radius_clip).any(1) & on_screen.all(1)
    kept &= torch.linalg.det(seen.covariance) > 0
    return torch.where(kept, radii.amax(1), torch.zeros_like(opacities))


def blend(
    values: Float[Tensor, "p m"], opacities: Float[Tensor, "m"]
) -> tuple[Float[Tensor, "p m"], Float[Tensor, "p m"], Float[Tensor, "p"]]:
    """How much of each Gaussian each pixel shows, the transmittance before it, and the margin of
    the pixels' decisions; `values` are the Gaussians' own, 1 at their means."""
    bare = opacities * values
    alpha = bare.clamp(max=ALPHA_MOST)
    with torch.no_grad():
        drawn = alpha >= ALPHA_LEAST
        past = 1 - torch.where(drawn, alpha, torch.zeros_like(alpha))
        behind = past.cumprod(1)
        margin = _margin(bare, behind, looked_at=behind / past > TRANSMITTANCE_LEAST)
        drawn &= behind > TRANSMITTANCE_LEAST
    alpha = torch.where(drawn, alpha, torch.zeros_like(alpha))
    before = (1 - alpha).cumprod(1) / (1 - alpha)
    return alpha * before, before, margin


def _margin(
    bare: Float[Tensor, "p m"], behind: Float[Tensor, "p m"], looked_at: Bool[Tensor, "p m"]
) -> Float[Tensor, "p"]:
    distances = torch.stack(
        [bare / ALPHA_LEAST - 1, bare / ALPHA_MOST - 1, behind / TRANSMITTANCE_LEAST - 1]
    ).abs()
    nearest = distances.amin(0).masked_fill(~looked_at, torch.inf)
    return torch.nn.functional.pad(nearest, (0, 1), value=torch.inf).amin(1)


def _rgb(
    colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"],
    sh_degree: int | None,
    means: Float[Tensor, "n 3"],
    world_to_camera: Float[Tensor, "4 4"],
    order: Int[Tensor, "m"],
) -> Float[Tensor, "m 3"]:
    if sh_degree is None:
        return colors[order]
    centre = -world_to_camera[:3, :3].T @ world_to_camera[:3, 3]
    towards = means[order] - centre
    basis = sh_basis(sh_degree, towards / towards.norm(dim=1, keepdim=True))
    used = colors[order, : basis.shape[1]]
    return (0.5 + torch.einsum("mk,mkc->mc", basis, used)).clamp(min=0)


def sh_basis(degree: int, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n k"]:
    """Real spherical harmonics with the signs of 3DGS files, degrees 0 to 3, unit directions."""
    x, y, z = directions.unbind(1)
    bands = [
        [0.28209479177387814 * torch.ones_like(x)],
        [0.4886025119029199 * value for value in (-y, z, -x)],
        [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ],
        [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (5 * z * z - 1),
            0.3731763325901154 * z * (5 * z * z - 3),
            -0.4570457994644658 * x * (5 * z * z - 1),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ],
    ]
    return torch.stack([value for band in bands[: degree + 1] for value in band], 1)


def ssim(x: Float[Tensor, "h w c"], y: Float[Tensor, "h w c"]) -> Float[Tensor, ""]:
    """Mean structural similarity over pixels and channels, zeros beyond the image's edge.

    Window of 11 x 11 with standard deviation 1.5, C1 = 0.01^2, C2 = 0.03^2, as 3DGS trains with.
    """
    window = (-((torch.arange(11, dtype=x.dtype, device=x.device) - 5) ** 2) / (2 * 1.5**2)).exp()
    window = window / window.sum()
    kernel = torch.outer(window, window)[None, None]

    def mean(values: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(values.permute(2, 0, 1)[:, None], kernel, padding=5)

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    contrast = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
    return (luminance * contrast).mean()


def close(found: Tensor | None, expected: Tensor | None, within: float) -> None:
    """The values are as expected, within a share of the largest of them."""
    assert found is not None and expected is not None and found.shape == expected.shape
    if expected.numel():
        largest = expected.detach().abs().max().clamp_min(1e-30)
        worst = float((found.detach().double() - expected.detach()).abs().max() / largest)
        assert worst <= within, worst


def gradient_of(sdf: Callable[[Tensor], Tensor], points: Tensor, step: float = 1e-5) -> Tensor:
    """By central differences."""
    columns = []
    for axis in torch.eye(3, dtype=points.dtype) * step:
        columns.append((sdf(points + axis) - sdf(points - axis)) / (2 * step))
    return torch.stack(columns, 1)


def check_distance(sdf: Callable[[Tensor], Tensor], a: Tensor, draw: torch.Generator) -> None:
    """It never exceeds the way to another value, and nearly everywhere is that way."""
    # Far pairs find a wrong bound, near ones a steep place.
    for reach in (1.0, 0.05):
        b = a + reach * torch.randn(a.shape, generator=draw).double()
        assert bool(((sdf(a) - sdf(b)).abs() <= (a - b).norm(dim=1) * (1 + 1e-9) + 1e-12).all())
    steep = gradient_of(sdf, a).norm(dim=1)
    assert float(steep.max()) <= 1 + 1e-6 and float(steep.median()) > 0.99


def photometric(
    x: Float[Tensor, "h w c"], y: Float[Tensor, "h w c"], weight: float
) -> Float[Tensor, ""]:
    """(1 - weight) * mean |x - y| + weight * (1 - SSIM)."""
    return (1 - weight) * (x - y).abs().mean() + weight * (1 - ssim(x, y))
