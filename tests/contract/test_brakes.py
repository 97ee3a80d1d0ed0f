"""Nothing is deleted in masses, and nothing proved, by a listing that shows so little that it may be wrong."""

import pytest

from fsmedia import MediaContent, MediaStore, StorageError
from fsmedia.core.settings_file import SettingsFile
from fsmedia.maintenance import survey
from tests.conftest import storages
from tests.contract.specimens import AT_ONCE, STORE_JSON, put, raised, with_sidecars
from tests.storages import LOCAL, MEMORY, S3_MOTO
from tests.transfers import opened

MEDIA = 6
storage = storages(MEMORY, LOCAL, of=(MEMORY, LOCAL, S3_MOTO))


@pytest.fixture
def store(storage):
    return opened(storage)


@pytest.fixture
def names(store):
    fields = {"session_id": "ada", "policy_name": "retain-30days"}
    return [put(store, f"r{number % 2}", MediaContent.from_text(f"text {number}"), **fields) for number in range(MEDIA)]


@pytest.fixture
def mirror(store, names, tmp_path):
    store.sync_to(tmp_path / "mirror")
    return MediaStore(tmp_path / "mirror")


def hide(storage, names):
    """Let objects be gone for a listing and for every look: a bucket restored in part, a mount that is empty."""
    for key in with_sidecars(*names):
        storage.remove(key)


def no_brakes(monkeypatch):
    """Believe any listing; what the tests below refuse goes through then."""
    monkeypatch.setattr(survey, "row_count", lambda _: None)
    monkeypatch.setattr(SettingsFile, "look_again", lambda _: None)


BRAKES = pytest.mark.parametrize("brakes", [True, False], ids=["brakes", "mutant"])


def stopped(act, match, monkeypatch, *, brakes):
    """Do something that must be refused, or, without brakes, must go through."""
    if brakes:
        raised(StorageError, act, match=match)
    else:
        no_brakes(monkeypatch)
        act()


@BRAKES
@pytest.mark.parametrize("what", ["a mirror", "an erasure", "a repair"])
def test_nothing_goes_where_most_is_not_listed(storage, store, names, mirror, monkeypatch, what, brakes):
    """A mirror keeps what the source seems to lack, an erasure does not say complete, a repair stops."""

    def synced(**options):
        return len(store.sync_to(mirror.url, delete=True, **options).deleted)

    def erased(**options):
        return len(store.erase(session_id="ada", **options).erased)

    def mended(**options):
        return store.verify(**AT_ONCE, repair=True, **options).mended

    store.catalog()
    hide(storage, names[:4])
    # What is done, what there is to lose, how much of it stays, and how much goes by force.
    act, there, left, number = {
        "a mirror": (synced, lambda: list(mirror.list()), 2, 4),
        "an erasure": (erased, lambda: list(store.list()), 0, 2),
        "a repair": (mended, lambda: [key for key in storage.keys() if "/due/" in key], 2, 5),  # noqa: SIM118 - no dict
    }[what]
    before = there()
    stopped(act, r"lists 2 media and the newest catalog has 6(.|\n)*force", monkeypatch, brakes=brakes)
    assert len(there()) == (len(before) if brakes else left)
    if brakes:
        assert len(before) == (2 if what == "an erasure" else MEDIA)
        if what == "a mirror":
            raised(StorageError, synced, match="newest catalog has 6", dry_run=True)
        assert act(force=True) == number
        assert len(there()) == left


@pytest.mark.parametrize("hidden", [3, 4], ids=["half of the rows are enough", "the catalog was brought up to date"])
def test_a_mirror_is_brought_up_to_date(storage, store, names, mirror, hidden):
    store.catalog()
    hide(storage, names[:hidden])
    if hidden == 4:
        store.catalog()
    assert len(store.sync_to(mirror.url, delete=True).deleted) == hidden


@pytest.mark.parametrize("words", [{}, {"run_id": "r1"}], ids=["all", "a run"])
def test_a_mirror_is_not_emptied_by_a_source_that_lists_nothing(storage, store, names, mirror, words):
    hide(storage, names)
    match = r"lists no media, and the target has \d(.|\n)*force"
    raised(StorageError, store.sync_to, mirror.url, match=match, delete=True, **words)
    assert len(list(mirror.list())) == MEDIA
    store.sync_to(mirror.url, delete=True, force=True, **words)
    assert len(list(mirror.list())) == (3 if words else 0)


def test_an_erasure_that_lists_nothing_looks_at_the_due_index(storage, store, names):
    hide(storage, names)
    raised(StorageError, store.erase, match="lists no media, and its due index has entries", session_id="ada")
    assert store.erase(session_id="ada", force=True).is_complete


@BRAKES
@pytest.mark.parametrize("what", ["sync", "erase", "check_receipt", "verify", "repair"])
def test_a_store_whose_settings_are_gone_after_the_listing(storage, store, names, mirror, monkeypatch, what, brakes):
    """An unmounted disk, another bucket: what was listed was another place."""
    receipt = store.erase(run_id="r0")
    storage.remove(STORE_JSON)
    if what == "verify":
        # The other thing that would tell, that media lie where no settings are, is another finding.
        hide(storage, names[1::2])
    act = {
        "sync": lambda: store.sync_to(mirror.url, delete=True),
        "erase": lambda: store.erase(session_id="ada"),
        "check_receipt": lambda: store.check_receipt(receipt),
        "verify": store.verify,
        "repair": lambda: store.verify(**AT_ONCE, repair=True),
    }[what]
    before = storage.keys()
    if not brakes and what in ("verify", "repair"):
        # Taken out, the listing itself still tells: it does not show the settings either.
        no_brakes(monkeypatch)
        raised(StorageError, act, match=r"but not store\.json")
        return
    stopped(act, "not now, so nothing was deleted or proved", monkeypatch, brakes=brakes)
    if brakes:
        assert storage.keys() == before
        assert len(list(mirror.list())) == MEDIA
