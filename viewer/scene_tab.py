"""The tab of what stands in the scene: cameras, points, a box to crop with, a path to film."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from splat.core.frame import camera_from_frame
from splat.render.video import usual_suffix
from splat.types import Camera, Points
from splat.viewer.film import Film, Shooting
from splat.viewer.gallery import UNKNOWN, Gallery
from splat.viewer.guest import Guest, quaternion
from splat.viewer.stage import Stage

if TYPE_CHECKING:
    from splat.viewer.server import Gui

MOST_CAMERAS = 300
MOST_POINTS = 50_000
FRUSTUM = 0.04
"""Size of a camera in the scene, frame of training."""
STEPS = 200
"""Steps of a slider of the box."""


@dataclass(frozen=True)
class Landmarks:
    """What there is to show beside the Gaussians."""

    gallery: Gallery | None
    points: Points | None
    """The points that training began with, frame of training."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    """Corners of a box around nearly all of the scene, frame of training."""


class SceneTab:
    """Cameras to stand at, points, the box, filters and the film; one for each visitor."""

    def __init__(self, gui: Gui, guest: Guest, stage: Stage, marks: Landmarks) -> None:
        """Fill the container that is open."""
        self._gui, self._guest, self._stage, self._marks = gui, guest, stage, marks
        self._frustums: list[Any] = []
        self._cloud: Any = None
        self._lines: Any = None
        self._film = Film(guest)
        if marks.gallery is not None:
            self._cameras(marks.gallery)
        self._points()
        self._crop()
        self._filters()
        self._path()

    def refresh(self) -> None:
        """Colour the cameras by what is known of their photographs now."""
        if self._marks.gallery is None:
            return
        here = self._guest.client.camera.position
        for frustum, color in zip(self._frustums, self._marks.gallery.colors(), strict=False):
            if tuple(frustum.color) != color:
                frustum.color = color
            # Whoever stands in a camera would see nothing but its edges.
            near = float(np.linalg.norm(np.array(frustum.position) - here)) < 2 * FRUSTUM
            if frustum.visible == near:
                frustum.visible = not near

    @property
    def shows_cameras(self) -> bool:
        """Whether cameras are shown, so that their figures are wanted."""
        return bool(self._frustums)

    def _cameras(self, gallery: Gallery) -> None:
        gui, seen = self._gui, gallery.photos.seen
        with gui.add_folder("Cameras"):
            shown = gui.add_checkbox(
                "Show, by PSNR", False, hint="Red is worst, green best. Click one to stand there."
            )
            names = tuple(each.name + (" (held out)" if each.held_out else "") for each in seen)
            where: Any = gui.add_dropdown("Photo", names)
            buttons = gui.add_button_group("Stand", ("there", "before", "next"))
            self._figure = gui.add_markdown("")

        @shown.on_update
        def _(_: Any) -> None:
            for frustum in self._frustums:
                frustum.remove()
            self._frustums = []
            if shown.value:
                self._frustums = [
                    self._frustum(i, each.camera, lambda i=i: go(i))  # type: ignore[misc]
                    for i, each in enumerate(seen[:MOST_CAMERAS])
                ]
                self.refresh()

        @buttons.on_click
        def _(_: Any) -> None:
            shift = {"there": 0, "before": -1, "next": 1}[buttons.value]
            go((names.index(where.value) + shift) % len(names))

        def go(index: int) -> None:
            where.value = names[index]
            self._guest.stand(seen[index].camera)
            if self._stage.easel.source.moves:
                self._guest.go_to(seen[index].camera.time)
            value = gallery.psnr[index]
            self._figure.content = (
                "" if math.isnan(value) else f"{value:.2f} dB when last looked at"
            )

    def _frustum(self, index: int, camera: Camera, clicked: Callable[[], None]) -> Any:
        pose = camera.world_to_camera.double().cpu()
        frustum = self._guest.client.scene.add_camera_frustum(
            f"/cameras/{index}",
            fov=2 * math.atan(camera.height / float(camera.K[1, 1]) / 2),
            aspect=camera.width / camera.height,
            scale=FRUSTUM,
            thickness=2.0,
            thickness_units="screen",
            color=UNKNOWN,
            wxyz=quaternion(pose[:3, :3].T.numpy()),
            position=camera.centre.double().cpu().numpy(),
        )

        @frustum.on_click
        def _(_: Any) -> None:
            clicked()

        return frustum

    def _points(self) -> None:
        points = self._marks.points
        if points is None or not len(points.positions):
            return
        shown = self._gui.add_checkbox("Points that training began with", False)
        some = torch.linspace(0, len(points.positions) - 1, min(MOST_POINTS, len(points.positions)))
        where, color = (t[some.long()].numpy() for t in (points.positions, points.colors))

        @shown.on_update
        def _(_: Any) -> None:
            if self._cloud is None:
                self._cloud = self._guest.client.scene.add_point_cloud(
                    "/points", points=where, colors=color, point_size=0.004
                )
            self._cloud.visible = shown.value

    def _crop(self) -> None:
        gui, low, high = self._gui, self._marks.low, self._marks.high
        scale, centre = self._stage.easel.source.frame.scale, self._stage.easel.source.frame.centre
        with gui.add_folder("Crop", expand_by_default=False):
            on = gui.add_checkbox("Only what is in the box", False)
            sliders = []
            for axis, name in enumerate("xyz"):
                ends = [round(end[axis] / scale + centre[axis], 4) for end in (low, high)]
                sliders.append(
                    gui.add_multi_slider(
                        name,
                        min=ends[0],
                        max=ends[1],
                        step=(ends[1] - ends[0]) / STEPS or 1e-4,
                        initial_value=(ends[0], ends[1]),
                        hint="Units and axes of the input.",
                    )
                )

        def moved(_: Any) -> None:
            corners = [
                [(float(s.value[k]) - centre[i]) * scale for i, s in enumerate(sliders)]
                for k in (0, 1)
            ]
            self._guest.change(box=(*corners[0], *corners[1]) if on.value else None)
            self._outlined(np.array(corners), on.value)

        for control in (on, *sliders):
            control.on_update(moved)  # type: ignore[attr-defined]

    def _outlined(self, corners: NDArray[np.float64], shown: bool) -> None:
        """The edges of the box, in the scene."""
        if self._lines is not None:
            self._lines.remove()
            self._lines = None
        if not shown:
            return
        bits = [(i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(8)]
        at = [[corners[bit[axis]][axis] for axis in range(3)] for bit in bits]
        edges = [
            (at[i], at[j])
            for i in range(8)
            for j in range(i + 1, 8)
            if sum(a != b for a, b in zip(bits[i], bits[j], strict=True)) == 1
        ]
        self._lines = self._guest.client.scene.add_line_segments(
            "/box",
            points=np.array(edges, np.float32),
            colors=(255, 200, 40),
            thickness=2.0,
            thickness_units="screen",
        )

    def _filters(self) -> None:
        inward = self._gui.add_checkbox(
            "Look in from outside",
            self._guest.look.inward,
            hint="From farther away than any photo, leave out what lies before their cameras.",
        )
        clean = self._gui.add_checkbox(
            "Hide floaters and debris",
            False,
            hint="What `splat clean` would take out. It is looked for anew now and then.",
        )
        faint = self._gui.add_slider("Least opacity", 0.0, 1.0, 0.01, 0.0)

        @inward.on_update
        def _(_: Any) -> None:
            self._guest.change(inward=inward.value)

        @clean.on_update
        def _(_: Any) -> None:
            self._guest.change(floaters=not clean.value)

        @faint.on_update
        def _(_: Any) -> None:
            self._guest.change(faintest=float(faint.value))

    def _path(self) -> None:
        gui, film = self._gui, self._film
        with gui.add_folder("Camera path", expand_by_default=False):
            edit = gui.add_button_group("View", ("add", "take back", "clear"))
            count = gui.add_markdown("no views yet")
            seconds = gui.add_number("Seconds", 6.0, min=1.0, max=600.0, step=1.0)
            fps = gui.add_number("Pictures a second", 24, min=5, max=60, step=1)
            side = gui.add_number("Longest side, pixels", 1280, min=64, max=4096, step=2)
            act = gui.add_button_group("Path", ("preview", "video", "save"))
            bar = gui.add_progress_bar(0, visible=False)

        @edit.on_click
        def _(_: Any) -> None:
            if edit.value == "add":
                film.add()
            else:
                film.stops = film.stops[:-1] if edit.value == "take back" else []
            count.content = f"{len(film.stops)} views" if film.stops else "no views yet"

        @act.on_click
        def _(_: Any) -> None:
            try:
                if act.value == "preview":
                    film.preview(float(seconds.value))
                elif act.value == "video":
                    cameras = film.cameras(float(seconds.value), float(fps.value), int(side.value))
                    self._shoot(cameras, float(fps.value), bar)
                else:
                    film.cameras(1, 2, 64)
                    data = film.written(
                        lambda c: camera_from_frame(c, self._stage.easel.source.frame)
                    )
                    self._guest.client.send_file_download("camera_path.json", data)
            except ValueError as error:
                self._guest.tell("That is no path", str(error), "yellow")

    def _shoot(self, cameras: list[Camera], fps: float, bar: Any) -> None:
        guest, stage = self._guest, self._stage
        bar.visible, bar.value = True, 0

        def done(data: bytes) -> None:
            bar.visible = False
            guest.client.send_file_download(f"path{usual_suffix()}", data)

        def failed(text: str) -> None:
            bar.visible = False
            guest.tell("The video was not made", text, "red")

        shooting = Shooting(stage.easel, guest.look, cameras, fps, done, failed)

        def turn() -> bool:
            drew = shooting.turn()
            if drew:
                bar.value = 100 * shooting.progress
            if shooting.progress >= 1:
                stage.chores.remove(turn)
            return drew

        stage.wish(lambda: stage.chores.append(turn), guest)
