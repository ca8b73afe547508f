"""Addresses and ports that the viewer can listen at."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import dataclass

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Hosts that only this machine can reach."""
TRIES = 100
"""Most ports that are tried, one after the other, while they are taken."""


@dataclass(frozen=True)
class Place:
    """A host and its addresses, each of which could be bound."""

    host: str
    addresses: tuple[str, ...]

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOCAL

    @property
    def everywhere(self) -> bool:
        """Whether it stands for all addresses of the machine."""
        return ipaddress.ip_address(self.addresses[0].partition("%")[0]).is_unspecified

    def ports(self, port: int) -> Iterator[int]:
        """Ports to try, from `port` upwards; 0: free ones that the system gives."""
        if port:
            yield from range(port, min(port + TRIES, 1 << 16))
            return
        for _ in range(TRIES):
            yield _bound(self.addresses[0])

    def failure(self, error: OSError, port: int) -> str | None:
        """Why a port cannot be bound, a sentence; None: it is taken, try the next."""
        if error.errno == errno.EACCES and 0 < port < 1024:
            return f"port {port} needs an administrator's rights; choose one of 1024 to 65535"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        return f"port {port} of {self.host} cannot be listened at: {error.strerror or error}"


def place(host: str) -> Place:
    """The addresses of a host; ValueError where it is none of this machine."""
    name = host.strip().strip("[]").lower()
    advice = "give localhost, or 0.0.0.0 for every address of this machine"
    try:
        infos = socket.getaddrinfo(name or "?", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ValueError(f"host is {host!r}, which has no address; {advice}") from None
    addresses, problem = [], ""
    for address in dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in infos):
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
    """A free port of an address; OSError where it cannot be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.bind((address, 0))
        return int(trial.getsockname()[1])
