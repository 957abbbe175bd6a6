"""As whom a command acts, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from whatsapp import access, errors
from whatsapp.access import Failed, Who
from whatsapp.calls import ConnectionLost, Offline
from whatsapp.client import LoggedOut
from whatsapp.outbox import Login, Outbox

URL = "http://127.0.0.1:8080"


async def save(folder: Path, user: str) -> None:
    logins = Who(URL, folder=folder).logins
    logins.make_folder()
    outbox = Outbox(logins.slot(user, "chat").path, messages_max=1)
    outbox.belongs_to(Login(url=URL, user=user, token="t", device="d"))
    await outbox.flush()
    await outbox.close()


async def test_the_only_saved_user_is_taken(tmp_path: Path):
    with pytest.raises(Failed, match="nobody has a login"):
        access.user_of(Who(URL, folder=tmp_path))
    await save(tmp_path, "ann")
    assert access.user_of(Who(URL, folder=tmp_path)) == "ann"
    assert access.user_of(Who(URL, "BEN", folder=tmp_path)) == "ben"
    await save(tmp_path, "cem")
    with pytest.raises(Failed, match="ann, cem") as failed:
        access.user_of(Who(URL, folder=tmp_path))
    assert failed.value.exit_code == access.EXIT_USAGE


@pytest.mark.parametrize(
    "error,code",
    [
        (Offline("x"), 75),
        (ConnectionLost("x"), 75),
        (errors.Busy("x"), 75),
        (errors.RateLimited("x"), 75),
        (errors.BadCredentials("x"), 77),
        (errors.Unauthorized("x"), 77),
        (LoggedOut("x"), 77),
        (errors.NotMember("x"), 1),
    ],
)
def test_exit_codes_say_whether_later_helps(error: Exception, code: int):
    with pytest.raises(Failed, match="x") as failed, access.explained():
        raise error
    assert failed.value.exit_code == code


def test_a_device_has_a_name_of_legal_length(monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "n" * 200)
    assert access.device_name("chat").startswith("chat on nnn")
    assert len(access.device_name("chat")) == 64
