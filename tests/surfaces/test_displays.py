"""What a notebook and a saved page show: galleries, things, reports, widgets: bounded, and no stranger's markup."""

import asyncio
import builtins
import io
import json
import re
import sys
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors, export_webdataset, import_folder, models
from fsmedia.aio import AsyncMediaStore
from fsmedia.cli import output
from fsmedia.display import card as cards
from fsmedia.display import items, previewer, summary
from fsmedia.display.previewer import StoredSource
from fsmedia.display.reports import ROWS
from fsmedia.models.base import Report
from tests.conftest import Clock
from tests.contract.specimens import raised
from tests.protocol.wire import counted, is_at_most
from tests.servers import Requests
from tests.storages import LocalStorage, MemoryStorage, S3Storage, Storage
from tests.surfaces import specimens
from tests.surfaces.commands import fsmedia, places, refused, tells
from tests.surfaces.specimens import HOSTILE, put
from tests.transfers import opened


class Page(HTMLParser):
    """A page read by a parser that is not the package's: its tags, and what stands in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, style: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.tags if style in (attributes.get("class") or "").split()]

    def count(self, tag: str) -> int:
        return [name for name, _ in self.tags].count(tag)

    def handlers(self) -> list[str]:
        """What would run a stranger's code."""
        return [name for _, attributes in self.tags for name in attributes if name.startswith("on")]


def page(store: MediaStore, **words: Any) -> Page:
    return Page(store.gallery(**words).html())


def put_texts(store: MediaStore, *texts: bytes) -> None:
    for index, text in enumerate(texts):
        put(store, text, "text/plain", message_idx=index)


@pytest.fixture
def store(memory_storage: MemoryStorage, clock: Clock) -> MediaStore:
    return opened(memory_storage, now=clock)


def test_a_run_is_shown_with_what_is_known_of_it(storage: Storage, clock: Clock) -> None:
    store = opened(storage, now=clock, policies={"audit": timedelta(days=365)})
    reference = put(store, specimens.picture(), "image/png", message_idx=1, caption="two halves", policy_name="audit")
    put(store, specimens.sound(), "audio/wav", message_idx=3, policy_name="retain-3days")
    put(store, specimens.film(), "video/mp4", message_idx=3, part_idx=1, policy_name="delete-after-5min")
    store.hold(put(store, b"# hello", "text/markdown", message_idx=5), "why")
    put(store, b"other", "text/plain", run_id="r2")
    clock.advance(timedelta(minutes=10))
    gallery = store.gallery(run_id="r1")
    assert (repr(gallery)[:29], len(gallery)) == ("<Gallery of Run r1: 4 media, ", 4)
    found = Page(gallery.html())
    assert [card["data-t"] for card in found.of("fsm-card")] == ["image", "audio", "video", "text"]
    for said in ("Run r1", "4 media", "Conversation c1", "Message 1", "Message 3", "two halves", "400 \u00d7 300",
                 "1.0 s", "image/png", "expires in 364 days", "expires in 2 days", "due since 5 minutes",
                 "kept", "held", "audit", "# hello"):  # fmt: skip
        assert said in found.text, said
    assert any(badge["title"] == "2027-03-04 05:06:07 UTC" for badge in found.of("fsm-badge"))
    assert (found.of("fsm-copy")[0]["data-copy"], found.count("audio"), found.count("video")) == (reference, 1, 0)
    assert f"store.retrieve_media('{gallery.items[2].record.reference}').player()" in found.text


def test_a_card_tells_what_the_file_was_called(store: MediaStore) -> None:
    content = MediaContent.from_bytes(specimens.picture(), file_name="Plan \u202f \u2603.png")
    reference = store.store_media(content, MediaMetadata(run_id="r1", message_idx=7))
    (name,) = page(store).of("fsm-name")
    assert name["title"] == f"Plan \\u202f \u2603.png ({reference.rpartition('/')[2]})"
    for seen in (page(store), shown(content), shown(store.retrieve_media(reference))):
        assert "Plan \\u202f \u2603.png" in seen.text
    assert "Plan \u2603.png" in shown(store.catalog()).text


def test_the_words_of_list_select(store: MediaStore, clock: Clock) -> None:
    put(store, b"a", "text/plain", policy_name="retain-1hours", provider_id="p")
    put(store, b"b", "text/markdown", run_id="r2", session_id="s")
    for words in (
        {"run_id": "r1"}, {"conversation_id": "c1"}, {"session_id": "s"}, {"provider_id": "p"},
        {"mime_type": "text/m*"}, {"policy_name": "retain-1hours"}, {"since": clock()}, {"until": clock()},
        {"expires_before": clock() + timedelta(1)},
    ):  # fmt: skip
        assert [item.record.reference for item in store.gallery(**words).items] == list(store.list(**words))


def test_totals_count_what_is_not_shown_up_to_some_point(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(storage)
    put_texts(store, *(b"A" * size for size in range(1, 8)))
    told: list[int] = []
    gallery = store.gallery(limit=3, progress=told.append)
    assert gallery.totals == (7, 28, False)
    assert "3 of 7 media, 28 B in all" in Page(gallery.html()).text
    assert ([item.record.message_idx for item in gallery.items], told) == ([0, 1, 2], [1, 2, 3])
    assert len(store.gallery(limit=0)) == 0
    assert "none shown" in page(store, limit=0).text
    for most, said in ((5, "2 of more than 5 media"), (7, "2 of 7 media")):
        monkeypatch.setattr(items, "MOST_COUNTED", most)
        assert said in page(store, limit=2).text


def test_sort_chooses_and_no_time_comes_last(store: MediaStore, memory_storage: MemoryStorage, clock: Clock) -> None:
    for index, (size, age) in enumerate([(30, 2), (10, 1), (20, 3)]):
        put(store, b"x" * size, "text/plain", message_idx=index, timestamp=clock() - timedelta(days=age))
    orders = {"position": [0, 1, 2], "largest": [0, 2, 1], "newest": [1, 0, 2], "oldest": [2, 0, 1]}
    for sort, order in orders.items():
        for limit in (3, 1):
            shown = store.gallery(sort=sort, limit=limit).items  # type: ignore[arg-type]
            assert [item.record.message_idx for item in shown] == order[:limit]
    wrong = [("group_by", "colour"), ("sort", "random"), *(("limit", each) for each in (-1, "5", 10**6, True))]
    for name, value in wrong:
        raised(errors.InvalidMediaError, store.gallery, **{name: value})
    memory_storage.write("runs/r1/foreign.txt", b"x")
    assert len(store.gallery(sort="oldest")) == 4


@pytest.mark.parametrize(("group_by", "heads"), [
    ("conversation", ["Conversation c1", "Message 0", "Message 1", "No conversation", "Message 0"]),
    ("run", ["Run r1", "Message 0", "Message 1", "Run r2", "Message 0"]), ("message", ["Message 0", "Message 1"]),
    (None, []),
])  # fmt: skip
def test_groups_fold(group_by: Any, heads: list[str], store: MediaStore) -> None:
    put_texts(store, b"a", b"b")
    put(store, b"c", "text/plain", run_id="r2", conversation_id="")
    html = store.gallery(group_by=group_by).html()
    assert (re.findall(r"<summary>([^<]*)<span", html), html.count('<article class="fsm-card"')) == (heads, 3)
    assert html.count('<details class="fsm-group" open') == len(heads)


def test_nothing_of_a_stranger_is_markup(local_storage: LocalStorage) -> None:
    store = opened(local_storage)
    put(store, specimens.SVG, "image/svg+xml", run_id=HOSTILE, caption=HOSTILE)
    put(store, specimens.HTML, "text/html", run_id=HOSTILE, conversation_id=HOSTILE, provider_id=HOSTILE)
    put(store, specimens.picture(), "image/png", run_id="x", caption=f"</script>{HOSTILE}", policy_name=None)
    local_storage.write('runs/x/a"><img src=x onerror=alert(1)>.png', specimens.picture())
    named = MediaContent.from_bytes(specimens.picture(), file_name='"><img src=x onerror=alert(2)>.png')
    store.store_media(named, MediaMetadata(run_id="x"))
    for html in (store.gallery().html(), store.gallery(run_id=HOSTILE).html(), store.gallery(group_by="run").html()):
        found = Page(html)
        allowed = {"div", "style", "h2", "span", "fieldset", "label", "input", "select", "option", "details", "summary",
                   "article", "pre", "p", "code", "button", "img", "svg", "path", "script"}  # fmt: skip
        assert {tag for tag, _ in found.tags} <= allowed
        assert html.count("<script>") == html.count("</script>") == 1
        assert found.handlers() == []
        assert all((img["src"] or "").startswith("data:image/webp;base64,") for tag, img in found.tags if tag == "img")
        assert not {"\u202e", "\x1b"} & set(html)
    saved = store.gallery(run_id=HOSTILE).save(local_storage.url + ".html").read_text()
    assert saved.count("<title>") == saved.count("</title>") == 1
    assert "<script>document" not in saved


def test_no_address_and_no_secret_stands_in_a_page(moto_storage: S3Storage, tmp_path: Path) -> None:
    store = opened(moto_storage)
    put(store, specimens.picture(), "image/png")
    put(store, specimens.sound(seconds=20), "audio/wav")
    saved = store.gallery().save(tmp_path / "g.html").read_text() + str(store._repr_html_())
    rest = saved.replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"https?://|X-Amz|Signature", rest)
    assert [secret for secret in map(str, moto_storage.options.values()) if secret in saved] == []
    rest = re.sub(r"base64,[A-Za-z0-9+/=]*", "", saved)
    assert [key for key in (moto_storage.server.key, moto_storage.server.secret) if key in rest] == []


def test_a_page_stays_within_its_budget(store: MediaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(12):
        put(store, specimens.noise(), "image/png", message_idx=index)
    assert "left out" not in Page(store.gallery().html()).text
    monkeypatch.setattr(cards, "BUDGET", 120_000)
    html = store.gallery().html()
    found = Page(html)
    assert len(html.encode()) <= 120_000
    assert len(found.of("fsm-card")) == 12
    pictures = found.count("img")
    assert 0 < pictures < 12
    assert f"{12 - pictures} previews are left out" in found.text
    monkeypatch.setattr(cards, "BUDGET", 46_000)
    html = store.gallery().html()
    assert len(html.encode()) <= 46_000
    assert 0 < len(Page(html).of("fsm-card")) < 12
    assert "cards and" in Page(html).text


def test_two_displays_share_no_name_and_deduplicated_media_and_foreign_files_show_too(storage: Storage) -> None:
    store = opened(storage, deduplicate=True)
    put(store, specimens.picture(), "image/png")
    put(store, specimens.picture(), "image/png", run_id="r2")
    storage.write("runs/r3/photo.png", specimens.picture())
    gallery = store.gallery()
    assert [preview.kind for preview in gallery.previews] == ["picture"] * 3
    assert [said for said in ("0000_00.png", "photo.png") if said not in Page(gallery.html()).text] == []
    for index in range(30):
        storage.write(f"runs/r3/{index}.txt", b"x")
    gallery = store.gallery()
    names = [{a["name"] for tag, a in Page(gallery.html()).tags if tag == "input"} for _ in range(2)]
    assert len(names[0]) == 2
    assert not names[0] & names[1]


def test_damage_is_shown_and_hurts_nobody_else(storage: Storage, cache_folder: Path) -> None:
    """A picture is compared with the digest in its sidecar before it is drawn."""
    store = opened(storage)
    data, other = specimens.picture(), specimens.noise()
    references = [put(store, data, "image/png", message_idx=index) for index in range(5)]
    storage.write(f"{references[0]}.meta", b"{no json")
    storage.write(references[1], b"\x89PNG\r\n\x1a\nno picture")
    storage.write(references[2], other[: len(data)].ljust(len(data), b"\0"))
    put(store, data[:100], "image/png", message_idx=5)
    storage.remove(references[4])  # meanwhile; its sidecar stays: it is none any more
    gallery = store.gallery(progress=False)
    found = Page(gallery.html())
    assert len(gallery) == len(found.of("fsm-card")) == 5
    for said in ("damaged", "18 bytes were read where", "the picture is broken or cut off", references[3]):
        assert said in found.text
    assert found.count("img") == 2
    changed = gallery.items.index(next(each for each in gallery.items if each.record.reference == references[2]))
    assert not gallery.previews[changed].image
    assert "its bytes are damaged" in gallery.previews[changed].reason
    assert "damaged" not in opened(storage, verify_reads=False).gallery(progress=False).previews[changed].reason


def test_saving_replaces_whole_or_not_at_all(store: MediaStore, memory_storage: MemoryStorage, tmp_path: Path) -> None:
    gallery, target = store.gallery(), tmp_path / "g.html"
    assert (gallery.save(target), gallery.save(str(target))) == (target, target)
    assert target.read_text().startswith("<!doctype html>")
    assert "No media here." in target.read_text()
    assert memory_storage.keys() == set()
    raised(errors.StorageError, gallery.save, tmp_path / "no-such" / "g.html", match="no-such")
    raised(errors.StorageError, gallery.save, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["g.html"]


def test_a_bar_is_shown_to_whoever_waits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []

    def display(data: dict[str, str], **_: object) -> Any:
        shown.append(data.get("text/html", "").rpartition("</progress> ")[2])
        return SimpleNamespace(update=display)

    monkeypatch.setattr(previewer, "_notebook", lambda: display)
    monkeypatch.setattr(previewer.time, "monotonic", iter([0.0, 0.1, 0.7, 0.75, 0.9, 5.0]).__next__)
    with previewer._progress(True, 9) as tell:
        for count in range(1, 6):
            tell(count)
    assert shown == ["2 of 9 previews", "4 of 9 previews", "5 of 9 previews", ""]
    monkeypatch.setattr(previewer, "_notebook", lambda: None)
    monkeypatch.setattr(previewer.time, "monotonic", iter([0.0, 9.0]).__next__)
    monkeypatch.setattr(previewer.sys.stderr, "isatty", lambda: True)
    with previewer._progress(True, 2) as tell:
        tell(1)
    assert capsys.readouterr().err == "\r1 of 2 previews\r\x1b[K"


# -- costs, counted at the wire -------------------------------------------------------------------------------
FEW, MANY = 40, 1_000


def filled(storage: S3Storage, count: int, data: bytes) -> None:
    """Copy one stored picture in the storage: a store call for each would only test the server."""
    first = put(opened(storage).create(), data, "image/png")
    sidecar = json.loads(storage.read(f"{first}.meta"))
    for index in range(1, count):
        key = first.replace("/0000_00_", f"/{index:04d}_00_")
        storage.write(key, data)
        storage.write(f"{key}.meta", json.dumps({**sidecar, "message_idx": index}).encode())


def originals(counted: Requests) -> int:
    """How many requests asked for bytes of media."""
    return sum(call.kind in ("get", "head") and not call.key.endswith((".meta", ".json")) for call in counted.calls)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all that was read of originals."""
    sizes: list[int] = []
    passed = StoredSource._there

    def watched(self: StoredSource, data: bytes | None) -> bytes:
        sizes.append(len(data or b""))
        return passed(self, data)

    monkeypatch.setattr(StoredSource, "_there", watched)
    return sizes


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.full)])
def test_a_gallery_reads_each_original_only_once(count: int, moto_storage: S3Storage, cache_folder: Path) -> None:
    filled(moto_storage, count, specimens.noise())
    store = opened(moto_storage)
    listings = -(-2 * count // 1000) + 1  # and one of the holds
    for seen_before in (False, True):
        gallery, n = counted(moto_storage, lambda: store.gallery(run_id="r1", limit=count, progress=False))
        assert len(gallery) == gallery.totals.media == count
        assert n["list"] <= listings, n["list"]
        assert originals(n) == (0 if seen_before else count)
        # One sidecar and, the first time, one read of the whole: two requests a media.
        assert n["get"] <= (1 if seen_before else 2) * count
        assert set(n) <= {"get", "list"}
        assert len(gallery.html().encode()) <= 2 * 2**20
    assert len([path for path in cache_folder.rglob("*") if path.is_file()]) == 2 * count
    small, n = counted(moto_storage, lambda: opened(moto_storage).gallery(run_id="r1", limit=5, progress=False))
    assert originals(n) == 0  # larger pictures of fewer media come out of the cache too
    assert all(preview.image for preview in small.previews)


def test_bytes_read_are_bounded(moto_storage: S3Storage, cache_folder: Path, received: list[int]) -> None:
    store = opened(moto_storage, deduplicate=True).create()
    picture, text = specimens.noise(), b"line\n" * 100_000
    put(store, picture, "image/png")
    put(store, text, "text/plain", message_idx=1)
    put(store, bytes(21 * 2**20), "audio/mpeg", message_idx=2)
    put(store, specimens.jpeg_with_preview() + bytes(21 * 2**20), "image/jpeg", message_idx=3)
    put(store, b"PK\x03\x04" + bytes(10_000), "application/zip", message_idx=4)
    gallery = store.gallery(progress=False)
    assert sorted(received) == sorted([len(picture), 4097, 2**20])
    assert [preview.kind for preview in gallery.previews] == ["picture", "text", "sound", "picture", "none"]
    received.clear()
    store.gallery(progress=False)
    assert received == []
    put(store, picture, "image/png", run_id="r2")
    _, n = counted(moto_storage, lambda: store.gallery(run_id="r2"))
    assert n["get"] == 1, n


def test_what_was_written_anew_is_looked_at_anew(moto_storage: S3Storage, cache_folder: Path) -> None:
    """The cache goes by what the storage says of the bytes, never by what a sidecar says of them."""
    store = opened(moto_storage)
    moto_storage.write("runs/r1/a.png", specimens.picture())
    first = store.gallery().previews[0]
    moto_storage.write("runs/r1/a.png", specimens.picture(mode="L"))
    assert store.gallery().previews[0] != first
    # A sidecar that claims the digest of another media's bytes gets no preview of them, nor of its own.
    shown = put(store, specimens.noise(), "image/png", run_id="r2")
    store.gallery(run_id="r2")
    liar = put(store, specimens.picture((9, 9)), "image/png", run_id="r3")
    sidecar = json.loads(moto_storage.read(f"{liar}.meta"))
    sidecar["sha256"] = store.info(shown).sha256
    moto_storage.write(f"{liar}.meta", json.dumps(sidecar).encode())
    assert "its bytes are damaged" in store.gallery(run_id="r3").previews[0].reason
    assert opened(moto_storage, verify_reads=False).gallery(run_id="r3").previews[0].width == 9


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
    assert Path("g.html").read_text().count("<article") == 1
    assert fsmedia(*words, "--limit", "1", "--group-by", "none", "--sort", "largest").exit_code == 0
    assert Path("gallery.html").read_text().count("<article") == 1
    said = json.loads(fsmedia(*words, "--json").stdout)
    assert said == {"path": "gallery.html", "shown": 2, "total": 2}
    put(store, specimens.picture(), "image/png", run_id="r2")
    words = ["compare", "r1", "r2", *places(storage)]
    assert fsmedia(*words).stdout == "compare.html: 2 runs, 2 positions, 1 missing in a run\n"
    said = json.loads(fsmedia(*words, "-o", "c.html", "--json").stdout)
    assert said == {"path": "c.html", "runs": ["r1", "r2"], "positions": 2, "missing": 1}
    assert "none of these runs" in refused(fsmedia("compare", "a", "b", *places(storage)), 1)


def test_a_gallery_of_nothing_says_so(url: str, here: Path) -> None:
    assert "no store at" in refused(fsmedia("gallery", "--store", url), 3)
    assert not Path(url).exists()
    MediaStore(url).create()
    assert "no page is written" in refused(fsmedia("gallery", "--store", url), 1)
    assert not Path("gallery.html").exists()
    assert "No media here." in MediaStore(url).gallery().save("gallery.html").read_text()
    MediaStore(url).store_media(MediaContent.from_text("a note"), MediaMetadata(run_id="r1"))
    assert "no-such/g.html" in refused(fsmedia("gallery", "--store", url, "-o", "no-such/g.html"), 1)


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


def test_a_player_holds_all_of_it_and_refuses_what_is_too_large_or_of_no_use() -> None:
    sound = MediaContent.from_bytes(specimens.sound())
    for content, tag in (
        (MediaContent.from_bytes(specimens.picture()), "img"), (sound, "audio"),
        (MediaContent.from_bytes(specimens.film()), "video"),
        (MediaContent.from_bytes(specimens.HTML, "text/html"), "pre"),
        (MediaContent.from_bytes(specimens.SVG, "image/png"), "pre"),
    ):  # fmt: skip
        assert [name for name, _ in shown(content.player()).tags if name != "style"] == ["div", tag]
    raised(errors.MediaTooLargeError, sound.player, match="max_size=None", max_size=100)
    assert sound.player(max_size=None)
    with pytest.raises(errors.InvalidMediaError, match="can't show application/zip"):
        MediaContent.from_bytes(b"PK\x03\x04" + bytes(50)).player()


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


# -- the gallery as a widget ----------------------------------------------------------------------------------
def asked(widget: Any, question: object) -> list[tuple[dict[str, Any], list[bytes]]]:
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


def test_only_the_number_of_a_card_is_answered(memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MediaStore(memory_storage.url)
    put(store, specimens.sound(), "audio/wav")
    widget = store.gallery(interactive=True)
    numbers = (-1, 1, "0", True, False, 0.0, "../x", [0])
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
    raised(errors.MediaError, MediaStore(memory_storage.url).gallery, match="pip install anywidget", interactive=True)
