"""The gallery as a widget: what a card may ask, what is answered, and both sides together in a browser."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from fsmedia import MediaError, MediaStore
from tests.surfaces import specimens
from tests.surfaces.browsers import launched
from tests.surfaces.specimens import put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.storages import MemoryStorage, S3Storage, Storage


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


@pytest.mark.parametrize(
    "question", [None, {}, "0", {"n": -1}, {"n": 1}, {"n": "0"}, {"n": True}, {"n": 0.0}, {"n": "../x"}, {"n": [0]}, []]
)
def test_nothing_but_the_number_of_a_card_is_answered(question: object, memory_storage: MemoryStorage) -> None:
    store = MediaStore(memory_storage.url)
    put(store, b"x", "text/plain")
    assert asked(store.gallery(interactive=True), question) == []


def test_markup_is_sent_as_text_and_what_no_browser_shows_not_at_all(memory_storage: MemoryStorage) -> None:
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


def test_a_large_media_is_refused(memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MediaStore(memory_storage.url)
    put(store, specimens.sound(), "audio/wav")
    widget = store.gallery(interactive=True)
    monkeypatch.setattr("fsmedia.display.interactive.MOST_BYTES", 100)
    assert "larger than 100 B" in asked(widget, {"n": 0})[0][0]["error"]


def test_a_missing_anywidget_is_named(memory_storage: MemoryStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fsmedia.display.interactive", raising=False)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(MediaError, match="pip install anywidget"):
        MediaStore(memory_storage.url).gallery(interactive=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give the browser."""
    with launched() as found:
        yield found


RENDER = """async ([code, html]) => {
  window.asked = [];
  window.handlers = {};
  const model = {
    get: () => html,
    send: (message) => window.asked.push(message),
    on: (name, handler) => { window.handlers[name] = handler; },
    off: (name) => { delete window.handlers[name]; },
  };
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const widget = await import(address);
  window.end = widget.default.render({ model, el: document.body });
}"""
ANSWER = """([message, numbers]) =>
  window.handlers["msg:custom"](message, numbers.map((each) => new DataView(Uint8Array.from(each).buffer)))"""


def test_both_sides_in_a_browser(browser: Any, moto_storage: S3Storage) -> None:
    store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
    put(store, specimens.picture((800, 600)), "image/png")
    put(store, specimens.HTML, "text/html", message_idx=1)
    widget = store.gallery(interactive=True)
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.evaluate(RENDER, [widget._esm, widget.html])
    assert page.locator(".fsm-card:visible").count() == 2
    for index, selector in ((0, ".fsm-stage img"), (1, ".fsm-stage pre")):
        page.get_by_role("button", name="Open").nth(index).click()
        question = page.evaluate("window.asked.pop()")
        ((message, buffers),) = asked(widget, question)
        page.evaluate(ANSWER, [message, [list(each) for each in buffers]])
        page.locator(selector).wait_for()
        if index == 0:
            page.wait_for_function("document.querySelector('.fsm-stage img').naturalWidth === 800")
        page.keyboard.press("Escape")
        assert page.locator(".fsm-stage").count() == 0
    page.evaluate(ANSWER, [{"n": 0, "error": "<b>gone</b>"}, []])
    assert page.get_by_text("<b>gone</b>").is_visible()
    page.get_by_role("button", name="Close").click()
    page.evaluate("window.end()")
    assert page.evaluate("Object.keys(window.handlers)") == []
    assert page.title() != "ran"
    page.close()
    assert said == []
