"""Layouts: render and parse are inverse, ids stay apart, and none reaches what is not for media."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fsmedia.errors import InvalidLayoutError, InvalidMediaError
from fsmedia.format.keys import VIEWS, check_reference, is_hidden, plain_name
from fsmedia.format.layout import ID_FIELDS, MODES, Layout, escape_id, layouts
from tests.unit.templates import AT, FULL, IDS, NAME, RESERVED, TAIL, TEMPLATES, TEXT_FIELDS, UNIQUE

# --- render and parse


def test_default_layouts_are_promptkits_folders() -> None:
    assert list(layouts()) == list(MODES) == ["by-session", "by-conversation", "by-run"]
    references = {mode: layout.render(FULL, NAME, ".png") for mode, layout in layouts().items()}
    assert references == {
        "by-session": f"sessions/s1/{NAME}.png",
        "by-conversation": f"conversations/c1/{NAME}.png",
        "by-run": f"runs/r1/{NAME}.png",
    }


@pytest.mark.parametrize("template", TEMPLATES)
@given(
    ids=st.fixed_dictionaries(dict.fromkeys(TEXT_FIELDS, IDS)),
    indices=st.tuples(*[st.integers(0, 10**18 - 1) | st.integers(0, 200)] * 2),
    timestamp=st.datetimes(timezones=st.just(UTC)),
)
def test_parse_gives_back_what_was_rendered(
    template: str, ids: dict[str, str], indices: tuple[int, int], timestamp: datetime
) -> None:
    assume(ids["run_id"])
    layout = Layout(template, "by-run")
    fields = {**ids, "message_idx": indices[0], "part_idx": indices[1], "timestamp": timestamp}
    name = plain_name(*indices, UNIQUE)
    reference = layout.render(fields, name, ".png")
    parsed = layout.parse(reference)
    assert parsed is not None
    assert (parsed["name"], parsed["ext"]) == (name, ".png")
    assert (parsed["message_idx"], parsed["part_idx"]) == indices
    for used in TEXT_FIELDS:
        if used in template:
            shortened = any("~~" in segment for segment in reference.split("/"))
            assert parsed[used] == ids[used] or (shortened and parsed[used] == "")
        else:
            assert used not in parsed


@pytest.mark.parametrize("template", TEMPLATES)
@given(run_id=IDS, session_id=IDS, provider_id=IDS)
def test_no_id_reaches_what_is_not_for_media(template: str, run_id: str, session_id: str, provider_id: str) -> None:
    assume(run_id)
    fields = {**FULL, "run_id": run_id, "session_id": session_id, "provider_id": provider_id}
    reference = Layout(template, "by-run").render(fields, NAME, ".png")
    assert check_reference(reference) == reference
    segments = reference.split("/")
    assert segments[0].casefold() not in VIEWS
    for length in range(1, len(segments)):
        assert not is_hidden("/".join(segments[:length]))
    assert max(len(segment.encode()) for segment in segments) <= 250


@pytest.mark.parametrize("template", TEMPLATES)
@given(one=IDS, other=IDS)
def test_two_ids_never_share_a_folder(template: str, one: str, other: str) -> None:
    assume(one and other and one != other)
    layout = Layout(template, "by-run")
    first = layout.render({**FULL, "run_id": one}, NAME, ".png")
    assert first != layout.render({**FULL, "run_id": other}, NAME, ".png")


@pytest.mark.parametrize("reserved", RESERVED)
def test_a_reserved_first_segment_is_escaped_once_more(reserved: str) -> None:
    layout = Layout("{run_id}" + TAIL, "by-run")
    escaped = f"~{ord(reserved[0]):02x}{reserved[1:]}"
    reference = layout.render({"run_id": reserved}, NAME, ".png")
    assert reference == f"{escaped}/{NAME}.png"
    parsed = layout.parse(reference)
    assert parsed is not None
    assert parsed["run_id"] == reserved
    assert layout.parse(f"{reserved}/{NAME}.png") is None
    assert layout.folder(reserved) == escaped
    assert layout.render({"run_id": escaped}, NAME, ".png") != reference


@pytest.mark.parametrize(
    ("template", "run_id", "folder"),
    [
        (".fs{run_id}", "media", ".fs~6dedia"), (".FS{run_id}", "Media", ".FS~4dedia"),
        ("by-{run_id}", "run", "by-~72un"), ("{run_id}-session", "by", "~62y-session"),
        (".t{run_id}", f"mp-{UNIQUE}", f".t~6dp-{UNIQUE}"), ("by-{run_id}", "runs", "by-runs"),
        ("runs/{run_id}", ".fsmedia", "runs/~2efsmedia"), ("runs/{run_id}", ".FSMedia", "runs/~2eFSMedia"),
        ("runs/.{run_id}", "fsmedia", "runs/.~66smedia"), ("runs/{run_id}", "by-run", "runs/by-run"),
        ("runs/{run_id}", f".tmp-{UNIQUE}", f"runs/~2etmp-{UNIQUE}"),
    ],
)  # fmt: skip
def test_only_what_would_be_reserved_is_escaped_once_more(template: str, run_id: str, folder: str) -> None:
    layout = Layout(template + TAIL, "by-run")
    assert layout.render({"run_id": run_id}, NAME, "") == f"{folder}/{NAME}"
    parsed = layout.parse(f"{folder}/{NAME}")
    assert parsed is not None
    assert parsed["run_id"] == run_id


def test_one_escape_too_many_elsewhere_is_an_id_of_promptkit() -> None:
    for template, folder in [
        ("{run_id}", "~61bc"),
        ("runs/{run_id}", "~62y-run"),
        ("by-se{run_id}", "~dfion"),  # a sharp s: by-session on a disk that folds case
    ]:
        parsed = Layout(template + TAIL, "by-run").parse(f"{template.format(run_id=folder)}/x.png")
        assert parsed is not None
        assert parsed["run_id"] == folder


@pytest.mark.parametrize(
    "folder", [" lead trail ", "héllo wörld ✓", "e\u0301", "a\nb\tc", "%2F", "a_b_&c", "-dash", "x.meta"]
)
def test_folders_that_promptkit_named_are_read(folder: str) -> None:
    parsed = layouts()["by-run"].parse(f"runs/{folder}/22_0_1795329442638423830.gif")
    assert parsed == {"run_id": folder, "name": "22_0_1795329442638423830", "ext": ".gif"}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (f"{NAME}.png", {"name": NAME, "ext": ".png", "message_idx": 3, "part_idx": 1}),
        (NAME, {"name": NAME, "ext": "", "message_idx": 3, "part_idx": 1}),
        (f"{NAME}.12-ab-cd.png", {"name": NAME, "ext": ".12-ab-cd.png", "message_idx": 3, "part_idx": 1}),
        ("a.tar.gz", {"name": "a.tar", "ext": ".gz"}), ("README", {"name": "README", "ext": ""}),
        (".bashrc", {"name": ".bashrc", "ext": ""}), ("...x", {"name": "...x", "ext": ""}),
        ("..a.b", {"name": "..a", "ext": ".b"}), ("x.", {"name": "x", "ext": "."}),
    ],
)  # fmt: skip
def test_file_names_are_split(file: str, expected: dict[str, str | int]) -> None:
    assert layouts()["by-run"].parse(f"runs/r1/{file}") == {**expected, "run_id": "r1"}


@pytest.mark.parametrize(
    ("template", "reference"),
    [
        ("runs/{run_id}", "runs/x.png"), ("runs/{run_id}", "x.png"), ("runs/{run_id}", "runs/r1/more/x.png"),
        ("runs/{run_id}", "Runs/r1/x.png"), ("runs/{run_id}", "sessions/r1/x.png"),
        ("runs/{run_id}", "runs/r1/x.png.meta"), ("runs/{run_id}", f"runs/r1/.tmp-{UNIQUE}"),
        ("runs/{run_id}", f"runs/.tmp-{UNIQUE}/x.png"), ("{run_id}", ".fsmedia/store.json"),
        ("{run_id}", "by-session/x.png"), ("by-{run_id}", "by-session/x.png"), ("a.b/{run_id}", "aXb/r1/x.png"),
        ("{run_id}/{message_idx:04d}", "r1/003/x.png"), ("{run_id}/{message_idx:04d}", "r1/00003/x.png"),
        ("{run_id}/{message_idx}", "r1/03/x.png"), ("{run_id}/{message_idx}", "r1/-3/x.png"),
        ("{run_id}/{message_idx}", "r1/" + "9" * 5000 + "/x.png"),
        ("{run_id}/{message_idx:018d}", "r1/" + "9" * 19 + "/x.png"),
        ("{run_id}/{timestamp:%Y-%m-%d}", "r1/2026-13-01/x.png"),
        ("{run_id}/{timestamp:%Y-%m-%d}", "r1/2026-3-1/x.png"), ("{run_id}/{timestamp:%Y.%j}", "r1/2026x001/x.png"),
        ("{run_id}/{timestamp:%j}", "r1/367/x.png"), ("{run_id}+{session_id}", "r1-s1/x.png"),
        ("{run_id}+{session_id}", "r1+s1+s2/x.png"), ("x{run_id}", "xa b/x.png"),
    ],
)  # fmt: skip
def test_what_is_not_of_the_layout_is_not_parsed(template: str, reference: str) -> None:
    assert Layout(template + TAIL, "by-run").parse(reference) is None


def test_shortened_ids_parse_to_nothing() -> None:
    layout = layouts()["by-run"]
    parsed = layout.parse(layout.render({"run_id": "é" * 200}, NAME, ".png"))
    assert parsed is not None
    assert parsed["run_id"] == ""


def test_ids_of_one_segment_share_its_bytes() -> None:
    layout = Layout("{run_id}+{session_id}+{message_idx:04d}" + TAIL, "by-run")
    reference = layout.render({**FULL, "run_id": "r" * 300, "session_id": "s" * 300, "message_idx": 10**17}, NAME, "")
    folder = reference.partition("/")[0]
    assert len(folder) == 250
    run_id, session_id, index = folder.split("+")
    assert run_id == escape_id("r" * 300, limit=115)
    assert session_id == escape_id("s" * 300, limit=115)
    assert index == str(10**17)


def test_a_timestamp_takes_its_bytes_from_the_ids_beside_it() -> None:
    layout = Layout("{run_id}+{timestamp:%Y-%j}" + TAIL, "by-run")
    folder = layout.render({**FULL, "run_id": "r" * 300}, NAME, "").partition("/")[0]
    assert folder == escape_id("r" * 300, limit=241) + "+2026-063"
    assert len(folder) == 250


def test_other_ids_may_be_missing() -> None:
    layout = Layout("{run_id}/{provider_id}/{session_id}/{mime_type}" + TAIL, "by-run")
    reference = layout.render({"run_id": "r1", "provider_id": "", "session_id": None}, NAME, ".png")
    assert reference == f"r1/~_/~_/~_/{NAME}.png"
    parsed = layout.parse(reference)
    assert parsed is not None
    assert (parsed["provider_id"], parsed["session_id"], parsed["mime_type"]) == ("", "", "")


def test_timestamps_are_in_utc_and_padded() -> None:
    layout = Layout("{run_id}/{timestamp:%Y%m%d-%H.%M_%S}/{timestamp:%j}" + TAIL, "by-run")
    zone = timezone(timedelta(hours=2))
    for instant in (AT, AT.astimezone(zone)):
        assert layout.render({**FULL, "timestamp": instant}, "x", "") == "r1/20260304-05.06_07/063/x"
    early = datetime(1, 1, 1, tzinfo=UTC)  # PromptKit's zero time
    assert layout.render({**FULL, "timestamp": early}, "x", "") == "r1/00010101-00.00_00/001/x"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "run_id is required: this store is organized by-run"), ({"run_id": ""}, "run_id is required"),
        ({"run_id": None}, "run_id is required"), ({"run_id": 7}, "run_id is text, not int"),
        ({"run_id": "\ud800"}, "lone surrogate"), ({"provider_id": 7}, "provider_id is text"),
        ({"message_idx": None}, "message_idx stands in this layout"), ({"message_idx": -1}, "message_idx"),
        ({"message_idx": "3"}, "message_idx"), ({"message_idx": 10**18}, "message_idx"),
        ({"timestamp": None}, "timestamp stands in this layout"),
        ({"timestamp": datetime(2026, 3, 4)}, "not an aware datetime"),
        ({"timestamp": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, "no form in UTC"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_rendered(fields: dict[str, object], problem: str) -> None:
    layout = Layout("{run_id}/{provider_id}/{message_idx}/{timestamp:%Y}" + TAIL, "by-run")
    with pytest.raises(InvalidMediaError, match=problem) as caught:
        layout.render({**FULL, **fields} if fields else {}, NAME, ".png")
    assert caught.value.next_step


@pytest.mark.parametrize("mode", MODES)
def test_the_required_id_is_the_modes(mode: str) -> None:
    layout = layouts()[mode]
    assert layout.id_field == ID_FIELDS[mode]
    others = {used: "x" for used in TEXT_FIELDS if used != layout.id_field}
    with pytest.raises(InvalidMediaError, match=f"{layout.id_field} is required: this store is organized {mode}"):
        layout.render(others, NAME, ".png")
    layout.render({layout.id_field: "x"}, NAME, ".png")


@pytest.mark.parametrize(
    ("name", "ext"),
    [
        ("", ".png"), ("a/b", ".png"), ("a", "png"), ("a", ".meta"), ("a.me", "ta"), (".", ""), (".", "."),
        (".meta", ""), (f".tmp-{UNIQUE}", ""), ("a\0", ".png"), ("\ud800", ".png"), ("a::b", ".png"),
        ("x" * 247, ".png"), ("é" * 124, ".png"),
    ],
)  # fmt: skip
def test_file_names_that_are_refused(name: str, ext: str) -> None:
    with pytest.raises(InvalidLayoutError, match="file name"):
        layouts()["by-run"].render(FULL, name, ext)


@pytest.mark.parametrize(("name", "ext"), [("x" * 246, ".png"), ("é" * 123, ".png"), ("a b", ""), (".a", ".b")])
def test_file_names_that_are_accepted(name: str, ext: str) -> None:
    assert layouts()["by-run"].render(FULL, name, ext) == f"runs/r1/{name}{ext}"
