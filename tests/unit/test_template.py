"""Templates: what is accepted loses nothing, and what could lose something is refused with a way out."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fsmedia.errors import InvalidLayoutError
from fsmedia.format.keys import check_reference, is_hidden
from fsmedia.format.layout import Layout
from tests.unit.templates import FULL, IDS, TAIL, TEMPLATES

FIELDS_AND_LITERALS = (
    "{session_id} {provider_id} {message_idx} {message_idx:02d} {part_idx:018d} {timestamp:%Y-%m} {timestamp:%H} "
    "{timestamp:.%j} / + - . _ 0 a meta .tmp- by-"
)
PIECES = st.sampled_from(FIELDS_AND_LITERALS.split())


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.tuples(*[st.lists(PIECES, max_size=3).map("".join)] * 2).map("{run_id}".join),
    IDS.filter(bool),
    IDS,
    st.integers(0, 10**18 - 1),
    st.integers(0, 999),
)
def test_whatever_template_is_accepted_loses_nothing(folders: str, one: str, other: str, first: int, last: int) -> None:
    try:
        layout = Layout(folders + TAIL, "by-run")
    except InvalidLayoutError:
        assume(False)
    fields = {**FULL, "run_id": one, "session_id": other, "provider_id": one, "message_idx": first, "part_idx": last}
    reference = layout.render(fields, "x", ".png")
    assert check_reference(reference) == reference
    segments = reference.split("/")
    assert not any(is_hidden("/".join(segments[:length])) for length in range(1, len(segments)))
    parsed = layout.parse(reference)
    assert parsed is not None
    for used, value in parsed.items():
        if used not in {"name", "ext"}:
            assert value == fields[used] or (value == "" and "~~" in reference)
    assert reference.startswith(layout.folder(one))


@pytest.mark.parametrize(
    "template", [*TEMPLATES, "a+b@c,d-e_f.g/{run_id}/{name}{ext}", "runs/by-run/{run_id}/{name}{ext}"]
)
def test_templates_that_are_accepted(template: str) -> None:
    assert Layout(template, "by-run").template == template


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        # the file name
        ("", "file name"), ("{name}{ext}", "file name"), ("runs/{run_id}", "file name"),
        ("runs/{run_id}/{name}", "file name"), ("runs/{run_id}/{ext}{name}", "file name"),
        ("runs/{run_id}/x-{name}{ext}", "file name"), ("runs/{run_id}/{name}-{ext}", "file name"),
        ("runs/{run_id}/{name}{ext}/", "file name"), ("runs/{run_id}/{name}{ext}.png", "file name"),
        ("runs/{run_id}/{name}/{name}{ext}", "file name"), ("runs/{run_id}/{ext}/{name}{ext}", "file name"),
        # the id of the mode
        ("runs/{name}{ext}", "run_id is not in it"), ("runs/{session_id}/{name}{ext}", "run_id is not in it"),
        ("{run_id}/{run_id}/{name}{ext}", "twice"), ("{run_id}/{message_idx}/{message_idx}/{name}{ext}", "twice"),
        # fields
        ("runs/{user}/{run_id}/{name}{ext}", "no field"), ("runs/{run_id.__class__}/{name}{ext}", "no field"),
        ("runs/{run_id[0]}/{name}{ext}", "no field"), ("runs/{run_id!r}/{name}{ext}", "no field"),
        ("runs/{ run_id}/{name}{ext}", "no field"), ("runs/{}/{run_id}/{name}{ext}", "no field"),
        ("runs/{0}/{run_id}/{name}{ext}", "no field"), ("runs/{size_bytes}/{run_id}/{name}{ext}", "no field"),
        ("runs/{run_id:>10}/{name}{ext}", "has a format"), ("runs/{run_id:}/{name}{ext}", "has a format"),
        ("runs/{run_id}/{message_idx:d}/{name}{ext}", "no format for message_idx"),
        ("runs/{run_id}/{message_idx:4d}/{name}{ext}", "no format for message_idx"),
        ("runs/{run_id}/{message_idx:04x}/{name}{ext}", "no format for message_idx"),
        ("runs/{run_id}/{message_idx:0100d}/{name}{ext}", "no format for message_idx"),
        ("runs/{run_id}/{message_idx:}/{name}{ext}", "no format for message_idx"),
        ("runs/{run_id}/{timestamp}/{name}{ext}", "timestamp has no format"),
        ("runs/{run_id}/{timestamp:}/{name}{ext}", "timestamp has no format"),
        ("runs/{run_id}/{timestamp:%y}/{name}{ext}", "no format for timestamp"),
        ("runs/{run_id}/{timestamp:%Y/%m}/{name}{ext}", "no format for timestamp"),
        ("runs/{run_id}/{timestamp:%Y %m}/{name}{ext}", "no format for timestamp"),
        ("runs/{run_id}/{timestamp:%%}/{name}{ext}", "no format for timestamp"),
        ("runs/{run_id}/{timestamp:day}/{name}{ext}", "no format for timestamp"),
        ("runs/{run_id}/{timestamp:-}/{name}{ext}", "no format for timestamp"),
        ("runs/{run_id/{name}{ext}", "brace|no field"), ("runs/run_id}/{run_id}/{name}{ext}", "brace"),
        ("runs/{{run_id}}/{name}{ext}", "brace"),
        # literals
        ("my runs/{run_id}/{name}{ext}", "more than"), ("läufe/{run_id}/{name}{ext}", "more than"),
        ("a=b/{run_id}/{name}{ext}", "more than"), ("a~b/{run_id}/{name}{ext}", "more than"),
        ("a%b/{run_id}/{name}{ext}", "more than"), ("a:b/{run_id}/{name}{ext}", "more than"),
        ("a\n/{run_id}/{name}{ext}", "more than"), ("/runs/{run_id}/{name}{ext}", "segment is empty"),
        ("runs//{run_id}/{name}{ext}", "segment is empty"), ("runs/{run_id}//{name}{ext}", "segment is empty"),
        ("./{run_id}/{name}{ext}", "may not be named"), ("a/../{run_id}/{name}{ext}", "may not be named"),
        (".fsmedia/{run_id}/{name}{ext}", "may not be named"), (".FSMedia/{run_id}/{name}{ext}", "may not be named"),
        ("by-run/{run_id}/{name}{ext}", "may not be named"), ("by-session/{run_id}/{name}{ext}", "may not be named"),
        ("by-conversation/{run_id}/{name}{ext}", "may not be named"),
        (".dedup_index.json/{run_id}/{name}{ext}", "may not be named"),
        ("runs/.tmp-{run_id}/{name}{ext}", "may not be named"), ("x.meta/{run_id}/{name}{ext}", r"end with '\.meta'"),
        ("{run_id}.meta/{name}{ext}", r"end with '\.meta'"), ("{run_id}meta/{name}{ext}", r"end with '\.meta'"),
        ("{run_id}a/{name}{ext}", r"end with '\.meta'"),
        # what could not be told apart
        ("{run_id}{session_id}/{name}{ext}", "told apart"), ("{run_id}-{session_id}/{name}{ext}", "told apart"),
        ("{run_id}_x.y_{session_id}/{name}{ext}", "told apart"), ("{run_id}{message_idx}/{name}{ext}", "told apart"),
        ("{run_id}-{message_idx:04d}/{name}{ext}", "told apart"),
        ("{run_id}/{message_idx}{part_idx}/{name}{ext}", "told apart"),
        ("{run_id}/{message_idx}0{part_idx}/{name}{ext}", "told apart"),
        ("{run_id}-{timestamp:%Y}/{name}{ext}", "told apart"), ("{timestamp:%Y}{run_id}/{name}{ext}", "told apart"),
        ("{run_id}/{timestamp:%Y}{message_idx}/{name}{ext}", "told apart"),
        ("{run_id}/{message_idx}-{timestamp:%Y-%m}/{name}{ext}", "told apart"),
        # lengths
        ("x" * 251 + "/{run_id}/{name}{ext}", "does not fit"), ("x" * 211 + "{run_id}/{name}{ext}", "does not fit"),
        ("x" * 100 + "{run_id}+{session_id}+{provider_id}+{mime_type}/{name}{ext}", "does not fit"),
    ],
)  # fmt: skip
def test_templates_that_are_refused(template: str, problem: str) -> None:
    with pytest.raises(InvalidLayoutError, match=problem) as caught:
        Layout(template, "by-run")
    assert caught.value.key == template
    assert caught.value.next_step


def test_refusals_say_what_to_write() -> None:
    with pytest.raises(InvalidLayoutError, match=r"put '/' or '\+' between"):
        Layout("{run_id}-{session_id}/{name}{ext}", "by-run")
    with pytest.raises(InvalidLayoutError, match=r"\{timestamp:%Y-%m-%d\}"):
        Layout("{run_id}/{timestamp}/{name}{ext}", "by-run")


@pytest.mark.parametrize(
    ("template", "mode"), [("runs/{run_id}/{name}{ext}", "by-user"), (None, "by-run"), (7, "by-run")]
)
def test_other_modes_and_types_are_refused(template: str, mode: str) -> None:
    with pytest.raises(InvalidLayoutError, match=r"unknown organization|is text"):
        Layout(template, mode)
