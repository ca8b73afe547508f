"""A browser's part of the conversation with the viewer, for measuring: it asks and throws away.

It takes words from stdin: `still` (a camera that stands), `move` (one that orbits, 30 messages a
second), `leave`. It repeats each when it has obeyed.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import msgspec
import viser
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

RATE = 30.0
"""Messages a second of a camera that moves: as many as a browser sends."""


class Visitor:
    """One connection, and whether its camera moves."""

    def __init__(self, port: int, width: int, height: int) -> None:
        self._port, self._size = port, (width, height)
        self._socket: Any = None
        self.moving = False

    def come(self) -> None:
        """Connect, and show where the camera is."""
        if self._socket is None:
            self._socket = connect(
                f"ws://127.0.0.1:{self._port}/",
                subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
                max_size=None,
            )
            threading.Thread(target=self._drain, daemon=True).start()
            self._send(0.0)

    def leave(self) -> None:
        """Go."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    def orbit(self) -> None:
        """Send a camera that goes round, for ever."""
        while True:
            time.sleep(1 / RATE)
            if self.moving and self._socket is not None:
                with suppress(ConnectionClosed):
                    self._send(time.monotonic())

    def _send(self, at: float) -> None:
        angle = 0.5 * at
        eye = [2 * math.sin(angle), 0.3, -2 * math.cos(angle)]
        width, height = self._size
        self._socket.send(
            msgspec.msgpack.encode(
                {
                    "type": "ViewerCameraMessage",
                    "wxyz": [math.cos(-angle / 2), 0.0, math.sin(-angle / 2), 0.0],
                    "position": eye,
                    "fov": 0.8,
                    "near": 0.01,
                    "far": 1000.0,
                    "image_height": height,
                    "image_width": width,
                    "look_at": [0.0, 0.0, 0.0],
                    "up_direction": [0.0, -1.0, 0.0],
                }
            )
        )

    def _drain(self) -> None:
        with suppress(ConnectionClosed):
            for _ in self._socket:
                pass


def main() -> None:
    """Obey the words on stdin."""
    visitor = Visitor(*map(int, sys.argv[1:4]))
    threading.Thread(target=visitor.orbit, daemon=True).start()
    for line in sys.stdin:
        word = line.strip()
        visitor.moving = word == "move"
        visitor.leave() if word == "leave" else visitor.come()
        print(word, flush=True)


if __name__ == "__main__":
    main()
