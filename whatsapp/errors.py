"""Every error that crosses a module, and whose fault each one is.

Three families, translated once at the edge (`router.py` for frames, `web.py` for HTTP):

    WhatsAppError
    ├── ProtocolViolation      the peer broke the protocol: the connection closes with `close_code`
    ├── Refusal                a legal wish that we refuse: answered, the connection stays
    │   ├── BadRequest         bad_request      400
    │   ├── Unauthorized       unauthorized     401
    │   ├── BadCredentials     bad_credentials  401
    │   ├── Forbidden          forbidden        403
    │   ├── NotFound           not_found        404
    │   ├── UserExists         user_exists      409
    │   ├── WeakPassword       weak_password    400
    │   ├── NotMember          not_member       403
    │   ├── GroupFull          group_full       409
    │   ├── TooLarge           too_large        413
    │   ├── IdReused           id_reused        409
    │   └── RateLimited        rate_limited     429, retryable
    ├── Trouble                something of ours is not well: answered, retryable
    │   ├── Busy               busy             503
    │   ├── Unavailable        unavailable      503
    │   └── Internal           internal         500, a bug: logged with its traceback
    └── StartupError           we cannot start: one line of cause, one of cure

`message` is one plain sentence that says what to do; it is shown to people. `code` is for
machines and stable (the project's protocol reference lists the same names).
"""

from __future__ import annotations

from typing import ClassVar


class WhatsAppError(Exception):
    """The root: `except WhatsAppError` is every error that we raise on purpose."""


class ProtocolViolation(WhatsAppError):
    """The peer broke the protocol; close the connection with `close_code` (RFC 6455, 7.4)."""

    def __init__(self, close_code: int, reason: str) -> None:
        super().__init__(reason)
        self.close_code = close_code
        self.reason = reason


class Answer(WhatsAppError):
    """An error that is answered with a code, over WebSocket and HTTP alike."""

    code: ClassVar[str]
    status: ClassVar[int]
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_ms = retry_after_ms


class Refusal(Answer):
    """A legal wish that we refuse."""


class BadRequest(Refusal):
    code, status = "bad_request", 400


class Unauthorized(Refusal):
    code, status = "unauthorized", 401


class BadCredentials(Refusal):
    code, status = "bad_credentials", 401


class Forbidden(Refusal):
    code, status = "forbidden", 403


class NotFound(Refusal):
    code, status = "not_found", 404


class UserExists(Refusal):
    code, status = "user_exists", 409


class WeakPassword(Refusal):
    code, status = "weak_password", 400


class NotMember(Refusal):
    code, status = "not_member", 403


class GroupFull(Refusal):
    code, status = "group_full", 409


class TooLarge(Refusal):
    code, status = "too_large", 413


class IdReused(Refusal):
    code, status = "id_reused", 409


class RateLimited(Refusal):
    code, status, retryable = "rate_limited", 429, True


class Trouble(Answer):
    """Something of ours is overloaded or away; trying again later is right."""

    retryable = True


class Busy(Trouble):
    code, status = "busy", 503


class Unavailable(Trouble):
    """A backend is away, or its outcome is unknown: nothing was acknowledged."""

    code, status = "unavailable", 503


class Internal(Trouble):
    code, status = "internal", 500


class StartupError(WhatsAppError):
    """We cannot start. `cause` says what is wrong, `cure` what to do about it."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(f"{cause}\n{cure}")
        self.cause = cause
        self.cure = cure
