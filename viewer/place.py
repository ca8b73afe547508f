"""Where a viewer listens: addresses that can be bound, and ports to try."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Hosts that only this machine reaches."""
TRIES = 100
"""Ports that are tried, one after the other, while they are taken."""


@dataclass(frozen=True)
class Place:
    """A host's name and its addresses, each of which was bound for a moment."""

    host: str
    addresses: tuple[str, ...]

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOCAL

    @property
    def everywhere(self) -> bool:
        """Whether it stands for every address of the machine."""
        return ipaddress.ip_address(self.addresses[0].partition("%")[0]).is_unspecified

    def ports(self, port: int) -> Iterator[int]:
        """Ports to try, from `port` upwards; 0: whatever the system gives."""
        if port:
            yield from range(port, min(port + TRIES, 1 << 16))
            return
        for _ in range(TRIES):
            yield _bound(self.addresses[0])

    def failure(self, error: OSError, port: int) -> str | None:
        """Sentence about a port that could not be had; None: it is taken, try the next."""
        if error.errno == errno.EACCES and 0 < port < 1024:
            return f"port {port} needs an administrator's rights; choose one of 1024 to 65535"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        return f"port {port} of {self.host} cannot be listened at: {error.strerror or error}"


def place(host: str) -> Place:
    """The addresses of a host. ValueError, one sentence: it is none of this machine."""
    name = host.strip().strip("[]").lower()
    advice = "give localhost, or 0.0.0.0 for every address of this machine"
    try:
        found = socket.getaddrinfo(name or "?", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(f"host is {host!r}, which has no address; {advice}") from None
    addresses, problem = [], ""
    for address in dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found):
        if name in LOCAL and not ipaddress.ip_address(address).is_loopback:
            raise ValueError(f"host is {host!r}, but its address is {address}; give 127.0.0.1")
        try:
            _bound(address)
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            addresses.append(address)
    if not addresses:
        raise ValueError(f"host is {host!r}, which cannot be bound ({problem}); {advice}")
    return Place(name, tuple(addresses))


def _bound(address: str) -> int:
    """A port that an address has free. OSError where it cannot be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.bind((address, 0))
        return int(trial.getsockname()[1])
