"""Passwords become argon2id hashes here, in a few threads of their own beside the loop.

A hash takes some 100 ms and 46 MiB, on purpose. Why threads: argon2 releases the
interpreter's lock, so messages flow on meanwhile. Why few, and a bounded queue: a flood of
logins must not take the memory and the processor from those who are logged in.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import importlib.resources
import os
import secrets
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import argon2

from whatsapp import config
from whatsapp.errors import Busy

SALT_BYTES = 16
HASH_BYTES = 32
# What one hash takes, about; from it comes the time that a client is told to wait.
HASH_MS_ESTIMATE = 100
_NICENESS = 10

T = TypeVar("T")


class Passwords:
    """Hashes and verifies, at most `password_workers` at a time. Raises `Busy` beyond the queue.

    Passwords that look the same are the same (NFKC): keyboards differ in how they write "ä".
    """

    def __init__(self, settings: config.Auth) -> None:
        self._hasher = argon2.PasswordHasher(
            time_cost=1,
            memory_cost=settings.password_memory_kib,
            parallelism=1,
            hash_len=HASH_BYTES,
            salt_len=SALT_BYTES,
        )
        # Nobody knows the password of this one; to say no to it takes as long as to any other.
        self._nobody = (
            f"$argon2id$v=19$m={settings.password_memory_kib},t=1,p=1"
            f"${_random_base64(SALT_BYTES)}${_random_base64(HASH_BYTES)}"
        )
        self._workers = max(1, settings.password_workers)
        self._jobs_max = self._workers + settings.password_queue_max
        self._jobs = 0
        self._pool = ThreadPoolExecutor(
            self._workers, thread_name_prefix="password", initializer=_step_back
        )

    def __len__(self) -> int:
        """Hashes under way and waiting."""
        return self._jobs

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is under way; the threads end."""
        await asyncio.to_thread(self._pool.shutdown)

    async def hash(self, password: str) -> str:
        """A new hash, with its parameters and salt in it."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, hashed: str, password: str) -> bool:
        """Is it the password of this hash? An empty hash (no such user) takes as long to deny."""
        return await self._run(lambda: self._verify(hashed or self._nobody, _normal(password)))

    def needs_rehash(self, hashed: str) -> bool:
        """Was this hash made with other parameters than those of today?"""
        return self._hasher.check_needs_rehash(hashed)

    def _verify(self, hashed: str, password: bytes) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, job: Callable[[], T]) -> T:
        if self._jobs >= self._jobs_max:
            raise Busy(
                "too many people are logging in at this moment; try again shortly",
                retry_after_ms=HASH_MS_ESTIMATE * (1 + self._jobs // self._workers),
            )
        self._jobs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, job)
        finally:
            self._jobs -= 1


@functools.cache
def common_passwords() -> frozenset[str]:
    """What everybody tries first, in lower case, 8 characters and more."""
    file = importlib.resources.files("whatsapp") / "common_passwords.txt"
    return frozenset(file.read_text(encoding="utf-8").split())


def _normal(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")


def _random_base64(count: int) -> str:
    return base64.b64encode(secrets.token_bytes(count)).decode().rstrip("=")


def _step_back() -> None:
    """Let the loop's thread go first. Only Linux has a priority for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
