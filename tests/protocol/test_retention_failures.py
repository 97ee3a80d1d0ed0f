"""A storage that fails, or loses its answers, at every request of a sweep: each media is told of, the rest goes on.

"Told of" means: what the report calls deleted is gone, and what is not is in `failed` under its own reference.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from fsmedia import EnforcementReport, MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.format import keys
from fsmedia.storage.memory import MemoryBackend
from tests.protocol.faults import Fault, Faults, FaultyBackend, no_answer, os_error
from tests.protocol.retained import DAY, NOW, Cabinet, aged, entries, full_cabinet
from tests.protocol.worlds import each_fault, run
from tests.storages import LOCAL, MEMORY, S3Storage

PLACES = [
    pytest.param(MEMORY, "calls", id="memory"),
    pytest.param(LOCAL, "calls", id="local"),
    pytest.param(LOCAL, "syscalls", id="local-syscalls"),
]
GOING = ("due", "due2", "named")


def sweep(box: Cabinet, faults: Faults, level: str) -> EnforcementReport | StorageError:
    """Sweep; return the report, or the only error there may be."""
    try:
        with aged(box.world.storage):
            return run(box.world, faults, level, lambda store: store.enforce_policy(now=NOW))
    except StorageError as error:
        return error


def check(box: Cabinet, refs: dict[str, str], report: EnforcementReport) -> None:
    """Check that a report tells what happened, and that another sweep finishes it."""
    listed = set(box.check())
    there = box.world.storage.keys()
    deleted = [each.reference for each in report.deleted]
    failed = {each.reference for each in report.failed}
    assert failed <= set(refs.values())
    for name in GOING:
        # Both: it is gone, and something of it is left.
        assert refs[name] in deleted or refs[name] in failed, f"{name} is neither deleted nor failed"
        if refs[name] in deleted:
            assert f"{refs[name]}.meta" not in there
            assert refs[name] not in there or refs[name] in failed
    assert set(deleted) <= {refs[name] for name in GOING}
    assert set(deleted).isdisjoint(listed)
    assert {each.reference for each in report.skipped} <= {refs["held"]}
    for each in report.failed:
        assert isinstance(each.error, StorageError)
        assert each.error.next_step
        assert each.error.reference in (each.reference, None)
    finish(box, refs)


def finish(box: Cabinet, refs: dict[str, str]) -> None:
    """Check that the next sweep leaves nothing to do."""
    assert box.sweep().failed == ()
    assert not {refs[name] for name in GOING} & set(box.check())
    assert refs["leftover"] not in sorted(box.world.storage.keys())
    assert set(entries(box.world.storage)) == {refs["held"], refs["dated"], refs["future"]}


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL, Fault.BROKEN])
@pytest.mark.parametrize(("kind", "level"), PLACES)
def test_a_sweep_without_an_answer(kind: str, level: str, fault: Fault, full_run: bool, tmp_path: Path) -> None:
    if level == "syscalls" and fault is Fault.BROKEN and not full_run:
        return  # what no call of the port answers is seen by the other two
    error = os_error(errno.EIO) if level == "syscalls" else no_answer
    for faults in each_fault(fault, error=error):
        box, refs = full_cabinet(kind, tmp_path, durability="rename")
        answer = sweep(box, faults, level)
        if isinstance(answer, EnforcementReport):
            if faults.hit is None:
                assert answer.failed == ()
            check(box, refs, answer)
        else:
            assert ".fsmedia/.tmp-" in f"{answer.key} {faults.hit}", "only the clock's object stops a sweep"
            assert set(box.check()) >= {refs[name] for name in GOING}, "nothing may be deleted without a report"
            finish(box, refs)


class OneKey(FaultyBackend):
    """A backend that deletes all keys but one: of that one it says so, whether it was done or not."""

    def write(self, key: str, data: bytes, content_type: str) -> None:
        self.inner.write(key, data, content_type)

    def delete(self, names: Any, **options: Any) -> Any:
        wanted = list(names)
        failed = {}
        for key in wanted:
            self.faults.calls.append(("delete", key))
            if len(self.faults.calls) == self.faults.at:
                self.faults.hit = ("delete", key)
                failed[key] = no_answer(("delete", key))
        gone = wanted if self.faults.fault is Fault.LOST else [key for key in wanted if key not in failed]
        return {**self.inner.delete(gone, **options), **failed}


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.FAIL])
def test_one_key_of_a_bulk_delete_that_fails(fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.protocol import faults as room

    monkeypatch.setattr(room, "FaultyBackend", OneKey)
    for faults in each_fault(fault):
        box, refs = full_cabinet(MEMORY, tmp_path)
        report = sweep(box, faults, "calls")
        assert isinstance(report, EnforcementReport)
        if faults.hit is None or "/.tmp-" in faults.hit[1]:
            assert report.failed == ()
        else:
            key = faults.hit[1]
            entry = keys.parse_due(key)
            about = entry.reference if entry else key.removesuffix(".meta")
            assert [each.reference for each in report.failed] == [about], key
            assert len(report.deleted) >= len(GOING) - (about in {refs[name] for name in GOING})
        check(box, refs, report)


@pytest.mark.parametrize("kind", ["sidecars", "bytes", "entries"])
def test_some_keys_of_a_bulk_delete_on_s3_fail(
    kind: str, moto_storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options).create()
    metadata = MediaMetadata(run_id="r1", policy_name="retain-1days", timestamp=NOW - 2 * DAY)
    refs = store.store_many([(MediaContent.from_bytes(b"%d" % n, "text/plain"), metadata) for n in range(6)])
    keys_of = {
        "sidecars": lambda each: f"{each}.meta",
        "bytes": lambda each: each,
        "entries": lambda each: keys.due_key(NOW - DAY, each),
    }[kind]
    stuck = {refs[1], refs[4]}
    kept = {f"{moto_storage.prefix}{keys_of(each)}" for each in stuck}
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
    assert {each.reference for each in report.failed} == stuck
    assert all("Access Denied" in str(each.error) for each in report.failed)
    # Without its sidecar a media is gone and stands in the record, whatever is left of it.
    assert {each.reference for each in report.deleted} == set(refs) - (stuck if kind == "sidecars" else set())
    left = moto_storage.keys()
    for each in stuck:
        assert ((f"{each}.meta" in left), (each in left)) == (kind == "sidecars", kind in ("sidecars", "bytes"))
        assert keys.due_key(NOW - DAY, each) in left, "the next sweep must find it"
    again = store.enforce_policy(now=NOW)
    assert {each.reference for each in again.deleted} == (stuck if kind == "sidecars" else set())


# -- what can't be read ------------------------------------------------------------------------------------


def unreadable(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let reads of these keys fail."""
    real = MemoryBackend.fetch

    def fetch(backend: MemoryBackend, reads: Any = (), heads: Any = ()) -> Any:
        for key in reads:
            if key in names:
                raise no_answer(("read", key))
        return real(backend, reads, heads)

    monkeypatch.setattr(MemoryBackend, "fetch", fetch)


def test_a_sidecar_that_can_not_be_read_keeps_its_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box, refs = full_cabinet(MEMORY, tmp_path)
    with monkeypatch.context() as patched:
        unreadable(patched, f"{refs['due']}.meta")
        report = sweep(box, Faults(), "calls")
    assert isinstance(report, EnforcementReport)
    assert {each.reference for each in report.deleted} == {refs["due2"], refs["named"]}
    assert [each.reference for each in report.failed] == [refs["due"]]
    assert refs["due"] in box.check()
    finish(box, refs)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"expires_at": 5}', b'{"policy_name": 7}'])
def test_a_damaged_sidecar_keeps_its_media_and_is_told_each_time(text: bytes, tmp_path: Path) -> None:
    box, refs = full_cabinet(MEMORY, tmp_path)
    box.world.storage.write(f"{refs['due']}.meta", text)
    for deleted in ({refs["due2"], refs["named"]}, set()):
        report = sweep(box, Faults(), "calls")
        assert isinstance(report, EnforcementReport)
        assert {each.reference for each in report.deleted} == deleted
        assert [each.reference for each in report.failed] == [refs["due"]]
    assert box.world.storage.read(refs["due"]) == box.may[refs["due"]][0]


def test_holds_that_can_not_be_listed_keep_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box, refs = full_cabinet(MEMORY, tmp_path)
    real = MemoryBackend.entries

    def entries_but_holds(backend: MemoryBackend, prefix: str = "") -> Any:
        if prefix == keys.HOLDS:
            raise no_answer(("list", prefix))
        return real(backend, prefix)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "entries", entries_but_holds)
        report = sweep(box, Faults(), "calls")
    assert isinstance(report, EnforcementReport)
    assert report.deleted == ()
    assert {each.reference for each in report.failed} == {refs[name] for name in (*GOING, "held")}
    assert set(box.check()) >= {refs[name] for name in (*GOING, "held")}
    finish(box, refs)


@pytest.mark.parametrize("number", [1, 2])
def test_an_index_that_can_not_be_listed(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once it is an error; once something was deleted the report says both."""
    from fsmedia.maintenance import expiry

    monkeypatch.setattr(expiry, "_WINDOW", 1)
    box, refs = full_cabinet(MEMORY, tmp_path)
    real, seen = MemoryBackend.entries, []

    def entries_but_some(backend: MemoryBackend, prefix: str = "") -> Any:
        if prefix.startswith(keys.DUE):
            seen.append(prefix)
            if len(seen) == number:
                raise no_answer(("list", prefix))
        return real(backend, prefix)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "entries", entries_but_some)
        answer = sweep(box, Faults(), "calls")
    if number == 1:
        assert isinstance(answer, StorageError)
        assert set(box.check()) >= {refs[name] for name in GOING}
    else:
        assert isinstance(answer, EnforcementReport)
        assert [each.reference for each in answer.deleted] == [refs["due2"]], "its day is the one before"
        assert [each.reference for each in answer.failed] == [seen[1]]
    finish(box, refs)
