"""How wrong the velocities of what moves are, where the scene knows them."""

from __future__ import annotations

import torch

from splat.core.frame import gaussians_from_frame
from splat.datasets.demo import clip
from splat.math import LASTING
from splat.training.prepare import Job
from splat.types import Gaussians, SceneData

SEEN = 0.3
"""Opacity from which a Gaussian is seen."""
SURFACE = 0.05
"""Distance to the surface, world units, within which a Gaussian is what is seen of it."""
FAST = 0.2
"""Speed, world units per clip, from which a thing moves."""


def flow_of(job: Job) -> float | None:
    """`flow_error` of a run as it is now."""
    if not knows(job.scene):
        return None
    return flow_error(gaussians_from_frame(job.run.baked(), job.run.frame), job.scene)


def knows(scene: SceneData) -> bool:
    """Whether a scene has the velocities of what its held-out pictures show."""
    return scene.clip is not None and (scene.path / "truth" / "flow").is_dir()


@torch.no_grad()
def flow_error(gaussians: Gaussians, scene: SceneData) -> float | None:
    """The median, over Gaussians (frame of the input) that held-out pictures see of what moves, of
    the difference between their velocity and that of the thing, over the latter; None: nothing
    moves there, or its velocities are not known."""
    motion = gaussians.motion
    if motion is None or not knows(scene):
        return None
    gaussians = gaussians.to("cpu")
    motion = gaussians.motion
    assert motion is not None
    velocity = motion.velocity.where((motion.duration < LASTING)[:, None], 0)
    errors = []
    for view in scene.test:
        known, camera = clip.truth(scene.path, view.name), view.camera
        now = gaussians.at(camera.time)
        local = now.means @ camera.world_to_camera[:3, :3].float().T
        local = local + camera.world_to_camera[:3, 3].float()
        depth = local[:, 2]
        place = (local @ camera.K.float().T)[:, :2] / depth[:, None]
        inside = (depth > 0) & (place >= 0).all(1)
        inside &= (place < place.new_tensor([camera.width, camera.height])).all(1)
        rows = (inside & (now.opacities > SEEN)).nonzero()[:, 0]
        x, y = place[rows].long().unbind(1)
        truth = known.flow[y, x]
        seen = ((depth[rows] - known.depth[y, x]).abs() < SURFACE) & (truth.norm(dim=1) > FAST)
        apart = (velocity[rows] - truth).norm(dim=1) / truth.norm(dim=1).clamp_min(1e-9)
        errors.append(apart[seen])
    found = torch.cat(errors) if errors else torch.zeros(0)
    return float(found.median()) if len(found) else None
