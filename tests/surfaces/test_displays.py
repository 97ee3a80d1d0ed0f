"""What a notebook shows of contents, stores, reports and comparisons: bounded, and no stranger's markup."""

import asyncio
import builtins
import io
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors, export_webdataset, import_folder, models
from fsmedia.aio import AsyncMediaStore
from fsmedia.cli import output
from fsmedia.display import previewer, summary
from fsmedia.display.reports import ROWS
from fsmedia.models.base import Report
from tests.conftest import Clock
from tests.contract.specimens import raised
from tests.protocol.wire import counted, is_at_most
from tests.storages import MemoryStorage, S3Storage, Storage
from tests.surfaces import specimens
from tests.surfaces.commands import fsmedia, places, refused, tells
from tests.surfaces.specimens import HOSTILE, Page, filled, put
from tests.transfers import opened


@pytest.fixture
def store(memory_storage: MemoryStorage, clock: Clock) -> MediaStore:
    return opened(memory_storage, now=clock)


def test_a_bar_is_shown_to_whoever_waits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def display(data: dict[str, str], **_: object) -> Any:
        shown.append(data.get("text/html", "").rpartition("</progress> ")[2])
        return SimpleNamespace(update=display)

    monkeypatch.setattr(previewer, "_notebook", lambda: display)
    monkeypatch.setattr(previewer.time, "monotonic", iter([0.0, 0.1, 0.7, 0.75, 0.9, 5.0]).__next__)
    with previewer.progress_bar(True, 9) as tell:
        for count in range(1, 6):
            tell(count)
    assert shown == ["2 of 9 previews", "4 of 9 previews", "5 of 9 previews", ""]
    monkeypatch.setattr(previewer, "_notebook", lambda: None)
    monkeypatch.setattr(previewer.time, "monotonic", iter([0.0, 9.0]).__next__)
    monkeypatch.setattr(previewer.sys.stderr, "isatty", lambda: True)
    with previewer.progress_bar(True, 2) as tell:
        tell(1)
    assert capsys.readouterr().err == "\r1 of 2 previews\r\x1b[K"


def test_a_summary_of_a_store_asks_a_bounded_number_of_requests(moto_storage: S3Storage) -> None:
    store = opened(moto_storage, default_policy="retain-1hours").create()
    filled(moto_storage, 30, b"\x89PNG\r\n\x1a\n")
    shown, n = counted(moto_storage, store._repr_html_)
    assert shown is not None
    assert is_at_most(n, list=4, get=2 * summary.NEWEST), n


# -- `fsmedia gallery`, `fsmedia compare` ---------------------------------------------------------------------
def test_a_gallery_and_a_comparison_are_written(storage: Storage, here: Path) -> None:
    store = opened(storage)
    put(store, specimens.picture(), "image/png")
    put(store, b"text", "text/plain", message_idx=1)
    words = ["gallery", *places(storage), "--run", "r1"]
    done = fsmedia(*words, "--mime", "image/*", "-o", "g.html")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("g.html: 1 of 1 media, ")
    assert len(Page(Path("g.html").read_text()).data["items"]) == 1
    assert fsmedia(*words, "--limit", "1", "--group-by", "none", "--sort", "largest").exit_code == 0
    written = Page(Path("gallery.html").read_text())
    assert (len(written.data["items"]), list(written.originals)) == (1, [0])
    assert fsmedia(*words, "--originals", "10B").exit_code == 0
    assert list(Page(Path("gallery.html").read_text()).originals) == [1]
    assert fsmedia(*words, "--originals", "0").exit_code == 0
    assert Page(Path("gallery.html").read_text()).originals == {}
    tells(refused(fsmedia(*words, "--originals", "much"), 2), "--originals", "write 500MB or 1GiB")
    said = json.loads(fsmedia(*words, "--json").stdout)
    assert said == {"path": "gallery.html", "shown": 2, "total": 2}
    put(store, specimens.picture(), "image/png", run_id="r2")
    words = ["compare", "r1", "r2", *places(storage)]
    assert fsmedia(*words).stdout == "compare.html: 2 runs, 2 positions, 1 missing in a run\n"
    said = json.loads(fsmedia(*words, "-o", "c.html", "--json").stdout)
    assert said == {"path": "c.html", "runs": ["r1", "r2"], "positions": 2, "missing": 1}
    assert "none of these runs" in refused(fsmedia("compare", "a", "b", *places(storage)), 1)


def shown(thing: Any) -> Page:
    html = thing._repr_html_()
    assert type(html) is str
    page = Page(html)
    assert page.handlers() == []
    return page


def report_shown(thing: Any) -> Page:
    line = repr(thing)
    assert line.startswith(f"<{type(thing).__name__} ")
    assert len(line) < 400
    assert "\n" not in line
    page = shown(thing)
    assert page.count("script") == 0
    return page


# -- contents and players ----------------------------------------------------------------------------------
CONTENTS = {
    "picture": (MediaContent.from_bytes(specimens.picture(), caption="two halves"), "img", "two halves"),
    "sound": (MediaContent.from_bytes(specimens.sound()), "audio", "1.0 s"),
    "film": (MediaContent.from_bytes(specimens.film()), "img", "content.player()"),
    "text": (MediaContent.from_text("# hello", "text/markdown"), "div", "# hello"),
    "paper": (MediaContent.from_bytes(specimens.paper()), "img", "application/pdf"),
    "zip": (MediaContent.from_bytes(b"PK\x03\x04"), "svg", "no preview: application/zip is not looked into"),
    "svg": (MediaContent.from_bytes(specimens.SVG), "div", "onload"),
    "empty": (MediaContent.from_bytes(b"", "image/png"), "svg", "no preview: it is empty"),
    "url": (MediaContent.from_url("https://example.org/a.png?key=secret"), "svg", "nothing is fetched"),
    "stream": (MediaContent.from_stream(io.BytesIO(b"abc"), "text/plain"), "svg", "read only once"),
    "no file": (MediaContent(file_path="no-such.png", mime_type="image/png"), "svg", "no such file"),
    "name": (MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png"), "svg", "retrieve_media"),  # type: ignore[arg-type]
    "evil": (MediaContent.from_text("x", caption=HOSTILE), "div", "onerror="),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_content_shows_itself(name: str) -> None:
    content, tag, said = CONTENTS[name]
    page = shown(content)
    assert page.count(tag) > page.count("script") == 0
    assert said in page.text
    assert "secret" not in page.text


def test_a_stored_content_shows_itself_and_a_stream_is_not_read(storage, monkeypatch) -> None:
    store = MediaStore(storage.url, storage_options=storage.options)
    content = store.retrieve_media(put(store, specimens.picture(), "image/png", caption="stored"))
    page = shown(content)
    assert [said for said in ("stored", "0000_00.png") if said not in page.text] == []
    assert page.count("img")
    store.delete_media(next(store.list()))
    assert "no preview" in shown(content).text
    stream = io.BytesIO(b"abc")
    MediaContent.from_stream(stream, "text/plain")._repr_html_()
    assert stream.tell() == 0
    monkeypatch.setattr("fsmedia.display.import_module", lambda _name: 1 / 0)
    assert MediaContent.from_text("x")._repr_html_() is None


def test_a_player_holds_all_of_it_or_says_why_not() -> None:
    """It raises for none of them: the code on a card runs as it stands."""
    for data, tags, said in (
        (specimens.picture(), ["img"], ""), (specimens.sound(), ["audio"], ""),
        (specimens.coded("matroska", "libx264"), ["video"], ""),
        (specimens.film(), ["img", "p"], "its codec mpeg4 plays in no browser"),
        (specimens.HTML, ["div"], "hello"), (specimens.SVG, ["div", "p"], "this is its text"),
        (specimens.DRAWN, ["img"], ""), (b"PK\x03\x04" + bytes(50), ["p"], "browsers do not show application/zip"),
    ):  # fmt: skip
        player = MediaContent.from_bytes(data).player()
        page = shown(player)
        assert [name for name, _ in page.tags] == ["div", *tags]
        assert said in page.text
        assert repr(player).startswith("<Player of ")
    sound = MediaContent.from_bytes(specimens.sound())
    refused = shown(sound.player(max_size=100))
    assert "15.7 KiB are more than the 100 B that are played here; .player(max_size=None) shows it" in refused.text
    film = MediaContent.from_bytes(specimens.coded("mp4", "libx264"))
    assert "data:image/webp" in film.player(max_size=100)._repr_html_()
    assert "data:video/mp4" in film.player(max_size=None)._repr_html_()
    stream = MediaContent.from_stream(io.BytesIO(specimens.sound()), "audio/wav")
    assert "data:audio/wav" in stream.player()._repr_html_()


def test_without_the_libraries_a_card_names_them(memory_storage, monkeypatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] in ("markupsafe", "PIL", "av"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    for name in [each for each in sys.modules if each.startswith("fsmedia.display.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    html = MediaContent.from_text("x", caption="<b>")._repr_html_()
    assert html is not None
    assert "pip install pillow av" in html
    assert "<b>" not in html
    raised(errors.MediaError, MediaContent.from_text("x").player, match="pip install pillow av tinytag")
    store = MediaStore(memory_storage.url)
    assert store._repr_html_() is None  # the plain text is shown
    raised(errors.MediaError, store.gallery, match="pip install pillow av tinytag")
    catalog = store.create().catalog()
    raised(errors.StorageError, catalog.to_pandas, match="pip install pillow av tinytag", thumbnails=True)


def test_a_record_shows_what_is_known_and_its_attributes_a_line_each(memory_storage: MemoryStorage) -> None:
    store = MediaStore(memory_storage.url)
    attributes = {"prompt": HOSTILE, "score": 4.5, "tags": ["night", "cat"], "short": "4", "_x-y": True}
    metadata = MediaMetadata(run_id=HOSTILE, attributes=attributes)
    record = store.info(store.store_media(MediaContent.from_text("x", caption=HOSTILE), metadata))
    told = shown(record).text
    assert [word for word in ("\u202e", "\x1b", "user.") if word in told] == []
    lines = ("_x-y true", 'prompt ">', "score 4.5", 'short "4"', 'tags ["night","cat"]')
    tells(told, record.reference, str(record.sha256), " ".join(lines[2:]), *lines)


# -- stores and reports ------------------------------------------------------------------------------------
def test_a_store_shows_a_summary(storage: Storage, clock: Clock) -> None:
    store = MediaStore(storage.url, storage_options=storage.options, deduplicate=True, now=clock, read_only=False)
    put(store, bytes(3000), "image/png")
    put(store, bytes(3000), "image/png", run_id="r2", policy_name="retain-12hours")
    put(store, b"text", "text/plain", policy_name="retain-3days")
    page = shown(store)
    for said in ("4 B", "3 in 2 folders", "saved by sharing", "2.9 KiB", "image/png", "by-run",
                 "expire within a day 1", "deduplicated", store.url):  # fmt: skip
        assert said in page.text, said
    for secret in ("testing", "minio"):
        assert secret not in page.text


def test_a_store_of_nothing_one_that_does_not_answer_and_one_that_is_large(memory_storage, tmp_path, monkeypatch):
    store = MediaStore(memory_storage.url)
    assert "no store was made here yet" in shown(store).text
    assert memory_storage.keys() == set()
    assert "read-only" in shown(MediaStore(MediaStore("memory://made").create().url, read_only=True)).text
    local = MediaStore(tmp_path / "media").create()
    (tmp_path / "media" / "runs").write_text("no folder")
    assert local.url in shown(local).text
    for index in range(5):
        put(store, b"x", "text/plain", message_idx=index)
    monkeypatch.setattr(summary, "MOST_LISTED", 6)
    assert "at least 3 in 1 folder" in shown(store).text
    assert "Only the first 6 names were listed." in shown(store).text

    def fails(*_: object, **__: object) -> None:
        raise errors.StorageError("the storage <b>failed</b>")

    monkeypatch.setattr(store._backend, "children", fails)
    assert "the storage <b>failed</b>" in shown(store).text


def test_a_report_of_a_sweep_shows_a_table(storage: Storage, clock: Clock) -> None:
    store = MediaStore(storage.url, storage_options=storage.options, now=clock)
    gone = put(store, b"x" * 2000, "text/plain", policy_name="delete-after-5min")
    held = put(store, b"y", "text/plain", policy_name="delete-after-5min", message_idx=1)
    broken = put(store, b"z", "text/plain", policy_name="delete-after-5min", message_idx=2)
    store.hold(held, HOSTILE)
    storage.write(f"{broken}.meta", b"{")
    page = report_shown(store.enforce_policy(now=clock() + timedelta(hours=1), dry_run=True))
    for said in ("A dry run: nothing was changed.", "would delete 1 (2.0 KiB)", "1 skipped", "1 failed", gone, held,
                 broken, "delete-after-5min"):  # fmt: skip
        assert said in page.text, said


# -- comparisons -------------------------------------------------------------------------------------------
def test_runs_stand_side_by_side(storage: Storage) -> None:
    store = MediaStore(storage.url, storage_options=storage.options)
    put(store, specimens.picture(), "image/png")
    put(store, specimens.picture(), "image/png", run_id="r2")
    put(store, b"only here", "text/plain", message_idx=2, part_idx=1)
    put(store, specimens.sound(), "audio/wav", run_id="r3", conversation_id="other")
    made = store.compare(["r1", "r2", "r3"])
    assert (repr(made), made.positions) == ("<Comparison of 3 runs, 2 positions>", [("", 0, 0), ("", 2, 1)])
    assert made.missing == [("r2", ("", 2, 1)), ("r3", ("", 2, 1))]
    page = shown(made)
    assert (len(page.of("fsm-card")), page.text.count("nothing at this position")) == (4, 2)
    assert page.text.count("same bytes as r1") == 1
    assert "message 2, part 1" in page.text
    assert store.compare(["r1", "r3"], by="conversation").positions == [("c1", 0, 0), ("c1", 2, 1), ("other", 0, 0)]


def test_runs_that_can_not_be_compared_and_the_asynchronous_store_shows_the_same(memory_storage: MemoryStorage) -> None:
    store = MediaStore(memory_storage.url)
    for runs in ("r1", [], [""], [1], [str(index) for index in range(13)]):
        raised(errors.InvalidMediaError, store.compare, runs)
    raised(errors.InvalidMediaError, store.compare, ["r1"], match="unknown by", by="colour")
    assert "No media of these runs" in shown(store.compare(["r1", "r2"])).text

    async def looked_at() -> tuple[int, int]:
        async with AsyncMediaStore(memory_storage.url) as store:
            await store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))
            return len(await store.gallery()), len(await store.compare(["r1"]))

    assert asyncio.run(looked_at()) == (1, 1)


# -- reports --------------------------------------------------------------------------------------------------
def failing() -> models.Failed:
    error = errors.MediaTooLargeError("too large", next_step="cut it")
    return models.Failed(reference=models.Reference(HOSTILE), error=error)


def test_every_report_has_a_line_and_a_table_and_what_strangers_wrote_into_it_is_text() -> None:
    reports = {each.__name__ for each in Report.__subclasses__()}
    assert {name for name in dir(models) if name.endswith("Report")} - {"Report"} <= reports
    for kind in Report.__subclasses__():
        needed = {name: None for name, field in kind.model_fields.items() if field.is_required()}
        words = {"words": {"run_id": HOSTILE}} if kind is models.Receipt else {}
        report = kind.model_construct(**{**needed, **words})
        assert repr(report).startswith(f"<{kind.__name__} ")
        assert report._repr_html_()
    skipped = (models.Skipped(reference=models.Reference("runs/r1/a.png"), reason=HOSTILE),)
    sync = models.SyncReport(target=HOSTILE, failed=(failing(),), skipped=skipped, deleted=(models.Reference(HOSTILE),))
    assert HOSTILE.split()[0] in report_shown(sync).text
    found = models.Finding(kind="foreign", key=HOSTILE, detail=HOSTILE)
    assert "Found" in report_shown(models.VerifyReport(findings=(found,), counts={"foreign": 1}, left=1)).text
    passed = (models.PassedOver(HOSTILE, HOSTILE),)
    report_shown(models.ImportReport(stored=(models.Imported(HOSTILE, "a"),), skipped=passed))
    moved = tuple(models.Moved(f"runs/r1/{index}.png", "x") for index in range(3 * ROWS))
    for count, rows, more in ((ROWS + 1, ROWS + 1, ""), (ROWS + 2, ROWS, "and 2 more")):
        page = report_shown(models.SyncReport(moved=moved[:count], copied=count, took=timedelta(seconds=2)))
        assert page.text.count("runs/r1/") == rows
        assert re.findall(r"and \d+ more", page.text) == [more][: len(more)]


def test_text_notebook_terminal_and_json_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    moved = tuple(models.Moved(f"runs/r1/{index}.png", HOSTILE) for index in range(4))
    facts = {"target": "s3://bucket", "copied": 3, "stopped": True, "took": timedelta(seconds=90)}
    report = models.SyncReport(**facts, moved=moved, failed=(failing(),))
    assert str(report) in report_shown(report).text
    assert "3" in str(report)
    output.print_report(report, rows=2, all_by="--all")
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:2]] == [["moved", each.old] for each in moved[:2]]
    assert lines[2:] == ["and 2 more moved; --all shows them", str(report)]
    assert printed.err.count("too large; cut it") == 1
    output.print_report(report, rows=3, all_by="--all")  # one that would be left out is shown instead
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:-1]] == ["moved"] * 4
    assert "\x1b" not in printed.out + printed.err
    output.print_report(report, as_json=True, holds=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["moved"][0], document["took"]) == ({"old": moved[0].old, "new": HOSTILE}, 90)
    assert document["holds"] is True


def test_a_store_tells_all_it_did_in_a_notebook(memory_storage: MemoryStorage, clock: Clock, tmp_path: Path) -> None:
    store = MediaStore(memory_storage.url, now=clock)
    store.create()
    for index in range(3):
        put(store, b"x" * 2000, "text/plain", message_idx=index, caption=HOSTILE, policy_name="delete-after-5min")
    put(store, b"other", "text/plain", run_id="r2")
    memory_storage.write("runs/r2/foreign.txt.meta", b"{}")
    folder = tmp_path / "in" / "r3"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("hello")
    said = {
        "stats": (store.stats(), ("4 media", "Media by run", "Media by expiry", "r1", "text/plain", "5.9 KiB")),
        "catalog": (store.catalog(), ("4 media", "reference", "runs/r1/", "2,000")),
        "verify": (store.verify(), ("The store is whole", "foreign.txt", "missing-bytes")),
        "import": (import_folder(store, str(folder.parent)), ("stored 1 (5 B)", "a.txt")),
        "export": (export_webdataset(store, str(tmp_path / "out")), ("exported", "Wrote")),
        "sync": (store.sync_to("memory://told-elsewhere"), ("copied", "Sync to memory://")),
        "orphans": (store.verify(repair="leftovers", dry_run=True), ("No leftovers", "0 findings")),
        "receipt": ((receipt := store.erase(run_id="r1")), ("Receipt: run_id=r1, 20", "erased 3 (5.9 KiB)", "Erased")),
        "check": (store.check_receipt(receipt), ("The receipt holds", "3 media were erased: none of it is there")),
    }
    for name, (report, words) in said.items():
        page = report_shown(report)
        for word in words:
            assert word in page.text, (name, word, page.text)
    assert len(repr(said["catalog"][0])) < 200
