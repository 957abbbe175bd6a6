"""The published contract: `openapi.json` for REST, `asyncapi.json` for the WebSocket.

Both are made from what the server decodes and encodes with, the structs of `wire.py` and
`resources.py` and the table of `endpoints.py`, so that they cannot drift from it. They are
made at the first request for them and kept.
"""

from __future__ import annotations

from functools import cache
from inspect import cleandoc
from typing import Any, Final, get_args

import msgspec

from whatsapp import errors, examples, resources, schemas, wire
from whatsapp.endpoints import OPERATIONS
from whatsapp.operations import Operation, Query
from whatsapp.schemas import Json

VERSION: Final = "1.0.0"
PROBLEM_JSON: Final = "application/problem+json"

CODES: Final = {
    "bad_request": "The request or frame is not as described here. Mend it; do not repeat it.",
    "unauthorized": "There is no token, or it is not (or no longer) good. Log in.",
    "bad_credentials": "No such user, or the password is wrong.",
    "forbidden": "You may not do that.",
    "not_found": "It does not exist, or you may not see it: there is no telling which.",
    "user_exists": "The user id is taken; ids are never given twice.",
    "weak_password": "The password is too short or too common.",
    "not_member": "You are no longer a member of that group.",
    "group_full": "The group has as many members as a group may have.",
    "too_large": "The text or the body is larger than allowed.",
    "id_reused": "You have used this message id in this chat for other content.",
    "rate_limited": "Too much at once. Wait for `retry_after_ms`.",
    "busy": "The server is overloaded. Try again, later each time.",
    "unavailable": "A part of the server is away; nothing was acknowledged. Repeat with the same "
    "`id`.",
    "internal": "A fault of ours. Trying again later may help.",
}

CLOSE_CODES: Final = {
    wire.CLOSE_NORMAL: "Normal.",
    wire.CLOSE_GOING_AWAY: "The server goes away. Reconnect.",
    wire.CLOSE_BROKEN_FRAME: "A frame was not JSON in UTF-8, or was binary.",
    wire.CLOSE_FRAME_TOO_BIG: "A frame was larger than `limits.frame_bytes`.",
    wire.CLOSE_NO_TOKEN: "No token, or not a good one. Do not retry; log in.",
    wire.CLOSE_NO_HELLO: "`hello` did not come, or not in time.",
    wire.CLOSE_TOO_SLOW: "Frames were waiting and none was taken. Reconnect.",
    wire.CLOSE_REPLACED: "This device has connected anew, elsewhere.",
    wire.CLOSE_REVOKED: "Logged out or revoked. Do not retry; log in.",
    wire.CLOSE_FLOODING: "Too many frames. Reconnect after the time in the reason.",
}

_REST_INTRODUCTION: Final = """\
JSON in, JSON out. Register, log in, and send the token with every other request:
`Authorization: Bearer <token>`. Messages arrive over the WebSocket (see AsyncAPI); REST is for
everything around them, and for bots and scripts.

A body is at most 128 KiB. Members and query parameters that are not described here are refused
by name. Clients must ignore members of answers that they do not know. Errors are
`application/problem+json` (RFC 9457) with a `code`; for machines, only the code counts. An
address that does not exist is answered with 404 `not_found`, a method that it does not know
with 405 and `Allow`.

For operators there are `GET /healthz` (alive), `/readyz` (200, or 503 with what is missing) and
`/metrics` (Prometheus)."""

_FRAMES_INTRODUCTION: Final = f"""\
One JSON object per text frame, subprotocol `{wire.SUBPROTOCOL}` (without it the handshake is
refused). `hello` comes first, within 5 s, with the token unless the handshake's Authorization
header had it; never in the URL. Then come `welcome`, everything that this device has not
acknowledged, and `synced`.

A message is durable when `sent` comes back. Whatever was not answered, send again with the same
`id`: it is stored once. Messages of a chat come in the order of `seq`, without holes; answer
them with `received`, or they come again. A device has at most `limits.window` messages pushed
and not `received`.

The server pings every `limits.heartbeat_s` seconds and closes a connection that is silent for
two of them. Browsers, which cannot send WebSocket pings, send `ping`. Frames of unknown types
and unknown members are answered with `error`, and the connection stays. Clients must ignore
frame types and members that they do not know."""

# What each client frame is answered with, in the order in which the document shows them.
_REPLIES: Final[dict[type, tuple[type, ...]]] = {
    wire.Hello: (wire.Welcome,),
    wire.Send: (wire.Sent, wire.Error),
    wire.Received: (),
    wire.Read: (),
    wire.Typing: (),
    wire.Watch: (wire.Presence,),
    wire.Ping: (wire.Pong,),
}


@cache
def openapi() -> bytes:
    """The OpenAPI 3.1 document of the REST interface."""
    return msgspec.json.encode(openapi_document())


@cache
def asyncapi() -> bytes:
    """The AsyncAPI 3.0 document of the WebSocket."""
    return msgspec.json.encode(asyncapi_document())


def openapi_document() -> Json:
    operations = [operation for group in OPERATIONS.values() for operation in group]
    bodies = [o.body for o in operations if o.body is not None]
    answers = [o.answer for o in operations if o.answer is not None]
    paths: dict[str, Json] = {}
    for tag, group in OPERATIONS.items():
        for operation in group:
            path = paths.setdefault(operation.path, {})
            path[operation.method.lower()] = _operation(tag, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "whatsapp REST",
            "version": VERSION,
            "summary": "Accounts, people, chats, groups, search",
            "description": _REST_INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server"}],
        "tags": [{"name": tag} for tag in OPERATIONS],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "responses": _responses(operations),
            "schemas": schemas.components([*bodies, *answers, resources.Problem]),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "From `login`."}
            },
        },
        "x-error-codes": _error_codes(),
    }


def asyncapi_document() -> Json:
    client, server = get_args(wire.AnyClientFrame), get_args(wire.AnyServerFrame)
    pushed = [kind for kind in server if not any(kind in r for r in _REPLIES.values())]
    operations = {f"on{kind.__name__}": _receiving(kind) for kind in client}
    pushed += [wire.Presence, wire.Error]
    operations |= {f"push{kind.__name__}": _sending(kind) for kind in pushed}
    closes = "\n".join(f"* `{code}` {text}" for code, text in CLOSE_CODES.items())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "whatsapp WebSocket",
            "version": VERSION,
            "description": f"{_FRAMES_INTRODUCTION}\n\nClose codes:\n\n{closes}",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "this": {
                "host": "{host}",
                "protocol": "wss",
                "description": "This server (`ws` where it has no TLS)",
                "variables": {"host": {"default": "localhost:8080"}},
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            "ws": {
                "address": "/v1/ws",
                "title": "The connection of one device",
                "description": f"Close codes:\n\n{closes}",
                "messages": {
                    kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}
                    for kind in (*client, *server)
                },
            }
        },
        "operations": operations,
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in (*client, *server)},
            "schemas": schemas.components([*client, *server]),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "From REST's `login`; or in `hello`.",
                }
            },
        },
        "x-error-codes": _error_codes(),
        "x-close-codes": {str(code): text for code, text in CLOSE_CODES.items()},
    }


def _operation(tag: str, operation: Operation[Any, Any]) -> Json:
    described: Json = {
        "operationId": operation.name,
        "tags": [tag],
        "summary": operation.summary,
        "parameters": _path_parameters(operation) + _query_parameters(operation.query),
        "responses": _success(operation) | _refusals(operation),
    }
    if operation.detail:
        described["description"] = operation.detail
    if operation.public:
        described["security"] = []
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {
                    "schema": schemas.reference(operation.body.__name__),
                    "example": examples.of(operation.body),
                }
            },
        }
    return described


def _path_parameters(operation: Operation[Any, Any]) -> list[Json]:
    shapes: dict[str, Json] = {
        "user": {"type": "string", "pattern": schemas.USER_PATTERN_LENIENT},
        "chat": {"type": "string", "minLength": 3, "maxLength": 80},
        "device": {"type": "string", "minLength": 1, "maxLength": 64},
        "code": {"type": "string", "minLength": 1, "maxLength": 64},
    }
    texts = {
        "user": "A user's id",
        "chat": "A chat's id",
        "device": "A device's id",
        "code": "An invitation's code",
    }
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": texts[name],
            "schema": shapes[name],
            "example": example,
        }
        for name, example in examples.path(operation).items()
    ]


def _query_parameters(query: type[Query] | None) -> list[Json]:
    if query is None:
        return []
    _, components = msgspec.json.schema_components([query])
    shape = components[query.__name__]
    given = examples.of(query)
    found = []
    for name, schema in shape["properties"].items():
        bare = schemas.without_null(schema)
        parameter = {
            "name": name,
            "in": "query",
            "required": name in shape.get("required", ()),
            "description": bare.pop("description"),
            "schema": bare,
        }
        found.append(parameter | ({"example": given[name]} if name in given else {}))
    return found


def _success(operation: Operation[Any, Any]) -> Json:
    if operation.answer is None:
        return {"204": {"description": "Done; there is nothing to say."}}
    (schema,), _ = msgspec.json.schema_components(
        [operation.answer], ref_template=schemas.COMPONENT
    )
    return {
        str(operation.success): {
            "description": "Made." if operation.method == "POST" else "Done.",
            "content": {
                "application/json": {
                    "schema": schemas.tidied(schema, sent=True),
                    "example": examples.answer(operation),
                }
            },
        }
    }


def _refusals(operation: Operation[Any, Any]) -> Json:
    return {
        str(status): {"$ref": f"#/components/responses/{_refusal_name(kinds)}"}
        for status, kinds in _by_status(operation).items()
    }


def _responses(operations: list[Operation[Any, Any]]) -> Json:
    """Every answer with an error that some operation may give, each once, by its codes."""
    all_kinds = [kinds for o in operations for kinds in _by_status(o).values()]
    return {_refusal_name(kinds): _refusal(kinds) for kinds in all_kinds}


def _by_status(operation: Operation[Any, Any]) -> dict[int, list[type[errors.Answer]]]:
    found: dict[int, list[type[errors.Answer]]] = {}
    for refusal in sorted(operation.refusals, key=lambda kind: (kind.status, kind.code)):
        found.setdefault(refusal.status, []).append(refusal)
    return found


def _refusal_name(kinds: list[type[errors.Answer]]) -> str:
    return "-".join(kind.code for kind in kinds)


def _refusal(kinds: list[type[errors.Answer]]) -> Json:
    codes = [kind.code for kind in kinds]
    status = kinds[0].status
    response: Json = {
        "description": "\n".join(f"`{code}`: {CODES[code]}" for code in codes),
        "content": {
            PROBLEM_JSON: {
                "schema": {
                    "allOf": [
                        schemas.reference("Problem"),
                        {"properties": {"code": {"enum": codes}, "status": {"const": status}}},
                    ]
                }
            }
        },
    }
    if any(kind.retryable for kind in kinds):
        response["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}
        }
    return response


def _receiving(kind: type) -> Json:
    operation: Json = {
        "action": "receive",
        "channel": {"$ref": "#/channels/ws"},
        "summary": cleandoc(kind.__doc__ or ""),
        "messages": [{"$ref": f"#/channels/ws/messages/{kind.__name__}"}],
    }
    if replies := _REPLIES[kind]:
        operation["reply"] = {
            "channel": {"$ref": "#/channels/ws"},
            "messages": [{"$ref": f"#/channels/ws/messages/{reply.__name__}"} for reply in replies],
        }
    return operation


def _sending(kind: type) -> Json:
    return {
        "action": "send",
        "channel": {"$ref": "#/channels/ws"},
        "summary": cleandoc(kind.__doc__ or ""),
        "messages": [{"$ref": f"#/channels/ws/messages/{kind.__name__}"}],
    }


def _message(kind: type) -> Json:
    name = str(kind.__struct_config__.tag)  # type: ignore[attr-defined]
    return {
        "name": name,
        "title": name,
        "summary": cleandoc(kind.__doc__ or ""),
        "payload": schemas.reference(kind.__name__),
        "examples": [{"name": name, "payload": examples.of(kind)}],
    }


def _error_codes() -> Json:
    kinds = {kind.code: kind for kind in _answers(errors.Answer)}
    return {
        code: {"status": kinds[code].status, "retryable": kinds[code].retryable, "text": text}
        for code, text in CODES.items()
    }


def _answers(kind: type[errors.Answer]) -> list[type[errors.Answer]]:
    below = [found for child in kind.__subclasses__() for found in _answers(child)]
    return [kind, *below] if hasattr(kind, "code") else below
