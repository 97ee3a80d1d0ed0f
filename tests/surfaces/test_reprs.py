"""What a store, a record, a row, a table and a report show of themselves: few pictures, bounded, and in any host."""

import copy
import os
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from fsmedia import MediaContent, MediaStore, errors, import_folder, models
from fsmedia.display import card
from fsmedia.display.summary import NEWEST
from tests.contract.specimens import raised
from tests.protocol.wire import counted, opened
from tests.storages import LocalStorage, MemoryStorage, S3Storage, Storage
from tests.surfaces import specimens
from tests.surfaces.commands import ROOT, answers, exits, tells
from tests.surfaces.specimens import HOSTILE, Page, put
from tests.surfaces.test_browser import visiting
from tests.surfaces.test_displays import shown

PICTURES = "data:image/webp;base64,", "data:image/png;base64,"


def seen(html: str | None) -> int:
    """Return how many pictures of this package's making a piece of HTML has; it has nothing else that is loaded."""
    assert html is not None
    page = Page(html)
    sources = [attributes.get("src") or "" for name, attributes in page.tags if name in ("img", "audio", "video")]
    assert [each for each in sources if not each.startswith((*PICTURES, "data:audio/wav"))] == []
    assert page.handlers() == []
    assert not page.count("script")
    return page.count("img")


@pytest.fixture
def store(storage: Storage) -> MediaStore:
    made = MediaStore(storage.url, storage_options=storage.options)
    for index in range(3):
        put(made, specimens.picture((40 + index, 30)), "image/png", message_idx=index, caption=HOSTILE)
    put(made, b"# a text", "text/markdown", message_idx=7)
    return made


def test_a_store_shows_its_newest_pictures(moto_storage: S3Storage, cache_folder: Path) -> None:
    store = opened(moto_storage)
    for index in range(NEWEST + 3):
        put(store, specimens.picture((40 + index, 30)), "image/png", message_idx=index)
    put(store, b"text", "text/plain", message_idx=99)
    html, first = counted(moto_storage, store._repr_html_)
    assert seen(html) == NEWEST
    _, again = counted(moto_storage, store._repr_html_)
    assert first - again == {"get": NEWEST}, "each picture is read once, each sidecar each time"
    assert again["get"] == NEWEST
    assert again["list"] <= 4
    for index in range(3):  # a store of large pictures costs no more
        put(store, specimens.picture() + bytes(card.MOST_READ), "image/png", message_idx=20 + index)
    assert seen(store._repr_html_()) == NEWEST


def test_records_rows_and_what_would_go_show_pictures(store: MediaStore, storage: Storage, tmp_path: Path) -> None:
    first, second, third, text = store.list()
    record, catalog = store.info(first), store.catalog()
    assert seen(record._repr_html_()) == 1
    assert catalog[0] == catalog[first] == record.model_copy(update={"hold": None})
    assert [each.reference for each in catalog] == [first, second, third, text]
    assert [seen(each._repr_html_()) for each in store.gallery(mime_type="image/*").records] == [1, 1, 1]
    assert [seen(each._repr_html_()) for each in (catalog[1], catalog[text], *store.info_many([third]))] == [1, 0, 1]
    assert "# a text" in shown(catalog[-1]).text
    raised(IndexError, catalog.__getitem__, 4)
    raised(errors.MediaNotFoundError, catalog.__getitem__, "runs/r1/none.png", match="runs/r1/none.png")
    assert (seen(catalog._repr_html_()), seen(catalog.filter(mime_type="text/*")._repr_html_())) == (3, 0)
    plan = store.erase(run_id="r1", dry_run=True)
    assert seen(plan._repr_html_()) == 3
    store.apply_policy(second, "retain-1hours")
    plan = store.enforce_policy(now=record.timestamp + timedelta(hours=2), dry_run=True)  # type: ignore[operator]
    assert seen(plan._repr_html_()) == 1
    (tmp_path / "in" / "r9").mkdir(parents=True)
    (tmp_path / "in" / "r9" / "a.png").write_bytes(specimens.picture())
    assert seen(import_folder(store, str(tmp_path / "in"))._repr_html_()) == 1
    # What left this process knows no way to the bytes, nor a secret; and it is the same value.
    for way in (copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each)), lambda each: each.model_copy()):
        assert (way(record), way(plan)) == (record, plan)
    sent = pickle.dumps([record, plan])
    assert [each for each in map(str, storage.options.values()) if each.encode() in sent] == []
    assert seen(pickle.loads(sent)[0]._repr_html_()) == 0
    # What is gone, or damaged, has no picture, and says so.
    storage.write(first, specimens.picture((9, 9)))
    store.delete_media(third)
    tells(shown(record).text, "bytes were read where")
    tells(shown(catalog[third]).text, "its bytes are gone")
    assert (seen(catalog._repr_html_()), seen(store._repr_html_())) == (1, 2)  # with the one that came in


def test_pictures_shown_together_are_bounded(store: MediaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows, and however large what they name: what goes beyond has no picture, and is not read."""
    catalog = store.catalog()
    size = max(each.size_bytes for each in catalog)
    monkeypatch.setattr(card, "MOST_READ", 2 * size)
    assert seen(catalog._repr_html_()) == 2
    plan = store.erase(run_id="r1", dry_run=True)
    assert seen(plan._repr_html_()) == 2
    monkeypatch.setattr(card, "MOST_READ", 10)
    tells(shown(catalog[0]).text, "too large to be shown here")


def test_a_table_of_pandas_shows_thumbnails_of_the_rows_it_shows(moto_storage: S3Storage, cache_folder: Path) -> None:
    pd = pytest.importorskip("pandas")
    store = opened(moto_storage)
    for index in range(30):
        put(store, specimens.picture((40 + index, 30)), "image/png", message_idx=index, caption=HOSTILE)
    plain = store.catalog().to_pandas()
    frame, n = counted(moto_storage, lambda: store.catalog(refresh=False).to_pandas(thumbnails=True))
    assert (frame.columns[0], list(frame.columns[1:])) == ("thumbnail", list(plain.columns))
    assert n["get"] <= 2, "nothing is looked at yet"
    chosen = frame[frame.message_idx >= 10][["thumbnail", "caption"]].sort_values("caption")
    assert seen(chosen.head(4)._repr_html_()) == 4
    with pd.option_context("display.max_rows", 12, "display.min_rows", 6):
        html, n = counted(moto_storage, frame._repr_html_)
        assert (seen(html), seen(frame.iloc[:12]._repr_html_())) == (6, 12)
    assert n["get"] <= 6
    assert "<script>document" not in html
    assert seen(frame.thumbnail.iloc[0]._repr_html_()) == 1
    assert repr(frame.thumbnail.iloc[0]) == "<image/png>"
    assert seen(frame.drop(columns="thumbnail")._repr_html_()) == 0
    assert seen(frame.rename(columns={"thumbnail": "caption2"})._repr_html_()) == 0
    joined = frame.merge(pd.DataFrame({"reference": ["x"], "of": [1]}), how="outer", on="reference")
    assert seen(joined.tail(2)._repr_html_()) in (1, 2)


def test_nothing_is_a_wall_of_text(local_storage: LocalStorage) -> None:
    """What is empty is left out, what belongs together stands on one line, and long texts are cut; `--json` has all."""
    store, prompt = MediaStore(local_storage.url), "a garden " * 500
    attributes, caption = {"prompt": prompt, "score": 4.5}, "c" * 1_000
    reference = put(store, specimens.picture(), "image/png", caption=caption, attributes=attributes, provider_id="p")
    record = store.info(reference)
    assert repr(record).startswith(f"MediaRecord(reference='{reference}', ")
    assert len(repr(record)) < 700
    assert "None" not in repr(record)
    text = exits(0, "info", reference, "-s", local_storage.url).stdout
    lines = [line.split(None, 1) for line in text.splitlines()[1:]]
    heads = ["type", "caption", "from", "time", "expires", "sha256", "attributes", "prompt", "score"]
    assert [each[0] for each in lines] == [each for each in heads if each != "expires"]
    assert lines[0][1].startswith("image/png, 400 x 300 pixels, ")
    assert lines[2][1] == "run r1, conversation c1, message 0, part 0, by p"
    tells(text, f"... ({len(prompt):,} characters; --json shows all)")
    assert max(map(len, text.splitlines())) < 400
    (told,) = answers("info", reference, "-s", local_storage.url)
    assert (told["attributes"]["prompt"], told["caption"]) == (prompt, caption)
    page = record._repr_html_()
    assert page is not None
    folded, _, rest = page.partition("All that is known")
    assert prompt[:100] in folded
    assert prompt not in folded
    assert prompt[:1_900] in rest


# -- tables, in hosts that have styles of their own ---------------------------------------------------------------
HOST = """<!doctype html><meta charset=utf-8><title>host</title><style>
.host pre, .host code { white-space: pre-wrap; background: red; padding: 0; font-size: 30px }
.host table { table-layout: fixed; width: 100% } .host td, .host th { word-break: break-all; white-space: pre-wrap }
.host tr:nth-child(odd) { background: red } .host img { max-width: none; width: 900px } .host h2 { font-size: 60px }
</style><div class=host style="width: 360px">"""
LINES = """cell => {
  const text = document.createRange();
  text.selectNode(cell.firstChild);
  return text.getClientRects().length;
}"""


def test_a_hosts_styles_do_not_win_and_words_stay_whole(browser: Any, tmp_path: Path) -> None:
    finding = models.Finding(kind="catalog", key="runs/r1/" + 60 * "long", detail="out of step", repair="refresh it")
    report = models.VerifyReport(findings=(finding,), counts={"catalog": 1}, left=1)
    things = [report, MediaContent.from_text("print('a')  # " + "x" * 80), MediaContent.from_bytes(specimens.picture())]
    file = tmp_path / "host.html"
    file.write_text(HOST + "".join(each._repr_html_() or "" for each in things))
    with visiting(browser, file, viewport={"width": 390, "height": 800}) as page:
        assert not page.locator("pre, code").count()
        for word in ("catalog", "what is wrong"):
            assert page.get_by_text(word, exact=True).evaluate(LINES) == 1, word
        assert page.locator("img").bounding_box()["width"] <= 360
        assert page.locator("h2").evaluate("each => getComputedStyle(each).fontSize") == "17px"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        red = "all => all.filter(each => getComputedStyle(each).backgroundColor === 'rgb(255, 0, 0)').length"
        assert page.locator(".host *").evaluate_all(red) == 0


# -- comparisons ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scripts", [True, False])
def test_a_comparison_stacks_on_a_phone_and_stands_side_by_side_on_a_desk(
    browser: Any,
    memory_storage: MemoryStorage,
    scripts: bool,
    tmp_path: Path,
) -> None:
    store = MediaStore(memory_storage.url)
    for run in ("night", "day", HOSTILE):
        put(store, specimens.picture((900, 600)), "image/png", run_id=run, caption=HOSTILE, attributes={"model": "m-1"})
        put(store, specimens.sound(), "audio/wav", run_id=run, message_idx=1)
    put(store, b"only here", "text/plain", run_id="day", message_idx=2)
    page_file = store.compare(["night", "day", HOSTILE]).save(tmp_path / "c.html")
    options = {"java_script_enabled": scripts, "color_scheme": "dark"}
    with visiting(browser, page_file, viewport={"width": 390, "height": 844}, **options) as page:
        cells = [each.bounding_box() for each in page.locator("section").first.locator(".fsm-cell").all()]
        assert [box["width"] > 340 for box in cells] == [True] * 3
        assert cells[0]["y"] < cells[1]["y"] < cells[2]["y"]
        assert page.get_by_text("night", exact=True).count() == 3, "each position says whose it is"
        assert page.get_by_text("nothing at this position").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not page.locator("button, input, select, a").count(), "nothing that needs a script"
    with visiting(browser, page_file, viewport={"width": 1200, "height": 900}, **options) as page:
        first = page.locator("section").first.locator(".fsm-cell")
        assert len({each.bounding_box()["y"] for each in first.all()}) == 1
        small = first.first.locator("img").bounding_box()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert first.first.locator("img").bounding_box()["width"] > 1.5 * small["width"]
        assert first.first.get_by_text("model: m-1").is_visible()
        page.keyboard.press("Enter")
        assert first.first.locator("img").bounding_box() == small


# -- notebooks -----------------------------------------------------------------------------------------------------
BAR = """from fsmedia import MediaStore
from fsmedia.display import previewer
previewer._PATIENCE = 0
s = MediaStore("media")"""
CELLS = {
    "s.gallery()": ["execute_result"],
    "s.gallery(limit=2)": ["execute_result"],
    "print('first')\ns.compare(['r1'])": ["stream", "execute_result"],
    "s.gallery(interactive=True)": ["execute_result"],
    "g = s.gallery()\nprint('still there')": ["stream"],
    "display(s.gallery()); s.compare(['r1'])": ["display_data", "execute_result"],
}
"""A cell, and the outputs that whoever looks at it sees."""


def test_a_bar_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is an output of the cell, and no other output may go with it: what was drawn takes its place."""
    store = MediaStore(tmp_path / "media", durability="rename")
    for index in range(5):
        put(store, specimens.picture((40 + index, 30)), "image/png", message_idx=index)
    monkeypatch.setenv("FSMEDIA_CACHE", "off")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in (BAR, *CELLS)])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    nbformat.validate(notebook)
    for cell, (code, wanted) in zip(notebook.cells[1:], CELLS.items(), strict=True):
        kinds = [each["output_type"] for each in cell.outputs if each.get("data", True)]
        assert [each.replace("display_data", "execute_result") for each in kinds] == [
            each.replace("display_data", "execute_result") for each in wanted
        ], code
        assert len(cell.outputs) == len(wanted) + code.startswith("g ="), code
        assert "<progress" not in str(cell.outputs), code
