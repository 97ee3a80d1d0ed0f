"""The page of `fsmedia browse` in a real browser: the grid and its facets, what opens, runs side by side."""

import re

import pytest

from tests.surfaces.viewer_pages import DISPLAY

MODULES = {"app.js": 900, "views.js": 600}
"""The page's modules beside the viewer's, and how long they may be."""


@pytest.mark.parametrize("name", MODULES)
def test_the_page_is_modules_of_its_own_that_ask_nobody_else_and_write_no_markup(name: str) -> None:
    text = (DISPLAY / name).read_text()
    assert len(text.splitlines()) <= MODULES[name]
    assert set(re.findall(r'from "([^"]+)"', text)) <= {"./viewer.js", "./views.js"}
    unsafe = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\bimport\(|https?://|\bon\w+="
    )
    assert not re.search(unsafe, text)
    assert not re.search(r"@import|url\(", (DISPLAY / "style.css").read_text())
