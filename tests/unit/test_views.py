"""Views: templates and settings, the tree in which every media stands once, and how old it may be."""

import copy
import hashlib
import json
import pickle
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia import InvalidLayoutError, InvalidMediaError, MediaStore, StoreConflictError
from fsmedia.catalog.views import FOLDER, CatalogRows, LoadedRows, Tree, ViewTrees
from fsmedia.format.keys import MAX_NAME, VIEWS
from fsmedia.format.layout import DEFAULT_VIEWS, View, layouts, may_be_view, views
from fsmedia.format.settings import Configuration, Settings
from fsmedia.models import OrganizationMode
from tests.bench import seconds
from tests.conftest import Clock
from tests.contract.specimens import raised
from tests.unit.templates import AT, FULL, IDS, NAME, TAIL, UNIQUE

DAY = "{timestamp:%Y-%m-%d}/{mime_type}" + TAIL


def shown(template: str, **values: object) -> str:
    view = View("v", template)
    given = {**FULL, **values}
    return "/".join(view.folders([given[name] for name in view.fields]))


def test_folders_also_of_what_is_missing_or_hostile() -> None:
    for template, folders in [
        (DAY, "2026-03-04/image/png"), ("{name}{ext}", ""), ("all{name}{ext}".replace("all", "all/"), "all"),
        ("{mime_type}/{mime_type}" + TAIL, "image/png/image/png"), ("kind-{mime_type}" + TAIL, "kind-image~2fpng"),
        ("{run_id}{session_id}" + TAIL, "r1s1"), ("{timestamp:%H}/{timestamp:%H}" + TAIL, "05/05"),
        ("{message_idx:04d}/{part_idx}" + TAIL, "0003/1"),
    ]:  # fmt: skip
        assert shown(template) == folders
    for values, folders in [
        ({"mime_type": ""}, "2026-03-04/~_/~_"), ({"mime_type": None}, "2026-03-04/~_/~_"),
        ({"mime_type": "image"}, "2026-03-04/image/~_"), ({"mime_type": "a/b/../c"}, "2026-03-04/a/b~2f..~2fc"),
        ({"mime_type": "../.."}, "2026-03-04/~2e~2e/~2e~2e"), ({"timestamp": None}, "~_/image/png"),
        ({"timestamp": "yesterday"}, "~_/image/png"),
        ({"timestamp": datetime(2026, 3, 4, 23, tzinfo=timezone(timedelta(hours=-3)))}, "2026-03-05/image/png"),
        ({"timestamp": datetime(1, 1, 1, tzinfo=UTC)}, "0001-01-01/image/png"),
    ]:  # fmt: skip
        assert shown(DAY, **values) == folders
    for spec, finest in [("%Y", 86_400), ("%j", 86_400), ("%H", 3600), ("%Y-%M", 60), ("%S.%Y", 1)]:
        assert View("v", f"{{timestamp:{spec}}}" + TAIL).finest == finest


@given(st.tuples(IDS, IDS, IDS), st.datetimes(timezones=st.just(UTC)))
def test_folders_are_as_many_for_every_media_and_fit_a_disk(ids: tuple[str, str, str], at: datetime) -> None:
    for template in (DAY, "{run_id}-{session_id}/x{mime_type}/{provider_id}" + TAIL):
        view = View("v", template)
        values = {**FULL, "run_id": ids[0], "session_id": ids[1], "mime_type": ids[2], "timestamp": at}
        folders = view.folders([values[name] for name in view.fields])
        assert len(folders) == 3
        for folder in folders:
            assert folder not in ("", ".", "..")
            assert "/" not in folder
            assert len(folder.encode()) <= MAX_NAME


@pytest.mark.parametrize(("template", "told"), [
    ("", "the file name is not"), ("{run_id}", "the file name is not"), ("{run_id}/{name}", "the file name is not"),
    ("{name}/{name}{ext}", "the file name is not"), ("/{name}{ext}", "a segment is empty"),
    ("a//b/{name}{ext}", "a segment is empty"), ("../{name}{ext}", "may not be named"),
    ("{run_id}/./{name}{ext}", "may not be named"), ("{user}/{name}{ext}", "is no field"),
    ("{run_id.__class__}/{name}{ext}", "is no field"), ("{run_id!r}/{name}{ext}", "is no field"),
    ("{timestamp}/{name}{ext}", "no format"), ("{timestamp:%c}/{name}{ext}", "no format"),
    ("{run_id:>9}/{name}{ext}", "text takes none"), ("{message_idx:x}/{name}{ext}", "no format"),
    ("a b/{name}{ext}", "more than"), ("{run_id/{name}{ext}", "brace"), ("x" * 251 + "/{name}{ext}", "does not fit"),
    ("-".join(["{run_id}"] * 7) + "/{name}{ext}", "does not fit"), (7, "not int"), (None, "not NoneType"),
])  # fmt: skip
def test_bad_templates_are_refused(template: object, told: str) -> None:
    raised(InvalidLayoutError, View, "by-day", template, match=told)


def test_names_of_other_characters_and_names_that_are_taken_are_refused() -> None:
    for name in ("", "By-Day", "by day", "by/day", ".fsmedia", "@lab", "..", "x.y", "é", "a" * 101, 7):
        raised(InvalidLayoutError, View, name, DAY, match="can't be the name of a view")
    for name in (*VIEWS, "runs", "sessions", "conversations"):
        raised(InvalidLayoutError, views, {name: DAY}, layouts(), match="is taken by")


@pytest.mark.parametrize(("template", "reached", "free"), [
    ("media/{run_id}", "media", "medium"), ("{run_id}", "by-day", None), ("by-{run_id}", "by-day", "day"),
    ("{timestamp:%Y}/{run_id}", "2026", "by-day"), ("Media/{run_id}", "media", "by-day"),
    ("{message_idx:04d}/{run_id}", "0012", "12"),
])  # fmt: skip
def test_no_layout_may_put_media_where_a_view_is(template: str, reached: str, free: str | None) -> None:
    known = layouts({"by-run": template + TAIL})
    raised(InvalidLayoutError, views, {reached: DAY}, known, match=r"could put media where the view")
    if free is not None:
        assert list(views({free: DAY}, known)) == [free]


def test_views_are_values_and_folders_of_media_are_never_asked_about() -> None:
    view = View("by-day", DAY)
    for clone in (pickle.loads(pickle.dumps(view)), copy.deepcopy(view)):
        assert (clone, hash(clone)) == (view, hash(view))
        assert clone.folders([AT, "a/b"]) == ("2026-03-04", "a", "b")
    assert view != View("by-day", "{name}{ext}")
    assert view != View("by-other", DAY)
    assert repr(view) == f"View(name='by-day', template={DAY!r})"
    assert [each.name for each in DEFAULT_VIEWS] == list(VIEWS)
    assert DEFAULT_VIEWS[2].folders([""]) == ("~_",)
    assert not any(may_be_view(name) for name in ("runs", "sessions", "conversations", "x.png", "", "A", "@lab"))
    assert may_be_view("by-day")
    assert may_be_view("cats_2")
    assert shown("{run_id}/{message_idx}" + TAIL, run_id="\ud800", message_idx=-1) == "~_/~_"
    assert shown("{run_id}" + TAIL, run_id=7) == "~_"


CHOSEN = {"by-day": "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}", "flat": "{name}{ext}"}


def made(views: Any = None, layouts: Any = None) -> Configuration:
    settings = Settings.read({"layouts": layouts, "views": views})
    return Configuration.first(settings, organization=OrganizationMode.BY_RUN, adopted=False)


def test_views_come_back_from_store_json_or_are_not_in_it_and_others_than_the_stores_are_told() -> None:
    configuration = made(CHOSEN)
    again = Configuration.parse(configuration.dump())
    assert (again, {name: view.template for name, view in again.views.items()}) == (configuration, CHOSEN)
    again.check(Settings.read({"views": CHOSEN}))
    again.check(Settings())
    # So that readers that know no views open it.
    for none in (None, {}):
        assert "views" not in json.loads(made(none).dump())
    for other in ({}, {"flat": "{name}{ext}"}, {**CHOSEN, "flat": "x/{name}{ext}"}):
        with pytest.raises(StoreConflictError, match=r"the store has views.*by-day.*leave views out"):
            made(CHOSEN).check(Settings.read({"views": other}))
    for wrong in ("by-day", ["by-day"], 5, [("a", "{name}{ext}")]):
        raised(InvalidMediaError, Settings.read, {"views": wrong}, match="views must be a mapping")


@pytest.mark.parametrize(("options", "told"), [
    ({"views": {"by-day": "{timestamp}/{name}{ext}"}}, "no format"), ({"views": {"by-run": "{name}{ext}"}}, "taken"),
    ({"views": {"@lab": "{name}{ext}"}}, "can't be the name"),
    ({"views": {"m": "{name}{ext}"}, "layouts": {"by-run": "m/{run_id}/{name}{ext}"}}, "could put media where"),
    ({"views": {"m": "{name}{ext}"}, "layouts": {"by-session": "{session_id}/{name}{ext}"}}, "could put media"),
])  # fmt: skip
def test_bad_ones_are_refused_before_anything_is_written(memory_storage: Any, options: Any, told: str) -> None:
    raised(InvalidLayoutError, MediaStore, memory_storage.url, match=told, **options)
    assert memory_storage.keys() == set()


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


def test_one_of_each_and_two_of_one_path_which_both_get_a_mark_that_depends_on_the_media_alone() -> None:
    rows = rows_of(
        {"reference": f"runs/r1/{NAME}.png", "run_id": "r1"},
        {"reference": f"sessions/s/{NAME}.{9}-{DIGEST}-{GENERATION}.png", "run_id": "a/b"},
        {"reference": "x.txt"},
    )
    tree = Tree(BY_RUN, rows)
    first, second, third = rows.references
    assert paths(tree) == {f"r1/{NAME}.png": first, f"a~2fb/{NAME}.png": second, "~_/x.txt": third}
    assert dict(tree.children("")) == {"r1": FOLDER, "a~2fb": FOLDER, "~_": FOLDER}
    assert (tree.find(""), tree.find("r1")) == (FOLDER, FOLDER)
    assert [path for path in ("r2", "r1/x", "x.txt", "r1/", "/r1") if tree.find(path) is not None] == []
    assert list(tree.below("", 1)) == list(tree.children(""))
    # Somebody chose the very name that a mark would make, for all lengths of the mark.
    first = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png")))
    taken = [f"runs/r9/{name}" for name in first]
    again = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png", *taken)))
    assert sorted(again.values()) == sorted(["runs/r1/a.png", "runs/r2/a.png", *taken])
    longer = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png", *taken, *(f"runs/r8/{name}" for name in again))))
    assert len(longer) == 4 + len(again)
    view = View("by-hour", "{timestamp:%Y-%m-%d_%H}/{name}{ext}")
    hour = 3_600_000_000
    times = {"a": 5 * hour + 1, "b": 6 * hour - 1, "c": -1, "d": 2**62, "e": None}
    rows = rows_of(*({"reference": name, "timestamp": at} for name, at in times.items()))
    assert sorted(paths(Tree(view, rows))) == ["1969-12-31_23/c", "1970-01-01_05/a", "1970-01-01_05/b", "~_/d", "~_/e"]
    tree = Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png", "runs/r3/b.png"))
    marked = {f"a~{digest(each)}.png": each for each in ("runs/r1/a.png", "runs/r2/a.png")}
    assert paths(tree) == {**marked, "b.png": "runs/r3/b.png"}
    assert tree.find("a.png") is None
    two = paths(Tree(FLAT, named("runs/r1/a.png", "runs/r2/a.png")))
    assert two.items() < paths(Tree(FLAT, named("runs/r0/a.png", "runs/r1/a.png", "runs/r2/a.png"))).items()
    for name in ("n" * 250, "é" * 125, "n" * 100 + "." + "e" * 149, "." + "é" * 124, "a." + "é" * 124):
        found = paths(Tree(FLAT, named(f"runs/r1/{name}", f"runs/r2/{name}")))
        assert len(found) == 2
        assert all(len(path.encode()) <= MAX_NAME for path in found)


def test_what_really_lies_in_the_views_folder_keeps_its_path_and_what_is_gone_is_shown_no_more() -> None:
    # A store that was adopted may hold anything: a path that is a reference means that media.
    rows = named("by-run/r1/a.png", "by-run/x.png", "runs/r1/a.png", "by-running/a.png", "by-run-/a.png", run_id="r1")
    found = paths(Tree(BY_RUN, rows))
    assert (found["r1/a.png"], found["x.png"]) == ("by-run/r1/a.png", "by-run/x.png")
    assert sorted(found.values()) == sorted(rows.references)
    assert sum(path.startswith("r1/a~") for path in found) == 3
    rows = named("by-run/r1", "runs/r1/a.png", "runs/r1/b.png", run_id="r1")
    tree = Tree(BY_RUN, rows)
    assert paths(tree) == {"r1": "by-run/r1", "r1~/a.png": "runs/r1/a.png", "r1~/b.png": "runs/r1/b.png"}
    rows = named("flat/a.png/b", "runs/r1/a.png")
    found = paths(Tree(FLAT, rows))
    assert (found["a.png/b"], sorted(found.values())) == ("flat/a.png/b", rows.references)
    at = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    micro = int(at.timestamp()) * 10**6 + 890123
    known = {"reference": "a", "size_bytes": 2**40, "modified": micro, "mime_type": "image/png"}
    rows = rows_of(known, {"reference": "b"})
    assert rows.summary(0) == ("a", 2**40, at, "image/png")
    assert rows.summary(1) == ("b", 0, None, "application/octet-stream")
    rows.renew(0, 5)
    assert rows.summary(0) == ("a", 5, at, "image/png")
    rows.renew(1, 6, at)
    assert rows.summary(1)[1:3] == (6, at)
    rows = named("runs/r1/a.png", "runs/r1/b.png", run_id="r1")
    trees = [Tree(BY_RUN, rows), Tree(FLAT, rows)]
    rows.forget(0)
    for tree in trees:
        assert list(paths(tree).values()) == ["runs/r1/b.png"]
    assert trees[0].find("r1/a.png") is None


TEXTS = st.text(alphabet=st.sampled_from("ab~.é*?[ "), min_size=1, max_size=4)
SEGMENTS = st.lists(TEXTS.filter(lambda name: name not in (".", "..")), min_size=1, max_size=3)
PATHS = st.tuples(st.sampled_from(["runs", "by-run", "flat", "x"]), SEGMENTS).map(lambda p: "/".join([p[0], *p[1]]))
REFERENCES = st.lists(PATHS, unique=True, max_size=20)


@given(REFERENCES, st.lists(st.sampled_from(["", "a", "b", "a/b", "~_"]), min_size=20, max_size=20))
def test_every_media_has_one_path(references: list[str], runs: list[str]) -> None:
    media = [{"reference": each, "run_id": run} for each, run in zip(references, runs, strict=False)]
    for view in (BY_RUN, FLAT, View("x", "{run_id}/all/{name}{ext}")):
        found = paths(Tree(view, rows_of(*media)))
        assert sorted(found.values()) == sorted(references)
        assert found == paths(Tree(view, rows_of(*reversed(media))))
        for path in found:  # no path is a file and a folder
            assert not any(other.startswith(f"{path}/") for other in found)


def _catalog(count: int) -> CatalogRows:
    references = sorted(f"runs/run-{number % 1000:04d}/{number:04d}_00_{UNIQUE}.png" for number in range(count))
    times = [1_700_000_000_000_000 + number * 60_000_000 for number in range(count)]
    columns = {
        "reference": references, "run_id": [each.split("/")[1] for each in references],
        "session_id": [f"s{number % 500}" for number in range(count)], "size_bytes": list(range(count)),
        "modified": times, "timestamp": times, "mime_type": ["image/png", "audio/wav"] * (count // 2),
    }  # fmt: skip
    return CatalogRows(columns.__getitem__)


@pytest.mark.parametrize(("count", "factor"), [(20_000, 4), pytest.param(100_000, 1, marks=pytest.mark.full)])
def test_a_look_goes_through_no_other_folder(count: int, factor: int) -> None:
    rows, trees = _catalog(count), []
    shown = (BY_RUN, DEFAULT_VIEWS[0], View("v", "{timestamp:%Y-%m-%d}/{name}{ext}"))
    taken = seconds(lambda: trees.extend(Tree(view, rows) for view in shown))
    assert taken < 10, f"{taken:.2f} s to make three trees of {count} rows"
    path = f"run-0007/{next(trees[0].children('run-0007'))[0]}"
    rows.summary(0)
    for what, work in {
        "ls": lambda: [(name, rows.summary(each)) for name, each in trees[0].children("run-0007")],
        "look": lambda: trees[0].find(path),
    }.items():
        best = min(seconds(work) for _ in range(5))
        assert best < 0.005 * factor, f"{what} took {best * 1000:.2f} ms among {count} rows"


MINUTE = timedelta(minutes=1)


class Source:
    """Gives rows and counts how often; each time another media is there."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.count = clock, 0
        self.takes = self.age = timedelta(0)
        self.error: Exception | None = None
        self.same: CatalogRows | None = None

    def __call__(self) -> LoadedRows:
        if self.error:
            raise self.error
        self.count += 1
        since = self.clock() - self.age
        self.clock.advance(self.takes)
        return LoadedRows(self.same or named(f"runs/r/{self.count}.png", run_id="r"), since)

    def seen(self, shown: ViewTrees) -> str:
        [(name, _)] = shown.tree(BY_RUN).children("r")
        return name


@pytest.fixture
def source(clock: Clock) -> Source:
    return Source(clock)


def test_it_looks_again_when_it_is_older_than_it_may_be_and_after_an_error(source: Source, clock: Clock) -> None:
    shown = ViewTrees(source, MINUTE, clock)
    assert (source.count, [source.seen(shown) for _ in range(3)]) == (0, ["1.png"] * 3)
    clock.advance(MINUTE)
    assert source.seen(shown) == "1.png"
    clock.advance(timedelta(microseconds=1))
    assert source.seen(shown) == "2.png"
    clock.advance(-timedelta(days=1))  # set back: nobody knows how old it is
    assert source.seen(shown) == "3.png"
    shown = ViewTrees(source, timedelta(0), clock)
    assert [source.seen(shown) for _ in range(3)] == ["4.png", "5.png", "6.png"], "zero looks each time"
    shown = ViewTrees(source, None, clock)
    assert source.seen(shown) == "7.png"
    clock.advance(timedelta(days=1000))
    assert source.seen(shown) == "7.png", "and none once"
    shown = ViewTrees(source, MINUTE, clock)
    source.error = OSError("no")
    for _ in range(2):
        raised(OSError, shown.tree, BY_RUN, match="no")
    source.error = None
    assert source.seen(shown) == "8.png"


def test_a_snapshots_age_counts_and_the_same_rows_keep_their_trees(source: Source, clock: Clock) -> None:
    source.age = MINUTE / 2
    shown = ViewTrees(source, MINUTE, clock)
    source.seen(shown)
    clock.advance(MINUTE / 2)
    assert source.seen(shown) == "1.png"
    clock.advance(timedelta(seconds=1))
    assert source.seen(shown) == "2.png"
    source.same = named("runs/r/a.png", run_id="r")
    shown = ViewTrees(source, timedelta(0), clock)
    before = source.count
    assert shown.tree(BY_RUN) is shown.tree(BY_RUN)
    assert source.count == before + 2


def test_where_looking_takes_long_it_does_for_as_long(source: Source, clock: Clock) -> None:
    """Else a store that takes longer to list than views may be old would be listed at every call."""
    source.takes = 10 * MINUTE
    shown = ViewTrees(source, MINUTE, clock)
    source.seen(shown)
    clock.advance(10 * MINUTE)
    assert source.seen(shown) == "1.png"
    clock.advance(timedelta(seconds=1))
    assert source.seen(shown) == "2.png"


@pytest.mark.parametrize("first", [True, False])
def test_the_first_look_is_waited_for_and_later_the_old_will_do(source: Source, clock: Clock, *, first: bool) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> LoadedRows:
        if first or source.count:
            begun.set()
            assert go_on.wait(20)
        return source()

    shown = ViewTrees(slow, MINUTE, clock)
    if not first:
        assert source.seen(shown) == "1.png"
        clock.advance(2 * MINUTE)
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(source.seen(shown))) for _ in range(8 if first else 1)]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    if not first:
        assert [source.seen(shown) for _ in range(3)] == ["1.png"] * 3
    go_on.set()
    for thread in threads:
        thread.join()
    looks, name = (1, "1.png") if first else (2, "2.png")
    assert (seen, source.seen(shown), source.count) == ([name] * len(threads), name, looks)
