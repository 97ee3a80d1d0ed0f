"""Many media in one call: an answer for every one, in order, and as few requests as the storage allows."""

import io
import json

import pytest

from fsmedia import MediaContent, MediaMetadata, errors
from fsmedia.core import bulk
from tests.conftest import on, storages
from tests.contract.specimens import R1, STORE_JSON, png, raised, with_sidecars
from tests.protocol.wire import costs, counted
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE, WEBDAV
from tests.transfers import opened

storage = storages(LOCAL, MEMORY, S3_RCLONE)
S3 = on(S3_RCLONE, of=(S3_MOTO, S3_RCLONE))


def small(number):
    return f"media {number}".encode()


def pairs(count):
    for number in range(count):
        yield MediaContent.from_bytes(small(number), "text/plain"), R1.model_copy(update={"message_idx": number})


def kinds(found):
    return {index: type(error) for index, error in found.items() if isinstance(error, errors.MediaError)}


def test_order_and_generators(storage, monkeypatch):
    if storage.name == WEBDAV:  # half a second each
        monkeypatch.setattr(bulk, "_GATHERED", 16)
    store = opened(storage).create()
    count = bulk._GATHERED + 12  # more than go together
    references = store.store_many(pairs(count))
    assert len(set(references)) == count
    assert storage.keys() == {STORE_JSON, *with_sidecars(*references)}
    for number in (0, bulk._GATHERED - 1, bulk._GATHERED, count - 1):
        assert storage.read(references[number]) == small(number)
        assert json.loads(storage.read(f"{references[number]}.meta"))["message_idx"] == number
    contents = store.retrieve_many(reversed(references))
    assert [content.read_bytes() for content in contents[:3]] == [small(count - 1 - i) for i in range(3)]
    places = [content.storage_reference or content.file_path for content in contents]
    assert places == [(f"{storage.url}/" if storage.name == LOCAL else "") + each for each in reversed(references)]
    assert store.delete_many(reference for reference in references) == [None] * count
    assert storage.keys() == {STORE_JSON}


def test_mixed_sizes_and_sources(storage, tmp_path):
    """Small ones gather, others go alone; each lands in its own place."""
    store = opened(storage)
    file = tmp_path / "file.mp4"
    file.write_bytes(b"f" * 3000)
    large = b"L" * (2**20 + 1)
    data = [b"a", large, b"b", b"f" * 3000, b"c", b"stream", b"d", b"", b"u" * 2**20, large, b"e"]
    asked = [MediaContent.from_bytes(each, "video/mp4") for each in data]
    asked[3] = MediaContent.from_path(file)
    asked[5] = MediaContent.from_stream(io.BytesIO(b"stream"), "video/mp4")
    asked[10] = MediaContent(data="ZQ==", mime_type="video/mp4")
    references = store.store_many((each, R1) for each in asked)
    assert [storage.read(reference) for reference in references] == data
    assert storage.keys() == {STORE_JSON, *with_sidecars(*references)}
    assert [content.read_bytes() for content in store.retrieve_many(references)] == data


def bad_pairs(file):
    """Return what can't be stored, by the place where it stands, with its error."""
    pair = (png(), R1)
    return {
        0: (None, errors.InvalidMediaError),
        2: (pair[:1], errors.InvalidMediaError),
        3: ((*pair, R1), errors.InvalidMediaError),
        5: ("ab", errors.InvalidMediaError),
        6: (pair[::-1], errors.InvalidMediaError),
        8: ((png(), MediaMetadata()), errors.InvalidMediaError),
        9: ((png(), MediaMetadata(run_id="r1", policy_name="for a while")), errors.UnknownPolicyError),
        11: ((png(data=b"x" * 2001), R1), errors.MediaTooLargeError),
        12: ((MediaContent.from_stream(io.BytesIO(b"x" * 2001), "image/png"), R1), errors.MediaTooLargeError),
        13: ((MediaContent(file_path=str(file), mime_type="image/png"), R1), errors.MediaNotFoundError),
        15: ((MediaContent(data=b"", mime_type="audio/pcm;rate=0"), R1), errors.InvalidMediaError),
        16: ((MediaContent(storage_reference="runs/no.png", mime_type="image/png"), R1), errors.MediaNotFoundError),
    }


def test_all_are_tried(storage, tmp_path):
    store = opened(storage, max_file_size=2000)

    def asked():
        bad = {i: pair for i, (pair, _) in bad_pairs(tmp_path / "missing").items()}
        return [bad.get(i, good) for i, good in enumerate(pairs(20))]

    wrong = {i: kind for i, (_, kind) in bad_pairs(tmp_path / "missing").items()}
    error = raised(errors.BulkError, store.store_many, asked())
    assert kinds(error.errors) == wrong
    assert list(error.results) == [index for index in range(20) if index not in wrong]
    assert all(storage.read(reference) == small(index) for index, reference in error.results.items())
    assert storage.keys() == {STORE_JSON, *with_sidecars(*error.results.values())}
    assert f"{len(wrong)} of 20" in str(error)
    assert all(each.next_step for each in error.errors.values())
    answers = store.store_many(asked(), on_error="return")
    assert kinds(dict(enumerate(answers))) == wrong
    assert all(storage.read(answers[index]) == small(index) for index in error.results)


def test_a_source_that_fails_is_one_error(memory_storage):
    """Decompressors raise EOFError and errors of their own; one of them must not cost the answers of the others."""

    class Broken(io.BytesIO):
        def __init__(self, error):
            super().__init__(b"x" * 100)
            self.error = error

        def read(self, size=-1):
            raise self.error

    broken = [OSError("reset"), ValueError("closed"), EOFError("cut"), ArithmeticError("codec")]
    streams = [(MediaContent.from_stream(Broken(error), "video/mp4"), R1) for error in broken]
    caught = raised(errors.BulkError, opened(memory_storage).store_many, [*pairs(1), *streams, *pairs(1)])
    assert sorted(caught.errors) == [1, 2, 3, 4]
    assert memory_storage.keys() == {STORE_JSON, *with_sidecars(*caught.results.values())}


def test_nothing_and_what_is_asked_wrongly(memory_storage):
    store = opened(memory_storage).create()
    for nothing in ([], (), iter([]), {}):
        assert store.store_many(nothing) == store.retrieve_many(nothing) == store.delete_many(nothing) == []
    raised(errors.InvalidMediaError, store.store_many, pairs(3), match="on_error", on_error="ignore")
    reader = opened(memory_storage, read_only=True)
    raised(errors.ReadOnlyStoreError, reader.store_many, pairs(1))
    raised(errors.ReadOnlyStoreError, reader.delete_many, [])
    # One text is not several references: each character would be one, nothing of what was meant goes unsaid.
    for text in ("abc", b"abc"):
        assert "not one text" in str(raised(errors.BulkError, store.delete_many, text).errors[0])
    assert memory_storage.keys() == {STORE_JSON}


@S3
def test_failed_puts_have_no_sidecar(storage, monkeypatch):
    """Only media whose bytes were confirmed get a sidecar, and a failed sidecar is an error of its media."""
    store = opened(storage)
    put, secret = store._backend.fs._pipe_file, storage.server.secret

    async def failing(path, data, **options):
        if data in (small(3), small(7)) or b'"message_idx": 5,' in data:
            raise OSError(f"no answer for {secret}")
        await put(path, data, **options)

    with monkeypatch.context() as patched:
        patched.setattr(store._backend.fs, "_pipe_file", failing)
        caught = raised(errors.BulkError, store.store_many, pairs(10))
    failed, results = caught.errors, caught.results
    assert sorted(failed) == [3, 5, 7]
    assert all(type(error) is errors.StorageError and error.reference for error in failed.values())
    assert secret not in f"{caught!r} {failed!r}"
    assert storage.keys() == {STORE_JSON, *with_sidecars(*results.values()), failed[5].reference}
    assert list(store.list()) == sorted(results.values())


def test_retrieve_answers_for_each(storage):
    store = opened(storage)
    good = store.store_many(pairs(3))
    storage.write("runs/r1/foreign.png", b"\x89PNG")
    storage.write(f"{good[1]}.meta", b"{ this is no JSON")
    asked = [good[0], "runs/r1/no.png", None, "runs/r1/foreign.png", "../x", "runs/r1", f"{good[0]}.meta", good[1]]
    asked += [good[2], good[0]]
    caught = raised(errors.BulkError, store.retrieve_many, asked)
    wrong = {1: errors.MediaNotFoundError, **dict.fromkeys((2, 4, 5, 6), errors.InvalidReferenceError)}
    assert kinds(caught.errors) == {**wrong, 7: errors.CorruptSidecarError}
    assert all(error.reference == asked[i] for i, error in caught.errors.items() if i not in (2, 4))
    data = {0: small(0), 3: b"\x89PNG", 8: small(2), 9: small(0)}
    assert {index: content.read_bytes() for index, content in caught.results.items()} == data
    answers = store.retrieve_many(asked, on_error="return")
    assert [isinstance(answer, MediaContent) for answer in answers] == [i in data for i in range(10)]


def test_delete_answers_for_each(storage):
    store = opened(storage)
    good = store.store_many(pairs(4))
    storage.write("runs/r1/foreign.png", b"\x89PNG")
    asked = [good[0], "runs/r1/no.png", None, good[0], "runs/r1", "../x", STORE_JSON, f"{good[3]}.meta"]
    asked += ["runs/r1/foreign.png", good[1], f"{storage.url}/{good[2]}"]
    caught = raised(errors.BulkError, store.delete_many, asked)
    assert kinds(caught.errors) == dict.fromkeys((2, 4, 5, 6, 7), errors.InvalidReferenceError)
    assert caught.results == dict.fromkeys((0, 1, 3, 8, 9, 10))
    assert storage.keys() == {STORE_JSON, *with_sidecars(good[3])}
    assert store.delete_many([*good, good[3]], on_error="return") == [None] * 5
    assert storage.keys() == {STORE_JSON}


def test_one_that_can_not_be_looked_at_is_one_error(local_storage, tmp_path):
    store = opened(local_storage)
    good = store.store_many(pairs(2))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.png").write_bytes(b"not of this store")
    (tmp_path / "media" / "runs" / "out").symlink_to(tmp_path / "outside")
    for call in (store.retrieve_many, store.delete_many):
        answers = call([good[0], "runs/out/x.png", good[1]], on_error="return")
        assert kinds(dict(enumerate(answers))) == {1: errors.InvalidReferenceError}
    assert local_storage.keys() == {STORE_JSON}
    assert (tmp_path / "outside" / "x.png").exists()


@S3
@pytest.mark.parametrize("silent", [False, True], ids=["errors", "no answer"])
@pytest.mark.parametrize("ending", [".meta", ""], ids=[".meta", ".txt"])
def test_only_confirmed_removals_go_on(storage, monkeypatch, ending, silent):
    """A bulk delete that keeps two keys, and says so or does not mention them."""
    store = opened(storage)
    references = store.store_many(pairs(6))
    kept = {f"{storage.prefix}{references[i]}{ending}" for i in (1, 4)}
    call, asked = store._backend.fs._call_s3, []

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
        caught = raised(errors.BulkError, store.delete_many, references)
    assert kinds(caught.errors) == {1: errors.StorageError, 4: errors.StorageError}
    assert all(("Access Denied" in str(error)) != silent for error in caught.errors.values())
    rest = [error.reference for error in caught.errors.values()]
    assert rest == [references[1], references[4]]
    assert sorted(caught.results) == [0, 2, 3, 5]
    assert storage.keys() == {STORE_JSON, *(with_sidecars(*rest) if ending else rest)}
    assert [len(keys) for keys in asked] == [6, 4 if ending else 6]
    assert store.delete_many(references) == [None] * 6
    assert storage.keys() == {STORE_JSON}


@S3
def test_requests(storage, full_run):
    count = 1000 if full_run else 130
    store = opened(storage).create()
    references = costs(storage, lambda: store.store_many(pairs(count)), put=2 * count)
    costs(storage, lambda: store.retrieve_many(references), get=count, head=count)
    costs(storage, lambda: store.delete_many(references), get=count, list=1, bulk_delete=2)  # the holds are listed
    assert storage.keys() == {STORE_JSON}


@on(S3_MOTO, S3_RCLONE, of=(S3_MOTO, S3_RCLONE))
def test_requests_of_what_is_missing(storage):
    """A name without a sidecar may be a folder: one look each; it may be in PromptKit's index; holds; old names."""
    store = opened(storage).create()
    _ = store._backend.exclusion  # each process asks each server once
    _, requests = counted(storage, lambda: store.delete_many([f"runs/r1/{number}.png" for number in range(10)]))
    assert requests["get"] == 10 + 1
    assert requests["list"] <= 10 + 2
    # Where nothing keeps two writers apart, whoever deletes a name that a client chose looks afterwards.
    assert set(requests) <= {"get", "list", "bulk_delete"} | ({"head"} if storage.name == S3_RCLONE else set())
    assert requests["head"] <= 10
    assert requests["bulk_delete"] <= 2
