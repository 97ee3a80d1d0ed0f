"""Galleries in JupyterLab and Notebook 7: run, opened again, trusted and not, by mouse and by keyboard alone."""

from collections.abc import Iterator
from typing import Any

import pytest

from fsmedia import MediaStore
from tests.surfaces import specimens
from tests.surfaces.hosts import LAB, NOTEBOOK, Jupyter, Visit, violations
from tests.surfaces.specimens import HOSTILE, put

PICTURES = 26
OTHERS = 6
FIRST = 24  # media of a contact sheet

CELLS = (
    "from fsmedia import MediaStore\nstore = MediaStore('media')\nstore",
    "gallery = store.gallery(run_id='r1', interactive=True, rate=True)\ngallery",
    "gallery",
    "store.gallery(run_id='r1')",
    "store.compare(['r1', 'r2'])",
    "store.retrieve_media(next(store.list(mime_type='image/*')))",
    "store.info(next(store.list(mime_type='image/svg+xml')))",
    "store.enforce_policy(dry_run=True)",
    "'the last one'",
)
LIVE, TWIN, STATIC, COMPARISON, PICTURE, RECORD, REPORT = range(1, 8)
"""The cells that show something."""


@pytest.fixture(scope="module")
def jupyter() -> Iterator[Jupyter]:
    server = Jupyter().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def store(jupyter: Jupyter) -> MediaStore:
    """Give a store with good media, and with those of strangers of the worst kind."""
    made = MediaStore(jupyter.folder / "media", durability="rename")
    picture = specimens.picture((1600, 1200), "JPEG")
    for index in range(PICTURES):
        put(made, picture, "image/jpeg", message_idx=index, caption=f"picture {index}", attributes={"nth": index % 3})
    put(made, specimens.film(container="webm"), "video/webm", message_idx=60, caption="a film")
    put(made, specimens.sound(3), "audio/wav", message_idx=61, caption="a sound")
    put(made, b"# Plan\n\nSome **bold** words", "text/markdown", message_idx=62, caption="a plan")
    hostile = {"caption": f"</script>{HOSTILE}", "provider_id": HOSTILE, "attributes": {"said": HOSTILE}}
    for index, (data, kind) in enumerate(
        [
            (specimens.SVG, "image/svg+xml"),
            (specimens.HTML, "text/html"),
            (specimens.hostile_paper(), "application/pdf"),
        ]
    ):
        put(made, data, kind, message_idx=70 + index, **hostile)
    put(made, specimens.picture((90, 90)), "image/png", run_id="r2", caption="picture of another run")
    return made


@pytest.fixture(scope="module", params=[LAB, NOTEBOOK], ids=["lab", "notebook"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def mostly_in(usual: str) -> pytest.MarkDecorator:
    """Run a test in this host, and in the full run in both: they draw outputs and keep kernels by the same code."""
    both = [pytest.param(each, marks=() if each == usual else pytest.mark.full) for each in (LAB, NOTEBOOK)]
    return pytest.mark.parametrize("host", both, ids=["lab", "notebook"], indirect=True, scope="module")


IN_LAB, IN_NOTEBOOK = mostly_in(LAB), mostly_in(NOTEBOOK)


@pytest.fixture(scope="module")
def kept(host: str) -> str:
    return f"{host[:3]}.ipynb"


@pytest.fixture(scope="module")
def ran(host: str, kept: str, jupyter: Jupyter, browser: Any, store: MediaStore) -> Iterator[Visit]:
    """Give a notebook that was run, and saved as it then was."""
    with jupyter.opened(browser, host, jupyter.write(kept, *CELLS)) as visit:
        visit.run()
        visit.outputs(REPORT).last.wait_for()
        visit.command("docmanager:save")
        yield visit


@pytest.fixture(scope="module")
def again(host: str, kept: str, ran: Visit, jupyter: Jupyter, browser: Any) -> Iterator[Visit]:
    """Give the notebook, opened again with another kernel."""
    yield from _reopened(jupyter, browser, host, kept, trusted=True)


@pytest.fixture(scope="module")
def mailed(host: str, kept: str, ran: Visit, jupyter: Jupyter, browser: Any) -> Iterator[Visit]:
    """Give the notebook as somebody opens it whom it was sent to: nothing in it is trusted."""
    yield from _reopened(jupyter, browser, host, kept, trusted=False)


def _reopened(jupyter: Jupyter, browser: Any, host: str, kept: str, *, trusted: bool) -> Iterator[Visit]:
    path = jupyter.copied(jupyter.folder / kept, f"{'again' if trusted else 'mailed'}-{kept}", trusted=trusted)
    with jupyter.opened(browser, host, path) as visit:
        visit.outputs(REPORT).last.wait_for()
        yield visit


def card(visit: Visit, cell: int, number: int = 0) -> Any:
    """Return what opens a media in the gallery of a cell, in view."""
    found = visit.outputs(cell).last.locator(".card .open").nth(number)
    found.scroll_into_view_if_needed()
    return found


OUTPUTS = ".jp-Notebook [data-mime-type='text/html']"
LIGHTBOX = "dialog[open]"
SHOWN = """() => [...document.querySelectorAll(".fsm-viewer")].some(({ shadowRoot }) => {
  const found = shadowRoot?.querySelector("dialog[open] :is(.picture img, audio)");
  return found?.naturalWidth === 1600 || found?.currentTime > 2.9;
})"""
"""An original is there, or a sound at its end."""


@IN_LAB
def test_it_is_drawn_where_it_was_run_and_where_it_is_opened_again(ran: Visit, again: Visit) -> None:
    for visit in (ran, again):
        for cell in (LIVE, TWIN, STATIC):
            visit.outputs(cell).locator(".card").first.wait_for()
        assert not visit.page.get_by_text("Error displaying widget").count()
        visit.check()
    card(again, LIVE).click()  # nobody is there who could be asked for the original
    again.page.locator(LIGHTBOX).get_by_text("run the cell again").wait_for()
    again.page.keyboard.press("Escape")


@IN_NOTEBOOK
def test_who_does_not_trust_it_sees_the_first_pictures_and_nothing_that_does_nothing(mailed: Visit) -> None:
    for cell in (LIVE, TWIN, STATIC):
        sheet = mailed.outputs(cell).last
        sheet.scroll_into_view_if_needed()
        assert sheet.locator("img").evaluate_all("all => all.map(each => each.naturalWidth > 100)") == [True] * FIRST
        lines = [line.strip() for line in sheet.inner_text().splitlines() if line.strip()]
        assert lines[0] == "Run r1"
        assert lines[1].startswith(f"{PICTURES + OTHERS} media, ")
        assert lines[1:].count("picture 3") == 1
        assert not [line for line in lines if len(line) > 160]  # nothing runs together
    for cell in range(len(CELLS)):
        assert not mailed.outputs(cell).last.locator("button, input, select").count(), CELLS[cell]
    mailed.check()


COMMANDS = ("x", "b", "a", "d", "d", "m", "j", "k", "ArrowDown", "Shift+Enter", "Enter", "l")
"""Keys by which a host would cut, insert, delete, change, leave or run the cell."""


def test_letters_that_are_typed_into_it_are_no_commands_of_the_host(ran: Visit) -> None:
    before, page = ran.cells(), ran.page
    shown = ran.outputs(LIVE).last
    for place in (".card .open", ".card .check", "select", "input[type=search]", "input[type=range]", "button.filters"):
        for key in COMMANDS:
            shown.locator(place).first.focus()
            page.keyboard.press(key)
            page.keyboard.press("Escape")  # what Enter opened
        assert ran.cells() == before, place
    card(ran, LIVE).click()
    for key in COMMANDS:
        page.keyboard.press(key)
    assert (ran.cells(), page.locator(LIGHTBOX).count()) == (before, 1)
    page.locator(LIGHTBOX).locator("aside").click()  # on nothing that takes the focus
    page.keyboard.press("x")
    page.keyboard.press("Escape")
    shown.locator(".count").click()
    page.keyboard.press("x")
    assert ran.cells() == before
    ran.outputs(len(CELLS) - 1).click()  # outside of it they are
    page.keyboard.press("b")
    assert len(ran.cells()) == len(before) + 1
    ran.command("notebook:undo-cell-action")
    ran.check()


def test_by_keyboard_alone_one_looks_rates_and_selects(ran: Visit, store: MediaStore) -> None:
    page = ran.page
    ran.asked("gallery._select([])")
    ran.outputs(LIVE).last.locator("input[type=search]").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.shadowRoot?.activeElement?.matches('.open')"):
            break
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    box = page.locator(LIGHTBOX)
    box.locator(".picture img").wait_for()
    page.wait_for_function(SHOWN)
    page.keyboard.press("4")
    box.get_by_text("Rated 4").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    ran.wait("*(each.rpartition('/')[2][:4] for each in gallery.selected)", "0002 0003")
    references = list(store.list(run_id="r1"))
    assert [store.info(each).attributes.get("rating") for each in references[:3]] == [None, 4, None]
    ran.check()


def test_shown_twice_it_opens_once_and_answers_go_to_who_asked(ran: Visit) -> None:
    card(ran, TWIN, 5).click()
    box = ran.page.locator(LIGHTBOX)
    box.locator(".picture img").wait_for()
    ran.page.wait_for_function(SHOWN)
    assert box.count() == 1
    assert ran.outputs(TWIN).last.locator(LIGHTBOX).count() == 1
    assert box.evaluate("(it) => { const { x, y, width } = it.getBoundingClientRect(); return [x, y, width]; }") == [
        0,
        0,
        1400,
    ]
    ran.page.keyboard.press("Escape")
    assert box.count() == 0


@IN_NOTEBOOK
def test_films_play_and_sounds_seek_with_bytes_from_the_kernel(ran: Visit) -> None:
    page = ran.page
    card(ran, LIVE).click()
    box = page.locator(LIGHTBOX)
    page.keyboard.press("End")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    box.get_by_role("button", name="Play").click()
    film = box.locator("video")
    film.wait_for()
    assert film.evaluate("async (it) => { await it.play(); return it.duration }") == pytest.approx(2, abs=0.2)
    page.keyboard.press("Escape")
    card(ran, LIVE).click()
    page.keyboard.press("End")
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    box.get_by_role("slider").focus()
    page.keyboard.press("End")
    page.wait_for_function(SHOWN)
    page.keyboard.press("Escape")
    ran.check()


@IN_LAB
def test_the_code_beside_a_media_runs_as_it_stands(ran: Visit) -> None:
    code = "for item in gallery.data['items']: html = eval(item['code'])._repr_html_(); print(len(html) > 50, end=' ')"
    assert ran.asked(code).split() == ["True"] * (PICTURES + OTHERS)


STYLES = """(element) => {
  const style = getComputedStyle(element);
  const names = ["padding", "margin", "border", "fontSize", "lineHeight", "whiteSpace", "background", "overflow"];
  return names.map((name) => style[name]);
}"""


@IN_LAB
def test_styles_of_the_host_do_not_reach_it(ran: Visit, store: MediaStore, browser: Any, tmp_path: Any) -> None:
    """JupyterLab has rules for `pre`, `code`, `table`, `img` in outputs."""
    looks = []
    saved = browser.new_page(viewport={"width": 1400, "height": 900})
    saved.goto(store.gallery(run_id="r1").save(tmp_path / "saved.html").as_uri())
    for page, place in ((saved, saved), (ran.page, ran.outputs(STATIC).last)):
        place.locator(".card .open").first.click()
        page.keyboard.press("End")
        for _ in range(3):
            page.keyboard.press("ArrowLeft")
        box = page.locator(LIGHTBOX)
        box.locator(".facts code").first.wait_for()
        looks.append([box.locator(each).first.evaluate(STYLES) for each in (".facts code", "h2", "dd", "aside p")])
        page.keyboard.press("Escape")
    saved.close()
    assert looks[0] == looks[1]


def test_it_is_as_dark_as_its_host(host: str, ran: Visit) -> None:
    place, colour = ran.outputs(LIVE).last.locator(".viewer"), "(it) => getComputedStyle(it).backgroundColor"
    assert place.evaluate(colour) == "rgb(255, 255, 255)"
    ran.command("apputils:change-theme", theme="JupyterLab Dark")
    ran.page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    assert place.evaluate(colour) == "rgb(17, 17, 17)"
    if host == LAB:  # both have the same colours
        assert violations(ran.page, OUTPUTS) == []
    ran.command("apputils:change-theme", theme="JupyterLab Light")
    ran.page.wait_for_function("document.body.dataset.jpThemeLight === 'true'")


@IN_NOTEBOOK
def test_a_page_that_is_loaded_again_finds_its_kernel_and_what_was_rated(host: str, ran: Visit) -> None:
    stars = ran.outputs(LIVE).last.locator(".stars")
    before = stars.count()
    number = 7 if host == LAB else 9  # the store is the same
    card(ran, LIVE, number).focus()
    ran.page.keyboard.press("5")
    stars.nth(before).wait_for()
    ran.wait(f"gallery.records[{number}].attributes.get('rating')", "5")
    ran.load()  # a notebook that was saved before
    ran.outputs(LIVE).last.locator(".card").first.wait_for(state="attached")
    ran.outputs(LIVE).last.scroll_into_view_if_needed()  # hosts draw nothing that is out of view
    stars.nth(before).wait_for()
    card(ran, LIVE, 8).click()
    ran.page.wait_for_function(SHOWN)
    ran.check()
