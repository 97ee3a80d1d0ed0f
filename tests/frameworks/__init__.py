"""Adapters beside the stores of their frameworks: `pip install -e ".[frameworks]"`, else these tests are skipped.

`.ci/run` runs them in an environment of their own, without the fixtures of the other tests: `pytest -c /dev/null
--noconftest tests/frameworks`.
"""

import os
import warnings
from importlib.util import find_spec

import pytest

os.environ.update(FSMEDIA_CACHE="off", AGNO_TELEMETRY="false", LANGSMITH_TRACING="false")
# Frameworks warn of themselves and of each other.
ITS_OWN_WARNINGS = pytest.mark.filterwarnings("ignore")


def need(extra: str, module: str) -> None:
    """Skip a file of tests whose framework is not installed; else import that, whatever it warns of."""
    try:
        there = find_spec(module) is not None
    except ModuleNotFoundError:
        there = False
    if not there:
        pytest.skip(f"{module} is not installed: pip install 'fsmedia[{extra}]'", allow_module_level=True)
    with warnings.catch_warnings(action="ignore"):
        __import__(module)
