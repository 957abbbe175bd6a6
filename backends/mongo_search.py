"""Search in MongoDB: by the words that each entry of text has with it.

An index (chat, words, stored_us) gives the entries of one chat that have a word, newest
first; the server merges those of some chats without reading more than it returns. Several
words, phrases and the beginnings of words are narrowed down by one or all of its words there
and compared in full here, with the text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from backends.mongo_documents import (
    ENTRY_FIELDS,
    WORD_CHARACTERS_MAX,
    Document,
    entry_of,
    seq_of,
)
from backends.mongo_driver import Lost, Mongo
from whatsapp.errors import Unavailable
from whatsapp.model import Entry, Scope
from whatsapp.words import Terms

CHATS_A_QUESTION_MAX = 100
QUESTIONS_AT_ONCE = 4
# So many entries that have the words are looked at in a question, in pages.
CANDIDATES_MAX = 5_000
PAGE_ENTRIES = 100
SECONDS_MAX = 2.0
_LAST = "\U0010ffff"


async def find(
    mongo: Mongo,
    terms: Terms,
    scopes: Sequence[Scope],
    filters: Document,
    limit: int,
) -> list[Entry]:
    """Newest first. `filters`: more that the entries' documents must be."""
    by_chat = {scope.chat: scope for scope in scopes}
    chats = list(by_chat)
    turns = asyncio.Semaphore(QUESTIONS_AT_ONCE)
    parts = [
        chats[at : at + CHATS_A_QUESTION_MAX] for at in range(0, len(chats), CHATS_A_QUESTION_MAX)
    ]

    async def ask(part: list[str]) -> list[Document]:
        where = {"chat": part[0] if len(part) == 1 else {"$in": part}}
        question = where | _words(terms) | filters
        async with turns:
            return await _asked(mongo, question, terms, by_chat, limit)

    answers = await asyncio.gather(*(ask(part) for part in parts))
    found = [document for answer in answers for document in answer]
    found.sort(key=lambda document: document["stored_us"], reverse=True)
    return [entry_of(document) for document in found[:limit]]


def _words(terms: Terms) -> Document:
    """What the index is asked. Nothing of a user's is a pattern: it is compared, or a bound."""
    whole: set[str] = set()
    begun: list[str] = []
    for term in terms.all:
        body, last = term.words[:-1], term.words[-1]
        whole.update(word[:WORD_CHARACTERS_MAX] for word in body)
        if term.prefix and len(last) < WORD_CHARACTERS_MAX:
            begun.append(last)
        else:
            whole.add(last[:WORD_CHARACTERS_MAX])
    if whole:
        return {"words": {"$all": sorted(whole)}}
    longest = max(begun, key=len)
    return {"words": {"$elemMatch": {"$gte": longest, "$lt": longest + _LAST}}}


async def _asked(
    mongo: Mongo, question: Document, terms: Terms, scopes: dict[str, Scope], limit: int
) -> list[Document]:
    """The newest that match and may be seen; bounded in entries and in time."""
    try:
        return await mongo.once(lambda: _read(mongo, question, terms, scopes, limit), SECONDS_MAX)
    except Lost:
        raise Unavailable("the search took too long; use more or longer words") from None


async def _read(
    mongo: Mongo, question: Document, terms: Terms, scopes: dict[str, Scope], limit: int
) -> list[Document]:
    size = min(max(limit + limit // 4, 10), PAGE_ENTRIES)
    cursor: Any = mongo.db["messages"].find(question, ENTRY_FIELDS).sort("stored_us", -1)
    cursor = cursor.limit(CANDIDATES_MAX).batch_size(size)
    found: list[Document] = []
    try:
        while len(found) < limit:
            page: list[Document] = await cursor.to_list(size)
            found += [each for each in page if _fits(each, terms, scopes[each["chat"]])]
            if len(page) < size:
                break
    finally:
        await cursor.close()
    return found[:limit]


def _fits(document: Document, terms: Terms, scope: Scope) -> bool:
    member = scope.member
    if "hidden" in document and document["sender"] != member.user:
        return False
    return member.sees(seq_of(document)) and terms.match(document["text"])
