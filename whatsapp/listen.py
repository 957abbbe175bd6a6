"""The listening sockets: which address, which port, and what to say where it cannot be.

They listen before the stores are opened. So a taken port is reported before anything is
touched, and a client that comes while the server starts waits instead of being refused.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterator

from msgspec import Struct

from whatsapp.errors import StartupError

BACKLOG = 4096
# With port 0 and several addresses, the port that is free on the first may not be on the next.
FREE_PORT_TRIES = 10

Address = tuple[socket.AddressFamily, str]


class Listening(Struct, frozen=True, kw_only=True):
    """Where the server is. `moved_from`: the port that was meant, where that was taken; or 0."""

    sockets: tuple[socket.socket, ...]
    host: str
    port: int
    loopback: bool
    moved_from: int = 0

    @property
    def url(self) -> str:
        """An address that works on this machine."""
        host = "localhost" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@contextlib.contextmanager
def listen(host: str, port: int, *, tries: int) -> Iterator[Listening]:
    """Listen on every address of `host`, on `port` or one of the `tries` ports after it.

    Port 0 is any free one. `StartupError` says what is in the way.
    """
    addresses = _resolve(host)
    sockets, taken = _first_free(addresses, port, tries, host)
    try:
        yield Listening(
            sockets=sockets,
            host=host,
            port=taken,
            loopback=all(ipaddress.ip_address(_bare(ip)).is_loopback for _, ip in addresses),
            moved_from=port if port not in {0, taken} else 0,
        )
    finally:
        for sock in sockets:
            sock.close()


def port_problem(host: str, port: int) -> StartupError | None:
    """What would keep a server from listening there now."""
    try:
        with listen(host, port, tries=0):
            return None
    except StartupError as error:
        return error


def _resolve(host: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise StartupError(
            f"host {host!r} is not an address and has none: {error}",
            "Name an address of this machine with --host; 127.0.0.1 is this machine only.",
        ) from None
    return list(dict.fromkeys((family, str(address[0])) for family, *_, address in found))


def _first_free(
    addresses: list[Address], port: int, tries: int, host: str
) -> tuple[tuple[socket.socket, ...], int]:
    last = min(port + tries, 65_535)
    attempts = list(range(port, last + 1)) if port else [0] * FREE_PORT_TRIES
    for attempt in attempts[:-1]:
        try:
            return _bind(addresses, attempt)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise _explained(error, host, port, port) from None
    try:
        return _bind(addresses, attempts[-1])
    except OSError as error:
        raise _explained(error, host, port, last) from None


def _bind(addresses: list[Address], port: int) -> tuple[tuple[socket.socket, ...], int]:
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, ip in addresses:
            try:
                sockets.append(_listening(family, ip, port))
            except OSError as error:
                # "localhost" has an IPv6 address also where the machine has no IPv6.
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                absent = error
                continue
            port = sockets[-1].getsockname()[1]
        if absent is not None and not sockets:
            raise absent
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return tuple(sockets), port


def _listening(family: socket.AddressFamily, ip: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Resolved again for the scope of a link-local address (fe80::1%eth0).
        target = socket.getaddrinfo(ip, port, family, socket.SOCK_STREAM)[0][4]
        sock.bind(target)
        sock.listen(BACKLOG)
        sock.setblocking(False)  # noqa: FBT003
    except OSError:
        sock.close()
        raise
    return sock


def _explained(error: OSError, host: str, port: int, last: int) -> StartupError:
    ports = f"port {port}" if port == last else f"ports {port} to {last}"
    if error.errno == errno.EADDRINUSE:
        return StartupError(
            f"{ports} on {host}: in use by another program"
            if port == last
            else f"{ports} on {host}: all in use",
            "Stop that program, or name another port with --port (0 takes any free one).",
        )
    if error.errno == errno.EACCES:
        return StartupError(
            f"{ports} on {host}: not allowed for this user",
            "Take a port of 1024 or more with --port, or give the process CAP_NET_BIND_SERVICE.",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return StartupError(
            f"host {host}: this machine has no such address",
            "Name one that it has with --host; 0.0.0.0 is all of them.",
        )
    return StartupError(
        f"{ports} on {host}: {error.strerror}", "Name another address with --host and --port."
    )


def _bare(ip: str) -> str:
    return ip.partition("%")[0]
