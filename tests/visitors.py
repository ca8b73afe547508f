"""A visitor of the viewer without a browser: what a client of viser is asked for, and no more."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from splat.viewer.guest import Guest


class Window:
    """Stands in for `viser.ClientHandle`: a camera that can be moved, and what was sent to it."""

    def __init__(self, number: int = 0, width: int = 64, height: int = 48) -> None:
        self.client_id = number
        self.camera = SimpleNamespace(
            wxyz=np.array([1.0, 0, 0, 0]),
            position=np.array([0.0, 0, -2]),
            fov=0.9,
            image_width=width,
            image_height=height,
            update_timestamp=time.time() - 10,
        )
        self.scene = SimpleNamespace(set_background_image=self._shown)
        self.pictures: list[np.ndarray] = []
        self.told: list[tuple[str, str]] = []
        self.files: dict[str, bytes] = {}
        self.came = threading.Event()

    def move(self, x: float) -> None:
        """Stand somewhere else, as of now."""
        self.camera.position = np.array([x, 0.0, -2])
        self.camera.update_timestamp = time.time()

    def atomic(self) -> Any:
        """As viser's."""
        return nullcontext()

    def add_notification(self, title: str, body: str, **_: Any) -> None:
        """As viser's."""
        self.told.append((title, body))

    def send_file_download(self, name: str, data: bytes, **_: Any) -> None:
        """As viser's."""
        self.files[name] = data

    def _shown(self, image: np.ndarray, **_: Any) -> None:
        self.pictures.append(image)
        self.came.set()


def guest(**options: Any) -> tuple[Guest, Window]:
    """A visitor and the window it looks through."""
    window = Window(**options)
    return Guest(window), window  # type: ignore[arg-type]
