"""Attributes that come with the first write, and what many media are, told in one call."""

import asyncio
import json
import re
from functools import partial, reduce

import pytest

from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, MediaStore, errors, import_folder
from fsmedia.models import Condition
from fsmedia.models.attributes import as_kind, joint_kind, kind_of
from tests.contract.specimens import raised
from tests.exchange.test_folder import plant
from tests.protocol.wire import costs
from tests.storages import S3Storage, Storage
from tests.transfers import shared_in_place

NOTE = MediaContent.from_text("hello")


def test_attributes_are_there_from_the_first_moment(store: MediaStore, storage: Storage, memory_storage) -> None:
    given = {"source": "a\nb", "seed": 7, "score": 4.5, "kept": True, "tags": ["night", "\N{SNOWMAN}"], "a.b-c_": ""}
    metadata = MediaMetadata(run_id="r", attributes=given)
    alone = store.store_media(NOTE, metadata)
    (together,) = store.store_many([(NOTE, metadata)])
    with store.create_media(metadata, "text/plain") as writer:
        writer.write(b"hello")
    for reference in (alone, together, writer.reference):
        wanted = {f"user.{name}": value for name, value in given.items()}
        assert json.loads(storage.read(f"{reference}.meta"))["xattrs"] == wanted
        assert store.info(reference).xattrs == wanted
        assert store.info(reference).attributes == given
    store.fs.setxattrs(alone, {"user.source": None, "user.of others": {"a": None}, "user.none": []})
    assert store.info(alone).attributes == {name: given[name] for name in given if name != "source"} | {"none": []}
    without = store.store_media(NOTE, MediaMetadata(run_id="r"))
    assert "xattrs" not in json.loads(storage.read(f"{without}.meta"))
    assert store.info(without).attributes == {}
    shared = MediaStore(memory_storage.url, deduplicate=True)
    assert shared.info(shared.store_media(NOTE, metadata)).attributes == given
    assert len({metadata, MediaMetadata(run_id="r", attributes=given), MediaMetadata(run_id="r")}) == 2


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"": 1}, "'' can't be a name"),
        ({"1a": 1}, "'1a' can't be a name"),
        ({"a b": 1}, "'a b' can't be a name"),
        ({"\N{SNOWMAN}": 1}, "can't be a name"),
        ({"a" * 65: 1}, "can't be a name"),
        ({7: 1}, "7 can't be a name"),
        ({"a": None}, "a must be text, a number"),
        ({"a": {"b": 1}}, "a must be text, a number"),
        ({"a": [1]}, "a must be text, a number"),
        ({"a": b"x"}, "not bytes"),
        ({"a": float("nan")}, "a is nan"),
        ({"a": float("-inf")}, "a is -inf"),
        ({"a": 2**63}, "a is beyond 64 bits"),
        ({"a": "\ud800"}, "a has a lone surrogate"),
        ({"a": ["\ud800"]}, "a has a lone surrogate"),
        ({f"a{number}": 1 for number in range(65)}, "has 65 names, at most 64"),
        ({"a": "x" * 70_000}, "bytes as JSON, at most 65,536"),
        ([("a", 1)], "must be a mapping of names to values, not list"),
    ],
)
def test_what_is_no_attribute_is_refused(attributes, reason: str) -> None:
    raised(errors.InvalidMediaError, MediaMetadata, match=re.escape(reason), run_id="r", attributes=attributes)


def test_numbers_of_arrays_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    given = MediaMetadata(
        attributes={"seed": numpy.int64(7), "score": numpy.float32(0.5), "tags": ("a", "b")}
    ).attributes
    assert [type(each) for each in given.values()] == [int, float, list]
    assert given == {"seed": 7, "score": 0.5, "tags": ["a", "b"]}


PROMPTS = {
    "a": {"model": "gpt-4o", "score": 4, "tags": ["night", "draft"], "good": True, "prompt": "What? [sic] 100% *bold*"},
    "b": {"model": "gpt-5", "score": 4.5, "tags": "night", "seed": 2**53 + 1},
    "c": {"model": "claude", "score": "4", "good": 1, "prompt": "x" + "a" * 2000},
    "d": {},
}
CONDITIONS = [
    ({"model": "gpt-*"}, "ab"),
    ({"model": "gpt"}, ""),
    ({"model": "*4*"}, "a"),
    ({"model": "GPT-*"}, ""),
    ({"model": ["claude", "gpt-5"]}, "bc"),
    ({"model": None}, "d"),
    ({"model": "*", "tags": None}, "c"),
    ({"score": 4}, "a"),
    ({"score": 4.0}, "a"),
    ({"score": "4"}, "c"),
    ({"score": ["4", 4]}, "ac"),
    ({"score": (4, None)}, "ab"),
    ({"score": (None, 4)}, "a"),
    ({"score": (4.1, 5)}, "b"),
    ({"score": (None, None)}, "ab"),
    ({"good": True}, "a"),
    ({"good": 1}, "c"),
    ({"good": (0, 2)}, "c"),
    ({"seed": 2**53 + 1}, "b"),
    ({"seed": 2**53}, ""),
    ({"tags": "night"}, "ab"),
    ({"tags": "n*t"}, "ab"),
    ({"tags": ["draft", "day"]}, "a"),
    ({"prompt": "What? [sic]*"}, "a"),
    ({"prompt": "*100% \\*bold\\*"}, "a"),
    ({"prompt": "Wh?t*"}, ""),
    ({"prompt": "*a" * 300 + "*b"}, ""),
    ({"tags": "night", "score": (None, 4)}, "a"),
    ({}, "abcd"),
]


@pytest.mark.parametrize(("conditions", "found"), CONDITIONS, ids=lambda value: str(value)[:40])
def test_conditions_on_attributes(memory: MediaStore, conditions: dict[str, Condition], found: str) -> None:
    names = {
        memory.store_media(NOTE, MediaMetadata(run_id="r", attributes=each)): name for name, each in PROMPTS.items()
    }
    assert "".join(sorted(names[each] for each in memory.list(attributes=conditions))) == found
    assert "".join(sorted(names[each] for each in memory.list(run_id="r", attributes=conditions, newest=9))) == found
    rows = memory.catalog().filter(attributes=conditions)
    assert "".join(sorted(names[each] for each in rows.to_arrow().column("reference").to_pylist())) == found


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ({"a": []}, "an empty list"),
        ({"a": (1, 2, 3)}, "a pair of numbers"),
        ({"a": ("a", None)}, "a pair of numbers"),
        ({"a": (True, None)}, "a pair of numbers"),
        ({"a": (5, 4)}, "no number is in the range of a from 5 to 4"),
        ({"a": float("nan")}, "a is nan"),
        ({"a": (float("nan"), None)}, "a pair of numbers"),
        ({"a": (10**400, None)}, "too large"),
        ({"a b": 1}, "'a b' can't be a name"),
        ({"a": [None]}, "a must be text"),
        ("a=1", "a mapping of names to conditions, not str"),
    ],
)
def test_conditions_that_can_not_be_meant(memory: MediaStore, conditions, reason: str) -> None:
    raised(errors.InvalidMediaError, memory.list, match=re.escape(reason), attributes=conditions)


@pytest.mark.parametrize(
    ("values", "kind", "column"),
    [
        ([True, False], "bool", [True, False]),
        ([1, 2**63 - 1], "int64", [1, 2**63 - 1]),
        ([1, 0.5], "double", [1.0, 0.5]),
        ([["a"], []], "list", [["a"], []]),
        ([4, 4.0, "four", True], "string", ["4", "4", "four", "true"]),
        ([0.5, 1e300, ["a", "\N{SNOWMAN}"]], "string", ["0.5", "1e+300", '["a","\N{SNOWMAN}"]']),
    ],
)
def test_values_that_share_a_column_are_of_one_kind(values, kind: str, column: list[object]) -> None:
    for order in (values, values[::-1]):
        assert reduce(joint_kind, map(kind_of, order), None) == kind
    told = [as_kind(each, kind) for each in values]
    assert [(type(each), each) for each in told] == [(type(each), each) for each in column]


def test_many_media_are_described_as_one_is(store: MediaStore, storage: Storage) -> None:
    references = store.store_many([(NOTE, MediaMetadata(run_id=f"r{number}")) for number in range(5)])
    wanted = [store.info(each) for each in references]
    assert store.info_many(iter(references)) == wanted
    assert store.info_many([]) == []
    assert store.info_many([store.media_url(references[0])])[0].reference == references[0]

    async def described() -> list[object]:
        async with AsyncMediaStore(storage.url, storage_options=storage.options) as asked:
            return list(await asked.info_many(references))

    assert asyncio.run(described()) == wanted


def test_what_can_not_be_described_stands_in_its_place(store: MediaStore, storage: Storage) -> None:
    good, damaged = store.store_many([(NOTE, MediaMetadata(run_id="r"))] * 2)
    storage.write(f"{damaged}.meta", b"{")
    asked = [good, "runs/r/none.txt", damaged, "../x", good]
    answers = store.info_many(asked, on_error="return")
    assert answers[0] == answers[4] == store.info(good)
    kinds = [errors.MediaNotFoundError, errors.CorruptSidecarError, errors.InvalidReferenceError]
    assert [type(each) for each in answers[1:4]] == kinds
    assert sorted(raised(errors.BulkError, store.info_many, asked).errors) == [1, 2, 3]
    # One text is not taken for many references: each of its characters would be looked for.
    assert "not one text" in str(raised(errors.BulkError, store.info_many, good).errors[0])
    raised(errors.InvalidMediaError, store.info_many, [good], match="unknown on_error 'ignore'", on_error="ignore")


def test_renamed_media_are_found(memory: MediaStore, memory_storage: Storage) -> None:
    old = memory.store_media(NOTE, MediaMetadata(run_id="r"))
    shared_in_place(memory_storage)
    store = MediaStore(memory_storage.url)
    (record,) = store.info_many([old])
    assert record.reference == next(store.list()) != old


def test_it_costs_a_listing_and_one_read_each(moto_storage: S3Storage, tmp_path) -> None:
    """What an importer asks of a run that is there: docs/format.md's word for it."""
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    tree = plant(tmp_path / "tree", {f"r1/{number}.txt": b"%d" % number for number in range(20)})
    import_folder(store, tree)
    # A listing of the run and one of the holds, a read of each sidecar and a look at each media, whether anybody made
    # settings meanwhile.
    assert costs(moto_storage, lambda: import_folder(store, tree), list=2, get=20, head=20).unchanged == 20
    moved = tree.rename(tmp_path / "moved") / "r1"
    take = partial(import_folder, store, moved, pattern="{name}{ext}", ids={"run_id": "r1"}, unless_stored=True)
    assert len(costs(moto_storage, take, list=2, get=20, head=20).already_stored) == 20
