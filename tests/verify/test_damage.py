"""Each kind of damage: found, told before anything is done, mended as told, and then the store is whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fsmedia import MediaNotFoundError, MediaStore
from fsmedia.format import keys
from fsmedia.models import VerifyReport
from tests.contract.specimens import PNG, traces
from tests.storages import Storage
from tests.verify.damages import OTHER, Anywhere, Media, Plain, PlainDeep, Shared, SharedDeep, damaged, kinds

CASES: list[Any] = [
    *((kind, name, False, False) for kind, name in kinds(Anywhere, Plain)),
    *((kind, name, False, True) for kind, name in kinds(Plain, PlainDeep)),
    *((kind, name, True, False) for kind, name in kinds(Shared)),
    *((kind, name, True, True) for kind, name in kinds(Shared, SharedDeep)),
]
CASES += [
    pytest.param(kind, name, True, False, marks=pytest.mark.full, id=f"{kind.__name__}-{name}-shared")
    for kind, name in kinds(Anywhere)
]
NOW: dict[str, Any] = {"grace": timedelta(0), "nobody_writes": True}


def named(case: object) -> str | None:
    return case.__name__ if isinstance(case, type) else {True: "deep", False: ""}.get(case, str(case))  # type: ignore[call-overload]


def found(report: VerifyReport) -> set[tuple[str, str]]:
    return {(each.kind, each.key) for each in report.findings}


def plan(report: VerifyReport) -> set[tuple[str, str, str, str]]:
    return {(each.kind, each.key, each.detail, each.repair) for each in report.findings}


def check(store: MediaStore, media: Media, gone: frozenset[str]) -> None:
    """Every media but those is there, whole."""
    bytes_of = {media.one: PNG, media.two: PNG, media.dated: OTHER, media.named: PNG + b"named"}
    listed = set(store.list())
    for reference, data in bytes_of.items():
        if reference in gone:
            assert reference not in listed
            with pytest.raises(MediaNotFoundError):
                store.retrieve_media(reference)
            continue
        assert reference in listed
        assert store.retrieve_media(reference).read_bytes() == data or reference == media.named
        record = store.info(reference)
        assert record.run_id == reference.split("/")[1]


@pytest.mark.parametrize(("kind", "name", "shared", "deep"), CASES, ids=named)
def test_damage_is_found_planned_mended_and_gone(
    kind: type, name: str, shared: bool, deep: bool, storage: Storage, open_store: Callable[..., MediaStore]
) -> None:
    media, made = damaged(storage, kind, name, shared=shared)
    before = traces(storage)
    store = open_store()

    report = store.verify(deep=deep)
    assert report.failed == ()
    assert found(report) >= made.found
    dry = store.verify(deep=deep, repair=True, dry_run=True, **NOW)
    assert found(dry) == made.found
    # A catalog that is behind is nothing wrong: whoever asks it brings it up to date.
    assert dry.whole == (not made.found or name == "catalog_that_is_behind")
    assert traces(storage) == before, "a look or a plan wrote something"

    mended = store.verify(deep=deep, repair=True, **NOW)
    assert mended.failed == ()
    assert found(mended) >= made.found
    assert plan(mended) >= plan(dry), "what was done is not what was told"
    assert all(each.done for each in mended.findings), mended.findings
    assert mended.whole
    again = store.verify(deep=True, repair=True, dry_run=True, **NOW)
    assert again.counts == {}, again.findings
    assert again.whole
    check(open_store(), media, made.gone)
    hidden = {key for key in storage.keys() if key.startswith(keys.QUARANTINE)}  # noqa: SIM118
    assert not hidden & set(store.list())
    # What went out of sight lies in quarantine: no bytes are lost that anybody could still read.
    if made.gone and any(kind in ("size", "digest", "sidecar") for kind, _ in made.found):
        saved = [storage.read(key) for key in hidden]
        for reference in made.gone:
            assert before[keys.bytes_key(reference)] in saved
            assert before[keys.sidecar_key(reference)] in saved


@pytest.mark.parametrize(
    ("kind", "name", "shared"),
    [
        (Anywhere, "upload_that_nobody_finished", False),
        (Anywhere, "sidecar_torn", False),
        (Plain, "bytes_cut", False),
        (Shared, "bytes_gone", True),
    ],
    ids=named,
)
def test_damage_on_s3(kind: type, name: str, shared: bool, moto_storage: Storage) -> None:
    """Of what storages share one of each kind of repair is enough here; the rest at full size."""

    def opened(**settings: Any) -> MediaStore:
        return MediaStore(moto_storage.url, storage_options=moto_storage.options, **settings)

    test_damage_is_found_planned_mended_and_gone(kind, name, shared, False, moto_storage, opened)


@pytest.mark.parametrize(("kind", "name", "shared", "deep"), CASES, ids=named)
def test_what_is_young_stays(kind: type, name: str, shared: bool, deep: bool, memory_storage: Storage) -> None:
    """A repair that keeps to the store's grace only adds what is missing; it moves and removes nothing."""
    storage = memory_storage
    media, _ = damaged(storage, kind, name, shared=shared)
    before = traces(storage)
    report = MediaStore(storage.url).verify(deep=deep, repair=True)
    after = traces(storage)
    changed = {key for key in before if after.get(key) != before[key]}
    # Facts of a sidecar, and the bytes of another copy, may be given at once: nothing is taken away by that.
    assert changed <= {f"{each}.meta" for each in media} | {keys.bytes_key(media.one)}
    assert before.keys() <= after.keys()
    assert all(each.done or each.harmless or "grace" in each.repair for each in report.findings if each.repair)
