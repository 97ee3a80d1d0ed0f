"""Layouts of a store: the folder of an id, a layout for each mode, the first one that fits."""

from __future__ import annotations

import copy
import pickle
from enum import StrEnum

import pytest

from fsmedia.errors import InvalidLayoutError, InvalidMediaError
from fsmedia.format.layout import DEFAULT_TEMPLATES, MODES, Layout, layouts, parse_any
from tests.unit.templates import FULL, NAME, TAIL


@pytest.mark.parametrize(
    ("template", "folder", "prefix"),
    [
        ("runs/{run_id}", "runs/a~20b", "runs"), ("{run_id}", "a~20b", ""),
        ("media/all/{run_id}", "media/all/a~20b", "media/all"),
        ("runs/{run_id}/{timestamp:%Y-%m-%d}", "runs/a~20b", "runs"),
        ("runs/{run_id}/media/{session_id}", "runs/a~20b/media", "runs"),
        ("runs/{timestamp:%Y}/{run_id}", "runs", "runs"), ("{timestamp:%Y}/{run_id}", "", ""),
        ("runs/{run_id}+{session_id}/x", "runs", "runs"), ("x/r-{run_id}.d/y", "x/r-a~20b.d/y", "x"),
    ],
)  # fmt: skip
def test_folder_and_prefix(template: str, folder: str, prefix: str) -> None:
    layout = Layout(template + TAIL, "by-run")
    assert layout.prefix == prefix
    assert layout.folder("a b") == folder
    reference = layout.render({**FULL, "run_id": "a b"}, NAME, ".png")
    assert reference.startswith(folder + "/" if folder else "")


def test_folder_of_no_id_is_refused() -> None:
    with pytest.raises(InvalidMediaError, match="run_id is required"):
        layouts()["by-run"].folder("")


def test_layouts_take_overrides() -> None:
    chosen = layouts({"by-run": "r/{run_id}/{name}{ext}"})
    assert list(chosen) == list(MODES)
    assert chosen["by-run"].template == "r/{run_id}/{name}{ext}"
    assert chosen["by-session"].template == DEFAULT_TEMPLATES["by-session"]
    with pytest.raises(InvalidLayoutError, match="unknown organization 'by-user'"):
        layouts({"by-user": "r/{run_id}/{name}{ext}"})
    with pytest.raises(InvalidLayoutError, match="run_id is not in it"):
        layouts({"by-run": "r/{name}{ext}"})


def test_the_first_layout_that_fits_is_taken() -> None:
    known = layouts()
    found = parse_any(known, "conversations/c1/x.png")
    assert found == (known["by-conversation"], {"conversation_id": "c1", "name": "x", "ext": ".png"})
    assert parse_any(known, "x.png") is None
    assert parse_any({}, "runs/r1/x.png") is None
    wide = {"wide": Layout("{session_id}/{run_id}/{name}{ext}", "by-run"), **known}
    first = parse_any(wide, "runs/r1/x.png")
    assert first is not None
    assert first[0] is wide["wide"]
    last = parse_any({**known, "wide": wide["wide"]}, "runs/r1/x.png")
    assert last is not None
    assert last[0] is known["by-run"]


def test_layouts_are_values() -> None:
    class Mode(StrEnum):
        BY_RUN = "by-run"

    layout = Layout(DEFAULT_TEMPLATES["by-run"], Mode.BY_RUN)
    twin = layouts()["by-run"]
    assert layout == twin
    assert hash(layout) == hash(twin)
    assert type(layout.mode) is str
    assert layout != layouts()["by-session"]
    for clone in (pickle.loads(pickle.dumps(layout)), copy.deepcopy(layout)):
        assert clone == layout
        assert clone.render(FULL, NAME, ".png") == f"runs/r1/{NAME}.png"
    with pytest.raises(AttributeError):
        layout.template = "x"  # type: ignore[misc]
    assert repr(layout) == "Layout(template='runs/{run_id}/{name}{ext}', mode='by-run')"
