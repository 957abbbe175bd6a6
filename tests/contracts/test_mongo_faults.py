"""MongoDB in trouble: nothing acknowledged that is not stored, nothing twice, no hole, and back.

A proxy between driver and server loses answers, breaks connections, plays a server that steps
down. What is stored is read past it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from backends import mongo_claims, mongo_insert
from backends.mongo import open_stores
from tests.support import mongo, mongo_proxy
from tests.support.backends import GROUP, PAIR, append, change, founded, log_of, say
from tests.support.mongo_proxy import MongoProxy
from whatsapp.errors import Unavailable
from whatsapp.model import CursorMove, Device, Duplicate, Entry, Member, Role, Stored

# PyMongo's asyncio client, closed while it connects, leaves a socket to the garbage collector.
pytestmark = [
    pytest.mark.external,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TIMEOUT_SECONDS = 3.0
CHATS = [f"ann:u{n:03}" for n in range(7)]


class Stage:
    """A proxy, stores behind it, and stores beside it on the same data."""

    def __init__(self, folder, driver, proxy):
        self.folder, self.driver, self.proxy = folder, driver, proxy
        self.stores = self.beside = None

    def another(self, **more):
        return open_stores(mongo.settings(self.folder, self.driver, **more))

    def through(self, timeout_seconds=TIMEOUT_SECONDS):
        return self.another(url=self.proxy.url, timeout_seconds=timeout_seconds)


@asynccontextmanager
async def staged(folder, driver):
    address = urlsplit(mongo.server_url())
    async with MongoProxy(address.hostname or "", address.port or 27017) as proxy:
        stage = Stage(folder, driver, proxy)
        try:
            async with stage.through() as stage.stores, stage.another() as stage.beside:
                yield stage
        finally:
            mongo.drop(folder)


@pytest.fixture(params=["motor", "pymongo"])
async def stage(request, tmp_path):
    async with staged(tmp_path / "data", request.param) as stage:
        yield stage


@pytest.fixture(autouse=True)
def collected():
    """What the driver left is told in this test, and not in the next one."""
    yield
    gc.collect()


def batch(chats=CHATS, each=2):
    return [say(f"{chat} {n}", chat=chat) for n in range(each) for chat in chats]


async def assert_stored(stage, drafts, outcomes):
    """Each once, in its chat's order, with the seq that was told."""
    told: dict[str, list[Entry]] = {}
    for draft, outcome in zip(drafts, outcomes, strict=True):
        assert isinstance(outcome, Stored), outcome
        told.setdefault(draft.chat, []).append(outcome.entry)
    for chat, entries in told.items():
        assert await log_of(stage.beside, chat) == entries
        assert [entry.text for entry in entries] == [d.text for d in drafts if d.chat == chat]


TROUBLES = {
    "answer lost": mongo_proxy.lose_answer,
    "no answer": mongo_proxy.swallow_answer,
    "cut before": mongo_proxy.cut,
    "not primary": mongo_proxy.refuse,
    "stepped down": mongo_proxy.do_and_refuse,
    "not replicated": mongo_proxy.not_replicated,
    "first half": mongo_proxy.partly(0, 1, 2, 3),
    "second half": mongo_proxy.partly(4, 5, 6),
    "every other": mongo_proxy.partly(0, 2, 4, 6),
    "slow": mongo_proxy.slowly(0.5),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("each", [1, 3])
async def test_many_chats(stage, trouble, each):
    stage.proxy.rule("insert", "messages", TROUBLES[trouble])
    drafts = batch(each=each)
    await assert_stored(stage, drafts, await stage.stores.messages.append(drafts))


@pytest.mark.parametrize(
    "trouble", [name for name in TROUBLES if name not in {"second half", "every other"}]
)
async def test_many_entries_of_one_chat(stage, trouble):
    """An ordered command: what arrives of it is a beginning."""
    await append(stage.stores, say("before"))
    stage.proxy.rule("insert", "messages", TROUBLES[trouble])
    drafts = [say(str(n)) for n in range(20)]
    outcomes = await stage.stores.messages.append(drafts)
    assert [outcome.entry for outcome in outcomes] == (await log_of(stage.beside))[1:]
    assert [outcome.entry.text for outcome in outcomes] == [str(n) for n in range(20)]


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_new_group(stage, trouble):
    stage.proxy.rule("insert", "messages", TROUBLES[trouble])
    drafts = [founded("ann", "bob"), change(joins=(("eve", Role.MEMBER),)), say(chat=GROUP)]
    if trouble not in {"second half", "every other"}:
        await assert_stored(stage, drafts, await stage.stores.messages.append(drafts))
        chat = (await stage.beside.chats.load([GROUP]))[GROUP]
        assert (chat.epoch, chat.head, set(chat.members)) == (2, 3, {"ann", "bob", "eve"})
        assert [p.chat for p in await stage.beside.chats.of_user("eve", "d")] == [GROUP]


@pytest.mark.parametrize("trouble", ["answer lost", "stepped down", "not primary"])
async def test_trouble_again_and_again(stage, trouble):
    stage.proxy.rule("insert", "messages", TROUBLES[trouble], times=4)
    drafts = batch()
    await assert_stored(stage, drafts, await stage.stores.messages.append(drafts))


async def test_unordered_inserts_would_be_noticed(stage, monkeypatch):
    """Planted: all in one unordered command. The tests above see the hole that it leaves."""

    async def at_once(mongo, runs, seconds):
        documents = [document for run in runs.values() for document in run]
        refused, doubt = await mongo.insert("messages", documents, ordered=False, seconds=seconds)
        done = {c: 0 if doubt or refused else len(run) for c, run in runs.items()}
        return done, set(runs) if doubt else set()

    monkeypatch.setattr("backends.mongo_log.insert_runs", at_once)
    assert mongo_insert.insert_runs is not at_once
    stage.proxy.rule("insert", "messages", mongo_proxy.partly(0, 2))
    drafts = [say(str(n)) for n in range(3)]
    with pytest.raises(AssertionError):
        await assert_stored(stage, drafts, await stage.stores.messages.append(drafts))


async def test_while_the_store_is_away_nothing_is_acknowledged(stage):
    await append(stage.stores, say("before"))
    drafts = [say("during"), say("elsewhere", chat="ann:eve")]
    await stage.proxy.away()
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await stage.stores.messages.append(drafts)
    assert time.monotonic() - began < 5 * TIMEOUT_SECONDS
    with pytest.raises(Unavailable):
        await stage.stores.chats.load([PAIR])
    stage.proxy.back()
    began = time.monotonic()
    outcomes = await stage.stores.messages.append(drafts)
    assert time.monotonic() - began < TIMEOUT_SECONDS
    assert [outcome.entry.seq for outcome in outcomes] == [2, 1]
    assert [entry.text for entry in await log_of(stage.beside)] == ["before", "during"]


async def test_a_pause_shorter_than_the_time_out_is_only_waiting(stage):
    await append(stage.stores, say("before"))
    await stage.proxy.away()
    call = asyncio.ensure_future(stage.stores.messages.append([say("during")]))
    await asyncio.sleep(TIMEOUT_SECONDS / 4)
    assert not call.done()
    stage.proxy.back()
    (outcome,) = await call
    assert outcome == Stored((await log_of(stage.beside))[1])


async def test_a_store_that_hangs(stage):
    await append(stage.stores, say("before"))
    stage.proxy.hold()
    draft = say("during")
    with pytest.raises(Unavailable):
        await stage.stores.messages.append([draft])
    stage.proxy.release()
    (outcome,) = await stage.stores.messages.append([draft])
    assert isinstance(outcome, (Stored, Duplicate))
    assert [entry.text for entry in await log_of(stage.beside)] == ["before", "during"]


async def test_saying_goodbye_does_not_stop_the_event_loop(stage):
    """The proxy runs in it: what the driver says while it blocks comes by too late."""
    async with stage.through() as stores:
        await append(stores, say("before"))
        assert "endSessions" not in {name for name, *_ in stage.proxy.seen}
    assert "endSessions" in {name for name, *_ in stage.proxy.seen}


async def test_what_was_not_acknowledged_may_be_sent_again_elsewhere(stage):
    """The answer is lost for good; another server is told the same."""
    stage.proxy.rule("insert", "messages", mongo_proxy.swallow_answer, times=99)
    stage.proxy.rule("find", "messages", mongo_proxy.cut, times=999)
    drafts = [founded("ann", "bob"), say("hello", chat=GROUP)]
    with pytest.raises(Unavailable):
        await stage.stores.messages.append(drafts)
    outcomes = await stage.beside.messages.append(drafts)
    assert [outcome.entry for outcome in outcomes] == await log_of(stage.beside, GROUP)
    assert len(outcomes) == 2


@pytest.mark.parametrize("broken", ["members", "chats"])
async def test_an_entry_whose_change_was_not_written_down(stage, broken):
    """A server ends between the two: whoever looks next has the change, and writes it down."""
    await append(stage.stores, founded("ann", "bob"))
    for command in ("insert", "update"):
        stage.proxy.rule(command, broken, mongo_proxy.cut, times=9999)
    with pytest.raises(Unavailable):
        await stage.stores.messages.append(
            [change(epoch=1, title="Chess", joins=(("eve", Role.MEMBER),), leaves=("bob",))]
        )
    chat = (await stage.beside.chats.load([GROUP]))[GROUP]
    assert (chat.epoch, chat.head, chat.title) == (2, 2, "Chess")
    assert chat.members["eve"] == Member(user="eve", joined=2)
    assert (chat.members["bob"].left, chat.members["ann"].active) == (2, True)
    assert [p.chat for p in await stage.beside.chats.of_user("eve", "d")] == [GROUP]
    assert await stage.beside.chats.of_user("bob", "d") == []


async def test_a_group_that_changes_while_it_is_read(stage):
    """As of one moment: its members are not older than the change it says it knows."""
    await append(stage.stores, founded("ann", "bob"))
    stage.proxy.rule("find", "chats", mongo_proxy.slowly(1.0))
    loading = asyncio.create_task(stage.stores.chats.load([GROUP]))
    await asyncio.sleep(0.5)
    await append(stage.beside, change(epoch=1, joins=(("eve", Role.MEMBER),), leaves=("bob",)))
    chat = (await loading)[GROUP]
    members = {user for user, member in chat.members.items() if member.active}
    assert (chat.epoch, members) in [(1, {"ann", "bob"}), (2, {"ann", "eve"})]


async def test_who_writes_next_writes_down_what_was_left(stage):
    await append(stage.stores, founded("ann", "bob"))
    stage.proxy.rule("update", "chats", mongo_proxy.cut, times=9999)
    stage.proxy.rule("insert", "members", mongo_proxy.cut, times=9999)
    draft = change(epoch=1, joins=(("eve", Role.MEMBER),))
    with pytest.raises(Unavailable):
        await stage.stores.messages.append([draft])
    (outcome,) = await stage.beside.messages.append([draft])
    assert outcome == Duplicate(draft.entry(2))
    assert [p.chat for p in await stage.beside.chats.of_user("eve", "d")] == [GROUP]
    await append(stage.beside, change(epoch=2, leaves=("eve",)))
    assert await stage.beside.chats.of_user("eve", "d") == []


async def test_cursors_and_accounts_survive_lost_answers(stage):
    await append(stage.stores, say())
    for action in (mongo_proxy.lose_answer, mongo_proxy.refuse, mongo_proxy.not_replicated):
        stage.proxy.rule("update", "cursors", action)
    await stage.stores.chats.advance(
        [CursorMove(chat=PAIR, user="bob", device="d", device_received=1, received=1, read=1)]
    )
    (position,) = await stage.beside.chats.of_user("bob", "d")
    assert (position.device_received, position.member.read) == (1, 1)


async def test_a_login_that_is_repeated_meets_its_first_attempt(stage):
    for number in range(10):
        device = Device(
            device=f"d{number}",
            user="ann",
            name="phone",
            token_hash=bytes([number]) * 32,
            created_ms=1,
            last_seen_ms=1,
        )
        both = (stage.stores, stage.beside)
        await asyncio.gather(*(stores.devices.add(device) for stores in both * 4))
        assert await stage.beside.devices.by_token(device.token_hash) == device
    assert len(await stage.beside.devices.of_user("ann")) == 10


async def test_two_servers_write_one_chat(stage):
    """Contiguous, each sender's own order kept, each once."""
    async with stage.another() as third:
        every = (stage.stores, stage.beside, third)

        async def write(number, stores):
            for n in range(6):
                await append(stores, *(say(f"{number} {n} {k}") for k in range(3)))

        await asyncio.gather(*(write(number, every[number % 3]) for number in range(6)))
    texts = [entry.text for entry in await log_of(stage.beside)]
    assert len(texts) == 6 * 18
    for number in range(6):
        own = [text for text in texts if text.startswith(f"{number} ")]
        assert own == [f"{number} {n} {k}" for n in range(6) for k in range(3)]


async def test_two_servers_change_one_group(stage):
    """Of changes that know of the same past one wins; members are as the log says."""
    await append(stage.stores, founded("ann"))
    for n in range(2, 12):
        users = [f"user{n}a", f"user{n}b"]
        outcomes = await asyncio.gather(
            *(
                stores.messages.append([change(epoch=n - 1, joins=((user, Role.MEMBER),))])
                for stores, user in zip((stage.stores, stage.beside), users, strict=True)
            )
        )
        assert sorted(type(each).__name__ for (each,) in outcomes) == ["Stale", "Stored"]
    for stores in (stage.stores, stage.beside):
        chat = (await stores.chats.load([GROUP]))[GROUP]
        assert (chat.head, chat.epoch, len(chat.members)) == (11, 11, 11)


async def test_the_same_from_two_servers_is_stored_once(stage):
    drafts = batch(CHATS[:3], each=3)
    answers = await asyncio.gather(
        *(stores.messages.append(drafts) for stores in (stage.stores, stage.beside) * 3)
    )
    for n, draft in enumerate(drafts):
        assert len({answer[n].entry.seq for answer in answers}) == 1
        assert sum(isinstance(answer[n], Stored) for answer in answers) == 1
        assert replace(answers[0][n].entry, seq=0) == draft.entry(0)
    for chat in CHATS[:3]:
        assert len(await log_of(stage.beside, chat)) == 3


def commands(stage):
    return [seen for seen in stage.proxy.seen if seen[0] not in {"hello", "ping", "isMaster"}]


async def test_a_batch_in_known_chats_is_one_round_trip(stage):
    await stage.stores.messages.append(batch(each=1))
    await stage.stores.messages.append([say(chat=c, sender=c[4:]) for c in CHATS])
    del stage.proxy.seen[:]
    await stage.stores.messages.append(batch(each=1))
    await stage.stores.messages.append([say(chat=CHATS[0]) for _ in range(9)])
    assert commands(stage) == [("insert", "messages", len(CHATS)), ("insert", "messages", 9)]


async def test_many_cursors_are_few_round_trips(stage):
    chats = [f"ann:v{n:03}" for n in range(50)]
    await append(stage.stores, *(say(chat=chat) for chat in chats))
    moves = [
        CursorMove(chat=chat, user="ann", device=f"d{n}", device_received=1, received=1)
        for chat in chats
        for n in range(3)
    ]
    await stage.stores.chats.advance(moves)
    del stage.proxy.seen[:]
    await stage.stores.chats.advance(moves)
    assert {each[:2] for each in commands(stage)} == {("update", "cursors")}
    assert sum(each[2] for each in commands(stage)) == 200
    assert len(commands(stage)) <= 10


async def test_a_server_with_much_to_write_does_not_shut_the_others_out(stage):
    async with (
        stage.another(timeout_seconds=15.0) as busy,
        stage.another(timeout_seconds=15.0) as other,
    ):
        await append(busy, say("first"))
        await append(other, say("second"))
        stop = asyncio.Event()

        async def write_on():
            for number in itertools.count():
                await append(busy, *(say(f"{number} {n}") for n in range(20)))
                if stop.is_set():
                    return

        writing = asyncio.create_task(write_on())
        await asyncio.sleep(0.3)
        # Each in time, which is its store's time-out: else `Unavailable`.
        stored = [await append(other, say(f"a word {n}")) for n in range(3)]
        stop.set()
        await writing
    log = await log_of(stage.beside)
    assert [entry.seq for entry in log] == list(range(1, len(log) + 1))
    assert all(entry in log for entries in stored for entry in entries)


async def test_a_claim_that_was_left_behind_holds_nobody_up_for_long(stage):
    await append(stage.beside, say("first"))
    claims = mongo_claims.Claims(stage.beside.messages._appender._mongo)
    for _ in range(mongo_claims.LOSSES_MAX):
        await claims.lost(PAIR)
    began = time.monotonic()
    for number in range(5):
        await append(stage.stores, say(f"after it {number}"))
    assert time.monotonic() - began < TIMEOUT_SECONDS
