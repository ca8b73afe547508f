"""A visitor: a browser with its camera, its settings, and its last picture."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from splat.formats.rotations import matrix_of
from splat.types import Camera
from splat.viewer.look import Look

if TYPE_CHECKING:
    from splat.viewer.server import Client

Color = Literal["red", "yellow", "green"]
SETTLED = 0.25
"""Seconds after the last move from which a camera is at rest."""
LONGEST = 4096
"""Most pixels of the longer side of any picture."""
AGAIN = 10.0
"""Seconds before the same message is shown again."""

_log = logging.getLogger("splat.viewer")


@dataclass(frozen=True)
class Shown:
    """The last picture that a visitor was sent."""

    camera: float
    """Time of the camera's last move, by the clock of the server."""
    look: Look
    stamp: Hashable
    quick: bool
    """Whether it was drawn small, for a moving camera."""


@dataclass(frozen=True)
class Playing:
    """A clip that passes by itself, again and again."""

    since: float
    """When it began, by a clock that only goes on."""
    first: float
    """The moment at which it began."""
    seconds: float
    """Length of the clip as it is shown."""

    def moment(self, now: float) -> float:
        """The moment to show at a time of that clock."""
        return (self.first + (now - self.since) / self.seconds) % 1


class Guest:
    """A browser. Its callbacks run on threads of the server and only put plain data here."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.number = int(client.client_id)
        self.look = Look()
        self.shown: Shown | None = None
        self.served = 0.0
        """Time when it was last served."""
        self.playing: Playing | None = None
        """The clip that passes by itself; None: it stands at the moment of the look."""
        self.at_moment: Callable[[float], None] = lambda moment: None
        """Told the moment of the look when it changes by other ways than the visitor's slider."""
        self._changing = threading.Lock()
        self._told: tuple[str, float] = ("", 0.0)

    def change(self, **changes: Any) -> None:
        """Change some settings of its look."""
        with self._changing:
            self.look = replace(self.look, **changes)

    def go_to(self, moment: float) -> None:
        """Show a moment, and say so."""
        self.change(moment=moment)
        self.at_moment(moment)

    def play(self, seconds: float | None) -> None:
        """Let the clip pass in so many seconds, again and again; None: it stands."""
        begun = None if seconds is None else Playing(time.monotonic(), self.look.moment, seconds)
        self.playing = begun

    def pass_time(self) -> None:
        """Go to the moment that a clip which plays has come to."""
        if self.playing is not None:
            self.change(moment=self.playing.moment(time.monotonic()))

    @property
    def moved_at(self) -> float:
        """Time of its camera's last move, by the clock of the server."""
        return float(self.client.camera.update_timestamp)

    @property
    def moving(self) -> bool:
        """Whether its camera is moving."""
        return time.time() - self.moved_at < SETTLED

    def size(self, pixels: int | None = None) -> tuple[int, int]:
        """Width and height of its picture, with at most `pixels` pixels."""
        camera = self.client.camera
        width, height = max(1, camera.image_width), max(1, camera.image_height)
        # Whatever a client sends: a picture must not take all memory.
        shrink = min(1.0, min(self.look.longest, LONGEST) / max(width, height))
        if pixels is not None:
            shrink = min(shrink, math.sqrt(pixels / (width * height)))
        return max(16, round(width * shrink)), max(16, round(height * shrink))

    def camera(self, width: int, height: int) -> Camera:
        """Its camera, in the frame of the page; ValueError where that is not finite."""
        camera = self.client.camera
        turn, eye, fov = np.array(camera.wxyz), np.array(camera.position), float(camera.fov)
        if not (np.isfinite(turn).all() and np.isfinite(eye).all() and 0 < fov < math.pi):
            raise ValueError(f"the browser's camera is nowhere: {eye}, {turn}, {fov}")
        return camera_at(turn, eye, fov, width, height)

    def stand(self, camera: Camera) -> None:
        """Move its camera; its picture then contains that of `camera`."""
        own = self.client.camera
        turn = camera.world_to_camera[:3, :3].double().T.numpy()
        aspect = max(1, own.image_width) / max(1, own.image_height)
        high = camera.height / float(camera.K[1, 1]) / 2
        wide = camera.width / float(camera.K[0, 0]) / 2
        with self.client.atomic():
            own.fov = 2 * math.atan(max(high, wide / aspect))
            own.position = camera.centre.double().cpu().numpy()
            own.wxyz = quaternion(turn)

    def tell(self, title: str, text: str, color: Color | None = None) -> None:
        """Show a message, unless it was just shown."""
        now = time.monotonic()
        if self._told[0] == text and now - self._told[1] < AGAIN:
            return
        self._told = (text, now)
        try:
            self.client.add_notification(title, text, auto_close_seconds=AGAIN, color=color)
        except Exception as error:  # it left in this moment
            _log.debug("a message was not delivered: %s", error)


def camera_at(
    turn: NDArray[np.float64], eye: NDArray[np.float64], fov: float, width: int, height: int
) -> Camera:
    """A camera at `eye`, turned by a quaternion (w, x, y, z; camera to world), with a vertical
    field of view in radians."""
    pose, rotation = np.eye(4), matrix_of(turn)
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ eye
    focal = height / 2 / math.tan(fov / 2)
    K = [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]
    return Camera(torch.from_numpy(pose).float(), torch.tensor(K), width, height)


def quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternion (w, x, y, z) of a rotation matrix."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z])
