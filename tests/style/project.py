"""Where the project lies, and how to run something with the package that is under test."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import fsmedia

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""

PACKAGE = Path(fsmedia.__file__).resolve().parent
"""The package under test: the tree's, or the installed one where there is one."""


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a file, once for all tests that look at it."""
    return ast.parse(path.read_text())


def ours(kind: type) -> list[type]:
    """The classes of this package that a class is made of, nearest first."""
    return [base for base in kind.__mro__ if base.__module__.partition(".")[0] == "fsmedia"]


def run(
    *command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, both streams together."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_python(code: str, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter that finds the package under test, and no other."""
    return run(sys.executable, "-W", "error", "-c", code, cwd=cwd, env={"PYTHONPATH": str(PACKAGE.parent)})
