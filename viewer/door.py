"""A replacement of `serve`, with which viser starts its own web server."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import websockets.asyncio.server as web
from websockets.http11 import Request, Response

from splat.viewer.gate import Gate
from splat.viewer.inbox import LARGEST, Inbox
from splat.viewer.place import Place

PATIENCE = 0.4
"""Seconds that clients have to close their connections."""

CAMERA, CAMERA_BEGINS = b"ViewerCameraMessage", 64
"""Type of a camera's message, and first bytes in which it is looked for."""
GATHER = 0.004
"""Seconds in which cameras that arrive together are gathered."""

_log = logging.getLogger("splat.viewer")
_swapping = threading.RLock()


class Visitor(web.ServerConnection):
    """A connection that passes on to viser only messages that the inbox accepts."""

    def __init__(self, inbox: Inbox, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._inbox, self._shown_out = inbox, False
        self._camera: Any = None
        """The newest camera, until it is passed on."""
        self._due = 0.0

    async def recv(self, *args: Any, **kwargs: Any) -> Any:
        """The next message that is taken; one that is at fault ends the connection.

        Of cameras that come thick and fast only the newest goes on, now and then.
        """
        while True:
            try:
                wait = None if self._camera is None else max(0.0, self._due - time.monotonic())
                raw = await asyncio.wait_for(super().recv(*args, **kwargs), wait)
            except asyncio.TimeoutError:
                return self._next_camera()
            if self._shown_out:
                continue  # what had arrived before it was closed
            try:
                if not self._inbox.takes(raw):
                    continue
            except ValueError as error:
                _log.info("viewer: %s; its connection was closed", error)
                self._shown_out = True
                await self.close(1008, str(error))
                continue
            if CAMERA not in raw[:CAMERA_BEGINS]:
                return raw
            if self._camera is None:
                self._due = time.monotonic() + GATHER
            self._camera = raw

    def _next_camera(self) -> Any:
        """The newest camera; then reading pauses, so that the system buffers what comes and no
        thread wakes."""
        raw, self._camera = self._camera, None
        self.transport.pause_reading()
        self.loop.call_later(self._inbox.camera_pause, self._read_on)
        return raw

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()


class Line(logging.Handler):
    """Logs messages of websockets, each in a line."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = f"{record.getMessage()}: {brief(error)}" if error else record.getMessage()
        _log.log(logging.DEBUG if "handshake" in text else logging.INFO, "viewer: %s", text)


class Sign(str):
    """A host's name that is told apart from equal ones by identity."""


@dataclass
class Door:
    """Stands in for `websockets.asyncio.server.serve` while viser calls it, once.

    Whatever the viewer's own host and port are, viser is told `sign`, which is how its call is
    known among others; a call that is not known opens nothing but a port of this machine.
    """

    place: Place
    wanted: int
    """The port asked for."""
    gate: Gate
    inbox: Inbox
    protocol: str
    """Name and version of the protocol that a client must offer."""
    sign: Sign = field(default_factory=lambda: Sign("127.0.0.1"))
    taken: bool = False
    """Whether viser called it."""
    failure: str = ""
    """Why no port could be had, a sentence; empty: one was."""

    def __call__(self, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if len(args) != 3 or args[1] is not self.sign:
            return real(*args, **kwargs)
        self.taken = True
        logger = logging.Logger("websockets", logging.WARNING)
        logger.addHandler(Line())
        options = {
            **kwargs,
            "max_size": LARGEST,
            "server_header": None,
            "close_timeout": 2.0,
            "logger": logger,
            "process_request": partial(self._request, kwargs.get("process_request")),
            "create_connection": partial(Visitor, self.inbox),
        }
        return _Listening(self, partial(real, partial(self._greet, args[0]), **options))

    async def _request(self, theirs: Any, visitor: Any, request: Request) -> Response | None:
        response = self.gate.answer(visitor, request)
        if response is None and theirs is not None:
            response = theirs(visitor, request)
            if isinstance(response, Awaitable):
                response = await response
            if response is not None:
                self.gate.dress(request, response)
        return response

    async def _greet(self, theirs: Callable[..., Awaitable[None]], visitor: Visitor) -> None:
        if visitor.subprotocol == self.protocol:
            await theirs(visitor)
        else:
            text = f"Version mismatch: reload the page, the viewer speaks {self.protocol}"
            await visitor.close(1002, text)


class _Listening:
    """The context manager that viser awaits: open while the port is."""

    def __init__(self, door: Door, serve: Callable[..., Any]) -> None:
        self._door, self._serve = door, serve
        self._server: web.Server | None = None

    async def __aenter__(self) -> Any:
        door = self._door
        asyncio.get_running_loop().set_exception_handler(_unretrieved)
        for port in door.place.ports(door.wanted):
            door.gate.port = port
            try:
                self._server = await self._serve(list(door.place.addresses), port)
            except OSError as error:
                door.failure = door.place.failure(error, port) or ""
                if door.failure:
                    break
            else:
                return self._server
        door.failure = door.failure or (
            f"port {door.wanted} is taken, and so are those after it; choose another"
        )
        return SimpleNamespace(server=SimpleNamespace(sockets=()))

    async def __aexit__(self, *exc: object) -> None:
        server = self._server
        if server is None:
            return
        server.close()
        for _ in range(2):
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.wait_closed(), PATIENCE)
                return
            for connection in list(server.handlers):
                connection.transport.abort()


def _unretrieved(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error in a handler of viser in a line, without a traceback."""
    del loop
    error = context.get("exception")
    _log.info("viewer: %s", brief(error) if error else context.get("message"))


def brief(error: BaseException) -> str:
    """An error and the function it came from, in a line."""
    text, trace = " ".join(f"{type(error).__name__}: {error}".split()), error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return text if trace is None else f"{text} ({trace.tb_frame.f_code.co_name})"


@contextmanager
def door_in_place(door: Door) -> Iterator[None]:
    """Within, the door stands in for `serve` of websockets; calls of others go on as before."""
    with swapped(web, "serve", door):
        yield


@contextmanager
def swapped(owner: Any, name: str, instead: Callable[..., Any]) -> Iterator[None]:
    """Within, `owner.name(…)` is `instead(real, …)`; one such swap at a time."""
    with _swapping:
        real, over = getattr(owner, name), threading.Event()

        def either(*args: Any, **kwargs: Any) -> Any:
            return real(*args, **kwargs) if over.is_set() else instead(real, *args, **kwargs)

        setattr(owner, name, either)
        try:
            yield
        finally:
            over.set()
            # Whoever put something else there meanwhile has `either` to call, and keeps it.
            if getattr(owner, name) is either:
                setattr(owner, name, real)
