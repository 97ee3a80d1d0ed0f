"""Retention policies: what a name means and when a media item expires. Pure: instants in, instants out.

Names are PromptKit's `delete-after-<n>min`, `retain-<n>hours` and `retain-<n>days`, its bare `retain` (keep for
ever), and whatever was given to the store by name. n is at least 1, in ASCII digits, without leading zeros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fsmedia.errors import InvalidMediaError, UnknownPolicyError
from fsmedia.models import RetentionPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

KEEP_FOREVER = "retain"
"""PromptArena's default policy, which PromptKit's own parser refuses."""

_GRAMMAR = re.compile(r"(?:delete-after-([1-9][0-9]*)(min)|retain-([1-9][0-9]*)(hours|days))\Z")
_UNITS = {"min": timedelta(minutes=1), "hours": timedelta(hours=1), "days": timedelta(days=1)}
FORMS = "delete-after-<n>min, retain-<n>hours, retain-<n>days or retain, n from 1"
"""The names that mean something in every store."""


@lru_cache(maxsize=1024)
def parse_name(name: str) -> RetentionPolicy | None:
    """Read a name of PromptKit's forms; None if it is of none; `UnknownPolicyError` beyond what a duration can hold."""
    if name == KEEP_FOREVER:
        return RetentionPolicy(name=name)
    if (match := _GRAMMAR.match(name)) is None:
        return None
    number, unit = (match[1], match[2]) if match[1] else (match[3], match[4])
    try:
        keep_for = int(number) * _UNITS[unit]
    except (OverflowError, ValueError):  # ValueError: more digits than int() takes
        problem = f"policy {name[:80]!r} is longer than any duration"
        raise UnknownPolicyError(problem, next_step=f"use {KEEP_FOREVER!r} to keep for ever") from None
    return RetentionPolicy(name=name, keep_for=keep_for)


def is_reserved_name(name: str) -> bool:
    """Return whether a name begins as PromptKit's do: it means what the grammar says, or nothing, in every store."""
    return name.startswith((KEEP_FOREVER, "delete-after"))


def find_policy(name: str, named: Mapping[str, RetentionPolicy]) -> RetentionPolicy:
    """Return the policy a name means in a store that knows `named`; `UnknownPolicyError` where it means nothing."""
    policy = named.get(name) or parse_name(name)
    if policy is None:
        known = f", or one of this store's: {', '.join(sorted(named))}" if named else ""
        raise UnknownPolicyError(f"unknown policy {name[:80]!r}", next_step=f"use {FORMS}{known}")
    return policy


def expires_at(policy: RetentionPolicy | None, timestamp: datetime) -> datetime | None:
    """Return when a media item of that time expires; None: never. `UnknownPolicyError` past the year 9999."""
    if policy is None or policy.keep_for is None:
        return None
    try:
        return timestamp + policy.keep_for
    except OverflowError:
        problem = f"policy {policy.name!r} reaches past the year 9999"
        raise UnknownPolicyError(problem, next_step=f"use {KEEP_FOREVER!r} to keep for ever") from None


def is_due(instant: datetime | None, now: datetime) -> bool:
    """Return whether what expires at that instant, None: never, is due."""
    return instant is not None and instant <= now


def named_policies(
    policies: Mapping[str, RetentionPolicy | timedelta] | Iterable[RetentionPolicy],
) -> dict[str, RetentionPolicy]:
    """Read the policies a store was given: policies, or durations by name; or say what can't be meant."""
    found: dict[str, RetentionPolicy] = {}
    by_name = policies if isinstance(policies, Mapping) else None
    pairs: Any = ((getattr(each, "name", ""), each) for each in policies) if by_name is None else by_name.items()
    for name, value in pairs:
        if by_name is None and not isinstance(value, RetentionPolicy):
            problem = f"a policy must be a RetentionPolicy, not {type(value).__name__}"
            raise InvalidMediaError(problem, next_step="or give a mapping of names to durations")
        policy = value if isinstance(value, RetentionPolicy) else RetentionPolicy(name=name, keep_for=value)
        if name != policy.name or name in found:
            raise InvalidMediaError(f"policy {policy.name!r} is given twice or under another name ({name!r})")
        if is_reserved_name(name) and parse_name(name) != policy:
            problem = f"policy name {name[:80]!r} begins like the names that speak for themselves"
            raise InvalidMediaError(problem, next_step="choose one that begins otherwise")
        found[name] = policy
    return found
