"""`search`: how long a user waits for a search and for a page of history, in a full store."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec

from whatsapp.bench import filling
from whatsapp.bench.figures import Figure, times
from whatsapp.bench.filling import Filled
from whatsapp.bench.scene import Outcome, Scene
from whatsapp.bench.server import until_quiet
from whatsapp.errors import StartupError

PERCENTILES = (50.0, 95.0, 99.0)
# The index is built at half speed on purpose; ten million messages take their time.
INDEXING_SECONDS = 3 * 3600.0
INDEXING_STEP_SECONDS = 20.0
# Longer than the indexer rests between two batches on a machine that others use.
INDEXED_SECONDS = 10.0
FREQUENT, COMMON, RARE = 20, 300, 20_000
PAGE = 50
OK = 200

Query = Callable[[Filled, random.Random], dict[str, str]]


def _word(chance: random.Random, rank: int) -> str:
    return filling.word(rank + chance.randrange(rank // 4 + 1))


KINDS: dict[str, Query] = {
    "a rare word": lambda _, chance: {"q": f'"{_word(chance, RARE)}"'},
    "a common word": lambda _, chance: {"q": f'"{_word(chance, COMMON)}"'},
    "a frequent word": lambda _, chance: {"q": f'"{_word(chance, FREQUENT)}"'},
    "two words": lambda _, chance: {"q": f'{_word(chance, COMMON)} "{_word(chance, FREQUENT)}"'},
    "the beginning of a word": lambda _, chance: {"q": _word(chance, COMMON)[:3]},
    "a phrase": lambda _, chance: {"q": f'"{_word(chance, FREQUENT)} {_word(chance, FREQUENT)}"'},
    "in one chat": lambda filled, chance: {
        "q": f'"{_word(chance, COMMON)}"',
        "chat": chance.choice(filled.chats),
    },
    "of one sender": lambda filled, chance: {
        "q": f'"{_word(chance, COMMON)}"',
        "from": chance.choice(filled.friends),
    },
    "what is not there": lambda _, chance: {"q": f"{_word(chance, FREQUENT)} qqqqq"},
}


def run(scene: Scene) -> Outcome:
    """Each kind for its share of the seconds, one request after the other."""
    assert scene.target.process is not None  # it is a server of our own
    filled = filling.read(_folder(scene))
    _wait_for_index(scene)
    chance = random.Random(filling.SEED)  # noqa: S311 — the same questions every time
    share = scene.plan.seconds / (len(KINDS) + 2)
    figures: list[Figure] = []
    everything: list[float] = []
    found, refused = 0, Counter[str]()
    for name, query in KINDS.items():
        scene.tell(name, 0, 1)
        took = []
        for began in _for(share):
            count = _search(scene, filled, query(filled, chance))
            took.append(time.perf_counter() - began)
            found += count
            refused[name] += count < 0
        figures += times(name, took, PERCENTILES)
        everything += took
    figures += times("all searches", everything, PERCENTILES)
    figures += times("newest page of a chat", _pages(scene, filled, chance, share), PERCENTILES)
    older = _pages(scene, filled, chance, share, older=True)
    figures += times("older page of a chat", older, PERCENTILES)
    if not found:
        raise StartupError("no search found anything", "The store was not filled as it should be.")
    wish = filled.wish
    return Outcome(
        about=f"{wish.messages:,} messages of {wish.text_bytes} bytes; a user with"
        f" {wish.chats} chats; {len(everything)} searches",
        figures=figures,
        warnings=[
            f"{count} of the searches for {name} were answered with an error"
            for name, count in refused.items()
            if count
        ],
    )


def _folder(scene: Scene) -> Path:
    assert scene.data is not None  # see `running.FILLED`
    return scene.data


def _wait_for_index(scene: Scene) -> None:
    process = scene.target.process
    assert process is not None
    end = time.monotonic() + INDEXING_SECONDS
    began = process.cpu_seconds()
    while not until_quiet(process, INDEXING_STEP_SECONDS, INDEXED_SECONDS):
        spent = process.cpu_seconds() - began
        scene.tell(f"indexing, {spent:.0f} s of CPU so far", 0, 1)
        if time.monotonic() > end:
            raise StartupError("the search index is not ready in time", "Ask for fewer --messages.")


def _search(scene: Scene, filled: Filled, query: dict[str, str]) -> int:
    """How many it found; -1 where it was refused (as taking too long)."""
    path = f"/v1/search?{urlencode(query)}"
    status, text = scene.rest.ask("GET", path, token=filled.token)
    return len(msgspec.json.decode(text)["results"]) if status == OK else -1


def _pages(
    scene: Scene, filled: Filled, chance: random.Random, share: float, *, older: bool = False
) -> list[float]:
    took = []
    each = int(filled.wish.messages * filling.MINE_SHARE / len(filled.chats))
    for _ in _for(share):
        path = f"/v1/chats/{quote(chance.choice(filled.chats))}/messages?limit={PAGE}"
        if older:
            path += f"&before={chance.randrange(2, max(3, each))}"
        began = time.perf_counter()
        scene.rest("GET", path, token=filled.token)
        took.append(time.perf_counter() - began)
    return took


def _for(seconds: float) -> Iterator[float]:
    """Turns until the time is over, three at least; each is given its beginning."""
    end = time.perf_counter() + seconds
    turns = 0
    while (now := time.perf_counter()) < end or turns < 3:  # noqa: PLR2004
        turns += 1
        yield now
