"""Many media in one call: an answer for every one, in order, and as few requests as the storage allows."""

from __future__ import annotations

import io
import json
import math

import pytest

from fsmedia import (
    BulkError,
    CorruptSidecarError,
    InvalidMediaError,
    InvalidReferenceError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    MediaTooLargeError,
    ReadOnlyStoreError,
    StorageError,
    UnknownPolicyError,
)
from tests.conftest import make_storage, mostly, on, storages
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE

storage = storages(LOCAL, MEMORY, S3_RCLONE)
RUN = MediaMetadata(run_id="r1")
SETTINGS = ".fsmedia/store.json"


def opened(storage, **options):
    return MediaStore(storage.url, storage_options=storage.options, **options).create()


def small(number):
    return f"media {number}".encode()


def pairs(count):
    for number in range(count):
        yield MediaContent.from_bytes(small(number), "text/plain"), RUN.model_copy(update={"message_idx": number})


def with_sidecars(references):
    return {*references, *(f"{reference}.meta" for reference in references)}


@pytest.fixture(params=mostly(S3_RCLONE, of=(S3_MOTO, S3_RCLONE)))
def s3(request, tmp_path):
    """Each S3 server."""
    return make_storage(request.param, request, tmp_path)


# -- store_many --------------------------------------------------------------------------------------------


def test_order_and_generators(storage):
    store = opened(storage)
    count = 140  # more than go together
    references = store.store_many(pairs(count))
    assert len(set(references)) == count
    assert storage.keys() == {SETTINGS, *with_sidecars(references)}
    for number in (0, 127, 128, count - 1):
        assert storage.read(references[number]) == small(number)
        assert json.loads(storage.read(f"{references[number]}.meta"))["message_idx"] == number
    contents = store.retrieve_many(reference for reference in reversed(references))
    assert [content.read_bytes() for content in contents[:3]] == [small(count - 1 - i) for i in range(3)]
    places = [content.storage_reference or content.file_path for content in contents]
    assert places == [(f"{storage.url}/" if storage.name == LOCAL else "") + each for each in reversed(references)]
    assert store.delete_many(reference for reference in references) == [None] * count
    assert storage.keys() == {SETTINGS}


def test_mixed_sizes_and_sources(storage, tmp_path):
    """Small ones gather, others go alone; each lands in its own place."""
    store = opened(storage)
    file = tmp_path / "file.mp4"
    file.write_bytes(b"f" * 3000)
    large = b"L" * (2**20 + 1)
    data = [b"a", large, b"b", b"f" * 3000, b"c", b"stream", b"d", b"", b"u" * 2**20, large, b"e"]
    contents = {
        3: MediaContent.from_path(file),
        5: MediaContent.from_stream(io.BytesIO(b"stream"), "video/mp4"),
        10: MediaContent(data="ZQ==", mime_type="video/mp4"),
    }
    asked = [contents.get(i) or MediaContent.from_bytes(each, "video/mp4") for i, each in enumerate(data)]
    references = store.store_many(zip(asked, [RUN] * len(asked), strict=True))
    assert [storage.read(reference) for reference in references] == data
    assert storage.keys() == {SETTINGS, *with_sidecars(references)}
    assert [content.read_bytes() for content in store.retrieve_many(references)] == data


def bad_pairs(file):
    """Return what can't be stored, by the place where it stands, with its error."""
    png = MediaContent.from_bytes(b"\x89PNG", "image/png")
    return {
        0: (None, InvalidMediaError),
        2: ((png,), InvalidMediaError),
        3: ((png, RUN, RUN), InvalidMediaError),
        5: ("ab", InvalidMediaError),
        6: ((RUN, png), InvalidMediaError),
        8: ((png, MediaMetadata()), InvalidMediaError),
        9: ((png, MediaMetadata(run_id="r1", policy_name="for a while")), UnknownPolicyError),
        11: ((MediaContent.from_bytes(b"x" * 2001, "image/png"), RUN), MediaTooLargeError),
        12: ((MediaContent.from_stream(io.BytesIO(b"x" * 2001), "image/png"), RUN), MediaTooLargeError),
        13: ((MediaContent(file_path=str(file), mime_type="image/png"), RUN), MediaNotFoundError),
        15: ((MediaContent(data=b"", mime_type="audio/pcm;rate=0"), RUN), InvalidMediaError),
        16: ((MediaContent(storage_reference="runs/no.png", mime_type="image/png"), RUN), MediaNotFoundError),
    }


def test_all_are_tried(storage, tmp_path):
    store = opened(storage, max_file_size=2000)
    bad = bad_pairs(tmp_path / "missing")
    good = list(pairs(20))
    asked = [bad[i][0] if i in bad else good[i] for i in range(20)]
    with pytest.raises(BulkError) as caught:
        store.store_many(asked)
    error = caught.value
    assert {index: type(each) for index, each in error.errors.items()} == {i: kind for i, (_, kind) in bad.items()}
    assert list(error.results) == [index for index in range(20) if index not in bad]
    assert all(storage.read(reference) == small(index) for index, reference in error.results.items())
    assert storage.keys() == {SETTINGS, *with_sidecars(list(error.results.values()))}
    assert f"{len(bad)} of 20" in str(error)
    assert all(each.next_step for each in error.errors.values())
    bad = bad_pairs(tmp_path / "missing")
    answers = store.store_many([bad[i][0] if i in bad else good[i] for i in range(20)], on_error="return")
    failed = {i: type(each) for i, each in enumerate(answers) if isinstance(each, MediaError)}
    assert failed == {i: kind for i, (_, kind) in bad.items()}
    assert all(storage.read(answers[index]) == small(index) for index in error.results)


def test_a_source_that_fails_is_one_error(memory_storage):
    """Decompressors raise EOFError and errors of their own; one of them must not cost the answers of the others."""

    class Broken(io.BytesIO):
        def __init__(self, error):
            super().__init__(b"x" * 100)
            self.error = error

        def read(self, size=-1):
            raise self.error

    store = opened(memory_storage)
    broken = [OSError("reset"), ValueError("closed"), EOFError("cut"), ArithmeticError("codec")]
    streams = [(MediaContent.from_stream(Broken(error), "video/mp4"), RUN) for error in broken]
    asked = [*pairs(1), *streams, *pairs(1)]
    with pytest.raises(BulkError) as caught:
        store.store_many(asked)
    assert sorted(caught.value.errors) == [1, 2, 3, 4]
    assert memory_storage.keys() == {SETTINGS, *with_sidecars(list(caught.value.results.values()))}


def test_nothing_and_what_is_asked_wrongly(memory_storage):
    store = opened(memory_storage)
    for nothing in ([], (), iter([]), {}):
        assert store.store_many(nothing) == store.retrieve_many(nothing) == store.delete_many(nothing) == []
    with pytest.raises(InvalidMediaError, match="on_error"):
        store.store_many(pairs(3), on_error="ignore")
    reader = MediaStore(memory_storage.url, read_only=True)
    for call in (lambda: reader.store_many(pairs(1)), lambda: reader.delete_many([])):
        with pytest.raises(ReadOnlyStoreError):
            call()
    # One text is not several references: each character would be one, nothing of what was meant goes unsaid.
    for text in ("abc", b"abc"):
        with pytest.raises(BulkError) as caught:
            store.delete_many(text)
        assert "not one text" in str(caught.value.errors[0])
    assert memory_storage.keys() == {SETTINGS}


def test_failed_puts_have_no_sidecar(s3, monkeypatch):
    """Only media whose bytes were confirmed get a sidecar, and a failed sidecar is an error of its media."""
    store = opened(s3)
    put = store._backend.fs._pipe_file

    async def failing(path, data, **options):
        if data in (small(3), small(7)) or b'"message_idx": 5,' in data:
            raise OSError(f"no answer for {s3.server.secret}")
        await put(path, data, **options)

    with monkeypatch.context() as patched:
        patched.setattr(store._backend.fs, "_pipe_file", failing)
        with pytest.raises(BulkError) as caught:
            store.store_many(pairs(10))
    errors, results = caught.value.errors, caught.value.results
    assert sorted(errors) == [3, 5, 7]
    assert all(type(error) is StorageError and error.reference for error in errors.values())
    assert s3.server.secret not in f"{caught.value!r} {errors!r}"
    assert s3.keys() == {SETTINGS, *with_sidecars(list(results.values())), errors[5].reference}
    assert list(store.list()) == sorted(results.values())


# -- retrieve_many, delete_many ----------------------------------------------------------------------------


def test_retrieve_answers_for_each(storage):
    store = opened(storage)
    good = store.store_many(pairs(3))
    storage.write("runs/r1/foreign.png", b"\x89PNG")
    storage.write(f"{good[1]}.meta", b"{ this is no JSON")
    wrong = {1: "runs/r1/no.png", 2: None, 4: "../x", 5: "runs/r1", 6: f"{good[0]}.meta", 7: good[1]}
    kinds = {1: MediaNotFoundError, 2: InvalidReferenceError, 4: InvalidReferenceError, 5: InvalidReferenceError}
    kinds |= {6: InvalidReferenceError, 7: CorruptSidecarError}
    right = {0: good[0], 3: "runs/r1/foreign.png", 8: good[2], 9: good[0]}
    asked = [wrong[i] if i in wrong else right[i] for i in range(10)]
    with pytest.raises(BulkError) as caught:
        store.retrieve_many(asked)
    assert {index: type(error) for index, error in caught.value.errors.items()} == kinds
    assert all(error.reference == wrong[i] for i, error in caught.value.errors.items() if i not in (2, 4))
    data = {0: small(0), 3: b"\x89PNG", 8: small(2), 9: small(0)}
    assert {index: content.read_bytes() for index, content in caught.value.results.items()} == data
    answers = store.retrieve_many(asked, on_error="return")
    assert [isinstance(answer, MediaContent) for answer in answers] == [i in right for i in range(10)]


def test_delete_answers_for_each(storage):
    store = opened(storage)
    good = store.store_many(pairs(4))
    storage.write("runs/r1/foreign.png", b"\x89PNG")
    asked = [good[0], "runs/r1/no.png", None, good[0], "runs/r1", "../x", SETTINGS, f"{good[3]}.meta"]
    asked += ["runs/r1/foreign.png", good[1], f"{storage.url}/{good[2]}"]
    with pytest.raises(BulkError) as caught:
        store.delete_many(asked)
    assert {i: type(error) for i, error in caught.value.errors.items()} == dict.fromkeys(
        (2, 4, 5, 6, 7), InvalidReferenceError
    )
    assert caught.value.results == dict.fromkeys((0, 1, 3, 8, 9, 10))
    assert storage.keys() == {SETTINGS, *with_sidecars([good[3]])}
    assert store.delete_many([*good, good[3]], on_error="return") == [None] * 5
    assert storage.keys() == {SETTINGS}


def test_one_that_can_not_be_looked_at_is_one_error(local_storage, tmp_path):
    store = opened(local_storage)
    good = store.store_many(pairs(2))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.png").write_bytes(b"not of this store")
    (tmp_path / "media" / "runs" / "out").symlink_to(tmp_path / "outside")
    asked = [good[0], "runs/out/x.png", good[1]]
    for call in (store.retrieve_many, store.delete_many):
        answers = call(asked, on_error="return")
        assert [type(answer) for answer in answers[1:2]] == [InvalidReferenceError]
        assert not isinstance(answers[0], MediaError)
        assert not isinstance(answers[2], MediaError)
    assert local_storage.keys() == {SETTINGS}
    assert (tmp_path / "outside" / "x.png").exists()


@pytest.mark.parametrize("silent", [False, True], ids=["errors", "no answer"])
@pytest.mark.parametrize("ending", [".meta", ".txt"])
def test_only_confirmed_removals_go_on(s3, monkeypatch, ending, silent):
    """A bulk delete that keeps two keys, and says so or does not mention them."""
    store = opened(s3)
    references = store.store_many(pairs(6))
    kept = {f"{s3.prefix}{references[i]}{ending.removeprefix('.txt')}" for i in (1, 4)}
    call = store._backend.fs._call_s3
    asked = []

    async def partly(method, *args, **options):
        if method != "delete_objects":
            return await call(method, *args, **options)
        keys = {item["Key"] for item in options["Delete"]["Objects"]}
        asked.append(keys)
        options["Delete"] = {**options["Delete"], "Objects": [{"Key": key} for key in keys - kept]}
        answer = await call(method, *args, **options)
        denied = [{"Key": key, "Code": "AccessDenied", "Message": "Access Denied"} for key in keys & kept]
        return {**answer, "Errors": [] if silent else denied}

    with monkeypatch.context() as patched:
        patched.setattr(store._backend.fs, "_call_s3", partly)
        with pytest.raises(BulkError) as caught:
            store.delete_many(references)
    assert {index: type(error) for index, error in caught.value.errors.items()} == {1: StorageError, 4: StorageError}
    assert all(("Access Denied" in str(error)) != silent for error in caught.value.errors.values())
    assert [error.reference for error in caught.value.errors.values()] == [references[1], references[4]]
    assert sorted(caught.value.results) == [0, 2, 3, 5]
    rest = [references[1], references[4]]
    assert s3.keys() == {SETTINGS, *(with_sidecars(rest) if ending == ".meta" else rest)}
    assert [len(keys) for keys in asked] == [6, 4 if ending == ".meta" else 6]
    assert store.delete_many(references) == [None] * 6
    assert s3.keys() == {SETTINGS}


# -- budgets -----------------------------------------------------------------------------------------------


def test_requests(s3):
    store = opened(s3)
    with s3.counted() as requests:
        references = store.store_many(pairs(100))
    assert requests == {"put": 200}
    with s3.counted() as requests:
        store.retrieve_many(references)
    assert requests == {"get": 100, "head": 100}
    with s3.counted() as requests:
        store.delete_many(references)
    assert requests == {"get": 100, "list": 1, "bulk_delete": 2}  # the holds are listed


def test_requests_to_delete_a_thousand(rclone_storage, full_run):
    count = 1000 if full_run else 130
    # Stored as files where rclone will look: only the deletes are to be counted.
    references = MediaStore(rclone_storage.server.data_folder / rclone_storage.bucket).store_many(pairs(count))
    store = opened(rclone_storage)
    with rclone_storage.counted() as requests:
        store.delete_many(references)
    assert requests == {"get": count, "list": 1, "bulk_delete": 2 * math.ceil(count / 1000)}
    assert rclone_storage.keys() == {SETTINGS}


@on(S3_MOTO, S3_RCLONE, of=(S3_MOTO, S3_RCLONE))
def test_requests_of_what_is_missing(storage):
    """A name without a sidecar may be a folder: one look each; it may be in PromptKit's index; holds; old names."""
    store = opened(storage)
    _ = store._backend.exclusion  # each process asks each server once
    with storage.counted() as requests:
        store.delete_many([f"runs/r1/{number}.png" for number in range(10)])
    assert requests["get"] == 10 + 1
    assert requests["list"] <= 10 + 2
    # Where nothing keeps two writers apart, whoever deletes a name that a client chose looks afterwards.
    assert set(requests) <= {"get", "list", "bulk_delete"} | ({"head"} if storage.name == S3_RCLONE else set())
    assert requests["head"] <= 10
    assert requests["bulk_delete"] <= 2
