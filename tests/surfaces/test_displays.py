"""Single things in a notebook: contents, players, stores, reports, runs side by side, widgets: no stranger's markup."""

from __future__ import annotations

import asyncio
import builtins
import io
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import (
    AsyncMediaStore,
    InvalidMediaError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaStore,
    MediaTooLargeError,
    StorageError,
    display,
    export_webdataset,
    import_folder,
    models,
)
from fsmedia.cli import output
from fsmedia.display import summary
from fsmedia.display.reports import ROWS
from fsmedia.models.base import Report
from tests.conftest import Clock
from tests.storages import MemoryStorage, Storage
from tests.surfaces import specimens
from tests.surfaces.specimens import HOSTILE, put
from tests.surfaces.test_gallery import Page


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
    "text": (MediaContent.from_text("# hello", "text/markdown"), "pre", "# hello"),
    "paper": (MediaContent.from_bytes(specimens.paper()), "img", "application/pdf"),
    "zip": (MediaContent.from_bytes(b"PK\x03\x04"), "svg", "no preview: application/zip is not looked into"),
    "svg": (MediaContent.from_bytes(specimens.SVG), "pre", "onload"),
    "empty": (MediaContent.from_bytes(b"", "image/png"), "svg", "no preview: it is empty"),
    "url": (MediaContent.from_url("https://example.org/a.png?key=secret"), "svg", "nothing is fetched"),
    "stream": (MediaContent.from_stream(io.BytesIO(b"abc"), "text/plain"), "svg", "read only once"),
    "no file": (MediaContent(file_path="no-such.png", mime_type="image/png"), "svg", "no such file"),
    "name": (MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png"), "svg", "retrieve_media"),  # type: ignore[arg-type]
    "evil": (MediaContent.from_text("x", caption=HOSTILE), "pre", "onerror="),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_content_shows_itself(name: str) -> None:
    content, tag, said = CONTENTS[name]
    page = shown(content)
    assert page.count(tag) > page.count("script") == 0
    assert said in page.text
    assert "secret" not in page.text


def test_a_stored_content_shows_itself_from_any_storage_and_a_stream_is_not_read(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MediaStore(storage.url, storage_options=storage.options)
    content = store.retrieve_media(put(store, specimens.picture(), "image/png", caption="stored"))
    page = shown(content)
    assert "stored" in page.text
    assert "0000_00.png" in page.text
    assert page.count("img")
    store.delete_media(next(store.list()))
    assert "no preview" in shown(content).text
    stream = io.BytesIO(b"abc")
    MediaContent.from_stream(stream, "text/plain")._repr_html_()
    assert stream.tell() == 0
    monkeypatch.setattr(display, "import_module", lambda _name: 1 / 0)
    assert MediaContent.from_text("x")._repr_html_() is None


def test_a_player_holds_all_of_it_and_refuses_what_is_too_large_or_of_no_use() -> None:
    sound = MediaContent.from_bytes(specimens.sound())
    for content, tag in (
        (MediaContent.from_bytes(specimens.picture()), "img"), (sound, "audio"),
        (MediaContent.from_bytes(specimens.film()), "video"),
        (MediaContent.from_bytes(specimens.HTML, "text/html"), "pre"),
        (MediaContent.from_bytes(specimens.SVG, "image/png"), "pre"),
    ):  # fmt: skip
        assert [name for name, _ in shown(content.player()).tags if name != "style"] == ["div", tag]
    with pytest.raises(MediaTooLargeError, match="max_size=None"):
        sound.player(max_size=100)
    assert sound.player(max_size=None)
    with pytest.raises(InvalidMediaError, match="can't show application/zip"):
        MediaContent.from_bytes(b"PK\x03\x04" + bytes(50)).player()


def test_without_the_libraries_there_is_a_plain_card_that_names_them(
    memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert "pip install &#x27;fsmedia[notebook]&#x27;" in html
    assert "<b>" not in html
    with pytest.raises(MediaError, match=r"pip install 'fsmedia\[notebook\]'"):
        MediaContent.from_text("x").player()
    store = MediaStore(memory_storage.url)
    assert store._repr_html_() is None  # the plain text is shown
    with pytest.raises(MediaError, match=r"pip install 'fsmedia\[notebook\]'"):
        store.gallery()


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


def test_a_store_of_nothing_one_that_does_not_answer_and_one_that_is_large(
    memory_storage: MemoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        raise StorageError("the storage <b>failed</b>")

    monkeypatch.setattr(store._backend, "children", fails)
    assert "the storage <b>failed</b>" in shown(store).text


def test_a_report_of_a_sweep_shows_a_table(storage: Storage, clock: Clock) -> None:
    store = MediaStore(storage.url, storage_options=storage.options, now=clock)
    gone = put(store, b"x" * 2000, "text/plain", policy_name="delete-after-5min")
    held = put(store, b"y", "text/plain", policy_name="delete-after-5min", message_idx=1)
    broken = put(store, b"z", "text/plain", policy_name="delete-after-5min", message_idx=2)
    store.hold(held, HOSTILE)
    storage.write(f"{broken}.meta", b"{")
    report = store.enforce_policy(now=clock() + timedelta(hours=1), dry_run=True)
    page = report_shown(report)
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
    assert (len(page.of("fsm-card")), len(page.of("fsm-missing"))) == (4, 2)
    assert page.text.count("same bytes as r1") == 1
    assert "message 2, part 1" in page.text
    assert store.compare(["r1", "r3"], by="conversation").positions == [("c1", 0, 0), ("c1", 2, 1), ("other", 0, 0)]


def test_runs_that_can_not_be_compared_and_the_asynchronous_store_shows_the_same(memory_storage: MemoryStorage) -> None:
    store = MediaStore(memory_storage.url)
    for runs in ("r1", [], [""], [1], [str(index) for index in range(13)]):
        with pytest.raises(InvalidMediaError):
            store.compare(runs)  # type: ignore[arg-type]
    with pytest.raises(InvalidMediaError, match="unknown by"):
        store.compare(["r1"], by="colour")  # type: ignore[arg-type]
    assert "No media of these runs" in shown(store.compare(["r1", "r2"])).text

    async def looked_at() -> tuple[int, int]:
        async with AsyncMediaStore(memory_storage.url) as store:
            await store.store_media(MediaContent.from_text("x"), MediaMetadata(run_id="r1"))
            return len(await store.gallery()), len(await store.compare(["r1"]))

    assert asyncio.run(looked_at()) == (1, 1)


# -- reports --------------------------------------------------------------------------------------------------


def failing() -> models.Failed:
    return models.Failed(reference=models.Reference(HOSTILE), error=MediaTooLargeError("too large", next_step="cut it"))


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
    page = report_shown(models.SyncReport(moved=moved, copied=len(moved), took=timedelta(seconds=2)))
    assert f"and {2 * ROWS} more" in page.text
    assert page.text.count("runs/r1/") == ROWS


def test_text_notebook_terminal_and_json_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    moved = tuple(models.Moved(f"runs/r1/{index}.png", HOSTILE) for index in range(3))
    facts = {"target": "s3://bucket", "copied": 3, "stopped": True, "took": timedelta(seconds=90)}
    report = models.SyncReport(**facts, moved=moved, failed=(failing(),))
    assert str(report) in report_shown(report).text
    assert "3" in str(report)
    output.print_report(report, rows=2, all_by="--all")
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:2]] == [["moved", each.old] for each in moved[:2]]
    assert lines[2:] == ["and 1 more moved; --all shows them", str(report)]
    assert printed.err.count("too large; cut it") == 1
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
        "orphans": (store.verify(repair="leftovers", dry_run=True), ("The store is whole", "0 findings")),
        "receipt": ((receipt := store.erase(run_id="r1")), ("Receipt: run_id=r1, 20", "erased 3 (5.9 KiB)", "Erased")),
        "check": (store.check_receipt(receipt), ("The receipt holds", "3 media were erased: none of it is there")),
    }
    for name, (report, words) in said.items():
        page = report_shown(report)
        for word in words:
            assert word in page.text, (name, word, page.text)
    assert len(repr(said["catalog"][0])) < 200


# -- the gallery as a widget ----------------------------------------------------------------------------------


def asked(widget: Any, question: object) -> list[tuple[dict[str, Any], list[bytes]]]:
    """Let a browser ask, and return what was sent to it."""
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    widget.send = lambda content, buffers=(): sent.append((content, list(buffers)))
    widget._handle_custom_msg(question, [])
    return sent


def test_a_card_gets_all_bytes_from_any_storage(storage: Storage) -> None:
    store = MediaStore(storage.url, storage_options=storage.options)
    put(store, specimens.film(), "video/mp4")
    put(store, specimens.sound(seconds=20), "audio/wav", message_idx=1)
    widget = store.gallery(interactive=True)
    assert len(widget) == len(widget.items) == len(widget.records) == widget.totals.media == 2
    assert repr(widget).startswith("<Gallery of ")
    assert asked(widget, {"n": 0}) == [({"n": 0, "tag": "video", "type": "video/mp4"}, [specimens.film()])]
    assert asked(widget, {"n": 1})[0][1] == [specimens.sound(seconds=20)]
    assert 'data-n="1"' in widget.html
    assert "<script" not in widget.html


def test_nothing_but_the_number_of_a_card_is_answered_nor_what_is_too_large(
    memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MediaStore(memory_storage.url)
    put(store, specimens.sound(), "audio/wav")
    widget = store.gallery(interactive=True)
    numbers = (-1, 1, "0", True, 0.0, "../x", [0])
    assert [each for each in (None, {}, "0", [], *({"n": n} for n in numbers)) if asked(widget, each)] == []
    monkeypatch.setattr("fsmedia.display.interactive.MOST_BYTES", 100)
    assert "larger than 100 B" in asked(widget, {"n": 0})[0][0]["error"]


def test_markup_is_sent_as_text_what_no_browser_shows_not_at_all_and_a_missing_anywidget_is_named(
    memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MediaStore(memory_storage.url)
    for index, (data, kind) in enumerate([(specimens.SVG, "image/svg+xml"), (specimens.HTML, "text/html")]):
        put(store, data, kind, message_idx=index)
    put(store, b"PK\x03\x04" + bytes(50), "application/zip", message_idx=2)
    gone = put(store, specimens.picture(), "image/png", message_idx=3)
    widget = store.gallery(interactive=True)
    store.delete_media(gone)
    for index in (0, 1):
        assert asked(widget, {"n": index})[0][0] == {"n": index, "tag": "text", "type": "text/plain"}
    assert "can't show application/zip" in asked(widget, {"n": 2})[0][0]["error"]
    assert asked(widget, {"n": 3}) == [({"n": 3, "error": "no such media"}, [])]
    monkeypatch.delitem(sys.modules, "fsmedia.display.interactive", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MediaError, match="pip install anywidget"):
        MediaStore(memory_storage.url).gallery(interactive=True)
