"""What the pages on notebooks and on serving claim: limits, addresses, words and keys are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fsmedia
from fsmedia import MediaStore
from fsmedia.catalog import search
from fsmedia.display import card, comparison, decoders, gallery, items, media_app, originals, previewer, reports
from fsmedia.display.web import app
from fsmedia.display.web import originals as tables
from tests.surfaces.viewer_pages import MODULE

MIB = 2**20
DOCS = Path(fsmedia.__file__).parent / "docs"


def words_of(page: str) -> str:
    """The text of a page on one line."""
    return " ".join((DOCS / page).read_text().split())


@pytest.mark.parametrize(
    ("page", "claim"),
    [
        ("notebooks.md", f"at most {gallery.SIMILAR} bits differ"),
        ("notebooks.md", f"A page has at most {card.BUDGET // MIB} MiB"),
        ("notebooks.md", f"{gallery.ORIGINALS // MIB} MiB of them unless"),
        ("notebooks.md", f"the first {gallery.SHEET} media stay"),
        ("notebooks.md", f"up to {previewer.MOST_BYTES // MIB} MiB"),
        ("notebooks.md", f"up to {originals.MOST_PIXELS // 10**6} megapixels"),
        ("notebooks.md", f"at most {originals._SIDE:,} pixels"),
        ("notebooks.md", f"takes at most {decoders.BOUND // MIB} MiB"),
        ("notebooks.md", f"longer than {decoders.SECONDS:.0f} seconds"),
        ("notebooks.md", f"at most {reports.ROWS} pictures, of {card.MOST_READ // MIB} MiB together"),
        ("serving.md", f"the first {items.MOST_SHOWN:,} of the selection"),
        ("serving.md", f"the first {tables._MOST_READ // MIB} MiB of a text or the first {tables._COLUMNS} columns"),
        ("serving.md", f"up to {comparison.MOST_RUNS}, a column each"),
        ("serving.md", f"`limit` (at most {app._MOST_ROWS})"),
    ],
)
def test_each_limit_is_the_one_that_is_told(page: str, claim: str) -> None:
    assert claim in words_of(page)


def test_each_address_is_there_and_each_word_of_a_list_is_told(tmp_path: Path) -> None:
    served = {route.path for route in media_app(MediaStore(tmp_path), scope=lambda _: {})._app.routes}
    table = re.findall(r"^\| (`/.*?) \|", (DOCS / "serving.md").read_text(), re.MULTILINE)
    told = [re.sub(r"\?.*", "", each) for line in table for each in re.findall(r"`(/[^`]*)`", line)]
    assert len(told) > 9
    for address in told:
        pattern = address.replace("<reference>", "{reference:reference}").replace("<token>", "{token}")
        assert pattern in served or address == "/api", address
    page = words_of("serving.md")
    line = page[page.index("Words of a list are") : page.index("`refresh=1` waits")]
    assert set(re.findall(r"`(\w+)[`=]", line)) >= {*search._WORDS, *search._ORDERS, "sort", "offset", "limit"}


@pytest.mark.parametrize(("page", "keys"), [("serving.md", {"x", "/", "Esc"}), ("notebooks.md", {"x", "Esc"})])
def test_each_key_that_is_told_is_in_the_list_of_the_lightbox(page: str, keys: set[str]) -> None:
    """What each does the tests of the viewer show."""
    listed = MODULE[MODULE.index("const keys = [") : MODULE.index('table("", keys)')]
    assert set(re.findall(r"`(\w|/|Esc)`", words_of(page))) == keys
    assert [key for key in keys if f'["{key}", ' not in listed] == []
