"""Bases of models and reports: frozen, no unknown fields, and errors of this package instead of pydantic's.

A pydantic `ValidationError` quotes its input; media bytes and signed URLs must not end in a log, so the text
here names fields and reasons only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from importlib import import_module
from inspect import Signature, cleandoc, formatannotation, signature
from operator import or_
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from fsmedia.errors import InvalidMediaError
from fsmedia.models.text import minute_text, shown_of, size_text

_REASONS = {"string_unicode": "has a lone surrogate, or is no UTF-8"}
"""What pydantic's own words do not say."""


def explain(error: ValidationError, model: str) -> InvalidMediaError:
    """Turn pydantic's error into one readable line that quotes no input."""
    parts = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(step if (step := str(part)).isprintable() else repr(step) for part in item["loc"])
        reason = _REASONS.get(item["type"]) or item["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {reason}" if where else reason)
    return InvalidMediaError(f"{model}: {' / '.join(parts)}", next_step=f"see help(fsmedia.models.{model})")


def _plain_type(annotation: Any) -> Any:
    """Return a type without what pydantic checks besides."""
    if get_origin(annotation) is Annotated:
        return _plain_type(get_args(annotation)[0])
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return reduce(or_, map(_plain_type, get_args(annotation)))
    return annotation


class Model(BaseModel):
    """A frozen model whose constructor and validators raise `InvalidMediaError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, /, **data: Any) -> None:
        # What BaseModel's own does, without packing the fields once more: each retrieve makes two models.
        try:
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        except ValidationError as error:
            raise explain(error, type(self).__name__) from None

    # Without this mark pydantic would call __init__ for nested models too, and lose the place in its errors.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # - a function has any attribute

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Let `help` show the fields of a subclass: types in its signature, and what each means in its docstring."""
        shown = signature(cls)
        plain = [each.replace(annotation=_plain_type(each.annotation)) for each in shown.parameters.values()]
        cls.__signature__ = shown.replace(parameters=plain, return_annotation=Signature.empty)
        text = [cleandoc(cls.__doc__ or ""), *(["", "Attributes", "----------"] if cls.model_fields else [])]
        for name, field in cls.model_fields.items():
            text.append(f"{name} : {formatannotation(_plain_type(field.annotation))}")
            if field.description:
                text.append(f"    {' '.join(field.description.split())}")
        cls.__doc__ = "\n".join([*text, ""])

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate a mapping or an instance; raises `InvalidMediaError`."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise explain(error, cls.__name__) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate JSON text; raises `InvalidMediaError`."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise explain(error, cls.__name__) from None


class Origin:
    """The storage of the media that a record, a report or a catalog names, for whoever shows pictures of them.

    It may know secrets: it is nobody's value, is no part of a copy that leaves the process, and all of them are equal.
    """

    __slots__ = ("backend", "verify_reads")

    def __init__(self, backend: Any = None, *, verify_reads: bool = True) -> None:
        self.backend, self.verify_reads = backend, verify_reads

    def __repr__(self) -> str:
        return "Origin()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        return hash(Origin)

    def __reduce__(self) -> tuple[type[Origin], tuple[()]]:
        return Origin, ()

    def __deepcopy__(self, _: object) -> Self:
        return self


NOWHERE = Origin()


def html_of(thing: object) -> str | None:
    """Return the HTML of an object for a notebook; None lets the notebook show its plain text."""
    html: str | None = _display().html_of(thing)
    return html


def player_of(content: object, **options: Any) -> Any:
    """Return what plays or shows a content at full size; None where nothing can."""
    return _display().player_of(content, **options)


def encoder() -> Any:
    """Return the module that encodes pictures and sound."""
    return import_module("fsmedia.display.encoder")


def _display() -> Any:
    # Loaded by its name, and only when something is looked at: models know no pictures and no HTML.
    return import_module("fsmedia.display")


Columns = Mapping[str, str | Callable[[Any], object]]
"""What stands in the columns of a table: an attribute of the item in its row, or what makes the value of it."""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table of a report.

    Attributes
    ----------
    title
        What became of its items: `deleted`, `skipped`; in a terminal it stands before each of them.
    items
        One for each row.
    columns
        By their heads; numbers below `size` are bytes.
    things
        What the items are.
    more
        How many there are beside the items.
    """

    title: str
    items: Sequence[Any]
    columns: Columns
    things: str = "media"
    more: int = 0

    def rows(self, most: int | None = None) -> list[list[str]]:
        """Return the cells of the first items as text; one more than `most` where only that would be left out."""
        shown = self.items if most is None else self.items[: shown_of(self.count, most)]
        return [[_cell_text(head, _value(each, of)) for head, of in self.columns.items()] for each in shown]

    @property
    def count(self) -> int:
        """How many there are in all."""
        return len(self.items) + self.more

    @property
    def numbers(self) -> set[int]:
        """Places of the columns that hold numbers."""
        return {
            place
            for each in self.items[:1]
            for place, of in enumerate(self.columns.values())
            if isinstance(_value(each, of), int)
        }


def _value(item: Any, of: str | Callable[[Any], object]) -> object:
    return getattr(item, of) if isinstance(of, str) else of(item)


def _cell_text(head: str, value: object) -> str:
    if isinstance(value, bool):
        return head if value else ""
    if isinstance(value, int):
        return size_text(value) if head == "size" else f"{value:,}"
    return minute_text(value) if isinstance(value, datetime) else str(value or "")


@dataclass(frozen=True, slots=True)
class ReportView:
    """What a report tells, wherever it is shown: a title, facts in one line, tables, notes on what they mean.

    `failed` has the names of what went wrong, each with its error, or a text; `warnings` say what looks wrong;
    `pictured` are references of media that are there, of which pictures help.
    """

    title: str
    facts: str
    tables: Sequence[ReportTable] = ()
    notes: Sequence[str] = ()
    failed: Sequence[tuple[str, Any]] = ()
    warnings: Sequence[str] = ()
    pictured: Sequence[str] = ()


class Report(Model):
    """Base of reports: frozen, with HTML for notebooks; `str()` of it is one line, however many items it names."""

    # It makes pydantic read the source of each class, so models that every program loads describe their fields in code.
    model_config = ConfigDict(use_attribute_docstrings=True)

    _origin: Origin = PrivateAttr(default=NOWHERE)

    def _told(self) -> ReportView:
        """Return what the report alone tells; what all reports tell of their work comes behind."""
        raise NotImplementedError

    def _view(self) -> ReportView:
        """Return what is told, wherever it is shown; empty notes, and tables without rows, are left out."""
        told = self._told()
        facts, took = [told.facts], getattr(self, "took", None)
        facts += [f"{len(getattr(self, name)):,} {name}" for name in ("skipped", "failed") if hasattr(self, name)]
        if getattr(self, "stopped", False):
            facts.append("stopped early")
        if took:
            facts.append(f"in {took.total_seconds():.1f} s")
        tables = [table for table in told.tables if table.items]
        failed = [
            (getattr(each, "reference", None) or each.source, getattr(each, "error", None) or each.reason)
            for each in getattr(self, "failed", ())
        ]
        notes, warnings = list(filter(None, told.notes)), list(filter(None, told.warnings))
        return ReportView(told.title, ", ".join(facts), tables, notes, failed, warnings, told.pictured)

    def __str__(self) -> str:
        return self._view().facts

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def _repr_args(self) -> Any:
        return ()
