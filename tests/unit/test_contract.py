"""The published documents: complete, true to the structs, and never without an example."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from whatsapp import contract, errors, examples, wire
from whatsapp.endpoints import OPERATIONS

OPENAPI = contract.openapi_document()
ASYNCAPI = contract.asyncapi_document()
ALL = [operation for group in OPERATIONS.values() for operation in group]
CLIENT, SERVER = get_args(wire.AnyClientFrame), get_args(wire.AnyServerFrame)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for below in part.values():
            yield from references(below)
    elif isinstance(part, list):
        for below in part:
            yield from references(below)


def found(document: dict[str, Any], reference: str) -> Any:
    at: Any = document
    for key in reference.removeprefix("#/").split("/"):
        at = at[key.replace("~1", "/")]
    return at


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": document["components"]}
    Draft202012Validator(whole).validate(value)


def described(operation: Any) -> Any:
    return OPENAPI["paths"][operation.path][operation.method.lower()]


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(document):
    for reference in references(document):
        assert found(document, reference), reference


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_schema_is_one(document):
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_nothing_is_published_that_nothing_leads_to(document):
    used = {reference.rpartition("/")[2] for reference in references(document)}
    kinds = ("schemas", "responses", "messages")
    listed = {name for kind in kinds for name in document["components"].get(kind, {})}
    assert listed - used == set()


def test_the_bytes_are_the_documents():
    assert json.loads(contract.openapi()) == json.loads(json.dumps(OPENAPI))
    assert json.loads(contract.asyncapi()) == json.loads(json.dumps(ASYNCAPI))


def test_every_operation_is_there_once():
    listed = [(method.upper(), path) for path, item in OPENAPI["paths"].items() for method in item]
    assert sorted(listed) == sorted((o.method, o.path) for o in ALL)
    assert len({o.name for o in ALL}) == len(ALL)


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
def test_an_operation_says_what_it_may_refuse(operation):
    codes = set()
    for status, reference in described(operation)["responses"].items():
        if int(status) < 400:
            assert int(status) == operation.success
            continue
        response = found(OPENAPI, reference["$ref"])
        schema = response["content"]["application/problem+json"]["schema"]
        assert schema["allOf"][1]["properties"]["status"]["const"] == int(status)
        codes.update(schema["allOf"][1]["properties"]["code"]["enum"])
    assert codes == {refusal.code for refusal in operation.refusals}
    assert ("unauthorized" in codes) is not operation.public
    assert (described(operation).get("security") == []) is operation.public


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
def test_the_examples_of_an_operation_are_as_described(operation):
    told = described(operation)
    for parameter in told["parameters"]:
        if "example" in parameter:
            check(OPENAPI, parameter["schema"], parameter["example"])
    if operation.body is not None:
        media = told["requestBody"]["content"]["application/json"]
        check(OPENAPI, media["schema"], media["example"])
    if operation.answer is not None:
        media = told["responses"][str(operation.success)]["content"]["application/json"]
        check(OPENAPI, media["schema"], media["example"])


def test_the_parameters_of_paths_are_those_of_the_paths():
    for operation in ALL:
        names = [p["name"] for p in described(operation)["parameters"] if p["in"] == "path"]
        assert names == re.findall(r"{(\w+)}", operation.path)


def test_limits_are_published():
    parameters = {(o.name, p["name"]): p["schema"] for o in ALL for p in described(o)["parameters"]}
    assert parameters["findUsers", "limit"]["maximum"] == 50
    assert parameters["listMessages", "limit"]["maximum"] == 200
    assert parameters["searchMessages", "limit"]["maximum"] == 100
    assert all(
        schema["minimum"] == 1 for (_, name), schema in parameters.items() if name == "limit"
    )


def test_bodies_refuse_what_is_unknown_and_answers_may_grow():
    schemas = OPENAPI["components"]["schemas"]
    assert schemas["Login"]["additionalProperties"] is False
    assert schemas["PrivacyChange"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["LoggedIn"]


def test_what_may_be_left_out_is_optional_and_what_is_always_sent_is_not():
    schemas = OPENAPI["components"]["schemas"]
    always = {"chat", "kind", "title", "last", "head", "received", "read", "unread"}
    assert set(schemas["ChatInfo"]["required"]) == always
    assert set(schemas["PresenceInfo"]["required"]) == {"user", "online", "last_seen"}
    assert set(schemas["Login"]["required"]) == {"user", "password"}
    assert set(schemas["Item"]["required"]) == {"chat", "seq", "time", "kind"}
    # It is left out, never null.
    assert schemas["Item"]["properties"]["text"] == {"type": "string"}


@pytest.mark.parametrize("kind", [*CLIENT, *SERVER], ids=lambda kind: kind.__name__)
def test_every_frame_is_there_with_an_example(kind):
    message = ASYNCAPI["components"]["messages"][kind.__name__]
    assert message["name"] == kind.__struct_config__.tag
    [example] = message["examples"]
    check(ASYNCAPI, message["payload"], example["payload"])
    assert example["payload"]["type"] == message["name"]


def test_who_sends_what():
    sent: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in ASYNCAPI["operations"].values():
        for reference in operation["messages"]:
            sent[operation["action"]].add(reference["$ref"].rpartition("/")[2])
        for reference in operation.get("reply", {}).get("messages", ()):
            sent["send"].add(reference["$ref"].rpartition("/")[2])
    assert sent["receive"] == {kind.__name__ for kind in CLIENT}
    assert sent["send"] == {kind.__name__ for kind in SERVER}


def test_every_code_is_explained():
    codes = {kind.code for kind in vars(errors).values() if hasattr(kind, "code")}
    assert set(contract.CODES) == codes
    assert OPENAPI["x-error-codes"] == ASYNCAPI["x-error-codes"]
    assert OPENAPI["x-error-codes"]["busy"]["retryable"] is True
    assert OPENAPI["x-error-codes"]["busy"]["status"] == 503


def test_every_close_code_is_explained():
    codes = {value for name, value in vars(wire).items() if name.startswith("CLOSE_")}
    assert set(contract.CLOSE_CODES) == codes
    for code in codes:
        assert f"`{code}`" in ASYNCAPI["channels"]["ws"]["description"]


def test_an_example_of_an_answer_shows_all_that_there_may_be():
    group = examples.answer(next(o for o in ALL if o.name == "createGroup"))
    direct = examples.answer(next(o for o in ALL if o.name == "showChat"))
    shown = {*group, *direct}
    assert set(OPENAPI["components"]["schemas"]["ChatInfo"]["properties"]) - shown == {"left"}
