"""Bases of the models: frozen, no unknown fields, and errors of this package instead of pydantic's.

A pydantic `ValidationError` quotes its input; media bytes and signed URLs must not end in a log, so the text
here names fields and reasons only.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fsmedia.errors import InvalidMediaError


def explain(error: ValidationError, model: str) -> InvalidMediaError:
    """Turn pydantic's error into one readable line that quotes no input."""
    parts = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(step if (step := str(part)).isprintable() else repr(step) for part in item["loc"])
        reason = item["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {reason}" if where else reason)
    return InvalidMediaError(f"{model}: {' / '.join(parts)}", next_step=f"see help(fsmedia.{model})")


class Model(BaseModel):
    """A frozen model whose constructor and validators raise `InvalidMediaError`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise explain(error, type(self).__name__) from None

    # Without this mark pydantic would call __init__ for nested models too, and lose the place in its errors.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # - a function has any attribute

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


def html_of(thing: object) -> str | None:
    """Return the HTML of an object for a notebook; None lets the notebook show its plain text."""
    html: str | None = _display().html_of(thing)
    return html


def player_of(content: object, **options: Any) -> Any:
    """Return what plays or shows a content at full size; None where nothing can."""
    return _display().player_of(content, **options)


def _display() -> Any:
    # Loaded by its name, and only when something is looked at: models know no pictures and no HTML.
    return import_module("fsmedia.display")


class Report(Model):
    """Base of reports: frozen, with HTML for notebooks; `str()` of it is one line, however many items it names."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def _repr_args(self) -> Any:
        return ()
