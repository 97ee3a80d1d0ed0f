"""Retention policies: which names mean what, and when that lets a media go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import InvalidMediaError, MediaError, UnknownPolicyError
from fsmedia.format.policy import KEEP_FOREVER, expires_at, find_policy, named_policies
from fsmedia.models import RetentionPolicy

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
DAY = timedelta(days=1)

# What PromptKit (86d9f367) makes of a name, from its own runs: nanoseconds; None where it refuses the name.
PROMPTKIT = [
    ("delete-after-5min", 300000000000), ("delete-after-10min", 600000000000), ("delete-after-0min", 0),
    ("delete-after--5min", -300000000000), ("delete-after-+5min", None), ("delete-after-05min", None),
    ("delete-after-5mins", None), ("delete-after-5minutes", None), ("delete-after-5 min", None),
    (" delete-after-5min", None), ("delete-after-5min ", None), ("Delete-after-5min", None),
    ("delete-after-1_0min", None), ("delete-after-0x5min", None), ("delete-after-5.5min", None),
    ("delete-after-min", None), ("delete-after-5hours", None), ("delete-after-5days", None),
    ("delete-after-1e3min", None), ("retain-30days", 2592000000000000), ("retain-1days", 86400000000000),
    ("retain-1day", None), ("retain-0days", 0), ("retain--1days", -86400000000000), ("retain-01days", None),
    ("retain-2hours", 7200000000000), ("retain-2hour", None), ("retain-0hours", 0), ("retain--2hours", -7200000000000),
    ("retain-5min", None), ("retain-forever", None), ("keep-forever", None), ("", None),
    ("retain-106751days", 9223286400000000000),
    ("retain-106752days", -9223371273709551616),  # its 64 bits of nanoseconds are over
    ("retain-213503days", -84873709551616), ("retain-213504days", 1526290448384),
    ("retain-2562047hours", 9223369200000000000), ("retain-2562048hours", -9223371273709551616),
    ("delete-after-153722867min", 9223372020000000000), ("delete-after-153722868min", -9223371993709551616),
    ("retain-9223372036854775807days", -86400000000000), ("retain-9223372036854775808days", None),
    ("retain--9223372036854775808days", 0), ("retain-99999999999999999999days", None), ("retain-\u0663days", None),
    ("delete-after-5min\n", None), ("retain-30days-x", None), ("retain-30daysx", None),
]  # fmt: skip
OVERFLOWS = {
    "retain-106752days": timedelta(days=106752),
    "retain-213503days": timedelta(days=213503),
    "retain-213504days": timedelta(days=213504),
    "retain-2562048hours": timedelta(hours=2562048),
    "delete-after-153722868min": timedelta(minutes=153722868),
}


def test_there_are_all_of_promptkits_names() -> None:
    assert len(dict(PROMPTKIT)) == 49


@pytest.mark.parametrize(("name", "nanoseconds"), PROMPTKIT)
def test_names_mean_what_promptkit_says_or_are_refused(name: str, nanoseconds: int | None) -> None:
    """Zero, negative and overflowing durations delete at once in PromptKit: here they mean what they say or nothing."""
    if name in OVERFLOWS:
        assert find_policy(name, {}).keep_for == OVERFLOWS[name]
    elif nanoseconds is not None and nanoseconds > 0:
        policy = find_policy(name, {})
        assert policy == RetentionPolicy(name=name, keep_for=timedelta(microseconds=nanoseconds // 1000))
    else:
        with pytest.raises(UnknownPolicyError) as info:
            find_policy(name, {})
        assert KEEP_FOREVER in info.value.next_step
        assert str(info.value).isprintable()


def test_retain_keeps_for_ever() -> None:
    """PromptArena's default, which PromptKit's own parser refuses."""
    assert find_policy("retain", {}) == RetentionPolicy(name="retain", keep_for=None)
    assert expires_at(find_policy("retain", {}), NOON) is None


@given(st.integers(1, 10**6), st.sampled_from(["delete-after-{}min", "retain-{}hours", "retain-{}days"]))
def test_a_number_counts_its_unit(number: int, form: str) -> None:
    unit = {"min": 60, "urs": 3600, "ays": 86400}[form[-3:]]
    policy = find_policy(form.format(number), {})
    assert policy.keep_for is not None
    assert policy.keep_for.total_seconds() == number * unit


def understood(name: str) -> RetentionPolicy | str:
    """The policy that a name means, or the text that says that it means none."""
    try:
        return find_policy(name, {})
    except UnknownPolicyError as error:
        return str(error)


@given(st.one_of(st.text(), st.from_regex(r"(retain|delete-after)-?.{0,6}(min|hours|days)?", fullmatch=True)))
def test_any_text_is_a_policy_that_keeps_or_is_unknown(name: str) -> None:
    found = understood(name)
    if isinstance(found, str):
        assert len(found) < 600
        assert found.isprintable()
    else:
        assert found.name == name
        assert name == KEEP_FOREVER or (found.keep_for is not None and found.keep_for >= timedelta(minutes=1))


@pytest.mark.parametrize("digits", ["1000000000", "9" * 30, "9" * 5000], ids=len)
def test_durations_that_nothing_can_hold_are_refused(digits: str) -> None:
    with pytest.raises(UnknownPolicyError, match="longer than any duration") as info:
        find_policy(f"retain-{digits}days", {})
    assert len(str(info.value)) < 300
    assert find_policy("retain-999999999days", {}).keep_for == timedelta(days=999999999)


def test_unknown_names_list_the_stores_own() -> None:
    named = named_policies({"b-legal": DAY, "a-audit": DAY})
    with pytest.raises(UnknownPolicyError, match="a-audit, b-legal"):
        find_policy("audit", named)
    with pytest.raises(UnknownPolicyError) as info:
        find_policy("x\n\x1b[31m" + "y" * 500, named)
    assert str(info.value).isprintable()
    assert len(str(info.value)) < 400


def test_a_stores_own_names_are_found() -> None:
    named = named_policies({"audit": 365 * DAY, "for ever": RetentionPolicy(name="for ever")})
    assert find_policy("audit", named) == RetentionPolicy(name="audit", keep_for=365 * DAY)
    assert find_policy("for ever", named).keep_for is None
    assert find_policy("retain-2days", named).keep_for == 2 * DAY
    with pytest.raises(UnknownPolicyError):
        find_policy("Audit", named)


# -- when --------------------------------------------------------------------------------------------------------


@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2500, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 10**5 * 86400).map(lambda seconds: timedelta(seconds=seconds)),
)
def test_a_media_expires_its_duration_after_its_timestamp(timestamp: datetime, keep_for: timedelta) -> None:
    expires = expires_at(RetentionPolicy(name="a", keep_for=keep_for), timestamp)
    assert expires == timestamp + keep_for
    assert expires.tzinfo is UTC


def test_without_a_policy_nothing_expires() -> None:
    assert expires_at(None, NOON) is None


def test_an_instant_past_the_year_9999_is_refused() -> None:
    with pytest.raises(UnknownPolicyError, match="9999"):
        expires_at(find_policy("retain-2913000days", {}), NOON)
    assert expires_at(find_policy("retain-2912000days", {}), NOON) == NOON + 2912000 * DAY


# -- policies given to a store -----------------------------------------------------------------------------------


def test_policies_are_given_as_a_mapping_or_as_they_are() -> None:
    audit = RetentionPolicy(name="audit", keep_for=DAY)
    expected = {"audit": audit}
    assert named_policies({"audit": DAY}) == expected
    assert named_policies({"audit": audit}) == expected
    assert named_policies([audit]) == expected
    assert named_policies(iter([audit])) == expected
    assert named_policies({}) == named_policies([]) == {}
    assert list(named_policies({"b": DAY, "a": DAY})) == ["b", "a"]


@pytest.mark.parametrize(
    "policies",
    [
        {"audit": RetentionPolicy(name="other")}, [RetentionPolicy(name="a"), RetentionPolicy(name="a", keep_for=DAY)],
        {"": DAY}, {"x" * 256: DAY}, {"audit": timedelta(0)}, {"audit": -DAY}, {"audit": timedelta(microseconds=1)},
        {"audit": "soon"}, {"audit": 30}, {5: DAY}, ["audit"], "audit", [("audit", DAY)],
    ],
    ids=repr,
)  # fmt: skip
def test_policies_that_are_refused(policies: Any) -> None:
    with pytest.raises(InvalidMediaError):
        named_policies(policies)


@pytest.mark.parametrize("name", ["retain-1days", "delete-after-5min", "retain", "retain-1000000000days"])
def test_a_name_that_means_something_is_not_given_another_meaning(name: str) -> None:
    with pytest.raises((InvalidMediaError, UnknownPolicyError), match=name) as info:
        named_policies({name: timedelta(days=777)})
    assert isinstance(info.value, MediaError)
    assert named_policies({"retain-1days": DAY})["retain-1days"].keep_for == DAY
