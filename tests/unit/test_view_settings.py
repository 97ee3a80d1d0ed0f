"""Views as a setting of a store: checked before anything is written, kept in `store.json`, the same for everybody."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fsmedia import InvalidLayoutError, InvalidMediaError, MediaStore, StoreConflictError
from fsmedia.format.settings import Configuration, Settings
from fsmedia.models import OrganizationMode

VIEWS = {"by-day": "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}", "flat": "{name}{ext}"}


def made(views: Any = None, layouts: Any = None) -> Configuration:
    settings = Settings.read({"layouts": layouts, "views": views})
    return Configuration.first(settings, organization=OrganizationMode.BY_RUN, adopted=False)


def test_they_come_back_from_store_json() -> None:
    configuration = made(VIEWS)
    again = Configuration.parse(configuration.dump())
    assert again == configuration
    assert {name: view.template for name, view in again.views.items()} == VIEWS
    again.check(Settings.read({"views": VIEWS}))
    again.check(Settings())


@pytest.mark.parametrize("views", [None, {}])
def test_a_store_without_any_says_nothing_of_them(views: Any) -> None:
    """So that readers that know no views open it."""
    assert "views" not in json.loads(made(views).dump())


@pytest.mark.parametrize("other", [{}, {"flat": "{name}{ext}"}, {**VIEWS, "flat": "x/{name}{ext}"}])
def test_other_views_than_the_stores_are_told(other: dict[str, str]) -> None:
    with pytest.raises(StoreConflictError, match="the store has views") as caught:
        made(VIEWS).check(Settings.read({"views": other}))
    assert "by-day" in str(caught.value)
    assert "leave views out" in str(caught.value)


@pytest.mark.parametrize("views", ["by-day", ["by-day"], 5, [("a", "{name}{ext}")]])
def test_what_is_no_mapping_is_refused(views: Any) -> None:
    with pytest.raises(InvalidMediaError, match="views must be a mapping"):
        Settings.read({"views": views})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"views": {"by-day": "{timestamp}/{name}{ext}"}}, "no format"),
        ({"views": {"by-run": "{name}{ext}"}}, "taken"),
        ({"views": {"@lab": "{name}{ext}"}}, "can't be the name"),
        ({"views": {"m": "{name}{ext}"}, "layouts": {"by-run": "m/{run_id}/{name}{ext}"}}, "could put media where"),
        ({"views": {"m": "{name}{ext}"}, "layouts": {"by-session": "{session_id}/{name}{ext}"}}, "could put media"),
    ],
)
def test_bad_ones_are_refused_before_anything_is_written(memory_storage: Any, options: Any, told: str) -> None:
    with pytest.raises(InvalidLayoutError, match=told):
        MediaStore(memory_storage.url, **options)
    assert memory_storage.keys() == set()
