"""Operations of `media://` are told as those of a store are: to the store's hooks, and below the current span."""

from __future__ import annotations

import asyncio
import pickle

import fsspec
import pytest

from fsmedia import MediaFileSystem, MediaNotFoundError, MediaStore
from tests.contract.specimens import PNG, R1, png

A, B = "runs/r1/a.png", "runs/r1/b.png"


def told(heard):
    """Return operation, reference, size and enclosing operation of each event, and forget them."""
    found = [(each.operation, each.reference, each.size_bytes, each.within) for each in heard]
    heard.clear()
    return found


@pytest.fixture
def fs(store, heard):
    filesystem = store.create().fs
    heard.clear()
    return filesystem


def test_bytes_written_and_read(fs, heard):
    fs.pipe_file(A, PNG)
    with fs.open(B, "wb") as file:
        file.write(PNG)
        assert heard == [] or heard[-1].reference == A
    assert [(each.name, each.run_id, each.mime_type) for each in heard] == [("media.stored", "r1", "image/png")] * 2
    assert told(heard) == [("store", A, len(PNG), None), ("store", B, len(PNG), None)]
    assert fs.cat_file(A, 0, 10) == PNG[:10]
    assert told(heard) == [("retrieve", A, 10, None)]
    assert fs.cat([A, B]) == {A: PNG, B: PNG}
    assert sorted(told(heard)) == [("retrieve", A, len(PNG), None), ("retrieve", B, len(PNG), None)]
    with fs.open(A) as file:
        file.read()
    assert told(heard) == [("open", A, None, None)]


def test_many_at_once(fs, heard, tmp_path):
    fs.pipe({A: PNG, B: PNG})
    assert {(each[0], each[1]) for each in told(heard)} >= {("store", A), ("store", B)}
    fs.get([A, B], [str(tmp_path / "a"), str(tmp_path / "b")])
    assert {each[1] for each in told(heard)} == {A, B}
    assert (tmp_path / "a").read_bytes() == PNG
    fs.rm([A, B])
    assert sorted(told(heard), key=str) == [
        ("delete", A, len(PNG), "delete_many"),
        ("delete", B, len(PNG), "delete_many"),
        ("delete_many", None, None, None),
    ]


def test_copies_moves_and_what_is_not_there(fs, heard):
    fs.pipe_file(A, PNG)
    heard.clear()
    fs.cp_file(A, B)
    assert told(heard) == [("copy", A, None, None)]
    fs.mv(B, "runs/r2/c.png")
    assert told(heard) == [("copy", B, None, "move"), ("delete", B, len(PNG), "move"), ("move", None, None, None)]
    fs.rm_file(A)
    assert told(heard) == [("delete", A, len(PNG), None)]
    for ask in (fs.cat_file, fs.rm_file):
        with pytest.raises(MediaNotFoundError):
            ask(A)
    with pytest.raises(FileNotFoundError):
        fs.cat([A, B])
    assert {(each.name, each.error_type) for each in heard} == {("media.store_error", "MediaNotFoundError")}


def test_spans_are_below_the_callers_also_on_fsspecs_loop(fs, exported):
    fs.pipe({A: PNG, B: PNG})
    tracer = exported.tracers.get_tracer("program")
    with tracer.start_as_current_span("chat") as chat:
        fs.cat([A, B])
        fs.cat_file(A)

        async def ask():
            return await asyncio.gather(*(fs._cat_file(each) for each in (A, B)))

        if not fs._backend.asynchronous:  # else its coroutines belong to fsspec's loop
            asyncio.run(ask())
    found = exported.named("media.retrieve")
    assert len(found) in (3, 5)
    assert {span.parent.span_id for span in found} == {chat.get_span_context().span_id}


class Kept:
    """A hook that can be pickled."""

    events: list = []  # noqa: RUF012 - of all instances

    def __call__(self, event):
        self.events.append(event)


def test_a_filesystem_takes_hooks_of_its_own_and_pickles_them(local_storage):
    store = MediaStore(local_storage.url)
    reference = store.store_media(png(), R1)
    fs = fsspec.filesystem("media", root=local_storage.url, hooks=[Kept()], skip_instance_cache=True)
    Kept.events.clear()
    assert isinstance(fs, MediaFileSystem)
    pickle.loads(pickle.dumps(fs)).cat_file(reference)
    assert [event.reference for event in Kept.events] == [reference]
    assert "hooks" not in fs.to_dict()
