"""Files: short, named after a thing, described in their first line, and of no particular machine."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.style.project import ROOT

LONGEST = 1000
REASON = "# Longer than 1,000 lines: "  # and why, in the file itself
NAMELESS = {"util", "utils", "helper", "helpers", "common", "misc"}
# Joined here, so that this file does not find itself.
MACHINE_PATHS = tuple("/" + name + "/" for name in ("work", "root"))
IGNORED = {line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.endswith("/")}


def files(*folders: str) -> Iterator[Path]:
    """All files of the project below these folders, without what git ignores."""
    for folder in folders:
        for where, names, found in os.walk(ROOT / folder):
            names[:] = [
                name
                for name in names
                if name not in IGNORED | {".git"} and not (Path(where) / name / "pyvenv.cfg").exists()
            ]
            yield from (Path(where) / name for name in sorted(found) if not name.endswith(".pyc") and name != ".git")


def sources() -> list[Path]:
    """All Python files."""
    return [path for path in files("fsmedia", "tests") if path.suffix == ".py"]


def name_of(path: Path) -> str:
    """Where a file lies in the project."""
    return path.relative_to(ROOT).as_posix()


SOURCES = pytest.mark.parametrize("path", sources(), ids=name_of)
TESTS = pytest.mark.parametrize("path", [p for p in sources() if p.is_relative_to(ROOT / "tests")], ids=name_of)


def test_there_is_something_to_look_at() -> None:
    names = [name_of(path) for path in sources()]
    assert "fsmedia/__init__.py" in names
    assert "tests/style/test_files.py" in names
    assert len(names) > 40


@SOURCES
def test_a_long_file_says_why(path: Path) -> None:
    text = path.read_text()
    count = len(text.splitlines())
    assert count <= LONGEST or REASON in text, f"{name_of(path)} has {count} lines: split off what has a second user"


@SOURCES
def test_each_module_is_named_after_a_thing_and_says_what_it_is(path: Path) -> None:
    assert not NAMELESS & {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts}
    text = path.read_text()
    if text.strip() or path.is_relative_to(ROOT / "fsmedia"):
        docstring = ast.get_docstring(ast.parse(text))
        assert docstring, f"{name_of(path)} has no docstring"
        assert len(docstring.splitlines()[0]) > 10


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    needle = re.compile(r"(?<![\w.~{}<>-])(?:" + "|".join(map(re.escape, MACHINE_PATHS)) + ")")
    found = []
    for path in files("."):
        text = path.read_bytes().decode(errors="replace")
        found += [f"{name_of(path)}:{text[: hit.start()].count(chr(10)) + 1}" for hit in needle.finditer(text)]
    assert not found


@TESTS
def test_no_test_sleeps(path: Path) -> None:
    """Clocks are arguments; whoever waits for a process waits for its answer."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "sleep":
            assert not (isinstance(node.value, ast.Name) and node.value.id == "time"), f"line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            assert "sleep" not in [name.name for name in node.names], f"line {node.lineno}"


@TESTS
def test_no_test_is_switched_off(path: Path) -> None:
    """A test that is skipped is a defect that nobody sees."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "mark":
            assert node.attr not in {"skip", "skipif", "xfail"}, f"line {node.lineno}"
