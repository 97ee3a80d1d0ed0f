"""What lies on this machine is sent to S3 in parts while it is read, with no copy of it; all else once all has come."""

import _thread
import asyncio
import hashlib
import io
import os
import traceback
from contextlib import nullcontext, suppress
from datetime import timedelta
from itertools import product

import pytest

from fsmedia import (
    AsyncMediaStore,
    InvalidMediaError,
    MediaContent,
    MediaMetadata,
    MediaStore,
    MediaTooLargeError,
    StorageError,
)
from fsmedia.storage import fsspec_backend, open_backend
from fsmedia.storage.s3 import PART_BYTES, UploadStage
from fsmedia.store import utc_now
from tests.conftest import on
from tests.contract.specimens import R1, raised
from tests.servers import WrongAnswer
from tests.storages import S3_MOTO, S3_RCLONE, S3_SEAWEED

DATA = os.urandom(2**20) * (3 * PART_BYTES // 2**20) + b"the end"
SIZE = len(DATA)
GRACE = timedelta(hours=24)
NO_SUCH_UPLOAD = b"<Error><Code>NoSuchUpload</Code><Message>signed with moto-secret-Zq93\nand more</Message></Error>"


class Read(io.BytesIO):
    """Bytes of this machine, with which something happens at the read of a number."""

    def __init__(self, data=DATA, at=6, do=bool):
        super().__init__(data)
        self.left, self.do = at, do

    def read(self, size=-1):
        self.left -= 1
        if self.left == 0:
            self.do(self)
        return super().read(size)


def opened(storage, **settings):
    return MediaStore(storage.url, storage_options=storage.options, **settings)


def content(source):
    return MediaContent(data=source, mime_type="video/mp4")


def stands(store, reference, data=DATA):
    record = store.info(reference)
    return (record.size_bytes, record.sha256) == (len(data), hashlib.sha256(data).hexdigest()) and (
        store.retrieve_media(reference).read_bytes() == data
    )


def is_empty(store):
    """Nothing of a media is there, not even a part of it; the settings may be."""
    return {*store._backend.entries()} == {*store._backend.entries(".fsmedia")} and not [*store._backend.uploads()]


@on(S3_MOTO, S3_SEAWEED, of=(S3_MOTO, S3_SEAWEED))
def test_there_is_no_copy_of_it_on_this_machine(storage, monkeypatch, tmp_path):
    file, store = tmp_path / "film.mp4", opened(storage).create()
    file.write_bytes(DATA)
    monkeypatch.setattr(fsspec_backend, "temporary_file", None)
    for source in (MediaContent.from_path(file), content(io.BytesIO(DATA)), content(file.open("rb"))):
        with storage.counted() as requests, source.data or nullcontext():
            reference = store.store_media(source, R1)
        assert (requests["start_upload"], requests["put_part"], requests["finish_upload"]) == (1, 4, 1)
        assert stands(store, reference)
        assert store._backend.open(reference).read(4) == DATA[:4]
        assert storage.content_type(reference) in (None, "video/mp4")


@pytest.mark.parametrize(
    "why", ["no size is known", "bytes are shared", "its name is a client's", "it gets a header", "no settings yet"]
)
def test_what_may_go_elsewhere_or_pause_is_sent_once_all_has_come(moto_storage, why, monkeypatch):
    store, begun = opened(moto_storage, deduplicate="shared" in why), []
    if "settings" not in why:
        store.create()
    monkeypatch.setattr(UploadStage, "write", lambda *_: begun.append("a part"))
    if "size" in why:
        with store.create_media(R1, "video/mp4") as writer:
            writer.write(DATA)
        assert stands(store, writer.reference)
    elif "name" in why:
        assert stands(store, store.store_media(content(io.BytesIO(DATA)), R1, path="runs/r1/film.mp4"))
    else:
        kind = "audio/L16;rate=8000" if "header" in why else "video/mp4"
        made = store.store_media(MediaContent(data=io.BytesIO(DATA), mime_type=kind), R1)
        assert store.info(made).size_bytes >= SIZE
    assert not begun


@pytest.mark.parametrize("size", [2 * PART_BYTES - 1, 2 * PART_BYTES, 2 * PART_BYTES + 1, 3 * PART_BYTES])
def test_parts_are_whole_but_the_last(moto_storage, size):
    store = opened(moto_storage).create()
    with moto_storage.counted() as requests:
        reference = store.store_media(content(io.BytesIO(DATA[:size])), R1)
    assert requests["put_part"] == (0 if size < 2 * PART_BYTES else -(-size // PART_BYTES))
    assert stands(store, reference, DATA[:size])


def test_a_source_that_changes_while_it_is_read_is_stored_as_it_was_read(moto_storage):
    store = opened(moto_storage).create()
    for change in (lambda file: file.truncate(6 * 2**20), lambda file: file.truncate(2**20), grown):
        source = Read(do=change)
        reference = store.store_media(content(source), R1)
        assert store.retrieve_media(reference).read_bytes()[: 2**20] == DATA[: 2**20]
        assert store.verify(deep=True).whole


def grown(file):
    place = file.tell()
    file.seek(0, io.SEEK_END)
    file.write(DATA)
    file.seek(place)


def fails(error):
    def do(_):
        raise error

    return do


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no bytes"), OSError("the disk")])
@pytest.mark.parametrize("at", [1, 5, 6, 11, 16])
def test_nothing_stays_of_what_was_not_read_to_its_end(moto_storage, at, error):
    store = opened(moto_storage).create()
    with pytest.raises((KeyboardInterrupt, InvalidMediaError)):
        store.store_media(content(Read(at=at, do=fails(error))), R1)
    assert is_empty(store)


@pytest.mark.parametrize("during", ["create_multipart_upload", "upload_part", "complete_multipart_upload"])
def test_nothing_is_sent_after_an_interrupt_has_ended_it(moto_storage, during, monkeypatch):
    """What comes after an upload is aborted stays, and is paid for, for ever."""
    store, calls, ending = opened(moto_storage).create(), [], asyncio.Event()
    real, abort = store._backend.fs._call_s3, UploadStage._abort

    async def call(method, *defaults, **asked):
        calls.append((method, "begun"))
        if method == during and calls.count((method, "begun")) == 1:
            _thread.interrupt_main()
            await ending.wait()
        try:
            return await real(method, *defaults, **asked)
        finally:
            calls.append((method, "ended"))

    async def aborted(self):
        ending.set()
        await abort(self)

    monkeypatch.setattr(store._backend.fs, "_call_s3", call)
    monkeypatch.setattr(UploadStage, "_abort", aborted)
    with pytest.raises(KeyboardInterrupt):
        store.store_media(content(io.BytesIO(DATA)), R1)
    # In the end all parts were done that had been begun.
    parts = [each for each in calls if each[0] == "upload_part"]
    assert (
        parts == [] if "create" in during else calls.index(("abort_multipart_upload", "begun")) > calls.index(parts[-1])
    )
    assert not [*store.list()]
    assert not [*store._backend.uploads()]


def test_nothing_stays_of_what_is_too_large(moto_storage):
    store = opened(moto_storage, max_file_size=SIZE + 10).create()
    raised(MediaTooLargeError, store.store_media, content(Read(do=grown)), R1)
    assert is_empty(store)
    with moto_storage.counted() as requests:
        raised(MediaTooLargeError, store.store_media, content(io.BytesIO(DATA * 2)), R1)
    assert not requests


WHERE = (r"\?uploads", r"partNumber=2", r"\?uploadId")
ANSWERS = ({"status": 500}, {"status": 403}, {"status": 404}, {"status": 200}, {"change": "closed"})
USUAL = [*product(WHERE, [True], ANSWERS[::2]), *product(WHERE, [False], [ANSWERS[3]])]
FULL = [
    pytest.param(*case, marks=pytest.mark.full) for case in product(WHERE, [True, False], ANSWERS) if case not in USUAL
]


@pytest.mark.parametrize(("where", "after", "answer"), [*USUAL, *FULL], ids=str)
def test_an_answer_that_is_wrong_or_lost_once_makes_no_half_a_media(moto_storage, where, after, answer):
    store = opened(moto_storage).create()
    method = "PUT" if "part" in where else "POST"
    rule = answer if "change" in answer else {"body": b"", **answer}
    wrong = WrongAnswer(method, where, times=1, after=after, **rule)
    with moto_storage.server.answering(wrong), suppress(StorageError):
        assert stands(store, store.store_media(content(io.BytesIO(DATA)), R1))
    for reference in store.list():
        assert stands(store, reference)
    # What nobody can know of at once goes later, by a sweep or a repair.
    assert store.verify(deep=True).counts.keys() <= {"upload", "bytes"}
    assert [*store._backend.uploads()] == [] or ("uploads" in where and (after or "change" in answer))


@on(S3_RCLONE, of=(S3_RCLONE, S3_MOTO, S3_SEAWEED))
@pytest.mark.parametrize("after", [False, True])
def test_of_an_end_without_an_answer_it_is_seen_whether_it_was_done(storage, after):
    store = opened(storage).create()
    unknown = WrongAnswer("POST", r"\?uploadId", status=500, body=b"", after=after, times=1)
    with storage.server.answering(unknown):
        assert stands(store, store.store_media(content(io.BytesIO(DATA)), R1))


@on(S3_RCLONE, of=(S3_RCLONE,))  # of others the condition fails then, by what may be somebody else's
def test_what_was_sent_once_all_had_come_is_sent_again_where_its_end_had_no_answer(storage):
    store = opened(storage)
    for path in (None, "runs/r1/film.mp4"):
        unknown = WrongAnswer("POST", r"\?uploadId", status=500, body=b"", after=True, times=1)
        with storage.server.answering(unknown), storage.counted() as requests:
            assert stands(store, store.store_media(content(io.BytesIO(DATA)), R1, path=path))
        assert requests["start_upload"] == 2


@on(S3_SEAWEED, of=(S3_SEAWEED,))  # moto answers a part of one with 500
def test_an_upload_that_somebody_ended_is_an_error_that_says_so(storage):
    store = opened(storage).create()

    def end(_):
        (upload,) = store._backend.uploads()
        store._backend.abort(upload)

    raised(StorageError, store.store_media, content(Read(at=11, do=end)), R1, match="does not know the upload")
    assert is_empty(store)


def test_what_took_more_than_half_of_the_grace_is_looked_at_again(moto_storage):
    """S3 dates an object of several parts by the begin of its upload, so that it may be taken for a leftover."""
    late = [timedelta(0)]
    store = opened(moto_storage, now=lambda: utc_now() + late[0]).create()

    def wait(_):
        late[0] += GRACE * 0.6

    looks = []
    for do in (bool, wait):
        with moto_storage.counted() as requests:
            store.store_media(content(Read(do=do)), R1)
        looks.append(requests["head"])
    assert looks[1] == looks[0] + 1


@pytest.mark.anyio
async def test_whoever_no_longer_waits_leaves_no_half(moto_storage):
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncMediaStore(moto_storage.url, storage_options=moto_storage.options) as store:
        await store.create()
        source = Read(do=lambda _: loop.call_soon_threadsafe(begun.set))
        task = asyncio.create_task(store.store_media(content(source), MediaMetadata(run_id="r1")))
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    left = opened(moto_storage)
    assert all(stands(left, reference) for reference in left.list())
    assert not [*left._backend.uploads()]


@pytest.mark.parametrize("number", [1, 2, 4])
def test_what_somebody_cancels_on_the_loop_was_not_done(moto_storage, number, monkeypatch):
    """fsspec gives None for it, as for a write that was done; aiohttp cancels what waits for a closed session."""
    store = opened(moto_storage).create()
    real = store._backend.fs._call_s3

    async def call(method, *defaults, **asked):
        if asked.get("PartNumber") == number:
            raise asyncio.CancelledError
        return await real(method, *defaults, **asked)

    monkeypatch.setattr(store._backend.fs, "_call_s3", call)
    raised(StorageError, store.store_media, content(io.BytesIO(DATA)), R1, match="broken off")
    assert is_empty(store)


def test_an_interrupt_before_it_begins_leaves_nothing_that_begins_later(moto_storage, monkeypatch):
    store, sent = opened(moto_storage).create(), []
    real = UploadStage._begin

    async def begin(self, part):
        sent.append(len(part))
        self._is_over = True  # as after a Ctrl-C while the loop is busy
        await real(self, part)

    monkeypatch.setattr(UploadStage, "_begin", begin)
    with moto_storage.counted() as requests:
        raised(StorageError, store.store_media, content(io.BytesIO(DATA)), R1)
    assert (sent, requests) == ([PART_BYTES], {})


def test_a_look_that_hangs_after_a_lost_end_has_a_limit(moto_storage, monkeypatch):
    store = opened(moto_storage, timeout=timedelta(seconds=0.3)).create()
    monkeypatch.setattr(store._backend, "_look", lambda _: asyncio.Event().wait())
    lost = WrongAnswer("POST", r"\?uploadId", status=404, body=NO_SUCH_UPLOAD)
    with moto_storage.server.answering(lost):
        raised(StorageError, store.store_media, content(io.BytesIO(DATA)), R1, match="no answer in time")


@pytest.mark.parametrize(("method", "where"), [("PUT", "partNumber=3"), ("POST", r"\?uploadId")])
def test_a_refusal_shows_no_secret_that_the_server_repeats(moto_storage, method, where):
    store = opened(moto_storage).create()
    told = WrongAnswer(method, where, status=404, body=NO_SUCH_UPLOAD)
    with moto_storage.server.answering(told):
        error = raised(StorageError, store.store_media, content(io.BytesIO(DATA)), R1, match="does not know the upload")
    assert moto_storage.options["secret"] not in "".join(traceback.format_exception(error))
    assert is_empty(store)


def test_large_parts_are_fewer_at_once():
    """Of one of 500 GB each has 50 MB."""
    backend = open_backend("s3://bucket/media", {"key": "k", "secret": "s"}, timeout=timedelta(seconds=1))
    for size, at_once in ((SIZE, 4), (50 * 10**9, 4), (100 * 10**9, 2), (500 * 10**9, 1)):
        assert backend.stage_file("runs/r1/a.mp4", size, "video/mp4")._at_once == at_once
