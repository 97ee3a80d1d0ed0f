"""What is in a run: `list`, catalog, views, stats, sync and erase give the same set, whoever wrote it and how deep.

The rule: an id of a media is what its sidecar says, else what its path says, however deep below the folder it lies.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.core.records import is_reference
from fsmedia.format.layout import escape_id
from tests.conftest import on
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, S3_RCLONE
from tests.transfers import opened

MODES = {
    "by-run": ("runs", "run_id"),
    "by-session": ("sessions", "session_id"),
    "by-conversation": ("conversations", "conversation_id"),
}
DEEP = ("x.csv", "part/year=2026/x.parquet", "cube.zarr/c/0/0", "cube.zarr/zarr.json", "a b/ü/x")
IDS = ("r1", "my run", "übung", "model=gpt", "a/b", "a_b", "a:b", "~", "r%31", ".hidden")


USUAL = {(LOCAL, "by-run"), (LOCAL, "by-session"), (MEMORY, "by-conversation"), (S3_RCLONE, "by-run")}
EVERYWHERE = [
    pytest.param(name, mode, marks=() if (name, mode) in USUAL else pytest.mark.full)
    for name in ALL_STORAGES
    for mode in MODES
]


def agree(store, field, value, target):
    """Ask in every way what belongs to an id; check that the answers are one set of references, and return it."""
    words = {field: value}
    catalog = store.catalog()
    mirror = MediaStore(target)
    store.sync_to(str(target), **words)
    view = f"by-{field.removesuffix('_id')}/{escape_id(value)}"
    fs = store.fs
    fs.invalidate_cache()
    found = {
        "list": {*map(str, store.list(**words))},
        "catalog": {*catalog.filter(**words).to_arrow()["reference"].to_pylist()},
        "erase": {str(item.reference) for item in store.erase(**words, dry_run=True).erased},
        "sync": {*map(str, mirror.list())},
        "view": {str(fs.info(path)["reference"]) for path in (fs.find(view) if fs.exists(view) else ())},
    }
    assert len({frozenset(each) for each in found.values()}) == 1, (value, found)
    return found["list"]


def promptkit(storage, folder, value, field, name):
    """Write a media as PromptKit does: its own spelling of the folder, the id in the sidecar."""
    key = f"{folder}/{re.sub(r'[<>:|?*/]', '_', value).replace(chr(92), '_')}/{name}"
    storage.write(key, name.encode())
    storage.write(f"{key}.meta", json.dumps({field: value, "mime_type": "text/plain", "size_bytes": 0}).encode())
    return key


@pytest.mark.parametrize(("storage", "mode"), EVERYWHERE, indirect=["storage"])
def test_every_way_to_ask_what_is_in_a_run_gives_one_answer(open_store, storage, mode, tmp_path):
    folder, field = MODES[mode]
    store = open_store(organization=mode).create()
    wanted = {
        value: {str(store.store_media(MediaContent.from_text(value), MediaMetadata(**{field: value})))} for value in IDS
    }
    for value in ("r1", "my run", "übung", "model=gpt", "a_b"):
        for path in DEEP:
            store.fs.pipe_file(f"{folder}/{value}/{path}", path.encode())
            wanted[value].add(f"{folder}/{value}/{path}")
    for value in ("a/b", "a_b", "a:b"):
        wanted[value].add(promptkit(storage, folder, value, field, f"{len(wanted[value])}_{ord(value[1])}.txt"))
    for number, value in enumerate(IDS):
        assert agree(store, field, value, tmp_path / str(number)) == wanted[value], value
    counts = {value: len(found) for value, found in wanted.items()}
    assert mode != "by-run" or {each.name: each.media for each in store.stats().by_run} == counts
    receipt = store.erase(**{field: "a/b"})
    assert {str(item.reference) for item in receipt.erased} == wanted["a/b"]
    assert {*map(str, store.list(**{field: "a_b"}))} == wanted["a_b"]


@pytest.mark.parametrize(("mode", "name"), [("by-run", "by-run"), ("by-session", "by-session-dedup")])
def test_promptkits_merged_folders_give_one_answer(mode, name, tmp_path):
    field = MODES[mode][1]
    golden = Path(__file__).parent.parent / "golden" / "promptkit" / f"{name}.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(golden.read_bytes())) as archive:
        archive.extractall(tmp_path, filter="data")
    store = MediaStore(tmp_path / name)
    values = {getattr(store.info(each), field) for each in store.list()}
    assert {"a/b", "a_b", "..", "."} <= values
    seen = []
    for number, value in enumerate(sorted(values)):
        seen += agree(store, field, value, tmp_path / str(number))
    assert sorted(seen) == sorted(map(str, store.list()))


NUMBERS = itertools.count()
ANY_ID = st.text(alphabet="ab/_:.~ é%=?\\", min_size=1, max_size=4)
FILES = st.lists(
    st.tuples(st.sampled_from(["stored", "written", "promptkit"]), ANY_ID, st.sampled_from(DEEP)), max_size=6
)


@on(MEMORY, of=(LOCAL, MEMORY))
@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=FILES)
def test_any_media_are_in_the_same_runs_by_every_answer(storage, mode, files, tmp_path_factory):
    folder, field = MODES[mode]
    place = replace(storage, url=f"{storage.url}/{next(NUMBERS)}")
    store = opened(place, organization=mode).create()
    for number, (kind, value, path) in enumerate(files):
        if kind == "stored":
            store.store_media(MediaContent.from_text(value), MediaMetadata(**{field: value}))
        elif kind == "promptkit":
            if value.strip("."):
                promptkit(place, folder, value, field, f"{number}_0_{number}.txt")
        elif "/" not in value and value.strip(". ") and is_reference(f"{folder}/{value}/{path}"):
            store.fs.pipe_file(f"{folder}/{value}/{path}", b"x")
    values = {str(getattr(store.info(each), field)) for each in store.list()}
    seen = []
    # `~_` is how an empty id is written, and what has none is nobody's.
    for value in sorted(values - {""}):
        seen += agree(store, field, value, tmp_path_factory.mktemp("mirror") / "m")
    assert sorted(seen) == sorted(str(each) for each in store.list() if getattr(store.info(each), field))
