"""Files of this machine as entries: what a stat says, in which order a folder is listed, what may be opened."""

from __future__ import annotations

import errno
import os
import stat
from datetime import UTC, datetime

from fsmedia.storage.port import Entry


def open_file(path: str, flags: int) -> int:
    """Open a regular file, and nothing else of that name."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "no regular file", path)


def key_order(item: tuple[os.DirEntry[str], bool]) -> str:
    """Sort a folder as the keys below it sort: by name and slash."""
    entry, is_folder = item
    return f"{entry.name}/" if is_folder else entry.name


def entry_of(key: str, found: os.stat_result) -> Entry:
    """Read a stat as an entry; a file is as old as its bytes and its name are, whichever is later."""
    try:
        modified = datetime.fromtimestamp(max(found.st_mtime, found.st_ctime), UTC)
    except (ValueError, OverflowError, OSError):
        modified = None  # a stranger's file from the year 36812 must not hide the others
    return Entry(key, found.st_size, modified, f"{found.st_ino}-{found.st_mtime_ns}")
