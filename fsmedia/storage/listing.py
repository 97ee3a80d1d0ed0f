"""Pages of a listing: each is proved to be a new one, what is given is in the order of keys, other stores are left out.

The port promises key order, for whatever pairs bytes with sidecars or merges two listings would take a media that comes
too late for one that is gone. Most servers list in that order; S3 Express, Storj and rclone before 1.74.1 do not.
"""

from __future__ import annotations

import heapq
import json
import logging
import tempfile
from concurrent.futures import Future
from datetime import datetime
from itertools import chain, count, islice
from operator import attrgetter
from threading import Event, Thread
from typing import IO, TYPE_CHECKING, NamedTuple, TypeVar

from fsmedia.errors import InvalidReferenceError, StorageError
from fsmedia.format import keys
from fsmedia.storage.errors import ErrorTranslator, UnexpectedAnswerError
from fsmedia.storage.port import Entry, Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fsmedia.storage.port import Backend

T = TypeVar("T")
SORTED_AT_ONCE = 50_000
"""Entries sorted in memory, some 25 MB; more go to a temporary file in sorted runs."""
MOST_WAITING = 8 * 2**20
"""Bytes of entries that wait in memory until it is known whose they are; more wait in a temporary file."""
_READ_AT_ONCE = 64 * 1024
_KEY = attrgetter("key")
_NAMED = 10
_log = logging.getLogger("fsmedia")


def depth_first(top: T, inside: Callable[[T], Iterable[T] | None]) -> Iterator[T]:
    """Give all that lies below a folder and is none itself; `inside` gives what lies in one, None for what is none.

    Without recursion: strangers' folders may be nested deeper than Python's calls.
    """
    waiting = [top]
    while waiting:
        each = waiting.pop()
        if (found := inside(each)) is None:
            yield each
        else:
            waiting += reversed([*found])


class Page(NamedTuple):
    """One answer of a server to a request for a listing."""

    entries: list[Entry]
    folders: list[str]
    token: str | None  # what the next page is asked for with; None where this one is the last


def pages(ask: Callable[[str | None], Page], folder: str) -> Iterator[Page]:
    """Give the pages of one listing; `StorageError` where one comes a second time: such a listing would never end."""
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
        for first in (*page.entries[:1], *page.folders[:1]):
            check_new(first)
        # `d//x` stands below a name that is empty, whose folder would be `d` itself once more.
        yield page._replace(folders=[each for each in page.folders if each != folder])
        token = page.token
        if token is None:
            return
        check_new((token,))


def ahead(found: Iterator[Page], waiting: Event | None = None) -> Iterator[Page]:
    """Give pages, and from the second on ask for the next one meanwhile: who got so far mostly wants them all.

    `waiting`: is set while there is nothing to do but to wait for one that somebody wants.
    """
    waiting = waiting or Event()
    coming: Future[Page | None] | None = None
    for number in count():
        if number:
            waiting.set()
        page = next(found, None) if coming is None else coming.result()
        waiting.clear()
        if page is None:
            return
        coming = _asked_for(found) if number and page.token is not None else None
        yield page


def _asked_for(found: Iterator[Page]) -> Future[Page | None]:
    """Ask for the next page in a thread, which ends with it; None comes where there is none."""
    coming: Future[Page | None] = Future()

    def ask() -> None:
        try:
            coming.set_result(next(found, None))
        except BaseException as error:  # noqa: BLE001 - raised where the page is wanted
            coming.set_exception(error)

    # No pool: at its end a process waits for a pool's threads, and this one's server may never answer.
    Thread(target=ask, name="fsmedia-pages", daemon=True).start()
    return coming


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
    """The order in which a server lists, as far as it is known; sorts what comes in another."""

    def __init__(self, url: str, *, unordered: bool = False) -> None:
        self._url = url
        self._unordered = unordered

    def entries(self, found: Iterator[Page]) -> Iterator[Entry]:
        """Give the entries of all pages in the order of keys.

        `StorageError` where only a later page shows that the server keeps no order, when entries of earlier ones were
        given already. The next listing is sorted from its first page on.
        """
        last = ""
        if not self._unordered:
            for page in found:
                if not _rises((entry.key for entry in page.entries), last):
                    self._unordered = True
                    if last:
                        # What was given can't be taken back, and what should have come before it would be missed.
                        problem = f"{self._url} does not list in the order of keys, which shows only now"
                        step = "start again: this process sorts its listings from now on"
                        raise StorageError(problem, next_step=step, key=page.entries[0].key)
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


def _spill(file: IO[bytes], run: list[Entry]) -> tuple[int, int]:
    """Write a sorted run at the end of the file, an entry a line; return where it begins and ends."""
    begin = file.tell()
    for key, size, modified, *told in run:
        moment = None if modified is None else modified.isoformat()
        file.write(json.dumps([key, size, moment, *told]).encode() + b"\n")
    return begin, file.tell()


def _read_back(file: IO[bytes], begin: int, end: int) -> Iterator[Entry]:
    while begin < end:
        file.seek(begin)  # each time: the other runs are read from the same file in between
        block = file.read(min(_READ_AT_ONCE, end - begin))
        # Whole lines only: the rest is read again with the next block. A line is far shorter than a block.
        block = block[: block.rindex(b"\n") + 1]
        begin += len(block)
        for key, size, moment, *told in map(json.loads, block.splitlines()):
            yield Entry(key, size, None if moment is None else datetime.fromisoformat(moment), *told)


class NestedStores:
    """The stores that lie below a root, as far as listings have shown them: nothing in them is this store's."""

    def __init__(self) -> None:
        self._folders: dict[str, None] = {}

    @property
    def folders(self) -> tuple[str, ...]:
        """Their roots, as keys of the root above; where somebody only called a folder `.fsmedia`, that folder."""
        return tuple(sorted(self._folders))

    def add(self, folder: str) -> None:
        """Note a folder that is another store's."""
        # What a listing showed to lie in it came right before.
        while self._folders and (last := next(reversed(self._folders))).startswith(f"{folder}/"):
            del self._folders[last]
        self._folders[folder] = None

    def told(self, backend: Backend) -> tuple[str, ...]:
        """Return the folders for a report, and warn of them."""
        if self._folders:
            named = ", ".join(self.folders[:_NAMED]) + (", ..." if len(self._folders) > _NAMED else "")
            _log.warning("%s: left out what other stores below it hold: %s", backend.url, named)
        return self.folders

    def covers(self, key: str) -> bool:
        """Tell whether a key lies in one of them."""
        return bool(self._folders) and any(key[:end] in self._folders for end in _folder_ends(key))

    def entries(self, backend: Backend, folder: str = "") -> Iterator[Entry]:
        """List all files below a folder in the order of keys, as `Backend.entries`, but for those of other stores.

        Stores at the folder or below it are found by the listing itself. One above it is found where looking costs no
        request; elsewhere `look_above` first, before anything is removed by such a listing.
        """
        if backend.looking_is_free:
            self.look_above(backend, [folder])
        if not self.covers(folder):
            yield from self._own(backend.entries(folder), len(folder.rstrip("/").rpartition("/")[0]))

    def look_above(self, backend: Backend, names: Iterable[str]) -> None:
        """Look for stores above some files or folders, below the root: one round trip, a request for each folder."""
        parents = sorted({name[:end] for name in names for end in _folder_ends(name.rstrip("/"))})
        if not parents:
            return
        try:
            heads = backend.fetch(heads=[f"{parent}/{keys.CONFIGURATION_KEY}" for parent in parents]).heads
        except InvalidReferenceError:
            return  # behind a link that leads out, where nothing is listed
        for parent, head in zip(parents, heads, strict=True):
            if head is not None:
                self.add(parent)

    def is_root(self, backend: Backend, folder: str, inside: Iterable[str]) -> bool:
        """Tell whether a folder is another store's, by the folders that were listed in it.

        Only a folder that has one called `.fsmedia` costs a request more, for others may have called one so.
        """
        for each in inside if folder else ():
            if keys.is_internal(each[len(folder) + 1 :]):
                found = backend.children(each)
                names = [*(entry.key for entry in found.entries), *(f"{name}/" for name in found.folders)]
                if any(keys.is_in_store(name[len(folder) + 1 :]) for name in names):
                    self.add(folder)
                    return True
                self.add(each)
        return False

    def _own(self, found: Iterable[Entry], begin: int) -> Iterator[Entry]:
        """Leave other stores out of a listing in key order.

        `.fsmedia/` sorts before most names of its folder, but not before all: `-1.png` and `+x/y.png` come first. They
        wait until the listing has passed the place where `.fsmedia/` would stand; nothing but such names waits. Of the
        folder above the one that was listed, whose length is `begin`, the listing tells nothing.
        """
        undecided: list[tuple[str, int]] = []  # folders with their slash, the outermost first, and where theirs begin
        clean = skipped = "\0"  # no key begins so
        with tempfile.SpooledTemporaryFile(MOST_WAITING, prefix="fsmedia-") as waiting:
            for entry in found:
                key = entry.key
                if key.startswith(skipped):
                    continue
                end = key.rfind("/") + 1
                # Nearly every file lies in the folder of the one before it, of which all is known.
                if not undecided and (key[:end] == clean or not end):
                    yield entry
                    continue
                kept = next((n for n, (folder, _) in enumerate(undecided) if _is_decided(folder, key)), None)
                if kept is not None:
                    del undecided[kept:]
                if not undecided and waiting.tell():
                    yield from _drained(waiting)
                if keys.is_internal(key):
                    yield entry
                    continue
                if (store := _note_folders(key, begin, undecided, waiting.tell())) is not None:
                    waiting.seek(next((at for each, at in undecided if each == store), waiting.tell()))
                    waiting.truncate()
                    undecided = [pair for pair in undecided if len(pair[0]) < len(store)]
                    skipped = store
                    self.add(store[:-1])
                elif keys.has_internal_part(key):
                    at = key.casefold().split("/").index(keys.INTERNAL) + 1
                    self.add("/".join(key.split("/")[:at]))
                elif undecided:
                    with ErrorTranslator(None):
                        _spill(waiting, [entry])
                else:
                    clean = key[:end]
                    yield entry
            yield from _drained(waiting)


def _drained(waiting: IO[bytes]) -> Iterator[Entry]:
    """Give all that waits, and forget it."""
    with ErrorTranslator(None):
        yield from _read_back(waiting, 0, waiting.tell())
        waiting.seek(0)
        waiting.truncate()


def _folder_ends(key: str) -> Iterator[int]:
    """Give the positions of the slashes in a key."""
    end = -1
    while (end := key.find("/", end + 1)) >= 0:
        yield end


def _note_folders(key: str, begin: int, undecided: list[tuple[str, int]], waiting: int) -> str | None:
    """Return the outermost folder, with its slash, that a key shows to be a store's root.

    None: it shows none, and folders of which the listing can't tell yet were added to `undecided`.
    """
    known = len(undecided[-1][0]) if undecided else 0
    for slash in _folder_ends(key):
        end = slash + 1
        if end <= begin + 1 or key[end:] >= _PASSED:
            continue
        if keys.is_in_store(key[end:]):
            return key[:end]
        if end > known:
            undecided.append((key[:end], waiting))
    return None


_PASSED = ".g"
"""Sorts after `.fsmedia/` in all its spellings."""


def _is_decided(folder: str, key: str) -> bool:
    """Tell whether no key that sorts after this one can lie in the folder's `.fsmedia/`."""
    return not key.startswith(folder) or key[len(folder) :] >= _PASSED
