"""A saved gallery in a real browser: it filters, pages, sorts, enlarges and copies, alone and with scripts off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaStore
from tests.surfaces import specimens
from tests.surfaces.browsers import launched, visiting
from tests.surfaces.specimens import HOSTILE, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PICTURES, SOUNDS, TEXTS = 30, 3, 2
ALL = PICTURES + SOUNDS + TEXTS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give the browser."""
    with launched() as found:
        yield found


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
    return made


@pytest.fixture(scope="module")
def saved(store: MediaStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give its gallery."""
    return store.gallery(limit=200).save(tmp_path_factory.mktemp("pages") / "gallery.html")


def shown(page: Any) -> int:
    return int(page.locator(".fsm-card:visible").count())


def test_it_filters_and_pages(browser: Any, saved: Path) -> None:
    with visiting(browser, saved) as page:
        assert page.locator(".fsm-total").inner_text().startswith(f"{ALL} media, ")
        assert shown(page) == 24
        assert page.locator(".fsm-pager span").inner_text() == f"1\u201324 of {ALL}"
        assert page.get_by_role("button", name="Previous").is_disabled()
        page.get_by_role("button", name="Next").click()
        assert shown(page) == ALL - 24
        assert page.get_by_role("button", name="Next").is_disabled()
        page.get_by_text("Images", exact=False).first.click()
        assert shown(page) == 24
        assert page.locator(".fsm-pager span").inner_text() == f"1\u201324 of {PICTURES}"
        page.get_by_text("Audio").first.click()
        assert shown(page) == SOUNDS
        assert not page.locator(".fsm-pager").is_visible()
        assert not page.get_by_text("Message 0").first.is_visible()  # a group of which nothing is shown
        page.get_by_text("All", exact=False).first.click()
        assert shown(page) == 24


def test_it_sorts_and_takes_the_groups_back(browser: Any, saved: Path) -> None:
    with visiting(browser, saved) as page:
        before = page.locator(".fsm-card:visible .fsm-caption").all_inner_texts()
        page.locator(".fsm-sort select").select_option("largest")
        sizes = page.locator(".fsm-card:visible").evaluate_all("cards => cards.map(c => Number(c.dataset.size))")
        assert sizes == sorted(sizes, reverse=True)
        assert not page.locator(".fsm-group:visible").count()
        page.locator(".fsm-sort select").select_option("")
        assert page.locator(".fsm-card:visible .fsm-caption").all_inner_texts() == before
        assert page.locator(".fsm-group:visible").count()


def test_a_picture_is_enlarged_by_mouse_and_keyboard(browser: Any, saved: Path) -> None:
    with visiting(browser, saved) as page:
        picture = page.locator(".fsm-zoom").first
        small = picture.locator("img").bounding_box()
        picture.locator("summary").click()
        large = picture.locator("img").bounding_box()
        assert large["width"] > 2 * small["width"]
        assert large["x"] + large["width"] <= 1200
        page.keyboard.press("ArrowRight")
        assert page.locator(".fsm-zoom[open]").count() == 1
        assert page.locator(".fsm-zoom[open] img").get_attribute("alt") == "picture 1"
        page.keyboard.press("Escape")
        assert page.locator(".fsm-zoom[open]").count() == 0
        page.keyboard.press("Enter")  # the focus stayed on it
        assert page.locator(".fsm-zoom[open]").count() == 1
        page.locator(".fsm-zoom[open] summary").click(position={"x": 3, "y": 3})
        assert page.locator(".fsm-zoom[open]").count() == 0


def test_a_reference_is_copied(browser: Any, saved: Path, store: MediaStore) -> None:
    with visiting(browser, saved, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="Copy the reference").first.click()
        page.get_by_text("Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == next(store.list())
    with visiting(browser, saved) as page:  # where the page may not write it: the old way
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")
        page.get_by_role("button", name="Copy the reference").first.click()
        page.get_by_text("Copied").wait_for()


def test_a_sound_plays(browser: Any, saved: Path) -> None:
    with visiting(browser, saved) as page:
        page.get_by_text("Audio").first.click()
        sound = page.locator("audio").first
        assert sound.evaluate("async sound => { await sound.play(); return sound.duration }") == pytest.approx(
            1, abs=0.1
        )


def test_without_scripts_it_filters_pages_and_enlarges_too(browser: Any, saved: Path) -> None:
    with visiting(browser, saved, java_script_enabled=False) as page:
        assert shown(page) == 24
        page.locator(".fsm-pages label").nth(1).click()
        assert shown(page) == ALL - 24
        page.locator(".fsm-types label", has_text="Audio").click()
        assert shown(page) == SOUNDS
        assert page.locator(".fsm-group:visible").count() == 1 + SOUNDS
        page.locator(".fsm-types label", has_text="Images").click()
        assert shown(page) == PICTURES  # a filter shows all pages
        page.locator(".fsm-types label", has_text="All").click()
        page.locator(".fsm-pages label").nth(0).click()
        page.locator(".fsm-zoom summary").first.click()
        assert page.locator(".fsm-zoom img").first.bounding_box()["width"] > 300
        assert not page.locator(".fsm-copy:visible, .fsm-sort:visible").count()  # what does nothing is not there


def test_strangers_names_do_not_run_even_where_the_policy_of_the_page_is_gone(
    browser: Any, saved: Path, tmp_path: Path
) -> None:
    text = saved.read_text()
    assert "Content-Security-Policy" in text
    bare = tmp_path / "bare.html"
    bare.write_text(text.replace("Content-Security-Policy", "x-nothing"))
    with visiting(browser, bare) as page:
        page.get_by_role("button", name="Next").click()
        assert page.get_by_text("onerror=").first.is_visible()
        assert page.locator("img[onerror], .fsm-card script").count() == 0
        assert page.evaluate("document.title") != "ran"


def test_the_policy_of_the_page_stops_what_would_get_through(browser: Any, saved: Path, tmp_path: Path) -> None:
    """A second wall: markup that got in runs nothing and asks for nothing."""
    torn = tmp_path / "torn.html"
    wound = "<script>document.title='ran'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title='ran'\">"
    torn.write_text(saved.read_text().replace("</main>", f"{wound}</main>"))
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("requestfinished", lambda request: asked.append(request.url))
    page.goto(torn.as_uri())
    page.get_by_role("button", name="Next").click()
    assert page.title() != "ran"
    assert not [url for url in asked if url.startswith("http")]
    context.close()


def test_two_galleries_on_one_page_do_not_disturb_each_other(browser: Any, store: MediaStore, tmp_path: Path) -> None:
    gallery = store.gallery(limit=200)
    for scripts in (True, False):
        file = tmp_path / f"two-{scripts}.html"
        file.write_text(f"<!doctype html><meta charset=utf-8><body>{gallery.html()}<hr>{gallery.html()}")
        with visiting(browser, file, java_script_enabled=scripts) as page:
            first, second = page.locator(".fsm-gallery").nth(0), page.locator(".fsm-gallery").nth(1)
            first.locator(".fsm-types label", has_text="Audio").click()
            assert first.locator(".fsm-card:visible").count() == SOUNDS
            assert second.locator(".fsm-card:visible").count() == 24
            assert second.locator(".fsm-types :checked").get_attribute("value") == "all"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 420])
def test_it_can_be_read_in_light_and_dark_wide_and_narrow(browser: Any, saved: Path, scheme: str, width: int) -> None:
    with visiting(browser, saved, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [card.bounding_box() for card in page.locator(".fsm-card:visible").all()[:6]]
        assert len({round(box["width"]) for box in boxes}) == 1
        contrast = page.evaluate(
            CONTRAST, [".fsm-name", ".fsm-meta", ".fsm-badge", ".fsm-total", ".fsm-caption", "code"]
        )
        assert {name for name, value in contrast.items() if value < 4.5} == set()  # WCAG AA


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


def test_a_comparison_stands_side_by_side(browser: Any, store: MediaStore, tmp_path: Path) -> None:
    put(store, specimens.picture((9, 9)), "image/png", run_id="r2")
    with visiting(browser, store.compare(["r1", "r2"]).save(tmp_path / "c.html")) as page:
        left, right = page.locator("tbody tr").first.locator("td").all()
        assert left.locator(".fsm-card").first.bounding_box()["y"] == right.locator(".fsm-card").bounding_box()["y"]
        assert page.locator(".fsm-missing").count() >= ALL - 3
        page.locator(".fsm-zoom summary").first.click()
        assert page.locator(".fsm-zoom[open]").count() == 1


def test_an_empty_gallery_and_one_of_one(browser: Any, store: MediaStore, tmp_path: Path) -> None:
    with visiting(browser, store.gallery(run_id="none").save(tmp_path / "none.html")) as page:
        assert page.get_by_text("No media here.").is_visible()
        assert not page.locator(".fsm-tools").count()
    with visiting(browser, store.gallery(run_id="r1", limit=1).save(tmp_path / "one.html")) as page:
        assert shown(page) == 1
        assert not page.locator(".fsm-pager").is_visible()
