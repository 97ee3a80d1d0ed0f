"""The cut of the code: ten packages, whole classes, few files, few suppressed checks. CONTRIBUTING.md has the map."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import fsmedia
from fsmedia.models.base import Model
from tests.style.project import ROOT, ours, parsed

PACKAGES = {
    "catalog", "cli", "core", "display", "exchange", "filesystem", "format", "maintenance", "models", "storage",
}  # fmt: skip
BESIDE = {"docs", "py.typed", "__init__.py", "aio.py", "errors.py", "handlers.py", "store.py", "testing.py"}
MOST_WITH_ONE_IMPORTER = 15
MOST_SUPPRESSED = 44
SUPPRESSED = re.compile(r"# (?:type: ignore|noqa)")
REASONED = re.compile(r"# (?:type: ignore|noqa)\S*(?:[\w\[\]:, -]*?) (?:-|#) \S")
ONE_FILE_EACH = {"cli", "exchange"}
"""Packages with a file a command, and a file a format or framework."""


def sources() -> list[Path]:
    """The Python files of the package."""
    return sorted((ROOT / "fsmedia").rglob("*.py"))


def module_of(path: Path) -> str:
    """Return the dotted name of a file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(path: Path) -> frozenset[str]:
    """Return the modules of the package that a file imports, at any place."""
    known = {module_of(each) for each in sources()}
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                found.add(full if full in known else node.module)
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return frozenset(found & known)


def classes() -> Iterator[type]:
    """Yield the classes of the package; what needs a library that is not installed is left out."""
    for info in pkgutil.walk_packages(fsmedia.__path__, "fsmedia."):
        if info.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:
            assert info.name.startswith("fsmedia.exchange.frameworks."), info.name
            continue
        for kind in vars(module).values():
            if inspect.isclass(kind) and kind.__module__ == info.name:
                yield kind


def test_the_top_has_ten_packages_and_six_files_and_there_are_few_files_in_all() -> None:
    top = {path.name for path in (ROOT / "fsmedia").iterdir() if path.name != "__pycache__"}
    assert top == PACKAGES | BESIDE
    assert len(sources()) <= 160


@pytest.mark.parametrize("package", sorted(PACKAGES - ONE_FILE_EACH))
def test_a_package_fits_on_one_page(package: str) -> None:
    # core has two more: the protocols of names that clients choose, and of uploads by ticket, in files of their own.
    assert len(list((ROOT / "fsmedia" / package).glob("*.py"))) <= 15 + 2 * (package == "core")


def test_few_modules_serve_one_neighbour_only() -> None:
    """A module that only one file of its own package imports is a part torn off; what is loaded by name is not."""
    importers: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        for name in imports(path):
            importers[name].add(module_of(path))
    lonely = []
    for path in sources():
        module = module_of(path)
        package = module.rpartition(".")[0]
        mine = importers[module] - {module}
        if path.name != "__init__.py" and package != "fsmedia" and len(mine) == 1:
            (only,) = mine
            is_command = path.stem.startswith("cmd_")
            if not is_command and (only == package or only.rpartition(".")[0] == package):
                lonely.append(module)
    assert len(lonely) <= MOST_WITH_ONE_IMPORTER, lonely


def test_no_class_is_cut_into_a_chain() -> None:
    """`Model`, which is pydantic's base with errors of this package, counts as pydantic's."""
    chains = ([each for each in ours(kind) if each is not Model] for kind in classes())
    assert not [chain for chain in chains if len(chain) > 3]


def test_few_checks_are_suppressed_and_each_says_why() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if SUPPRESSED.search(line)
    ]
    assert len(found) <= MOST_SUPPRESSED, "\n".join(found)
    assert not [line for line in found if not REASONED.search(line)]


def test_media_are_listed_without_those_of_other_stores() -> None:
    """A walk over all media is `NestedStores.entries`; a raw one only tells whether anything is there at all."""
    found = set()
    for path in sources():
        found |= {
            (path.name, function.name)
            for function in ast.walk(parsed(path))
            if isinstance(function, ast.FunctionDef)
            for call in ast.walk(function)
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(("backend.entries", "source.entries"))
            if not call.args or ast.unparse(call.args[0]) == "''"
        }
    assert found == {("settings_file.py", "_assume"), ("views.py", "all")}


def test_an_adapter_of_a_framework_is_as_short_as_contributing_says() -> None:
    told = re.search(r"of at most (\d+) lines in `fsmedia/exchange/frameworks`", (ROOT / "CONTRIBUTING.md").read_text())
    adapters = {path.stem: path for path in (ROOT / "fsmedia/exchange/frameworks").glob("*.py")}
    del adapters["__init__"]
    assert adapters
    assert told
    assert not [name for name, path in adapters.items() if len(path.read_text().splitlines()) > int(told[1])]
