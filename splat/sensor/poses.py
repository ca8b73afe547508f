"""Pose refinement: a small rigid motion for each camera, learned with the scene."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splat.core.column import Rate
from splat.core.maps import LUMA
from splat.core.model import TrainedModule
from splat.core.objective import Objective
from splat.core.step import Step
from splat.sensor.newton import MOST_PIXELS, Newton, error_curvature
from splat.types import Batch, Needs, Rendered

RATE, RATE_END = 1.0, 0.3
"""Learning rate at the start and the end of a run: share of a Newton step that is taken."""
FARTHEST = 0.005
"""Largest motion of a camera in a step, radians and extents."""
MOMENTUM = 0.7
"""Momentum: neighbours that are off together are slow to correct, since the scene follows them."""
EXPECTED = 0.03
"""Standard deviation of errors of poses, for the prior: radians, extents."""
PRIOR = 1e-4
"""Weight of the prior."""


def exponential(twist: Float[Tensor, "6"]) -> Float[Tensor, "4 4"]:
    """The rigid motion of a twist, rotation (radians) first: the exponential map of SE(3).

    In closed form (Rodrigues; e.g. Sola et al. 2018, A micro Lie theory, eq. 172-174);
    differentiable at zero.
    """
    omega, v = twist[:3], twist[3:]
    square = (omega * omega).sum()
    small = square < 1e-8
    angle = square.where(~small, torch.ones_like(square)).sqrt()
    a = torch.where(small, 1 - square / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / angle.square())
    c = torch.where(small, 1 / 6 - square / 120, (angle - angle.sin()) / angle**3)
    x, y, z = omega.unbind()
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    twice = cross @ cross
    eye = torch.eye(3, dtype=twist.dtype, device=twist.device)
    rotation = eye + a * cross + b * twice
    shift = (eye + b * cross + c * twice) @ v
    last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=twist.dtype, device=twist.device)
    return torch.cat([torch.cat([rotation, shift[:, None]], 1), last])


class Poses(nn.Module):
    """A twist for each training view, or for each camera that took several from one place, in its
    own axes; zero: it stands as given.

    The residual is multiplied from the left, exp(twist) world_to_camera, as LighthouseGS has it.
    """

    def __init__(self, views: int) -> None:
        super().__init__()
        self.twists = nn.Parameter(torch.zeros(views, 6))
        """Radians, then units of the frame of training."""

    def forward(self, world_to_camera: Float[Tensor, "4 4"], view: int) -> Float[Tensor, "4 4"]:
        """The pose of a view, corrected."""
        return exponential(self.twists[view]) @ world_to_camera

    def trained(self, steps: int, at_once: int = 1) -> TrainedModule:
        """The poses with their optimizer, for `steps` steps of `at_once` photos each."""
        del at_once
        # From the first step on: what has grown about poses that are off holds them there.
        newton = Newton(self.twists, FARTHEST, MOMENTUM)
        return TrainedModule(self, newton, [Rate(RATE, RATE_END, steps)], of_photos=True)


class PosePrior(Objective):
    """PRIOR / 2 * squared length of the view's twist, in units of what poses are off by.

    It settles what photographs do not: where the scene as a whole stands, and how large it is.
    It also sets the optimizer's curvature of the loss by the pose.
    """

    needs = Needs(depth=True)

    def __init__(self, poses: Poses, newton: Newton) -> None:
        self.poses, self.newton = poses, newton

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        view, stiff = step.batch.camera.sensor, PRIOR / EXPECTED**2
        eye = torch.eye(6, dtype=torch.float64, device=self.poses.twists.device)
        self.newton.bend(view, bend(step.rendered, step.batch) + stiff * eye)
        return stiff / 2 * self.poses.twists[view].square().sum()


@torch.no_grad()
def bend(rendered: Rendered, batch: Batch) -> Float[Tensor, "6 6"]:
    """Second derivatives of the mean absolute error by the twist of the camera, float64.

    Gauss and Newton's, of direct image alignment (Kerl et al. 2013): a picture changes with the
    twist by its gradient times the motion of what is seen, which the rendered depth tells. Of an
    absolute error |r| it has the curvature of r^2 / 2 |r|.
    """
    assert rendered.depth is not None
    image = rendered.image.detach()
    grey = image @ image.new_tensor(LUMA)
    errors = (batch.image - image).abs().mean(-1)
    every = max(1, math.ceil(math.sqrt(grey.numel() / MOST_PIXELS)))
    inner = (slice(1, -1, every), slice(1, -1, every))
    across = ((grey[1:-1, 2:] - grey[1:-1, :-2]) / 2)[::every, ::every].double()
    down = ((grey[2:, 1:-1] - grey[:-2, 1:-1]) / 2)[::every, ::every].double()
    z = rendered.depth.detach()[inner].double()
    counts = (rendered.alpha.detach()[inner] > 0.5) & (z > 0)
    if batch.mask is not None:
        counts &= batch.mask[inner] != 0
    K, z = batch.camera.K.double(), z.where(counts, torch.ones_like(z))
    h, w = grey.shape
    u = (torch.arange(w, device=z.device)[inner[1]] + 0.5 - K[0, 2]) / K[0, 0]
    v = ((torch.arange(h, device=z.device)[inner[0]] + 0.5 - K[1, 2]) / K[1, 1])[:, None]
    a, b = K[0, 0] * across, K[1, 1] * down
    c = -(a * u + b * v)
    # What a point at (u z, v z, z) does to the picture, moved by (a, b, c) / z along each axis.
    local = torch.stack([a, b, c], -1)
    place = torch.stack([u.expand_as(z), v.expand_as(z), torch.ones_like(z)], -1)
    rows = torch.cat([torch.linalg.cross(place, local), local / z[..., None]], -1)[counts]
    heavy = rows * error_curvature(errors[inner][counts].double())[:, None]
    return heavy.T @ rows / max(1, counts.numel())


def angle_between(first: Float[Tensor, "4 4"], second: Float[Tensor, "4 4"]) -> float:
    """Angle between two poses' rotations, degrees."""
    relative = first[:3, :3].double() @ second[:3, :3].double().T
    cosine = float((relative.trace() - 1) / 2)
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
