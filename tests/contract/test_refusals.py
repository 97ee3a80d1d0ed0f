"""What is refused leaves nothing: no byte, no folder, no temporary file, in a new root as in one in use."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from fsmedia import (
    InvalidLayoutError,
    InvalidMediaError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    MediaTooLargeError,
    ReadOnlyStoreError,
    StorageError,
    StoreConflictError,
    UnknownPolicyError,
)
from tests.conftest import make_storage
from tests.contract.specimens import LIMIT, PNG, R1, STORE_JSON, of_size, png
from tests.storages import LOCAL, MEMORY, S3_MOTO

MP4 = "video/mp4"


class Interrupted(BaseException):
    """What a user's Ctrl-C is like."""


class Faulty:
    """A stream that gives some bytes and then fails, or gives what is no bytes."""

    def __init__(self, then: object) -> None:
        self._answers = iter([PNG, then])

    def read(self, size: int = -1) -> object:
        """Give the next answer."""
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture(params=[LOCAL, MEMORY, S3_MOTO])
def storage(request, tmp_path):
    """Give a place on disk, in memory, in a bucket: the three ways in which bytes wait to be stored."""
    return make_storage(request.param, request, tmp_path)


@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
def test_what_is_too_large_is_refused(limited, unchanged, tmp_path, kind):
    data = of_size(LIMIT + 1)
    path = tmp_path / "large.mp4"
    path.write_bytes(data)
    source = {"bytes": data, "file": None, "stream": io.BytesIO(data)}[kind]
    content = MediaContent(data=source, file_path=str(path) if kind == "file" else None, mime_type=MP4)
    with unchanged(), pytest.raises(MediaTooLargeError, match=f"max_file_size of {LIMIT} bytes; "):
        limited.store_media(content, R1)


def test_a_file_too_large_is_refused_by_its_size_and_an_endless_one_on_the_way(limited, unchanged, tmp_path):
    sparse = tmp_path / "sparse.mp4"
    sparse.touch()
    os.truncate(sparse, 1 << 42)  # reading it would take an hour
    for path in (sparse, "/dev/zero"):
        with unchanged(), pytest.raises(MediaTooLargeError):
            limited.store_media(MediaContent(file_path=path, mime_type=MP4), R1)


def test_equal_to_the_limit_is_taken(storage, open_store):
    store = open_store(max_file_size=LIMIT)
    data = of_size(LIMIT)
    assert storage.read(store.store_media(MediaContent(data=data, mime_type=MP4), R1)) == data
    assert storage.read(store.store_media(MediaContent.from_stream(io.BytesIO(data), MP4), R1)) == data


BREAKS = [
    (OSError(5, "gone"), InvalidMediaError),
    (ValueError("I/O operation on closed file"), InvalidMediaError),
    ("text", InvalidMediaError),
    (None, InvalidMediaError),  # a stream that does not block
    (RuntimeError("the caller's own"), InvalidMediaError),
    (Interrupted(), Interrupted),
]


def test_a_stream_that_breaks_in_the_middle_leaves_nothing(limited, unchanged):
    for then, error in BREAKS:
        content = MediaContent(data=Faulty(then), mime_type="image/png")
        with unchanged(), pytest.raises(error):
            limited.store_media(content, R1)


def test_files_that_are_none_are_refused(limited, unchanged, tmp_path):
    (tmp_path / "file").write_bytes(PNG)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    refused = {
        str(tmp_path / "missing.png"): MediaNotFoundError,
        str(tmp_path / "link"): MediaNotFoundError,
        str(tmp_path / "file" / "below"): MediaNotFoundError,
        str(tmp_path): InvalidMediaError,
        "nul\0": StorageError,
    }
    for path, error in refused.items():
        content = MediaContent(file_path=path, mime_type="image/png")
        with unchanged(), pytest.raises(error) as caught:
            limited.store_media(content, R1)
        assert caught.value.key == path


METADATA = {
    "no id": ({}, InvalidMediaError, "run_id is required"),
    "an empty id": ({"run_id": "", "session_id": "s1"}, InvalidMediaError, "run_id is required"),
    "unknown policy": ({"run_id": "r1", "policy_name": "for-ever"}, UnknownPolicyError, "for-ever"),
    "zero": ({"run_id": "r1", "policy_name": "retain-0days"}, UnknownPolicyError, "retain-0days"),
    "negative": ({"run_id": "r1", "policy_name": "delete-after--5min"}, UnknownPolicyError, "delete-after--5min"),
    "leading zero": ({"run_id": "r1", "policy_name": "retain-05days"}, UnknownPolicyError, "retain-05days"),
    "sign": ({"run_id": "r1", "policy_name": "retain-+5days"}, UnknownPolicyError, r"retain-\+5days"),
    "blank": ({"run_id": "r1", "policy_name": "retain-5days "}, UnknownPolicyError, "retain-5days"),
    "case": ({"run_id": "r1", "policy_name": "Retain-5days"}, UnknownPolicyError, "Retain-5days"),
    "unit": ({"run_id": "r1", "policy_name": "retain-5weeks"}, UnknownPolicyError, "retain-5weeks"),
    "other digits": ({"run_id": "r1", "policy_name": "retain-\u0665days"}, UnknownPolicyError, "retain"),
    "overflow": ({"run_id": "r1", "policy_name": f"retain-{10**30}days"}, UnknownPolicyError, "longer"),
    "past year 9999": ({"run_id": "r1", "policy_name": "retain-3000000days"}, UnknownPolicyError, "9999"),
}


def test_metadata_that_do_not_fit_are_refused(limited, unchanged):
    with unchanged():
        for fields, error, text in METADATA.values():
            metadata = MediaMetadata(**fields)
            with pytest.raises(error, match=text):
                limited.store_media(png(), metadata)
            with pytest.raises(error, match=text):
                limited.store_media(MediaContent(data=io.BytesIO(PNG), mime_type="image/png"), metadata)
            with pytest.raises(error, match=text):
                limited.create_media(metadata, "image/png")


def test_a_bad_policy_of_the_content_or_of_the_store_is_refused(storage, open_store, unchanged):
    store = open_store()
    with unchanged(), pytest.raises(UnknownPolicyError, match="for-ever"):
        store.store_media(png(policy_name="for-ever"), R1)
    with unchanged(), pytest.raises(UnknownPolicyError, match="retain-0days"):
        open_store(default_policy="retain-0days")
    with unchanged(), pytest.raises(UnknownPolicyError, match="audit"):
        open_store(default_policy="audit").store_media(png(), R1)
    with unchanged(), pytest.raises(UnknownPolicyError, match="audit"):
        open_store(default_policy="audit").create()
    with unchanged(), pytest.raises(UnknownPolicyError, match="audit"):
        open_store(default_policy="audit", policies=[])


def test_a_bad_default_policy_is_not_hidden_by_a_medias_own(open_store, unchanged):
    """Otherwise the store would be made, and every later media without a policy refused."""
    with unchanged(), pytest.raises(UnknownPolicyError, match="audit"):
        open_store(default_policy="audit")


def test_arguments_that_are_missing_or_of_another_kind(limited, unchanged):
    calls = [
        lambda: limited.store_media(None, R1),
        lambda: limited.store_media(png(), None),
        lambda: limited.store_media(R1, png()),
        lambda: limited.store_media(PNG, R1),
        lambda: limited.store_media(png(), {"run_id": "r1"}),
        lambda: limited.create_media(None, MP4),
        lambda: limited.create_media(R1, None),
        lambda: limited.create_media(R1, ""),
        lambda: limited.create_media(R1, "no mime type"),
        lambda: limited.create_media(R1, "image/png\r\nX-Evil: 1"),
    ]
    with unchanged():
        for call in calls:
            with pytest.raises(InvalidMediaError):
                call()


def test_contents_that_cannot_be_are_refused_when_they_are_made(tmp_path):
    (tmp_path / "text.txt").write_text("text")
    with (tmp_path / "text.txt").open() as text:
        refused = [
            {"data": text},
            {"data": io.StringIO("text")},
            {"data": "no base64!"},
            {"data": "QQ"},
            {"data": 5},
            {},
            {"file_path": ""},
            {"data": PNG, "url": "https://example.org/x.png"},
            {"data": PNG, "mime_type": ""},
            {"data": PNG, "mime_type": "image/*"},
            {"data": PNG, "width": -1},
            {"data": PNG, "nothing_known": 1},
        ]
        for fields in refused:
            with pytest.raises(InvalidMediaError):
                MediaContent(**{"mime_type": "image/png", **fields})
    with pytest.raises(InvalidMediaError, match="mime_type"):
        MediaContent(data=PNG)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_file_size": 0},
        {"max_file_size": -1},
        {"max_file_size": "1"},
        {"durability": "never"},
        {"timeout": 60},
        {"organization": "by-user"},
        {"policies": {"retain-5days": "x"}},
        {"default_policy": 5},
        {"layouts": {"by-user": "x/{run_id}/{name}{ext}"}},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_before_anything_is_asked(memory_storage, settings):
    with pytest.raises(MediaError) as caught:
        MediaStore(memory_storage.url, **settings)
    assert isinstance(caught.value, ValueError)
    assert memory_storage.keys() == set()


def test_a_read_only_store_reads_and_refuses_every_write(storage, open_store, unchanged):
    reference = open_store().store_media(png(), R1)
    store = open_store(read_only=True)
    with unchanged():
        for write in (
            store.create,
            lambda: store.store_media(png(), R1),
            lambda: store.create_media(R1, MP4),
            lambda: store.delete_media(reference),
            lambda: store.delete_media("runs/r1/nothing.png"),
        ):
            with pytest.raises(ReadOnlyStoreError, match="read-only; open it without") as caught:
                write()
            assert isinstance(caught.value, PermissionError)
        assert store.retrieve_media(reference).read_bytes() == PNG
        assert list(store.list()) == [reference]


def test_a_refusal_in_a_deep_new_root_takes_all_new_folders_back(tmp_path):
    store = MediaStore(tmp_path / "new" / "deep" / "root", max_file_size=3)
    with pytest.raises(MediaTooLargeError):
        store.store_media(MediaContent.from_stream(io.BytesIO(PNG), MP4), R1)
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_leaves_an_empty_root_that_was_there(local_storage):
    root = Path(local_storage.url)
    root.mkdir(mode=0o755)
    store = MediaStore(root, max_file_size=3)
    with pytest.raises(MediaTooLargeError):
        store.store_media(MediaContent.from_stream(io.BytesIO(PNG), MP4), R1)
    assert list(root.iterdir()) == []


def test_a_name_that_somebody_else_took_for_a_file_is_refused_readably(local_storage):
    root = Path(local_storage.url)
    (root / "runs").mkdir(parents=True)
    (root / "runs" / "r1").write_text("a file where a folder must be")
    store = MediaStore(root)
    with pytest.raises(StorageError) as caught:
        store.store_media(png(), R1)
    assert caught.value.reference.startswith("runs/r1/")
    assert (root / "runs" / "r1").read_text() == "a file where a folder must be"
    assert local_storage.keys() <= {"runs/r1", STORE_JSON}


def test_conflicting_settings_refuse_before_the_first_byte(storage, open_store, unchanged):
    late = open_store(organization="by-session")
    open_store().create()
    with unchanged(), pytest.raises(StoreConflictError):
        late.store_media(png(), MediaMetadata(run_id="r1", session_id="s1"))
    assert storage.keys() == {STORE_JSON}


def test_ids_too_long_for_a_key_are_refused(memory_storage):
    template = "{provider_id}/{session_id}/{conversation_id}/{mime_type}/{run_id}/{name}{ext}"
    store = MediaStore(memory_storage.url, layouts={"by-run": template})
    long = dict.fromkeys(("provider_id", "session_id", "conversation_id", "run_id"), "x" * 250)
    with pytest.raises(InvalidLayoutError, match="1024") as caught:
        store.store_media(png(), MediaMetadata(**long))
    assert caught.value.reference
    assert memory_storage.keys() == set()
