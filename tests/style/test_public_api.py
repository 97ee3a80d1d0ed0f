"""The public API, written down (a change of a name or a signature changes `public_api.txt`), and cheap to import.

After a change that is meant, `RENEW_PUBLIC_API=1 pytest tests/style/test_public_api.py` writes the file anew; the
diff of that file is what users will notice.
"""

from __future__ import annotations

import ast
import enum
import inspect
import os
import pydoc
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import fsmedia
from fsmedia import models
from fsmedia.models import events, reports
from tests.style.project import PACKAGE, ours, run_python
from tests.surfaces.commands import tells

SNAPSHOT = Path(__file__).with_name("public_api.txt")
RENEW = "RENEW_PUBLIC_API"
SPECIAL = {"__init__", "__enter__", "__exit__", "__aenter__", "__aexit__"}


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
        given = "<made anew>" if field.default is PydanticUndefined else repr(field.default)
        yield f"    {name}: {written[name]}{'' if field.is_required() else f' = {given}'}"


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


def public() -> dict[str, Any]:
    """What programs may use: the names of the package, and in `fsmedia.models` what its methods return."""
    returned = {
        name: value
        for module in (reports, events)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    return dict(sorted({**returned, **{name: getattr(fsmedia, name) for name in fsmedia.__all__}}.items()))


def lines() -> Iterator[str]:
    """The whole API."""
    for name, value in public().items():
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
    tells(
        "\n".join(lines()),
        "class MediaNotFoundError(MediaError, FileNotFoundError)\n",
        "\n    BY_RUN = 'by-run'\n",
        "\n    store_media(self, content: 'MediaContent', metadata: 'MediaMetadata')",
        "\n    async store_media(self, content:",
        "\n    classmethod from_text(cls, text: 'str',",
        "\n    run_id: Text = ''\n",
    )


def test_no_public_name_is_without_a_docstring() -> None:
    """Readers of the API see nothing else."""
    missing = []
    for name, value in public().items():
        if not (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__):
            missing.append(name)
        if inspect.isclass(value):
            for member, inside in members(value).items():
                function = inside.fget if isinstance(inside, property) else getattr(inside, "__func__", inside)
                if inspect.isfunction(function) and not member.startswith("_") and not inspect.getdoc(function):
                    missing.append(f"{name}.{member}")
    assert not missing


def test_what_methods_return_is_found_in_models() -> None:
    for name, value in public().items():
        if value.__module__ in (reports.__name__, events.__name__):
            assert getattr(models, name) is value
    with pytest.raises(AttributeError, match="no attribute 'NoSuchReport'"):
        _ = models.NoSuchReport


@pytest.mark.parametrize("kind", [fsmedia.MediaContent, fsmedia.MediaMetadata, fsmedia.MediaRecord, models.SyncReport])
def test_help_shows_the_fields_of_a_model_with_types_and_meaning(kind: type[BaseModel]) -> None:
    text = pydoc.plain(pydoc.render_doc(kind))
    first_screen = text[: text.index("Method resolution order")]
    assert "Annotated" not in first_screen
    for name, field in kind.model_fields.items():
        assert re.search(rf"^ \|  {name} : \S", first_screen, re.MULTILINE)
        if field.description:
            assert " ".join(field.description.split()) in first_screen
    assert sum(bool(field.description) for field in kind.model_fields.values()) >= len(kind.model_fields) - 4


# -- imports -----------------------------------------------------------------------------------------------------

HEAVY = [
    "s3fs", "gcsfs", "pyarrow", "pandas", "PIL", "av", "typer", "rich", "fsspec", "pydantic", "asyncio", "tinytag",
]  # fmt: skip
NOT_FOR_LOCAL = ["s3fs", "gcsfs", "aiobotocore", "botocore", "aiohttp", "pyarrow", "pandas", "PIL", "typer", "rich"]
STAGES = """
def look(stage):
    print("LOADED", stage, *[name for name in HEAVY if name in sys.modules])

import sys, fsmedia
look("import")
dir(fsmedia), fsmedia.__all__
look("names")
from fsmedia import MediaContent, MediaError, MediaStorageService
look("models")
from fsmedia import MediaStore
print("WHOLE", *sorted({name.split(".")[1] for name in sys.modules if name.startswith("fsmedia.")}))
print("LATER", *(name for name in ("fsmedia.models.reports", "imagesize") if name in sys.modules))
from fsmedia import *
import fsspec
look("all")
print("MISSING", *(set(fsmedia.__all__) - set(globals())))
"""
LOCAL = """
import sys
from fsmedia import MediaContent, MediaMetadata, MediaStore
store = MediaStore("media")
reference = store.store_media(MediaContent.from_bytes(b"\\x89PNG\\r\\n\\x1a\\n"), MediaMetadata(run_id="r1"))
assert store.retrieve_media(reference).read_bytes()
assert list(store.list(run_id="r1")) == [reference]
store.delete_media(reference)
print("LOADED", *[name for name in HEAVY if name in sys.modules])
"""


def printed(code: str, heavy: list[str], cwd: Path) -> list[list[str]]:
    """The lines that some code prints in a fresh interpreter, as words."""
    done = run_python(f"HEAVY = {heavy!r}\n{code}", cwd=cwd)
    assert done.returncode == 0, done.stdout
    return [line.split() for line in done.stdout.splitlines()]


def test_importing_the_package_and_its_models_loads_nothing_heavy(tmp_path: Path) -> None:
    imported, names, models, whole, later, everything, missing = printed(STAGES, HEAVY, tmp_path)
    assert (imported, names) == (["LOADED", "import"], ["LOADED", "names"])
    assert "fsspec" not in models
    # A program that stores and reads pays for nothing else: 0.2 s of CPU, of which fsspec and pydantic take 0.15.
    assert whole == ["WHOLE", "core", "errors", "format", "models", "storage", "store"]
    assert later == ["LATER"]
    assert {"fsspec", "pydantic"} <= set(everything), "what is loaded is seen"
    assert missing == ["MISSING"], "every public name can be imported"


def test_a_local_store_loads_no_clouds_and_no_command_line(tmp_path: Path) -> None:
    assert printed(LOCAL, NOT_FOR_LOCAL, tmp_path) == [["LOADED"]]
    assert (tmp_path / "media" / "runs").is_dir() is False  # it did delete what it stored


def test_every_public_name_is_there_and_the_list_is_sorted_and_complete() -> None:
    for name in fsmedia.__all__:
        value = getattr(fsmedia, name)
        assert getattr(value, "__name__", name) == name
        assert value is getattr(fsmedia, name)
    assert set(fsmedia.__all__) <= set(dir(fsmedia))
    assert fsmedia.__all__ == sorted(set(fsmedia.__all__))
    # What type checkers are told, what is loaded at run time and what is promised are the same names.
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    told = {
        (node.module, name.asname or name.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert {name for _, name in told} == set(fsmedia.__all__)
    assert all(getattr(import_module(module), name) is getattr(fsmedia, name) for module, name in told)


@pytest.mark.parametrize("name", ["NoSuchName", "media_store", "__wrapped__", "_private", "fsspec"])
def test_unknown_names_are_attribute_errors(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'fsmedia' has no attribute '{name}'"):
        getattr(fsmedia, name)
    with pytest.raises(ImportError, match=name):
        exec(f"from fsmedia import {name}")
