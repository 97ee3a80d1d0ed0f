"""A framework that is missing: a skip for who works on something else, a failure where all are to be tested."""

from pathlib import Path

import pytest

from tests.frameworks import need

RUN = Path(__file__).parents[2] / ".ci" / "run"


@pytest.mark.parametrize("module", ["no_such_framework", "no_such_framework.artifacts"])
def test_a_framework_that_is_missing_is_a_failure_where_it_is_required(monkeypatch, module):
    """One whose module had moved was skipped in silence, and its adapter was tested by nobody."""
    monkeypatch.delenv("FSMEDIA_REQUIRE_FRAMEWORKS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{module} is not installed"):
        need("adk", module)
    monkeypatch.setenv("FSMEDIA_REQUIRE_FRAMEWORKS", "1")
    with pytest.raises(pytest.fail.Exception, match=f"{module} is not installed: pip install 'fsmedia.adk.'"):
        need("adk", module)


def test_the_run_of_everything_requires_all_frameworks():
    assert "FSMEDIA_REQUIRE_FRAMEWORKS=1" in RUN.read_text()
