"""The server of the viewer: viser on one port with access control."""

from __future__ import annotations

import atexit
import getpass
import importlib
import logging
import os
import secrets
import socket
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from splat.viewer.place import place

if TYPE_CHECKING:
    import viser

    Client: TypeAlias = viser.ClientHandle
    Gui: TypeAlias = viser.GuiApi

_log = logging.getLogger("splat.viewer")


def available() -> bool:
    """Whether viser is installed, so that the viewer can be served."""
    return find_spec("viser") is not None


def __getattr__(name: str) -> Any:
    """`Client` and `Gui`, viser's own, which is loaded when they are first asked for."""
    kinds = {"Client": "ClientHandle", "Gui": "GuiApi"}
    if name not in kinds:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_viser(), kinds[name])


class Server:
    """viser behind access control: loopback by default, and a token where others could connect.

    `token` guards a server on loopback too; elsewhere one is made where none is given. A port
    that is taken makes way for the next free one; 0 is any. ValueError, one sentence: viser is
    missing or too new, or host, port or token are of no use.
    """

    viser: viser.ViserServer
    host: str
    port: int
    token: str | None

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8080,
        token: str | None = None,
        label: str = "splat",
    ) -> None:
        library = _viser()
        from splat.viewer.door import Door, door_in_place
        from splat.viewer.gate import Gate
        from splat.viewer.inbox import Inbox

        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 1 << 16:
            raise ValueError(f"port is {port!r}; give a number of 0 (any) to 65535")
        if token is not None and not token.strip():
            raise ValueError("token is empty; give some text, or leave it out")
        self._place, self._wanted = place(host), port
        self.host = self._place.host
        if token is None and not self._place.local:
            token = secrets.token_urlsafe(16)
        self.token = token
        messages = importlib.import_module("viser._messages")
        kinds = {kind.__name__: kind for kind in messages.Message.get_subclasses()}
        gate, inbox = Gate(token, _names()), Inbox(kinds)
        door = Door(self._place, port, gate, inbox, f"viser-v{library.__version__}")
        self._closing, self._closed = threading.Lock(), False
        with _hushed(threading.current_thread()), door_in_place(door):
            self.viser = library.ViserServer(host=door.sign, port=0, label=label, verbose=False)
        atexit.register(self.close)
        if not door.taken or door.failure:
            self.close()
            raise ValueError(
                door.failure
                or f"viser {library.__version__} cannot be guarded by this version of splat; "
                "run `pip install 'viser==1.1.*'`"
            )
        self.port = gate.port
        inbox.present = self._present
        self._inbox = inbox
        self._tame(messages)

    @property
    def url(self) -> str:
        """Address for a browser on this machine, with its token."""
        if not self._place.everywhere:
            return self._url(self.host)
        return self._url("::1" if ":" in self._place.addresses[0] else "localhost")

    def address_lines(self) -> list[str]:
        """Lines for people: the address, how to reach it from afar, and who else can."""
        lines = [self.url]
        if self._wanted not in (0, self.port):
            lines.append(f"port {self._wanted} is taken: the viewer is at port {self.port}")
        inner = self._place.local or self._place.everywhere
        if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
            target = "localhost" if inner else _bracketed(self.host)
            lines.append(f"ssh -L {self.port}:{target}:{self.port} {_user()}@{_name()}")
        if not self._place.local:
            there = self._url(_name()) if self._place.everywhere else self.url
            lines.append(f"anybody on the network can reach it, and needs the token: {there}")
        return lines

    def listen(self, every: float) -> None:
        """Set the seconds between readings of a client's cameras."""
        self._inbox.camera_pause = every

    def close(self) -> None:
        """End the thread and free the port, within two seconds; a second call does nothing."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        with _hushed(self.viser._websock_server._server_thread):
            self.viser.stop()

    def _url(self, host: str) -> str:
        query = f"/?token={quote(self.token, safe='')}" if self.token else ""
        return f"http://{_bracketed(host)}:{self.port}{query}"

    def _tame(self, messages: Any) -> None:
        """Disable parts of viser that reach beyond this machine, and its messages."""
        for name in ("ShareUrlRequest", "ShareUrlDisconnect"):
            with suppress(AssertionError, AttributeError):
                self.viser._websock_server.unregister_handler(getattr(messages, name))
        self.viser.gui.configure_theme(
            dark_mode=True, control_width="large", show_logo=False, show_share_button=False
        )
        executor: Any = self.viser._thread_executor
        executor.submit = _careful(executor)
        warnings.filterwarnings("ignore", r"Queued a \w+ on a closed connection")

    def _present(self, uuid: str) -> object:
        """The value of a control of the panel, shared or a client's own; None: not known."""
        panels = [self.viser.gui, *(client.gui for client in self.viser.get_clients().values())]
        for panel in panels:
            control = panel._gui_input_handle_from_uuid.get(uuid)
            if control is not None:
                return getattr(control, "value", None)
        return None


def _viser() -> Any:
    """viser, loaded. ValueError where it is not installed."""
    if not available():
        raise ValueError("the viewer needs viser; run `pip install 'splat-toolkit[viewer]'`")
    return importlib.import_module("viser")


def _careful(executor: Executor) -> Callable[..., Any]:
    """A `submit` for callbacks whose failure is logged in a line, without a traceback."""
    from splat.viewer.door import brief

    submit = executor.submit

    def safe(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return act(*args, **kwargs)
        except Exception as error:
            _log.warning("viewer: %s", brief(error))
            _log.debug("viewer", exc_info=True)
            return None

    return lambda act, *args, **kwargs: submit(safe, act, *args, **kwargs)


def _hushed(thread: threading.Thread | None) -> Any:
    """Within, what one thread prints with rich is dropped: viser has no other way to be quiet."""
    from splat.viewer.door import swapped

    def said(real: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        if threading.current_thread() is not thread:
            real(*args, **kwargs)

    return swapped(importlib.import_module("rich"), "print", said)


def _names() -> frozenset[str]:
    own = _name().lower().rstrip(".")
    return frozenset({"localhost", own, own.partition(".")[0]})


def _name() -> str:
    return socket.gethostname()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "USER"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
