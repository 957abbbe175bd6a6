"""The detector of one process: a board on which its directories write who is where."""

from __future__ import annotations

from collections.abc import Callable, Collection

from whatsapp.interfaces import Instance


class Board:
    """What the directories of one process tell each other (more than one: tests)."""

    def __init__(self) -> None:
        self.instances: dict[str, Instance] = {}
        self.places: dict[str, set[str]] = {}
        self.watchers: dict[str, list[Callable[[str], None]]] = {}
        self.listeners: list[Callable[[], None]] = []

    def tell(self, user: str) -> None:
        for changed in tuple(self.watchers.get(user, ())):
            changed(user)

    def tell_of_instances(self) -> None:
        for changed in tuple(self.listeners):
            changed()


class MemoryDirectory:
    """`Directory`."""

    def __init__(self, instance: Instance, board: Board) -> None:
        self._instance = instance
        self._board = board
        self._here: set[str] = set()
        self._listeners: list[Callable[[], None]] = []
        board.instances[instance.name] = instance
        board.tell_of_instances()

    async def announce(self, users: Collection[str]) -> None:
        for user in set(users) - self._here:
            self._here.add(user)
            self._board.places.setdefault(user, set()).add(self._instance.name)
            self._board.tell(user)

    async def withdraw(self, users: Collection[str]) -> None:
        for user in self._here.intersection(users):
            self._here.remove(user)
            places = self._board.places[user]
            places.discard(self._instance.name)
            if not places:
                del self._board.places[user]
            self._board.tell(user)

    async def locate(self, users: Collection[str]) -> dict[str, list[str]]:
        places = self._board.places
        return {user: sorted(places[user]) for user in users if user in places}

    async def instances(self) -> list[Instance]:
        return [self._board.instances[name] for name in sorted(self._board.instances)]

    def watch(self, users: Collection[str], changed: Callable[[str], None]) -> Callable[[], None]:
        watched = set(users)
        for user in watched:
            self._board.watchers.setdefault(user, []).append(changed)

        def stop() -> None:
            while watched:
                user = watched.pop()
                self._board.watchers[user].remove(changed)
                if not self._board.watchers[user]:
                    del self._board.watchers[user]

        return stop

    def on_change(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)
        self._board.listeners.append(changed)

    def healthy(self) -> bool:
        return True

    async def close(self) -> None:
        await self.withdraw(tuple(self._here))
        self._board.instances.pop(self._instance.name, None)
        for changed in self._listeners:
            self._board.listeners.remove(changed)
        self._board.tell_of_instances()
