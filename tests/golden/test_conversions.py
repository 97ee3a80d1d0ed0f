"""Stores that a conversion left half-way: each is opened, listed, read, deleted from and brought elsewhere.

Version 0.1 could make a plain store share equal bytes in place, until that was taken out: each media was stored again
beside equal bytes, the new names written down, and the plain ones deleted. `conversions.json` was written by its
conversion, right before its removal: what lay in the store when it began, and each key that it wrote or removed, one
after another. So each beginning of these steps is a store whose conversion died there. There are two histories: a
conversion from start to end, and the one that went on after the first had died with some media there under both names
and one plain name deleted, and somebody had given a media another policy by its old name.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fsmedia import HeldMediaError, MediaNotFoundError, MediaStore
from fsmedia.format import keys
from tests.contract.specimens import raised
from tests.protocol.worlds import fresh_world
from tests.storages import LOCAL, MEMORY, Storage
from tests.transfers import opened as opened_at

ONCE, AGAIN = "once", "again"
STEM = len("runs/rN/0000_00_u") + 26


@cache
def recorded() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("conversions.json").read_text())


class Media(NamedTuple):
    """A media of these stores, under the name that it had before the conversion."""

    label: str
    reference: str
    data: bytes
    policies: set[str | None]


def media_of(history: str) -> list[Media]:
    """Return the media; where a policy was given half-way, either name may still show the one before."""
    changed = recorded()["changed"] if history == AGAIN else {}
    return [
        Media(label, each["reference"], each["data"].encode(), {each["policy"], changed.get(label, each["policy"])})
        for label, each in recorded()["media"].items()
    ]


def half_way(history: str, *, unsettled: bool = False) -> Iterator[dict[str, str]]:
    """Yield what lay in the store when the conversion began, and after each step.

    Unsettled: the settings do not say yet that media share their bytes, or not any more: a rebuild of the due index
    could write the old ones back.
    """
    found = recorded()["histories"][history]
    lying = dict(found["before"])
    settings = recorded()["histories"][ONCE]["before"][keys.CONFIGURATION_KEY]
    for key, text in (("", None), *found["steps"]):
        lying[key] = text
        lying = {each: data for each, data in lying.items() if data is not None}
        yield lying | {keys.CONFIGURATION_KEY: settings} if unsettled else dict(lying)


@pytest.fixture(params=[*product([MEMORY], [ONCE, AGAIN], [False, True]), (LOCAL, ONCE, False)], ids=str)
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Storage, list[Media], bool]]:
    """Give each half-way store of a history in turn: its storage, its media, and whether its settings say so."""
    kind, history, unsettled = request.param

    def made() -> Iterator[tuple[Storage, list[Media], bool]]:
        for lying in half_way(history, unsettled=unsettled):
            storage = fresh(kind, tmp_path)
            for key, text in lying.items():
                storage.write(key, text.encode())
            yield storage, media_of(history), json.loads(lying[keys.CONFIGURATION_KEY])["deduplicate"]

    return made()


def fresh(kind: str, tmp_path: Path) -> Storage:
    return fresh_world(kind, tmp_path, first=True).storage


opened = partial(opened_at, durability="rename")


def by_media(references: list[str], media: list[Media]) -> dict[str, list[str]]:
    """Return which listed names each media has, by what old and new name have in common."""
    found: dict[str, list[str]] = {each.label: [] for each in media}
    labels = {each.reference[:STEM]: each.label for each in media}
    for reference in references:
        found[labels[reference[:STEM]]].append(reference)
    return found


def check(store: MediaStore, media: list[Media], *, old_names: bool) -> None:
    """Look that each media is there under one name or two, whole under each, and found by its old one."""
    names = by_media(list(store.list()), media)
    for each in media:
        assert 1 <= len(names[each.label]) <= 2, f"{each.label} is lost"
        for name in {*names[each.label], *([each.reference] if old_names else [])}:
            assert store.exists(name)
            with store.open(name) as file:
                assert file.read() == store.retrieve_media(name).read_bytes() == each.data
            record = store.info(name)
            assert (record.sha256, record.run_id) == (hashlib.sha256(each.data).hexdigest(), name.split("/")[1])
            assert (record.hold is not None) == (each.label == "held")
            assert record.policy_name in each.policies


def test_each_is_listed_and_read_under_its_old_names_and_new_ones(stores) -> None:
    for storage, media, shares in stores:
        before = storage.contents()
        check(opened(storage, read_only=True), media, old_names=shares)
        assert storage.contents() == before, "reading wrote"
        # No old name deletes nothing unheard, also where the settings lost that media share.
        names = by_media(list(opened(storage).list()), media)
        for each in media:
            if shares or each.reference in names[each.label] or storage.keys() >= {each.reference}:
                continue
            error = raised(MediaNotFoundError, opened(storage).delete_media, each.reference)
            assert names[each.label][0] in str(error)


@pytest.mark.parametrize("many", [False, True])
def test_who_deletes_by_an_old_name_deletes_the_media(stores, many: bool) -> None:
    """Under both names, where it has two: else the old one would answer again right after, with what was deleted."""
    for storage, media, shares in stores:
        store = opened(storage)
        going = [each for each in media if each.label != "held"]
        (held,) = (each.reference for each in media if each.label == "held")
        raised(HeldMediaError, store.delete_media, held)
        names = by_media(list(store.list()), media)
        # Where the settings do not say that media share, nobody looks for other names: a plain one still goes, and
        # one that is gone is refused by an error that tells the other.
        wanted = [name for each in going for name in ([each.reference] if shares else names[each.label])]
        for names_at_once in [wanted] if many else wanted:
            (store.delete_many if many else store.delete_media)(names_at_once)
        assert list(store.list()) == [held]
        assert not any(store.exists(each.reference) for each in going)
        assert store.retrieve_media(held).read_bytes() == b"the same bytes"
        store.release(held)
        store.delete_media(held)
        for _ in range(2):  # marks go once the data are gone
            assert store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True).failed == ()
        left = {key.split("/")[1] for key in storage.keys()}  # noqa: SIM118
        assert left <= {"store.json", "references", "locks"}, storage.keys()


@pytest.mark.parametrize("shares", [False, True])
def test_a_sync_brings_each_once(stores, shares: bool, tmp_path: Path) -> None:
    for storage, media, _ in stores:
        there = fresh(storage.name, tmp_path)
        source = opened(storage, read_only=True)
        report = source.sync_to(there.url, storage_options=there.options, deduplicate=shares)
        assert report.failed == ()
        target = opened(there)
        check(target, media, old_names=shares)
        listed = list(target.list())
        assert len(listed) == len(media), "a media was brought twice"
        assert all((keys.pointer_of(name) is not None) == shares for name in listed)
        data = [key for key in there.keys() if "/data/" in key]  # noqa: SIM118
        assert len(data) == (len({each.data for each in media}) if shares else 0)
        again = source.sync_to(there.url, storage_options=there.options, deduplicate=shares)
        assert (again.copied, again.failed) == (0, ())
