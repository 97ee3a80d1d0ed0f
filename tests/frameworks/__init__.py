"""Adapters beside the stores of their frameworks: `pip install -e ".[frameworks]"`, else these tests are skipped.

`.ci/run` runs them in an environment of their own, without the fixtures of the other tests: `pytest -c /dev/null
--noconftest tests/frameworks`, with FSMEDIA_REQUIRE_FRAMEWORKS=1, which makes a framework that is missing a failure.
"""

import os
import warnings
from importlib.util import find_spec
from typing import NoReturn

import pytest

os.environ.update(FSMEDIA_CACHE="off", AGNO_TELEMETRY="false", LANGSMITH_TRACING="false")
# Frameworks warn of themselves and of each other.
ITS_OWN_WARNINGS = pytest.mark.filterwarnings("ignore")


def need(extra: str, module: str) -> None:
    """Skip a file of tests whose framework is not installed; else import that, whatever it warns of."""
    if not is_there(module):
        miss(f"{module} is not installed: pip install 'fsmedia[{extra}]'")
    with warnings.catch_warnings(action="ignore"):
        __import__(module)


def is_there(module: str) -> bool:
    """Say whether a module is installed, without a word of a parent that is not."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def miss(reason: str) -> NoReturn:
    """Skip a test or a file of tests, or fail where the environment is to have all that they need."""
    if os.environ.get("FSMEDIA_REQUIRE_FRAMEWORKS"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
