"""Which media are meant: the words that `list`, catalog, gallery, exports and syncs all understand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

from fsmedia.errors import InvalidMediaError
from fsmedia.models import mime
from fsmedia.models.attributes import Condition, checked_conditions, meets

if TYPE_CHECKING:
    from fsmedia.models import MediaRecord, OrganizationMode

_INSTANTS = ("since", "until", "expires_before")
_F = TypeVar("_F", bound=Callable[..., Any])


# The top-level types of RFC 6838: `image` alone can only mean `image/*`.
_TOP_LEVEL = {"application", "audio", "font", "haptics", "image", "message", "model", "multipart", "text", "video"}


class SubjectWords(TypedDict, total=False):
    """Whose media are meant: all ids that are given must fit."""

    run_id: str | None
    conversation_id: str | None
    session_id: str | None
    provider_id: str | None


class SelectionWords(SubjectWords, total=False):
    r"""Which media are meant, as keywords: they must meet all conditions that are given; None asks nothing.

    `mime_type` is a type or a pattern of one: ``image/*``, which ``image`` stands for too. The timestamp is at or after
    `since`, and before `until`; the media expires, and before `expires_before`. Instants are aware. `attributes` are
    conditions by name: ``{"model": "gpt-*", "score": (4, None), "tags": "night", "draft": None}``. Text is equal, with
    ``*`` as the only wildcard (``\*`` is a star), a number is equal as a number, a pair is a range with both ends, a
    list any of its values, None that there is none of that name; a stored list meets what one of its texts meets.
    """

    mime_type: str | None
    policy_name: str | None
    since: datetime | None
    until: datetime | None
    expires_before: datetime | None
    attributes: Mapping[str, Condition] | None


class ListWords(SelectionWords, total=False):
    """What `MediaStore.list` takes: a selection, a digest, held ones only, and how many at most."""

    sha256: str | None
    held: bool | None
    newest: int | None
    limit: int | None


def shows_words(known: type, defaults: Mapping[str, object] | None = None) -> Callable[[_F], _F]:
    """Make a function that takes the words of a `TypedDict` as `**words` show them, and refuse all others.

    `help` and notebooks show the signature with each word; type checkers and editors know the words by `Unpack`.
    Others are a `TypeError` of this very call, as they are of a function with named parameters.
    """

    def decorate(function: _F) -> _F:
        own = signature(function)
        before = [item for item in own.parameters.values() if item.kind is not item.VAR_KEYWORD]
        words = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=(defaults or {}).get(name), annotation=kind.__forward_arg__)
            for name, kind in known.__annotations__.items()
        ]
        taken = {item.name for item in (*before, *words)}
        taken_words = ", ".join(item.name for item in (*before, *words) if item.kind is item.KEYWORD_ONLY)
        called = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

        @wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            for name in sorted(given.keys() - taken):
                raise TypeError(f"{called}() got an unexpected keyword argument {name!r}; it takes {taken_words}")
            return function(*args, **given)

        vars(checked)["__signature__"] = own.replace(parameters=[*before, *words])
        return cast("_F", checked)

    return decorate


@dataclass(frozen=True, slots=True, init=False)
class Selection:
    """Conditions that a record must all meet.

    Attributes
    ----------
    words
        Those that ask something, checked.
    """

    words: dict[str, Any]

    @shows_words(SelectionWords)
    def __init__(self, **words: Unpack[SelectionWords]) -> None:
        asked: dict[str, Any] = {name: value for name, value in words.items() if value is not None}
        for name, value in asked.items():
            if name in _INSTANTS:
                if not isinstance(value, datetime) or value.tzinfo is None:
                    raise InvalidMediaError(
                        f"{name} must be an aware datetime, not {value!r}", next_step="e.g. datetime.now(UTC)"
                    )
            elif name == "attributes":
                asked[name] = checked_conditions(value)
            elif not isinstance(value, str):
                raise InvalidMediaError(f"{name} must be a str, not {type(value).__name__}")
        if "mime_type" in asked:
            asked["mime_type"] = mime_pattern(asked["mime_type"])
        if not asked.get("attributes", True):
            del asked["attributes"]
        object.__setattr__(self, "words", asked)

    def asks(self, *, beyond: OrganizationMode | None = None) -> bool:
        """Tell whether it asks anything, but for the id of the given mode."""
        return bool(self.words.keys() - {beyond.id_field if beyond else ""})

    def matches(self, record: MediaRecord) -> bool:
        """Tell whether a record meets all conditions."""
        for name, wanted in self.words.items():
            if name == "mime_type":
                fits = fits_pattern(record.mime_type, wanted)
            elif name == "attributes":
                fits = all(meets(record.attributes.get(each), condition) for each, condition in wanted.items())
            elif name in _INSTANTS:
                instant = record.expires_at if name == "expires_before" else record.timestamp
                fits = instant is not None and (instant >= wanted if name == "since" else instant < wanted)
            else:
                fits = (getattr(record, name) or "") == wanted
            if not fits:
                return False
        return True


def fits_pattern(mime_type: str, pattern: str) -> bool:
    """Tell whether a MIME type, whatever its parameters, is one that a pattern means."""
    return fnmatchcase(mime.essence(mime_type), pattern.lower())


def mime_pattern(text: str) -> str:
    """Return the pattern that a caller means; refuses what nothing could ever meet."""
    pattern = text.lower()
    if pattern.rstrip("/") in _TOP_LEVEL:
        return f"{pattern.rstrip('/')}/*"
    if "/" in pattern or any(sign in pattern for sign in "*?["):
        return pattern
    known = mime.guess_from_name(f"x.{pattern.lstrip('.')}")
    step = f"use {known!r}" if known else "use a type such as 'image/png', or a pattern such as 'image/*'"
    raise InvalidMediaError(f"{text!r} is no MIME type", next_step=step)
