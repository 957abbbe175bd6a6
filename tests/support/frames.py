"""Checks frames against the published `asyncapi.json`: every frame that a test sees may go here.

Stricter than the document in one way: a member that it does not describe is a failure. Clients
must ignore such members, but the server must not send them undocumented.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import msgspec
from jsonschema import Draft202012Validator

from whatsapp import contract

Direction = Literal["receive", "send"]


def check_client_frame(data: str | bytes | dict[str, Any]) -> None:
    """AssertionError, unless a client may send this."""
    _check("receive", data)


def check_server_frame(data: str | bytes | dict[str, Any]) -> None:
    """AssertionError, unless the server may send this."""
    _check("send", data)


def _check(direction: Direction, data: str | bytes | dict[str, Any]) -> None:
    frame = data if isinstance(data, dict) else msgspec.json.decode(data)
    assert isinstance(frame, dict), f"not an object: {frame!r}"
    by_type = _validators()[direction]
    validator = by_type.get(frame.get("type", ""))
    assert validator is not None, f"unknown frame type {frame.get('type')!r}"
    if not validator.is_valid(frame):
        errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(frame)]
        raise AssertionError(f"{json.dumps(frame)[:2000]}\n" + "\n".join(errors))


@cache
def _validators() -> dict[Direction, dict[str, Draft202012Validator]]:
    """One validator for each type of frame, by who sends it."""
    document = contract.asyncapi_document()
    messages = document["components"]["messages"]
    schemas = {name: _closed(s) for name, s in document["components"]["schemas"].items()}
    found: dict[Direction, dict[str, Draft202012Validator]] = {"receive": {}, "send": {}}
    for operation in document["operations"].values():
        for reference in operation["messages"]:
            message = messages[_last(reference)]
            found[operation["action"]][message["name"]] = _validator(message["payload"], schemas)
        for reference in operation.get("reply", {}).get("messages", ()):
            message = messages[_last(reference)]
            found["send"][message["name"]] = _validator(message["payload"], schemas)
    return found


def _validator(payload: dict[str, Any], schemas: dict[str, Any]) -> Draft202012Validator:
    schema = {**_inlined(payload, schemas), "$schema": Draft202012Validator.META_SCHEMA["$id"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def _inlined(schema: Any, schemas: dict[str, Any]) -> Any:
    """Without references: following them is most of the time that jsonschema takes."""
    if isinstance(schema, dict) and "$ref" in schema:
        return _inlined(schemas[_last(schema)], schemas)
    return _mapped(schema, lambda part: _inlined(part, schemas))


def _closed(schema: Any) -> Any:
    closed = _mapped(schema, _closed)
    if isinstance(closed, dict) and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def _mapped(schema: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(schema, dict):
        return {name: change(part) for name, part in schema.items()}
    if isinstance(schema, list):
        return [change(part) for part in schema]
    return schema


def _last(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]
