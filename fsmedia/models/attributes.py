"""Attributes: what users write down of a media item (prompt, model, score, tags), and conditions to find it by."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

from pydantic_core import from_json, to_json

from fsmedia.errors import InvalidMediaError
from fsmedia.models.text import visible

AttributeValue = str | int | float | bool | list[str]
"""Value of an attribute: text, a number of 64 bits, a truth value, or a list of text."""
Condition = AttributeValue | None | tuple[float | None, float | None] | list[AttributeValue]
"""What an attribute must be: text (`*` stands for any, `\\*` for a star), a number, a truth value, a range from low to
high with both ends, any of a list; None: there is none of that name."""
Kind = Literal["bool", "int64", "double", "string", "list"]
"""What a column of one attribute holds: truth values, whole numbers, numbers, text, or lists of text."""
USER_PREFIX = "user."
"""With this before its name an attribute stands among the xattrs of a sidecar."""
MOST_NAMES = 64
MOST_BYTES = 64 * 1024
"""Size of all attributes of a media item as JSON."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_WILDCARD = re.compile(r"(?<!\\)\*")
_CONDITION = re.compile(r"([^=<>]*)(>=|<=|=(?![=<>])|>|<)(.*)", re.DOTALL)
_CONDITION_FORMS = "'model=gpt-*', 'score>=4' (or >, <=, <; two are a range) or '!draft'"
_LARGEST = 2**63
ValueT = TypeVar("ValueT", AttributeValue, AttributeValue | None)
_EXACT = 2**53
"""Up to here a double holds every whole number."""


def checked_name(name: object) -> str:
    """Return the name of an attribute; `ValueError` for what can't be one."""
    if isinstance(name, str) and _is_name(name):
        return name
    shown = name[:80] if isinstance(name, str) else name
    raise ValueError(f"{shown!r} can't be a name: a letter or _, then at most 63 of A-Z a-z 0-9 _ . -")


# Of many media few names.
@lru_cache(maxsize=4096)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def checked_value(name: str, value: object) -> AttributeValue:
    """Return the value of an attribute as JSON has it; `ValueError` for what can't be one."""
    if isinstance(value, str):
        return _checked_text(name, value)
    if isinstance(value, bool):
        return value
    # Also numpy's numbers, which say that they are such; to ask for that takes longer than all the rest.
    if isinstance(value, int) or (not isinstance(value, float) and isinstance(value, Integral)):
        if not -_LARGEST <= int(value) < _LARGEST:
            raise ValueError(f"{name} is beyond 64 bits: write it as text")
        return int(value)
    if isinstance(value, float | Real):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {float(value)}: leave out what has no value")
        return float(value)
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return [_checked_text(name, each) for each in value]
    raise ValueError(f"{name} must be text, a number, True or False, or a list of text, not {type(value).__name__}")


def _checked_text(name: str, text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name} has a lone surrogate, which no storage can hold") from None
    return str(text)


def checked_attributes(values: object) -> dict[str, AttributeValue]:
    """Return attributes that a caller gives, as JSON has them; `ValueError` for what can't be kept."""
    if not isinstance(values, Mapping):
        raise ValueError(f"must be a mapping of names to values, not {type(values).__name__}")  # noqa: TRY004 - pydantic wants it
    found = {checked_name(name): checked_value(name, value) for name, value in values.items()}
    if len(found) > MOST_NAMES:
        raise ValueError(f"has {len(found)} names, at most {MOST_NAMES} are kept")
    if found and (size := len(to_json(found))) > MOST_BYTES:
        raise ValueError(f"takes {size:,} bytes as JSON, at most {MOST_BYTES:,} are kept: store it as media of its own")
    return found


def parse_value(text: str) -> AttributeValue:
    """Return the value that a text spells.

    A number, `true` and `false`, a text in double quotes and a list of texts are those, as JSON spells them; everything
    else is the text itself.
    """
    with suppress(ValueError):
        return checked_value("", from_json(text.encode(errors="surrogatepass")))
    return text


def value_text(value: AttributeValue) -> str:
    """Return the text from which `parse_value` reads a value."""
    if isinstance(value, str) and parse_value(value) == value:
        return value
    return to_json(value).decode()


def readable(xattrs: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return the attributes among the xattrs of a sidecar; what strangers wrote there and is none is left out."""
    named = ((name.removeprefix(USER_PREFIX), each) for name, each in xattrs.items() if name.startswith(USER_PREFIX))
    return dict(_valid(named))


def fitting(values: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return those of a stranger's values that can be kept as attributes; of too many the first, and none too large."""
    found: dict[str, AttributeValue] = {}
    size = 0
    for name, value in _valid(values.items()):
        needed = len(to_json({name: value}))
        if len(found) < MOST_NAMES and size + needed <= MOST_BYTES:
            found[name] = value
            size += needed
    return found


def _valid(values: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, AttributeValue]]:
    for name, value in values:
        try:
            yield checked_name(name), checked_value(name, value)
        except ValueError:
            continue


def as_xattrs(values: Mapping[str, ValueT]) -> dict[str, ValueT]:
    """Return attributes as they stand among the xattrs of a sidecar."""
    return {f"{USER_PREFIX}{name}": value for name, value in values.items()}


def kind_of(value: AttributeValue) -> Kind:
    """Return what a column must hold for one value."""
    if isinstance(value, bool):  # to Python also an int
        return "bool"
    if isinstance(value, str):
        return "string"
    return "int64" if isinstance(value, int) else "double" if isinstance(value, float) else "list"


def joint_kind(known: Kind | None, other: Kind) -> Kind:
    """Return what a column holds that has values of both kinds: numbers stay numbers, all else that differs is text."""
    if known in (None, other):
        return other
    return "double" if {known, other} == {"int64", "double"} else "string"


def as_kind(value: AttributeValue, kind: Kind) -> AttributeValue:
    """Return a value as a column of a kind that fits it holds it; as text it is JSON, and 4.0 the same as 4."""
    if kind == "double" and isinstance(value, int | float):
        return float(value)
    if kind != "string" or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    return to_json(value).decode()


def checked_conditions(given: Mapping[str, Condition]) -> dict[str, Condition]:
    """Return conditions by name; `InvalidMediaError` for what can't be meant."""
    if not isinstance(given, Mapping):
        raise InvalidMediaError(
            f"attributes must be a mapping of names to conditions, not {type(given).__name__}",
            next_step='e.g. attributes={"model": "gpt-*", "score": (4, None)}',
        )
    try:
        return {checked_name(name): _checked_condition(name, wanted) for name, wanted in given.items()}
    except (ValueError, OverflowError) as error:
        raise InvalidMediaError(f"attributes: {error}", next_step="see fsmedia.models.Condition") from None


def _checked_condition(name: str, wanted: Any) -> Condition:
    if wanted is None:
        return None
    if isinstance(wanted, tuple):
        if len(wanted) != 2 or not all(each is None or _is_number(each) for each in wanted):
            raise ValueError(f"a range of {name} is a pair of numbers, or of None where it is open, not {wanted!r}")
        low, high = wanted
        if low is not None and high is not None and low > high:
            raise ValueError(f"no number is in the range of {name} from {low} to {high}")
        return low, high
    if isinstance(wanted, list):
        if not wanted:
            raise ValueError(f"{name}: nothing is any of an empty list; None means that there is none of that name")
        return [checked_value(name, each) for each in wanted]
    return checked_value(name, wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def meets(value: AttributeValue | None, wanted: Condition) -> bool:
    """Tell whether the value of an attribute, None where there is none, meets a condition that was checked."""
    if value is None or wanted is None:
        return value is wanted
    if isinstance(wanted, tuple):
        low, high = wanted
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (low is None or value >= low)
            and (high is None or value <= high)
        )
    if isinstance(wanted, list):
        return any(meets(value, each) for each in wanted)
    if isinstance(value, list):
        return any(meets(each, wanted) for each in value)
    if isinstance(value, str) or isinstance(wanted, str):
        return isinstance(value, str) and isinstance(wanted, str) and fits(value, text_parts(wanted))
    # To Python True is 1.
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def read_conditions(words: Iterable[str]) -> dict[str, Condition]:
    """Read conditions as people write them: `name=value`, `name>=number` and its like, `!name`; `ValueError`."""
    found: dict[str, Condition] = {}
    for word in words:
        try:
            name, wanted = _read_condition(word)
            found[name] = _both_bounds(name, found[name], wanted) if name in found else wanted
        except ValueError as error:
            raise ValueError(f"{visible(word, most=80)}: {error}; it is {_CONDITION_FORMS}") from None
    return found


def _read_condition(word: str) -> tuple[str, Condition]:
    if word.startswith("!"):
        return checked_name(word[1:].strip()), None
    read = _CONDITION.fullmatch(word)
    if read is None:
        raise ValueError("says nothing about a value")
    name, sign, text = checked_name(read[1].strip()), read[2], read[3]
    value = checked_value(name, parse_value(text))
    if sign == "=":
        if value == []:
            raise ValueError("nothing is any of an empty list")
        # What looks like a number was perhaps stored as text: by an importer, or in quotes.
        return name, value if isinstance(value, str | list) else [value, text]
    if isinstance(value, bool | str | list):
        raise ValueError(f"{sign} compares with a number")  # noqa: TRY004 - it is what the user wrote
    if len(sign) == 1:
        value = _next_number(value, up=sign == ">")
    return name, (value, None) if sign[0] == ">" else (None, value)


def _next_number(number: float, *, up: bool) -> float:
    """Return the next number that an attribute can be, for the ends of a range belong to it."""
    # From there on floats are whole, and leave whole numbers out.
    if isinstance(number, int) and abs(number) >= 2**53:
        return number + (1 if up else -1)
    return math.nextafter(number, math.inf if up else -math.inf)


def _both_bounds(name: str, first: Condition, second: Condition) -> Condition:
    """Return the range of two conditions of one name."""
    for one, other in ((first, second), (second, first)):
        if isinstance(one, tuple) and isinstance(other, tuple) and one[1] is other[0] is None:
            low, high = one[0], other[1]
            if low is not None and high is not None and low > high:
                raise ValueError(f"no number is in this range of {name}")
            return low, high
    raise ValueError(f'{name} stands twice, which only a range does; any of several is \'{name}=["a", "b"]\'')


@lru_cache(maxsize=256)
def text_parts(pattern: str) -> tuple[str, ...]:
    r"""Return what stands between the wildcards of a pattern, in which ``\*`` is a star; one part: there are none."""
    return tuple(part.replace(r"\*", "*") for part in _WILDCARD.split(pattern))


def fits(text: str, parts: Sequence[str]) -> bool:
    """Tell whether a text is these parts with anything between them; in one pass, whatever the pattern."""
    if len(parts) == 1:
        return text == parts[0]
    first, *middle, last = parts
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def condition_text(name: str, wanted: Condition) -> str:
    """Return a condition as a reader says it: `score >= 4`, `no draft`."""
    if wanted is None:
        return f"no {name}"
    if isinstance(wanted, tuple):
        low, high = wanted
        bounds = [_bound_text(sign, bound) for sign, bound in ((">=", low), ("<=", high)) if bound is not None]
        return f"{name} {' and '.join(bounds) or 'a number'}"
    # A number and its text, which the command line means by `4`, read the same.
    texts = (
        each if isinstance(each, str) else value_text(each)
        for each in (wanted if isinstance(wanted, list) else [wanted])
    )
    return f"{name} {' or '.join(dict.fromkeys(texts))}"


def _bound_text(sign: str, bound: float) -> str:
    # An open end is the next number, which is a long one: `> 4.0`, not `>= 4.000000000000001`.
    near = math.nextafter(bound, -math.inf if sign == ">=" else math.inf) if isinstance(bound, float) else bound
    return f"{sign[0]} {near}" if len(repr(near)) < len(repr(bound)) else f"{sign} {bound}"
