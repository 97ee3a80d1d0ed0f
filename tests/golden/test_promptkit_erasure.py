"""Erasing in stores that PromptKit wrote: by the ids in its sidecars, and out of its index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fsmedia import MediaStore
from tests.golden.conftest import ARENA, Adopted, adopt
from tests.storages import LOCAL, MEMORY

ID_FIELDS = ("run_id", "conversation_id", "session_id", "provider_id")


def owned(adopted: Adopted) -> dict[tuple[str, str], set[str]]:
    """Return whose each media is, as the sidecars say it: id -> references."""
    found: dict[tuple[str, str], set[str]] = {}
    for item in adopted.items:
        sidecar = json.loads(adopted.storage.read(f"{item.reference}.meta"))
        for name in ID_FIELDS:
            if sidecar.get(name):
                found.setdefault((name, sidecar[name]), set()).add(item.reference)
    return found


def test_each_subject_goes_and_nobody_else(adopted: Adopted) -> None:
    store = adopted.open()
    assert store.erase(run_id="nobody", dry_run=True).erased == ()
    left = set(adopted.references)
    subjects = sorted(owned(adopted).items(), key=lambda each: (len(each[1]), each[0]))
    few = adopted.storage.name not in (LOCAL, MEMORY)
    for (name, value), references in subjects[:: max(1, len(subjects) // 5) if few else 1]:
        wanted = references & left
        before = set(store.list())
        planned = store.erase(**{name: value}, dry_run=True)
        receipt = store.erase(**{name: value})
        assert {each.reference for each in planned.erased} == {each.reference for each in receipt.erased}
        assert {each.reference for each in receipt.erased} == wanted, (name, value)
        assert receipt.failed == receipt.held == ()
        assert set(store.list()) == before - wanted
        assert store.check_receipt(receipt).holds
        left -= wanted
    there = adopted.storage.keys()
    assert not {each for each in adopted.references if each not in left} & there
    assert left <= there


def test_what_goes_is_taken_out_of_promptkits_index_unless_it_is_damaged(indexed: Adopted) -> None:
    store, before = indexed.open(), indexed.index()
    item = indexed.item("odd-id-10")
    session = json.loads(indexed.storage.read(f"{item.reference}.meta"))["session_id"]
    receipt = store.erase(session_id=session)
    gone = {each.reference for each in receipt.erased}
    assert item.reference in gone
    assert all("PromptKit's index named it" in each.note for each in receipt.erased)
    digests = {each.sha256 for each in indexed.items if each.reference in gone}
    assert indexed.index() == {digest: path for digest, path in before.items() if digest not in digests}
    indexed.storage.write(".dedup_index.json", b"{")
    item = indexed.item("odd-id-10")
    session = json.loads(indexed.storage.read(f"{item.reference}.meta"))["session_id"]
    receipt = indexed.open().erase(session_id=session)
    assert receipt.erased == ()
    assert any("index is damaged" in each.reason for each in receipt.failed)
    assert item.reference in sorted(indexed.storage.keys())


@pytest.mark.parametrize("organization", [None, "by-session"])
def test_a_run_of_an_arena(request: pytest.FixtureRequest, tmp_path: Path, organization: str | None) -> None:
    adopted = adopt(ARENA, LOCAL, request, tmp_path)
    first, second = adopted.items
    run = first.reference.split("/")[1]
    store = MediaStore(adopted.storage.url, organization=organization)
    receipt = store.erase(run_id=run)
    assert [each.reference for each in receipt.erased] == [first.reference]
    assert list(adopted.index()) == [second.sha256]
    assert not (Path(adopted.storage.url) / "runs" / run).exists()
