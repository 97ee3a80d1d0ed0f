"""Where media lie: organization modes, users' templates, and ids that other stores confuse; and what is in a run.

`list`, catalog, views, stats, sync and erase give the same set, whoever wrote it and how deep: an id of a media is
what its sidecar says, else what its path says, however deep below the folder it lies.
"""

import itertools
import json
import re
from dataclasses import replace
from datetime import datetime
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsmedia import InvalidLayoutError, InvalidMediaError, MediaContent, MediaMetadata, MediaStore, OrganizationMode
from fsmedia.core.records import is_reference
from fsmedia.format.layout import escape_id
from tests.conftest import on, storages
from tests.contract.specimens import STORE_JSON, UNIQUE, png, put, raised
from tests.golden.conftest import BY_RUN, BY_SESSION, adopt
from tests.storages import ALL_STORAGES, GCS, LOCAL, MEMORY, S3_RCLONE
from tests.transfers import opened

storage = storages(LOCAL, MEMORY)
NAME = rf"0000_00_{UNIQUE}\.png"
MODES = {
    "by-session": ("sessions", "session_id"),
    "by-conversation": ("conversations", "conversation_id"),
    "by-run": ("runs", "run_id"),
}
IDS = {"run_id": "r1", "conversation_id": "c1", "session_id": "s1"}
CONFUSED = [
    "a/b", "a_b", "a:b", "a\\b", "a b", "A_B", "a~2fb", "a%2Fb", ".", "..", "...", "../../etc", ".fsmedia", "by-run",
    "~", "a.meta", "a.meta.meta", ".meta", "-", " ", "\n",
    "é",  # composed
    "e\u0301",  # the same letter, decomposed
    "日本語", "🐻", "x" * 250, "x" * 300, "x" * 299 + "y", "é" * 150, "con", "*", "?", "[a]", "#", "=", "'\"",
]  # fmt: skip
TOP = [".fsmedia", ".FSMEDIA", "by-run", "by-session", ".dedup_index.json", ".tmp-u" + "0" * 26, "~2efsmedia"]


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_its_folder_and_needs_its_id(storage, open_store, mode):
    folder, id_field = MODES[mode]
    store = open_store(organization=mode)
    assert store.organization is OrganizationMode(mode)
    reference = store.store_media(png(), MediaMetadata(**IDS))
    assert re.fullmatch(f"{folder}/{IDS[id_field]}/{NAME}", reference)
    assert storage.keys() == {reference, f"{reference}.meta", STORE_JSON}
    assert store.folder(**{id_field: "a/b"}) == f"{folder}/a~2fb"
    alone = store.store_media(png(), MediaMetadata(**{id_field: "only"}))
    assert {name: getattr(store.info(alone), name) for name in IDS} == {**dict.fromkeys(IDS, ""), id_field: "only"}
    with pytest.raises(InvalidMediaError, match=f"{id_field} is required"):
        store.store_media(png(), MediaMetadata(**{**IDS, id_field: ""}))
    assert open_store().organization == mode
    other = "run_id" if id_field == "session_id" else "session_id"
    for words in ({}, {**IDS}, {id_field: ""}, {id_field: 5}, {other: "s1"}):
        raised(InvalidMediaError, store.folder, **words)


TEMPLATES = {
    "runs/{run_id}/{timestamp:%Y-%m-%d}/{name}{ext}": (f"runs/a~2fb/2026-03-04/{NAME}", "runs/a~2fb"),
    "{provider_id}/{run_id}/{name}{ext}": (f"openai/a~2fb/{NAME}", ""),
    "{run_id}/{name}{ext}": (f"a~2fb/{NAME}", "a~2fb"),
    "lab/{timestamp:%Y}/{mime_type}/{run_id}@{message_idx:04d}/{name}{ext}":
        (f"lab/2026/image~2fpng/a~2fb@0000/{NAME}", "lab"),
}  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_users_template_says_where_media_lie(storage, open_store, template):
    pattern, folder = TEMPLATES[template]
    store = open_store(layouts={"by-run": template})
    metadata = MediaMetadata(run_id="a/b", provider_id="openai")
    reference = store.store_media(png(), metadata)
    assert re.fullmatch(pattern, reference)
    assert storage.keys() == {reference, f"{reference}.meta", STORE_JSON}
    assert store.folder(run_id="a/b") == folder
    store.store_media(png(), MediaMetadata(run_id="a", provider_id="openai"))
    again = open_store()  # the template stands in the store
    assert list(again.list(run_id="a/b")) == [reference]
    assert again.info(reference).run_id == "a/b"
    assert re.fullmatch(pattern, again.store_media(png(), metadata))
    assert json.loads(storage.read(STORE_JSON))["layouts"]["by-run"] == template
    # A day in it is the media's own, in UTC.
    late = datetime.fromisoformat("2025-12-31T23:30:00-02:00")
    of_january = store.store_media(png(), metadata.model_copy(update={"timestamp": late}))
    assert re.fullmatch(pattern.replace("2026-03-04", "2026-01-01"), of_january)


def stored_apart(storage, store, ids):
    """Store a media of each id; see that each comes back under its own, and return them by id."""
    of_id = {
        run_id: store.store_media(png(), MediaMetadata(run_id=run_id, session_id=f"s{number}"))
        for number, run_id in enumerate(ids)
    }
    assert storage.keys() == {STORE_JSON, *of_id.values(), *(f"{reference}.meta" for reference in of_id.values())}
    assert sorted(store.list()) == sorted(of_id.values())
    for number, (run_id, reference) in enumerate(of_id.items()):
        assert all(len(part) <= 250 for part in reference.split("/"))
        assert json.loads(storage.read(f"{reference}.meta"))["run_id"] == run_id
        assert (store.info(reference).run_id, store.info(reference).session_id) == (run_id, f"s{number}")
        assert list(store.list(run_id=run_id)) == [reference]
    return of_id


@on(LOCAL, MEMORY, S3_RCLONE, of=(LOCAL, MEMORY, S3_RCLONE, GCS))
def test_no_two_ids_share_a_folder_and_each_comes_back_whole(storage):
    store = opened(storage)
    of_id = stored_apart(storage, store, CONFUSED)
    folders = {run_id: reference.rpartition("/")[0] for run_id, reference in of_id.items()}
    for one, other in combinations(CONFUSED, 2):
        assert folders[one] != folders[other], (one, other)
        assert not folders[one].startswith(f"{folders[other]}/")
    for run_id, folder in folders.items():
        assert (folder.partition("/")[0], folder.count("/")) == ("runs", 1)
        assert store.folder(run_id=run_id) == folder


def test_ids_stay_apart_where_another_id_is_the_folder_and_at_the_top_of_a_store(memory_storage):
    by_session, top = (replace(memory_storage, url=f"{memory_storage.url}/{name}") for name in ("by-session", "top"))
    stored_apart(by_session, opened(by_session, organization="by-session"), CONFUSED)
    # A template without a folder of its own: an id must not become a name that means something.
    stored_apart(top, opened(top, layouts={"by-run": "{run_id}/{name}{ext}"}), TOP)


def test_a_template_a_root_and_an_id_that_can_not_be_are_refused_before_anything_is_written(memory_storage):
    """What else no template may be is said in the unit tests of layouts."""
    dashed = "lab/{timestamp:%Y}/{run_id}-{message_idx:04d}/{name}{ext}"
    for template in ("runs/{name}{ext}", "../{run_id}/{name}{ext}", dashed):
        raised(InvalidLayoutError, opened, memory_storage, layouts={"by-run": template})
    deep = replace(memory_storage, url=f"{memory_storage.url}/{'/'.join(['deep' * 50] * 5)}")
    raised(InvalidLayoutError, opened(deep).store_media, png(), MediaMetadata(run_id="x"), match="1024")
    assert memory_storage.keys() == set()
    for run_id in ("\ud800", "x" * 5000):
        raised(InvalidMediaError, MediaMetadata, match="run_id", run_id=run_id)


DEEP = ("x.csv", "part/year=2026/x.parquet", "cube.zarr/c/0/0", "cube.zarr/zarr.json", "a b/ü/x")
ASKED = ("r1", "my run", "übung", "model=gpt", "a/b", "a_b", "a:b", "~", "r%31", ".hidden")
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
    wanted = {value: {str(put(store, "", value.encode(), **{field: value}))} for value in ASKED}
    for value in ("r1", "my run", "übung", "model=gpt", "a_b"):
        for path in DEEP:
            store.fs.pipe_file(f"{folder}/{value}/{path}", path.encode())
            wanted[value].add(f"{folder}/{value}/{path}")
    for value in ("a/b", "a_b", "a:b"):
        wanted[value].add(promptkit(storage, folder, value, field, f"{len(wanted[value])}_{ord(value[1])}.txt"))
    for number, value in enumerate(ASKED):
        assert agree(store, field, value, tmp_path / str(number)) == wanted[value], value
    counts = {value: len(found) for value, found in wanted.items()}
    assert mode != "by-run" or {each.name: each.media for each in store.stats().by_run} == counts
    receipt = store.erase(**{field: "a/b"})
    assert {str(item.reference) for item in receipt.erased} == wanted["a/b"]
    assert {*map(str, store.list(**{field: "a_b"}))} == wanted["a_b"]


@pytest.mark.parametrize(("mode", "name"), [("by-run", BY_RUN), ("by-session", BY_SESSION)])
def test_promptkits_merged_folders_give_one_answer(mode, name, request, tmp_path):
    field = MODES[mode][1]
    store = adopt(name, LOCAL, request, tmp_path).open()
    values = {getattr(store.info(each), field) for each in store.list()}
    assert {"a/b", "a_b", "..", "."} <= values
    seen = []
    for number, value in enumerate(sorted(values)):
        seen += agree(store, field, value, tmp_path / str(number))
    assert sorted(seen) == sorted(map(str, store.list()))


NUMBERS = itertools.count()
ANY_ID = st.text(alphabet="ab/_:.~ é%=?\\", min_size=1, max_size=4)
ORIGINS = st.sampled_from(["stored", "written", "promptkit"])
FILES = st.lists(st.tuples(ORIGINS, ANY_ID, st.sampled_from(DEEP)), max_size=6)


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
