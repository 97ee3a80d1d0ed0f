"""Each view by axe-core, in light and dark: nothing in it is against WCAG 2.2 A and AA."""

import re
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaStore
from tests.surfaces import specimens
from tests.surfaces.hosts import violations
from tests.surfaces.specimens import HOSTILE, put
from tests.surfaces.test_browser import visiting

MARKDOWN = b"# Plan\n\n- one\n- `two`\n\n| a | b |\n|---|---|\n| 1 | 2 |"
KINDS = ("picture", "film", "sound", "text", "strange", "drawing", "page", "paper", "archive")
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MediaStore:
    """Give a store with a media item of each kind of view in the lightbox, in two runs."""
    made = MediaStore(tmp_path_factory.mktemp("accessible") / "media", durability="rename")
    shown = (
        (specimens.picture((800, 600)), "image/png"), (specimens.film(container="webm"), "video/webm"),
        (specimens.sound(3), "audio/wav"), (MARKDOWN, "text/markdown"),
        (b"a text", "text/plain"), (specimens.SVG, "image/svg+xml"), (specimens.HTML, "text/html"),
        (specimens.paper(), "application/pdf"), (b"PK\x03\x04" + bytes(50), "application/zip"),
    )  # fmt: skip
    for index, ((data, mime_type), kind) in enumerate(zip(shown, KINDS, strict=True)):
        caption = HOSTILE if kind == "strange" else f"a {kind}"
        attributes = {"model": f"m{index % 2}", "score": index / 10, "rating": 1 + index % 5, "kind": ["a", kind]}
        put(made, data, mime_type, message_idx=index, caption=caption, attributes=attributes)
    made.hold(next(made.list(mime_type="image/png")), reason="kept for the report")
    put(
        made, specimens.picture((600, 800)), "image/png", run_id="r2", caption="another run", policy_name="retain-3days"
    )
    return made


@pytest.fixture(scope="module")
def pages(store: MediaStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give saved pages by what they show."""
    folder = tmp_path_factory.mktemp("pages")
    made = {"gallery": store.gallery(group_by="run").save(folder / "gallery.html")}
    made["comparison"] = store.compare(["r1", "r2"]).save(folder / "comparison.html")
    # As a reader sees it whose browser runs no scripts: axe is one.
    sheet = re.sub(r"<script.*?</script>", "", made["gallery"].read_text(encoding="utf-8"), flags=re.DOTALL)
    shown = [
        store,
        store.info(next(store.list())),
        store.retrieve_media(next(store.list())),
        store.enforce_policy(dry_run=True),
    ]
    outputs = "".join(f"<section>{each._repr_html_()}</section>" for each in shown)
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><meta name="color-scheme"'
    for name, text in (("sheet", sheet), ("outputs", f"{head} content='light dark'><main>{outputs}</main>")):
        made[name] = folder / f"{name}.html"
        made[name].write_text(text, encoding="utf-8")
    return made


@SCHEMES
@pytest.mark.parametrize("name", ["comparison", "sheet", "outputs"])
def test_what_stands_in_a_page_without_scripts(name: str, scheme: str, pages: dict[str, Path], browser: Any) -> None:
    with visiting(browser, pages[name], color_scheme=scheme) as page:
        assert page.locator("img").count() >= 2
        assert violations(page) == []


@SCHEMES
@pytest.mark.parametrize("width", [1400, pytest.param(390, marks=pytest.mark.full)])
def test_the_viewer(scheme: str, width: int, pages: dict[str, Path], browser: Any) -> None:
    with visiting(browser, pages["gallery"], color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
        page.locator(".card").first.wait_for()
        page.get_by_role("button", name="Filters").click()
        page.locator(".card .check").first.click()
        assert violations(page) == []
        page.get_by_role("searchbox").fill("nothing has this")
        assert violations(page) == []
        page.get_by_role("button", name="Clear").first.click()
        page.get_by_role("button", name="Filters").click()
        page.locator(".card .open").first.click()
        for kind in KINDS:
            page.locator("dialog").get_by_text(HOSTILE[:9] if kind == "strange" else f"a {kind}").first.wait_for()
            page.locator("dialog:not(.loading)").wait_for()
            assert violations(page) == [], kind
            page.keyboard.press("ArrowRight")


def test_it_finds_what_is_wrong(pages: dict[str, Path], browser: Any) -> None:
    """A checker that says nothing about the shadow root would pass all of the above."""
    with visiting(browser, pages["gallery"]) as page:
        page.locator(".line").first.evaluate("(line) => { line.style.color = '#888'; line.style.background = '#999'; }")
        (found, *_) = violations(page)
        assert found.startswith("color-contrast")
