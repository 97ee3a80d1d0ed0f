"""Single things in a notebook: contents, players, the summary of a store, the report of a sweep, runs side by side."""

from __future__ import annotations

import builtins
import io
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

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
)
from fsmedia.display import summary
from tests.surfaces import specimens
from tests.surfaces.specimens import HOSTILE, put
from tests.surfaces.test_gallery import Page

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Clock
    from tests.storages import MemoryStorage, Storage


def shown(thing: Any) -> Page:
    html = thing._repr_html_()
    assert type(html) is str
    return Page(html)


# -- contents and players ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "tag", "said"),
    [
        (MediaContent.from_bytes(specimens.picture(), caption="two halves"), "img", "two halves"),
        (MediaContent.from_bytes(specimens.sound()), "audio", "1.0 s"),
        (MediaContent.from_bytes(specimens.film()), "img", "content.player()"),
        (MediaContent.from_text("# hello", "text/markdown"), "pre", "# hello"),
        (MediaContent.from_bytes(specimens.paper()), "img", "application/pdf"),
        (MediaContent.from_bytes(b"PK\x03\x04"), "svg", "no preview: application/zip is not looked into"),
        (MediaContent.from_bytes(specimens.SVG), "pre", "onload"),
        (MediaContent.from_bytes(b"", "image/png"), "svg", "no preview: it is empty"),
        (MediaContent.from_url("https://example.org/a.png?key=secret"), "svg", "nothing is fetched"),
        (MediaContent.from_stream(io.BytesIO(b"abc"), "text/plain"), "svg", "read only once"),
        (MediaContent(file_path="no-such.png", mime_type="image/png"), "svg", "no such file"),
        (MediaContent(storage_reference="runs/r1/x.png", mime_type="image/png"), "svg", "retrieve_media"),  # type: ignore[arg-type]
        (MediaContent.from_text("x", caption=HOSTILE), "pre", "onerror="),
    ],
    ids=[
        "picture",
        "sound",
        "film",
        "text",
        "paper",
        "zip",
        "svg",
        "empty",
        "url",
        "stream",
        "no file",
        "name",
        "evil",
    ],
)
def test_a_content_shows_itself(content: MediaContent, tag: str, said: str) -> None:
    page = shown(content)
    assert tag in {name for name, _ in page.tags}
    assert said in page.text
    assert "secret" not in page.text
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert "script" not in {name for name, _ in page.tags}


def test_showing_a_stream_reads_nothing_of_it() -> None:
    stream = io.BytesIO(b"abc")
    MediaContent.from_stream(stream, "text/plain")._repr_html_()
    assert stream.tell() == 0


def test_a_stored_content_shows_itself_from_any_storage(storage: Storage) -> None:
    store = MediaStore(storage.url, storage_options=storage.options)
    content = store.retrieve_media(put(store, specimens.picture(), "image/png", caption="stored"))
    assert "stored" in shown(content).text
    assert "0000_00.png" in shown(content).text
    assert "img" in {name for name, _ in shown(content).tags}
    store.delete_media(next(store.list()))
    assert "no preview" in shown(content).text


@pytest.mark.parametrize(
    ("content", "tag"),
    [
        (MediaContent.from_bytes(specimens.picture()), "img"),
        (MediaContent.from_bytes(specimens.sound()), "audio"),
        (MediaContent.from_bytes(specimens.film()), "video"),
        (MediaContent.from_bytes(specimens.HTML, "text/html"), "pre"),
        (MediaContent.from_bytes(specimens.SVG, "image/png"), "pre"),
    ],
    ids=["picture", "sound", "film", "html", "svg"],
)
def test_a_player_holds_all_of_it(content: MediaContent, tag: str) -> None:
    page = shown(content.player())
    assert [name for name, _ in page.tags if name != "style"] == ["div", tag]


def test_a_player_refuses_what_is_too_large_or_of_no_use() -> None:
    content = MediaContent.from_bytes(specimens.sound())
    with pytest.raises(MediaTooLargeError, match="max_size=None"):
        content.player(max_size=100)
    assert content.player(max_size=None)
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


def test_a_display_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "import_module", lambda _name: 1 / 0)
    assert MediaContent.from_text("x")._repr_html_() is None


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


def test_a_store_of_nothing_and_one_that_does_not_answer(memory_storage: MemoryStorage, tmp_path: Path) -> None:
    page = shown(MediaStore(memory_storage.url))
    assert "no store was made here yet" in page.text
    assert memory_storage.keys() == set()
    assert "read-only" in shown(MediaStore(MediaStore("memory://made").create().url, read_only=True)).text
    store = MediaStore(tmp_path / "media").create()
    (tmp_path / "media" / "runs").write_text("no folder")
    assert store.url in shown(store).text


def test_a_failing_storage_is_told_and_not_raised(
    memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MediaStore(memory_storage.url)

    def fails(*_: object, **__: object) -> None:
        raise StorageError("the storage <b>failed</b>")

    monkeypatch.setattr(store._backend, "children", fails)
    assert "the storage <b>failed</b>" in shown(store).text


def test_a_summary_stops_listing(memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MediaStore(memory_storage.url)
    for index in range(5):
        put(store, b"x", "text/plain", message_idx=index)
    monkeypatch.setattr(summary, "MOST_LISTED", 6)
    assert "at least 3 in 1 folder" in shown(store).text
    assert "Only the first 6 names were listed." in shown(store).text


def test_a_report_of_a_sweep_shows_a_table(storage: Storage, clock: Clock) -> None:
    store = MediaStore(storage.url, storage_options=storage.options, now=clock)
    gone = put(store, b"x" * 2000, "text/plain", policy_name="delete-after-5min")
    held = put(store, b"y", "text/plain", policy_name="delete-after-5min", message_idx=1)
    broken = put(store, b"z", "text/plain", policy_name="delete-after-5min", message_idx=2)
    store.hold(held, HOSTILE)
    storage.write(f"{broken}.meta", b"{")
    report = store.enforce_policy(now=clock() + timedelta(hours=1), dry_run=True)
    page = shown(report)
    for said in ("A dry run: nothing was changed.", "would delete 1 (2.0 KiB)", "1 skipped", "1 failed", gone, held,
                 broken, "delete-after-5min"):  # fmt: skip
        assert said in page.text, said
    assert "script" not in {name for name, _ in page.tags}


# -- comparisons -------------------------------------------------------------------------------------------


def test_runs_stand_side_by_side(storage: Storage) -> None:
    store = MediaStore(storage.url, storage_options=storage.options)
    put(store, specimens.picture(), "image/png")
    put(store, specimens.picture(), "image/png", run_id="r2")
    put(store, b"only here", "text/plain", message_idx=2, part_idx=1)
    put(store, specimens.sound(), "audio/wav", run_id="r3", conversation_id="other")
    made = store.compare(["r1", "r2", "r3"])
    assert repr(made) == "<Comparison of 3 runs, 2 positions>"
    assert made.positions == [("", 0, 0), ("", 2, 1)]
    assert made.missing == [("r2", ("", 2, 1)), ("r3", ("", 2, 1))]
    page = shown(made)
    assert len(page.of("fsm-card")) == 4
    assert len(page.of("fsm-missing")) == 2
    assert page.text.count("same bytes as r1") == 1
    assert "message 2, part 1" in page.text
    assert store.compare(["r1", "r3"], by="conversation").positions == [("c1", 0, 0), ("c1", 2, 1), ("other", 0, 0)]


@pytest.mark.parametrize("runs", ["r1", [], [""], [1], [str(index) for index in range(13)]])
def test_runs_that_can_not_be_compared(runs: Any, memory_storage: MemoryStorage) -> None:
    with pytest.raises(InvalidMediaError):
        MediaStore(memory_storage.url).compare(runs)


def test_other_ways_to_compare_are_refused(memory_storage: MemoryStorage) -> None:
    with pytest.raises(InvalidMediaError, match="unknown by"):
        MediaStore(memory_storage.url).compare(["r1"], by="colour")  # type: ignore[arg-type]
    assert "No media of these runs" in shown(MediaStore(memory_storage.url).compare(["r1", "r2"])).text


async def looked_at(storage: Storage) -> tuple[int, int]:
    async with AsyncMediaStore(storage.url, storage_options=storage.options) as store:
        content = MediaContent.from_text("x")
        await store.store_media(content, MediaMetadata(run_id="r1"))
        return len(await store.gallery()), len(await store.compare(["r1"]))


def test_the_asynchronous_store_shows_the_same(memory_storage: MemoryStorage) -> None:
    import asyncio

    assert asyncio.run(looked_at(memory_storage)) == (1, 1)
