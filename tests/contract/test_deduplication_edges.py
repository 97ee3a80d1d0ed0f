"""Deduplication where it is hard: URLs, limits, refusals, PromptKit's roots."""

from __future__ import annotations

import io
import json
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import google.auth.crypt
import google.oauth2.service_account
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from fsmedia import (
    InvalidLayoutError,
    InvalidMediaError,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    MediaTooLargeError,
    ReadOnlyStoreError,
    StoreConflictError,
    UnknownPolicyError,
)
from tests.contract.specimens import PNG, STORE_JSON, traces
from tests.deduplicated import data_keys, settled, told
from tests.golden.conftest import BY_RUN, BY_SESSION, adopt
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.storages import GcsStorage, Storage


@pytest.fixture
def store(open_store: Callable[..., MediaStore]) -> MediaStore:
    """Give a store that deduplicates."""
    return open_store(deduplicate=True)


def image(mime_type: str = "image/png") -> MediaContent:
    return MediaContent(data=PNG, mime_type=mime_type)


def run(name: str, **fields: object) -> MediaMetadata:
    return MediaMetadata(run_id=name, **fields)


# -- URLs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("some_storage", [S3_MOTO, S3_RCLONE], indirect=True)
def test_a_signed_url_answers_with_the_references_own_type_and_name(some_storage: Storage) -> None:
    store = MediaStore(some_storage.url, storage_options=some_storage.options, deduplicate=True)
    references = {
        kind: store.store_media(image(kind), run("r1")) for kind in ("image/png", "application/x-odd", "image/webp")
    }
    assert len(data_keys(some_storage)) == 1
    for kind, reference in references.items():
        with urllib.request.urlopen(store.get_url(reference)) as answer:
            assert answer.read() == PNG
            assert answer.headers["Content-Type"] == kind
            name = answer.headers["Content-Disposition"].rpartition("''")[2]
        begin, _, ext = reference.rpartition("/")[2].partition(".")
        assert name == f"{begin}.{ext.rpartition('.')[2]}", "digest and generation are not for people"
    with urllib.request.urlopen(store.fs.sign(references["image/webp"], 60)) as answer:
        assert answer.headers["Content-Type"] == "image/webp"
    store.delete_media(references["image/png"])
    with pytest.raises(MediaNotFoundError):
        store.get_url(references["image/png"])
    with pytest.raises(InvalidMediaError, match="7 days"):
        store.get_url(references["image/webp"], timedelta(days=8))


def test_a_signed_url_of_gcs(gcs_storage: GcsStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the signer: the emulator checks no signature, and `test_urls` that one is right."""
    store = MediaStore(gcs_storage.url, storage_options=gcs_storage.options, deduplicate=True)
    store.store_media(image(), run("r1"))
    reference = store.store_media(image("image/webp"), run("r2"))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signer = google.oauth2.service_account.Credentials(
        google.auth.crypt.RSASigner(key), service_account_email="signer@fsmedia-tests.example", token_uri="http://t"
    )
    monkeypatch.setattr(store._backend.fs.credentials, "credentials", signer)
    with monkeypatch.context() as patched:
        patched.setattr(store._backend.fs.credentials, "apply", lambda _: None)
        parts = urlsplit(store.get_url(reference))
    assert parts.path.endswith(told(reference).data)
    words = parse_qs(parts.query)
    assert words["response-content-type"] == ["image/webp"]
    begin = reference.rpartition("/")[2].partition(".")[0]
    assert words["response-content-disposition"] == [f"inline; filename*=UTF-8''{begin}.webp"]


def test_a_url_on_disk_is_the_shared_file(local_storage) -> None:
    store = MediaStore(local_storage.url, deduplicate=True)
    reference = store.store_media(image(), run("r1"))
    with urllib.request.urlopen(store.get_url(reference)) as answer:
        assert answer.read() == PNG
    store.delete_media(reference)
    with pytest.raises(MediaNotFoundError):
        store.get_url(reference)


# -- what is refused leaves nothing --------------------------------------------------------------------------


def test_refusals_leave_nothing(storage, store, open_store, spool) -> None:
    tight = open_store(deduplicate=True, max_file_size=2000)
    large = bytes(5000)

    def gives_up() -> None:
        with store.create_media(run("r1"), "image/png") as writer:
            writer.write(PNG)
            raise ZeroDivisionError

    before = traces(storage)
    for kind, refused in (
        (MediaTooLargeError, lambda: tight.store_media(MediaContent(data=large, mime_type="image/png"), run("r1"))),
        (
            MediaTooLargeError,
            lambda: tight.store_media(MediaContent.from_stream(io.BytesIO(large), "image/png"), run("r1")),
        ),
        (UnknownPolicyError, lambda: store.store_media(image(), run("r1", policy_name="retain-0days"))),
        (InvalidMediaError, lambda: store.store_media(image(), MediaMetadata())),
        (ZeroDivisionError, gives_up),
    ):
        with pytest.raises(kind):
            refused()
        assert traces(storage) == before
        assert list(spool.iterdir()) == []
    store.create()
    before = traces(storage)
    with pytest.raises(ReadOnlyStoreError):
        open_store(deduplicate=True, read_only=True).store_media(image(), run("r1"))
    assert traces(storage) == before
    assert list(spool.iterdir()) == []


@pytest.mark.parametrize("some_storage", [LOCAL, MEMORY, S3_MOTO], indirect=True)
def test_what_is_too_long_is_refused_before_anything_is_written(some_storage: Storage) -> None:
    """A deduplicated name is 120 bytes longer than a plain one: it must fit before the digest is known."""
    layout = {"by-run": "runs/{run_id}/{conversation_id}/{session_id}/{provider_id}/{name}{ext}"}

    def opened(deduplicate: bool) -> MediaStore:
        options = some_storage.options
        return MediaStore(some_storage.url, storage_options=options, layouts=layout, deduplicate=deduplicate)

    def metadata(length: int) -> MediaMetadata:
        own = dict.fromkeys(("run_id", "conversation_id", "session_id"), "x" * 240)
        return MediaMetadata(**own, provider_id="p" * length)

    def fits(store: MediaStore, length: int) -> bool:
        before = traces(some_storage)
        try:
            reference = store.store_media(image(), metadata(length))
        except InvalidLayoutError:
            assert traces(some_storage) == before
            return False
        assert store.retrieve_media(reference).read_bytes() == PNG
        assert max(map(len, some_storage.keys())) <= 1024
        store.hold(reference, "can be held")
        store.release(reference)
        store.apply_policy(reference, "retain-1hours")
        store.delete_media(reference)
        return True

    store = opened(deduplicate=True)
    least, most = 1, 239
    assert fits(store, least)
    assert not fits(store, most)
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(store, middle) else (least, middle)


def test_a_read_only_store_reads_and_changes_nothing(storage, store, open_store) -> None:
    reference = store.store_media(image(), run("r1"))
    before = traces(storage)
    reader = open_store(read_only=True)
    assert reader.retrieve_media(reference).read_bytes() == PNG
    assert list(reader.list(run_id="r1")) == [reference]
    assert reader.fs.cat(reference) == PNG
    assert reader.verify(repair="leftovers", dry_run=True).findings == ()
    for refused in (
        lambda: reader.delete_media(reference),
        lambda: reader.store_media(image(), run("r1")),
        lambda: reader.apply_policy(reference, "retain-1hours"),
        lambda: reader.fs.cp(reference, reference.replace("r1/", "r2/")),
        lambda: reader.verify(repair="leftovers"),
        lambda: reader.verify(repair=True),
        reader.enforce_policy,
    ):
        with pytest.raises(ReadOnlyStoreError):
            refused()
    assert traces(storage) == before


@pytest.mark.parametrize("durability", ["fsync", "rename"])
def test_durability(local_storage, durability) -> None:
    store = MediaStore(local_storage.url, deduplicate=True, durability=durability)
    references = [store.store_media(image(), run("r1")) for _ in range(3)]
    with store.create_media(run("r1"), "image/png") as writer:
        writer.write(PNG)
    assert settled(local_storage, [*references, writer.reference])
    store.delete_many([*references, writer.reference])
    assert traces(local_storage).keys() - {"media/", "media/.fsmedia/"} == {STORE_JSON}


def test_another_deduplicate_is_a_conflict(storage, store, open_store) -> None:
    store.create()
    with pytest.raises(StoreConflictError):
        open_store(deduplicate=False).create()
    plain = open_store()
    assert settled(storage, [plain.store_media(image(), run("r1"))])


# -- PromptKit's roots -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [BY_RUN, BY_SESSION])
def test_a_root_of_promptkit_that_deduplicates_from_now_on(name, request, tmp_path) -> None:
    """Its own media stay as they are; new ones share, also with each other's copies of its bytes."""
    adopted = adopt(name, LOCAL, request, tmp_path)
    before = traces(adopted.storage)
    store = adopted.open(deduplicate=True)
    old = list(store.list())
    contents = {reference: store.retrieve_media(reference).read_bytes() for reference in old}
    source = old[0]
    metadata = MediaMetadata(**{adopted.id_field: "ours"})
    first, second = (store.store_media(store.retrieve_media(source), metadata) for _ in range(2))
    assert told(first).data == told(second).data
    assert json.loads(adopted.storage.read(STORE_JSON))["deduplicate"] is True
    assert traces(adopted.storage).items() >= before.items()
    assert sorted(store.list()) == sorted([*old, first, second])
    assert sorted(store.list(**{adopted.id_field: "ours"})) == sorted([first, second])
    report = store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True)
    assert (report.mended, report.failed) == (0, ())
    store.delete_many([first, second])
    adopted.storage.remove(STORE_JSON)
    left = {key: data for key, data in traces(adopted.storage).items() if not key.startswith("media/.fsmedia")}
    assert left == before
    for reference, data in contents.items():
        assert store.retrieve_media(reference).read_bytes() == data
