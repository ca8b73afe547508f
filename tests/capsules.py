"""A body of two capsules with a bone each, in a file: the least that a garment can be worn on."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from splat.strategies.garment import figure, rig
from splat.strategies.garment.body import Body


def two_capsules(scale: float = 1.0, shift: tuple[float, float, float] = (0, 0, 0)) -> Body:
    """The body of `figure.two_capsules` of another size and elsewhere."""
    body = figure.two_capsules()
    joints = body.joints.copy()
    joints[:, :3, 3] = joints[:, :3, 3] * scale + shift
    vertices = body.mesh.vertices * scale + np.array(shift)
    return replace(body, mesh=replace(body.mesh, vertices=vertices), joints=joints)


def body_in_the_scene() -> str:
    """A small body that stands in the tiny scene, in a file of the machine's own folder."""
    path = Path(tempfile.gettempdir()) / f"splat-capsules-{os.getuid()}.glb"
    body = two_capsules(0.35, (0.0, 0.1, 0.2))
    if not path.is_file() or np.abs(rig.read(path).joints - body.joints).max() > 1e-5:
        rig.write(body, path)
    return str(path)
