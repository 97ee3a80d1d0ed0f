"""Keys of due entries, holds and records of deletions: built, read back, sorted by time, and never too long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.format import keys

INSTANTS = st.datetimes(timezones=st.just(UTC))
REFERENCES = st.sampled_from(["a", "runs/r1/x.png", "runs/r 1/ä%#?*.png", "x" * 200, "a\nb/c"])
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@given(INSTANTS, REFERENCES)
def test_a_key_is_read_back(instant: datetime, reference: str) -> None:
    found = keys.parse_due(keys.due_key(instant, reference))
    assert found == keys.DueKey(keys.due_minute(instant), reference)


@given(INSTANTS, INSTANTS)
def test_keys_sort_by_time(one: datetime, other: datetime) -> None:
    first, second = sorted([one, other])
    assert keys.due_key(first, "a") <= keys.due_key(second, "a")


@given(INSTANTS)
def test_a_media_is_never_due_before_its_instant(instant: datetime) -> None:
    minute = keys.due_minute(instant)
    assert minute >= instant or minute == datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    assert minute - instant < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("instant", "begin"),
    [
        (NOON, "2026-03-04/12/00"),
        (NOON + timedelta(microseconds=1), "2026-03-04/12/01"),
        (datetime(2026, 12, 31, 23, 59, 1, tzinfo=UTC), "2027-01-01/00/00"),
        (datetime(2026, 3, 4, 13, 0, tzinfo=timezone(timedelta(hours=1))), "2026-03-04/12/00"),
        (datetime(33, 1, 1, tzinfo=UTC), "0033-01-01/00/00"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31/23/59"),
    ],
)
def test_the_minute_at_or_after(instant: datetime, begin: str) -> None:
    assert keys.due_key(instant, "runs/r1/x.png") == f"{keys.DUE}/{begin}/runs/r1/x.png"


@pytest.mark.parametrize(
    "key",
    [
        ".fsmedia/due", ".fsmedia/due/2026-03-04/12/00/", ".fsmedia/due/2026-03-04/12/00/a/../b",
        ".fsmedia/due/2026-03-04/12/00/.fsmedia/store.json", ".fsmedia/due/2026-03-04/12/00/a.meta",
        ".fsmedia/due/2026-13-04/12/00/a", ".fsmedia/due/2026-03-04/24/00/a", ".fsmedia/due/2026-3-4/12/00/a",
        ".fsmedia/duet/2026-03-04/12/00/a", "runs/2026-03-04/12/00/a",
    ],
)  # fmt: skip
def test_what_is_no_entry_is_passed_over(key: str) -> None:
    assert keys.parse_due(key) is None


def test_the_reserve_of_a_key_is_what_a_due_entry_adds() -> None:
    assert len(keys.due_key(NOON, "a")) - 1 == keys.KEY_RESERVE


def test_the_folders_of_an_instant() -> None:
    assert keys.due_folders(NOON) == tuple(
        f"{keys.DUE}/{end}" for end in ("2026-03-04", "2026-03-04/12", "2026-03-04/12/00")
    )
    assert keys.due_key(NOON, "a").startswith(keys.due_folders(NOON)[2])


def test_holds_have_keys_of_one_length_and_records_fresh_ones() -> None:
    assert len({len(keys.hold_key(each)) for each in ("a", "b" * 900, "ä")}) == 1
    assert keys.hold_key("a") != keys.hold_key("b")
    assert keys.deletions_key(NOON) != keys.deletions_key(NOON)
    assert keys.is_temporary(keys.probe_key())
