"""Access control of the viewer's port, applied before viser hears of a request."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

_PORTS = {"http": 80, "https": 443}


@dataclass
class Gate:
    """Who is let in: by token, by the origin of the page, and by the host asked for.

    A token is given once as `?token=…` and from then on by a cookie. A page of another site must
    not steer a viewer on this machine, nor may one whose name was made to lead here.
    """

    token: str | None
    names: frozenset[str] = frozenset()
    """Names of this machine, lower case, that `Host` may have where there is no token."""
    port: int = 0
    """The port that was bound, in the name of the cookie: hosts share cookies among ports."""

    @property
    def cookie(self) -> str:
        """Name of the cookie that holds the token."""
        return f"splat_{self.port}"

    def refusal(self, request: Request) -> tuple[HTTPStatus, str] | None:
        """Status and sentence for a request that is refused; None: it is let in."""
        hosts, origins = request.headers.get_all("Host"), request.headers.get_all("Origin")
        host = _address(f"//{hosts[0]}") if len(hosts) == 1 else None
        if host is None or not (self.token or self._known(host[0])):
            return HTTPStatus.FORBIDDEN, (
                "This viewer answers to the name localhost and to IP addresses only; "
                f"open http://localhost:{self.port}"
            )
        if origins and not (len(origins) == 1 and _same(origins[0], hosts[0])):
            return HTTPStatus.FORBIDDEN, "This viewer answers to its own page only."
        if self.token and not (self._asked(request) or self._remembered(request.headers)):
            return HTTPStatus.UNAUTHORIZED, (
                "This viewer needs its token; open the address that splat printed, "
                "which ends in ?token=..."
            )
        return None

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The response to a request that is refused; None: it is let in."""
        refused = self.refusal(request)
        return refused and connection.respond(refused[0], refused[1] + "\n")

    def dress(self, request: Request, response: Response) -> None:
        """Add the cookie, the referrer policy, and who may frame the page to a response."""
        if response.headers.get("Content-Type", "").startswith("text/html"):
            response.headers["Referrer-Policy"] = "no-referrer"
            # In a frame of another site a visitor would click on what they do not see.
            response.headers["Content-Security-Policy"] = "frame-ancestors 'self'"
            response.headers["X-Frame-Options"] = "SAMEORIGIN"
        if self.token and self._asked(request):
            worth = quote(self.token, safe="")
            response.headers["Set-Cookie"] = (
                f"{self.cookie}={worth}; HttpOnly; SameSite=Strict; Path=/"
            )

    def _asked(self, request: Request) -> bool:
        try:
            fields = parse_qsl(request.path.partition("?")[2], max_num_fields=50)
        except ValueError:
            return False
        return self._right(value for name, value in fields if name == "token")

    def _remembered(self, headers: Headers) -> bool:
        pairs = (
            part.strip().partition("=")
            for header in headers.get_all("Cookie")
            for part in header.split(";")
        )
        return self._right(unquote(value) for name, _, value in pairs if name == self.cookie)

    def _right(self, tokens: Iterable[str]) -> bool:
        wanted = (self.token or "").encode()
        offered = [token.encode("utf-8", "replace") for token in tokens]
        return bool(wanted) and any([hmac.compare_digest(each, wanted) for each in offered])

    def _known(self, name: str) -> bool:
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _address(url: str) -> tuple[str, int | None] | None:
    """Host, lower case, and port of an address; None where it is invalid or has more parts."""
    try:
        parts = urlsplit(url)
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
        return None
    return name.rstrip("."), port


def _same(origin: str, host: str) -> bool:
    """Whether the origin of a page is the host and port that it asks."""
    scheme = origin.partition(":")[0].lower()
    theirs, ours = _address(origin), _address(f"//{host}")
    if theirs is None or ours is None or scheme not in _PORTS:
        return False
    usual = _PORTS[scheme]
    return (theirs[0], theirs[1] or usual) == (ours[0], ours[1] or usual)
