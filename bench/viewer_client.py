"""A browser's part of the conversation with the viewer, for measuring: it asks and throws away.

It takes words from stdin: `still` (a camera that stands), `move` (one that orbits, 50 messages a
second as browsers send), `aside` (the same messages, sent to itself), `leave`. It repeats each when
it has obeyed. What it sends is made before
it is needed, so that it takes as little as it can from a machine that it shares.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from itertools import cycle
from typing import Any

import msgspec
import viser
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

RATE = 50.0
"""Messages a second of a camera that moves."""
PLACES = 500
"""Of a camera, on a circle."""


class Visitor:
    """One connection, and whether its camera moves."""

    def __init__(self, port: int, width: int, height: int) -> None:
        self._port = port
        turns = [2 * math.pi * i / PLACES for i in range(PLACES)]
        self._frames = [_frame(_camera(turn, width, height)) for turn in turns]
        self._socket: Any = None
        self._aside, sink = socket.socketpair()
        threading.Thread(target=_drained, args=(sink,), daemon=True).start()
        self.aside = False
        self.moving = threading.Event()

    def come(self) -> None:
        """Connect, and show where the camera is."""
        if self._socket is None:
            self._socket = connect(
                f"ws://127.0.0.1:{self._port}/",
                subprotocols=[f"viser-v{viser.__version__}"],  # type: ignore[list-item]
                max_size=None,
            )
            threading.Thread(target=self._drain, daemon=True).start()
            self._socket.socket.sendall(self._frames[0])

    def leave(self) -> None:
        """Go."""
        there, self._socket = self._socket, None
        if there is not None:
            there.close()

    def orbit(self) -> None:
        """Send a camera that goes round, for ever."""
        for frame in cycle(self._frames):
            self.moving.wait()
            time.sleep(1 / RATE)
            there = self._socket
            with suppress(OSError):
                if self.aside:
                    self._aside.sendall(frame)
                elif there is not None:
                    there.socket.sendall(frame)

    def _drain(self) -> None:
        with suppress(ConnectionClosed):
            for _ in self._socket:
                pass


def _drained(sink: socket.socket) -> None:
    while sink.recv(4096):
        pass


def _camera(turn: float, width: int, height: int) -> bytes:
    """The message of a browser whose camera stands on a circle and looks at its middle."""
    eye = [2 * math.sin(turn), 0.3, -2 * math.cos(turn)]
    return msgspec.msgpack.encode(
        {
            "type": "ViewerCameraMessage",
            "wxyz": [math.cos(-turn / 2), 0.0, math.sin(-turn / 2), 0.0],
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


def _frame(message: bytes) -> bytes:
    """A client's WebSocket frame of a binary message, masked with zeros (RFC 6455, 5.2)."""
    size = len(message)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x82" + length + bytes(4) + message


def main() -> None:
    """Obey the words on stdin."""
    with suppress(AttributeError, OSError):
        os.nice(19)  # it stands for a browser elsewhere, which takes nothing from training's cores
    visitor = Visitor(*map(int, sys.argv[1:4]))
    threading.Thread(target=visitor.orbit, daemon=True).start()
    for line in sys.stdin:
        word = line.strip()
        visitor.aside = word == "aside"
        visitor.moving.set() if word in ("move", "aside") else visitor.moving.clear()
        visitor.leave() if word == "leave" else visitor.come()
        print(word, flush=True)


if __name__ == "__main__":
    main()
