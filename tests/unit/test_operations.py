"""What an operation says of itself, and what its query may have."""

from __future__ import annotations

import pytest

from whatsapp import errors as e
from whatsapp import operations as o
from whatsapp import resources as r


async def nothing(call: object) -> None:
    """A handler."""


def test_a_query_knows_its_bounds():
    assert o.parameters(o.PeopleQuery) == {
        "q": o.Parameter(name="q", integer=False, low=3, high=64, required=True),
        "limit": o.Parameter(name="limit", integer=True, low=1, high=50, required=False),
    }
    search = o.parameters(o.SearchQuery)
    assert list(search) == ["q", "chat", "from", "before", "limit"]
    assert search["before"].high == 2**53 - 1
    assert search["chat"] == o.Parameter(name="chat", integer=False, low=0, high=80, required=False)


def test_no_query_has_no_parameters():
    assert o.parameters(None) == {}


def test_a_query_without_a_bound_is_a_mistake_of_ours():
    class Boundless(o.Query, frozen=True):
        n: int

    with pytest.raises(AssertionError, match="n has no bound"):
        o.parameters(Boundless)


def test_without_an_answer_there_is_nothing_to_say():
    assert o.Plain("PUT", "/a/{b}", "x", "X", nothing).success == 204
    assert o.Plain("PUT", "/a/{b}", "x", "X", nothing, answer=r.Invite).success == 200


def test_refusals_are_those_of_its_kind_and_its_own():
    plain = o.Plain("GET", "/a", "x", "X", nothing, codes=(e.NotFound, e.BadRequest))
    assert plain.refusals == (
        *(e.Unauthorized, e.NotFound, e.BadRequest),
        *(e.RateLimited, e.Busy, e.Unavailable, e.Internal),
    )
    public = o.WithBody("GET", "/a", "x", "X", nothing, body=r.Login, public=True)
    assert e.Unauthorized not in public.refusals
    assert e.TooLarge in public.refusals


def test_parameters_of_a_path():
    assert o.Plain("GET", "/a/{chat}/b/{user}", "x", "X", nothing).parameters == ["chat", "user"]
