"""The examples of docs/frameworks.md are true: each runs where its framework is installed, in ten lines or so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fsmedia
from tests.frameworks import is_there, miss

PAGE = Path(fsmedia.__file__).parent / "docs" / "frameworks.md"
EXAMPLES = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
MODULES = {
    "adk": "google.adk", "agno": "agno", "pydantic_ai": "pydantic_ai_harness", "langchain": "langchain_core",
    "temporal": "temporalio", "mlflow": "mlflow", "openai_agents": "agents",
}  # fmt: skip


def framework_of(example):
    return re.search(r"fsmedia\.exchange\.frameworks\.(\w+)", example)[1]


@pytest.mark.parametrize("example", EXAMPLES, ids=framework_of)
def test_the_example_runs(example, tmp_path):
    assert len(example.splitlines()) <= 12
    if not is_there(module := MODULES[framework_of(example)]):
        miss(f"{module} is not installed")
    env = {**os.environ, "PYTHONPATH": str(PAGE.parents[2])}
    command = [sys.executable, "-c", example]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
