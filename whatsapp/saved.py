"""The logins of this machine's user, in files: where they are, and which one a command takes.

    <data folder>/logins/<server>/alice.chat.jsonl      of `whatsapp chat`
    <data folder>/logins/<server>/alice.script.jsonl    of `whatsapp login`, `send` and `tail`

Each file is an outbox of the client library (`outbox.py`): the token, the cursors, and what
waits to be sent. It is a secret; folder and files are for their owner's eyes only.

Why two: a login is a device, and a device has one connection. So a chat and a tail can run
at the same time; each takes the other's file where its own is not there.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct
from yarl import URL

from whatsapp.config import default_data_folder
from whatsapp.errors import StartupError
from whatsapp.outbox import Line, Login

SERVER = "http://127.0.0.1:8080"
CHAT = "chat"
SCRIPT = "script"
SLOTS = (CHAT, SCRIPT)

DEMO_USERS = ("alice", "bob", "carol")


class Slot(Struct, frozen=True):
    """A file that a login is in."""

    path: Path
    user: str
    name: str

    def login(self) -> Login | None:
        """What the file says, read without its lock: a command may send while a chat is open."""
        found: Login | None = None
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return None
        for line in lines:
            if b'"login"' not in line:
                continue
            try:
                found = msgspec.json.decode(line, type=Line).login or found
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # a line that is being written
        return found if found is not None and found.token else None


class Logins:
    """The logins at one server. `folder`: the user's data folder, or another one in tests."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self.url = server_url(url)
        base = folder or Path(default_data_folder())
        self._folder = base / "logins" / quote(self.url, safe="")

    def slot(self, user: str, name: str) -> Slot:
        return Slot(self._folder / f"{user}.{name}.jsonl", user, name)

    def slots(self, user: str, name: str) -> list[Slot]:
        """Both, the named one first."""
        others = [other for other in SLOTS if other != name]
        return [self.slot(user, one) for one in (name, *others)]

    def logged_in(self, user: str, name: str) -> list[Slot]:
        """Those of the user's slots that have a login, the named one first."""
        return [slot for slot in self.slots(user, name) if slot.login()]

    def users(self) -> list[str]:
        """Who has a login here; who used it last comes first."""
        latest: dict[str, float] = {}
        for path in self._folder.glob("*.jsonl"):
            user, _, name = path.name.removesuffix(".jsonl").rpartition(".")
            if name in SLOTS and self.slot(user, name).login():
                latest[user] = max(latest.get(user, 0.0), path.stat().st_mtime)
        return sorted(latest, key=lambda user: -latest[user])

    def make_folder(self) -> None:
        """So that a file may be put there (`StartupError`)."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self._folder, self._folder.parent):
                folder.chmod(0o700)
        except OSError as error:
            raise StartupError(
                f"the folder for logins {self._folder} cannot be made: {error.strerror}",
                "Make it writable, or set XDG_DATA_HOME to a folder that is.",
            ) from None

    def forget(self, slot: Slot) -> None:
        """Remove the file, with whatever waits in it. Not while somebody has it open."""
        slot.path.unlink(missing_ok=True)
        slot.path.with_name(slot.path.name + ".lock").unlink(missing_ok=True)


def server_url(text: str) -> str:
    """With a scheme and without a slash at its end (`StartupError`)."""
    text = text.strip()
    whole = text if "://" in text else f"http://{text}"
    try:
        url = URL(whole)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise StartupError(
            f"{text!r} is no address of a server", f"Give it like {SERVER} or https://chat.example."
        )
    return str(url).rstrip("/")


def is_here(url: str) -> bool:
    """Is the server on this machine?"""
    host = URL(url).host or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def demo_password(url: str, user: str) -> str | None:
    """What `whatsapp serve --demo` would have set: no secret, and only tried on this machine."""
    return f"correct horse {user}" if user in DEMO_USERS and is_here(url) else None


def password_given() -> str | None:
    """The variable WHATSAPP_PASSWORD, for scripts."""
    return os.environ.get("WHATSAPP_PASSWORD") or None
