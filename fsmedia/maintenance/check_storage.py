"""Trying a storage: whether it does what fsmedia builds on, measured in a folder of its own that goes afterwards.

Nothing is believed that the class of a storage says of itself: each check writes, looks by a second client that shares
no cache with the first, and compares what it finds with what was written.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from fsmedia.core.download import open_url
from fsmedia.errors import ForeignCall, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.maintenance.expiry import LONGEST_CLOCK_DIFFERENCE
from fsmedia.models.reports import CheckState, StorageCheck, StorageReport
from fsmedia.models.text import plural, size_text
from fsmedia.storage.errors import PreconditionFailed
from fsmedia.storage.port import SMALLEST_SKEW, Backend, Exclusion, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from fsmedia.storage.port import Entry, Version

T = TypeVar("T")
LARGE = 11 * 2**20
"""Bytes that s3fs sends in parts, and others too."""
PAGE = 10
"""Keys of a page of a listing; three pages show how one follows the other."""
_REPLACED = 12
_MANY = 64
_THREADS = 8
_KIND = "application/octet-stream"
_LOOK = 0.3
"""Seconds in which somebody who is not kept out would have come in."""
_OTHER_PROCESS = """
import pickle, sys
backend, name = pickle.load(sys.stdin.buffer)
print("tries", flush=True)
with backend.lock([name]):
    print("has it", flush=True)
"""
_log = logging.getLogger("fsmedia")


class _BrokenError(Exception):
    """The storage did something else than it must."""


class Verdict(NamedTuple):
    """What a check came to."""

    state: CheckState
    seen: str
    effect: str


def _expect(is_right: object, seen: str) -> None:
    if not is_right:
        raise _BrokenError(seen)


def _names(entries: Iterable[Entry]) -> list[str]:
    return [entry.key for entry in entries]


def listed_and_there(client: Backend) -> list[str]:
    """Return the keys of a trial's folder that a listing shows and a read gives.

    rclone may list what eight have written at once for minutes after it is gone.
    """
    return [key for key in _names(client.entries()) if client.read_range(key, 0, 1) is not None]


class Trial:
    """The folder in which a storage is tried, and two clients of it."""

    def __init__(self, backend: Backend, now: Callable[[], datetime]) -> None:
        self._root, self.now = backend, now
        self.folder = f"{keys.CHECK}{keys.new_unique()}"
        self.backend, self.other = backend.below(self.folder), backend.below(self.folder)
        # Twice the longest wait for one answer, which is asked for twice; disks answer when they do.
        self.patience = max(30.0, 4 * backend.timeout.total_seconds())
        self.written: dict[str, None] = {}
        self.has_begun = False

    def write(self, key: str, data: bytes, kind: str = _KIND) -> None:
        """Put bytes at a key."""
        self.note(key)
        self.backend.write(key, data, kind)

    def note(self, *names: str) -> None:
        """Remember what will be written: a listing that leaves it out must not leave it behind."""
        self.written |= dict.fromkeys(names)

    def at_once(self, works: Sequence[Callable[[], T]]) -> list[T]:
        """Do things at once, each in a thread; `_BrokenError` where one does not end in time."""
        answers: dict[int, T] = {}
        calls = [ForeignCall() for _ in works]

        def run(place: int) -> None:
            with calls[place]:
                answers[place] = works[place]()

        # No pool: its threads would be waited for at the end of the process, and one that hangs never ends.
        threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(works))]
        for each in threads:
            each.start()
        until = monotonic() + self.patience
        try:
            for each in threads:
                each.join(max(0.0, until - monotonic()))
        except KeyboardInterrupt:
            # What they write now would stay: nobody looks again after the removal.
            for each in threads:
                each.join(max(0.0, until - monotonic()))
            raise
        late = sum(each.is_alive() for each in threads)
        _expect(not late, f"{late} of {len(works)} calls at once gave no answer in {self.patience:.0f} s")
        for call in calls:
            if call.error is not None:
                raise call.error
        return [answers[place] for place in range(len(works))]

    def remove(self) -> list[str]:
        """Remove all that was written, older versions and folders too; return the keys of what stays."""
        with ForeignCall() as call:
            # A client of its own: of those that hung nothing is to be expected.
            root, client = self._root, self._root.below(self.folder)
            versions: list[Version] = []
            with suppress(MediaError):
                for upload in client.uploads():
                    client.abort(upload)
            with suppress(MediaError):
                self.note(*_names(client.entries()))
            root.delete([f"{self.folder}/{name}" for name in self.written])
            with suppress(MediaError):  # servers that know no such listing keep none
                versions += client.versions()
            failed = client.delete_versions(versions)
            folders = {name[:end] for name in self.written for end, each in enumerate(name) if each == "/"}
            # Inner ones first; some storages leave those that are empty.
            for folder in sorted((f"{self.folder}/{each}" for each in folders), reverse=True):
                root.remove_folder(folder)
            root.remove_folder(self.folder)
            root.remove_folder(keys.INTERNAL)
            left = {entry.key for entry in client.fetch(heads=list(self.written)).heads if entry}
            left |= {*listed_and_there(client)}
            left |= {each.key for each in failed}
            return [f"{self.folder}/{name}" for name in sorted(left)]
        if self.has_begun:
            _log.warning("%s/%s could not be removed: %s", self._root.url, self.folder, _told(call.error))
        return [self.folder]


def _told(error: Exception | None) -> str:
    """Return what an error says; of one that is none of this package only its name, for it may show a secret."""
    known = isinstance(error, MediaError | _BrokenError)
    return str(error) if known else f"raises {type(error).__name__}, which is no MediaError"


def check_storage(backend: Backend, now: Callable[[], datetime], stopped: Callable[[], bool] = bool) -> StorageReport:
    """Try a storage; `stopped` is asked between two checks. Raises `StorageError` where nothing can be written."""
    begun, trial = monotonic(), Trial(backend, now)
    found: list[StorageCheck] = []
    remains: list[str] = []
    try:
        # Without this there is nothing to try: a wrong bucket or key is an error, no table.
        # By the root, which takes folders along that it made, so that none stays that was not there.
        trial.note("first.bin")
        backend.write(f"{trial.folder}/first.bin", b"first", _KIND)
        trial.has_begun = True
        for name, (check, otherwise) in CHECKS.items():
            if stopped():
                break
            with ForeignCall() as call:
                found.append(StorageCheck(name, *check(trial)))
            if call.error is not None:
                found.append(StorageCheck(name, "broken", _told(call.error), otherwise))
    finally:
        remains = trial.remove()
    return StorageReport(
        url=backend.url,
        backend=type(backend).__name__,
        checks=tuple(found),
        remains=tuple(remains),
        stopped=len(found) < len(CHECKS),
        took=timedelta(seconds=monotonic() - begun),
    )


def _bytes_of(size: int) -> bytes:
    """Return bytes without any pattern."""
    return hashlib.shake_128(b"fsmedia").digest(size)


def check_listings(trial: Trial) -> Verdict:
    """Look whether what was written, replaced and removed shows at once, to another client that looked before."""
    names = [f"list/{number}.bin" for number in range(3)]
    other, there = trial.other, dict[str, bytes]()

    def look(did: str) -> None:
        for name in names:
            data, entry = there.get(name), other.head(name)
            _expect(other.read_range(name, None, None) == data, f"a read shows something else than was {did}")
            size = None if data is None else len(data)
            _expect((entry and entry.size) == size, f"a look shows something else than was {did}")
        sizes = {name: len(data) for name, data in there.items()}
        for seen in (other.entries("list"), other.children("list").entries):
            _expect({each.key: each.size for each in seen} == sizes, f"a listing does not show what was {did}")
        _expect(other.holds("list") == bool(there), f"a listing of one key does not show what was {did}")

    look("there, which was nothing")
    for number, name in enumerate(names):
        there[name] = bytes(number)
        trial.write(name, there[name])
        look("written")
    there[names[0]] = b"longer than before"
    trial.write(names[0], there[names[0]])
    look("replaced")
    for name in names:
        del there[name]
        trial.backend.remove(name)
        look("removed")
    return Verdict("holds", "what is written, replaced or removed shows at once", "a listing is believed")


def check_order(trial: Trial) -> Verdict:
    """List by small pages, and as fsmedia does."""
    # `-` and `.` sort before `/`: a folder's keys stand behind some names that begin with its own.
    ends = [each for number in range(PAGE) for each in (f"{number}/x.bin", f"{number}-.bin", f"{number}.bin")]
    names = [f"order/{each}" for each in reversed(ends)]
    trial.note(*names)
    for failed in trial.backend.write_many([Write(name, b"x", _KIND) for name in names]).values():
        raise failed
    raw = trial.other.listed("order", PAGE)
    try:
        given = _names(trial.other.entries("order"))
    except StorageError:
        # That there is no order shows only on a later page; from then on it is known.
        given = _names(trial.other.entries("order"))
    missing = sorted(set(names) - set(given))
    _expect(not missing, f"{len(missing)} of {len(names)} keys are missing from a listing")
    _expect(given == sorted(names), "listings that fsmedia sorts are in no order of keys")
    if raw is None:
        return Verdict("holds", f"{len(names)} keys come by key", "what is walked folder by folder is sorted here")
    _expect(sorted(raw) == sorted(names), f"pages of {PAGE} keys leave some out, or tell some twice")
    if raw == sorted(names):
        return Verdict("holds", f"by key, also over pages of {PAGE}", "listings are merged as they come")
    effect = "listings are sorted here; the first long one of a process may raise StorageError: start it again"
    return Verdict("handled", "in another order than by key", effect)


def check_conditional_put(trial: Trial) -> Verdict:
    """Look what keeps two writers of one name apart."""
    kind = trial.backend.exclusion
    if kind is Exclusion.LOCK:
        _check_lock(trial)
        return Verdict(
            "holds", "not needed: a lock keeps two apart", "of two writers of a name neither undoes anything"
        )
    with ForeignCall() as call:
        _check_conditions(trial)
    if kind is Exclusion.CONDITIONS:
        _expect(call.error is None, f"one that must be refused is refused, but: {call.error}")
        effect = "of two writers of a name neither undoes anything of the other's"
        return Verdict("holds", "kept: if nothing is there, if it still is this one", effect)
    effect = "who writes a name last wins, and looks afterwards; format.md says which race can lose: write new names"
    if kind is Exclusion.RENAME:
        _check_rename(trial)
        return Verdict("handled", "not kept, but what lies there can be renamed", effect)
    return Verdict("handled", "not kept", effect)


def _check_conditions(trial: Trial) -> None:
    """Write on conditions that hold, and on some that do not."""
    backend, key, none = trial.backend, "put.bin", "put-none.bin"
    trial.note(key, none)

    def is_refused(key: str, *, if_absent: bool = False, if_token: str | None = None) -> bool:
        try:
            backend.put(key, b"wrong", _KIND, if_absent=if_absent, if_token=if_token)
        except PreconditionFailed:
            return True
        return False

    try:
        first = backend.put(key, b"one", _KIND, if_absent=True)
        second = backend.put(key, b"two", _KIND)
        _expect(first and second, "no ETag or generation is told")
        _expect(is_refused(key, if_absent=True), "what is there is replaced though nothing must be there")
        _expect(is_refused(key, if_token=first), "what is there is replaced though it was changed")
        _expect(trial.other.read(key) == b"two", "what was refused was written all the same")
        _expect(is_refused(none, if_token=first), "something is written where what was read is gone")
        _expect(trial.other.head(none) is None, "what was refused was written all the same")
        backend.put(key, b"three", _KIND, if_token=second)
        _expect(trial.other.read(key) == b"three", "a condition that holds writes nothing")
    except PreconditionFailed:
        raise _BrokenError("a condition that holds is refused") from None


def _check_lock(trial: Trial) -> None:
    """Let somebody else wait for a lock: another process where there can be one, else a thread."""
    name, begun, got = "lock.bin", threading.Event(), threading.Event()

    def wait_in_thread() -> None:
        begun.set()
        with trial.other.lock([name]):
            got.set()

    def wait_in_process() -> None:
        command, pipe = [sys.executable, "-c", _OTHER_PROCESS], subprocess.PIPE
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each or os.curdir for each in sys.path)}
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as child:  # noqa: S603 - this Python
            if child.stdin is not None:
                # Not as an argument: everybody on the machine may see those, and a client has its storage's secrets.
                with suppress(BrokenPipeError), child.stdin as given:
                    given.write(pickle.dumps((trial.other, name)))
            for event, _ in zip((begun, got), child.stdout or (), strict=False):
                event.set()

    wait = wait_in_thread if trial.backend.in_one_process else wait_in_process
    waiting = threading.Thread(target=wait, daemon=True)
    with trial.backend.lock([name]):
        waiting.start()
        _expect(begun.wait(trial.patience), "another process that wants the lock does not start")
        _expect(not got.wait(_LOOK), "two have the same lock at once")
    _expect(got.wait(trial.patience), "a lock that was let go is not given to who waits for it")
    waiting.join(trial.patience)


def _check_rename(trial: Trial) -> None:
    trial.write("from.bin", b"moved")
    trial.note("to.bin", "third.bin")
    before = trial.other.head("from.bin")
    _expect(trial.backend.rename("from.bin", "to.bin"), "a rename of what is there says that it is not")
    there = trial.other.read_range("from.bin", None, None), trial.other.read_range("to.bin", None, None)
    _expect(there == (None, b"moved"), "a rename does not take what is there to its new name")
    # What was moved aside is compared with what was seen before.
    after = trial.other.head("to.bin")
    is_same = after is not None and before == after._replace(key="from.bin")
    _expect(is_same, "a rename changes the time or the token of what it moves: sweeps and moves stop at such names")
    _expect(not trial.backend.rename("from.bin", "third.bin"), "a rename of nothing says that it was done")


def check_conditional_delete(trial: Trial) -> Verdict:
    """Look whether what was replaced meanwhile can be kept from being removed."""
    if trial.backend.exclusion is not Exclusion.CONDITIONS:
        return Verdict("holds", "not asked for", "a delete is made as the row above says")
    key = "delete.bin"
    trial.note(key)
    old, new = (trial.backend.put(key, data, _KIND) for data in (b"one", b"two"))
    try:
        trial.backend.remove(key, if_token=old)
    except PreconditionFailed:
        _expect(trial.other.head(key) is not None, "what was refused was removed all the same")
        trial.backend.remove(key, if_token=new)
        _expect(trial.other.head(key) is None, "a condition that holds removes nothing")
        return Verdict("holds", "kept", "a delete that slept takes nobody else's")
    effect = "a delete that sleeps for ten minutes in its middle may take what was written meanwhile"
    return Verdict("handled", "not kept", effect)


def check_deletes(trial: Trial) -> Verdict:
    """Look whether what is called removed is gone, alone and in bulk, and nothing else is."""
    names = ["gone/a.bin", *(f"gone/{number}.bin" for number in range(5))]
    near = ["gone/a.bin2", "gone/[0].bin"]  # what a program that takes names for patterns or beginnings would take
    for name in (*names, *near):
        trial.write(name, b"x")
    for some in (names[:1], names[:1], [*names[1:], "gone/never.bin"], near[1:]):
        for failed in trial.backend.delete(some).values():
            raise _BrokenError(f"what is removed, or was not there, is not confirmed: {failed}")
        left = [name for name in some if trial.other.head(name) is not None]
        _expect(not left, f"{len(left)} of {len(some)} objects are called removed, and are there")
    _expect(trial.other.head(near[0]) is not None, "an object was removed that only has a similar name")
    seen = "confirmed for each object, alone and in bulk; what is not there counts as removed"
    return Verdict("holds", seen, "a step counts when it was confirmed")


def check_replacing(trial: Trial) -> Verdict:
    """Read what is replaced meanwhile: the old bytes or the new, and nothing else."""
    key, versions = "replaced.bin", [_bytes_of(60_000), _bytes_of(90_000)[::-1]]
    trial.write(key, versions[0])
    done, seen = threading.Event(), list[bytes | None]()

    def write() -> None:
        try:
            for number in range(_REPLACED):
                trial.backend.write(key, versions[(number + 1) % 2], _KIND)
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            try:
                seen.append(trial.other.read_range(key, None, None))
            except StorageError:  # seen to be there, and gone when it is read
                seen.append(None)

    trial.at_once([write, read])
    has_gaps = None in seen
    _expect(not has_gaps or trial.backend.exclusion is Exclusion.RENAME, "what is replaced is not there for a moment")
    _expect(all(each in versions for each in seen if each is not None), "what is replaced is read in part")
    _expect(trial.other.read_range(key, None, None) == versions[_REPLACED % 2], "what was written is not what is read")
    trial.write("source.bin", b"copied")
    trial.backend.copy("source.bin", key, _KIND, size=6)
    _expect(trial.other.read_range(key, None, None) == b"copied", "a copy over another object is not what is read")
    if has_gaps:
        effect = (
            "a media that is changed just now may not be found: ask again; names that fsmedia gives keep their bytes"
        )
        return Verdict("handled", "old or new bytes, never a part, and nothing for a moment", effect)
    return Verdict("holds", "at once: old or new bytes, never a part", "readers need no lock")


def check_ranges(trial: Trial) -> Verdict:
    """Read parts: from the beginning, the end, behind the end, of nothing; and by seeks."""
    key, data, other = "range.bin", _bytes_of(600_000), trial.other
    trial.write(key, data)
    trial.write("empty.bin", b"")
    parts = [(0, 10), (5, None), (-10, None), (599_990, 700_000), (None, 5), (100, -100), (7, 7), (700_000, 700_010)]
    for start, end in parts:
        _expect(other.read_range(key, start, end) == data[start:end], f"bytes {start} to {end} are not those asked for")
    _expect(other.read_range("empty.bin", 0, 10) == b"", "a range of an empty object is not empty")
    _expect(other.read_range("never.bin", 0, 10) is None, "a range of nothing is something")
    with other.open(key) as file:
        for position, size in ((400_000, 1_000), (3, 10), (len(data) - 4, 10)):
            file.seek(position)
            right = data[position : position + size]
            _expect(file.read(size) == right, f"bytes {position} to {position + size} by a seek are others")
    return Verdict("holds", "exact, also from the end and behind it", "a seek fetches 256 KiB")


def check_clock(trial: Trial) -> Verdict:
    """Compare the storage's clock with this machine's, and with itself."""
    key, before = "clock.bin", trial.now()
    trial.write(key, b"1")
    first, after = trial.other.head(key), trial.now()
    if first is None or first.modified is None:
        effect = "sweeps do not compare clocks, and mend no leftovers; verify --repair leaves what it can't date"
        return Verdict("handled", "tells no times", effect)
    trial.write(key, b"2")
    second = trial.other.head(key)
    listed = next((each.modified for each in trial.other.entries() if each.key == key), None)
    told = second and second.modified
    _expect(told and told - first.modified > timedelta(seconds=-2), "what is written later has an earlier time")
    _expect(listed and told and abs(listed - told) < SMALLEST_SKEW, "a listing and a look tell different times")
    late = first.modified - min(max(first.modified, before), after)
    if abs(late) < SMALLEST_SKEW:
        return Verdict("holds", f"less than {SMALLEST_SKEW.seconds} s from this machine's", "what is due goes in time")
    seen = f"{abs(late).total_seconds():,.0f} s {'ahead of' if late > timedelta(0) else 'behind'} this machine's"
    _expect(abs(late) <= LONGEST_CLOCK_DIFFERENCE, seen)
    effect = "the storage's time counts" if late > timedelta(0) else "what is stored from here stays longer by as much"
    return Verdict("handled", seen, effect)


def check_versions(trial: Trial) -> Verdict:
    """Look whether bytes that were replaced or removed stay as older versions."""
    key, backend = "version.bin", trial.backend
    for data in (b"one", b"two"):
        trial.write(key, data)
    backend.remove(key)
    rules, says = backend.version_rules(), backend.keeps_versions
    try:
        kept = [each for each in backend.versions() if each.key == key and not each.is_marker]
    except MediaError:
        kept = []  # a server without such a listing, or credentials that may not
    if kept:
        _expect(says, f"says that it keeps none, and keeps {plural(len(kept), 'older version')} of what was removed")
        return Verdict(
            "handled", "what is removed stays as an older version", "it frees no bytes; erase --versions does"
        )
    if rules.soft:
        return Verdict("handled", f"keeps what is removed for {rules.soft}", "receipts say until when")
    if says:
        effect = "it counts as kept: a receipt says so, and a sweep frees no bytes"
        return Verdict("handled", "says that it keeps older versions; none was seen", effect)
    if says is None:
        return Verdict("handled", f"nobody can tell: {rules.unknown}", "a receipt of an erasure is not complete")
    return Verdict("holds", "none is kept", "what is removed is gone")


def check_bytes(trial: Trial) -> Verdict:
    """Compare what comes back with what went in, from nothing to a large object, and the MD5 that is told."""
    told: list[bool] = []
    for size in (0, 1, 70_000, LARGE):
        key, data = f"bytes-{size}.bin", _bytes_of(size)
        trial.note(key)
        stage = trial.backend.stage(key)
        try:
            for start in range(0, size, 2**20):
                stage.write(data[start : start + 2**20])
            stage.commit(_KIND)
        finally:
            stage.discard()
        found = trial.other.read_range(key, None, None)
        _expect(found == data, f"an object of {size_text(size)} comes back as other bytes")
        entry = trial.other.head(key)
        _expect(entry and entry.size == size, f"a look tells another size of an object of {size_text(size)}")
        if entry is not None and entry.md5 is not None:
            told.append(entry.md5 == hashlib.md5(data, usedforsecurity=False).hexdigest())
    largest = size_text(LARGE)
    if told and not all(told):
        effect = "the first one that is wrong is found by reading, then none is believed"
        return Verdict("handled", f"bytes come back exact, up to {largest}; MD5s are told that are none", effect)
    seen = f"bytes come back exact, up to {largest}; {'right MD5s are' if told else 'no MD5 is'} told"
    reads = told or trial.backend.in_one_process or trial.backend.local_path("bytes-1.bin")
    effect = "shared bytes are compared before they are used again" if reads else "shared bytes are compared by size"
    return Verdict("holds", seen, f"{effect}; all whole reads by SHA-256")


def check_content_types(trial: Trial) -> Verdict:
    """Look under which type an object is served whose name does not tell it."""
    key = "type.bin"
    trial.write(key, b"picture", "image/png")
    try:
        kept, asked = (
            _served(trial, trial.backend.sign(key, _HOUR, mime_type=kind)) for kind in (None, "text/x-asked")
        )
    except StorageError:
        kept = asked = None
    if kept is None or asked is None:
        return Verdict("handled", "none can be seen: there are no URLs", "the sidecar has it, and the name's ending")
    if kept[1] == "image/png":
        return Verdict("holds", "kept", "URLs of other programs show what it is")
    also = "but as a signed URL asks" if asked[1] == "text/x-asked" else "nor as a signed URL asks"
    effect = "the names that fsmedia gives end as the type says"
    return Verdict("handled", f"not kept: served as {kept[1]}, {also}", effect)


_HOUR = timedelta(hours=1)


def _served(trial: Trial, url: str) -> tuple[bytes, str | None] | None:
    """Return what a plain HTTP client gets of a URL, and its type; None of one that is not HTTP's."""
    if not url.startswith(("http://", "https://")):
        return None
    timeout = trial.backend.timeout or timedelta(seconds=30)
    with open_url(url, timeout=timeout, max_size=2**20, allow_private=True) as answer:
        return b"".join(answer.chunks()), answer.mime_type


def check_signing(trial: Trial) -> Verdict:
    """Open a signed URL as any other program would, then one that was changed, and one without a signature."""
    for key in ("signed.bin", "secret.bin"):
        trial.write(key, key.encode())
    try:
        url = trial.backend.sign("signed.bin", _HOUR)
    except StorageError as error:
        return Verdict("handled", f"there are no URLs: {error.problem}", "get_url raises; open() and media:// read")
    served = _served(trial, url)
    if served is None:
        return Verdict("holds", f"{url.partition(':')[0]}:// URLs", "programs of this machine open them")
    _expect(served[0] == b"signed.bin", "a signed URL shows other bytes")
    effect = "who has a URL reads this media, as long as it was signed for"
    others = {"is another object's": url.replace("signed.bin", "secret.bin"), "is left out": url.partition("?")[0]}
    for how, changed in others.items():
        with suppress(MediaError):
            if _served(trial, changed) is not None:
                effect = "who knows or guesses a key reads it: close the bucket if it is not meant to be public"
                return Verdict("handled", f"URLs open, also where the signature {how}", effect)
    return Verdict("holds", "signed URLs open, and no others", effect)


def check_many(trial: Trial) -> Verdict:
    """Write, read and remove many at once, by bulk calls and from threads that share a client."""
    backend, names = trial.backend, [f"many/{number:02}.bin" for number in range(_MANY)]
    trial.note(*names, "many/one.bin")
    for failed in backend.write_many([Write(name, name.encode(), _KIND) for name in names]).values():
        raise failed
    right = [name.encode() for name in names]
    _expect(trial.other.fetch(reads=names).reads == right, f"of {_MANY} objects read at once some are others")

    def work(first: int) -> bool:
        mine = names[first::_THREADS]
        for name in mine:
            backend.write(name, name.encode() * 2, _KIND)
        return all(backend.read_range(name, None, None) == name.encode() * 2 for name in mine)

    def create(number: int) -> bool:
        return backend.create("many/one.bin", b"%d" % number, _KIND)

    threads = range(_THREADS)
    _expect(all(trial.at_once([partial(work, each) for each in threads])), "threads read what others wrote")
    made = trial.at_once([partial(create, each) for each in threads])
    winners = made.count(True)
    found = trial.other.read_range("many/one.bin", None, None)
    _expect(winners and found in [b"%d" % n for n, won in enumerate(made) if won], "who created an object is told no")
    for failed in backend.delete(names).values():
        raise failed
    # Only these: see `listed_and_there`.
    left = {*_names(trial.other.entries("many"))} & {*names}
    _expect(not left, f"of {_MANY} objects removed at once {len(left)} are there")
    told = f"{winners} of {_THREADS} creators of one key are told that they made it"
    seen = f"{_MANY} objects at once, and by {_THREADS} threads; {told}"
    # Elsewhere one is a matter of luck.
    if backend.exclusion in (Exclusion.CONDITIONS, Exclusion.LOCK):
        _expect(winners == 1, told)
        return Verdict("holds", seen, "calls are made at once")
    return Verdict("handled", seen, "what counts is read back")


CHECKS: dict[str, tuple[Callable[[Trial], Verdict], str]] = {
    "list-after-write": (check_listings, "media are missed by lists, sweeps and repairs, and shared bytes may be lost"),
    "order of listings": (check_order, "a media whose sidecar comes late is taken for one without"),
    "conditional put": (check_conditional_put, "two writers of one name lose what was acknowledged"),
    "conditional delete": (check_conditional_delete, "a delete may take what was written meanwhile"),
    "delete status": (check_deletes, "what is reported deleted, or erased, is there"),
    "replace": (check_replacing, "a reader gets half of a sidecar or of a media"),
    "ranges": (check_ranges, "players and archives read wrong bytes; whole reads raise CorruptMediaError"),
    "clock": (check_clock, "sweeps refuse to delete, and the age of leftovers is not known"),
    "versioning": (check_versions, "a receipt calls gone what anybody can bring back"),
    "checksums": (check_bytes, "reads raise CorruptMediaError"),
    "content types": (check_content_types, "browsers save what they should show"),
    "signing": (check_signing, "get_url gives URLs that nobody can open"),
    "many at once": (check_many, "threads and bulk calls mix up media"),
}
"""By the name of each check: what makes it, and what comes of a storage that does not pass."""
