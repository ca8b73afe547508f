"""The viewer's port: who is let in, what may be sent, and that it goes as quietly as it came."""

from __future__ import annotations

import http.client
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

viser = pytest.importorskip("viser")
msgpack = pytest.importorskip("msgspec").msgpack

import websockets.asyncio.server  # noqa: E402
from viser import _messages  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

from splat.viewer import server as module  # noqa: E402
from splat.viewer.door import Door, door_in_place  # noqa: E402
from splat.viewer.gate import Gate  # noqa: E402
from splat.viewer.inbox import Inbox  # noqa: E402
from splat.viewer.place import place  # noqa: E402
from splat.viewer.server import Server  # noqa: E402

CAMERA = {
    "type": "ViewerCameraMessage",
    "wxyz": [1, 0, 0, 0],
    "position": [0.0, 0.5, 2],
    "fov": 0.8,
    "near": 0.01,
    "far": 1000.0,
    "image_height": 48,
    "image_width": 64,
    "look_at": [0.0, 0.0, 0.0],
    "up_direction": [0.0, 1.0, 0.0],
}
"""A healthy message."""
PROTOCOL: Any = f"viser-v{viser.__version__}"
NAN = float("nan")


@pytest.fixture(autouse=True)
def silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing reaches stdout or stderr, whatever happens."""
    yield
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def server() -> Iterator[Server]:
    with closing(Server(port=0)) as made:
        yield made


@pytest.fixture
def guarded() -> Iterator[Server]:
    with closing(Server(port=0, token="open sesame")) as made:
        yield made


def asked(server: Server, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    """The answer to a GET; its body is read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        connection.putrequest("GET", path, skip_host="Host" in given)
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        answer.body = answer.read()  # type: ignore[attr-defined]
        return answer


def joined(server: Server, path: str = "/", protocol: Any = PROTOCOL, **headers: str) -> Any:
    """A client's connection."""
    return connect(
        f"ws://127.0.0.1:{server.port}{path}",
        subprotocols=[protocol],
        additional_headers=headers,
        max_size=None,
        sock=socket.create_connection(("127.0.0.1", server.port), timeout=5),
        open_timeout=5,
        close_timeout=1,
    )


def seen(condition: Callable[[], bool], seconds: float = 3) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def ended(client: ClientConnection) -> ConnectionClosed:
    """How a connection ended, which it does within three seconds."""
    with pytest.raises(ConnectionClosed) as caught:
        for _ in range(1000):
            client.recv(timeout=3)
    return caught.value


def quiet(client: ClientConnection, seconds: float = 0.3) -> bool:
    """Whether what the server had to say is said; the connection is still there."""
    try:
        while True:
            client.recv(timeout=seconds)
    except TimeoutError:
        return True


def test_listens_on_loopback_only(server: Server) -> None:
    assert (server.host, server.token) == ("localhost", None)
    assert server.url == f"http://localhost:{server.port}"
    loop = server.viser._websock_server._background_event_loop
    assert loop is not None
    listening = [
        line.split()[1] for line in _table() if line.split()[1].endswith(f":{server.port:04X}")
    ]
    if sys.platform == "linux":
        assert listening and all(entry in _loopback(server.port) for entry in listening)
    page = asked(server)
    assert page.status == 200 and page.getheader("Referrer-Policy") == "no-referrer"
    assert page.getheader("Content-Security-Policy") == "frame-ancestors 'self'"
    assert page.getheader("Set-Cookie") is None
    with socket.socket() as outside, pytest.raises(OSError):
        outside.settimeout(1)
        outside.connect((_outer(), server.port))


def _table() -> list[str]:
    """Sockets of this machine as the kernel lists them; local addresses are the second column."""
    lines: list[str] = []
    for name in ("tcp", "tcp6"):
        path = f"/proc/net/{name}"
        if os.path.exists(path):
            with open(path) as file:
                lines += file.read().splitlines()[1:]
    return [line for line in lines if line.split()[3] == "0A"]


def _loopback(port: int) -> set[str]:
    return {f"0100007F:{port:04X}", f"00000000000000000000000001000000:{port:04X}"}


def _outer() -> str:
    """An address of this machine other than loopback; where it has none, one that refuses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.3"
        name = str(probe.getsockname()[0])
    return "127.0.0.3" if name.startswith("127.") else name


@pytest.mark.parametrize("query", ["", "?token=", "?token=open", "?token=x&token=y"])
def test_no_token_no_entry(guarded: Server, query: str) -> None:
    for path in ("/", "/index.html", "/no/such.js"):
        answer = asked(guarded, path + query)
        assert answer.status == 401
        assert b"needs its token" in answer.body  # type: ignore[attr-defined]
        assert answer.getheader("Set-Cookie") is None
    for cookie in ("", f"splat_{guarded.port}=", f"splat_{guarded.port}=wrong", "splat_1=open"):
        assert asked(guarded, "/index.html", Cookie=cookie).status == 401
        with pytest.raises(InvalidStatus) as refused:
            joined(guarded, f"/{query}", Cookie=cookie)
        assert refused.value.response.status_code == 401


def test_token_then_cookie(guarded: Server) -> None:
    assert guarded.url == f"http://localhost:{guarded.port}/?token=open%20sesame"
    path = "/?" + urlsplit(guarded.url).query
    answer = asked(guarded, path)
    assert answer.status == 200 and answer.getheader("Referrer-Policy") == "no-referrer"
    cookie, *rules = (answer.getheader("Set-Cookie") or "").split("; ")
    assert cookie == f"splat_{guarded.port}=open%20sesame"
    assert set(rules) == {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert asked(guarded, "/index.html", Cookie=f"other=1; {cookie}").status == 200
    assert asked(guarded, "/no/such.js", Cookie=cookie).status == 404
    with joined(guarded, Cookie=cookie) as client:
        client.send(msgpack.encode(CAMERA))
        assert seen(lambda: len(guarded.viser.get_clients()) == 1)
    with joined(guarded, path) as client:
        assert client.recv(timeout=3)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:{other}", "file://", "garbage"]
)
def test_a_foreign_page_is_refused(server: Server, guarded: Server, origin: str) -> None:
    for each in (server, guarded):
        theirs = origin.format(other=each.port ^ 1)
        path = "/?token=open%20sesame"
        assert asked(each, path, Origin=theirs).status == 403
        with pytest.raises(InvalidStatus) as refused:
            joined(each, path, Origin=theirs)
        assert refused.value.response.status_code == 403
    own = f"127.0.0.1:{server.port}"
    assert asked(server, Host=own, Origin=f"http://{own}").status == 200
    assert asked(server, Host="localhost", Origin="https://localhost:443").status == 200
    with joined(server, Origin=f"http://{own}") as client:
        assert client.recv(timeout=3)


def test_a_name_that_was_made_to_lead_here_is_refused(server: Server, guarded: Server) -> None:
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        "localhost.evil.example",
        "",
        "a b",
    ):
        assert asked(server, Host=host).status == 403
    for host in ("localhost", f"LocalHost:{server.port}", "127.0.0.1", "[::1]:9", "10.0.0.7:80"):
        assert asked(server, Host=host).status == 200
    assert asked(server, Host=socket.gethostname()).status == 200
    assert asked(guarded, "/?token=open%20sesame", Host="tunnel.example").status == 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 403 ")


BAD = {
    "random": bytes(range(200, 256)) * 9,
    "empty": b"",
    "text": "hello",
    "no map": msgpack.encode([1, 2, 3]),
    "no type": msgpack.encode({"uuid": "a"}),
    "strange type": msgpack.encode({"type": "SecretMessage"}),
    "type of a type": msgpack.encode({"type": ["ViewerCameraMessage"]}),
    "missing": msgpack.encode({"type": "ViewerCameraMessage", "fov": 1.0}),
    "client id": msgpack.encode({**CAMERA, "client_id": 7}),
    "excluded": msgpack.encode({**CAMERA, "excluded_self_client": 0}),
    "short": msgpack.encode({**CAMERA, "wxyz": [1.0, 0.0]}),
    "words": msgpack.encode({**CAMERA, "position": ["a", "b", "c"]}),
    "oversized": bytes(2 << 20),
    "large": bytes(900_000),
    "nested": b"\x91" * 500_000 + b"\xc0",
    "nested value": msgpack.encode(
        {"type": "GuiUpdateMessage", "uuid": "a", "updates": {"value": [[[[[[1]]]]]]}}
    ),
    "long": msgpack.encode(
        {"type": "GuiUpdateMessage", "uuid": "a", "updates": {"value": [0] * 9000}}
    ),
    "huge array": b"\xdd\xff\xff\xff\xff",
    "extension": b"\x81\xa4type\xd4\x05\x00",
}


def test_a_bad_message_ends_its_own_connection_only(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with joined(server) as healthy:
        healthy.send(msgpack.encode(CAMERA))
        assert seen(lambda: len(server.viser.get_clients()) == 1) and quiet(healthy)
        for name, message in BAD.items():
            caplog.clear()
            with joined(server) as client:
                client.send(message)
                closed = ended(client).rcvd
            code = 1009 if name == "oversized" else 1008
            assert closed is not None and closed.code == code, name
            assert len(caplog.records) <= 1, name
            assert all(record.exc_info is None for record in caplog.records)
            assert {record.name for record in caplog.records} <= {"splat.viewer"}
        assert len(server.viser.get_clients()) == 1
        server.viser.gui.add_markdown("still here")
        assert healthy.recv(timeout=3)


def test_what_does_no_harm_is_passed_over(server: Server) -> None:
    heard: list[Any] = []
    slider = server.viser.gui.add_slider("size", min=0.0, max=1.0, step=0.1, initial_value=0.5)
    slider.on_update(lambda event: heard.append(event.target.value))
    uuid = slider._impl.uuid

    def turned(**updates: Any) -> bytes:
        return msgpack.encode({"type": "GuiUpdateMessage", "uuid": uuid, "updates": updates})

    with joined(server) as client:
        for change in (
            *({"position": [NAN, 0.0, 0.0]}, {"fov": float("inf")}, {"fov": -1.0}),
            *({"wxyz": [0, 0, 0, 0]}, {"image_width": 0}, {"image_height": 1 << 40}),
        ):
            client.send(msgpack.encode({**CAMERA, **change}))
        assert quiet(client) and not server.viser.get_clients()
        client.send(msgpack.encode(CAMERA))
        assert seen(lambda: len(server.viser.get_clients()) == 1)
        for value in (NAN, "nan", "wide", [1.0], None, True, {"a": 1}):
            client.send(turned(value=value))
        client.send(turned(removed=True, update_cb=[]))
        client.send(turned(value=1))
        assert seen(lambda: heard == [1.0])
        assert not slider._impl.removed


def test_a_callback_that_fails_costs_a_line(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    button = server.viser.gui.add_button("press")

    @button.on_click
    def _(event: object) -> None:
        raise KeyError("far")

    press = {"type": "GuiUpdateMessage", "uuid": button._impl.uuid, "updates": {"value": True}}
    point = {"type": "ScenePointerMessage", "event_type": "click", "modifier": None}
    point |= {"ray_origin": None, "ray_direction": None, "screen_pos": []}

    @server.viser.scene.on_click()
    def _(event: object) -> None:
        raise AssertionError("never gets this far")

    with joined(server) as client:
        client.send(msgpack.encode(CAMERA))
        assert seen(lambda: len(server.viser.get_clients()) == 1)
        client.send(msgpack.encode(press))
        assert seen(lambda: "KeyError: 'far'" in caplog.text)
        client.send(msgpack.encode(point))
        assert seen(lambda: "AssertionError" in caplog.text)
        assert quiet(client)
    assert len(caplog.records) == 2 and "Traceback" not in caplog.text


def test_no_public_link(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[object] = []
    monkeypatch.setattr(viser.ViserServer, "request_share_url", asked_for.append)
    handlers = server.viser._websock_server._incoming_handlers
    assert not {_messages.ShareUrlRequest, _messages.ShareUrlDisconnect} & set(handlers)
    with joined(server) as client:
        for name in ("ShareUrlRequest", "ShareUrlDisconnect"):
            client.send(msgpack.encode({"type": name}))
        client.send(msgpack.encode(CAMERA))
        assert seen(lambda: len(server.viser.get_clients()) == 1) and quiet(client)
    assert not asked_for and server.viser._share_tunnel is None


def test_another_version_is_told(server: Server) -> None:
    with joined(server, protocol="viser-v0.0.1") as client:
        closed = ended(client)
    assert closed.rcvd is not None and closed.rcvd.code == 1002
    assert "reload the page" in closed.rcvd.reason


def test_a_taken_port_makes_way() -> None:
    with closing(Server(port=0)) as first, closing(Server(port=first.port)) as second:
        assert second.port > first.port
        assert any(f"port {first.port} is taken" in line for line in second.address_lines())
        assert asked(first).status == asked(second).status == 200


def test_closing_frees_the_port_and_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Server(port=0)
    thread = server.viser._websock_server._server_thread
    assert thread is not None and thread.daemon
    # One client that never answers a goodbye, and one that never asks for anything.
    mute = socket.create_connection(("127.0.0.1", server.port))
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{key}"
    offer = f"Sec-WebSocket-Protocol: {PROTOCOL}"
    mute.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n{offer}\r\n\r\n".encode())
    assert mute.recv(12) == b"HTTP/1.1 101"
    idle = socket.create_connection(("127.0.0.1", server.port))
    with mute, idle, joined(server) as client:
        client.send(msgpack.encode(CAMERA))
        assert seen(lambda: len(server.viser.get_clients()) == 1)
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < 2
        assert not thread.is_alive()
        ended(client)
        for each in (mute, idle):
            each.settimeout(1)
            with suppress(ConnectionResetError):
                while each.recv(1 << 16):
                    pass
    server.close()
    assert not caplog.records
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", server.port))


def test_garbage_in_place_of_a_request(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for garbage in (b"\x16\x03\x01\x02\x00\x01", b"GET /\r\n\r\n", b"\n" * 99, b"A" * 9999, b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
            plain.sendall(garbage)
            plain.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                assert not plain.recv(100).startswith(b"HTTP/1.1 200")
    path = "/?" + "&".join("token=x" for _ in range(99)) + "&[%ff"
    assert asked(server, path).status == 200 and not caplog.records


def test_calls_of_others_are_left_alone() -> None:
    door = Door(place("127.0.0.1"), 0, Gate(None), Inbox({}), PROTOCOL)
    real, calls = websockets.asyncio.server.serve, []
    with door_in_place(door):
        instead = websockets.asyncio.server.serve
        assert instead is not real
    assert websockets.asyncio.server.serve is real
    for args in ((print, "127.0.0.1", 0), (print, None, 5), ()):
        assert door(lambda *given, **named: calls.append((given, named)), *args, max_size=7) is None
    assert [given for given, _ in calls] == [(print, "127.0.0.1", 0), (print, None, 5), ()]
    assert all(named == {"max_size": 7} for _, named in calls) and not door.taken


def test_beyond_localhost_a_token_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_TTY", raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 5 10.0.0.2 22")
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("socket.gethostname", lambda: "gpu7")
    with closing(Server(host="0.0.0.0", port=0)) as server:
        assert server.token is not None and len(server.token) >= 20
        assert server.url == f"http://localhost:{server.port}/?token={server.token}"
        url, tunnel, warning = server.address_lines()
        assert url == server.url
        assert tunnel == f"ssh -L {server.port}:localhost:{server.port} ada@gpu7"
        assert "anybody on the network" in warning and server.token in warning
        assert asked(server).status == 401
        assert asked(server, f"/?token={server.token}", Host="gpu7").status == 200
    monkeypatch.delenv("SSH_CONNECTION")
    with closing(Server(host="127.0.0.1", port=0)) as server:
        assert server.address_lines() == [f"http://127.0.0.1:{server.port}"]


def test_the_sixth_version_of_addresses() -> None:
    try:
        place("::1")
    except ValueError:
        pytest.skip("this machine has no IPv6")
    with closing(Server(host="[::1]", port=0)) as server:
        assert (server.token, server.url) == (None, f"http://[::1]:{server.port}")
    with closing(Server(host="::", port=0)) as server:
        assert server.url == f"http://[::1]:{server.port}/?token={server.token}"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"port": 70_000}, "port is 70000; give a number of 0"),
        ({"port": -1}, "port is -1"),
        ({"host": "no.such.host.invalid"}, "which has no address; give localhost"),
        ({"host": ""}, "host is ''"),
        ({"host": "192.0.2.1"}, "cannot be bound"),
        ({"token": " "}, "token is empty"),
    ],
)
def test_bad_input(options: dict[str, Any], sentence: str) -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match=sentence.replace(".", r"\.")) as caught:
        Server(**{"port": 0, **options})
    assert "\n" not in str(caught.value) and threading.active_count() == before


def test_the_last_ports_are_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 65535))
        taken.listen()
        with pytest.raises(ValueError, match="port 65535 is taken, and so are those after it"):
            Server(host="127.0.0.1", port=65535)


def test_a_viser_that_cannot_be_guarded_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    real, hosts = websockets.asyncio.server.serve, []

    def unknown(self: object, serve: Callable[..., Any], *args: Any, **options: Any) -> Any:
        hosts.append(args[1])
        return serve(*args, **options)

    monkeypatch.setattr("splat.viewer.door.Door.__call__", unknown)
    before = threading.active_count()
    with pytest.raises(ValueError, match="cannot be guarded"):
        Server(host="0.0.0.0", port=0)
    assert hosts == ["127.0.0.1"] and seen(lambda: threading.active_count() == before)
    assert websockets.asyncio.server.serve is real


def test_without_viser(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.available() and module.Client is viser.ClientHandle
    assert module.Gui is viser.GuiApi
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert not module.available()
    with pytest.raises(ValueError, match=r"run `pip install 'splat-toolkit\[viewer\]'`"):
        Server(port=0)


def test_a_server_left_open_holds_up_nobody() -> None:
    code = f"""if True:
        import socket, sys, time
        from splat.viewer import server
        assert "viser" not in sys.modules
        made = server.Server(port=0)
        from websockets.sync.client import connect

        def joined():
            plug = socket.create_connection(("127.0.0.1", made.port))
            offer = {PROTOCOL!r}
            client = connect("ws://localhost", subprotocols=[offer], sock=plug, close_timeout=1)
            before = len(made.viser.get_clients())
            client.send({msgpack.encode(CAMERA)!r})
            while len(made.viser.get_clients()) == before:
                time.sleep(0.01)
            return client

        with joined():
            handle = made.viser.get_clients()[0]
        while made.viser.get_clients():
            time.sleep(0.01)
        handle.gui.add_markdown("to somebody who has left")
        client = joined()
        sys.__stdout__.write("end")
    """
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end", "")
    assert time.monotonic() - start < 10


def test_of_cameras_that_come_thick_and_fast_the_newest_counts(server: Server) -> None:
    server.listen(0.1)
    places: list[float] = []
    server.viser.on_client_connect(
        lambda client: client.camera.on_update(lambda camera: places.append(camera.position[0]))
    )
    with closing(joined(server)) as client:
        client.send(msgpack.encode(CAMERA))
        assert seen(lambda: bool(server.viser.get_clients()))
        for i in range(40):
            client.send(msgpack.encode({**CAMERA, "position": [float(i), 0.0, 2.0]}))
            time.sleep(0.01)
        assert seen(lambda: bool(places) and places[-1] == 39.0)
    assert places == sorted(places)
    assert len(places) <= 10, "one each tenth of a second, in four"
