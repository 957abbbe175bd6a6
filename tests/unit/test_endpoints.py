"""The table against the methods of the real modules: names and numbers of arguments fit."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any, cast

import pytest

from whatsapp import examples
from whatsapp.auth import Auth
from whatsapp.chat import Conversations
from whatsapp.endpoints import OPERATIONS, canonical
from whatsapp.errors import BadRequest
from whatsapp.group import Groups
from whatsapp.history import Histories
from whatsapp.metrics import Metrics
from whatsapp.model import Actor
from whatsapp.operations import Call, Operation
from whatsapp.people import People
from whatsapp.presence import Presences

ALL = [operation for group in OPERATIONS.values() for operation in group]
MODULES: dict[str, type] = {
    "auth": Auth,
    "people": People,
    "conversations": Conversations,
    "histories": Histories,
    "groups": Groups,
    "presences": Presences,
}


class Checking:
    """Takes a call as a module would, binds its arguments, and answers the group's id."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.kind, name)
        assert inspect.iscoroutinefunction(method)

        async def called(*arguments: Any) -> Any:
            inspect.signature(method).bind(self, *arguments)
            return SimpleNamespace(user="alice", name="Alice")

        return called


def call_of(operation: Operation[Any, Any]) -> Call[Any, Any]:
    checking = {name: Checking(kind) for name, kind in MODULES.items()}
    return Call(
        modules=cast("Any", SimpleNamespace(**checking, metrics=Metrics())),
        address="127.0.0.1",
        actor=Actor("alice", "phone"),
        body=operation.body and examples.value(operation.body),
        query=operation.query and examples.value(operation.query),
        **examples.path(operation),
    )


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
async def test_a_handler_calls_what_is_there(operation):
    await operation.handler(call_of(operation))


def test_users_are_canonical_and_each_once():
    assert canonical(["Bob", "carol", "bob"]) == ["bob", "carol"]
    with pytest.raises(BadRequest):
        canonical(["bob", "no such name!"])


def test_ways_and_names_are_given_once():
    assert len({(operation.method, operation.path) for operation in ALL}) == len(ALL)
    assert len({operation.name for operation in ALL}) == len(ALL)
