"""What must be right before the first link: certificates, socket, own address.

Every mistake is told at the start, with its cure: later it would only look like an instance
that cannot be reached.
"""

from __future__ import annotations

import contextlib
import ipaddress
import ssl
from collections.abc import Iterator

from whatsapp import config
from whatsapp.errors import StartupError
from whatsapp.listen import Listening, listen

PORT_MAX = 65_535


def tls_contexts(settings: config.Cluster) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
    """For waiting and for dialling; None where the links are plain.

    Whose certificate comes from our authority is one of us: the host in it is not compared,
    since addresses of instances come and go. Which instance it is, the handshake proves.
    """
    files = {
        "tls_certificate": settings.tls_certificate,
        "tls_key": settings.tls_key,
        "tls_authority": settings.tls_authority,
    }
    if not any(files.values()):
        return None
    for option, file in files.items():
        _check_readable(option, file)
    waits = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    dials = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (waits, dials):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise StartupError(
                f"[cluster] tls_certificate, tls_key: no pair of the two in PEM form: {error}",
                "Name a certificate and its own key, the key without a passphrase.",
            ) from None
        try:
            context.load_verify_locations(cafile=settings.tls_authority)
        except ssl.SSLError as error:
            raise StartupError(
                f"[cluster] tls_authority: no certificate in PEM form: {error}",
                "Name the certificate of the authority that signed those of the instances.",
            ) from None
    return waits, dials


def _check_readable(option: str, file: str) -> None:
    if not file:
        raise StartupError(
            f"[cluster] {option}: is missing, and other tls_ options are set",
            "Set tls_certificate, tls_key and tls_authority, or none of them.",
        )
    try:
        with open(file, "rb"):  # noqa: PTH123  (a Path would make "" the current folder)
            pass
    except OSError as error:
        raise StartupError(
            f"[cluster] {option}: {file}: cannot be read: {error.strerror}",
            "Name a PEM file that this user may read.",
        ) from None


@contextlib.contextmanager
def listening_for(settings: config.Cluster) -> Iterator[Listening]:
    """The socket for the others, in the words of [cluster] where it cannot be had."""
    with contextlib.ExitStack() as stack:
        try:
            listening = stack.enter_context(listen(settings.host, settings.port, tries=0))
        except StartupError as error:
            raise StartupError(
                f"[cluster] host, port: {error.cause}",
                "Set [cluster] host to an address of this machine, and port to a free one or to 0.",
            ) from None
        yield listening


def split_address(address: str) -> tuple[str, int | None]:
    """Host and port of "host:port", "[::1]:port" or either without a port. Else `ValueError`."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (":" in host and not host.endswith("]")):
        host, port = address, ""
    elif not (port.isascii() and port.isdigit() and 0 < int(port) <= PORT_MAX):
        raise ValueError(f"{address!r} has no port from 1 to {PORT_MAX}")
    host = host.removeprefix("[").removesuffix("]")
    if not host or any(character in host for character in " /@[]"):
        raise ValueError(f"{address!r} is not a host and a port")
    return host, int(port) if port else None


def own_address(settings: config.Cluster, listening: Listening) -> str:
    """ "host:port" for the others. `StartupError` where nobody could dial it."""
    cure = 'Set [cluster] address to where the others reach this instance, "name" or "name:port".'
    if not settings.address:
        addresses = [sock.getsockname()[0] for sock in listening.sockets]
        if any(ipaddress.ip_address(each.partition("%")[0]).is_unspecified for each in addresses):
            raise StartupError(
                f"[cluster] address: is missing, and host {settings.host} is no address to dial",
                cure,
            )
    try:
        host, port = split_address(settings.address or listening.host)
    except ValueError as error:
        raise StartupError(f"[cluster] address: {error}", cure) from None
    port = port or listening.port
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
