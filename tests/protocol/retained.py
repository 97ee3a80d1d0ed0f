"""Small stores whose media have policies and holds, and what must hold of them now and when all time has passed."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import MediaContent, MediaMetadata
from fsmedia.format import keys
from fsmedia.format.settings import ORPHAN_GRACE
from fsmedia.storage.local import LocalBackend
from tests.protocol.worlds import World, fresh_world, rebuilt
from tests.storages import MemoryStorage, Storage

NOW = datetime.now(UTC).replace(microsecond=123456)
"""The stores' clock. The true one, as the storages' own times decide what is a leftover."""
LATE = NOW + timedelta(days=400)
"""When every policy used here has let its media go."""
DAY = timedelta(days=1)


def entries(storage: Storage) -> dict[str, list[datetime]]:
    """Return the due index: media -> minutes."""
    found: dict[str, list[datetime]] = defaultdict(list)
    for entry in filter(None, map(keys.parse_due, sorted(storage.keys()))):
        found[entry.reference].append(entry.minute)
    return found


@contextmanager
def aged(storage: Storage) -> Iterator[None]:
    """Let all that lies there be older than the grace: by its time in memory, by what the backend tells on a disk.

    No program can set the time at which a file was last changed (ctime), and the later of the two counts.
    """
    long_ago = datetime.now(UTC) - 2 * ORPHAN_GRACE
    if isinstance(storage, MemoryStorage):
        root = f"/{storage.url.removeprefix('memory://')}/"
        for path, file in MemoryFileSystem.store.items():
            if path.startswith(root):
                file.modified = file.created = long_ago
        yield
        return
    with patch.object(LocalBackend, "touched", lambda _backend, _entry: long_ago):
        yield


@dataclass
class Cabinet:
    """A store, and what is known of its media."""

    world: World
    must: dict[str, bytes] = field(default_factory=dict)  # what is there, whatever is done; with its bytes
    may: dict[str, tuple[bytes, ...]] = field(default_factory=dict)  # there or not; with the bytes it may have
    new: bytes | None = None  # bytes that may turn up under a reference nobody knows
    forever: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)

    def put(self, policy: str | None = None, *, age: timedelta = timedelta(0), data: bytes | None = None) -> str:
        """Store a media that is some time old."""
        data = data or f"{policy} {age} {len(self.must)}".encode()
        metadata = MediaMetadata(run_id="r1", policy_name=policy, timestamp=NOW - age)
        reference = self.world.open().store_media(MediaContent.from_bytes(data, "text/plain"), metadata)
        self.must[reference] = data
        if policy is None:
            self.forever.add(reference)
        return reference

    def put_named(self, name: str, policy: str | None, *, age: timedelta = timedelta(0)) -> str:
        """Write a media whose name is not of our own form."""
        data = f"{name} of {policy}".encode()
        fs = self.world.open(now=lambda: NOW - age).fs
        fs.pipe_file(name, data)
        if policy is None:
            self.forever.add(name)
        else:
            fs.setxattrs(name, {"fsmedia.policy_name": policy})
        self.must[name] = data
        return name

    def hold(self, reference: str) -> str:
        self.world.open().hold(reference, "a court wants it")
        self.held.add(reference)
        return reference

    def leave(self) -> str:
        """Leave what a store leaves that died before its sidecar."""
        reference = self.put("retain-1days", age=2 * DAY, data=b"never finished")
        self.world.storage.remove(f"{reference}.meta")
        del self.must[reference]
        return reference

    def lets_go(self, *references: str) -> None:
        for each in references:
            self.may[each] = (*self.may.get(each, ()), self.must.pop(each))

    def check(self) -> list[str]:
        """Check what must hold right now; return what is listed."""
        storage, store = self.world.storage, self.world.open()
        unchecked = self.world.open(verify_reads=False)
        there, due = storage.keys(), entries(storage)
        for key in there:
            if key.endswith(".meta") and keys.is_own_name(key.removesuffix(".meta")):
                assert key.removesuffix(".meta") in there, f"sidecar without bytes: {key}"
        listed = list(store.list())
        assert self.must.keys() <= set(listed), f"lost: {self.must.keys() - set(listed)}"
        for reference in listed:
            allowed = (self.must[reference],) if reference in self.must else self.may.get(reference, (self.new,))
            assert storage.read(reference) in allowed, f"nobody stored these bytes: {reference}"
            # Not compared with their sidecar: of an overwrite that died it may speak of the bytes before.
            assert unchecked.retrieve_media(reference).read_bytes() in allowed
            record = store.info(reference)
            if record.expires_at is None:
                continue
            minutes = due.get(reference, [])
            again = NOW + DAY + timedelta(minutes=1)  # a sweep looks at what is held once a day
            on_time = keys.due_minute(record.expires_at) in minutes
            assert on_time or any(each <= again for each in minutes if record.hold), f"never due: {reference}"
        for reference in self.held & set(listed):
            assert store.info(reference).hold, f"the hold is gone: {reference}"
        return listed

    def sweep(self, now: datetime = NOW) -> Any:
        """Sweep as a fresh process would, with every leftover older than the grace."""
        with aged(self.world.storage):
            return self.world.open(now=lambda: now).enforce_policy(now=now)

    def end(self, *strays: str) -> None:
        """Let all time pass: what is held or has no policy is left, and nothing of the rest.

        Of `strays`, whose store never ended, some may have lost their policy.
        """
        for days in range(0, 6, 2):
            report = self.sweep(LATE + days * DAY)
            assert report.failed == (), report.failed
        storage, store = self.world.storage, self.world.open()
        listed = set(store.list())
        staying = self.forever | self.held
        assert staying & self.must.keys() <= listed, f"lost: {staying - listed}"
        unknown = {each for each in listed - staying - set(strays) if each in self.must or each in self.may}
        assert not unknown, f"never went: {unknown}"
        for reference in listed - staying:
            assert store.info(reference).expires_at is None, f"never went: {reference}"
        left = {key.removesuffix(".meta") for key in sorted(storage.keys()) if not key.startswith(".fsmedia/")}
        own = {key for key in left if keys.is_own_name(key) and not keys.is_hidden(key)}
        assert own <= listed, f"leftovers: {own - listed}"
        assert set(entries(storage)) <= self.held, "entries pile up"
        for reference in self.held & listed:
            store.release(reference)
        self.sweep(LATE + 8 * DAY)
        assert set(self.world.open().list()) <= self.forever | set(strays) | (listed - staying)
        assert entries(storage) == {}


def cabinet(kind: str, tmp_path: Path, **options: Any) -> Cabinet:
    """Return an empty store whose clock stands at NOW, and that knows a policy of a year."""
    policies = {"audit": timedelta(days=365)}
    return Cabinet(fresh_world(kind, tmp_path, first=True, now=lambda: NOW, policies=policies, **options))


def full_cabinet(kind: str, tmp_path: Path, **options: Any) -> tuple[Cabinet, dict[str, str]]:
    """Return a store with one media of every kind that a sweep can meet, and a leftover."""
    made = cabinet(kind, tmp_path, **options)
    refs, known = rebuilt((kind, "full cabinet", str(options)), made.world.storage, lambda: _filled(made))
    made.must, made.may, made.forever, made.held = (type(each)(each) for each in known)
    return made, refs


def _filled(made: Cabinet) -> tuple[dict[str, str], tuple[Any, ...]]:
    refs = {name: made.put("retain-1days", age=2 * DAY) for name in ("due", "held", "dated", "freed")}
    refs["due2"] = made.put("retain-2hours", age=3 * DAY)  # on another day than the others, whatever time it is now
    refs["named"] = made.put_named("runs/r1/named.txt", "retain-1days", age=2 * DAY)
    refs |= {"future": made.put("retain-30days"), "forever": made.put()}
    made.hold(refs["held"])
    store = made.world.open()
    store.apply_policy(refs["dated"], "retain-30days")
    store.apply_policy(refs["freed"], None)
    made.forever.add(refs["freed"])
    refs["leftover"] = made.leave()
    made.lets_go(refs["due"], refs["due2"], refs["named"])
    return refs, (dict(made.must), dict(made.may), set(made.forever), set(made.held))
