"""Tools: ruff, mypy and import-linter accept the tree. A tool that is missing is a failure, too."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.style.project import ROOT, run

LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"

CONFORMS = """
from fsmedia import MediaContent, MediaStorageService, MediaStore
from fsmedia.models.interfaces import ContentHandle
from fsmedia.core.records import StoredBytes

service: MediaStorageService = MediaStore("memory://m")

def handle(stored: StoredBytes) -> ContentHandle:
    return stored
"""
COROUTINES = """
from collections.abc import AsyncIterator
from contextlib import aclosing

from fsmedia import AsyncMediaStore, MediaStore, Reference
from fsmedia.aio import AsyncMediaReader

async def use(store: AsyncMediaStore, reference: Reference) -> bytes:
    content = await store.retrieve_media(reference, local_copy=True)
    path: str | None = content.file_path
    head: bytes = await store.read(reference, 0, 10)
    async for chunk in store.stream(reference, 5, None):
        head += chunk
    async with aclosing(store.stream(reference)) as chunks:
        head += await anext(chunks)
    async with await store.open(reference) as file:
        where: int = await file.seek(await file.tell())
        head += await file.read() + await file.read(where) + await file.readline()
        lines: list[bytes] = [line async for line in file]
    opened: AsyncMediaReader = await store.open(reference)
    await opened.close()
    found: list[Reference] = [each async for each in store.list()]
    references: AsyncIterator[Reference] = store.list(run_id="r1")
    return b"".join(lines) + head + (path or "").encode() + f"{found}{references}".encode()

def plain(store: MediaStore, reference: str) -> bytes:
    return store.read(reference, 0, 10) + b"".join(store.stream(reference, end=10))
"""
MANY = """
from fsmedia import AsyncMediaStore, MediaError, MediaRecord, MediaStore, Reference

def size(store: MediaStore) -> int:
    both: list[MediaRecord | MediaError] = store.info_many(["a"], on_error="return")
    made: list[Reference] = store.store_many([])
    return len(both) + len(made) + sum(each.size_bytes for each in store.info_many(["a"]))

async def size_later(store: AsyncMediaStore) -> int:
    both: list[MediaRecord | MediaError] = await store.info_many(["a"], on_error="return")
    await store.delete_many(references=["a"])
    return len(both) + sum(each.size_bytes for each in await store.info_many(["a"]))
"""
WRONG_COROUTINES = COROUTINES.replace("async with await store.open", "with await store.open").replace(
    "[each async for each in store.list()]", "await store.list()"
)
ATTRIBUTES = """
from fsmedia import AsyncMediaStore, MediaContent, MediaMetadata, MediaRecord, MediaStore
from fsmedia.models import AttributeValue, Condition

MADE: dict[str, AttributeValue] = {"model": "gpt-image-1", "seed": 7, "score": 4.5, "good": True, "tags": ["night"]}
WANTED: dict[str, Condition] = {"model": "gpt-*", "score": (4, None), "tags": ["night", "day"], "draft": None}

def use(store: MediaStore, content: MediaContent) -> list[MediaRecord]:
    metadata = MediaMetadata(run_id="r", attributes=MADE)
    reference = store.store_media(content, MediaMetadata(run_id="r", attributes={"model": "a", "seed": 1}))
    score: AttributeValue | None = store.info(reference).attributes.get("score", metadata.attributes["score"])
    store.annotate(reference, {"score": 5, "draft": None}, add={"tags": "a"}, discard={"tags": ["b"]}, caption=None)
    found = [*store.list(attributes=WANTED), *store.list(attributes={"score": score, "tags": "night"})]
    return store.annotate(found, MADE, provider_id="me")

async def use_later(store: AsyncMediaStore) -> list[MediaRecord]:
    return await store.annotate([each async for each in store.list(attributes=WANTED)], {"score": 5})
"""
PROGRAMS = {
    "conforms": CONFORMS, "coroutines": COROUTINES, "many": MANY, "attributes": ATTRIBUTES,
    "conforms_not": CONFORMS.replace('MediaStore("memory://m")', "object()"), "coroutines_not": WRONG_COROUTINES,
}  # fmt: skip


@pytest.mark.parametrize("command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join)
def test_the_tool_finds_nothing(command: tuple[str, ...]) -> None:
    done = run(sys.executable, "-m", *command, *(["fsmedia", "tests"] if command[0] == "ruff" else []))
    assert done.returncode == 0, f"\n{done.stdout}"


def test_programs_that_use_the_package_are_typed_and_wrong_ones_are_told(tmp_path: Path) -> None:
    """The records of `info_many` could not be used without an `isinstance`, whatever `on_error` was."""
    for name, code in PROGRAMS.items():
        (tmp_path / f"{name}.py").write_text(code)
    said = run(sys.executable, "-m", "mypy", *sorted(tmp_path.glob("*.py"))).stdout
    of = {name: [line for line in said.splitlines() if f"{name}.py:" in line] for name in PROGRAMS}
    assert f"errors in 2 files (checked {len(PROGRAMS)} source files)" in said, said
    assert of["conforms"] == of["coroutines"] == of["many"] == of["attributes"] == []
    assert "Incompatible types" in "".join(of["conforms_not"])
    wrong = "".join(of["coroutines_not"])
    assert "AsyncMediaReader" in wrong, said
    assert "await" in wrong, said


def test_ruff_can_find_something(tmp_path: Path) -> None:
    """So that a tool that looks at nothing is noticed."""
    (tmp_path / "wrong.py").write_text("import os\nx: int = ''\n")
    ruff = (sys.executable, "-m", "ruff")
    config = ("--no-cache", "--config", ROOT / "pyproject.toml", "wrong.py")
    assert "F401" in run(*ruff, "check", *config, cwd=tmp_path).stdout
    assert "would be reformatted" in run(*ruff, "format", "--check", *config, cwd=tmp_path).stdout


def test_lint_imports_looks_at_every_module_and_finds_nothing() -> None:
    done = run(LINT_IMPORTS)
    analyzed = re.search(r"Analyzed (\d+) files", done.stdout)
    assert analyzed, done.stdout
    assert int(analyzed[1]) >= len(list((ROOT / "fsmedia").rglob("*.py")))
    assert (done.returncode, " 0 broken." in done.stdout) == (0, True), done.stdout
