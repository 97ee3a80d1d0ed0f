"""What is refused or given up leaves nothing: no byte, no folder, no temporary file, in a new root as in one in use."""

import io
import os
from functools import partial

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from tests.conftest import storages
from tests.contract.specimens import LIMIT, PNG, R1, STORE_JSON, of_size, png, put, raised
from tests.storages import LOCAL, MEMORY, S3_RCLONE

MP4 = "video/mp4"
SHARED = pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
# A place on disk, in memory, in a bucket: the three ways in which bytes wait to be stored.
storage = storages(LOCAL, MEMORY, S3_RCLONE)


class Interrupted(BaseException):
    """What a user's Ctrl-C is like."""


class Faulty:
    """A stream that gives some bytes and then fails, or gives what is no bytes."""

    def __init__(self, then):
        self._answers = iter([PNG, then])

    def read(self, size=-1):
        answer = next(self._answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def writing(store, *pieces, error=None, mime_type=MP4):
    """Write pieces through `create_media`, and fail in its block."""
    with store.create_media(R1, mime_type) as writer:
        for piece in pieces:
            writer.write(piece)
        if error is not None:
            raise error


def test_what_is_too_large_is_refused(limited, unchanged, tmp_path):
    data = of_size(LIMIT + 1)
    path, sparse = tmp_path / "large.mp4", tmp_path / "sparse.mp4"
    path.write_bytes(data)
    sparse.touch()
    os.truncate(sparse, 1 << 42)  # refused by its size: reading it would take an hour
    sources = [{"data": data}, {"data": io.BytesIO(data)}]
    sources += [{"file_path": each} for each in (str(path), sparse, "/dev/zero")]  # the endless one on the way
    for source in sources:
        content = MediaContent(**source, mime_type=MP4)
        with unchanged(), pytest.raises(errors.MediaTooLargeError, match=f"max_file_size of {LIMIT} bytes; "):
            limited.store_media(content, R1)
    with unchanged(), pytest.raises(errors.MediaTooLargeError):
        writing(limited, data[:-1], b"!")


def test_equal_to_the_limit_is_taken(storage, open_store):
    store = open_store(max_file_size=LIMIT)
    data = of_size(LIMIT)
    assert storage.read(store.store_media(MediaContent(data=data, mime_type=MP4), R1)) == data
    assert storage.read(store.store_media(MediaContent.from_stream(io.BytesIO(data), MP4), R1)) == data


BREAKS = [
    (OSError(5, "gone"), errors.InvalidMediaError),
    (ValueError("I/O operation on closed file"), errors.InvalidMediaError),
    ("text", errors.InvalidMediaError),
    (None, errors.InvalidMediaError),  # a stream that does not block
    (RuntimeError("the caller's own"), errors.InvalidMediaError),
    (Interrupted(), Interrupted),
]


def test_a_stream_that_breaks_in_the_middle_leaves_nothing(limited, unchanged):
    for then, error in BREAKS:
        with unchanged(), pytest.raises(error):
            limited.store_media(png(data=Faulty(then)), R1)


def test_files_that_are_none_are_refused(limited, unchanged, tmp_path):
    (tmp_path / "file").write_bytes(PNG)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    refused = {str(tmp_path / name): errors.MediaNotFoundError for name in ("missing.png", "link", "file/below")}
    refused |= {str(tmp_path): errors.InvalidMediaError, "nul\0": errors.StorageError}
    for path, error in refused.items():
        content = MediaContent(file_path=path, mime_type="image/png")
        with unchanged(), pytest.raises(error) as caught:
            limited.store_media(content, R1)
        assert caught.value.key == path


NO_ID = (errors.InvalidMediaError, "run_id is required")
METADATA = {"no id": ({}, *NO_ID), "an empty id": ({"run_id": "", "session_id": "s1"}, *NO_ID)}
# Unknown, zero, negative, leading zero, sign, blank, case, unit, other digits, overflow, past year 9999.
POLICIES = {name: name for name in ("for-ever", "retain-0days", "delete-after--5min", "retain-05days", "Retain-5days")}
POLICIES |= {"retain-+5days": r"retain-\+5days", "retain-5days ": "retain-5days", "retain-5weeks": "retain-5weeks"}
POLICIES |= {"retain-\u0665days": "retain", f"retain-{10**30}days": "longer", "retain-3000000days": "9999"}
NO_POLICY = errors.UnknownPolicyError
METADATA |= {name: ({"run_id": "r1", "policy_name": name}, NO_POLICY, text) for name, text in POLICIES.items()}


def test_metadata_that_do_not_fit_are_refused(limited, unchanged):
    with unchanged():
        for fields, error, text in METADATA.values():
            metadata = MediaMetadata(**fields)
            for content in (png(), png(data=io.BytesIO(PNG))):
                raised(error, limited.store_media, content, metadata, match=text)
            raised(error, limited.create_media, metadata, "image/png", match=text)


def test_a_bad_policy_of_the_content_or_of_the_store_is_refused(storage, open_store, unchanged):
    """That of the store when it is opened: else it would be made, and every later media without a policy refused."""
    with unchanged(), pytest.raises(errors.UnknownPolicyError, match="for-ever"):
        open_store().store_media(png(policy_name="for-ever"), R1)
    for name, settings in (("retain-0days", {}), ("audit", {}), ("audit", {"policies": []})):
        with unchanged(), pytest.raises(errors.UnknownPolicyError, match=name):
            open_store(default_policy=name, **settings)


def test_arguments_that_are_missing_or_of_another_kind(limited, unchanged):
    stored = [(None, R1), (png(), None), (R1, png()), (PNG, R1), (png(), {"run_id": "r1"})]
    written = [(None, MP4), (R1, None), (R1, ""), (R1, "no mime type"), (R1, "image/png\r\nX-Evil: 1")]
    with unchanged():
        for method, calls in ((limited.store_media, stored), (limited.create_media, written)):
            for words in calls:
                raised(errors.InvalidMediaError, method, *words)


def test_contents_that_cannot_be_are_refused_when_they_are_made(tmp_path):
    """What else no source may be is said in the unit tests of contents."""
    (tmp_path / "text.txt").write_text("text")
    with (tmp_path / "text.txt").open() as text:
        for fields in ({"data": text}, {"data": PNG, "mime_type": "image/*"}, {"width": -1}, {"nothing_known": 1}):
            raised(errors.InvalidMediaError, MediaContent, **{"data": PNG, "mime_type": "image/png", **fields})


def test_settings_that_cannot_be_are_refused_before_anything_is_asked(memory_storage):
    for settings in (
        {"max_file_size": 0}, {"max_file_size": -1}, {"max_file_size": "1"}, {"durability": "never"}, {"timeout": 60},
        {"organization": "by-user"}, {"policies": {"retain-5days": "x"}}, {"default_policy": 5},
        {"layouts": {"by-user": "x/{run_id}/{name}{ext}"}},
    ):  # fmt: skip
        assert isinstance(raised(errors.MediaError, MediaStore, memory_storage.url, **settings), ValueError)
    assert memory_storage.keys() == set()


@SHARED
def test_a_read_only_store_reads_and_refuses_every_write(storage, open_store, unchanged, deduplicate):
    reference = put(open_store(deduplicate=deduplicate))
    store, again = (open_store(read_only=True, **words) for words in ({}, {"deduplicate": deduplicate}))
    writes = [store.create, store.enforce_policy, partial(put, again), partial(store.create_media, R1, MP4)]
    writes += [partial(store.delete_media, each) for each in (reference, "runs/r1/nothing.png")]
    writes += [partial(store.verify, repair=kind) for kind in ("leftovers", True)]
    writes += [partial(store.apply_policy, reference, "retain-1hours"), partial(put, store)]
    writes.append(partial(store.fs.cp, reference, reference.replace("r1/", "r2/")))
    with unchanged():
        for write in writes:
            error = raised(errors.ReadOnlyStoreError, write, match="read-only; open it without")
            assert isinstance(error, PermissionError)
        assert store.retrieve_media(reference).read_bytes() == store.fs.cat(reference) == PNG
        assert list(store.list()) == list(store.list(run_id="r1")) == [reference]
        assert store.verify(repair="leftovers", dry_run=True).findings == ()


def test_a_refusal_takes_all_new_folders_back_and_leaves_an_empty_root_that_was_there(tmp_path):
    (tmp_path / "there").mkdir(mode=0o755)
    for root in ("new/deep/root", "there"):
        store = MediaStore(tmp_path / root, max_file_size=3)
        raised(errors.MediaTooLargeError, store.store_media, MediaContent.from_stream(io.BytesIO(PNG), MP4), R1)
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_name_that_somebody_else_took_for_a_file_is_refused_readably(local_storage):
    local_storage.write("runs/r1", b"a file where a folder must be")
    store = MediaStore(local_storage.url)
    assert raised(errors.StorageError, store.store_media, png(), R1).reference.startswith("runs/r1/")
    assert local_storage.read("runs/r1") == b"a file where a folder must be"
    assert local_storage.keys() <= {"runs/r1", STORE_JSON}


def test_conflicting_settings_refuse_before_the_first_byte(storage, open_store, unchanged):
    late = open_store(organization="by-session")
    open_store().create()
    with unchanged(), pytest.raises(errors.StoreConflictError):
        late.store_media(png(), MediaMetadata(run_id="r1", session_id="s1"))
    assert storage.keys() == {STORE_JSON}


def test_ids_too_long_for_a_key_are_refused(memory_storage):
    template = "{provider_id}/{session_id}/{conversation_id}/{mime_type}/{run_id}/{name}{ext}"
    store = MediaStore(memory_storage.url, layouts={"by-run": template})
    long = dict.fromkeys(("provider_id", "session_id", "conversation_id", "run_id"), "x" * 250)
    assert raised(errors.InvalidLayoutError, store.store_media, png(), MediaMetadata(**long), match="1024").reference
    assert memory_storage.keys() == set()


def test_a_writer_whose_block_goes_on_after_a_refused_write_says_so_at_the_end(limited, unchanged):
    def write_on():
        with limited.create_media(R1, MP4) as writer:
            raised(errors.MediaTooLargeError, writer.write, of_size(LIMIT + 1))
            raised(errors.InvalidMediaError, writer.write, b"more", match="not open")

    with unchanged(), pytest.raises(errors.InvalidMediaError, match="given up"):
        write_on()


@SHARED
@pytest.mark.parametrize("size", [10, 9 * 2**20], ids=["in memory", "in a file"])
def test_an_exception_in_the_block_stores_nothing_and_comes_out(storage, open_store, unchanged, size, deduplicate):
    """Raw sound too, whose header is written with the first bytes."""
    raised_in = [(error, MP4) for error in (RuntimeError("mine"), KeyboardInterrupt(), Interrupted())]
    for error, mime_type in (*raised_in, (RuntimeError("raw sound"), "audio/pcm")):
        with unchanged(), pytest.raises(type(error)) as caught:
            writing(open_store(deduplicate=deduplicate), of_size(size), error=error, mime_type=mime_type)
        assert caught.value is error


def test_a_writer_is_used_once_and_takes_bytes_and_one_that_was_never_entered_leaves_nothing(store, unchanged):
    with unchanged():
        writer = store.create_media(R1, MP4)
        raised(errors.InvalidMediaError, writer.write, b"x", match="not open")
        with pytest.raises(errors.InvalidMediaError, match="not stored"):
            _ = writer.reference
    with writer:
        raised(errors.InvalidMediaError, writer.write, "text", match="bytes, not str")
        writer.write(b"bytes")
    assert store.retrieve_media(writer.reference).read_bytes() == b"bytes"
    raised(errors.InvalidMediaError, writer.__enter__, match="used already")
    raised(errors.InvalidMediaError, writer.write, b"late", match="not open")


def test_where_no_folder_can_be_made_is_told():
    error = raised(errors.StorageError, put, MediaStore("/proc/media"), match="/proc/media")
    assert "folder" in error.next_step
