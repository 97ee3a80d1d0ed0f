"""Imports: `import fsmedia` is cheap, every public name is there, and no other is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fsmedia
from tests.style.project import PACKAGE, run_python

HEAVY = [
    "s3fs", "gcsfs", "pyarrow", "pandas", "PIL", "av", "typer", "rich", "fsspec", "pydantic", "asyncio", "filetype",
]  # fmt: skip
NOT_FOR_LOCAL = ["s3fs", "gcsfs", "aiobotocore", "botocore", "aiohttp", "pyarrow", "pandas", "PIL", "typer", "rich"]
LOCAL = """
from fsmedia import MediaContent, MediaMetadata, MediaStore
store = MediaStore("media")
reference = store.store_media(MediaContent.from_bytes(b"\\x89PNG\\r\\n\\x1a\\n"), MediaMetadata(run_id="r1"))
assert store.retrieve_media(reference).read_bytes()
assert list(store.list(run_id="r1")) == [reference]
store.delete_media(reference)
"""


def loaded(code: str, names: list[str], cwd: Path) -> list[str]:
    """Which of these modules some code loads, in a fresh interpreter."""
    done = run_python(f"{code}\nimport sys\nprint('LOADED', *[n for n in {names!r} if n in sys.modules])", cwd=cwd)
    assert done.returncode == 0, done.stdout
    return done.stdout.rpartition("LOADED")[2].split()


def test_importing_the_package_loads_nothing_heavy(tmp_path: Path) -> None:
    assert loaded("import fsmedia", HEAVY, tmp_path) == []
    assert loaded("import fsmedia; dir(fsmedia); fsmedia.__all__", HEAVY, tmp_path) == []


def test_the_question_above_can_be_answered_with_yes(tmp_path: Path) -> None:
    assert {"fsspec", "pydantic"} <= set(loaded("import fsmedia, fsspec; fsmedia.MediaContent", HEAVY, tmp_path))


@pytest.mark.parametrize("name", ["MediaContent", "MediaError", "MediaStorageService"])
def test_models_load_no_storage(name: str, tmp_path: Path) -> None:
    assert "fsspec" not in loaded(f"from fsmedia import {name}", HEAVY, tmp_path)


def test_a_local_store_loads_no_clouds_and_no_command_line(tmp_path: Path) -> None:
    assert loaded(LOCAL, NOT_FOR_LOCAL, tmp_path) == []
    assert (tmp_path / "media" / "runs").is_dir() is False  # it did delete what it stored


@pytest.mark.parametrize("name", fsmedia.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(fsmedia, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(fsmedia)
    assert value is getattr(fsmedia, name)


def test_every_public_name_can_be_imported_alone_and_all_together(tmp_path: Path) -> None:
    done = run_python(
        "from fsmedia import *\nimport fsmedia\nprint(sorted(set(fsmedia.__all__) - set(globals())))", cwd=tmp_path
    )
    assert done.stdout.strip() == "[]", done.stdout


def test_the_list_of_public_names_is_sorted_and_complete() -> None:
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
    assert told == {(module, name) for module, names in fsmedia._MODULES.items() for name in names}


@pytest.mark.parametrize("name", ["NoSuchName", "media_store", "__wrapped__", "_private", "fsspec"])
def test_unknown_names_are_attribute_errors(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'fsmedia' has no attribute '{name}'"):
        getattr(fsmedia, name)
    with pytest.raises(ImportError, match=name):
        exec(f"from fsmedia import {name}")
