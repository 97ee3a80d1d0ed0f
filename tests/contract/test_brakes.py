"""Nothing is deleted in masses, and nothing proved, by a listing that shows so little that it may be wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.core.settings_file import SettingsFile
from fsmedia.maintenance import survey
from tests.conftest import storages
from tests.storages import LOCAL, MEMORY, S3_MOTO

SETTINGS = ".fsmedia/store.json"
MEDIA = 6
AT_ONCE = {"repair": True, "grace": timedelta(0), "nobody_writes": True}


storage = storages(MEMORY, LOCAL, of=(MEMORY, LOCAL, S3_MOTO))


def seeded(storage):
    store = MediaStore(storage.url, storage_options=storage.options)
    names = [
        store.store_media(
            MediaContent.from_text(f"text {number}"),
            MediaMetadata(run_id=f"r{number % 2}", session_id="ada", policy_name="retain-30days"),
        )
        for number in range(MEDIA)
    ]
    return store, names


def hide(storage, names):
    """Let objects be gone for a listing and for every look: a bucket restored in part, a mount that is empty."""
    for name in names:
        storage.remove(name)
        storage.remove(f"{name}.meta")


def no_brakes(monkeypatch):
    """Believe any listing; what the tests below refuse goes through then."""
    monkeypatch.setattr(survey, "row_count", lambda _: None)
    monkeypatch.setattr(SettingsFile, "look_again", lambda _: None)


BRAKES = pytest.mark.parametrize("brakes", [True, False], ids=["brakes", "mutant"])


def stopped(act, match, monkeypatch, *, brakes, **options):
    """Do something that must be refused, or, without brakes, must go through."""
    if brakes:
        with pytest.raises(StorageError, match=match):
            act(**options)
    else:
        no_brakes(monkeypatch)
        act(**options)


@BRAKES
def test_a_mirror_keeps_what_most_of_the_source_seems_to_lack(storage, tmp_path, monkeypatch, brakes):
    store, names = seeded(storage)
    store.catalog()
    store.sync_to(tmp_path / "mirror")
    hide(storage, names[:4])

    def sync(**options):
        return store.sync_to(tmp_path / "mirror", delete=True, **options)

    stopped(sync, r"lists 2 media and the newest catalog has 6(.|\n)*force", monkeypatch, brakes=brakes)
    mirror = MediaStore(tmp_path / "mirror")
    assert len(list(mirror.list())) == (MEDIA if brakes else 2)
    if brakes:
        with pytest.raises(StorageError, match="newest catalog has 6"):
            sync(dry_run=True)
        assert len(sync(force=True).deleted) == 4


@pytest.mark.parametrize("hidden", [3, 4], ids=["half of the rows are enough", "the catalog was brought up to date"])
def test_a_mirror_is_brought_up_to_date(storage, tmp_path, hidden):
    store, names = seeded(storage)
    store.catalog()
    store.sync_to(tmp_path / "mirror")
    hide(storage, names[:hidden])
    if hidden == 4:
        store.catalog()
    assert len(store.sync_to(tmp_path / "mirror", delete=True).deleted) == hidden


@pytest.mark.parametrize("words", [{}, {"run_id": "r1"}], ids=["all", "a run"])
def test_a_mirror_is_not_emptied_by_a_source_that_lists_nothing(storage, tmp_path, words):
    store, names = seeded(storage)
    store.sync_to(tmp_path / "mirror")
    hide(storage, names)
    with pytest.raises(StorageError, match=r"lists no media, and the target has \d(.|\n)*force"):
        store.sync_to(tmp_path / "mirror", delete=True, **words)
    mirror = MediaStore(tmp_path / "mirror")
    assert len(list(mirror.list())) == MEDIA
    store.sync_to(tmp_path / "mirror", delete=True, force=True, **words)
    assert len(list(mirror.list())) == (3 if words else 0)


@BRAKES
def test_an_erasure_does_not_say_complete_where_most_is_not_listed(storage, monkeypatch, brakes):
    store, names = seeded(storage)
    store.catalog()
    hide(storage, names[:4])

    def erase(**options):
        return store.erase(session_id="ada", **options)

    stopped(erase, "lists 2 media and the newest catalog has 6", monkeypatch, brakes=brakes)
    assert len(list(store.list())) == (2 if brakes else 0)
    if brakes:
        assert len(erase(force=True).erased) == 2
        assert list(store.list()) == []


def test_an_erasure_that_lists_nothing_looks_at_the_due_index(storage):
    store, names = seeded(storage)
    hide(storage, names)
    with pytest.raises(StorageError, match="lists no media, and its due index has entries"):
        store.erase(session_id="ada")
    assert store.erase(session_id="ada", force=True).is_complete


@BRAKES
def test_a_repair_stops_where_most_is_not_listed(storage, monkeypatch, brakes):
    store, names = seeded(storage)
    store.catalog()
    hide(storage, names[:4])
    before = storage.keys()
    stopped(store.verify, "lists 2 media and the newest catalog has 6", monkeypatch, brakes=brakes, **AT_ONCE)
    gone = {key for key in before - storage.keys() if "/due/" in key}
    assert len(gone) == (0 if brakes else 4)
    if brakes:
        assert store.verify(force=True, **AT_ONCE).mended == 5


@BRAKES
@pytest.mark.parametrize("what", ["sync", "erase", "check_receipt", "verify", "repair"])
def test_a_store_whose_settings_are_gone_after_the_listing(storage, tmp_path, monkeypatch, what, brakes):
    """An unmounted disk, another bucket: what was listed was another place."""
    store, names = seeded(storage)
    store.sync_to(tmp_path / "mirror")
    receipt = store.erase(run_id="r0")
    left = names[1::2]
    storage.remove(SETTINGS)
    if what == "verify":
        # The other thing that would tell, that media lie where no settings are, is another finding.
        hide(storage, left)
    acts = {
        "sync": lambda: store.sync_to(tmp_path / "mirror", delete=True),
        "erase": lambda: store.erase(session_id="ada"),
        "check_receipt": lambda: store.check_receipt(receipt),
        "verify": store.verify,
        "repair": lambda: store.verify(**AT_ONCE),
    }
    before = storage.keys()
    if not brakes and what in ("verify", "repair"):
        # Taken out, the listing itself still tells: it does not show the settings either.
        no_brakes(monkeypatch)
        with pytest.raises(StorageError, match=r"but not store\.json"):
            acts[what]()
        return
    stopped(acts[what], "not now, so nothing was deleted or proved", monkeypatch, brakes=brakes)
    if brakes:
        assert storage.keys() == before
        assert len(list(MediaStore(tmp_path / "mirror").list())) == MEDIA
