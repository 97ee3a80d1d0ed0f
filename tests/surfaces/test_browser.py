"""Saved galleries, exported notebooks and widgets in a real browser: Debian's Chromium, that reaches nothing else.

Without one these tests skip and say so, unless `FSMEDIA_REQUIRE_BROWSER` is set, as `.ci/run` does: then they fail.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import sync_playwright

from fsmedia import MediaStore
from tests.storages import MemoryStorage
from tests.surfaces import specimens
from tests.surfaces.commands import ROOT
from tests.surfaces.specimens import HOSTILE, put
from tests.surfaces.test_displays import asked

REQUIRED = "FSMEDIA_REQUIRE_BROWSER"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PICTURES, SOUNDS, TEXTS = 30, 3, 2
ALL = PICTURES + SOUNDS + TEXTS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a browser; skip, or fail where one is required, without."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        said = f"no browser on this machine ({', '.join(NAMES)}): install Debian's chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(said)
        pytest.skip(said)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """Open a file, give the page; nothing may be said, nothing else asked for, and no stranger's code run."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
    context.set_default_timeout(15_000)
    page = context.new_page()
    said, wanted = [], []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: wanted.append(request.url))
    page.goto(path.as_uri())
    yield page
    title = page.title()
    context.close()
    assert said == []
    assert [url for url in wanted if url != path.as_uri() and not url.startswith(("data:", "blob:"))] == []
    assert title != "ran"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MediaStore:
    """Give a store with more media than fit a page, some of them by strangers of the worst kind."""
    made = MediaStore(tmp_path_factory.mktemp("browser") / "media", durability="rename")
    for index in range(PICTURES):
        put(made, specimens.picture((40 + index, 30)), "image/png", message_idx=index, caption=f"picture {index}")
    for index in range(SOUNDS):
        put(made, specimens.sound(), "audio/wav", message_idx=40 + index, caption=f"sound {index}")
    put(made, specimens.SVG, "image/svg+xml", conversation_id=HOSTILE, caption=HOSTILE, provider_id=HOSTILE)
    put(made, specimens.HTML, "text/html", conversation_id=HOSTILE, message_idx=99, caption=f"</script>{HOSTILE}")
    put(made, specimens.picture((9, 9)), "image/png", run_id="r2")
    return made


@pytest.fixture(scope="module")
def gallery(store: MediaStore) -> Any:
    return store.gallery(run_id="r1", limit=200)


@pytest.fixture(scope="module")
def saved(gallery: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(gallery.save(tmp_path_factory.mktemp("pages") / "gallery.html"))


def shown(page: Any) -> int:
    return int(page.locator(".fsm-card:visible").count())


# -- a saved gallery -------------------------------------------------------------------------------------------
def test_it_filters_pages_and_plays(browser: Any, saved: Path) -> None:
    with visiting(browser, saved) as page:
        assert page.locator(".fsm-total").inner_text().startswith(f"{ALL} media, ")
        assert (shown(page), page.locator(".fsm-pager span").inner_text()) == (24, f"1\u201324 of {ALL}")
        assert page.get_by_role("button", name="Previous").is_disabled()
        page.get_by_role("button", name="Next").click()
        assert shown(page) == ALL - 24
        assert page.get_by_role("button", name="Next").is_disabled()
        page.get_by_text("Images", exact=False).first.click()
        assert (shown(page), page.locator(".fsm-pager span").inner_text()) == (24, f"1\u201324 of {PICTURES}")
        page.get_by_text("Audio").first.click()
        assert shown(page) == SOUNDS
        assert not page.locator(".fsm-pager").is_visible()
        assert not page.get_by_text("Message 0").first.is_visible()  # a group of which nothing is shown
        plays = "async sound => { await sound.play(); return sound.duration }"
        assert page.locator("audio").first.evaluate(plays) == pytest.approx(1, abs=0.1)
        page.get_by_text("All", exact=False).first.click()
        assert shown(page) == 24


def test_it_sorts_takes_the_groups_back_and_enlarges_a_picture_by_mouse_and_keyboard(browser: Any, saved: Path) -> None:
    with visiting(browser, saved) as page:
        before = page.locator(".fsm-card:visible .fsm-caption").all_inner_texts()
        page.locator(".fsm-sort select").select_option("largest")
        sizes = page.locator(".fsm-card:visible").evaluate_all("cards => cards.map(c => Number(c.dataset.size))")
        assert sizes == sorted(sizes, reverse=True)
        assert not page.locator(".fsm-group:visible").count()
        page.locator(".fsm-sort select").select_option("")
        assert page.locator(".fsm-card:visible .fsm-caption").all_inner_texts() == before
        assert page.locator(".fsm-group:visible").count()
        picture, enlarged = page.locator(".fsm-zoom").first, page.locator(".fsm-zoom[open]")
        small = picture.locator("img").bounding_box()
        picture.locator("summary").click()
        large = picture.locator("img").bounding_box()
        assert large["width"] > 2 * small["width"]
        assert large["x"] + large["width"] <= 1200
        page.keyboard.press("ArrowRight")
        assert (enlarged.count(), enlarged.locator("img").get_attribute("alt")) == (1, "picture 1")
        page.keyboard.press("Escape")
        assert enlarged.count() == 0
        page.keyboard.press("Enter")  # the focus stayed on it
        assert enlarged.count() == 1
        enlarged.locator("summary").click(position={"x": 3, "y": 3})
        assert enlarged.count() == 0


def test_a_reference_is_copied(browser: Any, saved: Path, store: MediaStore) -> None:
    with visiting(browser, saved, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="Copy the reference").first.click()
        page.get_by_text("Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == next(store.list())
    with visiting(browser, saved) as page:  # where the page may not write it: the old way
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")
        page.get_by_role("button", name="Copy the reference").first.click()
        page.get_by_text("Copied").wait_for()


def test_without_scripts_it_filters_pages_and_enlarges_too(browser: Any, saved: Path) -> None:
    with visiting(browser, saved, java_script_enabled=False) as page:
        assert shown(page) == 24
        page.locator(".fsm-pages label").nth(1).click()
        assert shown(page) == ALL - 24
        page.locator(".fsm-types label", has_text="Audio").click()
        assert (shown(page), page.locator(".fsm-group:visible").count()) == (SOUNDS, 1 + SOUNDS)
        page.locator(".fsm-types label", has_text="Images").click()
        assert shown(page) == PICTURES  # a filter shows all pages
        page.locator(".fsm-types label", has_text="All").click()
        page.locator(".fsm-pages label").nth(0).click()
        page.locator(".fsm-zoom summary").first.click()
        assert page.locator(".fsm-zoom img").first.bounding_box()["width"] > 300
        assert not page.locator(".fsm-copy:visible, .fsm-sort:visible").count()  # what does nothing is not there


def test_strangers_names_do_not_run_and_the_policy_stops_the_rest(browser: Any, saved: Path, tmp_path: Path) -> None:
    text = saved.read_text()
    assert "Content-Security-Policy" in text
    bare = tmp_path / "bare.html"
    bare.write_text(text.replace("Content-Security-Policy", "x-nothing"))
    with visiting(browser, bare) as page:
        page.get_by_role("button", name="Next").click()
        assert page.get_by_text("onerror=").first.is_visible()
        assert page.locator("img[onerror], .fsm-card script").count() == 0
    # A second wall: markup that got in runs nothing and asks for nothing.
    wound = "<script>document.title='ran'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title='ran'\">"
    bare.write_text(text.replace("</main>", f"{wound}</main>"))
    page = browser.new_page()
    answered: list[str] = []
    page.on("requestfinished", lambda request: answered.append(request.url))
    page.goto(bare.as_uri())
    page.get_by_role("button", name="Next").click()
    assert page.title() != "ran"
    assert not [url for url in answered if url.startswith("http")]
    page.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_two_galleries_do_not_disturb_each_other(scripts: bool, browser: Any, gallery: Any, tmp_path: Path) -> None:
    file = tmp_path / "two.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{gallery.html()}<hr>{gallery.html()}")
    with visiting(browser, file, java_script_enabled=scripts) as page:
        first, second = page.locator(".fsm-gallery").nth(0), page.locator(".fsm-gallery").nth(1)
        first.locator(".fsm-types label", has_text="Audio").click()
        assert (shown(first), shown(second)) == (SOUNDS, 24)
        assert second.locator(".fsm-types :checked").get_attribute("value") == "all"


CONTRAST = """selectors => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return Object.fromEntries(selectors.map((selector) => {
    const element = document.querySelector(selector);
    let behind = element;
    while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    const [a, b] = [light(getComputedStyle(element).color), light(getComputedStyle(behind).backgroundColor)];
    return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 420])
def test_it_can_be_read_in_light_and_dark_wide_and_narrow(browser: Any, saved: Path, scheme: str, width: int) -> None:
    with visiting(browser, saved, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [card.bounding_box() for card in page.locator(".fsm-card:visible").all()[:6]]
        assert len({round(box["width"]) for box in boxes}) == 1
        texts = [".fsm-name", ".fsm-meta", ".fsm-badge", ".fsm-total", ".fsm-caption", "code"]
        assert {name for name, value in page.evaluate(CONTRAST, texts).items() if value < 4.5} == set()  # WCAG AA


def test_comparisons_stand_side_by_side_and_galleries_of_few(browser: Any, store: MediaStore, tmp_path: Path) -> None:
    with visiting(browser, store.compare(["r1", "r2"]).save(tmp_path / "c.html")) as page:
        left, right = page.locator("section").first.locator(".fsm-cell").all()
        assert left.locator(".fsm-card").first.bounding_box()["y"] == right.locator(".fsm-card").bounding_box()["y"]
        assert page.get_by_text("nothing at this position").count() >= ALL - 3
    with visiting(browser, store.gallery(run_id="none").save(tmp_path / "none.html")) as page:
        assert page.get_by_text("No media here.").is_visible()
        assert not page.locator(".fsm-tools").count()
    with visiting(browser, store.gallery(run_id="r1", limit=1).save(tmp_path / "one.html")) as page:
        assert shown(page) == 1
        assert not page.locator(".fsm-pager").is_visible()


# -- an exported notebook --------------------------------------------------------------------------------------
CELLS = (
    "from fsmedia import MediaStore\nstore = MediaStore('media')\nstore",
    "store.gallery(limit=100)",
    "store.gallery(mime_type='image/*', group_by=None, limit=5)",
    "store.compare(['r1', 'r2'])",
    "store.retrieve_media(next(store.list(mime_type='audio/*')))",
    "store.enforce_policy(dry_run=True)",
    "store.gallery(interactive=True)",
)


@pytest.fixture(scope="module")
def notebook(store: MediaStore) -> nbformat.NotebookNode:
    """Give a notebook that was run from top to bottom."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    NotebookClient(made, timeout=120, resources={"metadata": {"path": str(Path(store.url).parent)}}).execute()
    return made


@pytest.fixture(scope="module")
def exported(notebook: nbformat.NotebookNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give it as HTML, without the scripts that nbconvert itself loads from elsewhere.

    And without the widget, the last cell: what shows widgets is loaded from there too.
    """
    exporter = HTMLExporter(require_js_url="", jquery_url="", mathjax_url="", mermaid_js_url="", widget_renderer_url="")
    path = tmp_path_factory.mktemp("exported") / "notebook.html"
    path.write_text(exporter.from_notebook_node(nbformat.v4.new_notebook(cells=notebook.cells[:-1]))[0])
    return path


def test_an_exported_notebook_works(notebook: nbformat.NotebookNode, browser: Any, exported: Path) -> None:
    for cell in notebook.cells:
        (output,) = cell.outputs
        assert output["output_type"] in ("execute_result", "display_data"), output  # the latter in the place of a bar
        assert output["data"]["text/plain"]
        assert "text/html" in output["data"] or "application/vnd.jupyter.widget-view+json" in output["data"]
    with visiting(browser, exported) as page:
        first, second = page.locator(".fsm-gallery").nth(0), page.locator(".fsm-gallery").nth(1)
        assert shown(first) == 24
        first.get_by_role("button", name="Next").click()
        assert shown(first) == ALL + 1 - 24
        first.locator(".fsm-types label", has_text="Audio").click()
        assert (shown(first), shown(second)) == (SOUNDS, 5)
        second.locator(".fsm-zoom summary").first.click()
        assert second.locator(".fsm-zoom[open] img").bounding_box()["width"] > 200
        page.keyboard.press("Escape")
        assert page.locator(".fsm-compare section").count() >= 30
    with visiting(browser, exported, java_script_enabled=False) as page:
        first = page.locator(".fsm-gallery").nth(0)
        first.locator(".fsm-pages label").nth(1).click()
        assert first.locator(".fsm-card:visible").count() == ALL + 1 - 24


# -- a widget --------------------------------------------------------------------------------------------------
RENDER = """async ([code, html]) => {
  window.asked = [];
  window.handlers = {};
  const model = {
    get: () => html,
    send: (message) => window.asked.push(message),
    on: (name, handler) => { window.handlers[name] = handler; },
    off: (name) => { delete window.handlers[name]; },
  };
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const widget = await import(address);
  window.end = widget.default.render({ model, el: document.body });
}"""
ANSWER = """([message, numbers]) =>
  window.handlers["msg:custom"](message, numbers.map((each) => new DataView(Uint8Array.from(each).buffer)))"""


def test_both_sides_in_a_browser(browser: Any, memory_storage: MemoryStorage) -> None:
    store = MediaStore(memory_storage.url)
    put(store, specimens.picture((800, 600)), "image/png")
    put(store, specimens.HTML, "text/html", message_idx=1)
    widget = store.gallery(interactive=True)
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.evaluate(RENDER, [widget._esm, widget.html])
    assert page.locator(".fsm-card:visible").count() == 2
    for index, selector in ((0, ".fsm-stage img"), (1, ".fsm-stage pre")):
        page.get_by_role("button", name="Open").nth(index).click()
        ((message, buffers),) = asked(widget, page.evaluate("window.asked.pop()"))
        page.evaluate(ANSWER, [message, [list(each) for each in buffers]])
        page.locator(selector).wait_for()
        if index == 0:
            page.wait_for_function("document.querySelector('.fsm-stage img').naturalWidth === 800")
        page.keyboard.press("Escape")
        assert page.locator(".fsm-stage").count() == 0
    page.evaluate(ANSWER, [{"n": 0, "error": "<b>gone</b>"}, []])
    assert page.get_by_text("<b>gone</b>").is_visible()
    page.get_by_role("button", name="Close").click()
    page.evaluate("window.end()")
    assert page.evaluate("Object.keys(window.handlers)") == []
    assert page.title() != "ran"
    page.close()
    assert said == []
