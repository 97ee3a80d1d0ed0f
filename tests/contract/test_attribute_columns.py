"""The catalog's column of attributes: typed by what rows have, in agreement with `xattrs`, asked as a listing asks."""

import json
import logging
from itertools import count
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.catalog import schema as columns_of
from fsmedia.catalog.schema import MIXED, AttributeColumns, TableHeader, completed, schema
from fsmedia.catalog.table import _met as met
from fsmedia.models.attributes import checked_conditions, meets, readable
from fsmedia.store import utc_now
from tests.catalogs import check, eager, old_enough, snapshots
from tests.contract.specimens import raised

TEXT = pa.string()


def table_of(rows):
    """A table of rows with attributes, given by reference; None: the row has no xattrs."""
    columns = {each.name: pa.nulls(len(rows), each.type) for each in schema()}
    columns["reference"] = pa.array(rows, TEXT)
    columns["xattrs"] = pa.array([None if row is None else json.dumps(row) for row in rows.values()], TEXT)
    return pa.table(columns, schema=schema())


def made(table, previous=None):
    """The table with the column of attributes, and its header."""
    table, columns = completed(table, schema().empty_table() if previous is None else previous)
    return table.replace_schema_metadata(TableHeader("", utc_now(), "", columns).dump())


def kinds(table):
    columns = AttributeColumns.read(table.schema.metadata)
    return {} if columns is None else dict(columns.kinds)


def user(**values):
    return {f"user.{name}": value for name, value in values.items()}


texts = st.text("aB*\\é", max_size=3)
whole_numbers = st.sampled_from([0, 1, 4, -7, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
numbers = whole_numbers | st.sampled_from([0.0, -0.0, 4.0, 2.5, 2.0**63])
values = texts | numbers | st.booleans() | st.lists(texts, max_size=3)
names = st.sampled_from(["a", "A", "b", "b.c", "n"])
ends = st.none() | numbers
wanted = st.one_of(values, st.none(), st.tuples(ends, ends), st.lists(values, min_size=1, max_size=3))
foreign = st.sampled_from([{}, {"user.x y": 1, "user.a": None, "mine": {"deep": [1]}, "user.b": [1]}])
xattrs = st.builds(lambda own, alien: {**user(**own), **alien}, st.dictionaries(names, values, max_size=4), foreign)
# Of one kind each, so that columns are typed, or of any.
single = (texts, numbers, st.booleans(), st.lists(texts, max_size=2))
typed = [st.lists(st.builds(lambda value: user(n=value), kind), max_size=6) for kind in single]
tables = st.one_of(st.lists(st.none() | xattrs, max_size=8), *typed)


@settings(max_examples=400, deadline=None)
@given(
    tables,
    tables,
    st.sets(st.integers(0, 8)),
    st.lists(st.tuples(names, wanted), min_size=1, max_size=4),
    st.sampled_from([1, 2, 200]),
)
def test_the_column_answers_as_a_listing_does_however_the_rows_came(first, second, gone, asked, most):
    """Rows of before and new ones, in any order, with fields of all kinds, and names that get no field."""
    number = count()
    old, new = ({f"{next(number) * 7 % 97:02}": row for row in rows} for rows in (first, second))
    with patch.object(columns_of, "MOST_COLUMNS", most), patch.object(columns_of, "_PARSED", 3):
        previous = made(table_of(old))
        stay = {key: row for place, (key, row) in enumerate(old.items()) if place not in gone}
        kept = previous.filter(pa.compute.is_in(previous.column("reference"), pa.array(stay, TEXT)))
        both = pa.concat_tables([kept.replace_schema_metadata(), table_of(new)], promote_options="default")
        whole = made(both.sort_by("reference"), previous)
        anew = made(table_of(dict(sorted({**stay, **new}.items()))))
    given_rows = [readable(json.loads(text)) if text else {} for text in whole.column("xattrs").to_pylist()]
    for name, given_condition in asked:
        try:
            (condition,) = checked_conditions({name: given_condition}).values()
        except errors.InvalidMediaError:
            continue
        found = [met(each, name, condition).to_pylist() for each in (whole, anew)]
        assert found == [[meets(row.get(name), condition) for row in given_rows]] * 2
    # A `double` whose last fraction went stays one.
    assert {**kinds(anew), **{name: "double" for name, kind in kinds(whole).items() if kind == "double"}} == kinds(
        whole
    )
    if kinds(whole) == kinds(anew):
        assert whole.select(anew.column_names).equals(anew)
    for name, kind in kinds(whole).items():
        told = pa.compute.struct_field(whole.column("attributes"), name).to_pylist()
        plain = [row.get(name) for row in given_rows]
        text = [
            each if each is None or isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in plain
        ]
        assert [type(each) for each in told] == [type(each) for each in (text if kind == MIXED else told)]
        if kind != MIXED:
            assert told == plain


@pytest.mark.parametrize(
    ("given_values", "kind", "shown"),
    [
        ([True, None], "bool", [True, None]),
        ([4, 2**63 - 1], "int64", [4, 2**63 - 1]),
        ([4, 0.5, 2**53], "double", [4.0, 0.5, 2.0**53]),
        ([0.5, 2**53 + 1], MIXED, ["0.5", "9007199254740993"]),
        (["a", 1, True, ["x", "é"]], MIXED, ["a", "1", "true", '["x","é"]']),
        ([True, 1], MIXED, ["true", "1"]),
        ([[], ["x"]], "list", [[], ["x"]]),
    ],
)  # fmt: skip
def test_values_that_disagree_are_text_and_whole_numbers_lose_nothing(given_values, kind, shown):
    rows = {str(n): {} if value is None else user(n=value) for n, value in enumerate(given_values)}
    table = made(table_of(rows))
    assert kinds(table) == {"n": kind}
    assert [row["n"] for row in table.column("attributes").to_pylist()] == shown


def test_the_most_frequent_names_get_fields_and_of_twins_one_and_the_others_are_found_all_the_same():
    rows = {f"{n:03}": user(**{f"n{place:03}": n for place in range(n % 250 + 1)}) for n in range(250)}
    rows |= {"a": user(Zeta=1), "b": user(zeta=1), "c": user(zeta=2)}
    with patch.object(columns_of, "MOST_COLUMNS", 201):
        table = made(table_of(rows))
    assert kinds(table) == {}, "a stranger's, of more than 200 names, counts as none"
    table = made(table_of(rows))
    assert list(kinds(table)) == [f"n{place:03}" for place in range(200)]
    for name, wanted_rows in (("n200", 50), ("zeta", 2), ("Zeta", 1), ("n199", 51), ("nobody", 0)):
        assert sum(met(table, name, (None, None)).to_pylist()) == wanted_rows
        assert sum(met(table, name, None).to_pylist()) == len(rows) - wanted_rows
    twins = made(table_of({name: row for name, row in rows.items() if name in "abc"}))
    assert kinds(twins) == {"zeta": "int64"}


def test_what_was_mixed_is_typed_again_when_the_odd_one_goes():
    rows = {"a": user(n=1), "b": user(n="x"), "c": user(n=2)}
    mixed = made(table_of(rows))
    assert kinds(mixed) == {"n": MIXED}
    assert kinds(made(mixed.filter(pa.array([True, False, True])), mixed)) == {"n": "int64"}


def test_rows_that_stay_are_not_parsed_again():
    previous = made(table_of({f"{n}": user(n=n, t="x") for n in range(5)}))
    both = pa.concat_tables([previous, table_of({"9": user(n=9, new=True)})], promote_options="default")
    for table, parsed in ((previous, 0), (previous.slice(1), 0), (both, 2), (both.slice(1), 2)):
        with patch.object(columns_of, "readable", side_effect=readable) as reads:
            made(table, previous)
        assert reads.call_count == parsed  # a new row to count its names, and for its values


# -- in a store ---------------------------------------------------------------------------------------------------
ROWS = ({"model": "gpt-1", "score": 4, "tags": ["night"]}, {}, {"model": "gpt-2", "score": 4.5}, {"model": "flux"})
ASKED = (
    {"model": "gpt-*"},
    {"score": (4, None)},
    {"tags": "n*t"},
    {"model": None},
    {"score": 4.0, "tags": ["x", "night"]},
)


def stored(storage):
    store = MediaStore(storage.url)
    text = MediaContent.from_text("x")
    store.store_many((text, MediaMetadata(run_id="r", attributes=each)) for each in ROWS)
    return store


def rewritten(storage, change):
    """Change the table of the newest snapshot, its metadata along with it."""
    key = snapshots(storage)[-1]
    sink = pa.BufferOutputStream()
    table = change(parquet.read_table(pa.BufferReader(storage.read(key))))
    parquet.write_table(table, sink, use_dictionary=False)
    storage.write(key, sink.getvalue().to_pybytes())


def with_metadata(table, said):
    kept = {
        **table.schema.metadata,
        b"fsmedia.attributes": said if isinstance(said, bytes) else json.dumps(said).encode(),
    }
    return table.replace_schema_metadata(kept)


def with_column(table, fields, said=None):
    """The table with other fields; all rows that have xattrs have them."""
    mask = table.column("attributes").is_null().combine_chunks()
    arrays = {name: pa.array([value] * len(table), kind) for name, (kind, value) in fields.items()}
    struct = pa.StructArray.from_arrays(arrays.values(), names=list(arrays), mask=mask)
    changed = table.drop_columns(["attributes"]).append_column("attributes", struct)
    return changed if said is None else with_metadata(changed, said)


TWINS = dict.fromkeys(["MODEL", "model"], (TEXT, "gpt-9"))
MANY = {f"n{n:04}": (pa.int64(), 7) for n in range(5_000)}
KEY = b"fsmedia.attributes"


def fields(**named):
    return {"fields": named, "others": False}


def without_metadata(table):
    return table.replace_schema_metadata({name: text for name, text in table.schema.metadata.items() if name != KEY})


def replaced(table, column):
    return table.set_column(table.column_names.index("attributes"), "attributes", column)


HOSTILE = {
    "of an older version": lambda table: without_metadata(table.drop_columns(["attributes"])),
    "no metadata": without_metadata,
    "no column": lambda table: table.drop_columns(["attributes"]),
    "no JSON": lambda table: with_metadata(table, b"\xff{"),
    "another JSON": lambda table: with_metadata(table, [1]),
    "another kind": lambda table: with_metadata(table, fields(model="instant")),
    "other types": lambda table: with_column(
        table, {"model": (pa.int64(), 7), "score": (TEXT, "9"), "tags": (TEXT, "")}
    ),
    "no struct": lambda table: replaced(table, pa.array([7] * len(table))),
    "5,000 names": lambda table: with_column(table, MANY, fields(**dict.fromkeys(MANY, "int64"))),
    "twins": lambda table: with_column(table, TWINS, fields(**dict.fromkeys(TWINS, "string"))),
    "no name": lambda table: with_column(table, {"a b": (TEXT, "x")}, fields(**{"a b": "string"})),
    "null where xattrs are": lambda table: replaced(table, pa.nulls(len(table), table.column("attributes").type)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_column_that_does_not_fit_is_made_of_xattrs_and_no_sidecar_is_read(local_storage, kind):
    store = stored(local_storage)
    plain = [list(store.list(attributes=each)) for each in ASKED]
    assert [len(each) for each in plain] == [2, 2, 1, 1, 1]
    with old_enough():
        sound = store.catalog()
    rewritten(local_storage, HOSTILE[kind])
    found = store.catalog(refresh=False)
    assert "attributes" not in found.to_arrow().column_names
    filtered = [found.filter(attributes=each).to_arrow().column("reference").to_pylist() for each in ASKED]
    assert filtered == plain
    raised(errors.InvalidMediaError, found.filter, match="there are model, score, tags", attributes={"nmae": None})
    with eager():
        assert [list(store.list(attributes=each)) for each in ASKED] == plain
    with old_enough():
        again = store.catalog()
    assert (again.report.read, again.report.written) == (0, True)
    assert again.to_arrow().equals(sound.to_arrow())
    check(store, store.catalog(refresh=False))


def test_text_that_is_none_is_no_snapshot(local_storage, caplog):
    store = stored(local_storage)
    with old_enough():
        store.catalog()
    bad = pa.array([b"\xff"] * 4, pa.binary()).view(TEXT)

    def spoiled(table):
        mask = table.column("attributes").is_null().combine_chunks()
        fields = [
            pa.compute.struct_field(table.column("attributes"), name).combine_chunks() for name in ("score", "tags")
        ]
        struct = pa.StructArray.from_arrays([bad, *fields], names=["model", "score", "tags"], mask=mask)
        return replaced(table, struct)

    rewritten(local_storage, spoiled)
    with caplog.at_level(logging.WARNING, "fsmedia"), eager():
        assert len(list(store.list(attributes={"model": "gpt-*"}))) == 2
    assert "can't be read" in caplog.text
    raised(errors.MediaNotFoundError, store.catalog, refresh=False)
    with old_enough():
        assert store.catalog().report.read == 4


def test_an_unknown_name_is_an_error_of_the_catalog_and_of_no_listing(local_storage):
    store = MediaStore(local_storage.url)
    text = MediaContent.from_text("x")
    store.store_media(text, MediaMetadata(run_id="r"))
    unknown = {"attributes": {"nmae": None}}
    raised(errors.InvalidMediaError, store.catalog().filter, match="no media has attributes", **unknown)
    assert local_storage.read(snapshots(local_storage)[-1]).count(b"fsmedia.attributes") == 0
    store.store_media(text, MediaMetadata(run_id="r", attributes={f"name{n:02}": n for n in range(60)}))
    with old_enough():
        catalog = store.catalog()
    error = raised(errors.InvalidMediaError, catalog.filter, match=r"'nmae'; there are name00, name01", **unknown)
    assert "name49 and 10 more" in str(error)
    assert "name50" not in str(error)
    with eager():
        assert [len(list(store.list(attributes={"nmae": each}))) for each in (None, "*")] == [2, 0]
    narrowed = catalog.filter(attributes={"name01": 99})
    assert len(narrowed) == len(narrowed.filter(attributes={"name02": "x"})) == 0
