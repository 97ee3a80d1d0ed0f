"""Files: short, named after a thing, described in their first line, and of no particular machine."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.style.project import ROOT, parsed

LONGEST = 1000
REASON = "# Longer than 1,000 lines: "  # and why, in the file itself
FORBIDDEN = re.compile(r"time\.sleep|.*\.mark\.(skip|skipif|xfail)|from time import .*\bsleep\b.*", re.DOTALL)
NAMELESS = {"util", "utils", "helper", "helpers", "common", "misc"}
# Joined here, so that this file does not find itself.
MACHINE_PATHS = tuple("/" + name + "/" for name in ("work", "root"))
IGNORED = {line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.endswith("/")}


def files(*folders: str) -> Iterator[Path]:
    """All files of the project below these folders, without what git ignores."""
    for folder in folders:
        for where, names, found in os.walk(ROOT / folder):
            left_out = {each.parent.name for each in Path(where).glob("*/pyvenv.cfg")} | IGNORED | {".git"}
            names[:] = [name for name in names if name not in left_out]
            yield from (Path(where) / name for name in sorted(found) if not name.endswith(".pyc") and name != ".git")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCES = {name_of(path): path.read_text() for path in files("fsmedia", "tests") if path.suffix == ".py"}


def test_there_is_something_to_look_at_and_a_long_file_says_why() -> None:
    assert {"fsmedia/__init__.py", "tests/style/test_files.py"} < SOURCES.keys()
    assert len(SOURCES) > 40
    long = [name for name, text in SOURCES.items() if REASON not in text and len(text.splitlines()) > LONGEST]
    assert not long, "split off what has a second user"


def test_each_module_is_named_after_a_thing_and_says_what_it_is() -> None:
    assert not [name for name in SOURCES if NAMELESS & {part.strip("_") for part in name[:-3].split("/")}]
    described = [name for name, text in SOURCES.items() if text.strip() or name.startswith("fsmedia/")]
    told = {name: ast.get_docstring(parsed(ROOT / name)) or "" for name in described}
    assert not [name for name, docstring in told.items() if len(docstring.partition("\n")[0]) <= 10]


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    needle = re.compile(r"(?<![\w.~{}<>-])(?:" + "|".join(map(re.escape, MACHINE_PATHS)) + ")")
    found = []
    for path in files("."):
        text = path.read_bytes().decode(errors="replace")
        found += [f"{name_of(path)}:{text[: hit.start()].count(chr(10)) + 1}" for hit in needle.finditer(text)]
    assert not found


def test_no_test_sleeps_or_is_switched_off() -> None:
    """Clocks are arguments, who waits for a process waits for its answer; a skipped test is a defect nobody sees."""
    found = [
        f"{name}:{node.lineno}"
        for name in SOURCES
        if name.startswith("tests/")
        for node in ast.walk(parsed(ROOT / name))
        if isinstance(node, ast.Attribute | ast.ImportFrom) and FORBIDDEN.fullmatch(ast.unparse(node))
    ]
    assert not found
