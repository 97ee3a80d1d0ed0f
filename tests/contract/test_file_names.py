"""What a file was called: kept with its media, given back, and safe whoever wrote it."""

import json
from pathlib import Path

import pytest

from fsmedia import MediaContent, errors
from fsmedia.catalog import schema
from tests.catalogs import old_enough
from tests.conftest import make_storage, storages
from tests.contract.specimens import PNG, edited, put, raised
from tests.storages import GCS, LOCAL, MEMORY, S3_MOTO, Storage
from tests.transfers import opened

storage = storages(LOCAL, MEMORY, S3_MOTO, GCS)
HOSTILE = {
    "../../etc/passwd": "passwd", "C:\\x\\y.png": "y.png", "/abs/.bashrc": "bashrc", "-rf": "rf", "..": None, "": None,
    "\u202egnp.exe": "gnp.exe", "a\r\nSet-Cookie: b=c.png": "aSet-Cookie: b=c.png", "\x1b[31m.png": "[31m.png",
    "x" * 5000 + ".png": "x" * 196 + ".png", "<b>\"'&.png": "<b>\"'&.png",
    "e\u0301.png": "\xe9.png",
}  # fmt: skip
"""What a sidecar may say, and what is made of it."""


def test_a_file_keeps_its_name(storage: Storage, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Through a store, out of it into the same and another one, and a sync that organizes anew."""
    path = tmp_path / "Gr\u00fc\u00dfe (1).PNG"
    path.write_bytes(PNG)
    store = opened(storage)
    content = MediaContent.from_path(path)
    reference = put(store, content=content, conversation_id="c1")
    assert (
        content.file_name == store.retrieve_media(reference).file_name == store.info(reference).file_name == path.name
    )
    assert json.loads(storage.read(f"{reference}.meta"))["content"] == {"file_name": path.name}
    again = put(store, "r2", store.retrieve_media(reference))
    by_bytes = put(store, "r3", MediaContent.from_path(path, file_name=None))
    assert [store.info(each).file_name for each in (again, by_bytes)] == [path.name, None]
    assert "content" not in json.loads(storage.read(f"{by_bytes}.meta"))
    column = dict(
        zip(*(store.catalog().to_arrow()[name].to_pylist() for name in ("reference", "file_name")), strict=True)
    )
    assert column == {reference: path.name, again: path.name, by_bytes: None}
    (record,) = store.annotate(by_bytes, file_name="e\u0301.png")
    assert record.file_name == store.info(by_bytes).file_name == "\xe9.png"
    raised(errors.InvalidMediaError, store.annotate, by_bytes, file_name="../x", match="file_name: must be a file name")
    assert store.annotate(by_bytes, file_name=None)[0].file_name is None
    target = make_storage(MEMORY, request, tmp_path)
    report = store.sync_to(target.url, organization="by-conversation", deduplicate=True, run_id="r1")
    (moved,) = opened(target).list()
    assert (report.failed, opened(target).info(moved).file_name) == ((), path.name)


def test_what_a_strangers_sidecar_says_is_made_safe_or_left_out(storage: Storage) -> None:
    """The media is read all the same: a name is no reason to lose it."""
    store = opened(storage)
    reference = put(store)
    for said, made in {**HOSTILE, 5: None, None: None, ("a",): None}.items():
        edited(storage, reference, content={"caption": "kept", "file_name": said})
        record, content = store.info(reference), store.retrieve_media(reference)
        assert (record.file_name, content.file_name, record.caption) == (made, made, "kept"), said
        assert content.read_bytes() == PNG
        assert store.info(put(store, "r2", content)).file_name == made


def test_a_row_of_a_version_that_knew_no_names_is_read_anew(local_storage: Storage, monkeypatch) -> None:
    store = opened(local_storage)
    put(store, content=MediaContent.from_bytes(PNG, file_name="a.png"))
    with monkeypatch.context() as patched, old_enough():
        patched.setattr(schema, "_RULES", 2)
        patched.setattr(schema, "COLUMNS", tuple(each for each in schema.COLUMNS if each.name != "file_name"))
        assert "file_name" not in store.catalog().to_arrow().column_names
    with old_enough():
        assert opened(local_storage).catalog().to_arrow()["file_name"].to_pylist() == ["a.png"]


def test_a_file_of_raw_sound_is_called_what_it_became(memory_storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "take 1.pcm").write_bytes(bytes(100))
    store = opened(memory_storage)
    record = store.info(put(store, content=MediaContent.from_path(tmp_path / "take 1.pcm")))
    assert (record.mime_type, record.file_name) == ("audio/wav", "take 1.wav")
