"""A view's template: what is accepted, which names are free, and the folders that it renders."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import InvalidLayoutError
from fsmedia.format.keys import MAX_NAME, VIEWS
from fsmedia.format.layout import layouts
from fsmedia.format.views import DEFAULT_VIEWS, View, may_be_view, views
from tests.unit.templates import AT, FULL, IDS, TAIL

DAY = "{timestamp:%Y-%m-%d}/{mime_type}" + TAIL


def shown(template: str, **values: object) -> str:
    view = View("v", template)
    given = {**FULL, **values}
    return "/".join(view.folders([given[name] for name in view.fields]))


@pytest.mark.parametrize(
    ("template", "folders"),
    [
        (DAY, "2026-03-04/image/png"), ("{name}{ext}", ""), ("all{name}{ext}".replace("all", "all/"), "all"),
        ("{mime_type}/{mime_type}" + TAIL, "image/png/image/png"), ("kind-{mime_type}" + TAIL, "kind-image~2fpng"),
        ("{run_id}{session_id}" + TAIL, "r1s1"), ("{timestamp:%H}/{timestamp:%H}" + TAIL, "05/05"),
        ("{message_idx:04d}/{part_idx}" + TAIL, "0003/1"),
    ],
)  # fmt: skip
def test_folders(template: str, folders: str) -> None:
    assert shown(template) == folders


@pytest.mark.parametrize(
    ("values", "folders"),
    [
        ({"mime_type": ""}, "2026-03-04/~_/~_"), ({"mime_type": None}, "2026-03-04/~_/~_"),
        ({"mime_type": "image"}, "2026-03-04/image/~_"), ({"mime_type": "a/b/../c"}, "2026-03-04/a/b~2f..~2fc"),
        ({"mime_type": "../.."}, "2026-03-04/~2e~2e/~2e~2e"), ({"timestamp": None}, "~_/image/png"),
        ({"timestamp": "yesterday"}, "~_/image/png"),
        ({"timestamp": datetime(2026, 3, 4, 23, tzinfo=timezone(timedelta(hours=-3)))}, "2026-03-05/image/png"),
        ({"timestamp": datetime(1, 1, 1, tzinfo=UTC)}, "0001-01-01/image/png"),
    ],
)  # fmt: skip
def test_what_is_missing_or_hostile_has_a_folder_all_the_same(values: dict[str, object], folders: str) -> None:
    assert shown(DAY, **values) == folders


def test_wrong_kinds_and_surrogates_do_not_stop_a_view() -> None:
    assert shown("{run_id}/{message_idx}" + TAIL, run_id="\ud800", message_idx=-1) == "~_/~_"
    assert shown("{run_id}" + TAIL, run_id=7) == "~_"


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


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("", "the file name is not"), ("{run_id}", "the file name is not"), ("{run_id}/{name}", "the file name is not"),
        ("{name}/{name}{ext}", "the file name is not"), ("/{name}{ext}", "a segment is empty"),
        ("a//b/{name}{ext}", "a segment is empty"), ("../{name}{ext}", "may not be named"),
        ("{run_id}/./{name}{ext}", "may not be named"), ("{user}/{name}{ext}", "is no field"),
        ("{run_id.__class__}/{name}{ext}", "is no field"), ("{run_id!r}/{name}{ext}", "is no field"),
        ("{timestamp}/{name}{ext}", "no format"), ("{timestamp:%c}/{name}{ext}", "no format"),
        ("{run_id:>9}/{name}{ext}", "text takes none"), ("{message_idx:x}/{name}{ext}", "no format"),
        ("a b/{name}{ext}", "more than"), ("{run_id/{name}{ext}", "brace"),
        ("x" * 251 + "/{name}{ext}", "does not fit"), ("-".join(["{run_id}"] * 7) + "/{name}{ext}", "does not fit"),
        (7, "not int"), (None, "not NoneType"),
    ],
)  # fmt: skip
def test_bad_templates_are_refused(template: object, told: str) -> None:
    with pytest.raises(InvalidLayoutError, match=told):
        View("by-day", template)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "By-Day", "by day", "by/day", ".fsmedia", "@lab", "..", "x.y", "é", "a" * 101, 7])
def test_names_of_other_characters_are_refused(name: object) -> None:
    with pytest.raises(InvalidLayoutError, match="can't be the name of a view"):
        View(name, DAY)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*VIEWS, "runs", "sessions", "conversations"])
def test_names_that_are_taken_are_refused(name: str) -> None:
    with pytest.raises(InvalidLayoutError, match="is taken by"):
        views({name: DAY}, layouts())


@pytest.mark.parametrize(
    ("template", "reached", "free"),
    [
        ("media/{run_id}", "media", "medium"), ("{run_id}", "by-day", None), ("by-{run_id}", "by-day", "day"),
        ("{timestamp:%Y}/{run_id}", "2026", "by-day"), ("Media/{run_id}", "media", "by-day"),
        ("{message_idx:04d}/{run_id}", "0012", "12"),
    ],
)  # fmt: skip
def test_no_layout_may_put_media_where_a_view_is(template: str, reached: str, free: str | None) -> None:
    known = layouts({"by-run": template + TAIL})
    with pytest.raises(InvalidLayoutError, match=r"could put media where the view"):
        views({reached: DAY}, known)
    if free is not None:
        assert list(views({free: DAY}, known)) == [free]


def test_folders_of_media_are_never_asked_about() -> None:
    assert not any(may_be_view(name) for name in ("runs", "sessions", "conversations", "x.png", "", "A", "@lab"))
    assert may_be_view("by-day")
    assert may_be_view("cats_2")


def test_views_are_values() -> None:
    view = View("by-day", DAY)
    for clone in (pickle.loads(pickle.dumps(view)), copy.deepcopy(view)):
        assert clone == view
        assert hash(clone) == hash(view)
        assert clone.folders([AT, "a/b"]) == ("2026-03-04", "a", "b")
    assert view != View("by-day", "{name}{ext}")
    assert view != View("by-other", DAY)
    assert repr(view) == f"View(name='by-day', template={DAY!r})"
    assert [each.name for each in DEFAULT_VIEWS] == list(VIEWS)
    assert DEFAULT_VIEWS[2].folders([""]) == ("~_",)


@pytest.mark.parametrize(
    ("spec", "seconds"), [("%Y", 86_400), ("%j", 86_400), ("%H", 3600), ("%Y-%M", 60), ("%S.%Y", 1)]
)
def test_the_smallest_unit_of_time(spec: str, seconds: int) -> None:
    assert View("v", f"{{timestamp:{spec}}}" + TAIL).finest == seconds
