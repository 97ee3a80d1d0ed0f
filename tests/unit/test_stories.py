"""Bugs that were found by attack, each named after its story."""

import gzip
import io
import os
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.format import keys
from fsmedia.storage.errors import secrets_of, storage_error
from tests.contract.specimens import raised

R1 = MediaMetadata(run_id="r1")
TEXT = MediaContent.from_text("x")


def piped(data: bytes) -> int:
    """Return the reading end of a pipe that a thread fills."""
    reader, writer = os.pipe()

    def fill() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    threading.Thread(target=fill, daemon=True).start()
    return reader


def test_gzip_over_a_pipe_says_it_can_seek_and_was_stored_empty(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    with os.fdopen(piped(gzip.compress(data)), "rb") as raw, gzip.open(raw) as stream:
        store = MediaStore(tmp_path / "m")
        reference = store.store_media(MediaContent(data=stream, mime_type="application/octet-stream"), R1)
    assert store.retrieve_media(reference).read_bytes() == data


def test_a_pipe_by_name_in_bulk_was_read_twice_and_lost_its_beginning(tmp_path: Path) -> None:
    data = os.urandom(6 << 20)
    reader = piped(data)
    store = MediaStore(tmp_path / "m")
    [reference] = store.store_many([(MediaContent(file_path=f"/dev/fd/{reader}", mime_type="video/mp4"), R1)])
    os.close(reader)
    assert store.retrieve_media(reference).read_bytes() == data


def test_a_media_drafted_before_others_founded_the_store_is_refused(tmp_path: Path) -> None:
    early = MediaStore(tmp_path / "m")
    with pytest.raises(errors.StoreConflictError), early.create_media(R1, "text/plain") as writer:  # noqa: PT012
        writer.write(b"hi")
        MediaStore(tmp_path / "m", organization="by-session", default_policy="retain-1days").create()
        assert list(early.list()) == []
    assert list(early.list()) == []


def test_folders_that_another_store_removed_are_synced_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = MediaStore(tmp_path / "m"), MediaStore(tmp_path / "m")
    other.delete_media(ours.store_media(TEXT, R1))
    synced: list[str] = []
    monkeypatch.setattr(type(ours._backend), "sync_folder", lambda _, folder: synced.append(folder))
    ours.store_media(TEXT, R1)
    assert [said for said in (str(tmp_path / "m" / "runs"), str(tmp_path / "m")) if said not in synced] == []


def test_what_promptkit_wrote_later_leaves_its_index_too(tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "m").create()
    media = tmp_path / "m" / "runs" / "r9" / "abc.png"
    media.parent.mkdir(parents=True)
    media.write_bytes(b"x")
    index = tmp_path / "m" / ".dedup_index.json"
    index.write_text(f'{{"h": "{media}", "k": "elsewhere/def.png"}}')
    store.delete_media("runs/r9/abc.png")
    assert not index.exists()  # whoever stores next must not be told of what is gone
    aside = (tmp_path / "m" / keys.INDEX_ASIDE_KEY).read_text()
    assert "abc" not in aside
    assert "def" in aside


def test_a_forked_child_that_ends_leaves_its_parents_copy(tmp_path: Path) -> None:
    store = MediaStore("memory://forked-copy")
    path = store.retrieve_media(store.store_media(TEXT, R1)).local_path()
    from fsmedia.models import content as copies

    copies._remove(str(path), os.getpid() + 1)  # what runs at the end of a child
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_a_generator_that_fails_does_not_lose_what_was_stored(tmp_path: Path, on_error: str) -> None:
    def pairs() -> Iterator[tuple[MediaContent, MediaMetadata]]:
        yield from ((TEXT, R1) for _ in range(200))
        raise RuntimeError("no more")

    store = MediaStore(tmp_path / "m", durability="rename")
    if on_error == "return":
        answers = store.store_many(pairs(), on_error="return")
        assert isinstance(answers.pop(), errors.InvalidMediaError)
        results = dict(enumerate(answers))
    else:
        caught = raised(errors.BulkError, store.store_many, pairs(), match="no more")
        assert list(caught.errors) == [200]
        results = caught.results
    assert (sorted(results.values()), len(results)) == (sorted(store.list()), 200)


def test_files_that_do_not_tell_their_size_can_seek() -> None:
    store = MediaStore("simplecache::memory://no-size")
    reference = store.store_media(MediaContent.from_bytes(bytes(range(200)), "application/octet-stream"), R1)
    with store.open(reference) as file:
        assert (file.read(3), file.seek(-1, 2)) == (b"\0\1\2", 199)
        assert (file.read(), file.seek(0)) == (bytes([199]), 0)
        raised(ValueError, file.seek, 0, 7, match="whence")
        raised(ValueError, file.seek, -1, match="negative")


def test_lines_are_read_ahead(moto_storage) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    lines = [b"%d line\n" % number for number in range(20_000)]
    with store.open(store.store_media(MediaContent.from_bytes(b"".join(lines), "text/plain"), R1)) as file:
        assert (file.readline(), file.tell(), list(file)) == (lines[0], len(lines[0]), lines[1:])
        file.seek(0)
        assert list(io.TextIOWrapper(file, "ascii")) == [line.decode() for line in lines]


def test_a_secret_in_a_url_is_a_secret() -> None:
    error = OSError("403 GET https://h/x?X-Amz-Security-Token=tok%2Fen%2B%3D%3D and tok%2fen%2b%3d%3d")
    assert "tok%2" not in str(storage_error(error, None, secrets_of({"token": "tok/en+=="})))


def test_a_clock_without_a_zone_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "m", now=datetime.now)
    raised(errors.InvalidMediaError, store.store_media, TEXT, R1, match="naive")
    assert not (tmp_path / "m").exists()


def test_a_file_from_the_far_future_hides_no_other(tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "m").create()
    (tmp_path / "m" / "x.txt").write_bytes(b"x")
    os.utime(tmp_path / "m" / "x.txt", (2**33, 2**33))
    assert (list(store.list()), store.info("x.txt").size_bytes) == (["x.txt"], 1)


def test_a_huge_sidecar_is_not_read(tmp_path: Path) -> None:
    store = MediaStore(tmp_path / "m").create()
    (tmp_path / "m" / "v.bin").write_bytes(b"x")
    with (tmp_path / "m" / "v.bin.meta").open("wb") as file:
        file.truncate(2**30)
    raised(errors.CorruptSidecarError, store.info, "v.bin", match="larger than 4194304 bytes")


@pytest.mark.parametrize("url", [b"/tmp/x", 5, ["a"]])
def test_a_root_of_another_kind_is_refused_readably(url: object) -> None:
    raised(errors.InvalidReferenceError, MediaStore, url, match="must be a path or a URL")


def test_a_view_with_gaps_is_written_as_it_reads(tmp_path: Path) -> None:
    with MediaStore(tmp_path / "m").create_media(R1, "text/plain") as writer:
        writer.write(memoryview(b"abcdef")[::2])
        raised(errors.InvalidMediaError, writer.write, None, match="takes bytes")
    assert MediaStore(tmp_path / "m").retrieve_media(writer.reference).read_bytes() == b"ace"
