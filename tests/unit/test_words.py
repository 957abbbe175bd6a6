"""What a word is, what a query means, and what of a text is shown for it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from whatsapp.errors import BadRequest
from whatsapp.words import (
    QUERY_CHARACTERS_MAX,
    SNIPPET_CHARACTERS,
    TERMS_MAX,
    Term,
    fold,
    parse,
    snippet,
    words,
)

texts = st.text(
    st.sampled_from("abcXYZ012 _-.,'\"*äÄßéÉİıΣσς漢字かなガ한글\u0301\u3099\ufb01½²\n")
    | st.characters(exclude_categories=["Cs"])
)


@pytest.mark.parametrize(
    "text,expected",
    [
        ("", []),
        ("  .,;! ", []),
        ("One two-three_four", ["one", "two", "three", "four"]),
        ("4a 10:30", ["4a", "10", "30"]),
        ("Ärger im Café", ["arger", "im", "cafe"]),
        ("A\u0301rger", ["arger"]),
        ("Straße", ["strasse"]),
        ("Øre", ["øre"]),
        ("ﬁnal ﬀ", ["final", "ff"]),
        ("İstanbul", ["istanbul"]),
        ("ΟΔΟΣ", ["οδοσ"]),
        ("北京 ok北", ["北", "京", "ok", "北"]),
        ("ガラス", ["ガ", "ラ", "ス"]),
        ("ｶﾞ", ["ガ"]),
        ("が", ["が"]),
        ("か\u3099", ["が"]),
        ("한국", ["한", "국"]),
        ("\u1112\u1161\u11ab", ["한"]),
        ("🎉", []),
        ("don't", ["don", "t"]),
        ("x²", ["x2"]),
        ("привет, МИР", ["привет", "мир"]),
        ("नमस्ते", words("नमस्ते")),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_case_and_accents_do_not_count():
    assert fold("ÄRGER") == fold("ärger") == fold("a\u0308rger") == "arger"


def test_the_marks_of_kana_make_another_letter():
    assert fold("ガ") != fold("カ")
    assert fold("ぱ") != fold("は")


@pytest.mark.parametrize(
    "query,expected",
    [
        ("meeting", [Term(("meeting",), prefix=True)]),
        ("meeting ", [Term(("meeting",), prefix=True)]),
        ("next Week", [Term(("next",)), Term(("week",), prefix=True)]),
        ('"next week"', [Term(("next", "week"))]),
        ('"next week', [Term(("next", "week"))]),
        ('a "b c" d', [Term(("a",)), Term(("b", "c")), Term(("d",), prefix=True)]),
        ('a"b"c', [Term(("a",)), Term(("b",)), Term(("c",), prefix=True)]),
        ("room-4", [Term(("room", "4"), prefix=True)]),
        ("北京", [Term(("北", "京"), prefix=True)]),
        ('"" x', [Term(("x",), prefix=True)]),
        ("x ...", [Term(("x",))]),
        ("* x*", [Term(("x",), prefix=True)]),
    ],
)
def test_parse(query, expected):
    assert list(parse(query).all) == expected


@pytest.mark.parametrize("query", ["", " ", '""', "...", "🎉", "_", '"', "\x00"])
def test_a_query_without_a_word_is_refused(query):
    with pytest.raises(BadRequest, match="at least one letter or digit"):
        parse(query)


def test_a_query_is_bounded():
    assert parse("x" * QUERY_CHARACTERS_MAX).all
    with pytest.raises(BadRequest, match="at most 256 characters"):
        parse("x" * (QUERY_CHARACTERS_MAX + 1))
    assert len(parse("x " * TERMS_MAX).all) == TERMS_MAX
    for query in ("x " * (TERMS_MAX + 1), '"' + "x " * (TERMS_MAX + 1), "北" * (TERMS_MAX + 1)):
        with pytest.raises(BadRequest, match="at most 16 words"):
            parse(query)


@pytest.mark.parametrize(
    "query,text,expected",
    [
        ("week", "next weekend", True),
        ("week next", "next weekend", False),
        ("next week", "next weekend", True),
        ('"week"', "next weekend", False),
        ('"next weekend"', "the next weekend then", True),
        ('"weekend next"', "the next weekend then", False),
        ('"a b"', "a c a b", True),
        ('"a b"', "a", False),
        ("京", "北京", True),
        ("京北", "北京", False),
        ("room-4", "room 42", True),
        ('"room 4"', "room 42", False),
    ],
)
def test_match(query, text, expected):
    assert parse(query).match(text) is expected


@given(texts)
@example("ΐ")
@example("\u0345")
@example("ﬃ")
@example("İ")
@example("ŉ")
def test_folding_twice_is_folding_once(text):
    assert words(" ".join(words(text))) == words(text)


@given(texts)
def test_words_are_letters_and_digits(text):
    for word in words(text):
        assert word
        assert not any(c.isspace() or c in '"*_' or c < "0" for c in word)


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_takes_no_short_cut_that_shows(text):
    slow = unicodedata.normalize("NFKD", text).casefold()
    assert fold(text) == slow


@given(texts)
def test_composed_or_not_is_the_same(text):
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


@given(texts)
def test_case_does_not_count(text):
    # The Greek iota subscript is an accent to us; only its capital is a letter.
    assume("\u0345" not in unicodedata.normalize("NFKD", text))
    assert words(text.casefold()) == words(text)


@given(texts)
def test_a_text_is_found_by_each_of_its_words(text):
    for word in words(text)[:20]:
        assert parse(f'"{word}"').match(text) or len(word) > QUERY_CHARACTERS_MAX
        assert parse(word[:20]).match(text)


@given(texts, st.data())
def test_a_text_is_found_by_each_phrase_of_it(text, data):
    found = words(text)
    if found:
        start = data.draw(st.integers(0, len(found) - 1))
        phrase = found[start : start + 5]
        assert parse('"' + " ".join(phrase) + '"').match(text)


@given(texts, texts)
def test_any_query_gives_terms_or_bad_request(query, text):
    try:
        terms = parse(query)
    except BadRequest:
        return
    assert terms.all
    assert terms.match(text) in (True, False)


@given(texts, texts)
def test_a_snippet_is_short_and_on_one_line(query, text):
    try:
        terms = parse(query)
    except BadRequest:
        return
    piece = snippet(terms, text * 20)
    assert len(piece) <= SNIPPET_CHARACTERS + 2
    assert "\n" not in piece


@pytest.mark.parametrize(
    "query,text,expected",
    [
        ("fox", "the quick brown fox", "the quick brown fox"),
        ("fox", "word " * 40 + "Fox end", None),
        ("cafe", "x " * 100 + "Café", None),
        ("京", "a " * 100 + "北京", None),
        ("zzz", "not there", "not there"),
    ],
)
def test_a_snippet_has_the_first_hit(query, text, expected):
    piece = snippet(parse(query), text)
    if expected is not None:
        assert piece == expected
    else:
        assert piece.startswith("…")
        assert any(word.startswith(words(query)[0]) for word in words(piece))
