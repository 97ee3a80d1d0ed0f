"""When the storage says no: errors of this package, readable, with a next step, and no secret in any text of them.

What can't be listed, or says nothing, is such an error and not a smaller store; on any filesystem of fsspec.
"""

import asyncio
import io
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from itertools import chain, count
from pathlib import Path

import fsspec
import pytest
from fsspec.callbacks import Callback
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia import MediaContent, MediaError, MediaNotFoundError, MediaStore, StorageError
from fsmedia.storage import open_backend, s3
from fsmedia.storage.fsspec_backend import FsspecBackend
from fsmedia.storage.port import Entry
from fsmedia.storage.s3 import PART_BYTES
from tests.conftest import on
from tests.contract.specimens import AT_ONCE, GONE, PNG, R1, png, put, raised, written
from tests.servers import WrongAnswer
from tests.storages import AZURE, GCS, OBJECT_STORAGES, S3_MOTO, S3_RCLONE
from tests.transfers import opened

WRONG_SECRET = "wrongSecretXk44/"  # in base64, as Azure wants it


def texts(error):
    """Yield every text that an error shows: its own, its causes', its traceback's."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield "".join(traceback.format_exception(error))
    for linked in (error.__cause__, error.__context__):
        if linked is not None:
            yield from texts(linked)


def shows_none_of(error, *secrets):
    return not [(secret, text) for text in texts(error) for secret in secrets if secret in text]


def uses_of(store):
    """Return what can be asked of a store that does not exist or refuses, by name."""
    return {
        "store": lambda: store.store_media(png(), R1),
        "write": lambda: written(store, PNG),
        "create": store.create,
        "info": lambda: store.info(GONE),
        "retrieve": lambda: store.retrieve_media(GONE),
        "open": lambda: store.open(GONE).read(),
        "exists": lambda: store.exists(GONE),
        "list": lambda: list(store.list()),
        "delete": lambda: store.delete_media(GONE),
    }


def copy_of(made, **values):
    copied = type(made).__new__(type(made))
    copied.__dict__.update(made.__dict__ | values)
    return copied


@on(S3_RCLONE, AZURE, of=(S3_RCLONE, AZURE))
def test_a_wrong_secret_is_an_error_of_ours_for_every_use_and_never_shown(storage, caplog):
    """The credentials stopped being right after the store was opened."""
    for name in ("fsmedia", "azure"):
        caplog.set_level(logging.DEBUG, name)
    server, store = storage.server, opened(storage).create()
    # Azure's stand in one text, of which each part is a secret.
    options = json.loads(json.dumps(storage.options).replace(server.secret, WRONG_SECRET))
    backend = open_backend(storage.url, options, timeout=store._backend.timeout)
    uses = uses_of(copy_of(store, _backend=backend, _settings_file=copy_of(store._settings_file, _backend=backend)))
    del uses["create"]  # the settings are there and known
    for name, use in uses.items():
        error = raised(StorageError, use)
        assert isinstance(error, OSError), name
        assert "; " in str(error), name
        assert "\n" not in str(error), name
        assert len(str(error)) < 600, name
        assert shows_none_of(error, WRONG_SECRET, server.secret, getattr(server, "key", server.secret)), name
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        if name in ("info", "retrieve", "open", "exists", "delete"):
            assert error.reference == GONE, name
        elif name in ("store", "write"):
            assert error.reference.startswith("runs/r1/0000_00_u"), name
            assert error.reference.endswith(".png"), name
    assert WRONG_SECRET not in caplog.text


def test_a_store_that_can_not_be_opened_says_why_and_shows_no_secret(rclone_storage, local_storage):
    url, options, secret = rclone_storage.url, rclone_storage.options, rclone_storage.server.secret
    quick = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    nobody = {"key": "k-1234567", "secret": WRONG_SECRET, "endpoint_url": "http://127.0.0.1:9", "config_kwargs": quick}
    for kind, match, root, asked in (
        (StorageError, "credentials", url, {**options, "secret": WRONG_SECRET}),
        (StorageError, "credentials", url, {**options, "key": "wrong-key-Jd61"}),
        (StorageError, None, "s3://bucket/a-server-that-is-not-there", nobody),
        (StorageError, "nosuch://", "nosuch://bucket/media", {}),
        (MediaError, "secret_option", local_storage.url, {"secret_option": WRONG_SECRET}),
    ):
        error = raised(kind, MediaStore, root, match=match, storage_options=asked, timeout=timedelta(seconds=5))
        assert "; " in str(error), root
        assert shows_none_of(error, WRONG_SECRET, "wrong-key-Jd61", secret), (match, root)
    assert rclone_storage.keys() == set()


@pytest.mark.parametrize("protocol", ["nosuch", "http"])
def test_a_password_in_the_url_is_never_shown(rclone, protocol):
    where = rclone.direct_url.partition("//")[2]  # asks for a signature: 403
    url = f"{protocol}://user:{WRONG_SECRET}@{where}/media"
    with pytest.raises(MediaError) as caught:  # noqa: PT012 - which of the two fails depends on the protocol
        store = MediaStore(url)
        assert WRONG_SECRET not in repr(store) + store.url
        store.store_media(png(), R1)
    assert shows_none_of(caught.value, WRONG_SECRET)


def test_a_bucket_that_is_missing_is_named_whatever_was_asked_for(object_storage):
    """It said "runs/r1: the storage does not find it", or named no bucket at all."""
    url = f"{object_storage.url.partition('://')[0]}://no-such-bucket-77/media"
    store = MediaStore(url, storage_options=object_storage.options)
    uses = uses_of(store)
    assert uses.pop("exists")() is False
    uses["files"] = lambda: store.fs.ls("runs/r1")
    uses["read only"] = lambda: MediaStore(url, storage_options=object_storage.options, read_only=True)
    for name, use in uses.items():
        error = raised(StorageError, use)
        said = str(error).removeprefix(f"{GONE}: ")
        assert said.startswith(f"there is no bucket 'no-such-bucket-77', of the root {url}"), name
        assert said == str(error) or name in ("info", "retrieve", "open", "delete")
        assert not isinstance(error, MediaNotFoundError)
        assert "\n" not in str(error)
        assert error.key is None


WITHOUT_PACKAGES = """
import sys
sys.modules["s3fs"] = sys.modules["gcsfs"] = sys.modules["adlfs"] = None  # as on a machine without them
import fsmedia
for url in sys.argv[1:]:
    try:
        fsmedia.MediaStore(url)
    except fsmedia.StorageError as error:
        print(error)
"""


def test_a_missing_package_is_named():
    packages = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs"}
    command = [sys.executable, "-c", WITHOUT_PACKAGES, *(f"{protocol}://bucket/media" for protocol in packages)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    for line, (protocol, package) in zip(said, packages.items(), strict=True):
        assert line.startswith(f"{protocol}:// needs a package")
        assert line.endswith(f"pip install {package}")


def test_no_repr_shows_a_secret(rclone_storage):
    store, server = opened(rclone_storage), rclone_storage.server
    reference = store.store_media(png(), R1)
    content = store.retrieve_media(reference)
    with store.open(reference) as file:
        more = [store.info(reference), store.create_media(R1, "image/png"), file]
        for text in map(repr, [store, store._backend, content, content._handle, *more]):
            assert server.secret not in text
            assert server.key not in text
    assert repr(store) == f"MediaStore({rclone_storage.url!r})"
    assert server.secret.encode() not in pickle.dumps(content)
    assert server.secret not in content.model_dump_json()


def test_a_name_with_line_breaks_does_not_break_the_line_and_a_refused_content_is_not_quoted(memory_storage):
    name = "runs/r1/a\nERROR forged.png"
    error = raised(MediaNotFoundError, opened(memory_storage).create().info, name)
    assert "\n" not in str(error)
    assert error.reference == name
    error = raised(MediaError, MediaContent, data="secret-Qp71 is no base64", mime_type="image/png")
    assert all("secret-Qp71" not in text for text in texts(error) if "MediaContent, data=" not in text)
    assert "secret-Qp71" not in str(error)


# What can't be listed, or says nothing.
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


def filled(url):
    store = MediaStore(url)
    return store, [put(store, run, session_id="ada") for run in ("r0", "r1", "r2")]


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
    first, second = put(store), put(store, "r2")

    def failure(path):
        if f"/{part}" in path:
            raise RESET

    with failing(failure), suppress(StorageError):
        if act == "delete_media":
            store.delete_media(first)
        else:
            store.verify(repair="leftovers", **AT_ONCE)
    assert store.retrieve_media(second).read_bytes() == PNG


def test_a_root_that_does_not_exist_is_empty_but_no_top_that_is_not_found(url):
    """Neither does the folder above it. FTP: every path is not found once the connection is gone, the top too."""
    store = MediaStore(f"{url}/a/b")
    assert list(store.list()) == []
    assert store.verify().whole
    store, _ = filled(url)
    with failing(broken("", FileNotFoundError("no such file"))), pytest.raises(StorageError, match="not even the top"):
        list(store.list())


def test_folders_nested_1500_deep_on_a_storage_that_is_listed_folder_by_folder(url):
    store = MediaStore(url)
    references = [put(store), f"runs/{'d/' * 400}x.txt"]
    for name in (references[1], f"runs/{'d/' * 1500}x.txt"):
        MemoryFileSystem().pipe_file(f"{store._backend._root}/{name}", b"x")
    assert sorted(store.list()) == sorted(references)


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
        raised(StorageError, act)
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
    [
        ("s3://bucket/media", {"key": "key-1234", "secret": "c2VjcmV0LTU2Nzg=", "endpoint_url": "{}"}),
        ("gs://bucket/media", {"token": "anon", "endpoint_url": "{}"}),
        ("az://bucket/media", {"connection_string": "AccountName=me;AccountKey=c2VjcmV0LTU2Nzg=;BlobEndpoint={}/me"}),
    ],
)
def test_a_silent_storage_is_given_up(url, options):
    with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody accepts what it takes
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        begun = time.monotonic()
        asked = {name: text.format(endpoint) for name, text in options.items()}
        with pytest.raises(StorageError, match="no answer in time") as caught:
            MediaStore(url, storage_options=asked, timeout=timedelta(seconds=0.5))
        # Asked twice, half a second each; the rest is what a client needs to start.
        assert time.monotonic() - begun < 20
    assert "longer timeout" in caught.value.next_step
    assert "c2VjcmV0LTU2Nzg=" not in str(caught.value)


class BreakingStore(dict):
    """What fsspec's memory keeps its files in, whose connection breaks after so many looks."""

    left = None

    @classmethod
    def look(cls):
        if cls.left is not None:
            cls.left -= 1
            if cls.left < 0:
                raise RESET

    def __getattribute__(self, name):
        if name in ("get", "pop", "copy", "items", "keys", "values"):
            BreakingStore.look()
        return super().__getattribute__(name)

    def __getitem__(self, key):
        self.look()
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        self.look()
        super().__setitem__(key, value)

    def __contains__(self, key):
        self.look()
        return super().__contains__(key)

    def __iter__(self):
        self.look()
        return super().__iter__()

    def __delitem__(self, key):
        self.look()
        super().__delitem__(key)


TEXT = "runs/r1/a.txt"
OPERATIONS = {
    "cp_file": lambda fs: fs.cp_file(TEXT, "runs/r1/b.txt"),
    "copy": lambda fs: fs.copy("runs", "other", recursive=True),
    "mv": lambda fs: fs.mv(TEXT, "runs/r1/b.txt"),
    "mv of a folder": lambda fs: fs.mv("runs", "other", recursive=True),
    "cat": lambda fs: fs.cat_file(TEXT),
    "cat of a part": lambda fs: fs.cat_file(TEXT, 1, 2),
    "open": lambda fs: fs.open(TEXT).read(),
    "write": lambda fs: written_into(fs, "wb"),
    "append": lambda fs: written_into(fs, "ab"),
    "pipe": lambda fs: fs.pipe({TEXT: b"x", "runs/r1/b.txt": b"y"}),
    "touch": lambda fs: fs.touch(TEXT),
    "put": lambda fs: fs.put_file(__file__, TEXT),
    "get": lambda fs: fs.get_file(TEXT, os.devnull),
    "info": lambda fs: fs.info(TEXT),
    "metadata": lambda fs: fs.metadata(TEXT),
    "setxattrs": lambda fs: fs.setxattrs(TEXT, {"user.a": 1}),
    "exists": lambda fs: fs.exists(TEXT),
    "isdir": lambda fs: fs.isdir("runs"),
    "ls": lambda fs: fs.ls("runs/r1"),
    "ls of a view": lambda fs: fs.ls("by-run"),
    "find": lambda fs: fs.find(""),
    "walk": lambda fs: list(fs.walk("", on_error="raise")),
    "glob": lambda fs: fs.glob("**"),
    "rm_file": lambda fs: fs.rm_file(TEXT),
    "rm": lambda fs: fs.rm("runs", recursive=True),
    "mkdir": lambda fs: fs.mkdir("runs/r7/x"),
    "rmdir": lambda fs: fs.rmdir("empty"),
}


def written_into(fs, mode):
    with fs.open(TEXT, mode) as file:
        file.write(b"hey")


@pytest.mark.parametrize("protocol", ["memory", "failing"])
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_a_connection_that_breaks_is_an_error_of_ours_for_all_that_media_filesystems_do(
    url, monkeypatch, operation, protocol
):
    """`cp` and `mv` on memory let the storage's own `ConnectionResetError` through, and so did nearly all others."""
    broke = 0
    for looks in chain(range(12), range(12, 60, 7)):
        monkeypatch.setattr(MemoryFileSystem, "store", BreakingStore())
        monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
        fs = MediaStore(url.replace("failing", protocol)).create().fs
        fs.pipe_file(TEXT, b"abc")
        fs.mkdir("empty")
        BreakingStore.left = looks
        try:
            operation(fs)
        except MediaError as error:
            broke += "Connection reset by peer" in str(error)
        finally:
            BreakingStore.left = None
    assert broke or (protocol == "failing" and operation is OPERATIONS["mkdir"])


class FailingDisk(io.FileIO):
    def readinto(self, _=None):
        raise OSError(5, "Input/output error")

    readall = readinto


def test_a_disk_that_fails_in_the_middle_of_a_file_is_an_error_of_ours(local_storage, tmp_path):
    store = opened(local_storage)
    name = put(store)
    store._backend.open = lambda key, **_: io.BufferedReader(FailingDisk(Path(local_storage.url, key)))
    for read in (lambda file: file.read(), lambda file: file.read(3), lambda file: file.readline()):
        with store.open(name) as file:
            error = raised(StorageError, read, file, match="Input/output error")
        assert error.reference == name
    raised(StorageError, list, store.stream(name), match="Input/output error")


WAYS_TO_READ = {
    "open": lambda store, name: store.open(name).read(),
    "a part of an open file": lambda store, name: store.open(name).read(10),
    "lines": lambda store, name: store.open(name).readline(),
    "read": lambda store, name: store.read(name),
    "a part": lambda store, name: store.read(name, 5, 20),
    "the end": lambda store, name: store.read(name, -20, None),
    "stream": lambda store, name: list(store.stream(name)),
    "retrieve": lambda store, name: store.retrieve_media(name).read_bytes(),
    "local copy": lambda store, name: store.retrieve_media(name, local_copy=True),
    "cat": lambda store, name: store.fs.cat_file(name),
    "cat of a part": lambda store, name: store.fs.cat_file(name, 5, 20),
    "cat of many": lambda store, name: store.fs.cat([name]),
    "open of media://": lambda store, name: store.fs.open(name).read(),
    "a cache of fsspec's": lambda store, name: store.fs.open(name, cache_type="bytes").read(10),
}


@on(S3_RCLONE, GCS, of=OBJECT_STORAGES)
def test_a_body_that_hung_in_the_middle_was_waited_for_200_seconds(storage, tmp_path):
    """By an open file; a whole read had no limit at all."""
    name = put(opened(storage, deduplicate=storage.name == GCS))
    store = opened(storage, timeout=timedelta(seconds=0.2))
    ways = {**WAYS_TO_READ, "get": lambda store, name: store.fs.get_file(name, tmp_path / "got")}
    where = r"r1/00[^/]*\.png($|\?)|/data/"
    hung = WrongAnswer("GET", where, change="hung")
    for way, read in ways.items():
        begun = time.monotonic()
        with storage.server.answering(hung):
            raised(StorageError, read, store, name, match="no answer in time")
        # Asked for twice, a fifth of a second each.
        assert 0.3 < time.monotonic() - begun < 10, way
    store = opened(storage, timeout=timedelta(seconds=2))
    for way in ("open", "cat", "get"):
        with storage.server.answering(WrongAnswer("GET", where, change="hung", times=1)), storage.counted() as requests:
            ways[way](store, name)
        assert requests["get"] >= 2, way


@on(S3_RCLONE, GCS, AZURE, of=OBJECT_STORAGES)
def test_a_write_that_somebody_cancels_on_the_loop_was_not_done(storage, monkeypatch):
    """fsspec gives None for it, as for one that was done; aiohttp cancels what waits while its session is closed."""
    store = opened(storage, engine="fsspec").create()

    async def cancelled(*_, **__):
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(store._backend, "_call", cancelled)
        raised(StorageError, store.store_media, png(), R1, match="broken off")
    assert not [*store.list()]


class Replacing(Callback):
    """Calls something once the first bytes of a download have come."""

    def __init__(self, replace):
        super().__init__()
        self.replaces = [replace]

    def absolute_update(self, value):
        while self.replaces:
            self.replaces.pop()()


@on(S3_MOTO, S3_RCLONE, of=(S3_MOTO, S3_RCLONE))
@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_a_download_that_breaks_off_goes_on_in_the_same_object(storage, engine, tmp_path):
    """s3fs asked for the rest of whatever lay there; rclone knows no conditions."""
    fs = opened(storage, engine=engine, verify_reads=False).create().fs
    # Half of it is more than a piece, so that some has come when the rest does not.
    old, new = bytes(8 * 2**20), b"newer..." * 2**20
    for there, replace in ((old, lambda: None), (new, lambda: storage.write("runs/r1/a.bin", new))):
        fs.pipe_file("runs/r1/a.bin", old)
        cut = WrongAnswer("GET", r"a\.bin$", change="cut", times=1)
        with storage.server.answering(cut), storage.counted() as requests:
            fs.get_file("runs/r1/a.bin", tmp_path / "a.bin", callback=Replacing(replace))
        assert (tmp_path / "a.bin").read_bytes() == there
        assert requests["get"] == (2 if there is old else 3)


@contextmanager
def watched_parts(backend, monkeypatch, of_part):
    """Await a function before each part that is sent, with its number; give the numbers as they are begun and done."""
    real, begun, done = backend.fs._call_s3, [], []

    async def call(method, *defaults, **asked):
        number = asked.get("PartNumber")
        if number is None:
            return await real(method, *defaults, **asked)
        begun.append(number)
        await of_part(number)
        answer = await real(method, *defaults, **asked)
        done.append(number)
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(backend.fs, "_call_s3", call)
        yield begun, done


def send_spooled(backend, file):
    backend.put_file("runs/large", file, file.stat().st_size, "video/mp4")


def send_as_read(backend, file):
    stage = backend.stage_file("runs/large", file.stat().st_size, "video/mp4")
    try:
        with file.open("rb") as pieces:
            while piece := pieces.read(2**20):
                stage.write(piece)
        stage.commit("video/mp4")
    finally:
        stage.discard()


ways_to_send = pytest.mark.parametrize("send", [send_spooled, send_as_read])


@ways_to_send
def test_a_slow_part_of_an_upload_holds_up_no_other(moto_storage, send, monkeypatch, tmp_path):
    """s3fs's own sends four, and the next four when the last of these is there."""
    backend, file = opened(moto_storage)._backend, tmp_path / "nine parts"
    file.write_bytes(os.urandom(9 * PART_BYTES))
    others = asyncio.Event()

    async def first_when_eight_are_there(number):
        if number == 1:
            await asyncio.wait_for(others.wait(), 60)
        elif number == 9:
            others.set()

    with watched_parts(backend, monkeypatch, first_when_eight_are_there) as (begun, done):
        send(backend, file)
    assert (begun, sorted(done), done.index(1) > 4) == (list(range(1, 10)), list(range(1, 10)), True)
    assert backend.read("runs/large") == file.read_bytes()


@ways_to_send
def test_a_part_that_fails_ends_the_upload_and_the_others(moto_storage, send, monkeypatch, tmp_path):
    backend, file = opened(moto_storage)._backend, tmp_path / "nine parts"
    file.write_bytes(os.urandom(9 * PART_BYTES))
    ended, fourth = list[int](), asyncio.Event()

    async def third_fails(number):
        if number == 4:
            fourth.set()
        try:
            if number == 3:
                await asyncio.wait_for(fourth.wait(), 60)
                raise PermissionError("not this one")
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(number)
            raise

    with watched_parts(backend, monkeypatch, third_fails) as (begun, done):
        raised(StorageError, send, backend, file, match="not this one")
    assert (begun, done, sorted(ended), list(backend.uploads())) == ([1, 2, 3, 4], [], [1, 2, 4], [])
    assert backend.head("runs/large") is None


@ways_to_send
def test_a_file_has_no_more_parts_than_s3_takes(moto_storage, send, monkeypatch, tmp_path):
    """One of 53 GB was refused after 50: s3fs makes parts larger only where it chooses their size."""
    monkeypatch.setattr(s3, "_MOST_PARTS", 3)
    backend, file = opened(moto_storage)._backend, tmp_path / "four parts"
    file.write_bytes(os.urandom(3 * PART_BYTES + 5))
    with moto_storage.counted() as requests:
        send(backend, file)
    assert requests["put_part"] == 3
    assert backend.read("runs/large") == file.read_bytes()
