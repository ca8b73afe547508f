"""`Body`: a mesh with bones, and how it follows them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial.transform import Rotation

from splat.mesh import Mesh
from splat.system import foreign
from splat.system.foreign import Broken, Record

Turn = tuple[float, float, float]
"""A rotation as an axis times an angle, degrees, in the axes of the body."""


@dataclass(frozen=True)
class Body:
    """A mesh and the bones that move it, as it stands now.

    Coordinates are those of the scene. Of two bodies of one rig the bones have the same names.
    """

    mesh: Mesh
    names: tuple[str, ...]
    """Names of the bones, each after its parent."""
    parents: Int[ndarray, "b"]
    """Number of each bone's parent, -1 for none."""
    joints: Float[ndarray, "b 4 4"]
    """From the axes of each bone to the scene; the last column is where its head is."""
    weights: Float[ndarray, "v b"]
    """How much each bone moves each vertex; rows sum to 1."""
    axes: Float[ndarray, "3 3"] = field(default_factory=lambda: np.eye(3))
    """Columns: the axes that poses turn about, in the scene."""

    def __post_init__(self) -> None:
        assert self.weights.shape == (len(self.mesh.vertices), len(self.names))

    @property
    def height(self) -> float:
        """Its largest extent along an axis, which is what lengths are measured in."""
        return float(np.ptp(self.mesh.vertices, axis=0).max())

    @property
    def heads(self) -> Float[ndarray, "b 3"]:
        """Where bones begin."""
        return self.joints[:, :3, 3]

    @property
    def span(self) -> float:
        """Length of all bones together, from each to its parent: the same in every pose."""
        inner = self.parents >= 0
        ahead = self.heads[inner] - self.heads[self.parents[inner]]
        return float(np.linalg.norm(ahead, axis=1).sum())

    def placed(self, turn: Float[ndarray, "3 3"], scale: float, shift: Float[ndarray, "3"]) -> Body:
        """The body turned, then scaled, then shifted."""
        joints = self.joints.copy()
        joints[:, :3, :3] = turn @ joints[:, :3, :3]
        joints[:, :3, 3] = scale * self.heads @ turn.T + shift
        mesh = replace(self.mesh, vertices=scale * self.mesh.vertices @ turn.T + shift)
        return replace(self, mesh=mesh, joints=joints, axes=turn @ self.axes)

    def for_dreams(self) -> Body:
        """The body where `splat dream` makes things: a unit tall, about the origin, z up."""
        turn, scale = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]), 1 / self.height
        low, high = self.mesh.vertices.min(0), self.mesh.vertices.max(0)
        return self.placed(turn, scale, -scale * turn @ (low + high) / 2)

    def posed(self, pose: Mapping[str, Turn]) -> Body:
        """The body with bones turned about their heads, each after what its parents do."""
        moves = self.moves(pose)
        vertices = blended(moves, self.weights, self.mesh.vertices)
        mesh = replace(self.mesh, vertices=vertices)
        return replace(self, mesh=mesh, joints=moves @ self.joints)

    def moves(self, pose: Mapping[str, Turn]) -> Float[ndarray, "b 4 4"]:
        """What a pose does to what moves with each bone, in the scene."""
        for name in pose:
            if name not in self.names:
                near = difflib.get_close_matches(name, self.names, 1)
                hint = f"perhaps {near[0]}" if near else f"there are {', '.join(self.names[:8])}"
                raise ValueError(f"the pose turns {name!r}, which the body has no bone of: {hint}")
        moves = np.tile(np.eye(4), (len(self.names), 1, 1))
        for bone, name in enumerate(self.names):
            own = np.eye(4)
            if name in pose:
                turn = Rotation.from_rotvec(np.radians(pose[name])).as_matrix()
                own[:3, :3] = self.axes @ turn @ self.axes.T
                own[:3, 3] = self.heads[bone] - own[:3, :3] @ self.heads[bone]
            parent = self.parents[bone]
            moves[bone] = own if parent < 0 else moves[parent] @ own
        return moves


def blended(
    moves: Float[ndarray, "b 4 4"],
    weights: Float[ndarray, "n b"],
    points: Float[ndarray, "n 3"],
) -> Float[ndarray, "n 3"]:
    """Linear blend skinning: each point moved by the weighted mean of what bones do (Magnenat-
    Thalmann et al. 1988)."""
    mixed = np.tensordot(weights, moves, 1)
    return np.asarray(np.einsum("nij,nj->ni", mixed[:, :3, :3], points) + mixed[:, :3, 3])


def read_pose(path: Path) -> dict[str, Turn]:
    """A pose from a file of JSON: `{"upperarm_l": [0, 0, 60]}`, degrees about x, y and z at once
    (an axis times an angle)."""
    with foreign.reading(path, 'a pose: {"BONE": [x, y, z], ...}, degrees'):
        pose: Record = foreign.record(path, "a list of three angles for each bone that turns")
        turns = {name: pose.triple(name) for name in pose}
        for name, turn in turns.items():
            if max(map(abs, turn)) > 360 * 4 or not all(map(math.isfinite, turn)):
                raise Broken(f"turns {foreign.shown(name)} by {turn}; expected degrees")
        return turns
