"""OpenTelemetry's SDK and storages as for the tests of telemetry; programs whose sinks are found by entry point."""

import tomllib
from pathlib import Path

from tests.style.project import ROOT, run_python
from tests.telemetry.conftest import exported, storage

__all__ = ["exported", "storage"]
GROUPS = ("opentelemetry_genai_completion_hook", "openinference_blob_uploader")


def run_installed(code: str, tmp_path: Path, **environment: str) -> str:
    """Run code where the entry points of pyproject.toml are installed; return what it wrote."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    site = tmp_path / "site"
    folder = site / "sinks_of_this_tree-1.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: sinks-of-this-tree\nVersion: 1\n")
    lines = [line for group in GROUPS for line in (f"[{group}]", *(f"{k} = {v}" for k, v in declared[group].items()))]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    head = f"import os, sys\nsys.path.insert(0, {str(site)!r})\nos.environ.update({environment!r})\n"
    done = run_python(head + code, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    return done.stdout
