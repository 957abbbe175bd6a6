"""The REST interface as a table: every method and path, and the module call behind it.

What an operation takes, answers and may refuse is said here alone: `rest.py` serves this
table, `contract.py` publishes it. The rules are in the modules; a handler only puts a request
into their words (canonical ids, plain arguments).
"""

from __future__ import annotations

from typing import Any

from whatsapp import errors as e
from whatsapp import resources as r
from whatsapp.model import user_id
from whatsapp.operations import (
    Call,
    ChatsQuery,
    HistoryQuery,
    Operation,
    PeopleQuery,
    Plain,
    SearchQuery,
    WithBody,
    WithQuery,
)
from whatsapp.wire import UserId


def canonical(users: list[str]) -> list[str]:
    """User ids in canonical form, each once, in the order given."""
    return list(dict.fromkeys(user_id(user) for user in users))


async def _register(call: Call[r.Register, None]) -> r.Registered:
    # As it was typed: who gives no name is shown so.
    body = call.body
    account = await call.modules.auth.register(
        body.user, body.password, body.name, body.invite, call.address
    )
    return r.Registered(user=account.user, name=account.name)


async def _login(call: Call[r.Login, None]) -> r.LoggedIn:
    body, counted = call.body, call.modules.metrics.logins
    try:
        answer = await call.modules.auth.login(body.user, body.password, body.device, call.address)
    except e.Answer as error:
        counted[error.code].value += 1
        raise
    counted["ok"].value += 1
    return answer


async def _history(call: Call[None, HistoryQuery]) -> r.History:
    query = call.query
    if query.before is not None and query.after is not None:
        raise e.BadRequest("give before or after, not both")
    return await call.modules.histories.history(
        call.actor, call.chat, query.before, query.after, query.limit
    )


async def _search(call: Call[None, SearchQuery]) -> r.Found:
    query = call.query
    chat = None if query.chat is None else query.chat.lower()
    sender = None if query.sender is None else user_id(query.sender)
    return await call.modules.histories.search(
        call.actor, query.q, chat, sender, query.before, query.limit
    )


async def _create_group(call: Call[r.NewGroup, None]) -> r.ChatInfo:
    members = canonical(call.body.members)
    chat = await call.modules.groups.create(call.actor, call.body.title, members)
    return await call.modules.histories.show(call.actor, chat)


async def _change_group(call: Call[r.GroupChange, None]) -> r.ChatInfo:
    await call.modules.groups.change(call.actor, call.chat, call.body)
    return await call.modules.histories.show(call.actor, call.chat)


async def _join(call: Call[None, None]) -> r.ChatInfo:
    chat = await call.modules.groups.join(call.actor, call.code)
    return await call.modules.histories.show(call.actor, chat)


ACCOUNTS = (
    WithBody(
        "POST",
        "/v1/users",
        "register",
        "Register a user",
        _register,
        body=r.Register,
        answer=r.Registered,
        status=201,
        codes=(e.UserExists, e.WeakPassword, e.Forbidden),
        public=True,
        detail="Whether this is open to everybody, needs an `invite` or is closed, the server's "
        "operator decides (`forbidden`). Ids are compared after lower-casing.",
    ),
    WithBody(
        "POST",
        "/v1/login",
        "login",
        "Log in: a new device and its token",
        _login,
        body=r.Login,
        answer=r.LoggedIn,
        codes=(e.BadCredentials,),
        public=True,
        detail="Keep the token: it is shown once. It ends with a logout, or when long unused.",
    ),
    Plain(
        "POST",
        "/v1/logout",
        "logout",
        "Log this device out",
        lambda call: call.modules.auth.logout(call.actor),
        detail="The token is dead, and the device's connections close with 4010.",
    ),
    Plain(
        "GET",
        "/v1/devices",
        "listDevices",
        "Your devices",
        lambda call: call.modules.auth.devices(call.actor),
        answer=list[r.DeviceInfo],
    ),
    Plain(
        "DELETE",
        "/v1/devices/{device}",
        "endDevice",
        "Log one of your devices out",
        lambda call: call.modules.auth.end_device(call.actor, call.device),
        codes=(e.NotFound,),
    ),
    WithBody(
        "POST",
        "/v1/me/password",
        "changePassword",
        "Change your password",
        lambda call: call.modules.auth.change_password(call.actor, call.body.old, call.body.new),
        body=r.PasswordChange,
        codes=(e.BadCredentials, e.WeakPassword),
        detail="Your other devices are logged out.",
    ),
    WithBody(
        "DELETE",
        "/v1/me",
        "eraseMe",
        "Erase your account",
        lambda call: call.modules.auth.erase(call.actor, call.body.password),
        body=r.Erasure,
        codes=(e.BadCredentials,),
        detail="Profile, devices and memberships are gone for good, and the id stays taken. "
        "What you wrote stays in its chats.",
    ),
)

PEOPLE = (
    Plain(
        "GET",
        "/v1/me",
        "showMe",
        "Your profile",
        lambda call: call.modules.people.me(call.actor),
        answer=r.Profile,
    ),
    WithBody(
        "PATCH",
        "/v1/me",
        "changeMe",
        "Change your profile",
        lambda call: call.modules.people.change(call.actor, call.body),
        body=r.ProfileChange,
        answer=r.Profile,
        detail="What is left out stays. `privacy` is reciprocal: who hides it does not see it.",
    ),
    WithQuery(
        "GET",
        "/v1/users",
        "findUsers",
        "Find people by how their id or name begins",
        lambda call: call.modules.people.search(call.actor, call.query.q, call.query.limit),
        query=PeopleQuery,
        answer=list[r.UserName],
    ),
    Plain(
        "GET",
        "/v1/users/{user}",
        "showUser",
        "Somebody's profile",
        lambda call: call.modules.people.show(call.actor, call.user),
        answer=r.UserInfo,
        codes=(e.NotFound,),
    ),
    Plain(
        "GET",
        "/v1/users/{user}/presence",
        "showPresence",
        "Is somebody online, and when last",
        lambda call: call.modules.presences.show(call.actor, call.user),
        answer=r.PresenceInfo,
        codes=(e.NotFound,),
        detail="`last_seen` is null where hidden or never.",
    ),
    Plain(
        "GET",
        "/v1/blocks",
        "listBlocks",
        "Whom you block",
        lambda call: call.modules.people.blocks(call.actor),
        answer=list[UserId],
    ),
    Plain(
        "PUT",
        "/v1/blocks/{user}",
        "block",
        "Block somebody",
        lambda call: call.modules.people.block(call.actor, call.user),
        codes=(e.NotFound,),
        detail="They see no difference; what they send you directly does not reach you.",
    ),
    Plain(
        "DELETE",
        "/v1/blocks/{user}",
        "unblock",
        "Unblock somebody",
        lambda call: call.modules.people.unblock(call.actor, call.user),
        codes=(e.NotFound,),
    ),
)

CHATS = (
    WithQuery(
        "GET",
        "/v1/chats",
        "listChats",
        "Your chats, newest activity first",
        lambda call: call.modules.histories.lines(call.actor, call.query.limit, call.query.before),
        query=ChatsQuery,
        answer=list[r.ChatInfo],
        detail="`unread` counts the messages of others after your `read`, up to 999.",
    ),
    Plain(
        "GET",
        "/v1/chats/{chat}",
        "showChat",
        "One chat, with its members",
        lambda call: call.modules.histories.show(call.actor, call.chat),
        answer=r.ChatInfo,
        codes=(e.NotFound,),
    ),
    WithQuery(
        "GET",
        "/v1/chats/{chat}/messages",
        "listMessages",
        "A run of a chat's messages, in order",
        _history,
        query=HistoryQuery,
        answer=r.History,
        codes=(e.NotFound,),
        detail="With `before` or `after` a seq, or with neither the newest. `more`: there are "
        "further ones in that direction.",
    ),
    WithBody(
        "POST",
        "/v1/chats/{chat}/messages",
        "postMessage",
        "Send a message; for bots and scripts",
        lambda call: call.modules.conversations.post(
            call.actor, call.chat, call.body.id, call.body.text, call.body.reply_to
        ),
        body=r.Post,
        answer=r.Posted,
        status=201,
        codes=(e.NotFound, e.NotMember, e.Forbidden, e.IdReused),
        detail="It is durable when answered. Repeat it with the same `id` as often as you like: "
        "one message is stored, and a repeat is answered with its place and `dup`.",
    ),
    WithQuery(
        "GET",
        "/v1/search",
        "searchMessages",
        "Search your chats, newest first",
        _search,
        query=SearchQuery,
        answer=r.Found,
        codes=(e.NotFound,),
        detail="All words must occur, whatever their case and accents; the last may go on; "
        'words in "quotes" must follow each other.',
    ),
)

_RULED = (e.NotFound, e.NotMember, e.Forbidden)

GROUPS = (
    WithBody(
        "POST",
        "/v1/groups",
        "createGroup",
        "Create a group",
        _create_group,
        body=r.NewGroup,
        answer=r.ChatInfo,
        status=201,
        codes=(e.NotFound, e.GroupFull),
        detail="You become its `owner`.",
    ),
    WithBody(
        "PATCH",
        "/v1/groups/{chat}",
        "changeGroup",
        "Change a group's title, description or who may send",
        _change_group,
        body=r.GroupChange,
        answer=r.ChatInfo,
        codes=_RULED,
        detail="What is left out stays. `announce`: only owners and admins send.",
    ),
    WithBody(
        "POST",
        "/v1/groups/{chat}/members",
        "addMembers",
        "Add members",
        lambda call: call.modules.groups.add(call.actor, call.chat, canonical(call.body.users)),
        body=r.Users,
        answer=r.Added,
        codes=(*_RULED, e.GroupFull),
        detail="Those that were members already are not in `added`.",
    ),
    Plain(
        "DELETE",
        "/v1/groups/{chat}/members/{user}",
        "removeMember",
        "Remove a member, or leave",
        lambda call: call.modules.groups.remove(call.actor, call.chat, call.user),
        codes=_RULED,
        detail="Your own name: leave. The last owner that leaves passes ownership on.",
    ),
    WithBody(
        "PUT",
        "/v1/groups/{chat}/members/{user}/role",
        "setRole",
        "Change a member's role",
        lambda call: call.modules.groups.set_role(call.actor, call.chat, call.user, call.body.role),
        body=r.NewRole,
        codes=_RULED,
    ),
    Plain(
        "POST",
        "/v1/groups/{chat}/invite",
        "createInvite",
        "A new invitation; the one before ends",
        lambda call: call.modules.groups.invite(call.actor, call.chat),
        answer=r.Invite,
        codes=_RULED,
    ),
    Plain(
        "DELETE",
        "/v1/groups/{chat}/invite",
        "revokeInvite",
        "End the invitation",
        lambda call: call.modules.groups.revoke_invite(call.actor, call.chat),
        codes=_RULED,
    ),
    Plain(
        "POST",
        "/v1/join/{code}",
        "join",
        "Join a group by its invitation",
        _join,
        answer=r.ChatInfo,
        codes=(e.NotFound, e.GroupFull),
    ),
)

# By the heading under which the document shows them.
OPERATIONS: dict[str, tuple[Operation[Any, Any], ...]] = {
    "Accounts": ACCOUNTS,
    "People": PEOPLE,
    "Chats": CHATS,
    "Groups": GROUPS,
}
