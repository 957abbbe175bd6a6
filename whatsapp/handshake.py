"""Who may link: what two instances say to each other before either believes the other.

    the one that dials                          the one that waits
    Hello(name, epoch, nonce, time)      →
                                         ←      Hello(name, epoch, nonce, time)
    Proof(HMAC of "dials", both hellos)  →      checks it
    checks it                            ←      Proof(HMAC of "waits", both hellos)

Or, in place of any of these, No(why) and the end. The key is the secret of the cluster. The
proofs are over the whole of both hellos, so over both nonces, names, epochs, the version and
the times; a proof heard on one connection is worth nothing on another one, and the words
"dials" and "waits" keep one's own from being sent back to it. The one that waits says nothing
from which a secret could be guessed before the other has proved that it knows it.

No I/O: payloads in, payloads out. What follows a handshake is not signed: between machines
that strangers can reach, the links need TLS (see `peersetup.py`).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from whatsapp.errors import WhatsAppError
from whatsapp.interfaces import Instance

VERSION = 1
NONCE_BYTES = 32
PROOF_BYTES = 32
# A longer one from somebody who has proved nothing is not read.
HELLO_BYTES_MAX = 1024

Why = Literal["version", "hello", "slow", "secret", "name", "self", "unknown", "epoch"]

# No mistake of anybody's: an instance that has just started dials sooner than it is known.
NOT_YET: Why = "unknown"

# For the log: what is wrong, and what to do.
REASONS: dict[str, tuple[str, str]] = {
    "version": (
        "it speaks another version of the link protocol",
        "run the same release everywhere; during an upgrade this ends by itself",
    ),
    "hello": (
        "what it sent is no handshake",
        "set [cluster] tls_* on all instances or on none; let nobody else reach this port",
    ),
    "slow": (
        "it did not end its handshake in time",
        "look whether that instance is overloaded, and let nobody else reach this port",
    ),
    "secret": ("its secret is another one", "give all instances the same [cluster] secret"),
    "name": (
        "another instance answers at its address",
        "give each instance a [cluster] address and a [directory] instance name of its own",
    ),
    "self": (
        "it has the name of this instance",
        "give each instance a [directory] instance name of its own",
    ),
    "unknown": ("the directory does not name it (yet)", "it tries again; use one [directory] root"),
    "epoch": ("it is an earlier start of that instance", "end the old process if it still runs"),
}


class Hello(Struct, frozen=True, array_like=True, tag="hello"):
    """`epoch` tells the starts of one instance apart; `time_ms` is the sender's wall clock."""

    version: int
    name: Annotated[str, Meta(min_length=1, max_length=128)]
    epoch: int
    nonce: Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
    time_ms: int


class Proof(Struct, frozen=True, array_like=True, tag="proof"):
    """That the sender knows the secret."""

    code: Annotated[bytes, Meta(min_length=PROOF_BYTES, max_length=PROOF_BYTES)]


class No(Struct, frozen=True, array_like=True, tag="no"):
    """The sender does not want this link. Anyone may say it, so it is only good for the log."""

    why: Why


class Refused(WhatsAppError):
    """The handshake ends here. `theirs`: it was the other side that said no."""

    def __init__(self, why: Why, *, theirs: bool = False) -> None:
        super().__init__(why)
        self.why: Why = why
        self.theirs = theirs


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Hello | Proof | No).decode


class Handshake:
    """One side of one. `admit` says whether an instance is expected: None, or why not."""

    def __init__(
        self,
        me: Instance,
        secret: str,
        *,
        dials: bool,
        admit: Callable[[Hello], Why | None],
        nonce: bytes,
    ) -> None:
        self.dials = dials
        self.done = False
        self.theirs: Hello | None = None
        self._me = me
        self._key = secret.encode()
        self._admit = admit
        self._nonce = nonce
        self._hellos: list[bytes] = []  # as they were sent, and in that order

    def begin(self, time_ms: int) -> bytes:
        """Our hello: to be sent first by the one that dials."""
        me = self._me
        ours = _encode(Hello(VERSION, me.name, me.epoch, self._nonce, time_ms))
        self._hellos.append(ours)
        return ours

    def take(self, payload: bytes, time_ms: int) -> bytes:
        """What the other said; what to answer, b"" for nothing. Raises `Refused`."""
        try:
            said = _decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise Refused("hello") from None
        if isinstance(said, No):
            raise Refused(said.why, theirs=True)
        if self.theirs is None:
            return self._take_hello(said, payload, time_ms)
        return self._take_proof(said)

    def _take_hello(self, said: Hello | Proof, payload: bytes, time_ms: int) -> bytes:
        if not isinstance(said, Hello):
            raise Refused("hello")
        if said.version != VERSION:
            raise Refused("version")
        if said.name == self._me.name:
            raise Refused("self")
        self.theirs = said
        self._hellos.append(payload)
        if not self.dials:
            return self.begin(time_ms)
        # Nobody is shown a proof who is not the one that was dialled.
        self._check(said)
        return self._proof("dials")

    def _take_proof(self, said: Hello | Proof) -> bytes:
        assert self.theirs is not None
        expected = self._code("waits" if self.dials else "dials")
        if not isinstance(said, Proof) or not hmac.compare_digest(said.code, expected):
            raise Refused("secret")
        self._check(self.theirs)
        self.done = True
        return b"" if self.dials else self._proof("waits")

    def _check(self, hello: Hello) -> None:
        why = self._admit(hello)
        if why is not None:
            raise Refused(why)

    def _proof(self, label: str) -> bytes:
        return _encode(Proof(self._code(label)))

    def _code(self, label: str) -> bytes:
        """Over the label and both hellos, the dialling one's first, each with its length."""
        parts = (label.encode(), *self._hellos)
        told = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, told, hashlib.sha256)


def no(why: Why) -> bytes:
    """The payload that says so."""
    return _encode(No(why))
