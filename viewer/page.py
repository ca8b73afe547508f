"""The page: its tabs, its visitors, and the state of the run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from splat.core.frame import focus_point
from splat.render import camera_paths
from splat.types import Camera
from splat.viewer import colors
from splat.viewer.compare_tab import CompareTab
from splat.viewer.curves import Curves
from splat.viewer.export_folder import ExportFolder
from splat.viewer.guest import Guest
from splat.viewer.scene_tab import Landmarks, SceneTab
from splat.viewer.server import Server
from splat.viewer.stage import Stage
from splat.viewer.timeline import Timeline
from splat.viewer.training_tab import Steering, TrainingTab
from splat.viewer.view_tab import ViewTab

EVERY = 2.0
"""Seconds between updates of the state."""
NEARLY_ALL = 0.02
"""Quantile of the Gaussians that lie outside the box around the scene, on each side."""
State = tuple[str, float | None]
"""State of a run in Markdown, and its progress in [0, 1]."""


class Page:
    """Connects visitors to the stage. Its callbacks run on the server's threads and only leave
    plain data for the stage."""

    def __init__(
        self,
        server: Server,
        stage: Stage,
        marks: Landmarks,
        state: Callable[[], State],
        *,
        curves: Curves,
        steering: Steering | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        """`state` is asked on the thread of the stage."""
        self._server, self._stage, self._marks, self._state = server, stage, marks, state
        self._timeline = timeline
        self._said_at = 0.0
        self._tabs: dict[int, tuple[SceneTab, CompareTab, ExportFolder]] = {}
        gui = server.viser.gui
        group = gui.add_tab_group()
        self._view = group.add_tab("View")
        self._training = group.add_tab("Training" if steering is not None else "Run")
        self._scene = group.add_tab("Scene")
        self._compare = group.add_tab("Compare")
        with self._training:
            self.training = TrainingTab(gui, stage, curves, steering)
        _begin_at(server, stage.easel.source.cameras, marks)
        # Before the first of their own, which of a large scene takes a while.
        server.viser.scene.set_background_image(colors.waiting(), format="png")
        server.viser.on_client_connect(self._came)
        server.viser.on_client_disconnect(self._went)

    @property
    def guests(self) -> int:
        """Number of connected browsers."""
        return len(self._stage.guests)

    @property
    def shows_cameras(self) -> bool:
        """Whether anybody looks at the cameras, whose figures are then measured."""
        return any(scene.shows_cameras for scene, _, _ in tuple(self._tabs.values()))

    def tick(self) -> None:
        """Update the page when it is time to; called on the thread of the stage."""
        now = time.monotonic()
        if now - self._said_at < EVERY or not self._stage.guests:
            return
        self._said_at = now
        state = self._state()
        self._stage.post.errand(lambda: self._say(state))

    def _say(self, state: State) -> None:
        self.training.show(*state)
        for scene, compare, export in tuple(self._tabs.values()):
            scene.refresh()
            compare.refresh()
            export.refresh()

    def _came(self, client: Any) -> None:
        guest = Guest(client)
        gui = client.gui
        with self._view:
            ViewTab(gui, guest, self._stage)
        with self._training:
            export = ExportFolder(gui, guest, self._stage)
        with self._scene:
            scene = SceneTab(gui, guest, self._stage, self._marks)
        with self._compare:
            compare = CompareTab(gui, guest, self._stage, self._timeline)
        self._tabs[guest.number] = (scene, compare, export)
        self._stage.guests[guest.number] = guest
        self._stage.wish(lambda: None)

    def _went(self, client: Any) -> None:
        number = int(client.client_id)
        self._stage.guests.pop(number, None)
        self._stage.captions.pop(number, None)
        self._tabs.pop(number, None)


def box_around(
    positions: Float[Tensor, "n 3"],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of a box around nearly all positions, with a margin."""
    some = positions.detach()[:: 1 + len(positions) // 100_000].double().cpu()
    some = some[some.isfinite().all(1)]
    if not len(some):
        return -np.ones(3), np.ones(3)
    ends = some.quantile(torch.tensor([NEARLY_ALL, 1 - NEARLY_ALL], dtype=torch.float64), dim=0)
    margin = 0.25 * (ends[1] - ends[0]).clamp_min(1e-6)
    return (ends[0] - margin).numpy(), (ends[1] + margin).numpy()


def _begin_at(server: Server, cameras: Sequence[Camera], marks: Landmarks) -> None:
    """Set the initial camera: the first one of the scene, or one before its centre."""
    first = server.viser.initial_camera
    if cameras:
        camera = cameras[0].to("cpu")
        up = camera_paths.upward([each.to("cpu") for each in cameras])
        focus = focus_point([each.to("cpu") for each in cameras]).numpy()
        eye = camera.centre.double().numpy()
        ahead = camera.world_to_camera[2, :3].double().numpy()
        away = float(np.clip((focus - eye) @ ahead, 0.2, 10))
        server.viser.scene.set_up_direction(tuple(up))
        first.position, first.look_at = tuple(eye), tuple(eye + away * ahead)
        first.fov = 2 * math.atan(camera.height / float(camera.K[1, 1]) / 2)
        first.up = tuple(-camera.world_to_camera[1, :3].double().numpy())
        return
    middle, reach = (marks.low + marks.high) / 2, float(np.linalg.norm(marks.high - marks.low))
    # Files come in the axes of COLMAP's cameras: y points down.
    server.viser.scene.set_up_direction("-y")
    first.position = tuple(middle + np.array([0.0, -0.25, -1.0]) * reach)
    first.look_at = tuple(middle)
