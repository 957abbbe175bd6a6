"""Saved logins: where they are, for whose eyes, and which one is taken."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from whatsapp import demo, saved
from whatsapp.errors import StartupError
from whatsapp.outbox import Login, Outbox
from whatsapp.saved import Logins

URL = "http://127.0.0.1:8080"


async def save(logins: Logins, user: str, name: str, token: str = "secret") -> saved.Slot:
    logins.make_folder()
    slot = logins.slot(user, name)
    outbox = Outbox(slot.path, messages_max=10)
    outbox.belongs_to(Login(url=logins.url, user=user, token=token, device="d"))
    await outbox.flush()
    await outbox.close()
    return slot


async def test_a_login_is_read_while_another_program_has_it(tmp_path: Path):
    logins = Logins(URL, tmp_path)
    slot = await save(logins, "alice", saved.CHAT)
    outbox = Outbox(slot.path, messages_max=10)
    try:
        found = slot.login()
        assert found is not None
        assert (found.user, found.token) == ("alice", "secret")
    finally:
        await outbox.close()


async def test_files_and_folders_are_for_their_owner_alone(tmp_path: Path):
    slot = await save(Logins(URL, tmp_path), "alice", saved.CHAT)
    assert stat.S_IMODE(slot.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(slot.path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(slot.path.parent.parent.stat().st_mode) == 0o700


async def test_a_command_takes_its_own_login_first_and_the_other_one_else(tmp_path: Path):
    logins = Logins(URL, tmp_path)
    await save(logins, "alice", saved.CHAT)
    assert [s.name for s in logins.logged_in("alice", saved.SCRIPT)] == ["chat"]
    await save(logins, "alice", saved.SCRIPT)
    assert [s.name for s in logins.logged_in("alice", saved.SCRIPT)] == ["script", "chat"]
    assert logins.users() == ["alice"]


async def test_servers_and_users_are_apart_and_logged_out_ones_do_not_count(tmp_path: Path):
    logins = Logins(URL, tmp_path)
    await save(logins, "alice", saved.CHAT)
    await save(logins, "+49123456789", saved.SCRIPT)
    await save(logins, "carol", saved.CHAT, token="")
    assert set(logins.users()) == {"alice", "+49123456789"}
    assert Logins("http://127.0.0.1:9090", tmp_path).users() == []
    logins.forget(logins.slot("alice", saved.CHAT))
    assert logins.users() == ["+49123456789"]


async def test_a_damaged_file_is_no_login(tmp_path: Path):
    logins = Logins(URL, tmp_path)
    slot = await save(logins, "alice", saved.CHAT)
    slot.path.write_bytes(b'{"login": {"url"\n\xff\n')
    assert slot.login() is None


@pytest.mark.parametrize(
    "given,url",
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://chat.example/", "https://chat.example"),
        ("http://[::1]:80/below/", "http://[::1]/below"),
    ],
)
def test_an_address_may_be_short(given: str, url: str):
    assert saved.server_url(given) == url


@pytest.mark.parametrize("given", ["", "ftp://x", "http://", "http://x:port", "http://x/?a=1"])
def test_what_is_no_address_is_refused(given: str):
    with pytest.raises(StartupError, match="no address"):
        saved.server_url(given)


def test_the_demo_s_passwords_are_tried_on_this_machine_only():
    for user in demo.USERS:
        assert saved.demo_password(URL, user) == demo.password(user)
        assert saved.demo_password("http://localhost:1", user) == demo.password(user)
        assert saved.demo_password("https://chat.example", user) is None
        assert saved.demo_password("http://192.0.2.1", user) is None
    assert saved.demo_password(URL, "dave") is None


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "logins").write_text("in the way")
    with pytest.raises(StartupError, match="cannot be made"):
        Logins(URL, tmp_path).make_folder()
