"""The tree that the docstring draws is that of the classes; its codes are the protocol's."""

from __future__ import annotations

import re

import pytest

from whatsapp import errors

PROTOCOL_CODES = {
    "bad_request",
    "unauthorized",
    "bad_credentials",
    "forbidden",
    "not_found",
    "user_exists",
    "weak_password",
    "not_member",
    "group_full",
    "too_large",
    "id_reused",
    "rate_limited",
    "busy",
    "unavailable",
    "internal",
}
# Where the two families of answers come together; not an error of its own.
NOT_DRAWN = {"Answer"}

_line = re.compile(r"^(?P<lead>[ │├└─]*)(?P<name>[A-Z]\w+)(?:\s{2,}(?P<text>.*))?$")
_answer = re.compile(r"^(?P<code>[a-z_]+)\s+(?P<status>\d{3})(?P<retryable>, retryable)?")


def drawn() -> dict[str, tuple[str | None, str]]:
    """Name → (name of the parent, what is written beside it)."""
    text = errors.__doc__ or ""
    tree = text[text.index("    WhatsAppError") :].split("\n\n")[0]
    found: dict[str, tuple[str | None, str]] = {}
    above: dict[int, str] = {}
    for line in tree.splitlines():
        match = _line.match(line)
        assert match, line
        depth = len(match["lead"]) // 4
        above[depth] = match["name"]
        found[match["name"]] = (above.get(depth - 1), match["text"] or "")
    return found


def classes() -> dict[str, type[errors.WhatsAppError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.WhatsAppError)
    }


def answers() -> list[type[errors.Answer]]:
    """Those that are answered as they are: the ones with a code of their own."""
    return [k for k in classes().values() if issubclass(k, errors.Answer) and "code" in vars(k)]


def test_every_error_is_drawn_and_every_drawn_one_exists():
    assert set(drawn()) == set(classes()) - NOT_DRAWN


def test_the_drawing_has_the_parents_right():
    for name, (parent, _) in drawn().items():
        if parent is not None:
            assert issubclass(classes()[name], classes()[parent]), (name, parent)


def test_the_drawing_has_codes_and_statuses_right():
    written = {}
    for name, (parent, text) in drawn().items():
        if match := _answer.match(text):
            retryable = bool(match["retryable"]) or parent == "Trouble"
            written[name] = (match["code"], int(match["status"]), retryable)
    actual = {kind.__name__: (kind.code, kind.status, kind.retryable) for kind in answers()}
    assert written == actual


def test_the_codes_are_those_of_the_protocol():
    assert {kind.code for kind in answers()} == PROTOCOL_CODES


@pytest.mark.parametrize("kind", answers(), ids=lambda kind: kind.__name__)
def test_an_answer_carries_its_sentence_and_the_time_to_wait(kind):
    error = kind("try later", retry_after_ms=50)
    assert (error.message, error.retry_after_ms, str(error)) == ("try later", 50, "try later")
    assert kind("no hurry").retry_after_ms is None


def test_a_violation_says_how_to_close():
    error = errors.ProtocolViolation(1007, "not JSON")
    assert (error.close_code, error.reason, str(error)) == (1007, "not JSON", "not JSON")


def test_a_failed_start_says_cause_and_cure():
    error = errors.StartupError("port 80 is taken", "Name another with --port.")
    assert str(error).splitlines() == [error.cause, error.cure]
