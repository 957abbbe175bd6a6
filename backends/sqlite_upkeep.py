"""What an operator does with SQLite's files beside or without a server: copy, put back, check."""

from __future__ import annotations

from backends.sqlite_backup import copy, drop_index, end_logins, kept, put_back
from backends.sqlite_check import explaining, faults, index_faults, messages_file, reading

__all__ = [
    "copy",
    "drop_index",
    "end_logins",
    "explaining",
    "faults",
    "index_faults",
    "kept",
    "messages_file",
    "put_back",
    "reading",
]
