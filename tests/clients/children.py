"""What child processes run, and where they come from: each is forked off one that has imported a slow library."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import fsspec

from tests.style.project import ROOT, run_python

GROUPS = (
    "opentelemetry_genai_completion_hook", "openinference_blob_uploader", "universal_pathlib.implementations",
)  # fmt: skip

SERVER = """
import gc, importlib, json, os, signal, sys, traceback
importlib.import_module(sys.argv[1])
gc.freeze()
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(200)
        for number, name in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(os.path.join(job["cwd"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.environ.clear()
        os.environ.update(job["env"])
        os.chdir(job["cwd"])
        sys.argv[1:] = job["words"]
        code = 0
        try:
            exec(compile(job["program"], "program", "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """A process that has imported a library, off which programs are forked, each with an environment of its own."""

    def __init__(self, library: str, home: Path) -> None:
        home.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVER, library],
            env={**os.environ, "HOME": str(home), "HF_HOME": str(home / "hf")},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, program: str, words: tuple[object, ...], env: dict[str, str], cwd: Path) -> tuple[int, str, str]:
        job = {"program": program, "words": [str(word) for word in words], "env": env, "cwd": str(cwd)}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        return code, (cwd / ".out").read_text(), (cwd / ".err").read_text()

    def end(self) -> None:
        self.process.communicate()


def declared() -> dict[str, dict[str, str]]:
    """Return the entry points that the project declares: what is installed may be older."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]


def run_installed(code: str, tmp_path: Path, **environment: str) -> str:
    """Run code where entry points of the project are installed; return what it wrote."""
    site = tmp_path / "site"
    folder = site / "entry_points_of_this_tree-1.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: entry-points-of-this-tree\nVersion: 1\n")
    found = {group: declared()[group] for group in GROUPS}
    lines = [line for group in found for line in (f"[{group}]", *(f"{k} = {v}" for k, v in found[group].items()))]
    (folder / "entry_points.txt").write_text("\n".join(lines))
    head = f"import os, sys\nsys.path.insert(0, {str(site)!r})\nos.environ.update({environment!r})\n"
    done = run_python(head + code, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    return done.stdout


def size_of(name: str, options: dict[str, Any], fs: Any) -> int:
    if fs is not None:
        return len(fs.cat_file(name))
    with fsspec.open(name, **options) as file:
        return len(file.read())
