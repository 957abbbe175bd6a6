"""A loop without time or chance of its own: what the core asks of asyncio, in a fixed order.

What waits for the outside (a store) is *stalled* until somebody lets it go on. So a test
decides which of several calls under way ends first, and a run repeats exactly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

STEPS_MAX = 200_000

Done = Callable[[Any, BaseException | None], None]


async def awaited(later: Awaitable[Any]) -> None:
    """As a coroutine, whatever it is."""
    await later


class Promise:
    """`clock.Promise`."""

    __slots__ = ("_done", "_error", "_loop", "_result", "_waiting")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._waiting: list[Callable[[], None]] = []

    def set_result(self, result: Any, /) -> None:
        self._settle(result, None)

    def set_exception(self, error: BaseException, /) -> None:
        self._settle(None, error)

    def done(self) -> bool:
        return self._done

    def then(self, call: Callable[[], None]) -> None:
        if self._done:
            self._loop.soon(call)
        else:
            self._waiting.append(call)

    def __await__(self) -> Generator[Promise, None, Any]:
        if not self._done:
            yield self
        if self._error is not None:
            raise self._error
        return self._result

    def _settle(self, result: Any, error: BaseException | None) -> None:
        assert not self._done, "settled twice"
        self._done, self._result, self._error = True, result, error
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            self._loop.soon(call)


class Task:
    """A coroutine that runs on a `Loop`."""

    __slots__ = ("_done", "_loop", "work")

    def __init__(self, loop: Loop, work: Coroutine[Any, Any, Any], done: Done) -> None:
        self.work = work
        self._loop = loop
        self._done = done

    def step(self) -> None:
        try:
            waits = self.work.send(None)
        except StopIteration as end:
            self._end(end.value, None)
        except Exception as error:  # noqa: BLE001 — whoever started it is told
            self._end(None, error)
        else:
            if waits is None:
                self._loop.soon(self.step)
            else:
                waits.then(self.step)

    def _end(self, result: Any, error: BaseException | None) -> None:
        self._loop.tasks.pop(self, None)
        self._done(result, error)


class Loop:
    """`clock.Scheduler`. `run` does all that can be done without the outside."""

    def __init__(self) -> None:
        self.tasks: dict[Task, None] = {}
        self.stalled: list[tuple[str, Promise]] = []
        self.failed: list[BaseException] = []
        self._ready: deque[Callable[[], None]] = deque()
        self.dead = False

    def soon(self, call: Callable[[], None]) -> None:
        if not self.dead:
            self._ready.append(call)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.start(work, self._spawned)

    def promise(self) -> Promise:
        return Promise(self)

    def start(self, work: Coroutine[Any, Any, Any], done: Done) -> None:
        """Run it beside everything else; `done(result, error)` at its end."""
        if self.dead:
            work.close()
            return
        task = Task(self, work, done)
        self.tasks[task] = None
        self._ready.append(task.step)

    async def stall(self, what: str) -> None:
        """Wait for the outside."""
        promise = Promise(self)
        self.stalled.append((what, promise))
        await promise

    def resume(self, index: int) -> str:
        what, promise = self.stalled.pop(index)
        promise.set_result(None)
        return what

    def run(self) -> None:
        ready = self._ready
        for _ in range(STEPS_MAX):
            if not ready:
                return
            ready.popleft()()
        raise AssertionError("the core does not come to rest")

    def kill(self) -> None:
        """The process is gone: nothing of it happens any more."""
        self.dead = True
        self._ready.clear()
        self.stalled.clear()
        for task in list(self.tasks):
            task.work.close()
        self.tasks.clear()

    def _spawned(self, result: Any, error: BaseException | None) -> None:
        if error is not None:
            self.failed.append(error)
