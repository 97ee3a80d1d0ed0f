"""Notebooks run in a kernel of their own, one after another and again, and are kept without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.style.project import PACKAGE, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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
    "01_explore_a_run": ["garden-1", "fsm", "<td><img src=", "10 media, the largest is pdf"],
    "02_pipelines": ["the same on three storages", "copied 6", "True"],
    "03_retention_and_deduplication": ["8 would go, 1 would stay", "reads as before: True", "whole"],
}
"""What somebody who runs it must see, by notebook."""


def cells_of(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder in which somebody opens one after another; none leaves anything for the next."""
    folder = tmp_path_factory.mktemp("notebooks") / "here"
    folder.mkdir()
    return folder


# First with every cell twice in the same kernel, then all of them again, where they ran before: as each leaves nothing,
# that is as new a folder as the first one was.
AGAIN = pytest.param(1, marks=pytest.mark.full)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("times", [2, AGAIN])
def test_notebooks_run_in_order_in_one_folder_twice_and_leave_nothing(times: int, path: Path, here: Path) -> None:
    """Whoever opens them runs them from top to bottom, one after another, and runs a cell or all of it again."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        # The kernel shall find the package that is tested, and leave nothing in anybody's home.
        "PYTHONPATH": str(PACKAGE.parent),
        "AWS_DEFAULT_REGION": "us-east-1",
        **{name: str(here.parent / name.lower()) for name in ("FSMEDIA_CACHE", "IPYTHONDIR", "MPLCONFIGDIR")},
        "JUPYTER_RUNTIME_DIR": str(here.parent / "runtime"),
    }
    command = [sys.executable, "-c", RUN, str(path), str(times)]
    ran = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    outputs = [output for cell in cells_of(here / "executed.ipynb") for output in cell["outputs"]]
    assert not [each for each in outputs if each["output_type"] == "error" or not each.get("data", True)]
    printed = ["".join(output.get("text", "")) for output in outputs]
    shown = "\n".join([*printed, *("".join(form) for output in outputs for form in output.get("data", {}).values())])
    for words in SHOWN[path.stem]:
        assert shown.count(words) >= times, words
    assert [each.name for each in here.iterdir()] == ["executed.ipynb"]


def test_there_is_one_for_each_kind_of_user_and_it_is_kept_without_outputs() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN)
    for path in NOTEBOOKS:
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells_of(path))
        assert str(Path.home()) not in path.read_text(encoding="utf-8")
