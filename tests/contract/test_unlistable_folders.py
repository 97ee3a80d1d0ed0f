"""What can't be listed, or says nothing, is an error of ours and not a smaller store; on any filesystem of fsspec."""

import os
import socket
import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from itertools import count

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.storage.fsspec_backend import FsspecBackend
from fsmedia.storage.port import Entry

NUMBERS = count(1)
RESET = ConnectionResetError(104, "Connection reset by peer")


class FailingFileSystem(MemoryFileSystem):
    """fsspec's memory under another name; what it can't list, it says in the way of the test."""

    protocol = "failing"
    failure = None

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("failing://", "memory://"))

    def ls(self, path, detail=True, **options):
        answer = None if self.failure is None else type(self).failure(self._strip_protocol(path))
        return super().ls(path, detail=detail, **options) if answer is None else answer


def broken(folder, error):
    def failure(path):
        if path.endswith(folder):
            raise error

    return failure


@contextmanager
def failing(failure):
    FailingFileSystem.failure = staticmethod(failure)
    try:
        yield
    finally:
        FailingFileSystem.failure = None


@pytest.fixture
def url():
    fsspec.register_implementation("failing", FailingFileSystem, clobber=True)
    root = f"failing://store-{next(NUMBERS)}"
    yield root
    for key in [key for key in MemoryFileSystem.store if key.startswith(f"/{root.partition('://')[2]}/")]:
        del MemoryFileSystem.store[key]


def put(store, run, text="text"):
    return store.store_media(MediaContent.from_text(text), MediaMetadata(run_id=run, session_id="ada"))


def filled(url):
    store = MediaStore(url)
    return store, [put(store, run) for run in ("r0", "r1", "r2")]


DEAD = FileNotFoundError("/runs/r1")
DEAD.__cause__ = EOFError()
FAILURES = {
    "an error": RESET,
    "refused": PermissionError(13, "Permission denied"),
    "a dead connection that looks like an absence": DEAD,
    "an absence, though the folder above lists it": FileNotFoundError("/runs/r1"),
}


def acts(store, mirror):
    return [
        lambda: list(store.list()),
        store.verify,
        lambda: store.sync_to(str(mirror), delete=True),
        lambda: store.erase(session_id="ada"),
        store.catalog,
        lambda: store.verify(repair="leftovers"),
    ]


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
def test_a_folder_that_can_not_be_listed(url, tmp_path, error):
    mirror = tmp_path / "mirror"
    store, names = filled(url)
    store.sync_to(str(mirror))
    for act in acts(store, mirror):
        with failing(broken("/runs/r1", error)), pytest.raises(StorageError):
            act()
        assert [*store.list()] == [*MediaStore(mirror).list()] == names


def test_without_a_walk_of_its_own(url, tmp_path, monkeypatch):
    """By fsspec's `find` the mirror loses what the source has."""

    def entries(self, prefix=""):
        found = self.fs.find(self._path(prefix.rstrip("/")), detail=True)
        return iter([Entry(self._key(path), found[path]["size"]) for path in sorted(found)])

    mirror = tmp_path / "mirror"
    store, names = filled(url)
    store.sync_to(str(mirror))
    monkeypatch.setattr(FsspecBackend, "entries", entries)
    with failing(broken("/runs/r1", RESET)):
        store.sync_to(str(mirror), delete=True)
    assert [*MediaStore(mirror).list()] != names


@pytest.mark.parametrize("part", ["condemned", "data", "refs"])
@pytest.mark.parametrize("act", ["delete_media", "leftovers"])
def test_shared_bytes_outlive_a_listing_that_fails(url, act, part):
    """A folder of markers that can't be listed is no folder without markers."""
    store = MediaStore(url, deduplicate=True)
    first, second = put(store, "r1", "shared"), put(store, "r2", "shared")

    def failure(path):
        if f"/{part}" in path:
            raise RESET

    with failing(failure), suppress(StorageError):
        if act == "delete_media":
            store.delete_media(first)
        else:
            store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True)
    assert store.retrieve_media(second).read_bytes() == b"shared"


def test_a_root_that_does_not_exist_is_empty_but_no_top_that_is_not_found(url):
    """Neither does the folder above it. FTP: every path is not found once the connection is gone, the top too."""
    store = MediaStore(f"{url}/a/b")
    assert list(store.list()) == []
    assert store.verify().whole
    store, _ = filled(url)
    with failing(broken("", FileNotFoundError("no such file"))), pytest.raises(StorageError, match="not even the top"):
        list(store.list())


def test_an_empty_answer_counts_when_it_comes_twice(url):
    """fsspec's FTP lists nothing when the server has closed an idle connection, and fails only at the next call."""
    store, _ = filled(url)
    answers = iter([[]])

    def failure(path):
        found = next(answers, None)
        if found is None:
            raise BrokenPipeError(32, "Broken pipe")
        return found

    with failing(failure), pytest.raises(StorageError):
        list(store.list())


def test_a_folder_that_went_meanwhile_is_gone(url):
    """Somebody deletes the last media of a run between the listing of `runs` and that of the run."""
    store, names = filled(url)
    filesystem = store._backend.fs

    def failure(path):
        if path.endswith("/runs/r1"):
            FailingFileSystem.failure = None
            filesystem.rm(path, recursive=True)

    with failing(failure):
        assert [*store.list()] == [names[0], names[2]]


def test_a_folder_of_this_machine_that_can_not_be_read(tmp_path, monkeypatch):
    """Its owner took it away; permissions do not stop who runs these tests, so the system call says it."""
    store, _ = filled(str(tmp_path / "store"))
    mirror = tmp_path / "mirror"
    store.sync_to(str(mirror))
    real = os.scandir

    def scandir(path="."):
        if str(path).rstrip("/").endswith("store/runs/r1"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for act in acts(store, mirror):
        with pytest.raises(StorageError):
            act()
    monkeypatch.undo()
    assert len([*MediaStore(mirror).list()]) == 3


class UnreadableEntry:
    """A name whose folder may be listed and not entered."""

    def __init__(self, inner, error):
        self._inner, self._error = inner, error

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def stat(self, **_):
        raise self._error


@pytest.mark.parametrize(("number", "raises"), [(13, True), (5, True), (2, False)], ids=["refused", "broken", "gone"])
def test_a_file_of_this_machine_that_can_not_be_looked_at(tmp_path, monkeypatch, number, raises):
    store, names = filled(str(tmp_path / "store"))
    real = os.scandir

    @contextmanager
    def scandir(path="."):
        hurt = OSError(number, os.strerror(number))
        with real(path) as found:
            yield (UnreadableEntry(each, hurt) if "/r1/" in each.path else each for each in found)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StorageError) if raises else nullcontext():
        assert [*store.list()] == [names[0], names[2]]


@pytest.mark.parametrize(
    ("url", "options"),
    [("s3://bucket/media", {"key": "key-1234", "secret": "secret-5678"}), ("gs://bucket/media", {"token": "anon"})],
)
def test_a_silent_storage_is_given_up(url, options):
    with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody accepts what it takes
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(StorageError, match="no answer in time") as caught:
            MediaStore(url, storage_options={**options, "endpoint_url": endpoint}, timeout=timedelta(seconds=0.5))
        # Asked twice, half a second each; the rest is what a client needs to start.
        assert time.monotonic() - begun < 20
    assert "longer timeout" in caught.value.next_step
    assert "secret-5678" not in str(caught.value)
