"""A process dies, or a storage fails, at every step of what keeps media and lets them go; and others come between.

What must hold right after a crash: no media that may stay is lost, none is seen in part, each with an expiry has its
due entry. When all time has passed nothing expired is left, neither visible nor as a leftover. Of what fails each media
is told of: what the report calls deleted is gone, and what is not is in `failed` under its own reference.
"""

import errno
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore, StorageError
from fsmedia.core import commit
from fsmedia.format import keys
from fsmedia.maintenance import expiry
from fsmedia.models import EnforcementReport
from fsmedia.storage import Exclusion
from fsmedia.storage.memory import MemoryBackend
from tests.protocol import faults as faulty
from tests.protocol.faults import Fault, Faults, FaultyBackend, no_answer, os_error
from tests.protocol.retained import DAY, NOW, Cabinet, aged, cabinet, entries, full_cabinet
from tests.protocol.worlds import CALLS_AND_SYSCALLS, Place, each_fault, run
from tests.storages import LOCAL, MEMORY, S3Storage

Operation = Callable[[MediaStore], Any]
Case = Callable[[Cabinet], tuple[Operation, tuple[str, ...]]]

DATA = b"new bytes, " * 200
GOING = ("due", "due2", "named")


def of(refs: dict[str, str], *names: str) -> set[str]:
    return {refs[name] for name in names or GOING}


def told(part: Any) -> list[str]:
    return [each.reference for each in part]


def storing(box: Cabinet, *, pieces: bool = False) -> tuple[Operation, tuple[str, ...]]:
    box.new = DATA
    content, metadata = MediaContent.from_bytes(DATA, "text/plain"), MediaMetadata(run_id="r1", policy_name="audit")
    return create if pieces else methodcaller("store_media", content, metadata), ()


def create(store: MediaStore) -> None:
    with store.create_media(MediaMetadata(run_id="r1", policy_name="audit"), "text/plain") as writer:
        writer.write(DATA)


def applying(before: str | None, after: str | None) -> Case:
    def case(box: Cabinet) -> tuple[Operation, tuple[str, ...]]:
        reference = box.put(before)
        box.forever.discard(reference)
        return methodcaller("apply_policy", reference, after), (reference,) if None in (before, after) else ()

    return case


def holding(box: Cabinet) -> tuple[Operation, tuple[str, ...]]:
    reference = box.put("retain-30days")
    return methodcaller("hold", reference, "a reason"), (reference,)


def releasing(box: Cabinet) -> tuple[Operation, tuple[str, ...]]:
    """What was held when it became due; the sweep that met it has moved its entry."""
    reference = box.hold(box.put("retain-1days", age=2 * DAY))
    assert told(box.sweep().skipped) == [reference]
    box.held.clear()
    box.lets_go(reference)
    return methodcaller("release", reference), (reference,)


def deleting(box: Cabinet, *, many: bool = False) -> tuple[Operation, tuple[str, ...]]:
    names = [box.put("audit")]
    names += [box.put("retain-2hours"), box.put_named("runs/r1/a.txt", "audit")] if many else []
    box.lets_go(*names)
    return methodcaller("delete_many", names) if many else methodcaller("delete_media", *names), ()


def overwriting(box: Cabinet, *, own: bool = False) -> tuple[Operation, tuple[str, ...]]:
    name = box.put("audit") if own else box.put_named("runs/r1/a.txt", "audit")
    box.may[name] = (box.must.pop(name), DATA)

    def write(store: MediaStore) -> None:
        with store.fs.open(name, "wb") as file:
            file.write(DATA[:300])
            file.write(DATA[300:])

    return write if own else lambda store: store.fs.pipe_file(name, DATA), ()


def copying(box: Cabinet, *, moves: bool = False) -> tuple[Operation, tuple[str, ...]]:
    name = box.put_named("runs/r1/a.txt", "audit") if moves else box.put("audit")
    new = "runs/r2/b.txt"
    box.may[new] = (box.must[name],)
    if moves:
        box.lets_go(name)
    return lambda store: (store.fs.mv if moves else store.fs.cp_file)(name, new), (new,)


def removing(box: Cabinet) -> tuple[Operation, tuple[str, ...]]:
    box.put("audit")
    box.put_named("runs/r1/a.txt", "retain-1days")
    box.lets_go(*box.must)
    return lambda store: store.fs.rm("runs/r1", recursive=True), ()


CASES = {
    "store": storing, "create": partial(storing, pieces=True), "apply-first": applying(None, "audit"),
    "apply-longer": applying("retain-1days", "audit"), "apply-shorter": applying("audit", "retain-2hours"),
    "apply-none": applying("audit", None), "hold": holding, "release": releasing, "delete": deleting,
    "delete-many": partial(deleting, many=True), "overwrite": overwriting,
    "overwrite-own": partial(overwriting, own=True), "cp": copying, "mv": partial(copying, moves=True), "rm": removing,
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@CALLS_AND_SYSCALLS
def test_whoever_dies_loses_no_media_and_no_policy(place: Place, case: str) -> None:
    """Crash; look, sweep, look again, then let all time pass."""
    for faults in place.crashes():
        box = cabinet(place.kind, place.tmp_path, **place.options)
        box.put("retain-30days")
        operation, tolerated = CASES[case](box)
        place.run(box.world, faults, operation)
        listed = box.check()
        if box.new is not None:
            assert faults.hit is not None or len(listed) > len(box.must)
        store = box.world.open()
        records = {each: store.info(each) for each in listed}
        box.held |= {each for each in listed if records[each].hold}
        unexpired = {each for each in listed if (at := records[each].expires_at) is None or at > NOW}
        assert box.sweep().failed == ()
        assert unexpired <= set(box.check()), "an unexpired media is lost"
        for each in tolerated:  # decided by what the crash left: whatever that is, the store must say so
            if store.exists(each) and each not in box.held and store.info(each).expires_at is None:
                box.forever.add(each)
        box.end(*tolerated)


@CALLS_AND_SYSCALLS
def test_a_sweep_that_is_killed(place: Place) -> None:
    for faults in place.crashes():
        box, refs = full_cabinet(place.kind, place.tmp_path, **place.options)
        report = sweep(box, faults, place.level)
        box.check()
        if report is not None:
            assert set(told(report.deleted)) == of(refs)
            assert [(each.reference, each.reason) for each in report.skipped] == [(refs["held"], "held")]
            assert report.failed == ()
        finish(box, refs, f"after {faults.hit}")
        box.end()


# -- these tests can fail ----------------------------------------------------------------------------------
WRONG_ORDERS = [
    ("STORE", (1, 2, 0, 3), "store"), ("DELETE", (1, 0, 2), "delete"), ("DELETE", (2, 0, 1), "delete-many"),
    ("DELETE", (0, 2, 1), "rm"), ("DELETE_NAMED", (0, 2, 1, 3, 4), "delete-many"),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "order", "case"), WRONG_ORDERS)
def test_steps_in_a_wrong_order_are_caught(
    steps: str, order: tuple[int, ...], case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(commit, steps)
    if steps == "DELETE_NAMED":  # memory has a lock, under which the order of the two can't be told
        monkeypatch.setitem(commit._ORDERS, Exclusion.LOCK, ("STORE_NAMED", steps))
    monkeypatch.setattr(commit, steps, tuple(right[index] for index in order))
    with pytest.raises(AssertionError):
        test_whoever_dies_loses_no_media_and_no_policy(Place(MEMORY, "calls", tmp_path, full_run=True), case)


def test_a_sweep_that_moves_entries_too_late_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, move = expiry._delete, expiry._move
    monkeypatch.setattr(expiry, "_move", lambda *_: None)
    monkeypatch.setattr(expiry, "_delete", lambda *args: (delete(*args), move(*args)))
    with pytest.raises(AssertionError, match="never due"):
        test_a_sweep_that_is_killed(Place(MEMORY, "calls", tmp_path, full_run=True))


# -- a storage that fails ---------------------------------------------------------------------------------------
def sweep(box: Cabinet, faults: Faults | None = None, level: str = "calls") -> EnforcementReport | StorageError | None:
    """Sweep; return the report, or the only error there may be."""
    try:
        with aged(box.world.storage):
            return run(box.world, faults or Faults(), level, lambda store: store.enforce_policy(now=NOW))
    except StorageError as error:
        return error


def check(box: Cabinet, refs: dict[str, str], report: EnforcementReport) -> None:
    """Check that a report tells what happened, and that another sweep finishes it."""
    listed, there = set(box.check()), box.world.storage.keys()
    deleted, failed = set(told(report.deleted)), set(told(report.failed))
    assert failed <= set(refs.values())
    for name in GOING:
        # Both: it is gone, and something of it is left.
        assert refs[name] in deleted or refs[name] in failed, f"{name} is neither deleted nor failed"
        if refs[name] in deleted:
            assert f"{refs[name]}.meta" not in there
            assert refs[name] not in there or refs[name] in failed
    assert deleted <= of(refs) - listed
    assert set(told(report.skipped)) <= {refs["held"]}
    for each in report.failed:
        assert isinstance(each.error, StorageError)
        assert each.error.next_step
        assert each.error.reference in (each.reference, None)
    finish(box, refs)


def finish(box: Cabinet, refs: dict[str, str], when: str = "") -> None:
    """Check that the next sweep leaves nothing to do."""
    assert box.sweep().failed == ()
    assert not of(refs) & set(box.check()), when
    assert refs["leftover"] not in sorted(box.world.storage.keys())
    assert set(entries(box.world.storage)) == of(refs, "held", "dated", "future"), when


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL, Fault.BROKEN])
@CALLS_AND_SYSCALLS
def test_a_sweep_without_an_answer(place: Place, fault: Fault) -> None:
    if place.level == "syscalls" and fault is Fault.BROKEN and not place.full_run:
        return  # what no call of the port answers is seen by the other two
    error = os_error(errno.EIO) if place.level == "syscalls" else no_answer
    for faults in each_fault(fault, error=error):
        box, refs = full_cabinet(place.kind, place.tmp_path, durability="rename")
        answer = sweep(box, faults, place.level)
        if isinstance(answer, EnforcementReport):
            if faults.hit is None:
                assert answer.failed == ()
            check(box, refs, answer)
        else:
            assert ".fsmedia/.tmp-" in f"{answer.key} {faults.hit}", "only the clock's object stops a sweep"
            assert set(box.check()) >= of(refs), "nothing may be deleted without a report"
            finish(box, refs)


class OneKey(FaultyBackend):
    """A backend that deletes all keys but one: of that one it says so, whether it was done or not."""

    def write(self, key: str, data: bytes, content_type: str) -> None:
        self.inner.write(key, data, content_type)

    def delete(self, names: Any, **options: Any) -> Any:
        wanted, failed = list(names), {}
        for key in wanted:
            self.faults.calls.append(("delete", key))
            if len(self.faults.calls) == self.faults.at:
                self.faults.hit = ("delete", key)
                failed[key] = no_answer(("delete", key))
        gone = wanted if self.faults.fault is Fault.LOST else [key for key in wanted if key not in failed]
        return {**self.inner.delete(gone, **options), **failed}


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL])
def test_one_key_of_a_bulk_delete_that_fails(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulty, "FaultyBackend", OneKey)
    for faults in each_fault(fault):
        box, refs = full_cabinet(MEMORY, tmp_path)
        report = sweep(box, faults)
        if faults.hit is None or "/.tmp-" in faults.hit[1]:
            assert report.failed == ()
        else:
            key = faults.hit[1]
            entry = keys.parse_due(key)
            about = entry.reference if entry else key.removesuffix(".meta")
            assert told(report.failed) == [about], key
            assert len(report.deleted) >= len(GOING) - (about in of(refs))
        check(box, refs, report)


@pytest.mark.parametrize("kind", ["sidecars", "bytes", "entries"])
def test_some_keys_of_a_bulk_delete_on_s3_fail(
    kind: str, moto_storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options).create()
    metadata = MediaMetadata(run_id="r1", policy_name="retain-1days", timestamp=NOW - 2 * DAY)
    refs = store.store_many([(MediaContent.from_bytes(b"%d" % n, "text/plain"), metadata) for n in range(6)])
    stuck, entry = {refs[1], refs[4]}, partial(keys.due_key, NOW - DAY)
    key_of = {"sidecars": keys.sidecar_key, "bytes": str, "entries": entry}[kind]
    kept = {f"{moto_storage.prefix}{key_of(each)}" for each in stuck}
    call = store._backend.fs._call_s3

    async def partly(method: str, *args: Any, **options: Any) -> Any:
        if method != "delete_objects":
            return await call(method, *args, **options)
        names = {item["Key"] for item in options["Delete"]["Objects"]}
        options["Delete"] = {**options["Delete"], "Objects": [{"Key": key} for key in names - kept]}
        answer = await call(method, *args, **options)
        denied = [{"Key": key, "Code": "AccessDenied", "Message": "Access Denied"} for key in names & kept]
        return {**answer, "Errors": denied}

    with monkeypatch.context() as patched:
        patched.setattr(store._backend.fs, "_call_s3", partly)
        report = store.enforce_policy(now=NOW)
    assert set(told(report.failed)) == stuck
    assert all("Access Denied" in str(each.error) for each in report.failed)
    # Without its sidecar a media is gone and stands in the record, whatever is left of it.
    assert set(told(report.deleted)) == set(refs) - (stuck if kind == "sidecars" else set())
    left = moto_storage.keys()
    for each in stuck:
        assert ((f"{each}.meta" in left), (each in left)) == (kind == "sidecars", kind in ("sidecars", "bytes"))
        assert entry(each) in left, "the next sweep must find it"
    assert set(told(store.enforce_policy(now=NOW).deleted)) == (stuck if kind == "sidecars" else set())


# -- what can't be read ------------------------------------------------------------------------------------
def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[str, str], bool]) -> None:
    """Let some reads and listings fail: those of which this is true."""

    def asked(kind: str, real: Callable[..., Any], what: Any, *args: Any) -> Any:
        for key in [what] if kind == "list" else what:
            if fails(kind, key):
                raise no_answer((kind, key))
        return real(what, *args)

    fetch, entries = MemoryBackend.fetch, MemoryBackend.entries
    monkeypatch.setattr(
        MemoryBackend, "fetch", lambda self, reads=(), heads=(): asked("read", partial(fetch, self), reads, heads)
    )
    monkeypatch.setattr(MemoryBackend, "entries", lambda self, prefix="": asked("list", partial(entries, self), prefix))


def test_a_sidecar_that_can_not_be_read_keeps_its_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box, refs = full_cabinet(MEMORY, tmp_path)
    with monkeypatch.context() as patched:
        failing(patched, lambda kind, key: (kind, key) == ("read", f"{refs['due']}.meta"))
        report = sweep(box)
    assert set(told(report.deleted)) == of(refs, "due2", "named")
    assert told(report.failed) == [refs["due"]]
    assert refs["due"] in box.check()
    finish(box, refs)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"expires_at": 5}', b'{"policy_name": 7}'])
def test_a_damaged_sidecar_keeps_its_media_and_is_told_each_time(text: bytes, tmp_path: Path) -> None:
    box, refs = full_cabinet(MEMORY, tmp_path)
    box.world.storage.write(f"{refs['due']}.meta", text)
    for deleted in (of(refs, "due2", "named"), set()):
        report = sweep(box)
        assert set(told(report.deleted)) == deleted
        assert told(report.failed) == [refs["due"]]
    assert box.world.storage.read(refs["due"]) == box.may[refs["due"]][0]


def test_holds_that_can_not_be_listed_keep_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box, refs = full_cabinet(MEMORY, tmp_path)
    with monkeypatch.context() as patched:
        failing(patched, lambda kind, prefix: (kind, prefix) == ("list", keys.HOLDS))
        report = sweep(box)
    assert report.deleted == ()
    assert set(told(report.failed)) == of(refs, *GOING, "held") <= set(box.check())
    finish(box, refs)


@pytest.mark.parametrize("number", [1, 2])
def test_an_index_that_can_not_be_listed(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once it is an error; once something was deleted the report says both."""
    monkeypatch.setattr(expiry, "_WINDOW", 1)
    box, refs = full_cabinet(MEMORY, tmp_path)
    seen: list[str] = []

    def fails(kind: str, prefix: str) -> bool:
        seen.extend([prefix] if kind == "list" and prefix.startswith(keys.DUE) else [])
        return len(seen) == number and prefix is seen[-1]

    with monkeypatch.context() as patched:
        failing(patched, fails)
        answer = sweep(box)
    if number == 1:
        assert isinstance(answer, StorageError)
        assert set(box.check()) >= of(refs)
    else:
        assert told(answer.deleted) == [refs["due2"]], "its day is the one before"
        assert told(answer.failed) == [seen[1]]
    finish(box, refs)


# -- others in the middle of it ---------------------------------------------------------------------------------
def before_write(monkeypatch: pytest.MonkeyPatch, key: str, other: Callable[[], Any]) -> None:
    """Let the other side run once, right before a key is written."""
    real, ran = MemoryBackend.write, []

    def write(backend: MemoryBackend, name: str, data: bytes, content_type: str) -> None:
        if name == key and not ran:
            ran.append(name)
            other()
        real(backend, name, data, content_type)

    monkeypatch.setattr(MemoryBackend, "write", write)


def due(tmp_path: Path) -> tuple[Cabinet, str, MediaStore]:
    box = cabinet(MEMORY, tmp_path)
    return box, box.put("retain-1days", age=2 * DAY), box.world.open()


def test_a_sweep_that_takes_the_entry_of_a_policy_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It met the entry of a former policy of the same instant, and the sidecar that has none yet."""
    box, reference, store = due(tmp_path)
    store.apply_policy(reference, None)
    before_write(monkeypatch, f"{reference}.meta", lambda: store.enforce_policy(now=NOW))
    store.apply_policy(reference, "retain-1days")
    assert entries(box.world.storage).keys() == {reference}, "it would never expire"
    assert told(store.enforce_policy(now=NOW).deleted) == [reference]


def test_an_attribute_set_while_a_sweep_deletes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryBackend, "exclusion", Exclusion.NONE)  # a lock keeps the two apart
    box, reference, store = due(tmp_path)
    before_write(monkeypatch, f"{reference}.meta", lambda: store.enforce_policy(now=NOW))
    with pytest.raises(MediaNotFoundError):
        store.fs.setxattrs(reference, {"user.a": 1})
    # The sidecar stays, for that the bytes are not seen may be a wrong answer; without them it is no media.
    assert {reference, f"{reference}.meta"} & box.world.storage.keys() == {f"{reference}.meta"}
    assert not store.exists(reference)
    report = store.verify(repair=True, grace=timedelta(0), nobody_writes=True)
    assert [each.kind for each in report.findings] == ["missing-bytes"]
    assert box.world.storage.keys().isdisjoint({reference, f"{reference}.meta"})
    box.end()


def test_a_hold_placed_while_the_media_goes_is_an_error_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the media is not seen may be a wrong answer, and the hold may have replaced one: it is not taken back."""
    box, reference, store = due(tmp_path)
    before_write(monkeypatch, keys.hold_key(reference), lambda: store.enforce_policy(now=NOW))
    with pytest.raises(MediaNotFoundError, match="its hold stays"):
        store.hold(reference, "too late")
    assert keys.hold_key(reference) in sorted(box.world.storage.keys())
    assert {each.kind for each in store.verify().findings} == {"hold"}
    store.release(reference)
    assert keys.hold_key(reference) not in sorted(box.world.storage.keys())


def test_a_store_on_its_way_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry is due before its sidecar is there."""
    box, reports, real = cabinet(MEMORY, tmp_path), [], MemoryBackend.write

    def write(backend: MemoryBackend, key: str, data: bytes, content_type: str) -> None:
        if key.endswith(".meta"):
            reports.append(box.world.open().enforce_policy(now=NOW))
        real(backend, key, data, content_type)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "write", write)
        reference = box.put("retain-2hours", age=2 * DAY)
    assert [(each.examined, each.deleted, each.failed) for each in reports] == [(1, (), ())]
    assert box.check() == [reference]
    assert told(box.sweep().deleted) == [reference]


def test_a_release_in_the_middle_of_a_sweep_delays_by_a_day_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep saw the hold, and its entry for the next day is what is left."""
    box, reference, store = due(tmp_path)
    store.hold(reference, "a while")
    before_write(monkeypatch, keys.due_key(NOW + DAY, reference), lambda: store.release(reference))
    assert [each.reason for each in store.enforce_policy(now=NOW).skipped] == ["held"]
    assert told(box.sweep(NOW + DAY + timedelta(minutes=1)).deleted) == [reference]


@pytest.mark.parametrize("kind", [MEMORY, LOCAL])
def test_the_end_of_time(kind: str, tmp_path: Path) -> None:
    """A clock at `datetime.max` says: all that has a policy may go."""
    box = cabinet(kind, tmp_path)
    gone, stays, free = box.put("audit"), box.hold(box.put("audit")), box.put()
    end = datetime.max.replace(tzinfo=UTC)
    report = box.world.open(now=lambda: end).enforce_policy(now=end)
    assert (told(report.deleted), told(report.skipped)) == ([gone], [stays])
    assert sorted(box.world.open().list()) == sorted([stays, free])
    box.world.open().release(stays)
    assert told(box.sweep(NOW + 366 * DAY).deleted) == [stays]


def test_an_instant_out_of_range_is_refused(tmp_path: Path) -> None:
    store = cabinet(MEMORY, tmp_path).world.open()
    for odd in (datetime.max.replace(tzinfo=timezone(-timedelta(hours=2))), datetime(2026, 1, 1), "now"):
        with pytest.raises(InvalidMediaError):
            store.enforce_policy(now=odd)
