"""Galleries over every storage: what they show, in which order, how they are bounded, and that nothing gets out."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import InvalidMediaError, MediaContent, MediaMetadata, MediaStore, StorageError
from fsmedia.display import gallery as galleries
from fsmedia.display import items, previewer
from tests.surfaces import specimens
from tests.surfaces.specimens import HOSTILE, put

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Clock
    from tests.storages import LocalStorage, MemoryStorage, S3Storage, Storage


class Page(HTMLParser):
    """A page read by a parser that is not the package's: its tags, and what stands in them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, style: str) -> list[dict[str, str | None]]:
        """Attributes of the elements with a class."""
        return [attributes for _, attributes in self.tags if style in (attributes.get("class") or "").split()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def opened(storage: Storage, **options: Any) -> MediaStore:
    return MediaStore(storage.url, storage_options=storage.options, **options)


def page(store: MediaStore, **words: Any) -> Page:
    return Page(store.gallery(**words).html())


def test_a_run_is_shown_with_what_is_known_of_it(storage: Storage, clock: Clock) -> None:
    store = opened(storage, now=clock, policies={"audit": timedelta(days=365)})
    reference = put(store, specimens.picture(), "image/png", message_idx=1, caption="two halves", policy_name="audit")
    put(store, specimens.sound(), "audio/wav", message_idx=3, policy_name="retain-3days")
    put(store, specimens.film(), "video/mp4", message_idx=3, part_idx=1, policy_name="delete-after-5min")
    held = put(store, b"# hello", "text/markdown", message_idx=5)
    store.hold(held, "why")
    put(store, b"other", "text/plain", run_id="r2")
    clock.advance(timedelta(minutes=10))
    gallery = store.gallery(run_id="r1")
    assert repr(gallery).startswith("<Gallery of Run r1: 4 media, ")
    assert len(gallery) == 4
    found = Page(gallery.html())
    assert [card["data-t"] for card in found.of("fsm-card")] == ["image", "audio", "video", "text"]
    for said in ("Run r1", "4 media", "Conversation c1", "Message 1", "Message 3", "two halves", "400 \u00d7 300",
                 "1.0 s", "image/png", "expires in 364 days", "expires in 2 days", "due since 5 minutes",
                 "kept", "held", "audit", "# hello"):  # fmt: skip
        assert said in found.text, said
    assert any(badge["title"] == "2027-03-04 05:06:07 UTC" for badge in found.of("fsm-badge"))
    assert found.of("fsm-copy")[0]["data-copy"] == reference
    assert len([tag for tag, _ in found.tags if tag == "audio"]) == 1
    assert f"store.retrieve_media('{gallery.items[2].record.reference}').player()" in found.text
    assert not [tag for tag, _ in found.tags if tag == "video"]


def test_the_words_of_list_select(memory_storage: MemoryStorage, clock: Clock) -> None:
    store = opened(memory_storage, now=clock)
    put(store, b"a", "text/plain", policy_name="retain-1hours", provider_id="p")
    put(store, b"b", "text/markdown", run_id="r2", session_id="s")
    for words in (
        {"run_id": "r1"}, {"conversation_id": "c1"}, {"session_id": "s"}, {"provider_id": "p"},
        {"mime_type": "text/m*"}, {"policy_name": "retain-1hours"}, {"since": clock()}, {"until": clock()},
        {"expires_before": clock() + timedelta(1)},
    ):  # fmt: skip
        gallery = store.gallery(**words)
        assert [item.record.reference for item in gallery.items] == list(store.list(**words))


def test_totals_count_what_is_not_shown(storage: Storage) -> None:
    store = opened(storage)
    for index in range(7):
        put(store, bytes([65 + index]) * (index + 1), "text/plain", message_idx=index)
    gallery = store.gallery(limit=3)
    assert gallery.totals == (7, 28, False)
    assert "3 of 7 media, 28 B in all" in Page(gallery.html()).text
    assert [item.record.message_idx for item in gallery.items] == [0, 1, 2]
    assert len(store.gallery(limit=0)) == 0
    assert "none shown" in page(store, limit=0).text


@pytest.mark.parametrize(
    ("sort", "order"), [("position", [0, 1, 2]), ("largest", [0, 2, 1]), ("newest", [1, 0, 2]), ("oldest", [2, 0, 1])]
)
def test_sort_chooses(sort: Any, order: list[int], memory_storage: MemoryStorage, clock: Clock) -> None:
    store = opened(memory_storage, now=clock)
    for index, (size, age) in enumerate([(30, 2), (10, 1), (20, 3)]):
        put(store, b"x" * size, "text/plain", message_idx=index, timestamp=clock() - timedelta(days=age))
    assert [item.record.message_idx for item in store.gallery(sort=sort).items] == order
    assert [item.record.message_idx for item in store.gallery(sort=sort, limit=1).items] == order[:1]


@pytest.mark.parametrize(
    ("group_by", "heads"),
    [
        ("conversation", ["Conversation c1", "Message 0", "Message 1", "No conversation", "Message 0"]),
        ("run", ["Run r1", "Message 0", "Message 1", "Run r2", "Message 0"]),
        ("message", ["Message 0", "Message 1"]),
        (None, []),
    ],
)
def test_groups_fold(group_by: Any, heads: list[str], memory_storage: MemoryStorage) -> None:
    store = opened(memory_storage)
    put(store, b"a", "text/plain")
    put(store, b"b", "text/plain", message_idx=1)
    put(store, b"c", "text/plain", run_id="r2", conversation_id="")
    html = store.gallery(group_by=group_by).html()
    assert re.findall(r"<summary>([^<]*)<span", html) == heads
    assert html.count('<article class="fsm-card"') == 3
    assert html.count('<details class="fsm-group" open') == len(heads)


@pytest.mark.parametrize(
    "words",
    [{"group_by": "colour"}, {"sort": "random"}, {"limit": -1}, {"limit": "5"}, {"limit": 10**6}, {"limit": True}],
)
def test_what_can_not_be_meant_is_refused(words: dict[str, Any], memory_storage: MemoryStorage) -> None:
    with pytest.raises(InvalidMediaError):
        opened(memory_storage).gallery(**words)


def test_an_empty_gallery_says_so_and_writes_nothing(storage: Storage) -> None:
    assert "No media here." in page(opened(storage), run_id="none").text
    assert storage.keys() == set()


def test_nothing_of_a_stranger_is_markup(local_storage: LocalStorage) -> None:
    store = opened(local_storage)
    put(store, specimens.SVG, "image/svg+xml", run_id=HOSTILE, caption=HOSTILE)
    put(store, specimens.HTML, "text/html", run_id=HOSTILE, conversation_id=HOSTILE, provider_id=HOSTILE)
    put(store, specimens.picture(), "image/png", run_id="x", caption=f"</script>{HOSTILE}", policy_name=None)
    local_storage.write('runs/x/a"><img src=x onerror=alert(1)>.png', specimens.picture())
    for html in (store.gallery().html(), store.gallery(run_id=HOSTILE).html(), store.gallery(group_by="run").html()):
        found = Page(html)
        allowed = {"div", "style", "h2", "span", "fieldset", "label", "input", "select", "option", "details", "summary",
                   "article", "pre", "p", "code", "button", "img", "svg", "path", "script"}  # fmt: skip
        assert {tag for tag, _ in found.tags} <= allowed
        assert html.count("<script>") == html.count("</script>") == 1
        assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
        assert all((img["src"] or "").startswith("data:image/webp;base64,") for tag, img in found.tags if tag == "img")
        assert "\u202e" not in html
        assert "\x1b" not in html
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
    for secret in map(str, moto_storage.options.values()):
        assert secret not in saved
    for key in ("key", "secret"):
        assert str(getattr(moto_storage.server, key)) not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", saved)


def test_a_page_stays_within_its_budget(memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(memory_storage)
    for index in range(12):
        put(store, specimens.noise(), "image/png", message_idx=index)
    whole = store.gallery().html()
    assert "left out" not in Page(whole).text
    monkeypatch.setattr(galleries, "BUDGET", 120_000)
    html = store.gallery().html()
    found = Page(html)
    assert len(html.encode()) <= 120_000
    assert len(found.of("fsm-card")) == 12
    pictures = len([tag for tag, _ in found.tags if tag == "img"])
    assert 0 < pictures < 12
    assert f"{12 - pictures} previews are left out" in found.text
    monkeypatch.setattr(galleries, "BUDGET", 46_000)
    html = store.gallery().html()
    assert len(html.encode()) <= 46_000
    assert 0 < len(Page(html).of("fsm-card")) < 12
    assert "cards and" in Page(html).text


def test_counting_stops_at_some_point(memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(memory_storage)
    for index in range(6):
        put(store, b"x", "text/plain", message_idx=index)
    monkeypatch.setattr(items, "MOST_COUNTED", 4)
    assert "2 of more than 4 media" in page(store, limit=2).text
    monkeypatch.setattr(items, "MOST_COUNTED", 6)
    assert "2 of 6 media" in page(store, limit=2).text


def test_damage_is_shown_and_hurts_nobody_else(storage: Storage) -> None:
    store = opened(storage)
    first, second, third = (put(store, specimens.picture(), "image/png", message_idx=index) for index in range(3))
    storage.write(f"{first}.meta", b"{no json")
    storage.write(second, b"\x89PNG\r\n\x1a\nno picture")
    put(store, specimens.picture()[:100], "image/png", message_idx=4)
    found = page(store)
    assert len(found.of("fsm-card")) == 4
    assert "damaged" in found.text
    assert "18 bytes were read where" in found.text
    assert "the picture is broken or cut off" in found.text
    assert third in found.text
    assert len([tag for tag, _ in found.tags if tag == "img"]) == 2


def test_a_media_that_goes_meanwhile_is_no_error(memory_storage: MemoryStorage) -> None:
    store = opened(memory_storage)
    reference = put(store, specimens.picture(), "image/png")
    put(store, specimens.picture(), "image/png", message_idx=1)
    memory_storage.remove(reference)  # its sidecar stays: it is none any more
    assert len(store.gallery()) == 1


def test_deduplicated_media_and_foreign_files_show_too(storage: Storage) -> None:
    store = opened(storage, deduplicate=True)
    put(store, specimens.picture(), "image/png")
    put(store, specimens.picture(), "image/png", run_id="r2")
    storage.write("runs/r3/photo.png", specimens.picture())
    gallery = store.gallery()
    assert [preview.kind for preview in gallery.previews] == ["picture"] * 3
    assert "0000_00.png" in Page(gallery.html()).text
    assert "photo.png" in Page(gallery.html()).text


def test_saving_replaces_whole_or_not_at_all(memory_storage: MemoryStorage, tmp_path: Path) -> None:
    gallery = opened(memory_storage).gallery()
    target = tmp_path / "g.html"
    assert gallery.save(target) == target
    assert target.read_text().startswith("<!doctype html>")
    assert gallery.save(str(target)) == target
    assert [path.name for path in tmp_path.iterdir()] == ["g.html"]
    with pytest.raises(StorageError, match="no-such"):
        gallery.save(tmp_path / "no-such" / "g.html")
    with pytest.raises(StorageError):
        gallery.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["g.html"]


def test_two_displays_of_one_gallery_share_no_name(memory_storage: MemoryStorage) -> None:
    store = opened(memory_storage)
    for index in range(30):
        put(store, b"x", "text/plain", message_idx=index)
    put(store, specimens.picture(), "image/png")
    gallery = store.gallery()
    names = [{a["name"] for tag, a in Page(gallery.html()).tags if tag == "input"} for _ in range(2)]
    assert len(names[0]) == 2
    assert not names[0] & names[1]


def test_progress_is_told(memory_storage: MemoryStorage) -> None:
    store = opened(memory_storage)
    for index in range(5):
        put(store, b"x", "text/plain", message_idx=index)
    told: list[int] = []
    store.gallery(progress=told.append)
    assert told == [1, 2, 3, 4, 5]


class Shell:
    """A notebook's display, as far as a bar uses it."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def __call__(self, data: dict[str, str], **_: object) -> Shell:
        self.shown.append(data["text/html"])
        return self

    update = __call__


def test_a_notebook_shows_a_bar_to_whoever_waits_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell()
    monkeypatch.setattr(previewer, "_notebook", lambda: shell)
    monkeypatch.setattr(previewer.time, "monotonic", iter([0.0, 0.1, 0.7, 0.75, 0.9, 5.0]).__next__)
    with previewer._progress(True, 9) as tell:
        for count in range(1, 6):
            tell(count)
    assert [text.rpartition("</progress> ")[2] for text in shell.shown] == [
        "2 of 9 previews", "4 of 9 previews", "5 of 9 previews", ""
    ]  # fmt: skip


def test_a_terminal_shows_a_bar_and_clears_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(previewer.time, "monotonic", iter([0.0, 9.0]).__next__)
    monkeypatch.setattr(previewer.sys.stderr, "isatty", lambda: True)
    with previewer._progress(True, 2) as tell:
        tell(1)
    assert capsys.readouterr().err == "\r1 of 2 previews\r\x1b[K"


def test_a_clock_of_the_storage_or_none_does_not_matter(memory_storage: MemoryStorage) -> None:
    """Media that nobody said the time of are sorted last."""
    store = opened(memory_storage)
    memory_storage.write("runs/r1/foreign.txt", b"x")
    store.store_media(MediaContent.from_text("y"), MediaMetadata(run_id="r1"))
    assert len(store.gallery(sort="oldest")) == 2


def test_damaged_originals_are_not_shown_as_the_media(storage: Storage, cache_folder: Path) -> None:
    """A picture is compared with the digest in its sidecar before it is drawn."""
    store = opened(storage)
    data, other = specimens.picture(), specimens.noise()
    reference = put(store, data, "image/png")
    storage.write(reference, other[: len(data)].ljust(len(data), b"\0"))
    checked, unchecked = (opened(storage, verify_reads=each).gallery(progress=False) for each in (True, False))
    assert "damaged" not in unchecked.previews[0].reason
    assert not checked.previews[0].image
    assert "its bytes are damaged" in checked.previews[0].reason
