"""The ZooKeeper directory when things break: servers, connections, instances, event loops."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from msgspec.structs import replace

from tests.support.tcp_proxy import tcp_proxy
from tests.support.waiting import becomes, soon
from tests.support.zookeeper import Ensemble, ZooKeeperServer
from tests.support.zookeeper_instance import child
from whatsapp import config
from whatsapp.errors import StartupError, Unavailable
from whatsapp.interfaces import Instance

pytestmark = pytest.mark.external

SESSION_SECONDS = 2.0
ONE = Instance(name="one", address="127.0.0.1:1", epoch=1)
TWO = Instance(name="two", address="127.0.0.1:2", epoch=7)

_roots = itertools.count(1)


@pytest.fixture
def open_directory():
    return pytest.importorskip("backends.zookeeper").open_directory


@pytest.fixture
def settings(zookeeper):
    return settings_of(zookeeper.hosts)


def settings_of(hosts: str) -> config.DirectorySection:
    return config.DirectorySection(
        backend="zookeeper",
        hosts=hosts,
        root=f"/faults-{next(_roots)}",
        session_timeout_seconds=SESSION_SECONDS,
    )


@pytest.fixture
def own_server(tmp_path):
    """One that this test may harm."""
    server = ZooKeeperServer(tmp_path / "zookeeper")
    try:
        server.run()
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def both(open_directory, settings, others=None):
    """Two instances; the second one reaches ZooKeeper another way, where one is given."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_directory(settings, ONE))
        two = await stack.enter_async_context(open_directory(others or settings, TWO))
        yield one, two


async def refused_at_once(directory) -> None:
    start = time.monotonic()
    with pytest.raises(Unavailable):
        await directory.locate(["ann"])
    assert time.monotonic() - start < 5


async def located(directory, users):
    """As `locate`; an empty answer while the directory is away."""
    try:
        return await directory.locate(users)
    except Unavailable:
        return {}


async def test_a_server_that_comes_back_finds_every_wish_kept(open_directory, own_server):
    settings = settings_of(own_server.hosts)
    async with both(open_directory, settings) as (one, two):
        changes: list[bool] = []
        told: list[str] = []
        one.on_change(lambda: changes.append(one.healthy()))
        one.watch(["ann", "eve"], told.append)
        await one.announce(["ann", "bob"])
        own_server.stop()
        await soon(lambda: not one.healthy())
        await soon(lambda: changes and not changes[-1])
        await refused_at_once(one)
        with pytest.raises(Unavailable):
            await one.announce(["cid"])
        with pytest.raises(Unavailable):
            await one.withdraw(["bob"])
        with pytest.raises(Unavailable):
            await one.instances()
        told.clear()
        own_server.run()
        await soon(lambda: one.healthy() and two.healthy())
        await soon(lambda: changes[-1])
        await soon(lambda: {"ann", "eve"} <= set(told))
        wanted = {"ann": ["one"], "cid": ["one"]}
        await becomes(lambda: located(two, ["ann", "bob", "cid"]), wanted)
        assert await two.instances() == [ONE, TWO]


@pytest.mark.parametrize("seconds", [SESSION_SECONDS / 2, SESSION_SECONDS * 2])
async def test_a_server_that_is_silent_for_a_while(open_directory, own_server, seconds):
    async with both(open_directory, settings_of(own_server.hosts)) as (one, two):
        await one.announce(["ann"])
        own_server.pause()
        start = time.monotonic()
        with pytest.raises(Unavailable):
            await one.locate(["ann"])
        if seconds > SESSION_SECONDS:
            await soon(lambda: not one.healthy())
        await refused_at_once(one)
        with pytest.raises(Unavailable):
            await two.announce(["ann"])
        await asyncio.sleep(seconds - (time.monotonic() - start))
        own_server.resume()
        await becomes(lambda: located(one, ["ann"]), {"ann": ["one", "two"]})
        await soon(lambda: one.healthy() and two.healthy())


def end_session(directory) -> None:
    """As if it had timed out: another client takes the session over, and closes it."""
    from kazoo.client import KazooClient

    taking = KazooClient(
        hosts=",".join(f"{host}:{port}" for host, port in directory._link.client.hosts),
        client_id=directory._link.client.client_id,
    )
    taking.start()
    taking.stop()
    taking.close()


async def test_an_ended_session_is_followed_by_a_new_one(open_directory, settings):
    users = [f"user{number}" for number in range(1000)]
    async with both(open_directory, settings) as (one, two):
        await one.announce(users)
        told: set[str] = set()
        one.watch(users, told.add)
        changes: list[int] = []
        two.on_change(lambda: changes.append(1))
        session = one._link.session
        await asyncio.to_thread(end_session, one)
        await soon(lambda: one._link.session not in {session, None} and one.healthy())
        await becomes(lambda: located(two, users), {user: ["one"] for user in users})
        await soon(lambda: told == set(users))
        await soon(lambda: changes)
        assert await two.instances() == [ONE, TWO]
        told.clear()
        await two.announce(["user7"])
        await soon(lambda: told == {"user7"})


async def test_a_connection_that_is_cut_and_healed(open_directory, settings, zookeeper):
    async with tcp_proxy(zookeeper.port) as proxy:
        through = replace(settings, hosts=proxy.hosts)
        async with both(open_directory, settings, through) as (one, two):
            await two.announce(["ann", "bob"])
            proxy.cut()
            await soon(lambda: not two.healthy())
            await refused_at_once(two)
            # Its session ends; nobody takes its users for online then.
            await becomes(lambda: one.locate(["ann", "bob"]), {})
            assert await one.instances() == [ONE]
            for user in ("bob", "cid"):
                with pytest.raises(Unavailable):
                    await (two.withdraw([user]) if user == "bob" else two.announce([user]))
            proxy.heal()
            wanted = {"ann": ["two"], "cid": ["two"]}
            await becomes(lambda: one.locate(["ann", "bob", "cid"]), wanted)
            await soon(two.healthy)


async def test_a_short_cut_is_no_loss(open_directory, settings, zookeeper):
    async with tcp_proxy(zookeeper.port) as proxy:
        through = replace(settings, hosts=proxy.hosts)
        async with both(open_directory, settings, through) as (one, two):
            await two.announce(["ann"])
            told: list[str] = []
            two.watch(["ann"], told.append)
            session = two._link.session
            proxy.cut()
            proxy.heal()
            await soon(lambda: told)  # of all that is watched
            assert two._link.session == session
            told.clear()
            await one.announce(["ann"])
            await soon(lambda: told)
            await becomes(lambda: located(two, ["ann"]), {"ann": ["one", "two"]})


async def test_a_half_open_connection(open_directory, settings, zookeeper):
    async with tcp_proxy(zookeeper.port) as proxy:
        through = replace(settings, hosts=proxy.hosts)
        async with both(open_directory, settings, through) as (one, two):
            await two.announce(["ann"])
            proxy.stall()
            await soon(lambda: not two.healthy())
            await becomes(lambda: one.locate(["ann"]), {})
            proxy.heal()
            await becomes(lambda: one.locate(["ann"]), {"ann": ["two"]})
            await soon(two.healthy)


async def test_a_slow_connection_is_slow_and_right(open_directory, settings, zookeeper):
    async with tcp_proxy(zookeeper.port) as proxy:
        proxy.delay_seconds = 0.05
        users = [f"user{number}" for number in range(1000)]
        async with open_directory(replace(settings, hosts=proxy.hosts), ONE) as one:
            await asyncio.gather(*(one.announce([user]) for user in users), return_exceptions=True)
            # On a busy machine it may seem away for a moment; every wish is kept all the same.
            await becomes(lambda: located(one, users), {user: ["one"] for user in users})
            await soon(one.healthy)


async def test_a_killed_instance_is_offline_in_time_and_swept(open_directory, own_server):
    """Its entries are no ephemerals: ZooKeeper can start again whatever dies with it."""
    users = [f"user{number}" for number in range(20_000)]
    settings = settings_of(own_server.hosts)
    async with open_directory(settings, ONE) as one:
        await one.announce(["user1"])
        with child(settings, TWO, len(users)) as two:
            assert len(await one.locate(users)) == len(users)
            two.process.kill()
            own_server.kill()
            own_server.run()
            took = await becomes(lambda: located(one, users[:300]), {"user1": ["one"]})
        assert took < 60  # usually: a session time-out and a second
        await soon(one.healthy)
        assert await one.instances() == [ONE]
        await becomes(lambda: entered(one, users), {"user1": b"one@1"}, 60)


async def entered(directory, users) -> dict[str, bytes]:
    """The entries as they are, whoever is alive."""
    held: dict[str, bytes] = {}
    for start in range(0, len(users), 300):
        some = users[start : start + 300]
        found = await directory._link.read([directory._nodes.user(user) for user in some])
        held |= {user: node[0] for user, node in zip(some, found, strict=True) if node}
    return held


async def test_nobody_is_swept_who_comes_back_meanwhile(open_directory, settings):
    """The same start of an instance, back in a new session while the others sweep its entries."""
    users = [f"user{number}" for number in range(3000)]
    async with both(open_directory, settings) as (one, two):
        one._sweeper.grace_seconds = two._sweeper.grace_seconds = 0.0
        await two.announce(users)
        for _ in range(3):
            await asyncio.to_thread(end_session, two)
            await soon(lambda: one.healthy() and two.healthy())
        await soon(lambda: two._entries.settled and not one._sweeper._wanted.is_set())
        await becomes(lambda: located(one, users), {user: ["two"] for user in users})


async def test_an_event_loop_that_hangs_leaves_the_directory_and_comes_back(
    open_directory, settings
):
    async with open_directory(settings, ONE) as one:
        changes: list[int] = []
        one.on_change(lambda: changes.append(1))
        with child(settings, TWO, users=3) as two:
            await becomes(lambda: one.locate(["user0"]), {"user0": ["two"]})
            changes.clear()
            two.tell(f"hang {4 * SESSION_SECONDS}")
            await becomes(one.instances, [ONE])
            assert await one.locate(["user0"]) == {}
            await soon(lambda: changes)
            await becomes(one.instances, [ONE, TWO])
            await becomes(lambda: one.locate(["user0"]), {"user0": ["two"]})


async def test_a_stopped_process_leaves_the_directory_and_comes_back(open_directory, settings):
    import signal

    async with open_directory(settings, ONE) as one:
        with child(settings, TWO, users=3) as two:
            two.process.send_signal(signal.SIGSTOP)
            await becomes(lambda: one.locate(["user0"]), {})
            two.process.send_signal(signal.SIGCONT)
            await becomes(lambda: one.locate(["user0"]), {"user0": ["two"]})


@pytest.mark.parametrize("part, name", [("_members", "refresh"), ("_watches", "tell_of")])
async def test_news_of_an_instance_that_could_not_be_read_is_read_again(
    open_directory, settings, monkeypatch, part, name
):
    async with both(open_directory, settings) as (one, two):
        one._sweeper.grace_seconds = two._sweeper.grace_seconds = 60.0
        await two.announce(["ann"])
        told: list[str] = []
        one.watch(["ann"], told.append)
        await two._members.leave()
        await soon(lambda: told and one._members.alive == {("one", 1)})
        told.clear()
        reading = getattr(getattr(one, part), name)
        failures = iter([Unavailable("ZooKeeper does not answer.")])

        async def failing_once(*arguments):
            for failure in failures:
                raise failure
            return await reading(*arguments)

        monkeypatch.setattr(getattr(one, part), name, failing_once)
        await two._members.join()
        await soon(lambda: told == ["ann"], seconds=5)


async def test_a_watch_that_fired_before_the_loop_knew_it_was_set_is_set_again(
    open_directory, settings
):
    """And while nobody looked any more: who looks next has to be told all the same."""
    async with both(open_directory, settings) as (one, two):
        path, there = one._nodes.user("ann"), two._link.client
        one.watch(["ann"], lambda user: None)()
        time.sleep(0.1)  # the loop is busy
        there.create(path, b"two@7")
        time.sleep(0.1)
        await asyncio.sleep(0.1)
        told: list[str] = []
        one.watch(["ann"], told.append)
        await asyncio.sleep(0.1)
        told.clear()
        there.set(path, b"two@7 three@9")
        await soon(lambda: told == ["ann"], seconds=5)


async def test_two_instances_of_one_name_are_refused(open_directory, settings):
    twin = replace(ONE, epoch=2)
    async with open_directory(settings, ONE) as one:
        await one.announce(["ann"])
        with pytest.raises(StartupError, match="'one'"):
            async with open_directory(settings, twin):
                pass
        assert await one.locate(["ann"]) == {"ann": ["one"]}
        assert await one.instances() == [ONE]


async def test_the_successor_of_a_crashed_one_waits_for_its_session_to_end(
    open_directory, settings
):
    with child(settings, ONE) as crashed:
        crashed.process.kill()
        crashed.process.wait()
        async with open_directory(settings, replace(ONE, epoch=2)) as again:
            assert await again.instances() == [replace(ONE, epoch=2)]
            assert await again.locate(["user0"]) == {}
            await becomes(lambda: entered(again, ["user0"]), {})


async def test_others_neither_read_nor_write_what_a_password_protects(open_directory, settings):
    ours = replace(settings, password="a secret of many words")
    async with open_directory(ours, ONE) as one:
        await one.announce(["ann"])
        for password in ("", "another"):
            with pytest.raises(StartupError, match="refuses"):
                async with open_directory(replace(settings, password=password), TWO):
                    pass
        async with open_directory(ours, TWO) as two:
            assert await two.locate(["ann"]) == {"ann": ["one"]}
            for path in (one._nodes.joins, one._nodes.user("ann"), one._nodes.instance("one")):
                acls, _ = two._link.client.get_acls(path)
                assert [acl.id.scheme for acl in acls] == ["digest"], path


@pytest.mark.parametrize("hosts", ["10.1.2.3:2181", "127.0.0.1:2181,zookeeper.example:2181"])
async def test_an_open_directory_on_the_network_is_refused(open_directory, hosts):
    with pytest.raises(StartupError, match="password"):
        async with open_directory(settings_of(hosts), ONE):
            pass


async def test_no_server_is_said_at_start(open_directory, monkeypatch, tmp_path):
    monkeypatch.setattr("backends.zookeeper.START_SECONDS", 1.0)
    nobody = ZooKeeperServer(tmp_path)
    with pytest.raises(StartupError, match="answers"):
        async with open_directory(settings_of(nobody.hosts), ONE):
            pass


async def test_hosts_that_cannot_be_read_are_said_at_start(open_directory):
    with pytest.raises(StartupError, match="hosts"):
        async with open_directory(settings_of("127.0.0.1:port"), ONE):
            pass


async def test_hosts_may_name_a_folder_for_all(open_directory, settings):
    inner = replace(settings, hosts=f"{settings.hosts}/all/of/ours")
    async with open_directory(inner, ONE) as one:
        await one.announce(["ann"])
        spelled = replace(settings, root=f"/all/of/ours{settings.root}")
        async with open_directory(spelled, TWO) as two:
            assert await two.locate(["ann"]) == {"ann": ["one"]}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_client_thread_that_fails_is_started_again(open_directory, settings):
    async with both(open_directory, settings) as (one, two):
        await one.announce(["ann"])
        one._link.client._call(
            type("Odd", (), {"type": 1})(), one._link.client.handler.async_result()
        )
        await soon(lambda: not one._link.connected)
        await soon(lambda: one._link.connected and one.healthy())
        await becomes(lambda: two.locate(["ann"]), {"ann": ["one"]})
        await one.announce(["bob"])


async def test_a_name_that_was_taken_meanwhile_is_not_fought_for(
    open_directory, settings, zookeeper
):
    async with tcp_proxy(zookeeper.port) as proxy, AsyncExitStack() as stack:
        through = replace(settings, hosts=proxy.hosts)
        old = await stack.enter_async_context(open_directory(through, ONE))
        await old.announce(["ann", "bob"])
        proxy.cut()
        async with open_directory(settings, replace(ONE, epoch=2)) as new:
            await new.announce(["ann"])
            proxy.heal()
            await soon(lambda: old._link.connected)
            with pytest.raises(Unavailable):
                await old.announce(["cid"])
            assert not old.healthy()
            await refused_at_once(old)
            assert await new.locate(["ann", "bob", "cid"]) == {"ann": ["one"]}
        await soon(old.healthy)
        wanted = {"ann": ["one"], "bob": ["one"], "cid": ["one"]}
        await becomes(lambda: located(old, ["ann", "bob", "cid"]), wanted)


async def told_by_the_doctor(settings) -> dict[str, bool]:
    from backends.zookeeper import diagnose

    found = await diagnose(settings)
    assert all(cure for well, _, cure in found if not well)
    return {what: well for well, what, _ in found}


async def test_the_doctor_tells_what_is_well_and_what_is_not(open_directory, settings, tmp_path):
    told = await told_by_the_doctor(settings)
    assert "Nothing is at" in str(told)
    ours = replace(settings, password="a secret of many words")
    async with open_directory(ours, ONE):
        told = await told_by_the_doctor(ours)
        assert told["1 instances are running"]
        assert not refused(told)
        told = await told_by_the_doctor(replace(ours, password="another"))
        assert refused(told)
    told = await told_by_the_doctor(replace(settings, hosts="10.1.2.3"))
    assert "password is empty" in str(told)
    nobody = ZooKeeperServer(tmp_path)
    told = await told_by_the_doctor(replace(settings, hosts=nobody.hosts))
    assert not any(told.values())


def refused(told: dict[str, bool]) -> bool:
    return any("refuses" in what for what in told)


async def test_the_doctor_finds_nodes_that_are_open_to_all(open_directory, settings):
    async with open_directory(settings, ONE):
        told = await told_by_the_doctor(replace(settings, password="a secret of many words"))
        assert [what for what, well in told.items() if not well and "open to" in what]


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    servers = Ensemble(tmp_path_factory.mktemp("ensemble"))
    try:
        servers.run()
        yield servers
    finally:
        servers.stop()


@pytest.mark.slow
async def test_a_member_that_lags_is_left_for_another(open_directory, ensemble):
    """Answers may be old for a moment; they are right in the end, on every member."""
    follower = ensemble.followers()[0]
    settings = settings_of(ensemble.hosts)
    behind = replace(settings, hosts=follower.hosts)
    async with both(open_directory, settings, behind) as (one, two):
        follower.pause()
        try:
            with pytest.raises(Unavailable):
                await two.announce(["bob"])
            # Until its connection has left the paused member, a wish of the first may wait, too.
            with contextlib.suppress(Unavailable):
                await one.announce(["ann"])
            await becomes(lambda: located(one, ["ann"]), {"ann": ["one"]})
        finally:
            follower.resume()
        await becomes(lambda: located(two, ["ann", "bob"]), {"ann": ["one"], "bob": ["two"]})
        await becomes(lambda: located(one, ["ann", "bob"]), {"ann": ["one"], "bob": ["two"]})


@pytest.mark.slow
async def test_an_ensemble_that_loses_its_leader_goes_on(open_directory, ensemble):
    settings = settings_of(ensemble.hosts)
    leader = next(server for server in ensemble.servers if "leader" in server.ask("srvr"))
    async with both(open_directory, settings) as (one, two):
        await one.announce(["ann"])
        leader.kill()
        try:
            await becomes(lambda: located(two, ["ann"]), {"ann": ["one"]})
            await soon(lambda: one.healthy() and two.healthy())
        finally:
            leader.run()
        await becomes(lambda: located(two, ["ann"]), {"ann": ["one"]})
