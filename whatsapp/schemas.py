"""JSON schemas of our structs, as a reader of the published documents wants them.

msgspec makes them from what it decodes and encodes; here they are made exact: ids get their
patterns, and a member that the server leaves out is not said to be null.
"""

from __future__ import annotations

from inspect import cleandoc
from typing import Any, Final

import msgspec

from whatsapp.model import (
    ABOUT_CHARACTERS_MAX,
    MESSAGE_ID_PATTERN,
    NAME_CHARACTERS_MAX,
    TEXT_BYTES_MAX,
    TITLE_CHARACTERS_MAX,
    USER_PATTERN,
)
from whatsapp.wire import WATCHED_USERS_MAX

Json = dict[str, Any]

COMPONENT: Final = "#/components/schemas/{name}"
# Ids are compared after lower-casing, so what comes in may be in upper case too.
USER_PATTERN_LENIENT: Final = USER_PATTERN.replace("a-z", "A-Za-z")

_TEXT: Final[Json] = {
    "minLength": 1,
    "maxLength": TEXT_BYTES_MAX,
    "description": f"1 to {TEXT_BYTES_MAX} bytes of UTF-8, no NUL; kept to the byte",
}
_NAME: Final[Json] = {"minLength": 1, "description": f"1 to {NAME_CHARACTERS_MAX} characters"}
_ABOUT: Final[Json] = {"description": f"At most {ABOUT_CHARACTERS_MAX} characters"}
_TITLE: Final[Json] = {"minLength": 1, "description": f"1 to {TITLE_CHARACTERS_MAX} characters"}
_KINDS: Final = """\
`text`, or an event: `created` (title), `added` (users), `removed` (users), `left`, `joined`,
`title` (title), `about` (about), `role` (user, role), `announce` (on); or `void`, an entry that
you may not see, which counts as received. Show nothing for kinds that you do not know."""

# What the structs do not say, since `model.py` checks it.
SAID: Final[dict[tuple[str, str], Json]] = {
    ("Register", "name"): _NAME,
    ("Register", "invite"): {"description": "Where the operator asks for one"},
    ("Login", "device"): {"description": "A name for this device, shown in the list of devices"},
    ("ProfileChange", "name"): _NAME,
    ("ProfileChange", "about"): _ABOUT,
    ("NewGroup", "title"): _TITLE,
    ("GroupChange", "title"): _TITLE,
    ("GroupChange", "about"): _ABOUT,
    ("GroupChange", "announce"): {"description": "Only owners and admins send"},
    ("Post", "text"): _TEXT,
    ("Send", "text"): _TEXT,
    ("Send", "chat"): {"description": "Either this or `to`"},
    ("Send", "to"): {"description": "A user, for the direct chat with it"},
    ("Hello", "token"): {"description": "Left out where the handshake's header had it"},
    ("Watch", "users"): {"maxItems": WATCHED_USERS_MAX},
    ("Item", "kind"): {"description": _KINDS},
    ("Message", "kind"): {"description": _KINDS},
    ("Posted", "dup"): {"description": "The message was there already"},
    ("Error", "code"): {"description": "For machines; see the error codes"},
    ("Problem", "code"): {"description": "For machines; see the error codes"},
    ("Problem", "type"): {"description": "Where the code is explained"},
}


def components(kinds: list[Any]) -> Json:
    """The schemas of these types and of all that they are made of, by name."""
    _, found = msgspec.json.schema_components(kinds, ref_template=COMPONENT)
    for (name, member), said in SAID.items():
        if name in found:
            found[name]["properties"][member] |= said
    return {
        name: tidied(schema, sent=schema.get("additionalProperties") is not False)
        for name, schema in found.items()
    }


def tidied(schema: Any, *, sent: bool) -> Any:
    """A schema as a reader wants it. `sent`: it is of what the server sends.

    A member whose default is null the server leaves out and never sends as null.
    """
    if isinstance(schema, list):
        return [tidied(part, sent=sent) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if sent and schema.get("default", ...) is None:
        schema = without_null(schema)
    tidy = {name: tidied(part, sent=sent) for name, part in schema.items()}
    if isinstance(tidy.get("description"), str):
        tidy["description"] = cleandoc(tidy["description"])
        tidy |= _pattern(tidy["description"], sent=sent)
    if isinstance(values := tidy.get("enum"), list):
        tidy.setdefault("type", "string")
        if len(values) == 1:
            tidy["const"] = tidy.pop("enum")[0]
    return tidy


def _pattern(description: str, *, sent: bool) -> Json:
    """Ids are checked by `model.py`, not while decoding, for the sake of better answers."""
    if description.startswith("A user's id"):
        return {
            "description": "A user's id",
            "pattern": USER_PATTERN if sent else USER_PATTERN_LENIENT,
        }
    if description.startswith("Chosen by the client"):
        return {
            "description": "Chosen by the client, best a UUID",
            "pattern": MESSAGE_ID_PATTERN,
        }
    return {}


def without_null(schema: Json) -> Json:
    """The same without the choice of null."""
    bare: Json = {name: part for name, part in schema.items() if name not in {"anyOf", "default"}}
    if schema.get("default") is not None:
        bare["default"] = schema["default"]
    choices = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    if len(choices) == 1:
        return {**choices[0], **bare}
    return bare | ({"anyOf": choices} if choices else {})


def reference(name: str) -> Json:
    return {"$ref": COMPONENT.format(name=name)}
