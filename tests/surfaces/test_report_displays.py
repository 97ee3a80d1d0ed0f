"""Reports in a notebook and at a prompt: a title, what was done, first rows; one line as text; no stranger's markup."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaStore, MediaTooLargeError, export_webdataset, import_folder, models
from fsmedia.cli import output
from fsmedia.display.reports import ROWS
from fsmedia.models.base import Report
from tests.surfaces.specimens import HOSTILE, put
from tests.surfaces.test_gallery import Page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Clock
    from tests.storages import MemoryStorage


def shown(thing: Any) -> Page:
    html = thing._repr_html_()
    assert type(html) is str
    page = Page(html)
    assert "script" not in {name for name, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    line = repr(thing)
    assert line.startswith(f"<{type(thing).__name__} ")
    assert len(line) < 400
    assert "\n" not in line
    return page


def failing() -> models.Failed:
    return models.Failed(reference=models.Reference(HOSTILE), error=MediaTooLargeError("too large", next_step="cut it"))


def test_every_report_has_a_line_and_a_table() -> None:
    reports = {each.__name__ for each in Report.__subclasses__()}
    assert {name for name in dir(models) if name.endswith("Report")} - {"Report"} <= reports
    for kind in Report.__subclasses__():
        needed = {name: None for name, field in kind.model_fields.items() if field.is_required()}
        report = kind.model_construct(
            **{**needed, **({"words": {"run_id": HOSTILE}} if kind is models.Receipt else {})}
        )
        assert repr(report).startswith(f"<{kind.__name__} ")
        assert report._repr_html_()


def test_what_strangers_wrote_into_a_report_is_text() -> None:
    skipped = (models.Skipped(reference=models.Reference("runs/r1/a.png"), reason=HOSTILE),)
    sync = models.SyncReport(target=HOSTILE, failed=(failing(),), skipped=skipped, deleted=(models.Reference(HOSTILE),))
    assert HOSTILE.split()[0] in shown(sync).text
    found = models.Finding(kind="foreign", key=HOSTILE, detail=HOSTILE)
    assert "Found" in shown(models.VerifyReport(findings=(found,), counts={"foreign": 1}, left=1)).text
    shown(models.ImportReport(stored=(models.Imported(HOSTILE, "a"),), skipped=(models.PassedOver(HOSTILE, HOSTILE),)))


def test_text_notebook_terminal_and_json_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    moved = tuple(models.Moved(f"runs/r1/{index}.png", HOSTILE) for index in range(3))
    report = models.SyncReport(
        target="s3://bucket", copied=3, moved=moved, failed=(failing(),), stopped=True, took=timedelta(seconds=90)
    )
    assert str(report) in shown(report).text
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


def test_a_table_has_its_first_rows_and_says_how_many_more() -> None:
    moved = tuple(models.Moved(f"runs/r1/{index}.png", "x") for index in range(3 * ROWS))
    page = shown(models.SyncReport(moved=moved, copied=len(moved), took=timedelta(seconds=2)))
    assert f"and {2 * ROWS} more" in page.text
    assert page.text.count("runs/r1/") == ROWS


def test_a_store_tells_all_it_did_in_a_notebook(memory_storage: MemoryStorage, clock: Clock, tmp_path: Path) -> None:
    store = MediaStore(memory_storage.url, now=clock)
    store.create()
    for index in range(3):
        put(store, b"x" * 2000, "text/plain", message_idx=index, caption=HOSTILE, policy_name="delete-after-5min")
    put(store, b"other", "text/plain", run_id="r2")
    memory_storage.write("runs/r2/foreign.txt.meta", b"{}")
    pytest.importorskip("pyarrow")
    said = {
        "stats": (store.stats(), ("4 media", "By run", "By expiry", "r1", "text/plain", "5.9 KiB")),
        "catalog": (store.catalog(), ("4 media", "reference", "runs/r1/", "2,000")),
        "verify": (store.verify(), ("The store is whole", "foreign.txt", "missing-bytes")),
        "import": (import_folder(store, _folder(tmp_path)), ("stored 1 (5 B)", "a.txt")),
        "export": (export_webdataset(store, str(tmp_path / "out")), ("exported", "Wrote")),
        "sync": (store.sync_to("memory://told-elsewhere"), ("copied", "Sync to memory://")),
        "orphans": (store.verify(repair="leftovers", dry_run=True), ("The store is whole", "0 findings")),
        "receipt": ((receipt := store.erase(run_id="r1")), ("Receipt: run_id=r1", "erased 3 (5.9 KiB)", "Erased")),
        "check": (store.check_receipt(receipt), ("The receipt holds", "3 media were erased: none of it is there")),
    }
    for name, (report, words) in said.items():
        page = shown(report)
        for word in words:
            assert word in page.text, (name, word, page.text)
    assert len(repr(said["catalog"][0])) < 200


def _folder(path: Path) -> str:
    (path / "in" / "r3").mkdir(parents=True)
    (path / "in" / "r3" / "a.txt").write_text("hello")
    return str(path / "in")
