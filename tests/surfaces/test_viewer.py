"""The viewer in a real browser, on data made by hand: what is seen, what the mouse, a finger and the keyboard do."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from PIL import Image

from tests.surfaces import specimens
from tests.surfaces.hosts import Shadow
from tests.surfaces.specimens import HOSTILE
from tests.surfaces.test_browser import visiting
from tests.surfaces.viewer_pages import MODULE, NOW, SHEET, data_url, item, page, section, thumb

PICTURES = 60
GLASS, SOUND, FILM, NOTES, LOG, BROKEN, PAPER = range(PICTURES, PICTURES + 7)
ALL = PICTURES + 7
WAVE = [40 + 3 * (number % 70) for number in range(400)]
MARKDOWN = "# Notes\n\n- one"
SHADOW = Shadow(".fsm-viewer")
evaluated, until = SHADOW.evaluated, SHADOW.until


def glass() -> bytes:
    image = Image.new("RGBA", (320, 320), (0, 0, 0, 0))
    image.paste((220, 60, 50, 255), (80, 80, 240, 240))
    return specimens.encoded(image)


def mixed() -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    """Pictures, one of them transparent, a sound, a film, texts, and two that can't be shown; and their originals."""
    other = {"thumb": None, "w": None, "h": None}
    items = [item(number) for number in range(PICTURES)] + [
        item(GLASS, type="image/png", w=320, h=320, alpha=True, held=True, thumb=data_url(glass(), "image/png")),
        item(SOUND, **other, kind="audio", type="audio/wav", seconds=1.0, peaks=WAVE, title="rain.wav"),
        item(FILM, kind="video", type="video/webm", seconds=2.0, title="turn.webm", expires=NOW + 2 * 86_400),
        item(NOTES, **other, kind="text", type="text/markdown", text=MARKDOWN, title="notes.md", caption=""),
        item(LOG, **other, kind="text", type="text/plain", text="first line", title="log.txt"),
        item(BROKEN, **other, type="image/png", wrong=["damaged: the file ends early"], title="broken.png"),
        item(PAPER, **other, kind="file", type="application/pdf", pages=12, why="encrypted", title="minutes.pdf"),
    ]
    originals: dict[int, dict[str, Any]] = {
        number: {
            "kind": "image", "type": "image/jpeg", "name": f"picture-{number:04}.jpg",
            "data": specimens.picture((1200, 800), "JPEG"),
        }
        for number in (0, 1, 7)
    }  # fmt: skip
    originals[GLASS] = {"kind": "image", "type": "image/png", "data": glass(), "why": "page 1 of 2"}
    originals[SOUND] = {"kind": "audio", "type": "audio/wav", "name": "rain.wav", "data": specimens.sound()}
    originals[FILM] = {"kind": "video", "type": "video/webm", "data": specimens.film(container="webm")}
    originals[NOTES] = {
        "kind": "html", "type": "text/markdown", "name": "notes.md", "text": MARKDOWN,
        "html": "<h1>Notes</h1><ul><li>one</li></ul><p><span title='https://x.org'>there</span></p>",
    }  # fmt: skip
    originals[LOG] = {"kind": "text", "type": "text/plain", "name": "log.txt", "text": "line\n" * 500}
    originals[BROKEN] = {"kind": "none", "why": "damaged: the file ends early"}
    return items, originals


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    items, originals = mixed()
    return page(tmp_path_factory.mktemp("viewer") / "page.html", [section(items, originals)])


@pytest.fixture
def shown(browser: Any, saved: Path) -> Iterator[Any]:
    with visiting(browser, saved, viewport={"width": 1400, "height": 900}) as opened:
        yield opened


def count(shown: Any) -> str:
    return str(shown.locator(".count").inner_text())


def at(shown: Any, index: int) -> None:
    """Open the lightbox at a media of a whole result, by the keyboard."""
    shown.keyboard.press("Escape")
    shown.locator(".card.current .open").focus()
    shown.keyboard.press("Enter")
    shown.keyboard.press("Home")
    for _ in range(index):
        shown.keyboard.press("ArrowRight")


def at_rest(shown: Any, place: float) -> None:
    """Wait until the sound is there; while it still seeks the end, an "ended" to come would pause it at its start."""
    until(
        shown, f"(audio => !audio.seeking && Math.abs(audio.currentTime - {place}) < 0.03)(root.querySelector('audio'))"
    )


def loaded(shown: Any, wide: int) -> None:
    """Wait until the lightbox shows a picture that is so wide."""
    until(shown, f"root.querySelector('.picture img')?.naturalWidth === {wide}")


def test_it_is_one_module_that_imports_nothing_and_one_sheet() -> None:
    assert len(MODULE.splitlines()) <= 2500
    assert len(SHEET.splitlines()) <= 500
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|https?://(?!www\.w3\.org/2000/svg)", MODULE, re.MULTILINE
    )
    assert not re.search(r"@import|url\(", SHEET)


# -- the wall --------------------------------------------------------------------------------------------------
def test_thirty_pictures_are_seen_at_once_and_only_what_is_near_is_in_the_document(shown: Any) -> None:
    whole = (
        "[...root.querySelectorAll('.open img')].filter(image => image.complete && image.naturalWidth"
        " && image.getBoundingClientRect().top >= 0 && image.getBoundingClientRect().bottom <= innerHeight).length"
    )
    until(shown, f"{whole} >= 30")
    assert not shown.get_by_text("a contact sheet").count()
    line = shown.locator(".line").first.inner_text()
    assert line.startswith("hills number 0 \u00b7 flux \u00b7 r1 \u00b7 ")  # what differs, and nothing that all have
    assert shown.locator(".card").count() <= ALL
    edges = evaluated(shown, "[...root.querySelectorAll('.card')].map(card => card.getBoundingClientRect().right)")
    assert max(edges) == pytest.approx(1400 - 20, abs=2)
    assert evaluated(shown, "root.activeElement === null")  # nothing takes the focus by itself
    shown.get_by_label("Group").select_option("run")
    shown.get_by_label("Group").select_option("conversation")  # groups of three
    until(shown, f"{whole} >= 30")


def test_retention_is_marked_where_it_is_near_or_held_and_lengths_are_told(shown: Any) -> None:
    shown.locator(".card.current .open").focus()
    shown.keyboard.press("End")
    assert shown.locator(".mark").all_inner_texts() == ["held", "2 days left", "!"]
    assert shown.locator(".over .length").all_inner_texts() == ["1.0 s", "2.0 s", "12 p."]
    assert shown.get_by_role("button", name="damaged: the file ends early").count() == 1
    assert shown.get_by_role("button", name="turn.webm, film").get_attribute("title") == "expires: 2 days left"
    assert evaluated(shown, "root.querySelectorAll('.card .wave path.all').length") == 1


def test_it_searches_filters_sorts_and_groups_and_counts_follow(shown: Any) -> None:
    assert count(shown).startswith(f"{ALL} media, ")
    search = shown.get_by_role("searchbox")
    search.fill("Number SDXL r2 -005")
    assert count(shown).startswith("1 of 67 media, ")  # only picture-0055 of r2 has all four
    search.fill("runs/r2/0004")
    assert count(shown).startswith("1 of 67 media, ")
    search.fill("")
    shown.get_by_role("button", name="Images").click()
    assert count(shown).startswith(f"{PICTURES + 2} of {ALL}")
    shown.get_by_role("button", name="Filters").click()
    shown.get_by_role("checkbox", name="r2").check()
    shown.get_by_role("checkbox", name="sdxl").check()
    assert count(shown).startswith("10 of ")
    assert shown.locator(".panel label", has_text="openai").inner_text().split() == ["openai", "0"]
    assert shown.locator(".panel label", has_text="r1").inner_text().split() == ["r1", "10"]  # what it would be with it
    shown.get_by_label("Group").select_option("conversation")
    headings = shown.locator(".canvas h3").all_inner_texts()
    assert sum(int(heading.split("\n")[-1]) for heading in headings) == 10
    assert [heading.split()[0] for heading in headings] == [f"c{number}" for number in range(7)]
    shown.get_by_label("Sort").select_option("seed, highest first")
    shown.get_by_label("Group").select_option("")
    seeds = [int(name.split()[2]) * 7 % 100 for name in shown.locator(".line bdi").all_inner_texts()]
    assert seeds == sorted(seeds, reverse=True)
    shown.get_by_role("button", name="Remove the filter run: r2").click()
    assert evaluated(shown, "root.activeElement.className").startswith("filters")
    search.fill("nothing like it")
    shown.get_by_role("button", name="Clear search and filters").click()
    assert count(shown).startswith(f"{ALL} media")
    names = [option.strip() for option in shown.get_by_label("Sort").locator("option").all_inner_texts()]
    assert names == [
        "as chosen", "newest first", "oldest first", "largest first", "smallest first", "by name",
        "seed, highest first", "seed, lowest first",
    ]  # fmt: skip


def test_the_size_of_the_pictures_is_the_readers_choice(shown: Any) -> None:
    before = shown.locator(".open").first.bounding_box()["height"]
    shown.get_by_label("Size of the pictures").fill("280")
    assert shown.locator(".open").first.bounding_box()["height"] > 1.7 * before


def test_the_keyboard_alone_reaches_all(shown: Any) -> None:
    for _ in range(40):
        shown.keyboard.press("Tab")
        if evaluated(shown, "root.activeElement?.classList.contains('open')"):
            break
    name = "root.activeElement.getAttribute('aria-label')"
    assert evaluated(shown, name).startswith("picture-0000.jpg, picture, 300 by 200, hills number 0")
    shown.keyboard.press("ArrowRight")
    assert evaluated(shown, name).startswith("picture-0001.jpg")
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("ArrowUp")
    assert evaluated(shown, name).startswith("picture-0001.jpg")
    shown.keyboard.press("End")
    assert evaluated(shown, name).startswith("minutes.pdf, file")
    box = evaluated(shown, "(({ top, bottom }) => [top, bottom])(root.activeElement.getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= 900
    shown.keyboard.press("Home")
    bar = evaluated(shown, "root.querySelector('.bar').getBoundingClientRect().bottom")
    assert evaluated(shown, "root.activeElement.getBoundingClientRect().top") >= bar  # not behind the bar
    shown.keyboard.press("/")
    assert evaluated(shown, "root.activeElement.type") == "search"
    shown.keyboard.type("x")  # typed, not obeyed
    assert shown.get_by_role("searchbox").input_value() == "x"
    assert not shown.locator(".choices").is_visible()


def test_media_are_selected_by_click_key_and_range_and_references_are_copied(browser: Any, saved: Path) -> None:
    with visiting(browser, saved, permissions=["clipboard-read", "clipboard-write"]) as shown:
        shown.get_by_role("checkbox", name="Select picture-0001.jpg").click(force=True)
        shown.get_by_role("checkbox", name="Select picture-0003.jpg").click(force=True, modifiers=["Shift"])
        shown.locator(".open").nth(5).focus()
        shown.keyboard.press("x")
        assert shown.locator(".choices").inner_text().startswith("4 selected")
        shown.get_by_role("button", name="Copy references").click()
        shown.get_by_text("Copied").wait_for()
        copied = shown.evaluate("navigator.clipboard.readText()").split("\n")
        assert [reference.rpartition("/")[2][:4] for reference in copied] == ["0001", "0002", "0003", "0005"]
        shown.get_by_role("button", name="Select all shown").click()
        assert shown.locator(".choices").inner_text().startswith(f"{ALL} selected")
        shown.get_by_role("button", name="Clear").click()
        assert not shown.locator(".choices").is_visible()
        shown.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")
        at(shown, 1)
        shown.locator(".copied", has_text="Reference").get_by_role(
            "button"
        ).click()  # where a frame may not: the old way
        shown.locator(".copied", has_text="Copied").wait_for()
        assert evaluated(shown, "root.activeElement.className") == "copy"
        shown.get_by_text("Keys", exact=True).click()
        for number in (3, 4):  # what has the focus is made anew with each, and keys go on to be heard
            shown.keyboard.press("ArrowRight")
            assert shown.locator(".counter").inner_text().startswith(f"{number} /")
            assert evaluated(shown, "root.activeElement.textContent") == "Keys"


def test_two_thousand_media_are_few_elements_and_scroll(browser: Any, tmp_path: Path) -> None:
    path = page(tmp_path / "many.html", [section([item(number) for number in range(2000)])])
    with visiting(browser, path, viewport={"width": 1400, "height": 900}) as shown:
        slowest = shown.evaluate(
            """async () => {
              const frames = [];
              for (let y = 0; y < 8000; y += 400) {
                const begun = performance.now();
                scrollTo(0, y);
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                frames.push(performance.now() - begun);
              }
              return frames.sort((a, b) => a - b)[Math.floor(frames.length / 2)];
            }"""
        )
        assert slowest < 200
        assert 60 < shown.locator(".card").count() < 250
        shown.evaluate("scrollTo(0, 12000)")
        seen = (
            "[...root.querySelectorAll('.card')].filter(card => card.getBoundingClientRect().bottom"
            " > root.querySelector('.bar').getBoundingClientRect().bottom).map(card => Number(card.ariaPosInSet))"
        )
        until(shown, f"{seen}.length")
        first = evaluated(shown, f"Math.min(...{seen})")
        assert first > 100
        shown.get_by_label("Size of the pictures").fill("300")  # what is looked at stays in view
        assert first - 10 < evaluated(shown, f"Math.min(...{seen})") <= first
        shown.get_by_label("Size of the pictures").fill("124")
        shown.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        shown.get_by_role("button", name="picture-1999.jpg").wait_for()
        assert shown.locator(".card").count() < 250
        shown.locator(".open").first.focus()
        shown.keyboard.press("End")
        shown.keyboard.press("Enter")
        assert shown.locator(".counter").inner_text() == "2,000 / 2,000"


# -- the lightbox ----------------------------------------------------------------------------------------------
def test_a_picture_opens_with_its_original_and_all_that_is_known_of_it(shown: Any) -> None:
    shown.locator(".open").nth(1).click()
    box = shown.get_by_role("dialog", name="picture-0001.jpg")
    assert box.get_attribute("aria-modal") == "true"
    loaded(shown, 1200)
    facts = shown.locator(".facts").inner_text()
    for text in (
        "hills number 1",
        "image/jpeg",
        "26.4 KiB",
        "stability",
        "2026-09-21",
        "sdxl",
        "test, t1",
        "store.open(1)",
    ):
        assert text in facts
    assert shown.get_by_text("runs/r2/0001_01_u01.picture-0001.jpg").is_visible()
    assert shown.locator(".facts dd", has_text="1, part 1").inner_text() == "1, part 1"
    with shown.expect_download() as saving:
        shown.get_by_role("button", name="Download").click()
    assert saving.value.suggested_filename == "picture-0001.jpg"
    assert Image.open(io.BytesIO(Path(saving.value.path()).read_bytes())).size == (1200, 800)
    shown.get_by_role("button", name="Previous").click()
    assert shown.locator(".back").is_disabled()
    assert evaluated(shown, "root.activeElement.title") == "Next"  # a disabled button would lose the focus
    shown.get_by_role("button", name="Close").click()
    assert evaluated(shown, "root.activeElement.getAttribute('aria-label')").startswith("picture-0000.jpg")


def test_next_and_previous_go_over_the_whole_filtered_result(shown: Any) -> None:
    shown.get_by_role("searchbox").fill("sdxl")
    shown.get_by_label("Sort").select_option("by name")
    shown.locator(".open").first.click()
    amount = int(count(shown).split()[0])
    titles = []
    for number in range(amount):
        assert shown.locator(".counter").inner_text() == f"{number + 1} / {amount}"
        titles.append(shown.locator("#shown").inner_text())
        shown.keyboard.press("ArrowRight")
    assert titles == sorted(set(titles))
    assert len(titles) == amount
    shown.keyboard.press("Escape")
    assert not shown.get_by_role("dialog").count()
    assert evaluated(shown, "root.activeElement.getAttribute('aria-label')").startswith(titles[-1])


def test_the_focus_stays_inside_and_goes_back(shown: Any) -> None:
    shown.locator(".open").first.focus()
    shown.keyboard.press("Enter")
    loaded(shown, 1200)
    seen = []
    for key in ["Tab"] * 14 + ["Shift+Tab"] * 3:
        shown.keyboard.press(key)
        seen.append(evaluated(shown, "root.activeElement?.closest('dialog') ? root.activeElement.className : 'out'"))
    assert "out" not in seen
    assert {"copy", "facts", "check", "tool", "tool turn next"} <= set(seen)
    shown.keyboard.press("Escape")
    assert evaluated(shown, "root.activeElement.getAttribute('aria-label')").startswith("picture-0000.jpg")


def test_a_picture_zooms_and_pans(shown: Any) -> None:
    shown.locator(".open").first.click()
    loaded(shown, 1200)
    image, percent = shown.locator(".picture img"), shown.locator(".percent")
    fit = image.bounding_box()
    stage = shown.locator(".stage").bounding_box()
    assert fit["width"] <= stage["width"]
    assert fit["height"] <= stage["height"]
    spot = (fit["x"] + fit["width"] * 0.7, fit["y"] + fit["height"] * 0.4)
    shown.mouse.move(*spot)
    before = percent.inner_text()
    shown.mouse.wheel(0, -400)
    until(shown, f"root.querySelector('.percent').value !== {before!r}")
    large = image.bounding_box()
    assert large["width"] > 1.5 * fit["width"]
    assert (spot[0] - large["x"]) / large["width"] == pytest.approx(
        0.7, abs=0.01
    )  # what is under the mouse stays there
    shown.mouse.down()
    shown.mouse.move(spot[0] - 60, spot[1] - 30)
    shown.mouse.up()
    dragged = image.bounding_box()
    assert (dragged["x"] - large["x"], dragged["y"] - large["y"]) == pytest.approx((-60, -30), abs=1)
    shown.keyboard.press("ArrowRight")
    assert image.bounding_box()["x"] == pytest.approx(dragged["x"] - 80, abs=1)
    assert shown.locator(".counter").inner_text().startswith("1 /")
    shown.keyboard.press("0")
    assert image.bounding_box() == pytest.approx(fit, abs=1)
    shown.mouse.dblclick(*spot)
    assert image.bounding_box()["width"] > 1.5 * fit["width"]
    shown.mouse.dblclick(*spot)
    assert image.bounding_box() == pytest.approx(fit, abs=1)
    shown.keyboard.press("+")
    assert percent.inner_text() == f"{round(fit['width'] / 1200 * 140)} %"
    shown.keyboard.press("-")
    assert image.bounding_box() == pytest.approx(fit, abs=1)
    shown.keyboard.press("PageDown")
    assert shown.locator(".counter").inner_text().startswith("2 /")


def test_fingers_pinch_and_swipe(browser: Any, saved: Path) -> None:
    with visiting(browser, saved, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as shown:
        shown.locator(".open").first.tap()
        loaded(shown, 1200)
        touch = shown.context.new_cdp_session(shown)

        def send(kind: str, *points: tuple[int, int]) -> None:
            named = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": named})

        before = shown.locator(".picture img").bounding_box()["width"]
        send("touchStart", (150, 250), (200, 250))
        send("touchMove", (100, 250), (250, 250))
        send("touchEnd")
        assert shown.locator(".picture img").bounding_box()["width"] == pytest.approx(3 * before, rel=0.1)
        shown.keyboard.press("0")
        send("touchStart", (300, 250))
        send("touchMove", (150, 255))
        send("touchEnd")
        assert shown.locator(".counter").inner_text().startswith("2 /")


def test_what_is_transparent_lies_on_a_checkerboard(shown: Any) -> None:
    at(shown, GLASS)
    loaded(shown, 320)
    shown.locator(".remark", has_text="page 1 of 2").wait_for()
    assert "conic-gradient" in shown.locator(".picture img").evaluate(
        "image => getComputedStyle(image).backgroundImage"
    )
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Escape")
    assert "conic-gradient" in shown.locator(".open img.alpha").evaluate(
        "image => getComputedStyle(image).backgroundImage"
    )


def test_a_sound_seeks_by_click_and_keys(shown: Any) -> None:
    at(shown, SOUND)
    slider = shown.get_by_role("slider", name="Position")
    assert slider.get_attribute("aria-valuetext") == "0.0 s of 1.0 s"
    box = slider.bounding_box()
    shown.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    until(shown, "root.querySelector('audio').currentTime > 0.5")

    def place() -> float:
        return float(shown.locator(".sound audio").evaluate("audio => audio.currentTime"))

    assert place() == pytest.approx(0.75, abs=0.02)
    assert slider.get_attribute("aria-valuenow") == "0.8"
    slider.focus()
    for key, expected in (("ArrowLeft", 0.7), ("PageDown", 0.6), ("Home", 0), ("ArrowRight", 0.05), ("End", 1.0)):
        shown.keyboard.press(key)
        at_rest(shown, expected)
    assert shown.locator(".counter").inner_text().startswith(f"{SOUND + 1} /")
    shown.keyboard.press("Home")
    at_rest(shown, 0)
    shown.get_by_role("button", name="Play").click()
    until(shown, "root.querySelector('audio').currentTime > 0.1")
    shown.get_by_role("button", name="Pause").click()
    assert shown.locator(".sound audio").evaluate("audio => audio.paused")
    slider.focus()
    shown.keyboard.press("Home")
    at_rest(shown, 0)
    shown.keyboard.press(" ")
    until(shown, "root.querySelector('audio').currentTime > 0.1")


def test_a_film_has_a_poster_and_plays_on_click(shown: Any) -> None:
    at(shown, FILM)
    assert shown.locator(".film .length").inner_text() == "2.0 s"
    assert not shown.locator("video").count()
    shown.get_by_role("button", name="Play turn.webm").click()
    until(shown, "root.querySelector('video')?.currentTime > 0.1")
    shown.keyboard.press("Escape")
    assert not shown.locator("video").count()


def test_what_does_not_play_says_so_and_the_keys_go_on(browser: Any, tmp_path: Path) -> None:
    kinds = (("video", "video/mp4"), ("audio", "audio/mpeg"))
    items = [item(number, kind=kind, type=type_, seconds=2.0) for number, (kind, type_) in enumerate(kinds * 2)]
    originals = {
        number: {"kind": kind, "type": type_, "data": b"no film"} for number, (kind, type_) in enumerate(kinds)
    }
    with visiting(browser, page(tmp_path / "broken.html", [section(items, originals)])) as shown:
        shown.locator(".open").first.focus()
        shown.keyboard.press("Enter")
        for number in range(4):
            shown.get_by_role("button", name="Play").focus()
            shown.keyboard.press("Enter")
            said = "this browser can't play it: save it" if number < 2 else "beyond the budget of this file"
            shown.locator(".reason", has_text=said).wait_for()
            shown.keyboard.press("ArrowRight")
        assert shown.locator(".counter").inner_text() == "4 / 4"


def test_texts_are_read_markdown_rendered_and_what_cannot_be_shown_says_why(shown: Any) -> None:
    at(shown, NOTES)
    shown.locator(".prose h1", has_text="Notes").wait_for()
    assert shown.locator(".prose li").inner_text() == "one"
    shown.get_by_role("button", name="Show the source").click()
    assert shown.locator("pre.paper").inner_text() == MARKDOWN
    with shown.expect_download() as saving:
        shown.keyboard.press("d")
    assert saving.value.suggested_filename == "notes.md"
    assert Path(saving.value.path()).read_text() == MARKDOWN
    at(shown, LOG)
    shown.locator("pre.paper").focus()
    shown.keyboard.press("PageDown")  # scrolls the text, and is no next
    until(shown, "root.querySelector('pre.paper').scrollTop > 0")
    shown.keyboard.press("ArrowRight")
    shown.locator(".reason", has_text="damaged: the file ends early").wait_for()
    shown.keyboard.press("ArrowRight")
    shown.locator(".reason", has_text="beyond the budget of this file").wait_for()
    shown.keyboard.press("d")
    assert "beyond the budget" in shown.locator(".toast").inner_text()
    at(shown, 5)  # a picture whose original is not here: the preview, and why
    shown.locator(".remark", has_text="beyond the budget of this file").wait_for()
    assert shown.locator(".picture img").is_visible()


# -- strangers ---------------------------------------------------------------------------------------------------
def test_strangers_texts_never_run_not_even_without_a_policy(browser: Any, tmp_path: Path) -> None:
    bad = f"</script>{HOSTILE}<svg onload=document.title='ran'>"
    texts = dict.fromkeys(
        ("ref", "title", "name", "run", "session", "conversation", "provider", "policy", "caption"), bad
    )
    also = {
        "text": bad,
        "why": bad,
        "code": bad,
        "type": bad,
        "wrong": [bad],
        "attributes": {bad: bad, "x": [bad, "b"]},
    }
    url = "javascript:document.title='ran'"
    items = [item(number, **texts, **also, kind=kind, thumb=source) for number, (kind, source) in enumerate((
        ("image", thumb((300, 200))), ("image", url), ("text", None), ("text", None), ("file", bad), (bad, None),
        ("image", "https://127.0.0.1:9/x.png"), ("audio", None), ("video", None),
    ))] + [item(9, kind="image")]  # fmt: skip
    originals: dict[int, dict[str, Any]] = {
        0: {"kind": "image", "type": "image/svg+xml", "name": bad, "data": specimens.SVG},
        1: {"kind": "none", "why": bad},
        2: {
            "kind": "html",
            "text": bad,
            "html": f"<p>fine {bad}<a href='{url}' onclick=x>a</a><iframe src='{url}'></iframe>",
        },
        3: {"kind": "text", "type": "text/html", "text": bad},
        4: {"kind": "image", "type": "text/html", "data": specimens.HTML},
    }
    path = page(tmp_path / "bad.html", [section(items, originals, title=bad, notes=[bad], group="run")], policy=False)
    with visiting(browser, path) as shown:
        shown.get_by_role("button", name="Filters").click()
        shown.locator(".open").first.click()
        for _ in items:
            shown.locator(".lightbox:not(.loading)").wait_for()
            shown.keyboard.press("ArrowRight")
        shown.keyboard.press("Home")
        shown.keyboard.press("ArrowRight")
        shown.keyboard.press("ArrowRight")
        shown.locator(".prose", has_text="fine").wait_for()
        assert (
            evaluated(shown, "root.querySelectorAll('script, iframe, [onerror], [onload], [onclick], [href]').length")
            == 0
        )
        shown.keyboard.press("Escape")
        assert shown.get_by_text("onerror=").first.is_visible()


# -- hosts -------------------------------------------------------------------------------------------------------
MOUNT = """async ([source, css, data]) => {
  const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  window.calls = [];
  window.keys = [];
  document.body.innerHTML = "<div class='fsm-viewer'></div>";
  document.addEventListener("keydown", (event) => window.keys.push(event.key));
  const host = {
    boxed: true,
    original: async (i) => ({ kind: "none", why: `nothing of ${i}` }),
    rate: async (i, stars) => {
      window.calls.push([i, stars]);
      if (stars === 5) throw new Error("read-only");
    },
    select: (indices) => window.calls.push(indices),
  };
  window.viewer = module.mount(document.querySelector("div"), data, host, css);
}"""


@pytest.fixture
def mounted(browser: Any) -> Iterator[Any]:
    opened = browser.new_page()
    said: list[str] = []
    opened.on("pageerror", lambda error: said.append(str(error)))
    data = {"v": 1, "title": "Hills", "now": NOW, "counts": {}, "notes": [], "rates": True, "selects": True}
    opened.evaluate(MOUNT, [MODULE, SHEET, {**data, "items": [item(number) for number in range(200)]}])
    yield opened
    opened.close()
    assert said == []


def test_keys_rate_and_what_could_not_be_written_goes_back(mounted: Any) -> None:
    mounted.locator(".open").nth(2).focus()
    mounted.keyboard.press("4")
    mounted.locator(".card .stars", has_text="\u2605\u2605\u2605\u2605").wait_for()
    assert evaluated(mounted, "root.activeElement.getAttribute('aria-label')").endswith("rated 4")
    mounted.keyboard.press("5")
    mounted.locator(".count", has_text="Not rated: read-only").wait_for()
    assert mounted.locator(".card .stars").inner_text() == "\u2605" * 4
    mounted.keyboard.press("Enter")
    mounted.keyboard.press("0")
    mounted.get_by_text("Rating removed").wait_for()
    mounted.get_by_role("button", name="Rate 2 of 5").click()
    assert mounted.get_by_role("button", name="Rate 2 of 5").get_attribute("aria-pressed") == "true"
    mounted.keyboard.press("Escape")
    assert mounted.evaluate("calls") == [[2, 4], [2, 5], [2, None], [2, 2]]


def test_selections_are_reported_and_keys_that_were_handled_stop(mounted: Any) -> None:
    mounted.locator(".open").nth(2).focus()
    for key in ("x", "ArrowRight", "Shift+X", "Enter", "i", "i", "x", "+", "b", "Escape", "/", "b", "x", "Escape"):
        mounted.keyboard.press(key)
    assert mounted.evaluate("calls") == [[2], [2, 3], [2]]
    assert mounted.evaluate("keys") == []
    bare = "each => !each.hasAttribute('data-lm-suppress-shortcuts')"
    focusable = "button, input, select, audio, video, [tabindex]"
    assert (
        evaluated(mounted, f"[...root.querySelectorAll('{focusable}')].filter({bare}).map(each => each.outerHTML)")
        == []
    )
    assert mounted.locator("[data-lm-suppress-shortcuts].fsm-viewer").count() == 1
    mounted.evaluate("viewer.destroy()")
    assert evaluated(mounted, "root.childElementCount") == 0


def test_in_a_cell_it_scrolls_in_a_box_and_takes_the_colours_of_the_host(mounted: Any) -> None:
    assert mounted.locator(".viewer").bounding_box()["height"] < 800
    assert mounted.locator(".card").count() < 150
    mounted.locator(".open").first.focus()
    mounted.keyboard.press("End")
    assert mounted.get_by_role("button", name="picture-0199.jpg").is_visible()
    assert mounted.evaluate("scrollY") == 0
    assert mounted.locator(".viewer").get_attribute("data-theme") == "light"
    mounted.evaluate(
        "document.body.style = '--jp-layout-color0: #111; --jp-content-font-color1: rgba(255, 255, 255, 0.87)'"
    )
    mounted.locator(".viewer[data-theme=dark]").wait_for()
    assert mounted.locator(".viewer").evaluate("each => getComputedStyle(each).backgroundColor") == "rgb(17, 17, 17)"


WIDGET = """async ([source, data, css]) => {
  const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  document.body.innerHTML = "<div></div><div></div>";
  window.asked = [];
  window.handlers = [];
  const model = {
    get: (name) => ({ data, css })[name],
    on: (name, handler) => window.handlers.push([name, handler]),
    off: (name, handler) => { window.handlers = window.handlers.filter((each) => each[1] !== handler); },
    send: (message) => window.asked.push(message),
  };
  window.ends = [...document.body.children].map((el) => module.default.render({ model, el }));
  window.answer = (message, bytes) => {
    const buffers = bytes ? [new DataView(Uint8Array.from(bytes).buffer)] : [];
    for (const [name, handler] of window.handlers) if (name === "msg:custom") handler(message, buffers);
  };
}"""


def test_a_widget_shown_twice_opens_one_lightbox_and_takes_answers_to_its_own_questions(browser: Any) -> None:
    shown = browser.new_page()
    data = {"v": 1, "title": "Hills", "now": NOW, "items": [item(0), item(1)], "rates": True, "selects": True}
    shown.evaluate(WIDGET, [MODULE, data, SHEET])
    second = shown.locator(".fsm-viewer").nth(1)
    second.locator(".open").first.click()
    assert shown.get_by_role("dialog").count() == 1
    shown.wait_for_function("asked.length === 1")
    (question,) = shown.evaluate("asked")
    assert (question["ask"], question["i"]) == ("original", 0)
    original = list(specimens.picture((900, 600), "JPEG"))
    shown.evaluate("message => answer(message)", {"id": "another", "kind": "none", "why": "a stranger's"})
    assert not shown.get_by_text("a stranger's").count()
    shown.evaluate(
        "([message, bytes]) => answer(message, bytes)",
        [{"id": question["id"], "kind": "image", "type": "image/jpeg"}, original],
    )
    shown.wait_for_function(
        "document.querySelectorAll('.fsm-viewer')[1].shadowRoot.querySelector('.picture img').naturalWidth === 900"
    )
    shown.keyboard.press("3")
    shown.keyboard.press("x")
    shown.keyboard.press("d")  # the file, which need not be what is shown
    saved = shown.wait_for_function("asked.find((each) => each.ask === 'file')").json_value()
    with shown.expect_download() as saving:
        message = {"id": saved["id"], "kind": "none", "type": "application/octet-stream", "name": "hills.jpg"}
        shown.evaluate("([message, bytes]) => answer(message, bytes)", [message, [1, 2, 3]])
    assert (saved["i"], saving.value.suggested_filename) == (0, "hills.jpg")
    assert Path(saving.value.path()).read_bytes() == bytes([1, 2, 3])
    asked = shown.evaluate("asked.map(({ id, ...rest }) => rest)")
    assert [each for each in asked if "ask" not in each] == [{"rate": 3, "i": 0}, {"select": [0]}]
    rated = shown.evaluate("asked.find((each) => each.rate).id")
    shown.evaluate("id => answer({ id, why: 'the store is read-only' })", rated)
    shown.get_by_text("Not rated: the store is read-only").wait_for()
    shown.evaluate("ends.forEach((end) => end())")
    assert shown.evaluate("handlers") == []
    shown.close()


def test_in_a_frame_as_tall_as_its_page_the_lightbox_is_where_the_reader_is(browser: Any, tmp_path: Path) -> None:
    inner = page(tmp_path / "inner.html", [section([item(number) for number in range(300)])])
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<!doctype html><iframe src="{inner.as_uri()}" style="width:1000px;height:9000px;border:0"></iframe>'
    )
    opened = browser.new_page(viewport={"width": 1050, "height": 800})
    opened.goto(outer.as_uri())
    frame = opened.frame_locator("iframe")
    card = frame.get_by_role("button", name="picture-0150.jpg")
    card.scroll_into_view_if_needed()
    card.click()
    frame.locator("dialog.placed").wait_for()
    box = frame.get_by_role("dialog").bounding_box()  # of the page that is seen
    assert (round(box["y"]), round(box["height"])) == (0, 800)
    frame.get_by_role("button", name="Close").click()
    assert opened.evaluate("scrollY") > 1000  # closing keeps the place
    opened.close()


def test_two_galleries_of_a_page_do_not_disturb_each_other(browser: Any, tmp_path: Path) -> None:
    twice = [section([item(number) for number in range(40)], mode="") for _ in range(2)]
    with visiting(browser, page(tmp_path / "two.html", twice, style="--x:1")) as shown:
        first, second = shown.locator(".fsm-viewer").nth(0), shown.locator(".fsm-viewer").nth(1)
        first.get_by_role("searchbox").fill("picture-0007")
        assert (first.locator(".card").count(), second.locator(".card").count()) == (1, 40)


def test_a_page_may_keep_pictures_in_its_sheet_and_leave_out_what_follows(browser: Any, tmp_path: Path) -> None:
    items = [item(number, thumb="sheet") for number in range(3)]
    for each in items:
        del each["name"], each["code"], each["provider"]
    path = page(tmp_path / "small.html", [section(items, common={"provider": "one"}, beyond="run the cell again")])
    with visiting(browser, path) as shown:
        until(shown, "[...root.querySelectorAll('.open img')].filter(image => image.naturalWidth === 100).length === 3")
        shown.locator(".open").nth(1).click()
        shown.locator(".remark", has_text="run the cell again").wait_for()
        facts = shown.locator(".facts").inner_text()
        assert "one" in facts.split("\n")
        assert 'store.retrieve_media("runs/r2/0001_01_u01.picture-0001.jpg").player()' in facts


# -- looks ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_light_and_dark_wide_and_narrow(browser: Any, saved: Path, scheme: str, width: int) -> None:
    with visiting(browser, saved, color_scheme=scheme, viewport={"width": width, "height": 844}) as shown:
        assert shown.locator(".viewer").get_attribute("data-theme") == scheme
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        shown.locator(".open").first.click()
        facts, stage = shown.locator(".facts").bounding_box(), shown.locator(".stage").bounding_box()
        assert facts["y"] >= stage["y"] + stage["height"] if width == 390 else facts["x"] >= stage["x"] + stage["width"]
        assert facts["x"] + facts["width"] <= width
        assert shown.get_by_role("dialog").evaluate("box => box.scrollWidth <= box.clientWidth")
        small = "each.clientWidth && Math.min(each.clientWidth, each.clientHeight) < 24"
        assert evaluated(shown, f"[...root.querySelectorAll('dialog button')].filter(each => {small}).length") == 0


def test_paper_has_all_pictures_and_captions(browser: Any, tmp_path: Path) -> None:
    media = 200  # more than the window shows
    with visiting(
        browser, page(tmp_path / "paper.html", [section([item(number) for number in range(media)])])
    ) as shown:
        assert shown.locator(".card").count() < media
        data = shown.pdf(format="A4", margin={"top": "1cm", "left": "1cm", "right": "1cm"})
        assert shown.locator(".card").count() < media
    printed = pypdfium2.PdfDocument(data)
    text = " ".join(" ".join(sheet.get_textpage().get_text_range() for sheet in printed).split())
    assert all(f"hills number {number}" in text for number in range(media))
    images = [each for sheet in printed for each in sheet.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE])]
    assert len(images) >= media
    assert "Search" not in text
