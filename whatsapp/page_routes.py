"""The web client: the files of `page/`, as they are, at the addresses a browser asks for.

There is no build step. What this adds to the files: headers that let the page load nothing
but itself, an `ETag` for each so that a browser that has a file only asks whether it is still
the same, gzip where it helps, and, in front of `sw.js`, the list of files that make the page
work without the server.

    GET /                      index.html
    GET /page/…                scripts, styles, icons
    GET /manifest.webmanifest  what an installed page is called and looks like
    GET /sw.js                 the service worker; at the root, since it may only see what is below
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import web
from msgspec import Struct

FOLDER: Final = Path(__file__).with_name("page")

CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
# Files of the root; all others are below /page/.
ROOT: Final = {
    "index.html": "/",
    "manifest.webmanifest": "/manifest.webmanifest",
    "sw.js": "/sw.js",
}
WORKER: Final = "sw.js"
UNPACKED: Final = frozenset({".png"})

# `no-cache` is "keep it, but ask": the addresses carry no version.
HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


Handler = Callable[[web.Request], Awaitable[web.Response]]


class File(Struct, frozen=True):
    """One file, ready to be sent. `packed` is empty where gzip does not help."""

    content_type: str
    body: bytes
    packed: bytes
    digest: str


def routes() -> list[web.RouteDef]:
    """One route for each file: no path of a request ever becomes a path of the disk."""
    return [web.get(address, _handler(address)) for address in addresses()]


@cache
def addresses() -> dict[str, str]:
    """Address → name in the folder, of all that is served."""
    names = sorted(
        path.relative_to(FOLDER).as_posix()
        for path in FOLDER.rglob("*")
        if path.suffix in CONTENT_TYPES
    )
    return {ROOT.get(name, f"/page/{name}"): name for name in names}


@cache
def file(address: str) -> File:
    """Read once, when first asked for."""
    name = addresses()[address]
    body = (FOLDER / name).read_bytes()
    if name == WORKER:
        body = _shell() + body
    packed = b""
    suffix = Path(name).suffix
    if suffix not in UNPACKED:
        packed = gzip.compress(body, mtime=0)
    return File(CONTENT_TYPES[suffix], body, packed, sha256(body).hexdigest()[:32])


def _shell() -> bytes:
    """What the service worker keeps, and a version that changes when any of it does."""
    files = [address for address in addresses() if address != ROOT[WORKER]]
    version = sha256("".join(file(address).digest for address in files).encode()).hexdigest()[:16]
    shell = {"version": version, "files": files}
    return f"self.SHELL = {json.dumps(shell)};\n".encode()


def _handler(address: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        found = file(address)
        packed = bool(found.packed) and _takes_gzip(request)
        tag = f"{found.digest}-gzip" if packed else found.digest
        headers = {**HEADERS, "ETag": f'"{tag}"'}
        known = request.if_none_match or ()
        if any(one.value in {tag, "*"} for one in known):
            return web.Response(status=304, headers=headers)
        headers["Content-Type"] = found.content_type
        if packed:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=found.packed if packed else found.body, headers=headers)

    return handle


def _takes_gzip(request: web.Request) -> bool:
    offered = request.headers.get("Accept-Encoding", "").lower()
    for part in offered.split(","):
        name, _, weight = part.partition(";")
        if name.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
