"""Interleavings of sweeps with what others do, made on purpose: each runs the other side between two steps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaNotFoundError
from fsmedia.format import keys
from fsmedia.storage.memory import MemoryBackend
from tests.protocol.retained import DAY, NOW, cabinet, entries
from tests.storages import LOCAL, MEMORY


def before_write(monkeypatch: pytest.MonkeyPatch, key: str, other: Callable[[], Any]) -> None:
    """Let the other side run once, right before a key is written."""
    real, ran = MemoryBackend.write, []

    def write(backend: MemoryBackend, name: str, data: bytes, content_type: str) -> None:
        if name == key and not ran:
            ran.append(name)
            other()
        real(backend, name, data, content_type)

    monkeypatch.setattr(MemoryBackend, "write", write)


def test_a_sweep_that_takes_the_entry_of_a_policy_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It met the entry of a former policy of the same instant, and the sidecar that has none yet."""
    box = cabinet(MEMORY, tmp_path)
    reference = box.put("retain-1days", age=2 * DAY)
    store = box.world.open()
    store.apply_policy(reference, None)
    before_write(monkeypatch, f"{reference}.meta", lambda: store.enforce_policy(now=NOW))
    store.apply_policy(reference, "retain-1days")
    assert entries(box.world.storage).keys() == {reference}, "it would never expire"
    assert [each.reference for each in store.enforce_policy(now=NOW).deleted] == [reference]


def test_an_attribute_set_while_a_sweep_deletes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = cabinet(MEMORY, tmp_path)
    reference = box.put("retain-1days", age=2 * DAY)
    store = box.world.open()
    before_write(monkeypatch, f"{reference}.meta", lambda: store.enforce_policy(now=NOW))
    with pytest.raises(MediaNotFoundError):
        store.fs.setxattrs(reference, {"user.a": 1})
    # The sidecar stays, for that the bytes are not seen may be a wrong answer; without them it is no media.
    assert {reference, f"{reference}.meta"} & box.world.storage.keys() == {f"{reference}.meta"}
    assert not store.exists(reference)
    assert [each.kind for each in store.verify(repair=True, grace=timedelta(0), nobody_writes=True).findings] == [
        "missing-bytes"
    ]
    assert box.world.storage.keys().isdisjoint({reference, f"{reference}.meta"})
    box.end()


def test_a_hold_placed_while_the_media_goes_is_an_error_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the media is not seen may be a wrong answer, and the hold may have replaced one: it is not taken back."""
    box = cabinet(MEMORY, tmp_path)
    reference = box.put("retain-1days", age=2 * DAY)
    store = box.world.open()
    before_write(monkeypatch, keys.hold_key(reference), lambda: store.enforce_policy(now=NOW))
    with pytest.raises(MediaNotFoundError, match="its hold stays"):
        store.hold(reference, "too late")
    assert keys.hold_key(reference) in sorted(box.world.storage.keys())
    assert {each.kind for each in store.verify().findings} == {"hold"}
    store.release(reference)
    assert keys.hold_key(reference) not in sorted(box.world.storage.keys())


def test_a_store_on_its_way_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its entry is due before its sidecar is there."""
    box = cabinet(MEMORY, tmp_path)
    reports = []
    real = MemoryBackend.write

    def write(backend: MemoryBackend, key: str, data: bytes, content_type: str) -> None:
        if key.endswith(".meta"):
            reports.append(box.world.open().enforce_policy(now=NOW))
        real(backend, key, data, content_type)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryBackend, "write", write)
        reference = box.put("retain-2hours", age=2 * DAY)
    assert [(each.examined, each.deleted, each.failed) for each in reports] == [(1, (), ())]
    assert box.check() == [reference]
    assert [each.reference for each in box.sweep().deleted] == [reference]


def test_a_release_in_the_middle_of_a_sweep_delays_by_a_day_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep saw the hold, and its entry for the next day is what is left."""
    box = cabinet(MEMORY, tmp_path)
    reference = box.put("retain-1days", age=2 * DAY)
    store = box.world.open()
    store.hold(reference, "a while")
    before_write(monkeypatch, keys.due_key(NOW + DAY, reference), lambda: store.release(reference))
    assert [each.reason for each in store.enforce_policy(now=NOW).skipped] == ["held"]
    again = box.sweep(NOW + DAY + timedelta(minutes=1))
    assert [each.reference for each in again.deleted] == [reference]


@pytest.mark.parametrize("kind", [MEMORY, LOCAL])
def test_the_end_of_time(kind: str, tmp_path: Path) -> None:
    """A clock at `datetime.max` says: all that has a policy may go."""
    box = cabinet(kind, tmp_path)
    gone, stays, free = box.put("audit"), box.hold(box.put("audit")), box.put()
    end = datetime.max.replace(tzinfo=UTC)
    report = box.world.open(now=lambda: end).enforce_policy(now=end)
    assert [each.reference for each in report.deleted] == [gone]
    assert [each.reference for each in report.skipped] == [stays]
    assert sorted(box.world.open().list()) == sorted([stays, free])
    box.world.open().release(stays)
    assert [each.reference for each in box.sweep(NOW + 366 * DAY).deleted] == [stays]


def test_an_instant_out_of_range_is_refused(tmp_path: Path) -> None:
    from datetime import timezone

    from fsmedia import InvalidMediaError

    store = cabinet(MEMORY, tmp_path).world.open()
    for odd in (datetime.max.replace(tzinfo=timezone(-timedelta(hours=2))), datetime(2026, 1, 1), "now"):
        with pytest.raises(InvalidMediaError):
            store.enforce_policy(now=odd)
