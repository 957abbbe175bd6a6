"""The table of backends: a name, and the module that is imported when it is picked.

Picked late, so that a driver that nobody uses need not be installed. A module that needs a
service beside this machine's disk also has `async diagnose(settings)`, which says what it
finds of that service, a list of (well, said, cure), for `whatsapp doctor`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from whatsapp.config import DirectorySection, Storage
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


async def diagnose(
    storage: Storage, directory_section: DirectorySection
) -> list[tuple[str, bool, str, str]]:
    """Name, well, said, cure: of each service that the picked backends need."""
    found: list[tuple[str, bool, str, str]] = []
    for pick, settings in ((stores, storage), (directory, directory_section)):
        name = settings.backend
        try:
            look = getattr(pick(name), "diagnose", None)
            lines = await look(settings) if look else []
        except StartupError as error:
            lines = [(False, error.cause, error.cure)]
        found += [(name, well, said, cure) for well, said, cure in lines]
    return found


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
    try:
        return import_module(table[name])
    except ModuleNotFoundError as error:
        raise StartupError(
            f'{option} = "{name}" needs {error.name}, which is not installed',
            "Install it: pip install 'whatsapp[cluster]'.",
        ) from None
