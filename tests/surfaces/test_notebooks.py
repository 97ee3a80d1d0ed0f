"""Notebooks run from top to bottom in a kernel of their own, in a fresh folder or after others, and have no outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.style.project import PACKAGE, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ALL = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
RUN = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
notebook.cells *= int(sys.argv[2])
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
nbformat.write(notebook, "executed.ipynb")
"""
SHOWN = {
    "01_explore_a_run": ["garden-1", "fsm", "10 media, the largest is pdf"],
    "02_pipelines": ["the same on three storages", "copied 6", "True"],
    "03_retention_and_deduplication": ["8 would go, 1 would stay", "reads as before: True", "whole"],
}
"""What somebody who runs it must see, by notebook."""


def cells_of(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


def texts_of(cells: list[dict[str, Any]]) -> str:
    """All that the cells show: what is printed, and each form of each result."""
    outputs = [output for cell in cells for output in cell["outputs"]]
    printed = ["".join(output.get("text", "")) for output in outputs]
    return "\n".join([*printed, *("".join(form) for output in outputs for form in output.get("data", {}).values())])


def test_there_is_one_for_each_kind_of_user() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN)


def check_run(path: Path, tmp_path: Path, times: int = 1) -> None:
    """Run a notebook, so many times in one kernel, and look at all that it shows; it leaves nothing in its folder."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        # The kernel shall find the package that is tested, and leave nothing in anybody's home.
        "PYTHONPATH": str(PACKAGE.parent),
        "AWS_DEFAULT_REGION": "us-east-1",
        "FSMEDIA_CACHE": str(tmp_path / "cache"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
    }
    here = tmp_path / "here"
    here.mkdir(exist_ok=True)
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(path), str(times)],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    cells = cells_of(here / "executed.ipynb")
    assert not [each for cell in cells for each in cell["outputs"] if each["output_type"] == "error"]
    shown = texts_of(cells)
    for words in SHOWN[path.stem]:
        assert shown.count(words) >= times, words
    assert [each.name for each in here.iterdir()] == ["executed.ipynb"]


@ALL
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    check_run(path, tmp_path)
    assert str(Path.home()) not in path.read_text(encoding="utf-8")


def test_notebooks_run_one_after_another_in_one_folder_and_again(tmp_path: Path) -> None:
    """By whoever opens the folder: in order, and once more in the same kernel."""
    for times in (1, 2):
        for path in NOTEBOOKS:
            check_run(path, tmp_path, times)


@ALL
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells_of(path))
