"""The contract of a storage, as a pytest plugin: for who writes a backend, or has a filesystem of fsspec nobody tried.

It needs pytest, and nothing of this package imports it. Either from a shell:

    pytest -p fsmedia.testing --pyargs fsmedia.testing --fsmedia-url myfs://bucket/lab --fsmedia-option key=secret

or as a class among the tests of the filesystem, with whatever starts its server in the fixture `place`:

    from fsmedia.testing import StorageContract

    class TestMyFileSystem(StorageContract):
        url = "myfs://bucket/lab"
        storage_options = {"key": "secret"}
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from hashlib import shake_128
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest
from fsspec.core import url_to_fs

from fsmedia.errors import HeldMediaError, MediaError, MediaNotFoundError
from fsmedia.format import keys
from fsmedia.maintenance.check_storage import listed_and_there
from fsmedia.models import MediaContent, MediaMetadata
from fsmedia.store import MediaStore, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(8) + bytes(range(256)) * 4
R1 = MediaMetadata(run_id="r1")
_GONE = "runs/r1/0000_00_u00000000000000000000000000.png"
_STEPS = 60
_PROGRAMS = 4


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say where the storage is."""
    group = parser.getgroup("fsmedia", "the contract of a storage (fsmedia.testing)")
    group.addoption("--fsmedia-url", default="", metavar="URL", help="The root below which the storage is tried.")
    group.addoption(
        "--fsmedia-option", action="append", default=[], metavar="KEY=VALUE", help="A storage option; JSON or text."
    )


def _option(word: str) -> tuple[str, Any]:
    name, _, text = word.partition("=")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _stored(store: MediaStore, data: bytes = PNG, run: str = "r1", **fields: Any) -> str:
    return store.store_media(MediaContent.from_bytes(data, "image/png"), MediaMetadata(run_id=run, **fields))


class StorageContract:
    """What every storage must do; a subclass whose name begins with `Test` says which storage.

    Each case works in a new folder below the root, which goes afterwards.
    """

    url: ClassVar[str] = ""
    """The root below which the storage is tried; empty: what `--fsmedia-url` says."""
    storage_options: ClassVar[Mapping[str, Any]] = {}
    """What the fsspec filesystem of that URL takes."""

    @pytest.fixture
    def place(self, request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
        """Return the root and its storage options; override it where a server has to be started first."""
        if self.url:
            return self.url, self.storage_options
        url = request.config.getoption("--fsmedia-url", "")
        if not url:
            pytest.fail("which storage? -p fsmedia.testing --fsmedia-url URL, or `url` of a subclass", pytrace=False)
        return url, dict(map(_option, request.config.getoption("--fsmedia-option")))

    @pytest.fixture
    def open_store(self, place: tuple[str, Mapping[str, Any]]) -> Iterator[Callable[..., MediaStore]]:
        """Give a function that opens a store in a new folder, a folder below it where one is named."""
        root, options = f"{place[0].rstrip('/')}/contract-{keys.new_unique()}", dict(place[1])

        def opened(below: str = "", **settings: Any) -> MediaStore:
            return MediaStore(f"{root}{below}", storage_options=options, **settings)

        yield opened
        client = opened()._backend
        with suppress(MediaError):  # servers that know no such listing keep none
            for upload in client.uploads():
                client.abort(upload)
        client.delete([entry.key for entry in client.entries()])
        client.delete_versions(list(client.versions()) if client.keeps_versions else [])
        left = listed_and_there(client)
        if left:
            pytest.fail(f"could not be removed from {client.url}: {', '.join(left)}", pytrace=False)
        filesystem, path = url_to_fs(root, **options)
        if not filesystem.async_impl:  # others have no folders without files
            filesystem.invalidate_cache()
            if filesystem.exists(path):
                filesystem.rm(path, recursive=True)

    @pytest.fixture
    def store(self, open_store: Callable[..., MediaStore]) -> MediaStore:
        """Give a store in a new folder."""
        return open_store()

    def test_the_storage_does_what_a_store_needs(self, store: MediaStore) -> None:
        """See `fsmedia check-storage`."""
        report = store.check_storage()
        broken = [f"{each.name}: {each.seen}; {each.effect}" for each in report.checks if each.state == "broken"]
        # Told in words: only modules that pytest knows as plugins have their asserts explained.
        assert not broken, "\n".join(broken)
        assert not report.remains, f"could not be removed: {report.remains}"

    @pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
    def test_a_store_is_what_a_dict_says(self, open_store: Callable[..., MediaStore], *, deduplicate: bool) -> None:
        """Whatever is stored, overwritten, moved, deleted, held and swept, in an order that is the same each time."""
        store, dice = open_store(deduplicate=deduplicate), iter(shake_128(b"fsmedia").digest(4 * _STEPS))

        def one_of(words: Sequence[T]) -> T:
            return words[next(dice) % len(words)]

        there, due, held = dict[str, bytes](), set[str](), set[str]()
        for step in range(_STEPS):
            data, some = PNG + bytes([next(dice) % 4]), one_of(sorted(there)) if there else None
            act = one_of(["store", "store", "client", "move", "delete", "hold", "release", "sweep", "annotate"])
            if act == "store" or some is None:
                policy = one_of([None, "retain-1hours"])
                new = _stored(store, data, f"r{step % 3}", policy_name=policy)
                there[new] = data
                due |= {new} if policy else set()
            elif act == "client":  # under a name that a program chose, as `media://` has it
                name = f"runs/r0/photo {step % 5}.png"
                if name not in held:
                    store.fs.pipe_file(name, data)
                    there[name] = data
            elif act == "move" and some not in held:
                store.fs.mv(some, target := f"runs/moved/{step}.png")
                there[target] = there.pop(some)
                due = {target if each == some else each for each in due}
            elif act in ("delete", "move"):
                if some in held:
                    with pytest.raises(HeldMediaError):
                        store.delete_media(some)
                else:
                    store.delete_media(some)
                    del there[some]
            elif act in ("hold", "release"):
                store.hold(some, "court") if act == "hold" else store.release(some)
                held = held | {some} if act == "hold" else held - {some}
            elif act == "annotate":
                store.annotate(some, {"step": step})
                assert store.info(some).attributes["step"] == step
            else:
                gone = {each.reference for each in store.enforce_policy(now=utc_now() + timedelta(hours=2)).deleted}
                assert gone == (due & there.keys()) - held
                there = {name: data for name, data in there.items() if name not in gone}
        for each in (store, open_store()):
            assert set(each.list()) == there.keys()
            assert {name: each.retrieve_media(name).read_bytes() for name in there} == there
        report = store.verify(deep=True)
        assert report.whole, report.findings

    def test_programs_that_use_one_store_at_once(self, open_store: Callable[..., MediaStore]) -> None:
        """Each has a client of its own; they share bytes, and all end with what they kept."""
        open_store(deduplicate=True).create()

        def work(program: int) -> set[str]:
            store, kept = open_store(), set[str]()
            for number in range(6):
                kept.add(_stored(store, PNG + bytes([number % 2]), f"r{program}"))
                if number % 3 == 2:
                    store.delete_media(kept.pop())
            return kept

        with ThreadPoolExecutor(_PROGRAMS) as pool:
            kept = set().union(*pool.map(work, range(_PROGRAMS)))
        store = open_store()
        assert set(store.list()) == kept
        assert {store.retrieve_media(each).read_bytes()[:-1] for each in kept} == {PNG}
        assert store.verify(deep=True).whole

    @pytest.mark.parametrize(
        "run",
        ["416", "InvalidRange", "Range Not Satisfiable", "not satisfiable", "The specified bucket does not exist"],
    )
    def test_names_that_read_like_answers_of_a_server_are_names(
        self, open_store: Callable[..., MediaStore], run: str
    ) -> None:
        """Below a folder named 416 no store could be made: "no such file: /416/..." was taken for the status 416."""
        store = open_store(f"/{run}/store").create()
        reference = _stored(store, run=run)
        bare, empty, gone = (f"runs/{run}/{run}-{name}.txt" for name in "abc")
        store.fs.pipe({bare: b"without a sidecar", empty: b""})
        assert [store.info(each).size_bytes for each in (reference, bare, empty)] == [len(PNG), 17, 0]
        assert (store.retrieve_media(bare).read_bytes(), store.fs.cat_file(empty)) == (b"without a sidecar", b"")
        assert (store.fs.cat_file(bare, 17, 20), store.fs.cat_file(bare, 8)) == (b"", b"a sidecar")
        for read, *part in ((store.info,), (store.fs.cat_file, 5, 9)):
            with pytest.raises(MediaNotFoundError):
                read(gone, *part)
        assert store.verify(deep=True).whole

    def test_two_contents_of_one_media_are_equal_and_their_readers_have_a_position_each(
        self, store: MediaStore
    ) -> None:
        """Readers share nothing."""
        reference = _stored(store)
        assert store.retrieve_media(reference) == store.retrieve_media(reference)
        other = store.store_media(MediaContent.from_bytes(PNG, "image/png", caption="other"), R1)
        assert store.retrieve_media(reference) != store.retrieve_media(other)
        with store.open(reference) as one, store.retrieve_media(reference).open() as two:
            one.read(100)
            assert two.read(4) == PNG[:4]
            assert one.read(4) == PNG[100:104]
        for size, size_kb in ((0, 0), (1, 1), (1024, 1), (1025, 2)):  # rounded up
            assert store.retrieve_media(_stored(store, bytes(size))).size_kb == size_kb

    def test_opened_bytes_can_be_read_in_any_order(self, store: MediaStore) -> None:
        """By seeks from each end, in small parts and in large ones."""
        # Several blocks of what a seek fetches, each 64 KiB of them different.
        data = b"".join(number.to_bytes(4, "big") + (bytes(range(251)) * 262)[:65532] for number in range(11))[:700_000]
        reference = store.store_media(MediaContent(data=data, mime_type="video/mp4"), R1)
        with store.open(reference) as opened:
            file: Any = opened
            assert (file.readable(), file.seekable()) == (True, True)
            assert file.read(5) == data[:5]
            assert file.seek(600_000) == 600_000
            assert file.read(10) == data[600_000:600_010]
            assert file.tell() == 600_010
            file.seek(-3, 2)
            assert file.read() == data[-3:]
            assert file.read() == b""
            file.seek(1)
            buffer = bytearray(300_000)
            assert file.readinto(buffer) == 300_000
            assert buffer == data[1:300_001]
            file.seek(0)
            assert file.read() == data
        assert file.closed
        with pytest.raises(ValueError, match="closed"):
            file.read()

    def test_an_opened_media_gives_lines_and_an_empty_one_is_a_media(self, store: MediaStore) -> None:
        """Empty objects have no ranges, and some servers answer none of them."""
        with store.open(store.store_media(MediaContent.from_text("eins\nzwei\ndrei"), R1)) as file:
            assert list(file) == [b"eins\n", b"zwei\n", b"drei"]
        reference = store.store_media(MediaContent(data=b"", mime_type="text/plain"), R1)
        with store.open(reference) as file:
            assert file.read() == b""
        content = store.retrieve_media(reference)
        assert content.read_bytes() == content.local_path().read_bytes() == b""

    def test_what_is_not_there_is_not_found(
        self, store: MediaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And whoever asks for a copy of it leaves nothing behind."""
        spool = tmp_path / "spool"
        spool.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(spool))
        store.create()
        for read in (store.retrieve_media, store.info, store.open, partial(store.retrieve_media, local_copy=True)):
            with pytest.raises(MediaNotFoundError, match=f"{_GONE}: no such media; ") as caught:
                read(_GONE)
            assert caught.value.reference == _GONE
            assert isinstance(caught.value, FileNotFoundError)
        assert store.exists(_GONE) is False
        assert list(spool.iterdir()) == []


class TestStorage(StorageContract):
    """The storage that the command line names."""
