"""Pages of a listing: each is proved to be a new one, and what is given is in the order of keys.

The port promises key order, for whatever pairs bytes with sidecars or merges two listings would take a media that comes
too late for one that is gone. Most servers list in that order; S3 Express, Storj and rclone before 1.74.1 do not.
"""

from __future__ import annotations

import heapq
import json
import tempfile
from datetime import datetime
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fsmedia.errors import StorageError
from fsmedia.storage.errors import ErrorTranslator, UnexpectedAnswerError
from fsmedia.storage.port import Entry, Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SORTED_AT_ONCE = 50_000
"""Entries sorted in memory, some 25 MB; more go to a temporary file in sorted runs."""
_READ_AT_ONCE = 64 * 1024
_KEY = attrgetter("key")


class Page(NamedTuple):
    """One answer of a server to a request for a listing.

    Attributes
    ----------
    token
        What the next page is asked for with; None where this one is the last.
    """

    entries: list[Entry]
    folders: list[str]
    token: str | None


def pages(ask: Callable[[str | None], Page], folder: str) -> Iterator[Page]:
    """Give the pages of one listing.

    Raises
    ------
    StorageError
        A page or a token came a second time: such a listing would never end.
    """
    seen: set[int] = set()

    def check_new(mark: object) -> None:
        if hash(mark) in seen:
            with ErrorTranslator(folder or None):
                raise UnexpectedAnswerError("the listing goes round: a page came a second time")
        seen.add(hash(mark))  # 8 bytes a page: there may be many thousands

    token: str | None = None
    while True:
        page = ask(token)
        # Also without a repeated token: caches answer a new question with an old page.
        for first in (page.entries[:1], page.folders[:1]):
            if first:
                check_new(first[0])
        yield page
        token = page.token
        if token is None:
            return
        check_new((token,))


def level(found: Iterable[Page], until: str | None) -> Listing:
    """Join the pages of one folder, up to the page that passes `until`."""
    entries: list[Entry] = []
    folders: list[str] = []
    ordered = True
    for page in found:
        ordered = ordered and _rises(page.folders, folders[-1] if folders else "")
        entries += page.entries
        folders += page.folders
        # Where the names do not come in order, one that is wanted may still follow.
        if until and ordered and folders and folders[-1] > until:
            break
    return Listing(entries, folders)


def _rises(names: Iterable[str], before: str) -> bool:
    for name in names:
        if name <= before:
            return False
        before = name
    return True


class KeyOrder:
    """The order in which a server lists, as far as it is known; sorts what comes in another.

    Parameters
    ----------
    url
        The root, for errors.
    unordered
        Whether the server is known to list in no order of keys.
    """

    def __init__(self, url: str, *, unordered: bool = False) -> None:
        self._url = url
        self._unordered = unordered

    def entries(self, found: Iterator[Page]) -> Iterator[Entry]:
        """Give the entries of all pages in the order of keys.

        Raises
        ------
        StorageError
            Only a later page shows that the server keeps no order, when entries of earlier ones were given already.
            The next listing is sorted from its first page on.
        """
        last = ""
        if not self._unordered:
            for page in found:
                if not _rises((entry.key for entry in page.entries), last):
                    self._unordered = True
                    if last:
                        # What was given can't be taken back, and what should have come before it would be missed.
                        raise StorageError(
                            f"{self._url} does not list in the order of keys, which shows only now",
                            next_step="start again: this process sorts its listings from now on",
                            key=page.entries[0].key,
                        )
                    found = chain([page], found)
                    break
                if page.entries:
                    last = page.entries[-1].key
                yield from page.entries
            else:
                return
        yield from sort_entries(entry for page in found for entry in page.entries)


def sort_entries(entries: Iterator[Entry], at_once: int = SORTED_AT_ONCE) -> Iterator[Entry]:
    """Sort by key, in bounded memory; a key that is listed twice is given once."""
    run = sorted(islice(entries, at_once), key=_KEY)
    with ErrorTranslator(None), tempfile.TemporaryFile(prefix="fsmedia-") as file:
        spilled: list[tuple[int, int]] = []
        # The last run stays in memory: a listing that fits costs no file.
        while more := sorted(islice(entries, at_once), key=_KEY):
            spilled.append(_spill(file, run))
            run = more
        last: str | None = None
        for entry in heapq.merge(*(_read_back(file, begin, end) for begin, end in spilled), run, key=_KEY):
            if entry.key != last:
                yield entry
            last = entry.key


def _spill(file: BinaryIO, run: list[Entry]) -> tuple[int, int]:
    """Write a sorted run at the end of the file, an entry a line; return where it begins and ends."""
    begin = file.tell()
    for key, size, modified, *told in run:
        moment = None if modified is None else modified.isoformat()
        file.write(json.dumps([key, size, moment, *told]).encode() + b"\n")
    return begin, file.tell()


def _read_back(file: BinaryIO, begin: int, end: int) -> Iterator[Entry]:
    while begin < end:
        file.seek(begin)  # each time: the other runs are read from the same file in between
        block = file.read(min(_READ_AT_ONCE, end - begin))
        # Whole lines only: the rest is read again with the next block. A line is far shorter than a block.
        block = block[: block.rindex(b"\n") + 1]
        begin += len(block)
        for key, size, moment, *told in map(json.loads, block.splitlines()):
            yield Entry(key, size, None if moment is None else datetime.fromisoformat(moment), *told)
