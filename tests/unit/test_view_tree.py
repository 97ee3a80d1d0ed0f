"""The tree of a view: every media stands in it once, under a path of its own, and a look-up costs no scan."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.catalog.views import FOLDER, CatalogRows, Tree
from fsmedia.format.keys import MAX_NAME
from fsmedia.format.views import DEFAULT_VIEWS, View
from tests.unit.templates import NAME, UNIQUE

BY_RUN = DEFAULT_VIEWS[2]
FLAT = View("flat", "{name}{ext}")
DIGEST, GENERATION = "ab" * 32, "01m83g628zep8a9rrkcagmbh3w"


def rows_of(*media: dict[str, Any]) -> CatalogRows:
    """CatalogRows as a catalog gives them: by reference, every column there."""
    ordered = sorted(media, key=lambda each: each["reference"].encode())
    return CatalogRows(lambda name: [each.get(name) for each in ordered])


def named(*references: str, **values: Any) -> CatalogRows:
    return rows_of(*({"reference": each, **values} for each in references))


def digest(reference: str) -> str:
    return hashlib.sha256(reference.encode()).hexdigest()[:8]


def paths(tree: Tree) -> dict[str, str]:
    """Path -> reference, of all media."""
    found = {path: tree.rows.references[each] for path, each in tree.below("", None) if each != FOLDER}
    for path, reference in found.items():
        assert tree.rows.references[tree.find(path)] == reference  # type: ignore[index]
    return found


def test_one_of_each() -> None:
    rows = rows_of(
        {"reference": f"runs/r1/{NAME}.png", "run_id": "r1"},
        {"reference": f"sessions/s/{NAME}.{9}-{DIGEST}-{GENERATION}.png", "run_id": "a/b"},
        {"reference": "x.txt"},
    )
    tree = Tree(BY_RUN, rows)
    assert paths(tree) == {
        f"r1/{NAME}.png": rows.references[0],
        f"a~2fb/{NAME}.png": rows.references[1],
        "~_/x.txt": "x.txt",
    }
    assert dict(tree.children("")) == {"r1": FOLDER, "a~2fb": FOLDER, "~_": FOLDER}
    assert [tree.find(path) for path in ("", "r1", "r2", "r1/x", "x.txt", "r1/", "/r1")] == [
        FOLDER,
        FOLDER,
        *[None] * 5,
    ]
    assert list(tree.below("", 1)) == list(tree.children(""))


def test_two_of_one_path_both_get_a_mark() -> None:
    tree = Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png", "runs/r3/b.png"))
    assert paths(tree) == {
        f"a~{digest('runs/r1/a.png')}.png": "runs/r1/a.png",
        f"a~{digest('runs/r2/a.png')}.png": "runs/r2/a.png",
        "b.png": "runs/r3/b.png",
    }
    assert tree.find("a.png") is None


def test_a_mark_depends_on_the_media_alone() -> None:
    two = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png")))
    three = paths(Tree(FLAT, named("runs/r0/a.png", "runs/r1/a.png", "runs/r2/a.png")))
    assert two.items() < three.items()


def test_a_name_that_looks_like_a_mark() -> None:
    """Somebody chose the very name that a mark would make, for all lengths of the mark."""
    first = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png")))
    taken = [f"runs/r9/{name}" for name in first]
    again = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png", *taken)))
    assert sorted(again.values()) == sorted(["runs/r1/a.png", "runs/r2/a.png", *taken])
    longer = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png", *taken, *(f"runs/r8/{name}" for name in again))))
    assert len(longer) == 4 + len(again)


def test_marks_fit_into_a_name() -> None:
    for name in ("n" * 250, "é" * 125, "n" * 100 + "." + "e" * 149, "." + "é" * 124, "a." + "é" * 124):
        found = paths(Tree(FLAT, named(f"runs/r1/{name}", f"runs/r2/{name}")))
        assert len(found) == 2
        assert all(len(path.encode()) <= MAX_NAME for path in found)


def test_a_media_that_really_lies_in_the_views_folder_keeps_its_path() -> None:
    """A store that was adopted may hold anything: a path that is a reference means that media."""
    rows = named("by-run/r1/a.png", "by-run/x.png", "runs/r1/a.png", "by-running/a.png", "by-run-/a.png", run_id="r1")
    found = paths(Tree(BY_RUN, rows))
    assert found["r1/a.png"] == "by-run/r1/a.png"
    assert found["x.png"] == "by-run/x.png"
    assert sorted(found.values()) == sorted(rows.references)
    assert sum(path.startswith("r1/a~") for path in found) == 3


def test_a_file_that_really_lies_where_a_folder_would_be() -> None:
    rows = named("by-run/r1", "runs/r1/a.png", "runs/r1/b.png", run_id="r1")
    tree = Tree(BY_RUN, rows)
    assert paths(tree) == {"r1": "by-run/r1", "r1~/a.png": "runs/r1/a.png", "r1~/b.png": "runs/r1/b.png"}


def test_a_folder_that_really_lies_where_a_file_would_be() -> None:
    rows = named("flat/a.png/b", "runs/r1/a.png")
    found = paths(Tree(FLAT, rows))
    assert found["a.png/b"] == "flat/a.png/b"
    assert sorted(found.values()) == rows.references


def test_what_is_gone_is_shown_no_more_in_any_view() -> None:
    rows = named("runs/r1/a.png", "runs/r1/b.png", run_id="r1")
    trees = [Tree(BY_RUN, rows), Tree(FLAT, rows)]
    rows.forget(0)
    for tree in trees:
        assert list(paths(tree).values()) == ["runs/r1/b.png"]
    assert trees[0].find("r1/a.png") is None


def test_facts() -> None:
    at = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    micro = int(at.timestamp()) * 10**6 + 890123
    rows = rows_of(
        {"reference": "a", "size_bytes": 2**40, "modified": micro, "mime_type": "image/png"}, {"reference": "b"}
    )
    assert rows.summary(0) == ("a", 2**40, at, "image/png")
    assert rows.summary(1) == ("b", 0, None, "application/octet-stream")
    rows.renew(0, 5)
    assert rows.summary(0) == ("a", 5, at, "image/png")
    rows.renew(1, 6, at)
    assert rows.summary(1)[1:3] == (6, at)


def test_times_that_share_a_folder_and_times_that_no_datetime_holds() -> None:
    view = View("by-hour", "{timestamp:%Y-%m-%dT%H}/{name}{ext}".replace("T", "_"))
    hour = 3_600_000_000
    rows = rows_of(
        {"reference": "a", "timestamp": 5 * hour + 1},
        {"reference": "b", "timestamp": 6 * hour - 1},
        {"reference": "c", "timestamp": -1},
        {"reference": "d", "timestamp": 2**62},
        {"reference": "e", "timestamp": None},
    )
    assert sorted(paths(Tree(view, rows))) == ["1969-12-31_23/c", "1970-01-01_05/a", "1970-01-01_05/b", "~_/d", "~_/e"]


SEGMENTS = st.text(alphabet=st.sampled_from("ab~.é*?[ "), min_size=1, max_size=4).filter(
    lambda name: name not in (".", "..")
)
REFERENCES = st.lists(
    st.tuples(st.sampled_from(["runs", "by-run", "flat", "x"]), st.lists(SEGMENTS, min_size=1, max_size=3)).map(
        lambda parts: "/".join([parts[0], *parts[1]])
    ),
    unique=True,
    max_size=20,
)


@given(REFERENCES, st.lists(st.sampled_from(["", "a", "b", "a/b", "~_"]), min_size=20, max_size=20))
def test_every_media_has_one_path(references: list[str], runs: list[str]) -> None:
    media = [{"reference": each, "run_id": run} for each, run in zip(references, runs, strict=False)]
    for view in (BY_RUN, FLAT, View("x", "{run_id}/all/{name}{ext}")):
        tree = Tree(view, rows_of(*media))
        found = paths(tree)
        assert sorted(found.values()) == sorted(references)
        assert found == paths(Tree(view, rows_of(*reversed(media))))
        for path in found:  # no path is a file and a folder
            assert not any(other.startswith(f"{path}/") for other in found)


def _catalog(count: int) -> CatalogRows:
    references = sorted(f"runs/run-{number % 1000:04d}/{number:04d}_00_{UNIQUE}.png" for number in range(count))
    columns = {
        "reference": references,
        "run_id": [each.split("/")[1] for each in references],
        "session_id": [f"s{number % 500}" for number in range(count)],
        "size_bytes": list(range(count)),
        "modified": [1_700_000_000_000_000 + number * 60_000_000 for number in range(count)],
        "timestamp": [1_700_000_000_000_000 + number * 60_000_000 for number in range(count)],
        "mime_type": ["image/png", "audio/wav"] * (count // 2),
    }
    return CatalogRows(columns.__getitem__)


def _speed(count: int, most: float, factor: float) -> None:
    rows = _catalog(count)
    begun = time.perf_counter()
    trees = [Tree(view, rows) for view in (BY_RUN, DEFAULT_VIEWS[0], View("v", "{timestamp:%Y-%m-%d}/{name}{ext}"))]
    taken = time.perf_counter() - begun
    assert taken < most, f"{taken:.2f} s to make three trees of {count} rows"
    folder, path = "run-0007", next(tree for tree in trees[0].children("run-0007"))[0]
    trees[0].rows.summary(0)
    for what, work in {
        "ls": lambda: [(name, rows.summary(each)) for name, each in trees[0].children(folder)],
        "look": lambda: trees[0].find(f"{folder}/{path}"),
    }.items():
        best = min(_timed(work) for _ in range(5))
        assert best < 0.005 * factor, f"{what} took {best * 1000:.2f} ms among {count} rows"


def _timed(work: Any) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def test_a_look_goes_through_no_other_folder() -> None:
    _speed(20_000, 10, 4)


@pytest.mark.full
def test_100_000_rows() -> None:
    _speed(100_000, 10, 1)
