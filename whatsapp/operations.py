"""What an operation of the REST interface is: what it takes, answers and may refuse.

`endpoints.py` has the table of them, which `rest.py` serves and `contract.py` publishes as
`openapi.json`. No HTTP library is known here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct, inspect

from whatsapp import errors as e
from whatsapp.metrics import Metrics
from whatsapp.model import Actor
from whatsapp.resources import (
    CHATS_MAX,
    FOUND_MAX,
    HISTORY_MAX,
    PEOPLE_MAX,
    PREFIX_CHARACTERS_MIN,
)
from whatsapp.words import QUERY_CHARACTERS_MAX

if TYPE_CHECKING:
    # Only names: the table and the published document need none of the modules loaded.
    from whatsapp.auth import Auth
    from whatsapp.chat import Conversations
    from whatsapp.group import Groups
    from whatsapp.history import Histories
    from whatsapp.people import People
    from whatsapp.presence import Presences

# What any request may meet, and what any request with a token.
COMMON = (e.BadRequest, e.RateLimited, e.Busy, e.Unavailable, e.Internal)
PRIVATE = (e.Unauthorized,)

BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Modules:
    """Who does the work."""

    auth: Auth
    people: People
    conversations: Conversations
    histories: Histories
    groups: Groups
    presences: Presences
    metrics: Metrics = field(default_factory=Metrics)


class Query(Struct, frozen=True, kw_only=True):
    """The parameters of a query: whole numbers and texts, each at most once, no others."""


# A seq or a time: exact in every client's numbers.
Natural = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class PeopleQuery(Query, frozen=True):
    q: Annotated[
        str,
        Meta(
            min_length=PREFIX_CHARACTERS_MIN,
            max_length=64,
            description="How the id or the name begins.",
        ),
    ]
    limit: Annotated[int, Meta(ge=1, le=PEOPLE_MAX, description="At most so many.")] = 20


class ChatsQuery(Query, frozen=True):
    limit: Annotated[int, Meta(ge=1, le=CHATS_MAX, description="At most so many.")] = 50
    before: (
        Annotated[Natural, Meta(description="Only chats idle since before this time.")] | None
    ) = None


class HistoryQuery(Query, frozen=True):
    before: Annotated[Natural, Meta(description="The newest below this seq.")] | None = None
    after: Annotated[Natural, Meta(description="The oldest above this seq.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=HISTORY_MAX, description="At most so many.")] = 50


class SearchQuery(Query, frozen=True, rename={"sender": "from"}):
    q: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=QUERY_CHARACTERS_MAX,
            description='Words, all of which must occur; the last one may go on; "a phrase".',
        ),
    ]
    chat: Annotated[str, Meta(max_length=80, description="Only in this chat.")] | None = None
    sender: Annotated[str, Meta(max_length=64, description="Only by this user.")] | None = None
    before: Annotated[Natural, Meta(description="Only older than this time.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=FOUND_MAX, description="At most so many.")] = 20


class Parameter(Struct, frozen=True, kw_only=True):
    """One parameter of a query. `low` and `high`: of a number's value, or a text's length."""

    name: str
    integer: bool
    low: int
    high: int
    required: bool


def parameters(query: type[Query] | None) -> dict[str, Parameter]:
    """What a query may have, by name."""
    if query is None:
        return {}
    shape = inspect.type_info(query)
    assert isinstance(shape, inspect.StructType)
    found: dict[str, Parameter] = {}
    for member in shape.fields:
        kind = _bare(member.type)
        integer = isinstance(kind, inspect.IntType)
        low, high = (kind.ge, kind.le) if integer else (kind.min_length, kind.max_length)
        assert high is not None, f"{member.encode_name} has no bound"
        found[member.encode_name] = Parameter(
            name=member.encode_name,
            integer=integer,
            low=low or 0,
            high=high,
            required=member.required,
        )
    return found


def _bare(kind: Any) -> Any:
    """A number or a text, without what says that it may be missing and what it is for."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next(_bare(part) for part in kind.types if not isinstance(part, inspect.NoneType))
    return kind


class Call(Struct, Generic[BodyT, QueryT], frozen=True, kw_only=True):
    """One request, decoded. What an operation does not have is empty: its handler knows."""

    modules: Modules
    address: str
    actor: Actor
    body: BodyT
    query: QueryT
    user: str = ""
    chat: str = ""
    device: str = ""
    code: str = ""


class Operation(Struct, Generic[BodyT, QueryT], frozen=True):
    """One method of one path. `answer` None: nothing to say, 204.

    `codes`: what it may refuse beside `COMMON` and, unless `public`, `PRIVATE`.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Callable[[Call[BodyT, QueryT]], Awaitable[Any]]
    body: type[BodyT] | None = None
    query: type[QueryT] | None = None
    answer: Any = None
    status: int = 200
    codes: tuple[type[e.Answer], ...] = ()
    public: bool = False
    detail: str = ""

    @property
    def success(self) -> int:
        return 204 if self.answer is None else self.status

    @property
    def refusals(self) -> tuple[type[e.Answer], ...]:
        """Every error that it may answer with."""
        body = () if self.body is None else (e.TooLarge,)
        private = () if self.public else PRIVATE
        return tuple(dict.fromkeys((*private, *self.codes, *body, *COMMON)))

    @property
    def parameters(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"{(\w+)}", self.path)


# Why three kinds: a type checker infers the body or the query of each line of the table from
# them, and so checks its handler.
class Plain(Operation[None, None], frozen=True):
    """Takes no body and no query."""


class WithBody(Operation[BodyT, None], Generic[BodyT], frozen=True):
    """Takes a body and no query."""


class WithQuery(Operation[None, QueryT], Generic[QueryT], frozen=True):
    """Takes a query and no body."""
