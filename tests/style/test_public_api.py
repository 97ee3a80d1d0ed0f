"""The public API, written down: a change of a name or a signature is a change of `public_api.txt`.

After a change that is meant, `RENEW_PUBLIC_API=1 pytest tests/style/test_public_api.py` writes the file anew; the
diff of that file is what users will notice.
"""

from __future__ import annotations

import enum
import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import fsmedia

SNAPSHOT = Path(__file__).with_name("public_api.txt")
RENEW = "RENEW_PUBLIC_API"
SPECIAL = {"__init__", "__enter__", "__exit__", "__aenter__", "__aexit__"}


def ours(kind: type) -> list[type]:
    """The classes of this package that a class is made of, nearest first."""
    return [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "fsmedia"]


def members(kind: type) -> dict[str, Any]:
    """Public members by name, in alphabetical order, without those that libraries bring."""
    found: dict[str, Any] = {}
    for base in reversed(ours(kind)):
        found.update(vars(base))
    return {
        name: found[name]
        for name in sorted(found)
        if (not name.startswith("_") or name in SPECIAL) and name not in {"model_config", "model_fields"}
    }


def fields(kind: type[BaseModel]) -> Iterator[str]:
    """The fields of a model, with their types as they are written and their defaults."""
    written: dict[str, str] = {}
    for base in reversed(ours(kind)):
        written.update({name: str(text) for name, text in inspect.get_annotations(base).items()})
    for name, field in kind.model_fields.items():
        if field.is_required():
            default = ""
        elif field.default is PydanticUndefined:
            default = " = <made anew>"
        else:
            default = f" = {field.default!r}"
        yield f"    {name}: {written[name]}{default}"


def described(name: str, value: Any) -> Iterator[str]:
    """The lines about one member of a class."""
    if isinstance(value, property):
        yield f"    {name} -> {inspect.signature(value.fget).return_annotation}"  # type: ignore[arg-type]
        return
    word = type(value).__name__ + " " if isinstance(value, classmethod | staticmethod) else ""
    function = getattr(value, "__func__", value)
    if inspect.isfunction(function) and function.__module__.startswith("fsmedia"):
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        signature = re.sub(r"<function (\w+) at \w+>", r"\1", str(inspect.signature(function)))
        signature = re.sub(r" object at 0x[0-9a-f]+", "", signature)
        yield f"    {word}{'async ' if is_async else ''}{name}{signature}"


def lines() -> Iterator[str]:
    """The whole API."""
    for name in sorted(fsmedia.__all__):
        value = getattr(fsmedia, name)
        if not inspect.isclass(value):
            yield f"{name}{inspect.signature(value)}"
            continue
        bases = ", ".join(base.__name__ for base in value.__bases__)
        yield f"class {name}({bases})"
        if issubclass(value, BaseModel):
            yield from fields(value)
        if issubclass(value, enum.Enum):
            yield from (f"    {item.name} = {item.value!r}" for item in value)
        for member, inside in members(value).items():
            if not (issubclass(value, BaseModel) and member == "__init__"):
                yield from described(member, inside)


def test_the_public_api_is_what_is_written_down() -> None:
    text = "\n".join(lines()) + "\n"
    if os.environ.get(RENEW):
        SNAPSHOT.write_text(text)
        pytest.fail(f"{SNAPSHOT.name} is written anew: read its diff, then run the test without {RENEW}")
    hint = f"if the change is meant: {RENEW}=1 pytest tests/style/test_public_api.py"
    assert text.splitlines() == SNAPSHOT.read_text().splitlines(), hint


def test_the_snapshot_sees_signatures_fields_and_bases() -> None:
    text = list(lines())
    assert "class MediaNotFoundError(MediaError, FileNotFoundError)" in text
    assert "    BY_RUN = 'by-run'" in text
    assert any(
        line.startswith("    store_media(self, content: 'MediaContent', metadata: 'MediaMetadata')") for line in text
    )
    assert any(line.startswith("    async store_media(self, content:") for line in text)
    assert any(line.startswith("    classmethod from_text(cls, text: 'str',") for line in text)
    assert "    run_id: Text = ''" in text


def test_no_public_name_is_without_a_docstring() -> None:
    """Readers of the API see nothing else."""
    missing = []
    for name in fsmedia.__all__:
        value = getattr(fsmedia, name)
        if not (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__):
            missing.append(name)
        if inspect.isclass(value):
            for member, inside in members(value).items():
                function = inside.fget if isinstance(inside, property) else getattr(inside, "__func__", inside)
                if inspect.isfunction(function) and not member.startswith("_") and not inspect.getdoc(function):
                    missing.append(f"{name}.{member}")
    assert not missing
