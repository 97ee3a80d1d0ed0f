"""Exports write whole files, go on where they were killed, replace nothing unasked, and are imported again."""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors, import_imagefolder, import_webdataset
from fsmedia.cli import typer_app
from fsmedia.cli.cmd_demo import sample_run
from fsmedia.exchange import export_audiofolder, export_imagefolder, export_webdataset, imagefolder
from tests.contract.specimens import raised
from tests.exchange.conftest import PNG
from tests.filesystem.conftest import files_in as files
from tests.protocol.faults import CRASHES, Crash, Faults, faulty_os
from tests.protocol.worlds import each_call
from tests.storages import Storage

NOON = datetime(2026, 3, 4, 12, 0, 0, 500, tzinfo=UTC)
HOSTILE = '../../test/\N{SNOWMAN}\n{"a": 1}'
EXPORTS: list[Callable[..., Any]] = [export_imagefolder, export_audiofolder, export_webdataset]
EACH_EXPORT = pytest.mark.parametrize("export", EXPORTS)
MEANINGLESS = [
    *((export_imagefolder, words) for words in ({"split": "../x"}, {"table": "csv"}, {"mime_type": 7}, {"limit": -1})),
    *((export_webdataset, {"prefix": prefix}) for prefix in ("../x", "a.b", "")),
    *((export_webdataset, words) for words in ({"shard_bytes": 0}, {"shard_count": True})),
]
MADE = datetime(2026, 3, 4, 5, 6, 7, 890123, UTC)
IN_NO_TABLE = {"reference", "policy_name", "expires_at", "xattrs", "detail", "size_kb"}
LOST = IN_NO_TABLE | {"format", "bit_rate", "channels", "fps"}
ATTRIBUTES = {
    "prompt": HOSTILE, "seed": 2**63 - 1, "score": 4.5, "kept": True, "tags": ["night", "a\nb"], "no": [], "a.b-c": "",
    # What `datasets` or a table of ours takes for something else.
    "text": "t", "Width": 7, "image": "i", "file_name": "../../etc/passwd", "old_file_name": "/etc/passwd",
    "file_names": ["x"], "x.attribute": 1, "text.attribute": 2,
}  # fmt: skip


def put(store: MediaStore, data: bytes, mime_type: str, run: str = "r1", **fields: Any) -> str:
    content = MediaContent(data=data, mime_type=mime_type, **fields)
    return store.store_media(content, MediaMetadata(run_id=run, message_idx=3, timestamp=NOON, provider_id=HOSTILE))


def fill(store: MediaStore) -> list[str]:
    """Two pictures, a picture that nobody reads, a sound, a text, a JSON document."""
    others = {"image/svg+xml": b"<svg/>", "audio/pcm": b"\1\2" * 500, "text/plain": b"hello", "application/json": b"{}"}
    pictures = [put(store, PNG, "image/png", caption=HOSTILE), put(store, PNG + b"2", "image/png", run=HOSTILE)]
    return [*pictures, *(put(store, data, kind) for kind, data in others.items())]


def noted(store: MediaStore, number: int, **attributes: Any) -> str:
    metadata = MediaMetadata(run_id="r1", message_idx=number, timestamp=NOON, attributes=attributes)
    return store.store_media(MediaContent(data=PNG + b"%d" % number, mime_type="image/png"), metadata)


@pytest.fixture
def pictures(memory: MediaStore) -> MediaStore:
    fill(memory)
    return memory


def rows(top: Path, table: str = "train/metadata.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (top / table).read_text().splitlines()]


# -- folders -----------------------------------------------------------------------------------------------
def test_pictures_and_a_table_of_them(store: MediaStore, tmp_path: Path) -> None:
    references = fill(store)
    report = export_imagefolder(store, tmp_path / "out")
    assert (report.examined, report.exported, report.bytes) == (3, 2, 2 * len(PNG) + 1)
    left_out = (references[2], "imagefolder takes no image/svg+xml")
    assert [(each.reference, each.reason) for each in report.skipped] == [left_out]
    assert report.files == ("train/metadata.jsonl",)
    told = {row["reference"]: row for row in rows(tmp_path / "out")}
    assert list(told) == sorted(references[:2])
    row = told[references[0]]
    assert row == {
        "file_name": references[0].rpartition("/")[2], "reference": references[0], "provider_id": HOSTILE,
        "sha256": hashlib.sha256(PNG).hexdigest(), "timestamp": "2026-03-04T12:00:00.000500Z", "text": HOSTILE,
        "run_id": "r1", "conversation_id": "", "session_id": "", "message_idx": 3, "part_idx": 0, "duration": None,
        "mime_type": "image/png", "size_bytes": len(PNG), "width": 1, "height": 1, "original_name": "",
    }  # fmt: skip
    assert (tmp_path / "out/train" / row["file_name"]).read_bytes() == PNG
    assert len(files(tmp_path / "out")) == 3
    assert {each.name for each in tmp_path.iterdir()} <= {"out", "media"}


def test_a_second_export_changes_nothing_and_a_later_one_adds(pictures: MediaStore, tmp_path: Path) -> None:
    def stamps(out: Path) -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*")}

    for form in ("jsonl", "parquet"):
        out = tmp_path / form
        export_imagefolder(pictures, out, table=form)
        before = stamps(out)
        again = export_imagefolder(pictures, out, table=form)
        assert (again.exported, again.unchanged, again.files, stamps(out)) == (0, 2, (), before)
    put(pictures, PNG + b"3", "image/png")
    for form in ("jsonl", "parquet"):
        report = export_imagefolder(pictures, tmp_path / form, table=form)
        assert (report.exported, report.unchanged, report.files) == (1, 2, (f"train/metadata.{form}",))


def test_a_table_loses_no_row_unless_asked(pictures: MediaStore, tmp_path: Path) -> None:
    export_imagefolder(pictures, tmp_path)
    before = files(tmp_path)
    table = r"train/metadata\.jsonl"
    for said, words in ((f"{table}: lists media", {"run_id": "r1"}), (table, {"table": "parquet"})):
        raised(errors.StoreConflictError, export_imagefolder, pictures, tmp_path, match=said, **words)
    assert files(tmp_path) == before
    report = export_imagefolder(pictures, tmp_path, run_id="r1", overwrite=True)
    assert (report.exported, len(rows(tmp_path))) == (1, 1)


def test_a_table_of_somebody_elses_is_left(pictures: MediaStore, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for there in ("no json", "[1]\n", '{"reference": "x"}\n'):
        (tmp_path / "train/metadata.jsonl").write_text(there)
        raised(errors.StoreConflictError, export_imagefolder, pictures, tmp_path)
        assert files(tmp_path) == {"train/metadata.jsonl": there.encode()}
    (tmp_path / "train/metadata.jsonl").write_text("")
    assert export_imagefolder(pictures, tmp_path).exported == 2
    # A file in the way is left and told.
    name = rows(tmp_path)[0]["file_name"]
    (tmp_path / "train/metadata.jsonl").unlink()
    (tmp_path / "train" / name).write_bytes(b"mine")
    assert "something else lies there" in str(export_imagefolder(pictures, tmp_path).failed[0].error)
    assert (tmp_path / "train" / name).read_bytes() == b"mine"
    assert name not in {row["file_name"] for row in rows(tmp_path)}
    assert export_imagefolder(pictures, tmp_path, overwrite=True).exported == 2
    assert (tmp_path / "train" / name).read_bytes() != b"mine"
    # A table that names a media twice is written anew.
    table = tmp_path / "train/metadata.jsonl"
    whole = table.read_text()
    table.write_text(whole + whole.splitlines(keepends=True)[0])
    assert export_imagefolder(pictures, tmp_path).files == ("train/metadata.jsonl",)
    assert table.read_text() == whole


@EACH_EXPORT
def test_a_dry_run_or_an_empty_selection_writes_nothing(export: Any, pictures: MediaStore, tmp_path: Path) -> None:
    report = export(pictures, tmp_path / "out", run_id="nobody")
    assert (report.examined, report.files) == (0, ())
    planned = export(pictures, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    done = export(pictures, tmp_path / "out")
    assert planned.model_copy(update={"dry_run": False, "took": done.took}) == done
    assert "would export" in str(planned)


@EACH_EXPORT
def test_nothing_goes_into_a_store_and_the_export_of_one_leaves_it_as_it_is(export: Any, tmp_path: Path) -> None:
    fill(MediaStore(tmp_path / "media"))
    other, store = MediaStore(tmp_path / "other").create(), MediaStore(tmp_path / "media", read_only=True)
    before = files(tmp_path)
    export(store, tmp_path.with_name(f"{tmp_path.name}-out"))
    for place in (tmp_path / "media", tmp_path / "media/runs/x", f"file://{tmp_path}/media/out", other.url):
        raised(errors.InvalidMediaError, export, store, place, match="can't go into a store")
    assert files(tmp_path) == before


@EACH_EXPORT
def test_damaged_media_are_told_and_left_out(export, memory, memory_storage: Storage, tmp_path: Path) -> None:
    kind = "audio/wav" if export is export_audiofolder else "image/png"
    good, bad, worse = (put(memory, PNG + bytes([n]), kind) for n in range(3))
    memory_storage.write(bad, PNG + b"x")
    memory_storage.write(f"{worse}.meta", b"{")
    report = export(memory, tmp_path)
    assert ({each.reference for each in report.failed}, (report.examined, report.exported)) == ({bad, worse}, (3, 1))
    text = b"".join(files(tmp_path).values())
    assert [each in text for each in (good.encode(), bad.encode(), PNG + b"x")] == [True, False, False]


@EACH_EXPORT
def test_to_every_storage(export: Callable[..., Any], pictures: MediaStore, storage: Storage) -> None:
    report = export(pictures, storage.url, storage_options=storage.options)
    assert report.failed == ()
    assert set(report.files) <= storage.keys()
    before = storage.contents()
    assert export(pictures, storage.url, storage_options=storage.options).unchanged == report.exported
    assert storage.contents() == before


def test_words_that_mean_nothing_are_refused(pictures: MediaStore, tmp_path: Path) -> None:
    for export, words in MEANINGLESS:
        raised(errors.InvalidMediaError, export, pictures, tmp_path / "out", match=next(iter(words)), **words)
    assert not (tmp_path / "out").exists()


def test_files_that_strangers_named_get_names_of_ours(memory, memory_storage: Storage, tmp_path: Path) -> None:
    memory.create()
    names = ["runs/r1/test.tar.gz.png", "runs/test/dev 1.png", "top.png", "runs/r1/\N{SNOWMAN}\n.png"]
    for name in [*names, f"runs/r1/{'x' * 240}.png"]:
        memory_storage.write(name, PNG)
    assert export_imagefolder(memory, tmp_path / "a").exported == 5
    assert export_webdataset(memory, tmp_path / "b").exported == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}\.png", row["file_name"]) for row in rows(tmp_path / "a"))
    with tarfile.open(tmp_path / "b/media-000000.tar") as archive:
        assert {name.partition(".")[2] for name in archive.getnames()} == {"png", "json"}
    # Those of deduplicated media have no dots.
    store = MediaStore(f"{memory.url}-shared", deduplicate=True)
    fill(store)
    put(store, PNG, "image/png")
    assert export_webdataset(store, tmp_path / "c").exported == 7
    with tarfile.open(tmp_path / "c/media-000000.tar") as archive:
        found = {name.partition(".")[0] for name in archive.getnames()}
    assert [len(key) for key in found] == [len("0003_00_u") + 26] * 7


# -- attributes are columns ---------------------------------------------------------------------------------
MIXED = [
    {}, {"model": "gpt-image-1"}, {"score": 4, "seed": 7}, {"score": 4.5, "grade": 1, "Model": "x"},
    {"grade": "A", "tags": ["night"], "good": True}, {"tags": [], "grade": ["B", "C"], "text": "of the user"},
]  # fmt: skip
MIXED_COLUMNS: dict[str, list[Any]] = {
    "Model": [None, None, None, "x", None, None], "good": [None, None, None, None, True, None],
    "grade": [None, None, None, "1", "A", '["B","C"]'], "model": [None, "gpt-image-1", None, None, None, None],
    "score": [None, None, 4.0, 4.5, None, None], "seed": [None, None, 7, None, None, None],
    "tags": [None, None, None, None, ["night"], []], "text.attribute": [None, None, None, None, None, "of the user"],
}  # fmt: skip


def test_attributes_are_columns_of_one_kind_each_and_the_first_rows_tell_it(store: MediaStore, tmp_path: Path) -> None:
    references = [noted(store, number, **attributes) for number, attributes in enumerate(MIXED)]
    for form in ("jsonl", "parquet"):
        export_imagefolder(store, tmp_path / form, table=form)
    lines = rows(tmp_path / "jsonl")
    table = pq.read_table(tmp_path / "parquet/train/metadata.parquet")
    for told in (lines, table.to_pylist()):
        by_reference = {row["reference"]: row for row in told}
        assert all(list(row)[-len(MIXED_COLUMNS) :] == list(MIXED_COLUMNS) for row in told)
        for name, values in MIXED_COLUMNS.items():
            assert json.dumps([by_reference[each][name] for each in references]) == json.dumps(values)
        # The one without comes last: readers choose the type of a column by the rows that they see first.
        assert told[-1]["reference"] == references[0]
        assert {row["text"] for row in told} == {""}
    kinds = {name: str(table.schema.field(name).type) for name in MIXED_COLUMNS}
    assert kinds == dict.fromkeys(MIXED_COLUMNS, "string") | {
        "good": "bool", "score": "double", "seed": "int64", "tags": "list<element: string>",
    }  # fmt: skip
    export_webdataset(store, tmp_path)
    with tarfile.open(tmp_path / "media-000000.tar") as archive:
        told = [json.loads(archive.extractfile(each).read()) for each in archive if each.name.endswith(".json")]
    assert [set(row) - lines[0].keys() for row in told] == [set()] * len(MIXED)
    assert [row.get("grade") for row in told] == [None, None, None, 1, "A", ["B", "C"]]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_later_attributes_change_columns_and_lose_none(form: Any, memory: MediaStore, tmp_path: Path) -> None:
    first = noted(memory, 0)
    export_imagefolder(memory, tmp_path, table=form)
    table = f"train/metadata.{form}"
    # An older version wrote no attributes.
    memory.fs.setxattrs(first, {"user.score": 4})
    report = export_imagefolder(memory, tmp_path, table=form)
    assert (report.unchanged, report.files) == (1, (table,))
    for number, score in enumerate((4.5, "high", ["x"]), start=1):
        noted(memory, number, score=score, **{f"new{number}": number})
        report = export_imagefolder(memory, tmp_path, table=form)
        assert (report.exported, report.unchanged, report.files) == (1, number, (table,))
        assert export_imagefolder(memory, tmp_path, table=form).files == ()
    before = files(tmp_path)
    for change in ({"user.score": 5}, {"user.score": None}):
        memory.fs.setxattrs(first, change)
        raised(errors.StoreConflictError, export_imagefolder, memory, tmp_path, table=form, match="says other things")
    assert files(tmp_path) == before
    assert export_imagefolder(memory, tmp_path, table=form, overwrite=True).exported == 4


def test_more_attributes_than_a_table_takes(memory: MediaStore, tmp_path: Path) -> None:
    for number in range(4):
        noted(memory, number, **{f"a{number}_{each}": each for each in range(50 + number // 3)})
    for words in ({}, {"dry_run": True}):
        told = "more than 200 attributes by name.*export_webdataset"
        raised(errors.InvalidMediaError, export_imagefolder, memory, tmp_path, match=told, **words)
    assert files(tmp_path) == {}
    assert export_webdataset(memory, tmp_path).exported == 4
    assert export_imagefolder(memory, tmp_path / "three", limit=3).exported == 3


# -- shards ------------------------------------------------------------------------------------------------
def test_shards_end_where_they_should_are_the_same_each_time_and_written_again_where_missing(pictures, tmp_path):
    report = export_webdataset(pictures, tmp_path / "a", shard_count=4, prefix="p")
    assert report.files == ("p-000000.tar", "p-000001.tar")
    export_webdataset(pictures, tmp_path / "b", shard_count=4, prefix="p")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    export_webdataset(pictures, tmp_path / "c", shard_bytes=3000, prefix="p")
    assert len(files(tmp_path / "c")) > 2
    for data in files(tmp_path / "c").values():
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            sizes = [512 + -(-member.size // 512) * 512 for member in archive]
        assert sum(sizes) <= 3000 or len(sizes) == 2
    with tarfile.open(tmp_path / "a/p-000000.tar") as archive:
        assert {(each.mode, each.mtime, each.uid, each.uname) for each in archive} == {(0o644, 0, 0, "")}
    # Missing shards are written again, and others refused.
    out = tmp_path / "d"
    export_webdataset(pictures, out, shard_count=2)
    whole = files(out)
    (out / "media-000001.tar").unlink()
    report = export_webdataset(pictures, out, shard_count=2)
    assert (report.files, report.unchanged) == (("media-000001.tar",), 4)
    assert files(out) == whole
    for words in ({"shard_count": 3}, {"shard_count": 2, "run_id": "r1"}, {"shard_count": 2, "limit": 2}):
        raised(errors.StoreConflictError, export_webdataset, pictures, out, match="media-00000", **words)
        assert files(out) == whole
    (out / "media-000001.tar").write_bytes(whole["media-000001.tar"][:700])
    raised(errors.StoreConflictError, export_webdataset, pictures, out, match="media-000001", shard_count=2)
    assert export_webdataset(pictures, out, shard_count=2, overwrite=True).exported == 6
    assert files(out) == whole


# -- crashes -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("export", [export_imagefolder, partial(export_webdataset, shard_count=3)])
def test_an_export_that_dies_anywhere_leaves_whole_files_and_goes_on(export, pictures, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(imagefolder, "_THREADS", 1)  # faults are counted one after the other
    export(pictures, tmp_path / "whole")
    whole = files(tmp_path / "whole")

    def seen(out: Path) -> dict[str, bytes]:
        return {name: data for name, data in files(out).items() if not name.rpartition("/")[2].startswith(".tmp-")}

    for fault in CRASHES:
        for number, faults in enumerate(each_call(partial(Faults, fault=fault))):
            out = tmp_path / f"{fault}{number}"
            with faulty_os(faults), suppress(Crash):
                export(pictures, out)
            assert seen(out).items() <= whole.items()
            assert (export(pictures, out).failed, seen(out)) == ((), whole)


# -- what an export wrote is imported again: the same media with all that the tables tell, once ------------------
@pytest.fixture
def full(tmp_path: Path) -> MediaStore:
    store = MediaStore(tmp_path / "full")
    ids = {"conversation_id": "c1", "session_id": "s1", "provider_id": "openai", "part_idx": 1, "timestamp": MADE}
    for number, sample in enumerate(sample_run()):
        attributes = {**ATTRIBUTES, "source": "mine", "score": number + 0.5} if number % 3 else {}
        metadata = MediaMetadata(run_id=f"r {number % 2}", message_idx=number, attributes=attributes, **ids)
        store.store_media(MediaContent.from_bytes(sample.data, sample.mime_type, caption=sample.caption), metadata)
    document = MediaContent.from_text('{"a": 1}', "application/json")
    store.store_media(document, MediaMetadata(run_id="r1", timestamp=MADE))
    return store


def described(store: MediaStore, **words: Any) -> list[dict[str, Any]]:
    """Return what a store knows of its media, but for what no table holds, and what is read from the bytes anew."""
    told = [each.model_dump(exclude=LOST) for each in store.info_many(store.list(**words))]
    for each in told:
        each["attributes"] = {name: value for name, value in each["attributes"].items() if name != "source"}
    return sorted(told, key=lambda each: (each["run_id"], each["message_idx"]))


def test_a_webdataset_comes_back(full: MediaStore, storage: Storage, tmp_path: Path) -> None:
    again = MediaStore(storage.url, storage_options=storage.options)
    export_webdataset(full, tmp_path / "shards", shard_count=2)
    planned = import_webdataset(again, tmp_path / "shards", dry_run=True)
    assert storage.keys() == set()
    report = import_webdataset(again, tmp_path / "shards")
    assert (report.failed, report.skipped, len(report.stored)) == ((), (), len(list(full.list())))
    assert len(planned.stored) == len(report.stored)
    assert described(again) == described(full)
    assert described(again)[1]["attributes"] == {**ATTRIBUTES, "score": 2.5}
    assert {again.info(each.reference).attributes["source"] for each in report.stored} == {
        each.source for each in report.stored
    }
    assert import_webdataset(again, tmp_path / "shards").unchanged == len(report.stored)
    assert again.verify(deep=True).whole


@pytest.mark.parametrize("table", ["jsonl", "parquet"])
def test_folders_of_pictures_and_sound_come_back(table: Any, full: MediaStore, tmp_path: Path) -> None:
    again = MediaStore(tmp_path / "again")
    export_imagefolder(full, tmp_path / "pictures", table=table)
    export_imagefolder(full, tmp_path / "pictures", table=table, split="test", run_id="r 0")
    export_audiofolder(full, tmp_path / "sounds", table=table)
    for folder in ("pictures", "sounds"):
        report = import_imagefolder(again, tmp_path / folder)
        assert (report.failed, report.skipped) == ((), ())
        assert import_imagefolder(again, tmp_path / folder).stored == ()
    for words in ({"mime_type": "audio"}, {"mime_type": "image", "run_id": "r 1"}):
        assert described(again, **words) == described(full, **words)
    assert again.verify(deep=True).whole


THEIRS = [
    ({"label": 3, "text": "c", "tags": ["a"], "Text": "t"}, {"label": 3, "tags": ["a"], "Text": "t"}),
    ({"label": None, "objects": {"bbox": [[1, 2]]}, "boxes": [1], "mixed": ["a", 1]}, {}),
    ({"": 1, "a b": 1, "\N{SNOWMAN}": 1, "1": 1, "x" * 65: 1, "n": float("nan"), "huge": 2**64, "a": 0.5}, {"a": 0.5}),
    ({"source": "elsewhere", "user.source": "x", "attributes": {"a": 1}}, {"user.source": "x"}),
    ({"large": "x" * 70_000, "small": "y"}, {"small": "y"}),
    ({f"a{number}": number for number in range(100)}, {f"a{number}": number for number in range(63)}),
    ({"x_file_name": "/etc/passwd", "y.attribute": 1}, {"x_file_name": "/etc/passwd", "y.attribute": 1}),
]


def test_columns_of_others_are_attributes_where_they_can_be(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for number, (columns, _) in enumerate(THEIRS):
            (tmp_path / f"{number}.png").write_bytes(PNG + b"%d" % number)
            (tmp_path / f"{number}.json").write_text(json.dumps(columns))
            for kind in ("png", "json"):
                archive.add(tmp_path / f"{number}.{kind}", f"{number}.{kind}")
    table = "\n".join(json.dumps({"file_name": f"{number}.png", **each}) for number, (each, _) in enumerate(THEIRS))
    (tmp_path / "metadata.jsonl").write_text(table)
    for name, take in (("imagefolder:", import_imagefolder), ("webdataset:x.tar/", import_webdataset)):
        store = MediaStore(tmp_path / name)
        report = take(store, tmp_path, ids={"run_id": "theirs"})
        assert (report.failed, len(report.stored)) == ((), len(THEIRS))
        for number, (each, (_, kept)) in enumerate(zip(report.stored, THEIRS, strict=True)):
            wanted = {**kept, "source": f"{name}{number}.png"}
            assert store.info(each.reference).attributes == wanted
        assert take(store, tmp_path, ids={"run_id": "theirs"}).unchanged == len(THEIRS)


@pytest.mark.parametrize("form", ["jsonl", "parquet", "webdataset"])
def test_what_files_were_called_comes_back_and_what_an_export_calls_them_does_not(form: Any, tmp_path: Path) -> None:
    """A table without the column is that of a version before it, of the same media, and is left."""
    store, out = MediaStore(tmp_path / "media"), tmp_path / "out"
    store.store_many((MediaContent.from_bytes(PNG + b"%d" % n), MediaMetadata(run_id="r1")) for n in range(2))
    again = MediaStore(tmp_path / "again")
    export = export_webdataset if form == "webdataset" else partial(export_imagefolder, table=form)
    take_in = import_webdataset if form == "webdataset" else import_imagefolder
    export(store, out)
    if form == "jsonl":
        told = [{name: value for name, value in row.items() if name != "original_name"} for row in rows(out)]
        (out / "train/metadata.jsonl").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in told))
    if form == "webdataset":
        assert b"original_name" not in (out / "media-000000.tar").read_bytes()
    before = files(out)
    assert (export(store, out).unchanged, files(out)) == (2, before)
    assert [again.info(each.reference).file_name for each in take_in(again, out).stored] == [None, None]
    named = MediaContent.from_bytes(PNG + b"named", file_name="Gr\u00fc\u00dfe.png")
    store.store_media(named, MediaMetadata(run_id="r2", timestamp=NOON))
    export(store, out, overwrite=form == "webdataset")
    (imported,) = take_in(again, out).stored
    assert again.info(imported.reference).file_name == named.file_name


def test_a_parquet_table_of_others_may_have_times_as_text(tmp_path: Path) -> None:
    told = {"file_name": ["0.png", "1.png"], "timestamp": ["2026-03-04T12:00:00Z", "soon"], "at": [NOON, NOON]}
    pq.write_table(pa.table(told), tmp_path / "metadata.parquet")
    for name in told["file_name"]:
        (tmp_path / name).write_bytes(PNG)
    store = MediaStore(tmp_path / "media")
    report = import_imagefolder(store, tmp_path, ids={"run_id": "theirs"})
    assert [each.source for each in report.failed] == ["imagefolder:1.png"]
    (record,) = store.info_many(store.list())
    assert (record.timestamp, set(record.attributes)) == (NOON.replace(microsecond=0), {"source"})


def test_a_folder_of_others_takes_what_is_given(tmp_path: Path) -> None:
    """Its table has a file and a text, as Hugging Face asks for, and names what it likes."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "secret.txt").write_text("not theirs")
    rows = [
        {"file_name": "a.png", "text": "a cat"}, {"file_name": "../secret.txt"}, {"file_name": "/etc/passwd"}, {"x": 1},
        {"file_name": "gone.png"}, {"file_name": "a.png", "timestamp": "soon"},
        {"file_name": "a.png", "message_idx": -1},
    ]  # fmt: skip
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n5\n")
    store = MediaStore(tmp_path / "media")
    report = import_imagefolder(store, folder, ids={"run_id": "theirs"}, policy_name="retain-30days")
    (record,) = store.info_many(store.list())
    assert (record.run_id, record.caption, record.policy_name) == ("theirs", "a cat", "retain-30days")
    assert record.file_name == "a.png"
    assert len(report.failed) == 7
    told = r"no metadata\.jsonl or metadata\.parquet"
    raised(errors.MediaNotFoundError, import_imagefolder, store, tmp_path, match=told)


def test_shards_of_others_take_what_is_given(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        files = {
            "a/1.jpg": b"\xff\xd8\xff", "a/1.json": b'{"text": "one"}', "a/2.jpg": b"\xff\xd8\xff.",
            "3.json": b"5", "3.jpg": b"x",
        }  # fmt: skip
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("4.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (tmp_path / "y.tar").write_bytes(b"no tar")
    store = MediaStore(tmp_path / "media")
    report = import_webdataset(store, tmp_path, ids={"run_id": "theirs"})
    records = store.info_many(store.list())
    assert sorted((each.file_name, each.caption or "") for each in records) == [("1.jpg", "one"), ("2.jpg", "")]
    assert sorted(each.source for each in report.failed) == ["webdataset:x.tar/3.jpg", "webdataset:y.tar"]


def test_what_changed_on_the_way_is_refused(full: MediaStore, tmp_path: Path) -> None:
    export_imagefolder(full, tmp_path / "pictures")
    changed = next(path for path in (tmp_path / "pictures" / "train").iterdir() if path.suffix != ".jsonl")
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    report = import_imagefolder(MediaStore(tmp_path / "again"), tmp_path / "pictures")
    assert [Path(each.source).name for each in report.failed] == [changed.name]


def test_the_commands(full: MediaStore, tmp_path: Path) -> None:
    for kind in ("imagefolder", "webdataset"):
        for words in (["export", kind, f"{tmp_path}/{kind}", "-s", full.url],
                      ["import", kind, f"{tmp_path}/{kind}", "-s", f"{tmp_path}/again", "--json"]):  # fmt: skip
            done = CliRunner().invoke(typer_app, words)
            assert done.exit_code == 0, done.output
        assert len(json.loads(done.stdout)["stored"]) >= 1
