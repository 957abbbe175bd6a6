"""The table of backends: a name, and the module that is imported when it is picked.

Picked late, so that a driver that nobody uses need not be installed.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from whatsapp.errors import StartupError

STORES = {
    "memory": "backends.memory",
    "sqlite": "backends.sqlite",
    "mongo": "backends.mongo",
}
# What copies and checks a backend's files; the others have tools of their own for that.
UPKEEP = {"sqlite": "backends.sqlite_upkeep"}
DIRECTORIES = {"memory": "backends.memory", "zookeeper": "backends.zookeeper"}


def stores(name: str) -> ModuleType:
    """The module whose `open_stores(settings)` opens this backend."""
    return _picked(STORES, name, "[storage] backend")


def directory(name: str) -> ModuleType:
    """The module whose `open_directory(settings, instance)` opens this backend."""
    return _picked(DIRECTORIES, name, "[directory] backend")


def upkeep(name: str) -> ModuleType:
    """The module that backs up, restores and checks this backend's files."""
    if name not in UPKEEP:
        raise StartupError(
            f"the {name} store has no files that could be copied",
            "Use its own tools (mongodump for a MongoDB); the memory store keeps nothing.",
        )
    return import_module(UPKEEP[name])


def _picked(table: dict[str, str], name: str, option: str) -> ModuleType:
    if name not in table:
        raise StartupError(
            f"{option} = {name!r} is not known", f"Use one of: {', '.join(sorted(table))}."
        )
    return import_module(table[name])
