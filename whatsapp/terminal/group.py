"""A group: its members and their roles, and what one may do with them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar

from msgspec import UNSET
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp import errors, shown
from whatsapp.model import Role
from whatsapp.resources import ChatInfo, MemberInfo
from whatsapp.terminal.dialogs import Ask, Confirm
from whatsapp.terminal.session import Session

HINT = """\
a: add   d: remove   o: owner   m: admin   u: plain member
t: title   i: invite code   v: revoke code   l: leave   Esc: close"""

_RANKS = {Role.OWNER: 0, Role.ADMIN: 1, Role.MEMBER: 2}


class GroupInfo(ModalScreen[None]):
    """The members; keys for what admins and owners may do. The server says what one may not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Close", show=False),
        Binding("a", "add", "Add", show=False),
        Binding("d,delete", "remove", "Remove", show=False),
        Binding("o", "role('owner')", "Owner", show=False),
        Binding("m", "role('admin')", "Admin", show=False),
        Binding("u", "role('member')", "Member", show=False),
        Binding("t", "title", "Title", show=False),
        Binding("i", "invite", "Invite", show=False),
        Binding("v", "revoke", "Revoke", show=False),
        Binding("l", "leave", "Leave", show=False),
    ]

    def __init__(self, session: Session, chat: str) -> None:
        super().__init__()
        self._session = session
        self._chat = chat
        self._members: list[MemberInfo] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Label(Text(shown.one_line(self._session.state.title(self._chat))), id="name")
            yield OptionList(id="members", markup=False)
            yield Static(id="told")
            yield Label(Text(HINT), classes="hint")

    def on_mount(self) -> None:
        self._load()

    @work(exclusive=True)
    async def _load(self) -> None:
        try:
            info = await self._session.info(self._chat)
        except errors.WhatsAppError as error:
            self._tell(str(error))
            return
        self._show(info)

    def _show(self, info: ChatInfo) -> None:
        members = [] if info.members is UNSET else info.members
        self._members = sorted(members, key=lambda m: (_RANKS[m.role], m.user))
        about = "" if info.about is UNSET or not info.about else f"\n{shown.one_line(info.about)}"
        title = f"{shown.one_line(info.title)}  ({len(self._members)} members){about}"
        self.query_one("#name", Label).update(Text(title))
        listed = self.query_one(OptionList)
        at = listed.highlighted or 0
        listed.clear_options()
        listed.add_options(Option(self._line(member), id=member.user) for member in self._members)
        if self._members:
            listed.highlighted = min(at, len(self._members) - 1)
        listed.focus()

    def _line(self, member: MemberInfo) -> Text:
        name = shown.one_line(self._session.state.name(member.user))
        who = "You" if member.user == self._session.state.me else f"{name} ({member.user})"
        role = "" if member.role is Role.MEMBER else f"  {member.role.value}"
        return Text.assemble(who, (role, "bold"))

    def _tell(self, text: str) -> None:
        self.query_one("#told", Static).update(Text(shown.visible(text)))

    def _user(self) -> str | None:
        at = self.query_one(OptionList).highlighted
        return self._members[at].user if at is not None and at < len(self._members) else None

    async def _try(self, wish: Awaitable[object], done: str) -> bool:
        try:
            await wish
        except errors.WhatsAppError as error:
            self._tell(str(error))
            return False
        self._tell(done)
        self._load()
        return True

    async def _sure(self, question: str) -> bool:
        sure: bool = await self.app.push_screen_wait(Confirm(question))
        return sure

    @work
    async def action_add(self) -> None:
        given = await self.app.push_screen_wait(Ask("Add to the group", "user ids, with spaces"))
        users = (given or [""])[0].replace(",", " ").lower().split()
        if users:
            wish = self._session.client.add_members(self._chat, users)
            await self._try(wish, f"added {', '.join(users)}")

    @work
    async def action_remove(self) -> None:
        user = self._user()
        if user == self._session.state.me:
            self.action_leave()
            return
        if user and await self._sure(f"Remove {user} from the group?"):
            await self._try(self._session.client.remove_member(self._chat, user), f"removed {user}")

    @work
    async def action_role(self, role: str) -> None:
        user = self._user()
        if user:
            wish = self._session.client.set_role(self._chat, user, Role(role))
            await self._try(wish, f"{user} is {role} now")

    @work
    async def action_title(self) -> None:
        given = await self.app.push_screen_wait(
            Ask("Name the group", "title", given=self._session.state.title(self._chat))
        )
        if given and given[0]:
            await self._try(
                self._session.client.change_group(self._chat, title=given[0]), "renamed"
            )

    @work
    async def action_invite(self) -> None:
        try:
            code = await self._session.client.invite(self._chat)
        except errors.WhatsAppError as error:
            self._tell(str(error))
            return
        self._tell(f"Invite code (codes before it have ended):\n{code}\nOthers enter: /join {code}")

    @work
    async def action_revoke(self) -> None:
        await self._try(self._session.client.revoke_invite(self._chat), "the invite code has ended")

    @work
    async def action_leave(self) -> None:
        if await self._sure("Leave the group?") and await self._try(
            self._session.client.leave(self._chat), "you have left"
        ):
            _ = self.dismiss(None)
