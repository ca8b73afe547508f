"""Camera paths of visitors, previewed and rendered as videos."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue

import torch
from jaxtyping import Float
from torch import Tensor

from splat.render import camera_paths
from splat.render.video import usual_suffix, write_video
from splat.scene import shrunk
from splat.system.machine import stand_back
from splat.types import Camera
from splat.viewer.guest import LONGEST, Guest
from splat.viewer.look import Look
from splat.viewer.paint import Easel

PREVIEW_FPS = 12
MOST_FRAMES = 20_000
WAITING = 8
"""Most frames that wait to be written."""


class Film:
    """Cameras of a visitor, in the frame of the page, through which a smooth path leads."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.stops: list[Camera] = []
        self._previewing: threading.Thread | None = None

    def add(self) -> None:
        """Add the visitor's present camera."""
        self.stops.append(self.guest.camera(*self.guest.size()))

    def cameras(self, seconds: float, fps: float, longest: int) -> list[Camera]:
        """The cameras of the frames; raises ValueError where there is no path yet."""
        if len(self.stops) < 2:
            raise ValueError(f"the path has {len(self.stops)} views; add at least two first")
        if not (0 < seconds * fps <= MOST_FRAMES and 16 <= longest <= LONGEST):
            raise ValueError(
                f"{seconds:g} s of {fps:g} pictures of {longest} pixels; expected at most"
                f" {MOST_FRAMES:,} pictures of 16 to {LONGEST} pixels"
            )
        size = shrunk(self.stops[0], 1, longest)
        first = size.resized(size.width & ~1, size.height & ~1)
        return camera_paths.along([first, *self.stops[1:]], max(2, round(seconds * fps)))

    def preview(self, seconds: float) -> None:
        """Move the visitor's own camera along the path."""
        cameras = self.cameras(seconds, PREVIEW_FPS, 512)
        if self._previewing is not None and self._previewing.is_alive():
            return

        def lead() -> None:
            start = time.monotonic()
            for i, camera in enumerate(cameras):
                self.guest.stand(camera)
                time.sleep(max(0.0, start + (i + 1) / PREVIEW_FPS - time.monotonic()))

        self._previewing = threading.Thread(target=lead, name="splat preview", daemon=True)
        self._previewing.start()

    def written(self, placed: Callable[[Camera], Camera]) -> bytes:
        """The path as JSON for `splat render --path`; `placed` takes cameras to the frame of the
        input."""
        entries = [
            {
                "width": camera.width,
                "height": camera.height,
                "K": camera.K.tolist(),
                "world_to_camera": placed(camera).world_to_camera.tolist(),
            }
            for camera in self.stops
        ]
        return json.dumps({"cameras": entries}, indent=1).encode()


class Shooting:
    """A video being made: the training thread draws a frame a turn, another thread writes."""

    def __init__(
        self,
        easel: Easel,
        look: Look,
        cameras: list[Camera],
        fps: float,
        done: Callable[[bytes], None],
        failed: Callable[[str], None],
    ) -> None:
        self._easel, self._cameras = easel, cameras
        self._look = replace(look, overlay=False)
        self._frames: Queue[Float[Tensor, "h w 3"] | None] = Queue()
        self._taken = 0

        def write() -> None:
            stand_back()
            try:
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / f"path{usual_suffix()}"
                    write_video(self._waiting(), path, fps)
                    done(path.read_bytes())
            except Exception as error:
                failed(str(error))
            finally:
                self._taken = len(cameras)

        self._thread = threading.Thread(target=write, name="splat video", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> float:
        """Share of the frames that are drawn."""
        return self._taken / len(self._cameras)

    def turn(self) -> bool:
        """Draw a frame; False where there was none to draw."""
        if self._taken >= len(self._cameras):
            return False
        if self._frames.qsize() >= WAITING:
            return False
        picture = self._easel.picture(self._look, self._cameras[self._taken])
        self._frames.put(torch.from_numpy(picture.pixels).float() / 255)
        self._taken += 1
        if self._taken == len(self._cameras):
            self._frames.put(None)
        return True

    def _waiting(self) -> Iterator[Float[Tensor, "h w 3"]]:
        while (frame := self._frames.get()) is not None:
            yield frame
