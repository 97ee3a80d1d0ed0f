"""Galleries: what they are made of, what their data and their contact sheet say, what a page holds, and the widget."""

import base64
import io
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore, errors
from fsmedia.display import gallery as galleries
from fsmedia.display import items
from fsmedia.display.html import viewer, viewer_text
from fsmedia.display.originals import Original
from fsmedia.display.previewer import StoredSource
from fsmedia.models.text import size_text
from tests.conftest import Clock
from tests.contract.specimens import raised
from tests.protocol.wire import counted
from tests.servers import Requests
from tests.storages import LocalStorage, MemoryStorage, S3Storage, Storage
from tests.surfaces import specimens
from tests.surfaces.commands import fsmedia, refused
from tests.surfaces.specimens import HOSTILE, Page, filled, put
from tests.transfers import opened


def page(store: MediaStore, *media: Any, **words: Any) -> Page:
    return Page(store.gallery(*media, progress=False, **words).html())


def put_texts(store: MediaStore, *texts: bytes) -> list[str]:
    return [put(store, text, "text/plain", message_idx=index) for index, text in enumerate(texts)]


def titles(found: Page) -> list[str]:
    return [item["title"] for item in found.data["items"]]


@pytest.fixture
def store(memory_storage: MemoryStorage, clock: Clock) -> MediaStore:
    return opened(memory_storage, now=clock)


# -- what is said ----------------------------------------------------------------------------------------------
def test_a_run_is_shown_with_what_is_known_of_it(storage: Storage, clock: Clock) -> None:
    store = opened(storage, now=clock, policies={"audit": timedelta(days=365)})
    named = MediaContent.from_bytes(specimens.picture(), caption="two\nhalves", file_name="Plan \u202f \u2603.png")
    attributes = {"model": "m-1", "score": 4, "tags": ["a", "b"], "prompt": "line 1\nline 2\x1b"}
    metadata = MediaMetadata(run_id="r1", conversation_id="c1", message_idx=1, policy_name="audit", provider_id="p")
    reference = store.store_media(named, metadata.model_copy(update={"attributes": attributes}))
    put(store, specimens.sound(), "audio/wav", message_idx=3, policy_name="retain-3days")
    film = put(store, specimens.film(), "video/mp4", message_idx=3, part_idx=1, policy_name="delete-after-5min")
    store.hold(put(store, b"# hello", "text/markdown", message_idx=5), "why")
    put(store, b"other", "text/plain", run_id="r2")
    clock.advance(timedelta(minutes=10))
    gallery = store.gallery(run_id="r1", progress=False)
    assert (repr(gallery)[:29], len(gallery)) == ("<Gallery of Run r1: 4 media, ", 4)
    data = gallery.data()
    made, now = (clock() - timedelta(minutes=10)).timestamp(), clock().timestamp()
    assert data | {"items": []} == {
        "v": 1, "title": "Run r1", "root": store.url, "now": now, "notes": [], "group": "conversation",
        "counts": {"shown": 4, "media": 4, "bytes": gallery.totals.size, "more": False},
        "rates": False, "selects": False, "items": [],
    }  # fmt: skip
    picture, sound, moving, text = data["items"]
    thumb = picture.pop("thumb")
    assert thumb.startswith("data:image/webp;base64,")
    assert picture == {
        "ref": reference, "title": "Plan \\u202f \u2603.png", "name": reference.rpartition("/")[2], "kind": "image",
        "type": "image/png", "size": len(specimens.picture()), "w": 400, "h": 300, "run": "r1", "conversation": "c1",
        "message": 1, "part": 0, "time": round(made, 3), "provider": "p", "caption": "two halves", "policy": "audit",
        "expires": round(made + 365 * 86_400, 3),
        "attributes": {**attributes, "prompt": "line 1\nline 2\\x1b"},
        "code": f"store.retrieve_media({str(reference)!r}).player()",
    }  # fmt: skip
    assert (sound["title"], sound["seconds"], max(sound["peaks"])) == ("r1 \u00b7 3.0", 1.0, 255)
    assert (moving["kind"], moving["expires"]) == ("video", round(made + 300, 3))
    assert eval(moving["code"], {"store": store})._repr_html_()
    assert (text["text"], text["held"], text["message"]) == ("# hello", True, 5)
    assert film == moving["ref"]
    # What remains without a script says the same, in words with something between them.
    sheet = Page(gallery.html()).text
    for said in (
        "Run r1 4 media, ", "Conversation c1", "Plan \\u202f \u2603.png 400 \u00d7 300 \u00b7 ", "two halves", "held",
        "due", "r1 \u00b7 3.0 1.0 s \u00b7 ", "image/png", "expires in 2 days", "# hello",
    ):  # fmt: skip
        assert said in sheet, said
    assert "expires in 364 days" not in sheet  # that is not near


def test_titles_tell_media_apart_and_files_of_others_have_their_names(storage: Storage) -> None:
    store = opened(storage, deduplicate=True)
    put(store, specimens.picture(), "image/png", message_idx=3, part_idx=1)
    put(store, specimens.picture(), "image/png", run_id="r2")
    storage.write("runs/r3/photo.png", specimens.picture())
    gallery = store.gallery(progress=False)
    assert [preview.kind for preview in gallery.previews] == ["picture"] * 3
    assert titles(Page(gallery.html())) == ["r1 \u00b7 3.1", "r2 \u00b7 0.0", "photo.png"]


def test_what_looks_like_a_media_comes_nearest_first_out_of_what_is_chosen(
    storage: Storage, cache_folder: Path
) -> None:
    store = opened(storage).create()
    marked = specimens.Image.open(io.BytesIO(specimens.scene(0)))
    marked.paste("white", (0, 0, 90, 80))
    kept = [specimens.scene(0), specimens.scene(1), specimens.encoded(marked, "JPEG"), specimens.scene(0, quality=60)]
    shown = [put(store, data, "image/jpeg", message_idx=index) for index, data in enumerate(kept)]
    shown.append(put(store, specimens.scene(0, (200, 150)), "image/jpeg", run_id="r2"))
    words: dict[str, Any] = {"progress": False, "group_by": None, "similar_to": shown[0]}
    seen: list[int] = []
    gallery = store.gallery(**words | {"progress": seen.append})
    nearest, *between, farthest = [record.reference for record in gallery.records]
    assert (nearest, farthest, set(between)) == (shown[0], shown[2], set(shown[3:]))
    assert (gallery.title[:11], gallery.totals.media, seen[0]) == ("Similar to ", 4, 5)
    assert [each.reference for each in store.gallery(run_id="r2", **words).records] == [shown[4]]
    assert [each.reference for each in store.gallery(shown[1:4], limit=1, **words).records] == [shown[3]]
    text = put(store, b"a text", "text/plain")
    error = raised(errors.InvalidMediaError, store.gallery, similar_to=text, match="no picture that others can be")
    assert "give the reference of a picture" in error.next_step
    raised(errors.MediaNotFoundError, store.gallery, similar_to="runs/r9/none.png")


def test_what_a_picture_lets_shine_through_is_told(store: MediaStore) -> None:
    for index, mode in enumerate(("RGB", "RGBA", "LA")):
        image = specimens.picture(mode=mode)
        put(store, image, "image/png", message_idx=index)
    see_through = specimens.encoded(specimens.Image.new("RGBA", (40, 40), (255, 0, 0, 90)))
    put(store, see_through, "image/png", message_idx=9)
    assert [item.get("alpha", False) for item in page(store).data["items"]] == [False, False, False, True]


@pytest.mark.parametrize(("group_by", "heads", "order"), [
    ("conversation", ["Conversation c1", "No conversation"], [0, 1, 5]), ("run", ["Run r1", "Run r2"], [0, 1, 5]),
    ("message", ["Message 0", "Message 5", "Message 1"], [0, 5, 1]), (None, [], [0, 5, 1]),
])  # fmt: skip
def test_groups_are_together(group_by: Any, heads: list[str], order: list[int], store: MediaStore) -> None:
    texts = put_texts(store, b"a", b"b")
    other = put(store, b"c", "text/plain", run_id="r2", conversation_id="", message_idx=5)
    gallery = store.gallery([texts[0], other, texts[1]], group_by=group_by)
    html = gallery.html()
    assert re.findall(r"<h3[^>]*>([^<]*)<", html) == heads
    assert (Page(html).data["group"], [record.message_idx for record in gallery.records]) == (group_by, order)


# -- what is chosen ----------------------------------------------------------------------------------------------
def test_the_words_of_list_select(store: MediaStore, clock: Clock) -> None:
    held = put(store, b"a", "text/plain", policy_name="retain-1hours", provider_id="p", attributes={"score": 4})
    put(store, b"b", "text/markdown", run_id="r2", session_id="s", timestamp=clock() + timedelta(1))
    store.hold(held, "why")
    for words in (
        {"run_id": "r1"}, {"conversation_id": "c1"}, {"session_id": "s"}, {"provider_id": "p"},
        {"mime_type": "text/m*"}, {"policy_name": "retain-1hours"}, {"since": clock()}, {"until": clock()},
        {"expires_before": clock() + timedelta(1)}, {"attributes": {"score": (3, None)}},
        {"held": True}, {"held": False}, {"newest": 1}, {"newest": 2}, {"run_id": "r2", "held": True},
    ):  # fmt: skip
        gallery = store.gallery(**words, group_by=None)
        assert [record.reference for record in gallery.records] == list(store.list(**words)), words
        assert gallery.data()["items"] == [] or all(item.get("held") == (item["ref"] == held or None)
                                                    for item in gallery.data()["items"])  # fmt: skip


def test_references_a_catalog_and_tables_choose_in_their_order(storage: Storage) -> None:
    store = opened(storage)
    a, b, c = put_texts(store, b"a", b"bb", b"ccc")
    catalog = store.catalog()
    backwards = catalog.to_pandas().iloc[::-1]
    for media, chosen in (
        (b, [b]), ([c, a, c], [c, a]), (iter([b, a]), [b, a]), ((), []), (catalog, [a, b, c]), ({a: 1}, [a]),
        (catalog.filter(attributes=None, run_id="no"), []), (backwards, [c, b, a]), (backwards["reference"], [c, b, a]),
        (catalog.to_polars().tail(2), [b, c]), (catalog.to_arrow().slice(1), [b, c]), ([f"{store.url}/{a}"], [a]),
        ([store.media_url(b)], [b]),
    ):  # fmt: skip
        gallery = store.gallery(media, group_by=None)
        assert [record.reference for record in gallery.records] == chosen, media
        assert gallery.totals == (len(chosen), sum(record.size_bytes for record in gallery.records), False)
    assert [each.reference for each in store.gallery([a, c, b], sort="largest", limit=2).records] == [b, c][::-1]
    cut = store.gallery([c, b, a], limit=2, group_by=None)
    assert repr(cut) == "<Gallery of Chosen media: 2 of 3 media>"
    assert "2 of 3 media" in Page(cut.html()).text


def test_a_reference_of_before_a_sync_is_found_by_its_present_name(
    local_storage: LocalStorage, memory_storage: MemoryStorage
) -> None:
    source, target = opened(local_storage), opened(memory_storage, deduplicate=True).create()
    old = put_texts(source, b"a", b"b")
    source.sync_to(memory_storage.url)
    shown = [record.reference for record in target.gallery(old).records]
    assert shown == [target.info(each).reference for each in old] != old


def test_what_is_no_choice_is_named(storage: Storage) -> None:
    store = opened(storage)
    (a,) = put_texts(store, b"a")
    gone = a.replace("0000_00", "0001_00")
    assert raised(errors.MediaNotFoundError, store.gallery, gone).reference == gone
    error = raised(errors.BulkError, store.gallery, [a, gone, "../x"], match="2 of 3 failed, first: .*no such media")
    assert {index: type(each) for index, each in error.errors.items()} == {
        1: errors.MediaNotFoundError, 2: errors.InvalidReferenceError,
    }  # fmt: skip
    frame = store.catalog().to_pandas()
    raised(errors.InvalidMediaError, store.gallery, frame[["run_id"]], match="no column `reference`.*it has run_id")
    for wrong, said in (
        (3, "int names no media"),
        ([a, None], "reference 1 is of type NoneType"),
        (b"x", "0 is of type int"),
    ):
        raised(errors.InvalidMediaError, store.gallery, wrong, match=said)
    for words in ({"run_id": "r1"}, {"held": True}, {"newest": 3}):
        raised(errors.InvalidMediaError, store.gallery, [a], match="either media are given or conditions", **words)
    raised(errors.InvalidMediaError, store.gallery, match="add interactive=True", rate=True)
    reader = opened(storage, read_only=True)
    raised(errors.ReadOnlyStoreError, reader.gallery, rate=True, interactive=True)
    wrongs = [("group_by", "colour"), ("sort", "random"), *(("limit", each) for each in (-1, "5", 10**6, True))]
    for name, value in wrongs:
        raised(errors.InvalidMediaError, store.gallery, **{name: value})
        raised(errors.InvalidMediaError, store.gallery, a, **{name: value})


def test_totals_count_what_is_not_shown_up_to_some_point(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(storage)
    put_texts(store, *(b"A" * size for size in range(1, 8)))
    told: list[int] = []
    gallery = store.gallery(limit=3, progress=told.append)
    assert gallery.totals == (7, 28, False)
    assert gallery.data()["counts"] == {"shown": 3, "media": 7, "bytes": 28, "more": False}
    assert gallery.data()["notes"] == ["first 3 of 7 media, 28 B in all"]
    assert Page(gallery.html()).text.count("3 of 7 media, 28 B in all") == 1
    assert ([record.message_idx for record in gallery.records], told) == ([0, 1, 2], [1, 2, 3])
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
            shown = store.gallery(sort=sort, limit=limit).records  # type: ignore[arg-type]
            assert [record.message_idx for record in shown] == order[:limit]
    memory_storage.write("runs/r1/foreign.txt", b"x")
    assert len(store.gallery(sort="oldest")) == 4


# -- what strangers wrote ------------------------------------------------------------------------------------------
def test_nothing_of_a_stranger_is_markup(local_storage: LocalStorage) -> None:
    store = opened(local_storage)
    put(
        store,
        specimens.SVG,
        "image/svg+xml",
        run_id=HOSTILE,
        caption=HOSTILE,
        attributes={"a": HOSTILE, "b": [HOSTILE]},
    )
    put(store, specimens.HTML, "text/html", run_id=HOSTILE, conversation_id=HOSTILE, provider_id=HOSTILE)
    put(store, specimens.picture(), "image/png", run_id="x", caption=f"</script>{HOSTILE}", policy_name=None)
    local_storage.write('runs/x/a"><img src=x onerror=alert(1)>.png', specimens.picture())
    local_storage.write("runs/x/\u202egnp.exe", b"turned around")
    named = MediaContent.from_bytes(specimens.picture(), file_name='"><img src=x onerror=alert(2)>.png')
    store.store_media(named, MediaMetadata(run_id="x"))
    saved = Path(f"{local_storage.url}.html")
    store.gallery().save(saved)
    for html in (store.gallery().html(), store.gallery(run_id=HOSTILE).html(), store.gallery(group_by="run").html(),
                 saved.read_text()):  # fmt: skip
        found = Page(html)
        assert {tag for tag, _ in found.tags} <= {
            "section", "div", "h2", "h3", "p", "figure", "figcaption", "img", "b", "i", "br", "script",
            "html", "head", "meta", "title", "style", "body", "main",
        }  # fmt: skip
        code = [each for each in found.scripts if each[0]["type"] == "module"]
        assert [text for _, text in code] == [viewer_text()]
        assert {each["type"] for each, _ in found.scripts} <= {
            "module", "application/json", "application/octet-stream", "text/css",
        }  # fmt: skip
        assert found.handlers() == []
        assert all((img["src"] or "").startswith("data:image/webp;base64,") for tag, img in found.tags if tag == "img")
        assert not {"\u202e", "\x1b"} & set(html)
        told = [{name: value for name, value in item.items() if name != "ref"} for item in found.data["items"]]
        assert not {"\u202e", "\x1b"} & set(json.dumps(told, ensure_ascii=False))
    (turned,) = [item for item in store.gallery().data()["items"] if "shown" in item]
    assert (turned["ref"], turned["shown"]) == ("runs/x/\u202egnp.exe", "runs/x/\\u202egnp.exe")
    assert [each for each in Page(store.gallery().html()).data["items"] if each["ref"] == turned["ref"]] == [
        {**turned, **({"thumb": "sheet"} if "thumb" in turned else {})}
    ]
    text = saved.read_text()
    assert text.count("<title>") == text.count("</title>") == 1


def test_what_stands_in_script_elements_does_not_end_them() -> None:
    element = re.compile(r"<script type=\"(?:text/css|module)\"[^>]*>(.*?)</script>", re.DOTALL)
    texts = element.findall(viewer())
    assert [text for text in texts if re.search(r"<!--|<script|</script", text, re.IGNORECASE)] == []
    assert texts[1] == viewer_text()


def test_no_address_and_no_secret_stands_in_a_page(moto_storage: S3Storage, tmp_path: Path) -> None:
    store = opened(moto_storage)
    put(store, specimens.picture(), "image/png")
    put(store, specimens.sound(seconds=20), "audio/wav", message_idx=1)
    gallery = store.gallery()
    saved = gallery.save(tmp_path / "g.html").read_text() + gallery.html() + str(store._repr_html_())
    rest = saved.replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(r"https?://|X-Amz|Signature", rest)
    assert [secret for secret in map(str, moto_storage.options.values()) if secret in saved] == []
    rest = re.sub(r"base64,[A-Za-z0-9+/=]*", "", saved)
    rest = re.sub(r"(<script type=\"application/octet-stream\"[^>]*>)[A-Za-z0-9+/=]*", "", rest)
    assert [key for key in (moto_storage.server.key, moto_storage.server.secret) if key in rest] == []


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
    shown = {item["ref"]: item for item in found.data["items"]}
    assert len(gallery) == len(shown) == 5
    assert shown[references[0]]["wrong"][0].startswith("damaged: ")
    assert [store.gallery(references[0]).data()["items"][0]["wrong"]] == [shown[references[0]]["wrong"]]
    for said in ("damaged", "18 bytes were read where", "the picture is broken or cut off", references[3][-9:]):
        assert said in found.text + json.dumps(list(shown.values())), said
    assert found.count("img") == 2
    assert "thumb" not in shown[references[2]]
    assert "its bytes are damaged" in shown[references[2]]["why"]
    assert (
        "damaged" not in opened(storage, verify_reads=False).gallery(references[2], progress=False).previews[0].reason
    )


# -- what a page holds ---------------------------------------------------------------------------------------------
def test_a_page_stays_within_its_budget_and_all_it_shows_have_pictures(
    store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(70):
        words = {"conversation_id": f"{index}{HOSTILE * 4}", "caption": HOSTILE * 3}
        put(store, specimens.noise(), "image/png", message_idx=index, **words)
    fixed = len(viewer().encode()) + galleries._AROUND
    sizes = {}
    for room, shown in ((2_000_000, 70), (600_000, 70), (100_000, None), (1_000, 0)):
        monkeypatch.setattr(galleries, "BUDGET", fixed + room)
        made: list[int] = []
        gallery = store.gallery(limit=70, progress=made.append)
        html = gallery.html()
        found = Page(html)
        assert len(html.encode()) <= fixed + room
        assert len(gallery) == len(found.data["items"]) == (len(gallery) if shown is None else shown)
        assert all(item["thumb"] for item in found.data["items"])
        sizes[room] = len(gallery.previews and gallery.previews[0].image)
        if shown != 70:
            assert len(gallery) < 70
            note = f"first {len(gallery)} of 70 media, {size_text(gallery.totals.size)} in all: a page holds at most"
            assert note in found.text
            assert note in found.data["notes"][0]
            assert max(made) <= len(gallery) + galleries._WINDOW  # none is made that can't be shown
    assert sizes[2_000_000] > sizes[600_000] > 0


def test_a_picture_stands_in_a_page_once_and_the_sheet_has_the_first_page_only(store: MediaStore) -> None:
    for index in range(galleries.SHEET + 3):
        put(store, specimens.picture((20 + index, 20)), "image/png", message_idx=index, caption=f"picture {index}")
    html = store.gallery(limit=100).html()
    found = Page(html)
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert [(each["data-i"], each["alt"]) for each in images] == [
        (str(index), f"picture {index}") for index in range(galleries.SHEET)
    ]
    thumbs = [item["thumb"] for item in found.data["items"]]
    assert thumbs[: galleries.SHEET] == ["sheet"] * galleries.SHEET
    pictures = [each["src"] for each in images] + thumbs[galleries.SHEET :]
    assert len(set(pictures)) == len(pictures) == html.count("data:image/webp")
    assert "3 more are shown where scripts may run" in found.text
    # Untrusted notebooks keep attributes only: no controls that would do nothing, no classes that would be needed.
    sheet = html[: html.index("<script")]
    assert not re.search(r"<(?:style|input|button|select|details|a|audio|video)\b", sheet)
    assert all("style" in attributes for tag, attributes in found.tags if tag in ("figure", "h2", "h3", "figcaption"))


def test_a_saved_file_has_the_originals_that_fit_and_says_where_not(storage: Storage, tmp_path: Path) -> None:
    store = opened(storage)
    small, large = specimens.picture((30, 20)), specimens.noise()
    put(store, large, "image/png")
    put(store, small, "image/png", message_idx=1)
    put(store, b"PK\x03\x04" + bytes(50), "application/zip", message_idx=2)
    put(store, "# Caf\u00e9 </script>".encode(), "text/plain", message_idx=3)
    gone = put(store, small, "image/png", message_idx=4)
    gallery = store.gallery(progress=False)
    store.delete_media(gone)
    found = Page(gallery.save(tmp_path / "g.html").read_text()).originals
    assert base64.b64decode(str(found[0]["content"])) == large
    assert base64.b64decode(str(found[1]["content"])) == small
    assert [found[1][name] for name in ("data-kind", "data-type")] == ["image", "image/png"]
    assert (found[2]["data-kind"], found[2]["content"]) == ("none", "")
    assert "zip" in str(found[2]["data-why"])
    assert json.loads(str(found[3]["content"]))["text"] == "# Caf\u00e9 </script>"
    assert "no such media" in str(found[4]["data-why"])
    page = Page(gallery.save(tmp_path / "g.html", originals=len(small) + 100).read_text())
    assert [index for index, each in page.originals.items() if each["data-kind"] != "none"] == [1, 3]
    assert page.data["notes"] == [
        f"2 originals left out of this file (at most {len(small) + 100} B of them): open the store"
    ]
    assert page.data["notes"][0] in page.text
    assert Page(gallery.save(tmp_path / "g.html", originals=0).read_text()).originals == {}
    for wrong in (-1, "5", True, 1.5):
        raised(errors.InvalidMediaError, gallery.save, tmp_path / "x.html", originals=wrong)
    assert not (tmp_path / "x.html").exists()


def test_what_an_original_became_counts(store: MediaStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_texts(store, b"a", b"b")
    monkeypatch.setattr(
        galleries, "original_of", lambda *_, **__: Original(kind="image", type="image/png", data=b"x" * 60)
    )
    page = Page(store.gallery().save(tmp_path / "g.html", originals=100).read_text())
    assert list(page.originals) == [0]


def test_short_sounds_play_in_a_notebook_while_there_is_room(
    store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, specimens.sound(), "audio/wav")
    put(store, specimens.sound(seconds=2.0), "audio/wav", message_idx=1)
    gallery = store.gallery()
    assert list(Page(gallery.html()).originals) == [0, 1]
    (first,) = [each for index, each in Page(gallery.html()).originals.items() if index == 0]
    assert (first["data-kind"], base64.b64decode(str(first["content"]))) == ("audio", specimens.sound())
    monkeypatch.setattr(galleries, "BUDGET", len(gallery._page({}).encode()) + gallery.previews[0].weight + 600)
    found = Page(gallery.html())
    assert list(found.originals) == [0]
    assert len(gallery.html().encode()) <= galleries.BUDGET
    assert "interactive=True" in found.data["beyond"]


def test_saving_replaces_whole_or_not_at_all(store: MediaStore, memory_storage: MemoryStorage, tmp_path: Path) -> None:
    gallery, target = store.gallery(), tmp_path / "g.html"
    assert (gallery.save(target), gallery.save(str(target))) == (target, target)
    assert target.read_text().startswith("<!doctype html>")
    assert "No media here." in target.read_text()
    assert memory_storage.keys() == set()
    raised(errors.StorageError, gallery.save, tmp_path / "no-such" / "g.html", match="no-such")
    raised(errors.StorageError, gallery.save, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["g.html"]


def test_a_gallery_of_nothing_says_so(url: str, here: Path) -> None:
    assert "no store at" in refused(fsmedia("gallery", "--store", url), 3)
    assert not Path(url).exists()
    MediaStore(url).create()
    assert "no page is written" in refused(fsmedia("gallery", "--store", url), 1)
    assert not Path("gallery.html").exists()
    assert "No media here." in MediaStore(url).gallery().save("gallery.html").read_text()
    MediaStore(url).store_media(MediaContent.from_text("a note"), MediaMetadata(run_id="r1"))
    assert "no-such/g.html" in refused(fsmedia("gallery", "--store", url, "-o", "no-such/g.html"), 1)


# -- costs, counted at the wire --------------------------------------------------------------------------------------
FEW, MANY = 40, 1_000


def originals_read(counted: Requests) -> int:
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
        assert gallery.totals.media == gallery.chosen == count
        # Of a thousand the page is full before.
        assert count == FEW == len(gallery) or FEW < len(gallery) < MANY
        assert n["list"] <= listings, n["list"]
        assert originals_read(n) <= (0 if seen_before else len(gallery) + galleries._WINDOW)
        # One sidecar and, the first time, one read of the whole: two requests a media.
        assert n["get"] <= (1 if seen_before else 2) * count
        assert set(n) <= {"get", "list"}
        html, n = counted(moto_storage, gallery.html)
        assert (len(html.encode()) <= 2 * 2**20, sum(n.values())) == (True, 0)
    small, n = counted(moto_storage, lambda: opened(moto_storage).gallery(run_id="r1", limit=5, progress=False))
    assert originals_read(n) == 0  # larger pictures of fewer media come out of the cache too
    assert all(preview.image for preview in small.previews)


def test_given_references_cost_two_requests_each_and_one_listing(moto_storage: S3Storage, cache_folder: Path) -> None:
    filled(moto_storage, 10, specimens.picture())
    store = opened(moto_storage)
    references = list(store.list())
    gallery, n = counted(moto_storage, lambda: store.gallery(references, limit=8, progress=False))
    assert (len(gallery), gallery.totals.media) == (8, 10)
    assert n["list"] == 1  # of the holds
    assert (n["head"], n["get"]) == (8, 16)
    _, n = counted(moto_storage, lambda: store.gallery(limit=8, progress=False))
    assert originals_read(n) == 0  # a listing tells of the bytes what a look at each does
    _, n = counted(moto_storage, lambda: store.gallery(references, limit=8, progress=False))
    assert (n["head"], n["get"], n["list"]) == (8, 8, 1)


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


# -- the gallery as a widget -----------------------------------------------------------------------------------------
def asked(widget: Any, question: object) -> list[tuple[dict[str, Any], list[bytes]]]:
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    widget.send = lambda content, buffers=(): sent.append((content, list(buffers)))
    widget._handle_custom_msg(question, [])
    return sent


def question(number: object, **more: object) -> dict[str, object]:
    return {"id": "1", "ask": "original", "i": number, **more}


def test_a_widget_brings_originals_from_any_storage(storage: Storage) -> None:
    store = opened(storage)
    film = specimens.film(container="webm")
    put(store, film, "video/webm")
    put(store, specimens.sound(seconds=20), "audio/wav", message_idx=1)
    widget: Any = store.gallery(interactive=True)
    assert len(widget) == len(widget.items) == len(widget.records) == widget.totals.media == 2
    assert repr(widget).startswith("<Gallery of ")
    assert widget.data == {**widget.gallery.data(), "selects": True}
    ((told, buffers),) = asked(widget, question(0))
    assert (told["id"], told["kind"], told["type"], buffers) == ("1", "video", "video/webm", [film])
    assert asked(widget, question(1))[0][1] == [specimens.sound(seconds=20)]


def test_what_is_saved_from_a_widget_is_the_file_and_not_what_is_shown_of_it(
    store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = MediaContent(data=b"# A\x07 garden\r\n", mime_type="text/markdown", file_name="plan.md")
    store.store_media(page, MediaMetadata(run_id="r1"))
    widget: Any = store.gallery(interactive=True)
    saved = {"id": "1", "kind": "none", "type": "application/octet-stream", "name": "plan.md"}
    ((told, buffers),) = asked(widget, question(0, ask="file"))
    assert ({name: value for name, value in told.items() if value}, buffers) == (saved, [page.data])
    monkeypatch.setattr("fsmedia.display.interactive.MOST_BYTES", 5)
    ((told, buffers),) = asked(widget, question(0, ask="file"))
    assert ("larger than 5 B" in told["why"], buffers) == (True, [])
    store.delete_media(widget.records[0].reference)
    assert "no such media" in asked(widget, question(0, ask="file"))[0][0]["why"]


def test_a_widget_is_kept_as_html_and_viewed_only_where_nothing_else_brings_it_to_life(
    store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, specimens.picture(), "image/png")
    for name in ("JPY_SESSION_NAME", "VSCODE_PID"):
        monkeypatch.delenv(name, raising=False)
    widget: Any = store.gallery(interactive=True)
    kept = {"text/plain": repr(widget.gallery), "text/html": widget.gallery.html(key=widget.key)}
    assert (widget._repr_mimebundle_(), widget.comm) == (kept, None)  # nobody listens
    assert f'data-fsm-key="{widget.key}"' in kept["text/html"]
    monkeypatch.setenv("VSCODE_PID", "1")
    widget = store.gallery(interactive=True)
    bundle, _ = widget._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    assert bundle["text/html"] == widget.gallery.html(key=widget.key)


def test_of_a_page_only_numbers_of_what_is_shown_are_believed(
    store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = put_texts(store, b"a", b"b")
    widget: Any = store.gallery(references, interactive=True)
    numbers = (-1, 2, "0", True, False, 0.0, "../x", [0], None, 2**70)
    for each in (None, {}, "0", [], {"i": 0}, *map(question, numbers), question(0, id=5), question(0, id="x" * 101),
                 question(0, ask="delete"), {"id": "1", "i": 0, "rate": 5}):  # fmt: skip
        assert asked(widget, each) == [], each
    seen: list[list[str]] = []
    widget.observe(lambda change: seen.append(change["new"]), "selected")
    for numbers in ([1, 0, 1], [1], [], [0, 2], [True], "01", [None], {"0": 0}, [0.0], [[0]]):
        assert asked(widget, {"id": "1", "select": numbers}) == []
    assert (seen, widget.selected) == ([references, [references[1]], []], [])
    assert asked(widget, {"id": "1", "select": [0]}) == []
    assert widget.selected == [references[0]]
    assert len(store.gallery(widget.selected)) == 1
    with pytest.raises(Exception, match="read-only"):
        widget.selected = ["x"]
    monkeypatch.setattr("fsmedia.display.interactive.MOST_BYTES", 100)
    large: Any = store.gallery(put(store, specimens.picture(), "image/png"), interactive=True)
    ((told, buffers),) = asked(large, question(0))
    assert ("100 B" in told["why"], told["kind"], buffers) == (True, "none", [])


def test_rating_writes_an_attribute_where_it_was_asked_for(store: MediaStore) -> None:
    first, other = put_texts(store, b"a", b"b")
    store.annotate(first, {"rating": 2, "model": "m"})
    widget: Any = store.gallery(interactive=True, rate=True)
    assert widget.data["rates"] is True
    for stars, kept in ((5, 5), (1, 1), (None, None), (3, 3)):
        assert asked(widget, {"id": "7", "i": 0, "rate": stars}) == [({"id": "7"}, [])]
        assert store.info(first).attributes.get("rating") == widget.records[0].attributes.get("rating") == kept
    for stars in (0, 6, -1, "5", True, 4.0, [5]):
        assert asked(widget, {"id": "7", "i": 0, "rate": stars}) == []
    assert store.info(first).attributes == {"rating": 3, "model": "m"}
    assert store.info(other).attributes == {}
    store.delete_media(first)
    ((told, _),) = asked(widget, {"id": "8", "i": 0, "rate": 4})
    assert told == {"id": "8", "why": "no such media"}
    still: Any = store.gallery(interactive=True)
    assert still.data["rates"] is False
    assert asked(still, {"id": "7", "i": 0, "rate": 4}) == []
    assert store.info(other).attributes == {}


def test_markup_is_sent_as_text_what_no_browser_shows_not_at_all_and_a_missing_anywidget_is_named(
    store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, specimens.HTML, "text/html")
    put(store, b"PK\x03\x04" + bytes(50), "application/zip", message_idx=2)
    gone = put(store, specimens.picture(), "image/png", message_idx=3)
    widget = store.gallery(interactive=True)
    store.delete_media(gone)
    told = [asked(widget, question(index))[0] for index in range(3)]
    assert (told[0][0]["kind"], "<h1>hello" in told[0][0]["text"], told[0][1]) == ("text", True, [])
    assert "zip" in told[1][0]["why"]
    assert told[2] == ({"id": "1", "kind": "none", "why": "no such media"}, [])
    monkeypatch.delitem(sys.modules, "fsmedia.display.interactive", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    raised(errors.MediaError, store.gallery, match="pip install anywidget", interactive=True)
