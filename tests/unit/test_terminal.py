"""The terminal client as its user sees it: keys go in, the screen is read; the server is real."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, Static

from tests.support.server import Running
from tests.support.terminal import PASSWORD, ChatList, people, someone
from whatsapp import saved, wire
from whatsapp.client import Client, Options
from whatsapp.outbox import Login, Outbox
from whatsapp.resources import MemberInfo
from whatsapp.terminal import ChatApp, commands
from whatsapp.terminal.chats import ChatScreen
from whatsapp.terminal.drawing import bubble
from whatsapp.terminal.login import LoginScreen
from whatsapp.terminal.session import Session
from whatsapp.terminal.state import Queued, State, Thread, Tick
from whatsapp.terminal.widgets import Composer, Log

SECONDS_MAX = 15.0
QUICK = Options(retry_first_seconds=0.05, retry_seconds_max=0.1)

Look = Callable[[], bool]


class Terminal:
    """The program at a terminal of 80 by 24, and a hand and an eye."""

    def __init__(self, app: ChatApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def session(self) -> Session:
        assert self.app.session is not None
        return self.app.session

    @property
    def state(self) -> State:
        return self.session.state

    async def until(self, look: Look) -> None:
        """Wait for what the screen is to show."""
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while not look():
                    await self.pilot.pause(0.02)
        except TimeoutError:
            raise AssertionError(f"not seen on:\n{self.screen()}") from None

    async def sees(self, *texts: str) -> None:
        await self.until(lambda: all(text in self.screen() for text in texts))

    async def tells(self, text: str) -> None:
        await self.until(lambda: text in self.status())

    async def types(self, text: str) -> None:
        """Put in where the focus is, as if it were pasted; a key at a time is slow."""
        match self.app.focused:
            case Composer() as composer:
                composer.insert(text)
            case Input() as line:
                line.insert_text_at_cursor(text)
            case other:
                raise AssertionError(f"nobody types into {other}")
        await self.pilot.pause()

    async def enters(self, text: str) -> None:
        await self.types(text)
        await self.pilot.press("enter")

    async def opens(self, name: str, *, shows: str) -> None:
        await self.enters(f"/go {name}")
        await self.sees(shows)

    def screen(self) -> str:
        """All that is on the screen, row by row."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in strips)

    def log(self) -> str:
        return self.app.screen.query_one(Log).text

    def status(self) -> str:
        return str(self.app.screen.query_one("#status", Static).render())


@contextlib.asynccontextmanager
async def terminal(
    url: str, folder: Path, user: str | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Terminal]:
    app = ChatApp(url, user, folder=folder, options=QUICK)
    async with app.run_test(size=size) as pilot:
        yield Terminal(app, pilot)


@contextlib.asynccontextmanager
async def logged_in(server: Running, folder: Path, user: str) -> AsyncIterator[Terminal]:
    """At the chats, with the connection made."""
    async with terminal(server.url, folder, user) as at:
        if isinstance(at.app.screen, LoginScreen):
            at.app.log_in(user, PASSWORD, register=False)
        await at.until(lambda: isinstance(at.app.screen, ChatScreen) and "connected" in at.screen())
        await at.until(lambda: at.app.session is not None and at.app.session.connected)
        yield at


async def members(client: Client, chat: str) -> list[MemberInfo]:
    found = (await client.chat(chat)).members
    assert isinstance(found, list)
    return found


@pytest.fixture
async def server(tmp_path: Path, monkeypatch) -> AsyncIterator[Running]:
    monkeypatch.delenv("WHATSAPP_PASSWORD", raising=False)
    async with people(tmp_path, "ann", "ben", "cem") as there:
        yield there


# --- logging in ----------------------------------------------------------------------


async def test_a_password_is_asked_for_once_and_never_shown(server, tmp_path):
    async with terminal(server.url, tmp_path, "ann") as at:
        await at.sees("ann", "password")
        await at.enters("wrong password")
        await at.sees("ann does not exist here, or has another password")
        assert "wrong" not in at.screen()
        at.app.screen.query_one("#password", Input).value = ""
        await at.enters(PASSWORD)
        await at.sees("connected", "Ann")
        await at.pilot.press("ctrl+q")
    (file,) = tmp_path.rglob("ann.chat.jsonl")
    assert file.stat().st_mode & 0o777 == 0o600
    async with terminal(server.url, tmp_path) as at:
        await at.sees("connected", "Ann")


async def test_keys_in_a_burst_never_show_the_password(server, tmp_path):
    async with terminal(server.url, tmp_path) as at:
        user = at.app.screen.query_one("#user", Input)
        for key in [*"ann", "tab", *"secret", "enter"]:
            user.post_message(events.Key(key, key if len(key) == 1 else None))
        await at.sees("ann does not exist here, or has another password")
        assert user.value == "ann"
        assert at.app.screen.query_one("#password", Input).value == "secret"


async def test_somebody_new_makes_an_account(server, tmp_path):
    async with terminal(server.url, tmp_path) as at:
        await at.types("dora")
        await at.pilot.press("tab")
        await at.types(PASSWORD)
        await at.pilot.press("tab", "tab", "enter")
        await at.sees("connected", "dora", "Write to somebody")


async def test_the_demo_s_people_need_no_password(tmp_path, monkeypatch):
    async with people(tmp_path) as server:
        for user in saved.DEMO_USERS:
            await server.app.auth.add_user(user, f"correct horse {user}", user)
        async with terminal(server.url, tmp_path) as at:
            await at.sees("alice", "bob", "carol")
            await at.pilot.click("#demo1")
            await at.sees("connected", "bob")
        async with terminal(server.url, tmp_path, "alice") as at:
            await at.sees("connected", "alice")


async def test_a_server_that_is_away_is_told(tmp_path):
    async with terminal("http://127.0.0.1:9", tmp_path, "ann") as at:
        await at.enters(PASSWORD)
        await at.sees("cannot be reached")


async def test_a_login_in_use_by_two_programs_is_told(server, tmp_path):
    async with logged_in(server, tmp_path, "ann"), terminal(server.url, tmp_path) as second:
        await second.sees("in use by other programs")


# --- chatting ------------------------------------------------------------------------


async def test_ticks_typing_and_presence(server, tmp_path):
    async with logged_in(server, tmp_path, "ann") as at:
        await at.enters("/new ben")
        await at.sees("Ben")
        await at.enters("hello there")
        await at.until(lambda: at.log().endswith("✓"))
        async with someone(server.url, "ben") as ben:
            messages = ben.messages()
            message = await anext(messages)
            assert message.text == "hello there"
            await ben.received(message.chat, message.seq)
            await at.until(lambda: at.log().endswith("✓✓"))
            state = at.state
            assert state.tick(state.thread("ann:ben").entries[0]) is Tick.DELIVERED
            await ben.read(message.chat, message.seq)
            await at.until(lambda: state.tick(state.thread("ann:ben").entries[0]) is Tick.READ)
            await at.sees("Ben  online")
            await ben.typing("ann:ben")
            await at.sees("Ben  typing…")
            await ben.send("ann", "hello yourself")
            await at.sees("hello yourself", "Ben  online")
        await at.sees("Ben  last seen today at")


async def test_unread_is_counted_until_the_chat_is_looked_at(server, tmp_path):
    async with someone(server.url, "ben") as ben:
        await ben.send("ann", "one")
        async with logged_in(server, tmp_path, "ann") as at:
            await at.sees(" 1 ", "1 unread")
            sent = await ben.send("ann", "two")
            await at.sees(" 2 ")
            await at.pilot.press("ctrl+down")
            await at.sees("one", "two")
            await at.until(lambda: "unread" not in at.status())
            for _ in range(100):
                if {m.read for m in await members(ben, "ann:ben") if m.user == "ann"} == {sent.seq}:
                    break
                await at.pilot.pause(0.05)
            else:
                raise AssertionError("not read at the server")


async def test_what_others_write_is_text_and_nothing_else(server, tmp_path):
    hostile = "[bold red]no[/] \x1b[31mred \x1b]0;title\x07 \x9b2J \u202eevil [link=x]y[/link] \\["
    async with someone(server.url, "ben") as ben:
        await ben.change(name="[blink]Ben[/]")
        group = await ben.create_group("[b]Us[/]", ["ann"])
        await ben.send(group.chat, hostile)
        await ben.send("ann", hostile)
        async with logged_in(server, tmp_path, "ann") as at:
            await at.opens("[b]us", shows="[b]Us[/]")
            await at.sees("[bold red]no[/] ␛[31mred", "[blink]Ben[/]", "[link=x]y[/link] \\[")
            await at.opens("[blink", shows="␛]0;title␇ �2J\n")
            await at.sees("│ evil [link=x]y[/link] \\[")
            await at.enters("/search red")
            await at.sees("2 found", "[blink]Ben[/]: [bold red]no[/]")
            assert not set(at.screen()) & set("\x1b\x07\x9b\u202e")


async def test_several_lines_replies_and_groups(server, tmp_path):
    async with someone(server.url, "ben") as ben:
        group = await ben.create_group("Trip", ["ann", "cem"])
        first = await ben.send(group.chat, "When?")
        async with logged_in(server, tmp_path, "ann") as at:
            await at.opens("trip", shows="ben created the group “Trip”")
            await at.sees("Ben", "ben added you, cem", "── Today ──")
            await at.pilot.press("up", "enter")
            await at.sees("reply to Ben: When?")
            await at.types("Soon")
            await at.pilot.press("ctrl+j")
            await at.enters("or later")
            async for message in ben.messages():
                assert (message.text, message.reply_to) == ("Soon\nor later", first.seq)
                break
            await at.sees("┃ Ben: When?")
            assert "reply to" not in at.screen()


async def test_a_draft_stays_with_its_chat_and_ctrl_c_clears_before_it_quits(server, tmp_path):
    async with someone(server.url, "ben") as ben, someone(server.url, "cem") as cem:
        await ben.send("ann", "from ben")
        await cem.send("ann", "from cem")
        async with logged_in(server, tmp_path, "ann") as at:
            composer = at.app.screen.query_one(Composer)
            await at.pilot.press("ctrl+down")
            await at.sees("from cem")
            await at.types("half")
            await at.pilot.press("ctrl+down")
            assert composer.text == ""
            await at.pilot.press("ctrl+up")
            assert composer.text == "half"
            await at.pilot.press("ctrl+c")
            assert composer.text == ""
            assert at.app.is_running
            await at.pilot.press("ctrl+c")
            await at.until(lambda: not at.app.is_running)


# --- history and search --------------------------------------------------------------


async def test_history_is_loaded_upward_and_a_hit_is_jumped_to(server, tmp_path):
    async with someone(server.url, "ben") as ben:
        for number in range(1, 301):
            await ben.post("ann", f"number {number}" + (" needle" if number == 20 else ""))
        await ben.flush()
        async with logged_in(server, tmp_path, "ann") as at:
            await at.opens("ben", shows="number 300")
            log = at.app.screen.query_one(Log)
            thread = at.state.thread("ann:ben")
            assert thread.entries[0].seq > 200
            for _ in range(6):
                await at.pilot.press("pageup")
            await at.until(lambda: thread.entries[0].seq <= 200)
            assert log.scroll_offset.y < log.max_scroll_y - 1
            await ben.send("ann", "meanwhile")
            await at.until(lambda: "meanwhile" in at.log())
            right = [row[28:] for row in at.screen().splitlines()]
            assert "meanwhile" not in "".join(right)  # what is read does not move away
            await at.sees("1 new below: Esc")
            await at.enters("/search needle")
            await at.sees("1 found")
            await at.pilot.press("enter")
            await at.sees("number 20 needle")
            seqs = [one.seq for one in thread.entries]
            assert (seqs[-1], log.chosen) == (50, 20)
            for _ in range(60):
                await at.pilot.press("pagedown")
                if thread.entries[-1].seq == 301 and log.at_end:
                    break
            await at.sees("meanwhile")
            seqs = [entry.seq for entry in thread.entries]
            assert seqs == [*range(seqs[0], 302)]


# --- groups --------------------------------------------------------------------------


async def test_a_group_from_its_beginning_to_leaving(server, tmp_path):
    async with logged_in(server, tmp_path, "ann") as at:
        await at.pilot.press("ctrl+g")
        await at.sees("New group")
        await at.enters("Trip")
        await at.enters("ben")
        await at.sees("You created the group “Trip”", "You added ben")
        (chat,) = at.state.chats
        await at.pilot.press("ctrl+o")
        await at.sees("(2 members)", "You  owner", "Ben (ben)")
        await at.pilot.press("a")
        await at.sees("Add to the group")
        await at.enters("cem")
        await at.sees("(3 members)", "Cem (cem)")
        await at.pilot.press("down", "m")
        await at.sees("Ben (ben)  admin")
        await at.pilot.press("down", "d", "y")
        await at.sees("(2 members)", "removed cem")
        await at.pilot.press("i")
        await at.sees("Others enter: /join")
        told = str(at.app.screen.query_one("#told", Static).render())
        async with someone(server.url, "cem") as cem:
            assert (await cem.join(told.rsplit(" ", 1)[1])).chat == chat
        await at.pilot.press("l", "y")
        await at.sees("cem joined", "You left")
        async with someone(server.url, "ben") as ben:
            roles = {m.user: m.role for m in await members(ben, chat)}
            assert roles == {"ben": "owner", "cem": "member"}
            code = await ben.invite(chat)
        await at.enters(f"/join {code}")
        await at.sees("You joined")


async def test_commands_say_what_is_wrong_with_them(server, tmp_path):
    async with logged_in(server, tmp_path, "ann") as at:
        for line, told in [
            ("/serch x", "Did you mean /search?"),
            ("no chat is open", "Open a chat first"),
            ("/invite", "Open a chat first"),
            ("/new nobody-there", "no such user"),
            ("/go xyz", "No chat begins with xyz"),
            ("/join nonsense", ""),
            ("/role ben", "Open a chat first"),
        ]:
            await at.enters(line)
            await at.tells(told)
            at.app.screen.query_one(Composer).text = ""
        await at.enters("/new ben")
        await at.enters("/title x")
        await at.sees("This is for groups")
        at.app.screen.query_one(Composer).text = ""
        await at.enters("//etc")
        await at.sees("/etc  ")
        await at.pilot.press("f1")
        await at.sees("/help", "keys and commands")


def test_every_command_is_in_the_help():
    told = commands.help_text()
    assert all(f"/{name}" in told for name in commands.COMMANDS)
    assert max(map(len, told.splitlines())) <= 72  # fits a terminal of 80


async def test_people_are_found_by_the_beginning_of_their_name(server, tmp_path):
    async with logged_in(server, tmp_path, "ann") as at:
        await at.pilot.press("ctrl+n")
        await at.types("cem")
        await at.sees("Cem (cem)")
        await at.pilot.press("down", "down", "enter")
        await at.sees("│ Cem")
        assert isinstance(at.app.screen, ChatScreen)
        assert at.app.screen.chat == "ann:cem"


# --- connections and ends ------------------------------------------------------------


async def test_what_waits_survives_the_program_and_goes_out_later(tmp_path, unused_tcp_port):
    async with people(tmp_path, "ann", "ben") as server:
        async with logged_in(server, tmp_path, "ann") as at:
            await at.enters("/new ben")
            await at.sees("Ben")
            # The network is gone: this connection, and the way to a new one.
            link = at.session.client._link
            assert link is not None
            link.give_up("pulled")
            at.session.client.url = f"http://127.0.0.1:{unused_tcp_port}"
            await at.sees("not connected, trying again")
            await at.enters("typed while away")
            await at.sees("typed while away  …", "1 to be sent")
        async with someone(server.url, "ben") as ben:
            assert await ben.chats() == []
            async with logged_in(server, tmp_path, "ann") as at:
                message = await anext(ben.messages())
                assert message.text == "typed while away"
                await at.opens("ben", shows="typed while away")


async def test_what_is_told_before_the_fields_are_there_is_shown_with_them(server, tmp_path):
    async with terminal(server.url, tmp_path, "ann") as at:
        screen = LoginScreen(server.url, user="ann", saved=[], demo=[])
        screen.told("the weather is bad")
        await at.app.push_screen(screen)
        assert (at.app.focused and at.app.focused.id) == "password"
        await at.sees("the weather is bad")


async def test_a_login_that_was_ended_asks_again(server, tmp_path):
    async with logged_in(server, tmp_path, "ann") as at, someone(server.url, "ann") as other:
        (device,) = [d.device for d in await other.devices() if not d.current]
        await other.end_device(device)
        await at.sees("Create account", "ended this login")
        await at.enters(PASSWORD)
        await at.sees("connected")


async def test_a_server_that_began_anew_is_listened_to_from_its_beginning(server, tmp_path):
    logins = saved.Logins(server.url, tmp_path)
    logins.make_folder()
    outbox = Outbox(logins.slot("ann", saved.CHAT).path, messages_max=1)
    outbox.belongs_to(Login(url=logins.url, user="ann", token="of another life", device="d"))
    outbox.moved({"ann:ben": 50})
    await outbox.flush()
    await outbox.close()
    async with someone(server.url, "ben") as ben:
        await ben.send("ann", "first of this life")
        async with logged_in(server, tmp_path, "ann") as at:
            await at.opens("ben", shows="first of this life")
            await ben.send("ann", "second of this life")
            await at.sees("second of this life")


async def test_logout_ends_the_login_and_the_program(server, tmp_path):
    async with logged_in(server, tmp_path, "ann") as at:
        await at.enters("/logout")
        await at.sees("End this login?")
        await at.pilot.press("y")
        await at.until(lambda: not at.app.is_running)
    assert list(tmp_path.rglob("*.jsonl")) == []
    async with someone(server.url, "ann") as client:
        assert len(await client.devices()) == 1


async def test_a_signal_ends_it_in_good_order(server, tmp_path):
    async with logged_in(server, tmp_path, "ann") as at:
        os.kill(os.getpid(), signal.SIGTERM)
        await at.until(lambda: not at.app.is_running)
        assert at.app.return_code == 0


async def test_a_narrow_terminal_shows_the_list_only_while_it_is_used(server, tmp_path):
    async with someone(server.url, "ben") as ben:
        await ben.send("ann", "hello")
        async with terminal(server.url, tmp_path, "ann", size=(40, 12)) as at:
            await at.enters(PASSWORD)
            await at.until(lambda: isinstance(at.app.screen, ChatScreen))
            await at.pilot.press("ctrl+down")
            await at.sees("hello", "Ben")
            assert not at.app.screen.query_one("#left").display
            await at.pilot.press("ctrl+l")
            await at.until(lambda: bool(at.app.screen.query_one("#left").display))
            await at.pilot.press("enter")
            await at.until(lambda: not at.app.screen.query_one("#left").display)


# --- without a screen ----------------------------------------------------------------


def entry(seq: int, sender: str = "ben", **members) -> wire.Item:
    members = {"kind": "text", "text": f"t{seq}", **members}
    return wire.Item(chat="ann:ben", seq=seq, time=seq, id=str(seq), sender=sender, **members)


@pytest.mark.parametrize("times", [[n // 7 for n in range(250)], [2] * 100 + [1] * 50])
async def test_chats_of_the_same_time_are_all_listed(times: list[int]):
    session = Session(ChatList(times), changed=lambda: None, tell=print, ended=print)
    await session._load_chats()
    await session.end()
    assert len(session.state.chats) == len(times)


def test_a_thread_has_each_entry_once_in_order_whatever_comes_when():
    from whatsapp.resources import History

    thread = Thread()
    for seq in (8, 9):
        thread.arrived(entry(seq))
    thread.newest(History(messages=[entry(seq) for seq in (6, 7, 8)], more=True))
    thread.arrived(entry(9))
    thread.arrived(entry(10, kind="void", text=None))
    thread.older(History(messages=[entry(seq) for seq in (4, 5, 6)], more=False))
    assert [one.seq for one in thread.entries] == [4, 5, 6, 7, 8, 9]
    assert not thread.more_before


def test_a_group_s_tick_is_that_of_the_slowest():
    state = State("ann")
    mine = entry(5, "ann")
    assert state.tick(mine) is Tick.STORED
    for user, received, read in (("ben", 5, 5), ("cem", 5, 4), ("ann", 0, 0)):
        state.heard(wire.Receipt("ann:ben", user, received, read), 0.0)
    assert state.tick(mine) is Tick.DELIVERED
    state.heard(wire.Receipt("ann:ben", "cem", 5, 5), 0.0)
    assert state.tick(mine) is Tick.READ


def test_typing_stops_by_itself():
    state = State("ann")
    state.heard(wire.TypingShown("ann:ben", "ben", on=True), 100.0)
    assert state.typing("ann:ben", 105.9) == ["ben"]
    assert state.typing("ann:ben", 106.1) == []


def test_what_was_refused_stays_until_it_is_cleared():
    state = State("ann")
    state.posted(Queued(id="1", chat="ann:ben", text="x"))
    state.refused("1", "no")
    assert [one.refused for one in state.waiting("ann:ben")] == ["no"]
    state.dropped("ann:ben")
    assert state.waiting("ann:ben") == []


@pytest.mark.parametrize("width", [20, 51, 120])
def test_every_line_of_a_bubble_fills_the_width(width: int):
    from rich.text import Text

    texts = ["", "x", "word " * 50, "x" * 500, "中文" * 60, "a\n\n\nb", "  indented\n\tcode"]
    for text in texts:
        for mine in (True, False):
            lines = bubble(text, [Text("N" * 90)], Text("12:00 ✓✓"), width, mine=mine)
            assert {line.cell_length for line in lines} == {width}
