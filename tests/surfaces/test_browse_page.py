"""The page of `fsmedia browse` in a real browser: the grid and its facets, what opens, runs side by side."""

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageChops
from playwright.sync_api import expect

from fsmedia import MediaStore
from tests.surfaces import specimens
from tests.surfaces.hosts import Shadow, violations
from tests.surfaces.specimens import HOSTILE, put
from tests.surfaces.viewer_pages import DISPLAY

MODULES = {"app.js": 900, "views.js": 600}
"""The page's modules beside the viewer's, and how long they may be."""
SCENES, ALL = 12, 3 * 12 + 8
KINDS = ("markdown", "json", "csv", "parquet", "paper", "sound", "film", "strange")
EXACT = 12345678901234567890
SERIAL = 2**53 + 1
SHADOW = Shadow("#app > div")
evaluated, until = SHADOW.evaluated, SHADOW.until
SIZES = [3_000, pytest.param(100_000, marks=pytest.mark.full)]


def parquet() -> bytes:
    file = io.BytesIO()
    columns = {"number": list(range(450)), "<i>name</i>": [f"name {each}" for each in range(450)]}
    columns |= {f"more{each}": [each] * 450 for each in range(200)}
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaStore]:
    """Give a store with three runs of pictures, two of which are nearly the same, and one media of each other kind."""
    made = MediaStore(tmp_path_factory.mktemp("browse") / "media", durability="rename").create()
    for run, model in enumerate(("flux", "sdxl", "dalle")):
        for index in range(SCENES - (run == 1)):  # the second run lacks the last
            data = specimens.scene(index + 100 * (run == 2), (640, 480), quality=95 - 20 * run)
            attributes = {"model": model, "seed": index, "tags": ["a", f"t{index % 2}"]}
            caption = f"scene {index} of run {run}"
            put(made, data, "image/jpeg", run_id=f"r{run}", message_idx=index, attributes=attributes, caption=caption)
    others = (
        (b"# Plan\n\none\ntwo\nthree", "text/markdown"),
        (json.dumps({"list": [*range(450)], "n": EXACT}).encode(), "application/json"),
        (b"name,value\n" + b"".join(b"row %d,%d\n" % (each, each) for each in range(450)), "text/csv"),
        (parquet(), "application/vnd.apache.parquet"), (specimens.paper(3), "application/pdf"),
        (specimens.sound(), "audio/wav"), (specimens.film(container="webm"), "video/webm"),
        (specimens.HTML, "text/html"),
    )  # fmt: skip
    for index, ((data, mime_type), kind) in enumerate(zip(others, KINDS, strict=True)):
        caption = HOSTILE if kind == "strange" else f"a {kind}!"  # which no id has in it, as it may "csv"
        attributes = {"strange": HOSTILE} if kind == "strange" else {}
        put(made, data, mime_type, run_id="r0", message_idx=50 + index, caption=caption, attributes=attributes)
    put(made, b"# Plan\n\none\n2\nthree", "text/markdown", run_id="r1", message_idx=50, caption="another plan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FSMEDIA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield made


@pytest.fixture(scope="module")
def site(store: MediaStore) -> Iterator[str]:
    """Give the address of the store's page, with its token."""
    with store.browse(open_browser=False, write=True) as browser:
        yield browser.url


@contextmanager
def visiting(browser: Any, site: str, path: str = "", **options: Any) -> Iterator[Any]:
    """Open the page, and look that nothing is asked for elsewhere, nothing goes wrong and no stranger's code runs."""
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
    context.set_default_timeout(15_000)
    expect.set_options(timeout=15_000)
    page = context.new_page()
    home, said = site.partition("?")[0], []
    page.asked = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(site)
    page.wait_for_url(re.compile(r"/[\w-]{22}/$"))  # the token has become a cookie
    page.home = page.url
    if path:
        page.goto(f"{page.home}{path}")
    try:
        yield page
    except BaseException as error:
        error.add_note(f"{page.url}: {said} {page.locator('#app').inner_text()[:2000]}")
        raise
    title = page.title()
    context.close()
    assert said == []
    assert [url for url in page.asked if not url.startswith((home, "data:", "blob:"))] == []
    assert title != "ran"


@pytest.fixture
def shown(browser: Any, site: str) -> Iterator[Any]:
    with visiting(browser, site) as page:
        page.locator(".card").first.wait_for()
        yield page


def focused(page: Any) -> str:
    element = "(root.activeElement?.labels?.[0] ?? root.activeElement)"
    return str(evaluated(page, f"root.activeElement?.ariaLabel ?? {element}?.textContent ?? ''"))


def words(page: Any) -> dict[str, list[str]]:
    """The words of the page's address."""
    return parse_qs(urlsplit(page.url).query)


def tabbed(page: Any, name: str) -> None:
    """Press Tab until what is called so has the focus."""
    for _ in range(120):
        if name in focused(page):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not reach {name!r}")


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


# -- the grid --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", SIZES)
def test_any_number_of_media_scrolls_with_few_elements_and_without_an_original(
    count: int, browser: Any, tmp_path: Path, cache_folder: Path
) -> None:
    store = MediaStore(tmp_path / "media", durability="rename").create()
    first = put(store, specimens.scene(1, (320, 240)), "image/jpeg", attributes={"model": "m"})
    data, sidecar = store.open(first).read(), json.loads((tmp_path / "media" / f"{first}.meta").read_text())
    for index in range(1, count):
        key = first.replace("/0000_00_", f"/{index:04d}_00_")
        if index % 10_000 == 1:  # a file may not have any number of names
            source = tmp_path / "media" / key
            source.write_bytes(data)
        else:
            os.link(source, tmp_path / "media" / key)
        (tmp_path / "media" / f"{key}.meta").write_text(json.dumps({**sidecar, "message_idx": index}))
    order = sorted(range(count), key=lambda index: f"{index:04d}_")  # that of the keys
    whole = (
        "[...root.querySelectorAll('.open img')].filter(image => image.complete && image.naturalWidth"
        " && image.getBoundingClientRect().bottom > 90 && image.getBoundingClientRect().top < innerHeight).length"
    )
    with store.browse(open_browser=False) as site, visiting(browser, site.url) as page:
        page.set_default_timeout(300_000)
        expect(page.locator(".count")).to_have_text(re.compile(f"^{count:,} media, "), timeout=300_000)
        expect(page.locator(".card img[src]")).not_to_have_count(0)
        for part in (0.13, 0.5, 0.87, 0.3):
            for step in range(5):
                page.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {part} + {step * 800})")
                page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
                assert 5 < page.locator(".card").count() < 250
            seen = page.locator(".card:not(.current)").nth(20)
            place = int(seen.get_attribute("aria-posinset") or 0)
            assert abs(place / count - part) < 0.2
            expect(seen.locator(".line")).to_have_text(re.compile(rf"\b{order[place - 1]}\.0"))
        until(page, f"{whole} >= 25")
        asked = [urlsplit(url) for url in page.asked]
        assert [url.path for url in asked if url.path.startswith(("/media/", "/view/", "/api/original"))] == []
        pages = [url for url in asked if url.path == "/api/media"]
        assert len(pages) < 20  # and not each that was scrolled past
        page.locator(".card .open").first.focus()
        page.keyboard.press("End")
        expect(page.locator(".card.current .line")).to_have_text(re.compile(rf"\b{order[-1]}\.0"))
        page.keyboard.press("Enter")
        expect(page.locator(".counter")).to_have_text(f"{count:,} / {count:,}")


def test_facets_narrow_the_grid_and_each_state_has_an_address_to_go_back_to(shown: Any) -> None:
    count, facets = shown.locator(".count"), shown.get_by_role("group", name="Filters")
    expect(count).to_have_text(re.compile(f"^{ALL} media, "))
    legends = shown.locator("legend")
    expect(legends.first).to_have_text("Run")
    told = set(legends.all_inner_texts())
    assert {"Run", "Conversation", "Type", "model", "seed", "tags"} <= told
    facets.get_by_role("checkbox", name="r0").check()
    expect(count).to_have_text(re.compile(rf"^{SCENES + 8} media"))
    facets.get_by_role("checkbox", name="r1").check()  # any of both
    expect(count).to_have_text(re.compile(rf"^{2 * SCENES + 8} media"))
    facets.get_by_role("checkbox", name="flux").check()
    expect(count).to_have_text(re.compile(rf"^{SCENES} media"))
    assert focused(shown) == "" or evaluated(shown, "root.activeElement.dataset.key").startswith("attributes.model")
    facets.get_by_role("checkbox", name="sdxl").check()
    expect(count).to_have_text(re.compile(rf"^{2 * SCENES - 1} media"))
    assert words(shown) == {"run_id": ["r0", "r1"], "a": ['model=["flux","sdxl"]']}
    shown.get_by_label("seed from").fill("3")
    shown.keyboard.press("Enter")
    expect(count).to_have_text(re.compile(rf"^{2 * (SCENES - 3) - 1} media"))
    chip = shown.get_by_role("button", name="Remove the filter Run: r0")
    chip.click()
    expect(count).to_have_text(re.compile(rf"^{SCENES - 4} media"))
    shown.go_back()
    expect(count).to_have_text(re.compile(rf"^{2 * (SCENES - 3) - 1} media"))
    expect(chip).to_be_visible()
    shown.go_back()
    expect(count).to_have_text(re.compile(rf"^{2 * SCENES - 1} media"))
    shown.reload()
    expect(count).to_have_text(re.compile(rf"^{2 * SCENES - 1} media"))
    expect(facets.get_by_role("checkbox", name="sdxl")).to_be_checked()
    shown.get_by_role("searchbox", name="Search captions").fill("SDXL scene")
    expect(count).to_have_text(re.compile(rf"^{SCENES - 1} media"))
    assert words(shown)["q"] == ["SDXL scene"]
    shown.get_by_role("searchbox", name="Search captions").fill("nothing like it")
    shown.get_by_text("Nothing fits.").wait_for()
    shown.go_back()  # what was typed in one breath is one state
    expect(count).to_have_text(re.compile(rf"^{2 * SCENES - 1} media"))


def test_what_is_open_has_an_address_and_back_closes_it(shown: Any) -> None:
    shown.locator(".card .open").nth(3).click()
    box = shown.get_by_role("dialog")
    expect(box.locator("h2")).to_have_text("r0 \u00b7 3.0")
    shown.keyboard.press("ArrowRight")
    expect(box.locator("h2")).to_have_text("r0 \u00b7 4.0")
    address = shown.url
    shown.go_back()
    expect(box).to_have_count(0)
    assert focused(shown).startswith("r0 \u00b7 4.0")
    shown.go_forward()
    expect(box.locator("h2")).to_have_text("r0 \u00b7 4.0")
    shown.keyboard.press("Escape")
    expect(box).to_have_count(0)
    assert words(shown) == {}
    # By its address alone, in a list that has it and in one that has not.
    shown.goto(address)
    expect(box.locator(".counter")).to_have_text(f"5 / {ALL}")
    shown.goto(f"{address}&run_id=r2")
    expect(box.locator(".counter")).to_have_text("1 / 1")
    expect(box.locator(".facts")).to_contain_text("scene 4 of run 0")


def test_the_keyboard_alone_reaches_everything(shown: Any) -> None:
    tabbed(shown, "Search captions")
    shown.keyboard.type("scene")
    expect(shown.locator(".count")).to_have_text(re.compile(f"^{3 * SCENES - 1} media"))
    tabbed(shown, "sdxl")
    shown.keyboard.press("Space")
    expect(shown.locator(".count")).to_have_text(re.compile(f"^{SCENES - 1} media"))
    tabbed(shown, "sdxl")  # what has the focus keeps it
    shown.keyboard.press("Space")
    expect(shown.locator(".count")).to_have_text(re.compile(f"^{3 * SCENES - 1} media"))
    tabbed(shown, "r0 \u00b7 0.0")
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("x")
    shown.keyboard.press("End")
    expect(shown.locator(".card.current")).to_have_attribute("aria-posinset", str(3 * SCENES - 1))
    shown.keyboard.press("x")
    expect(shown.locator(".choices")).to_contain_text("2 selected")
    tabbed(shown, "Side by side")
    shown.keyboard.press("Enter")
    box = shown.get_by_role("dialog")
    expect(box.locator(".columns > section")).to_have_count(2)
    tabbed(shown, "Slider")
    shown.keyboard.press("Enter")
    expect(box.locator(".sliding img")).to_have_count(2)
    tabbed(shown, "How much is seen of")
    shown.keyboard.press("Home")
    assert evaluated(shown, "root.querySelector('.two img:last-child').style.clipPath") == "inset(0px 100% 0px 0px)"
    shown.keyboard.press("Escape")
    expect(box).to_have_count(0)
    assert words(shown) == {"q": ["scene"]}
    shown.locator(".card.current .open").focus()
    shown.keyboard.press("/")
    assert focused(shown).startswith("Search captions")
    tabbed(shown, "Runs side by side")
    shown.keyboard.press("Enter")
    shown.locator("tbody tr").first.wait_for()
    tabbed(shown, "Enlarge message 1,")
    shown.keyboard.press("Enter")
    expect(box.locator("h2")).to_have_text("message 1, part 0")
    shown.keyboard.press("ArrowRight")
    expect(box.locator("h2")).to_have_text("message 2, part 0")
    shown.keyboard.press("Escape")
    expect(box).to_have_count(0)
    assert focused(shown) == "Enlarge message 1, part 0"


# -- what opens ------------------------------------------------------------------------------------------------
def opened(page: Any, kind: str) -> Any:
    """Open the media of a kind; give the lightbox."""
    page.goto(f"{page.home}?run_id=r0&q={'document.title' if kind == 'strange' else f'a+{kind}!'}")
    page.locator(".card .open").first.click()
    box = page.get_by_role("dialog")
    box.locator(":scope:not(.loading)").wait_for()
    return box


def test_a_paper_is_turned_page_by_page_and_tables_by_rows(shown: Any) -> None:
    box = opened(shown, "paper")
    expect(box.locator(".pager output")).to_have_text("Page 1 of 3")
    before = box.locator(".picture img").get_attribute("src")
    shown.keyboard.press("PageDown")
    expect(box.locator(".picture img")).to_have_attribute("alt", re.compile("^Page 2 of "))
    assert box.locator(".picture img").get_attribute("src") != before
    box.get_by_role("button", name="Next page").click()
    expect(box.locator(".pager output")).to_have_text("Page 3 of 3")
    expect(box.get_by_role("button", name="Next page")).to_be_disabled()
    for kind, header, first in (("csv", "name", "row 200"), ("parquet", "<i>name</i>", "name 200")):
        box = opened(shown, kind)
        expect(box.get_by_role("columnheader", name=header)).to_be_visible()
        box.get_by_role("button", name="Next rows").click()
        expect(box.locator("tbody tr").first).to_contain_text(first)
        expect(box.locator(".pager output")).to_have_text(re.compile("^Rows 201 to 400"))
        assert box.locator("tbody tr").count() == 200
        cut = "only the beginning is shown: the first 200 columns"
        expect(box.locator(".remark")).to_have_text(cut if kind == "parquet" else "")
    box = opened(shown, "json")
    expect(box.locator(".leaf")).to_have_text(f"n: {EXACT}")  # a double would be another number
    box.locator("summary", has_text="list").click()
    expect(box.locator(".leaf")).to_have_count(201)
    box.get_by_role("button", name="200 more of 250").click()
    expect(box.get_by_role("button", name="50 more of 50")).to_be_visible()


def test_hostile_media_are_texts(shown: Any) -> None:
    expect(shown.get_by_text(HOSTILE[:20]).first).to_be_attached()
    box = opened(shown, "strange")
    expect(box.get_by_text("<h1>hello</h1>").first).to_be_visible()
    expect(box.locator(".facts")).to_contain_text(HOSTILE[:30])
    assert box.locator("script, iframe, h1").count() == 0


def test_what_looks_alike_is_grouped_and_found(shown: Any) -> None:
    shown.get_by_label("View").select_option("near-duplicates")
    headings = shown.locator(".canvas h3")
    expect(headings.first).to_have_text("Like r0 \u00b7 0.02")
    expect(shown.locator(".count")).to_have_text(re.compile(f"^{SCENES - 1} groups in "))
    assert words(shown) == {"_view": ["duplicates"]}
    shown.locator(".card .open").first.click()
    shown.get_by_role("button", name="Find similar").click()
    expect(shown.locator(".count")).to_have_text("2 media")
    assert {each.split()[0] for each in shown.locator(".line").all_inner_texts()} == {"scene"}
    shown.get_by_role("button", name=re.compile("^Remove the filter Similar to ")).click()
    expect(shown.locator(".count")).to_have_text(re.compile(f"^{ALL} media"))


def test_it_rates_and_annotates(shown: Any, store: MediaStore) -> None:
    shown.locator(".card .open").nth(2).click()
    box = shown.get_by_role("dialog")
    shown.keyboard.press("4")
    box.get_by_text("Rated 4").wait_for()
    box.get_by_label("Name of the attribute").fill("note")
    box.get_by_label("Its value").fill("good <b>")
    shown.keyboard.press("Enter")
    box.get_by_text("Written: note").wait_for()
    expect(box.locator(".facts dd", has_text="good <b>")).to_be_visible()
    (found,) = store.list(run_id="r0", attributes={"rating": 4, "note": "good <b>"})
    assert found == words(shown)["_open"][0]
    # Numbers keep their digits: written, as a value of a facet, and in the address.
    box.get_by_label("Name of the attribute").fill("serial")
    box.get_by_label("Its value").fill(str(SERIAL))
    shown.keyboard.press("Enter")
    box.get_by_text("Written: serial").wait_for()
    assert store.info(found).attributes["serial"] == SERIAL
    shown.goto(shown.home)
    shown.get_by_role("button", name="Refresh").click()
    shown.get_by_label(str(SERIAL)).check()
    expect(shown.locator(".count")).to_have_text(re.compile("^1 media"))
    assert words(shown) == {"a": [f"serial={SERIAL}"]}
    expect(shown.get_by_role("checkbox", name=str(SERIAL))).to_be_checked()


# -- runs side by side -----------------------------------------------------------------------------------------
def test_runs_stand_side_by_side_with_names_that_stay_in_view(browser: Any, site: str) -> None:
    with visiting(browser, site, "compare?run=r0&run=r1&run=r2", viewport={"width": 1000, "height": 800}) as page:
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(SCENES + 8)
        assert rows.nth(SCENES - 1).locator(".missing").count() == 1
        expect(rows.first.locator("td").first).to_contain_text("\u2260 model")
        expect(rows.first.locator("td").first).not_to_contain_text("\u2260 seed")
        assert min(rows.first.locator("td").evaluate_all("all => all.map(each => each.clientWidth)")) >= 340
        page.locator(".runs").evaluate("each => { each.scrollTop = 2000; each.scrollLeft = 200; }")
        frame = page.locator(".runs").bounding_box()
        head, name = page.locator("thead th").nth(1).bounding_box(), page.locator("tbody th").nth(4).bounding_box()
        assert head["y"] == pytest.approx(frame["y"], abs=1)
        assert name["x"] == pytest.approx(frame["x"], abs=1)
        page.get_by_role("button", name="Remove the run r2").click()
        expect(page.locator("thead th")).to_have_count(3)
        page.get_by_label("Add a run").select_option("r2")
        expect(page.locator("thead th")).to_have_count(4)
        page.go_back()
        expect(page.locator("thead th")).to_have_count(3)


def test_a_row_is_enlarged_as_a_whole_and_two_pictures_are_compared_pixel_by_pixel(
    browser: Any, site: str, store: MediaStore
) -> None:
    with visiting(browser, site, "compare?run=r0&run=r1") as page:
        page.get_by_role("button", name="Enlarge message 2, part 0").click()
        box = page.get_by_role("dialog")
        expect(box.locator(".columns h3").first).to_have_text("r0")
        expect(box.locator(".stage .picture img")).to_have_count(2)
        expect(box.locator(".facts dt", has_text="\u2260 model")).to_have_count(2)
        box.get_by_role("button", name="Slider").click()
        expect(box.locator(".sliding img")).to_have_count(2)
        middle = box.locator(".two").bounding_box()
        page.mouse.move(middle["x"] + middle["width"] * 0.25, middle["y"] + 50)
        page.mouse.down()
        page.mouse.up()
        clip = evaluated(page, "root.querySelector('.two img:last-child').style.clipPath")
        assert float(clip.split()[1].rstrip("%")) == pytest.approx(75, abs=1)
        box.get_by_role("button", name="Difference").click()
        said = box.get_by_text("of the pixels differ")
        said.wait_for()
        pictures = [
            Image.open(store.open(next(store.list(run_id=run, attributes={"seed": 2})))).convert("RGB")
            for run in ("r0", "r1")
        ]
        bands = ImageChops.difference(*pictures).split()
        largest = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
        share = 100 - 100 * largest.histogram()[0] / (640 * 480)
        found = float(said.inner_text().split()[0])
        assert found == pytest.approx(share, abs=1.5)  # another decoder of JPEG
        page.keyboard.press("ArrowRight")
        expect(box.locator("h2")).to_have_text("message 3, part 0")
        assert words(page)["_mode"] == ["difference"]
        page.keyboard.press("Escape")
        expect(box).to_have_count(0)
        page.get_by_role("button", name="Enlarge message 50, part 0").click()
        box.get_by_role("button", name="Differences of the text").click()
        expect(box.locator("del")).to_have_text("- two")
        expect(box.locator("ins")).to_have_text("+ 2")
        page.reload()
        expect(box.locator("ins")).to_have_text("+ 2")


def test_a_row_that_is_open_stays_so_whatever_else_changes(browser: Any, tmp_path: Path, cache_folder: Path) -> None:
    """It was known by its number on a page: another one was shown for it, or none, and all in it was drawn anew."""
    store = MediaStore(tmp_path / "media", durability="rename").create()
    for index in range(45):
        words_ = {"run_id": f"r{index % 2}", "message_idx": 2 * index}
        put(store, json.dumps({"list": [index]}).encode(), "application/json", **words_)
    with store.browse(open_browser=False) as site, visiting(browser, site.url, "compare?run=r0&run=r1") as page:
        box, title = page.get_by_role("dialog"), page.get_by_role("dialog").locator("h2")
        page.get_by_role("button", name="Enlarge message 38, part 0").click()
        expect(title).to_have_text("message 38, part 0")
        branch = box.locator("details").last
        branch.locator("summary").click()
        expect(branch).to_have_attribute("open", "")
        # The same state once more.
        page.evaluate("history.pushState(history.state, '', location.href)")
        page.go_back()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        expect(branch).to_have_attribute("open", "")
        # What had the focus goes with its row, and the keys are heard all the same.
        for key, number in (("ArrowRight", 40), ("ArrowLeft", 38)):
            page.keyboard.press(key)
            expect(title).to_have_text(f"message {number}, part 0")
        # Turned faster than the next page comes: not the rows of the page before.
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(title).to_have_text("message 42, part 0")
        assert words(page)["_row"] == ["21"]
        # Others are stored before it, on its page and so many that it stands on another one.
        for count, row in ((3, 24), (30, 45)):
            for index in range(count):
                put(store, b"{}", "application/json", run_id="r0", message_idx=2 * index + 1, part_idx=count)
            page.evaluate("fetch('api/media?refresh=1&limit=1')")
            page.reload()
            expect(title).to_have_text("message 42, part 0")
            assert words(page)["_row"] == [str(row)]
        # An address that names the row alone.
        page.goto(f"{page.home}compare?run=r0&run=r1&_row=45")
        expect(title).to_have_text("message 42, part 0")
        page.keyboard.press("Escape")
        expect(box).to_have_count(0)
        # What is gone is told.
        for reference in store.list(run_id="r1"):
            if store.info(reference).message_idx == 42:
                store.delete_media(reference)
        page.evaluate("fetch('api/media?refresh=1&limit=1')")
        page.goto(f"{page.home}compare?run=r0&run=r1&_row=45&_is=message+42%2C+part+0")
        page.get_by_text("message 42, part 0: there is nothing any more").wait_for()
        expect(box).to_have_count(0)


# -- axe -------------------------------------------------------------------------------------------------------
VIEWS = {
    "grid": ("", ".card img[src]"), "nothing": ("?q=nothing", ".empty p"),
    "alike": ("?_view=duplicates", ".canvas h3"), "runs": ("compare?run=r0&run=r1", "tbody .cell"),
    "row": ("compare?run=r0&run=r1&_row=2", ".stage img"),
    "slider": ("compare?run=r0&run=r1&_row=2&_mode=slider", ".sliding input"),
    "difference": ("compare?run=r0&run=r1&_row=2&_mode=difference", ".sliding canvas"),
    "text": (f"compare?run=r0&run=r1&_row={SCENES}&_mode=text", ".changes ins"),
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, pytest.param(390, marks=pytest.mark.full)])
def test_each_view_is_accessible(width: int, scheme: str, browser: Any, site: str) -> None:
    with visiting(browser, site, color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
        dark = scheme == "dark"  # what lies over the page is dark in either
        for name, (path, there) in VIEWS.items():
            if dark and "&" in path:
                continue
            page.goto(f"{page.home}{path}")
            page.locator(there).first.wait_for()
            assert violations(page) == [], name
        for kind in () if dark else KINDS:
            opened(page, kind)
            # Rows are alike, and axe takes seconds for hundreds of them.
            more = "root.querySelectorAll('dialog[open] tbody tr:nth-child(n + 9)')"
            evaluated(page, f"{more}.forEach((row) => row.remove())")
            assert violations(page) == [], kind


# What is stored last is in no test before it.
@pytest.mark.parametrize("word", ["_open", "_like"])
def test_no_address_makes_an_answer_of_what_a_stranger_stored(
    word: str, browser: Any, site: str, store: MediaStore
) -> None:
    """`..` in a reference leads to the bytes of another media, which would say where links lead and writes go."""
    item = {
        "ref": "../../../other",
        "title": "forged",
        "media": "https://evil.example",
        "kind": "text",
        "name": "forged",
    }
    reference = put(store, json.dumps({**item, "items": [item]}).encode(), "application/json")
    with visiting(browser, site, f"?{word}=../../media/{reference}") as page:
        expect(page.get_by_text("no such media").first).to_be_attached()
        assert page.get_by_text("forged").count() == 0
        assert not [url for url in page.asked if "/media/" in urlsplit(url).path]
