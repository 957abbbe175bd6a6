"""REST over HTTP: `endpoints.py`'s table as aiohttp routes, errors as problem documents.

What is asked of a request here, before any module sees it: a token where one is needed, a
body of bounded size that is JSON and has no unknown members, query parameters that are known,
single and in bounds, ids in canonical form. What goes wrong anywhere in a request becomes
`application/problem+json` (RFC 9457) in one place, `problems`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from whatsapp import contract
from whatsapp.endpoints import OPERATIONS
from whatsapp.errors import (
    Answer,
    BadRequest,
    Internal,
    NotFound,
    StartupError,
    TooLarge,
    Unauthorized,
)
from whatsapp.model import Actor, user_id
from whatsapp.operations import Call, Modules, Operation, Parameter, parameters
from whatsapp.resources import Problem

log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 131_072
BODY_TIMEOUT_SECONDS: Final = 30.0
PATH_PARAMETER_CHARACTERS_MAX: Final = 128
PROBLEM_JSON: Final = "application/problem+json"
# Not of HTTP: what nginx and others say of a client that did not wait for its answer.
CLIENT_GONE: Final = 499
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_DOCUMENT_HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE: Final = (
    ("/docs", "index.html", "text/html"),
    ("/docs/docs.css", "docs.css", "text/css"),
    ("/docs/docs.js", "docs.js", "text/javascript"),
    ("/docs/schema.js", "schema.js", "text/javascript"),
)

_NOBODY: Final = Actor("", "")
_bearer = re.compile(r"bearer +([A-Za-z0-9._~+/=-]{1,512})", re.IGNORECASE)
_digits = re.compile(r"[0-9]{1,19}", re.ASCII)
_encode = msgspec.json.Encoder().encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Proxies = Sequence[IPv4Network | IPv6Network]
# Told of each answered request: operation, status, seconds, headers of the request.
Seen = Callable[[str, int, float, Mapping[str, str]], None]


def proxies(networks: Sequence[str]) -> Proxies:
    """The configured addresses and networks of proxies, or `StartupError`."""
    try:
        return [ip_network(text, strict=False) for text in networks]
    except ValueError as error:
        raise StartupError(
            f"[server] trusted_proxies: {error}",
            'Name addresses or networks, such as "127.0.0.1" or "10.0.0.0/8".',
        ) from None


def client_address(request: web.Request, trusted: Proxies) -> str:
    """Where a request comes from, for limits; what a proxy says counts if we trust it.

    Why from the right: what stands further left in X-Forwarded-For the client itself may have
    written; the first address that is not a proxy of ours is the last one we can believe.
    """
    address = request.remote or "local"
    if not trusted or not _within(address, trusted):
        return address
    told = ",".join(request.headers.getall("X-Forwarded-For", ()))
    for part in reversed(told.split(",")):
        hop = part.strip()
        if not _is_address(hop):
            return address
        address = hop
        if not _within(hop, trusted):
            return address
    return address


def routes(
    modules: Modules, trusted: Proxies = (), seen: Seen = lambda *_: None
) -> list[web.RouteDef]:
    """The whole table as routes. GET answers HEAD too."""
    return [
        web.RouteDef(
            operation.method,
            operation.path,
            _Endpoint(operation, modules, trusted, seen).handle,
            {"allow_head": True} if operation.method == "GET" else {},
        )
        for group in OPERATIONS.values()
        for operation in group
    ]


def documents() -> list[web.RouteDef]:
    """The published contract and the page that shows it; the page's files are in the package."""
    served = [
        web.get("/openapi.json", _document(contract.openapi, "application/json")),
        web.get("/asyncapi.json", _document(contract.asyncapi, "application/json")),
    ]
    for path, name, content_type in _PAGE:
        read = cache(Path(__file__).with_name("docs").joinpath(name).read_bytes)
        served.append(web.get(path, _document(read, content_type)))
    return served


def _document(content: Callable[[], bytes], content_type: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(
            body=content(), content_type=content_type, charset="utf-8", headers=_DOCUMENT_HEADERS
        )

    return handle


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error of a request as a problem document; what we did not expect is logged, once."""
    try:
        return await handler(request)
    except Answer as error:
        return problem(error)
    except web.HTTPMethodNotAllowed as error:
        return _method_not_allowed(request, error)
    except web.HTTPError as error:
        return _http_problem(error)
    except (web.HTTPException, ConnectionError):
        raise  # A redirection; or the client is gone, and nobody is left to answer.
    except Exception:
        resource = request.match_info.route.resource
        log.exception(
            "request failed method=%s route=%s",
            request.method,
            resource.canonical if resource is not None else "none",
        )
        return problem(Internal("something went wrong here; it was logged, try again later"))


def problem(error: Answer, status: int | None = None) -> web.Response:
    """An error as RFC 9457 wants it; `type` points into the published documentation."""
    status = error.status if status is None else status
    headers = dict(HEADERS)
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, -(-error.retry_after_ms // 1000)))
    if status == Unauthorized.status:
        headers["WWW-Authenticate"] = "Bearer"
    body = Problem(
        type=f"/docs#{error.code}",
        title=error.code.replace("_", " ").capitalize(),
        status=status,
        detail=error.message,
        code=error.code,
        retry_after_ms=error.retry_after_ms,
    )
    return web.Response(
        status=status, body=_encode(body), content_type=PROBLEM_JSON, headers=headers
    )


class _Endpoint:
    """One operation, served."""

    def __init__(
        self, operation: Operation[Any, Any], modules: Modules, trusted: Proxies, seen: Seen
    ) -> None:
        self._operation = operation
        self._modules = modules
        self._trusted = trusted
        self._seen = seen
        self._parameters = parameters(operation.query)
        self._decoder = msgspec.json.Decoder(operation.body) if operation.body else None

    async def handle(self, request: web.Request) -> web.Response:
        began = time.perf_counter()
        status = Internal.status
        try:
            response = await self._answered(request)
            status = response.status
        except Answer as error:
            status = error.status
            raise
        except ConnectionError:
            status = CLIENT_GONE
            raise
        else:
            return response
        finally:
            self._seen(self._operation.name, status, time.perf_counter() - began, request.headers)

    async def _answered(self, request: web.Request) -> web.Response:
        operation = self._operation
        actor = _NOBODY if operation.public else await self._actor(request)
        call = Call(
            modules=self._modules,
            address=client_address(request, self._trusted),
            actor=actor,
            query=self._query(request),
            body=await self._body(request),
            **_path(request),
        )
        answer = await operation.handler(call)
        if operation.answer is None:
            return web.Response(status=204, headers=HEADERS)
        return web.Response(
            status=operation.status,
            body=_encode(answer),
            content_type="application/json",
            headers=HEADERS,
        )

    async def _actor(self, request: web.Request) -> Actor:
        match = _bearer.fullmatch(request.headers.get("Authorization", ""))
        if match is None:
            raise Unauthorized("log in, and send the token as 'Authorization: Bearer <token>'")
        token = match.group(1)
        return self._modules.auth.known(token) or await self._modules.auth.authenticate(token)

    def _query(self, request: web.Request) -> Any:
        given: dict[str, int | str] = {}
        for name, text in request.query.items():
            parameter = self._parameters.get(name)
            if parameter is None:
                raise BadRequest(_unknown(name, self._parameters))
            if name in given:
                raise BadRequest(f"the query parameter {name} is given twice")
            given[name] = _value(parameter, text)
        for name, parameter in self._parameters.items():
            if parameter.required and name not in given:
                raise BadRequest(f"the query parameter {name} is missing")
        if self._operation.query is None:
            return None
        return msgspec.convert(given, self._operation.query)

    async def _body(self, request: web.Request) -> Any:
        data = await _read(request)
        if self._decoder is None:
            if data.strip() not in {b"", b"{}"}:
                raise BadRequest("this request takes no body")
            return None
        if request.headers.get("Content-Type") and request.content_type != "application/json":
            raise BadRequest("send the body as Content-Type: application/json")
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise BadRequest(_plainly(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise BadRequest("the body is not a JSON object in UTF-8") from None


async def _read(request: web.Request) -> bytes:
    """The whole body, unpacked, of bounded size and time."""
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise TooLarge(f"a body is at most {BODY_BYTES_MAX} bytes")
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for piece in request.content.iter_any():
                data += piece
                if len(data) > BODY_BYTES_MAX:
                    raise TooLarge(f"a body is at most {BODY_BYTES_MAX} bytes")
    except TimeoutError:
        raise BadRequest("the body did not come in time") from None
    except web.RequestPayloadError:
        raise BadRequest("the body is not what its headers say") from None
    return bytes(data)


def _path(request: web.Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in request.match_info.items():
        if len(text) > PATH_PARAMETER_CHARACTERS_MAX or not _is_proper(text):
            raise NotFound("there is nothing at this address")
        found[name] = text
    if "user" in found:
        found["user"] = user_id(found["user"])
    if "chat" in found:
        found["chat"] = found["chat"].lower()
    return found


def _value(parameter: Parameter, text: str) -> int | str:
    """A parameter's text as what it stands for, in its bounds."""
    name = parameter.name
    low, high = parameter.low, parameter.high
    if parameter.integer:
        if not _digits.fullmatch(text) or not low <= int(text) <= high:
            raise BadRequest(f"{name} is a whole number from {low} to {high}")
        return int(text)
    if not low <= len(text) <= high or not _is_proper(text):
        raise BadRequest(f"{name} is a text of {low} to {high} characters")
    return text


def _unknown(name: str, known: dict[str, Parameter]) -> str:
    shown = name[:64].encode(errors="replace").decode()
    if not known:
        return f"unknown query parameter {shown}; this request takes none"
    return f"unknown query parameter {shown}; there are {', '.join(known)}"


def _plainly(error: msgspec.ValidationError) -> str:
    """What msgspec says about a body, in the words of JSON's users; the member comes first."""
    said, _, where = str(error).replace("`", "").partition(" - at $")
    said = f"{said[:1].lower()}{said[1:]}".replace("object ", "the object ", 1)
    return f"{where.lstrip('.')}: {said}" if where else said


def _is_proper(text: str) -> bool:
    """Is it text that a store can keep? (Broken UTF-8 in a request line becomes surrogates.)"""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _within(address: str, networks: Proxies) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)


def _method_not_allowed(
    request: web.Request, error: web.HTTPMethodNotAllowed
) -> web.StreamResponse:
    allowed = ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))
    if request.method == "OPTIONS":
        return web.Response(status=204, headers={**HEADERS, "Allow": allowed})
    refusal = BadRequest(f"this address knows {allowed}, not {request.method[:16]}")
    response = problem(refusal, error.status)
    response.headers["Allow"] = allowed
    return response


def _http_problem(error: web.HTTPError) -> web.StreamResponse:
    """What aiohttp itself refused."""
    if error.status == NotFound.status:
        return problem(NotFound("there is nothing at this address"))
    if error.status == TooLarge.status:
        return problem(TooLarge("the request is too large"))
    if error.status >= Internal.status:
        return problem(Internal("the server cannot do that"), error.status)
    return problem(BadRequest(f"the request was not understood: {error.reason}"), error.status)
