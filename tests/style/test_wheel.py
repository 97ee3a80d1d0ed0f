"""The wheel: what people install holds the package and its pages, and nothing else, and works alone."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from tests.style.project import ROOT, run
from tests.surfaces.commands import tells

USE = """
import os, fsmedia
assert fsmedia.__file__.startswith(os.environ["PYTHONPATH"]), fsmedia.__file__
store = fsmedia.MediaStore("media")
reference = store.store_media(fsmedia.MediaContent.from_text("hello"), fsmedia.MediaMetadata(run_id="r1"))
print(fsmedia.__version__, store.retrieve_media(reference).read_bytes())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the tree, built as `pip install .` does, without downloading anything."""
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    """What is in it."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_all_of_the_package_and_nothing_else_is_in_it(names: list[str]) -> None:
    tree = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fsmedia").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"fsmedia/docs/format.md", "fsmedia/docs/scale.md", "fsmedia/py.typed", "fsmedia/cli/demo/plan.png"} <= tree
    assert {name for name in names if name.startswith("fsmedia/")} == tree
    tops = {name.split("/")[0] for name in names}
    assert tops == {"fsmedia", next(top for top in tops if top.endswith(".dist-info"))}
    tests = [name for name in names if "test" in name.lower() or name.endswith((".pyc", ".ipynb"))]
    assert tests == ["fsmedia/testing.py"]


def test_it_says_what_it_is(wheel: Path, names: list[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        read = {name.rpartition("/")[2]: archive.read(name).decode() for name in names if ".dist-info/" in name}
    assert "fsmedia = fsmedia.cli:main" in read["entry_points.txt"]
    extras = (f"Provides-Extra: {extra}\n" for extra in ("s3", "gcs", "azure", "notebook", "all", "dev", "clients"))
    # The README is its page on an index.
    tells(read["METADATA"], "Requires-Python: >=3.11", "# fsmedia", *extras)


def test_it_works_alone(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    done = run(*pip, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    done = run(sys.executable, "-W", "error", "-c", USE, cwd=tmp_path, env={"PYTHONPATH": str(site)})
    assert done.returncode == 0, done.stdout
    assert done.stdout.split(maxsplit=1) == [wheel.name.split("-")[1], "b'hello'\n"]
