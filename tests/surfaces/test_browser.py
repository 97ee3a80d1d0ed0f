"""Saved galleries, exported notebooks and widgets in a real browser: Debian's Chromium, that reaches nothing else."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from fsmedia import MediaStore
from tests.storages import MemoryStorage
from tests.surfaces import specimens
from tests.surfaces.commands import ROOT
from tests.surfaces.specimens import HOSTILE, put
from tests.surfaces.test_gallery import asked

PICTURES, SOUNDS, TEXTS = 30, 3, 2
ALL = PICTURES + SOUNDS + TEXTS


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


def shown(place: Any) -> int:
    """How many pictures of a contact sheet are to be seen."""
    return int(place.locator("figure:visible").count())


# -- a saved gallery -------------------------------------------------------------------------------------------
def test_its_viewer_has_all_media_and_opens_the_originals(browser: Any, saved: Path, store: MediaStore) -> None:
    with visiting(browser, saved) as page:
        assert page.locator("figure").count() == 0  # the contact sheet is replaced
        page.get_by_role("button", name="picture 7").click()
        picture = page.get_by_role("dialog").locator(".content img")
        picture.wait_for()
        page.wait_for_function(
            "image => image.naturalWidth === 47 && image.src.startsWith('blob:')", arg=picture.element_handle()
        )
        facts = page.get_by_role("dialog").locator(".facts")
        reference = next(each for each in store.list(run_id="r1") if "/0007_00_" in each)
        assert reference in facts.inner_text()
        assert f'store.retrieve_media("{reference}").player()' in facts.inner_text()
        page.keyboard.press("Escape")
        page.get_by_role("searchbox").fill("sound 1")
        page.get_by_role("button", name="sound 1").click()
        page.get_by_role("dialog").get_by_role("button", name="Play").click()
        page.wait_for_function("sound => sound.currentTime > 0", arg=page.locator(".content audio").element_handle())


def test_beyond_its_budget_an_original_is_said_to_be_missing(browser: Any, gallery: Any, tmp_path: Path) -> None:
    with visiting(browser, gallery.save(tmp_path / "g.html", originals=0)) as page:
        assert page.get_by_text("35 originals left out of this file").is_visible()
        page.get_by_role("button", name="picture 7").click()
        assert "beyond the budget" in page.get_by_role("dialog").inner_text()


def test_without_scripts_there_is_a_contact_sheet(browser: Any, saved: Path) -> None:
    for width in (1200, 390):
        with visiting(browser, saved, java_script_enabled=False, viewport={"width": width, "height": 800}) as page:
            assert shown(page) == 24
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            first = page.locator("figure").first
            assert first.inner_text().splitlines()[:1] == ["r1 \u00b7 0.0"]
            assert first.get_by_role("img", name="picture 0").bounding_box()["width"] == 40
            assert page.get_by_text(f"{ALL - 24} more are shown where scripts may run").is_visible()
            assert page.locator("button, input, select, summary, a").count() == 0  # what does nothing is not there


def test_strangers_names_do_not_run_and_the_policy_stops_the_rest(browser: Any, saved: Path, tmp_path: Path) -> None:
    text = saved.read_text()
    assert "Content-Security-Policy" in text
    bare = tmp_path / "bare.html"
    bare.write_text(text.replace("Content-Security-Policy", "x-nothing"))
    with visiting(browser, bare) as page:
        page.get_by_role("searchbox").fill("onerror=")
        page.locator(".card .open").first.click()
        assert page.get_by_role("dialog").get_by_text("onerror=").first.is_visible()
        assert page.locator("img[onerror], .card script").count() == 0
    # A second wall: markup that got in runs nothing and asks for nothing.
    wound = "<script>document.title='ran'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title='ran'\">"
    bare.write_text(text.replace("</main>", f"{wound}</main>"))
    page = browser.new_page()
    answered: list[str] = []
    page.on("requestfinished", lambda request: answered.append(request.url))
    page.goto(bare.as_uri())
    page.locator(".card").first.wait_for()
    assert page.title() != "ran"
    assert not [url for url in answered if url.startswith("http")]
    page.close()


def test_two_galleries_do_not_disturb_each_other(browser: Any, gallery: Any, tmp_path: Path) -> None:
    file = tmp_path / "two.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{gallery.html()}<hr>{gallery.html()}")
    with visiting(browser, file) as page:
        first, second = page.locator(".fsm-gallery").nth(0), page.locator(".fsm-gallery").nth(1)
        first.get_by_role("searchbox").fill("sound")
        assert first.locator(".card").count() == SOUNDS
        assert second.locator(".card").count() > SOUNDS
        second.get_by_role("button", name="sound 0").click()
        assert page.get_by_role("dialog").count() == 1


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
def test_a_contact_sheet_can_be_read_in_light_and_dark(browser: Any, saved: Path, scheme: str) -> None:
    with visiting(browser, saved, color_scheme=scheme, java_script_enabled=False) as page:
        found = page.evaluate(CONTRAST, ["h2", "h3", ".fsm-sheet p", "figcaption", "figcaption b"])
        assert {name for name, value in found.items() if value < 4.5} == set()  # WCAG AA


def test_comparisons_stand_side_by_side_and_galleries_of_few(browser: Any, store: MediaStore, tmp_path: Path) -> None:
    with visiting(browser, store.compare(["r1", "r2"]).save(tmp_path / "c.html")) as page:
        left, right = page.locator("section").first.locator(".fsm-cell").all()
        assert left.locator(".fsm-card").first.bounding_box()["y"] == right.locator(".fsm-card").bounding_box()["y"]
        assert page.get_by_text("nothing at this position").count() >= ALL - 3
    with visiting(browser, store.gallery(run_id="none").save(tmp_path / "none.html")) as page:
        assert page.get_by_text("No media here.").is_visible()
    with visiting(browser, store.gallery(run_id="r1", limit=1).save(tmp_path / "one.html")) as page:
        assert page.locator(".card").count() == 1
        assert page.get_by_text("first 1 of 35 media").is_visible()


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
    """Give it as HTML, without what nbconvert loads for any notebook; what it loads for widgets stays."""
    exporter = HTMLExporter(require_js_url="", jquery_url="", mathjax_url="", mermaid_js_url="")
    path = tmp_path_factory.mktemp("exported") / "notebook.html"
    path.write_text(exporter.from_notebook_node(notebook)[0])
    return path


def test_an_exported_notebook_works(notebook: nbformat.NotebookNode, browser: Any, exported: Path) -> None:
    for cell in notebook.cells:
        (output,) = cell.outputs
        assert output["output_type"] in ("execute_result", "display_data"), output  # the latter in the place of a bar
        assert output["data"]["text/plain"]
        assert "text/html" in output["data"]
    assert "widgets" not in notebook.metadata  # or the page would load what shows them
    with visiting(browser, exported) as page:
        first, second = page.locator(".fsm-gallery").nth(0), page.locator(".fsm-gallery").nth(1)
        first.get_by_role("searchbox").fill("sound")
        assert (first.locator(".card").count(), second.locator(".card").count()) == (SOUNDS, 5)
        first.get_by_role("button", name="sound 0").click()
        page.get_by_role("dialog").locator("audio").wait_for(state="attached")
        page.keyboard.press("Escape")
        second.locator(".card .open").first.click()
        assert "not in this output" in page.get_by_role("dialog").inner_text()
        page.keyboard.press("Escape")
        assert page.locator(".fsm-gallery").nth(2).locator(".card").count() == ALL + 1
        assert page.locator(".fsm-compare section").count() >= 30
    with visiting(browser, exported, java_script_enabled=False) as page:
        assert [shown(page.locator(".fsm-gallery").nth(index)) for index in (0, 1)] == [24, 5]


# -- a widget --------------------------------------------------------------------------------------------------
RENDER = """async ([code, traits]) => {
  window.asked = [];
  window.handlers = {};
  const model = {
    get: (name) => traits[name],
    send: (message) => window.asked.push(message),
    on: (names, handler) => names.split(" ").forEach((name) => { window.handlers[name] = handler; }),
    off: (names) => names.split(" ").forEach((name) => { delete window.handlers[name]; }),
  };
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const widget = await import(address);
  window.end = widget.default.render({ model, el: document.body });
}"""
ANSWER = """([message, numbers]) =>
  window.handlers["msg:custom"](message, numbers.map((each) => new DataView(Uint8Array.from(each).buffer)))"""


def test_both_sides_of_a_widget_in_a_browser(browser: Any, memory_storage: MemoryStorage) -> None:
    store = MediaStore(memory_storage.url)
    first = put(store, specimens.picture((800, 600)), "image/png")
    put(store, specimens.HTML, "text/html", message_idx=1)
    gone = put(store, specimens.picture(), "image/png", message_idx=2)
    widget = store.gallery(interactive=True, rate=True)
    store.delete_media(gone)
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))

    def answer() -> None:
        """Let the kernel answer all that was asked."""
        while (question := page.evaluate("window.asked.shift() ?? null")) is not None:
            for message, buffers in asked(widget, question):
                page.evaluate(ANSWER, [message, [list(each) for each in buffers]])

    page.evaluate(RENDER, [widget._esm, {"data": widget.data, "css": widget.css}])
    assert page.locator(".card").count() == 3
    dialog = page.get_by_role("dialog")
    page.locator(".card .open").nth(0).click()
    answer()
    page.wait_for_function("image => image.naturalWidth === 800", arg=dialog.locator(".content img").element_handle())
    page.keyboard.press("4")
    answer()
    assert store.info(first).attributes == {"rating": 4}
    page.keyboard.press("x")
    answer()
    assert widget.selected == [first]
    page.keyboard.press("ArrowRight")
    answer()
    dialog.get_by_text("document.title='ran'").wait_for()
    page.keyboard.press("ArrowRight")
    answer()
    dialog.get_by_text("no such media").wait_for()
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    page.evaluate("window.end()")
    assert page.evaluate("Object.keys(window.handlers)") == []
    assert page.title() != "ran"
    page.close()
    assert said == []
