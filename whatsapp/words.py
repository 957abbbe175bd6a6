"""What "the same word" means in a search; one answer for every backend.

Case and accents do not count ("Ärger" is found by "arger"). A run of letters and digits is
a word. Chinese, Japanese and Korean text is not split into words by spaces, so each of its
characters is a word, and a query of two or more is a phrase of them.

    parse('meeting "next week" ber')  ->  meeting AND "next week" AND ber*
"""

from __future__ import annotations

import re
import unicodedata

from msgspec import Struct

from whatsapp.errors import BadRequest

QUERY_CHARACTERS_MAX = 256
TERMS_MAX = 16
SNIPPET_CHARACTERS = 120

_CJK = (
    "\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b"
    "\u3041-\u30ff\u3105-\u312f\u3131-\u318f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b2ff"
    "\U00020000-\U0003ffff"
)
# In Japanese these marks make another letter, not an accent.
_KANA_MARKS = "\u3099\u309a"
_word = re.compile(f"[{_CJK}]|[^\\W_{_CJK}]+")
# The same for plain English, at half the time.
_ascii_word = re.compile("[a-z0-9]+")
_term = re.compile(r'"([^"]*)"?|([^\s"]+)')


class Term(Struct, frozen=True):
    """Words that must follow each other; with `prefix` the last one may go on."""

    words: tuple[str, ...]
    prefix: bool = False


class Terms(Struct, frozen=True):
    """A search: every one of these must be found."""

    all: tuple[Term, ...]

    def match(self, text: str) -> bool:
        """Does `text` have them all? (What an index must answer too.)"""
        found = words(text)
        return all(_find(term, found) >= 0 for term in self.all)


def words(text: str) -> list[str]:
    """The words of a text, folded, in order."""
    return (_ascii_word if text.isascii() else _word).findall(fold(text))


def fold(text: str) -> str:
    """Without case and accents; compatibility forms (full-width letters …) made plain."""
    if text.isascii():
        return text.lower()
    bare = unicodedata.normalize("NFKD", text)
    kept = "".join(c for c in bare if not unicodedata.combining(c) or c in _KANA_MARKS)
    return unicodedata.normalize("NFC", kept.casefold())


def parse(query: str) -> Terms:
    """A user's query as terms, or `BadRequest`. The last word outside quotes is a prefix."""
    if len(query) > QUERY_CHARACTERS_MAX:
        raise BadRequest(f"a search is at most {QUERY_CHARACTERS_MAX} characters")
    terms: list[Term] = []
    for match in _term.finditer(query):
        quoted, bare = match.groups()
        found = tuple(words(quoted if bare is None else bare))
        if found:
            open_ended = bare is not None and match.end() == len(query.rstrip())
            terms.append(Term(found, prefix=open_ended))
    if not terms:
        raise BadRequest("a search needs at least one letter or digit")
    if sum(len(term.words) for term in terms) > TERMS_MAX:
        raise BadRequest(f"a search has at most {TERMS_MAX} words")
    return Terms(tuple(terms))


def snippet(terms: Terms, text: str) -> str:
    """A piece of `text` around the first hit, on one line, at most `SNIPPET_CHARACTERS` long."""
    start = 0
    first = terms.all[0].words[0]
    for match in _word.finditer(text):
        if fold(match.group()).startswith(first):
            start = max(0, match.start() - SNIPPET_CHARACTERS // 3)
            break
    piece = " ".join(text[start : start + SNIPPET_CHARACTERS].split())
    end = start + SNIPPET_CHARACTERS < len(text)
    return f"{'…' if start else ''}{piece}{'…' if end else ''}"


def _find(term: Term, found: list[str]) -> int:
    count = len(term.words)
    for at in range(len(found) - count + 1):
        if _begins(term, found[at : at + count]):
            return at
    return -1


def _begins(term: Term, run: list[str]) -> bool:
    *body, last = term.words
    if run[:-1] != body:
        return False
    return run[-1].startswith(last) if term.prefix else run[-1] == last
