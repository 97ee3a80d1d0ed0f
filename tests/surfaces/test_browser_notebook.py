"""Displays in an executed notebook, exported to HTML as nbconvert does, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from fsmedia import MediaStore
from tests.surfaces import specimens
from tests.surfaces.browsers import launched, visiting
from tests.surfaces.specimens import HOSTILE, put

if TYPE_CHECKING:
    from collections.abc import Iterator

CELLS = (
    "from fsmedia import MediaStore\nstore = MediaStore('media')\nstore",
    "store.gallery(limit=100)",
    "store.gallery(mime_type='image/*', group_by=None, limit=5)",
    "store.compare(['r1', 'r2'])",
    "store.retrieve_media(next(store.list(mime_type='audio/*')))",
    "store.enforce_policy(dry_run=True)",
    "store.gallery(interactive=True)",
)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give the browser."""
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """Give a notebook that was run from top to bottom."""
    folder = tmp_path_factory.mktemp("notebook")
    store = MediaStore(folder / "media", durability="rename")
    for index in range(30):
        put(store, specimens.picture((40 + index, 30)), "image/png", message_idx=index)
    put(store, specimens.sound(), "audio/wav", message_idx=40)
    put(store, specimens.HTML, "text/html", run_id="r2", conversation_id=HOSTILE, caption=HOSTILE)
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    NotebookClient(made, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return made


@pytest.fixture(scope="module")
def exported(notebook: nbformat.NotebookNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give its HTML, without the scripts that nbconvert itself would load from elsewhere.

    And without the widget, the last cell: nbconvert loads what shows widgets from elsewhere, so pages are exported as
    plain galleries.
    """
    exporter = HTMLExporter(require_js_url="", jquery_url="", mathjax_url="", mermaid_js_url="", widget_renderer_url="")
    path = tmp_path_factory.mktemp("exported") / "notebook.html"
    plain = nbformat.v4.new_notebook(cells=notebook.cells[:-1])
    path.write_text(exporter.from_notebook_node(plain)[0])
    return path


def test_every_cell_has_a_display_and_plain_text(notebook: nbformat.NotebookNode) -> None:
    for cell in notebook.cells:
        *_, output = cell.outputs  # before it a progress bar, where previews take longer than half a second
        assert output["output_type"] == "execute_result", output
        assert output["data"]["text/plain"]
        assert "text/html" in output["data"] or "application/vnd.jupyter.widget-view+json" in output["data"]


def test_an_exported_notebook_works_in_a_browser(browser: Any, exported: Path) -> None:
    with visiting(browser, exported) as page:
        first, second = page.locator(".fsm-gallery").nth(0), page.locator(".fsm-gallery").nth(1)
        assert first.locator(".fsm-card:visible").count() == 24
        first.get_by_role("button", name="Next").click()
        assert first.locator(".fsm-card:visible").count() == 8
        first.locator(".fsm-types label", has_text="Audio").click()
        assert first.locator(".fsm-card:visible").count() == 1
        assert second.locator(".fsm-card:visible").count() == 5
        second.locator(".fsm-zoom summary").first.click()
        assert second.locator(".fsm-zoom[open] img").bounding_box()["width"] > 200
        page.keyboard.press("Escape")
        assert page.locator(".fsm-versus tbody tr").count() >= 30


def test_an_exported_notebook_needs_no_script(browser: Any, exported: Path) -> None:
    with visiting(browser, exported, java_script_enabled=False) as page:
        first = page.locator(".fsm-gallery").nth(0)
        first.locator(".fsm-pages label").nth(1).click()
        assert first.locator(".fsm-card:visible").count() == 8
