"""Interfaces: what others build against fits the store, the asynchronous store is its twin, keywords stand once."""

from __future__ import annotations

import asyncio
import inspect
import io
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fsmedia
from fsmedia import AsyncMediaStore, Catalog, MediaContent, MediaMetadata, MediaStore, MediaWriter, Reference
from fsmedia.aio import AsyncMediaWriter
from fsmedia.core.records import StoredBytes
from fsmedia.models.interfaces import ContentHandle
from fsmedia.models.selection import ListWords, SelectionWords, SubjectWords
from fsmedia.store import StoreSettings
from tests.contract.specimens import raised


class Shelf:
    """A storage of somebody else's, which knows nothing of this package but its models."""

    def __init__(self) -> None:
        self.kept: dict[str, MediaContent] = {}

    def store_media(self, content: MediaContent, metadata: MediaMetadata) -> Reference:
        reference = Reference(f"{metadata.run_id}/{len(self.kept)}")
        self.kept[reference] = content
        return reference

    def retrieve_media(self, reference: str) -> MediaContent:
        if reference not in self.kept:
            raise fsmedia.MediaNotFoundError("no such media", reference=reference)
        return self.kept[reference]

    def get_url(self, reference: str, expiry: timedelta | None = None) -> str:
        return f"https://shelf.example/{reference}"

    def delete_media(self, reference: str) -> None:
        self.kept.pop(reference, None)


class Handle:
    """Another way to bytes than the store's."""

    def open(self) -> io.BytesIO:
        return io.BytesIO(b"ab")

    def local_path(self) -> Path:
        return Path("x")


def methods(protocol: type) -> list[str]:
    return [name for name, value in vars(protocol).items() if inspect.isfunction(value) and not name.startswith("_")]


def parameters(function: Callable[..., Any]) -> list[tuple[str, object, object, object]]:
    found = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default, each.annotation) for each in found]


def shape(function: Callable[..., Any]) -> list[tuple[str, object, object, object]]:
    """What a caller has to know of a signature."""
    return [*parameters(function), ("return", None, None, inspect.signature(function).return_annotation)]


MORE = {
    "store_media": [("path", inspect.Parameter.KEYWORD_ONLY, None)],
    "retrieve_media": [("local_copy", inspect.Parameter.KEYWORD_ONLY, False)],
}
"""What `MediaStore` takes besides: keywords that nobody has to give, so that it fits all the same."""


def test_signatures_are_those_of_the_protocol() -> None:
    for kind in [MediaStore, Shelf]:
        for name in methods(fsmedia.MediaStorageService):
            mine, asked = shape(getattr(kind, name)), shape(getattr(fsmedia.MediaStorageService, name))
            assert [part for part in mine if part[:3] not in MORE.get(name, [])] == asked
    for kind in [StoredBytes, Handle]:
        for name in methods(ContentHandle):
            mine, asked = shape(getattr(kind, name)), shape(getattr(ContentHandle, name))
            assert [part[:3] for part in mine] == [part[:3] for part in asked]
    assert methods(fsmedia.MediaStorageService) == ["store_media", "retrieve_media", "get_url", "delete_media"]
    assert methods(ContentHandle) == ["open", "local_path"]


def use(service: fsmedia.MediaStorageService) -> None:
    """What a program does that knows the interface only."""
    assert isinstance(service, fsmedia.MediaStorageService)
    reference = service.store_media(MediaContent.from_bytes(b"ab", "image/png"), MediaMetadata(run_id="r1"))
    assert isinstance(reference, Reference)
    assert service.retrieve_media(reference).read_bytes() == b"ab"
    assert "://" in service.get_url(reference)
    service.delete_media(reference)
    service.delete_media(reference)
    raised(FileNotFoundError, service.retrieve_media, reference)


def test_a_store_and_somebody_elses_class_can_stand_where_the_interface_is_asked(tmp_path: Path) -> None:
    use(MediaStore(tmp_path / "media"))
    use(Shelf())
    handle: ContentHandle = Handle()
    content = MediaContent(storage_reference="a/b", mime_type="image/png").attach(handle)
    assert (content.read_bytes(), content.local_path()) == (b"ab", Path("x"))
    for missing in methods(fsmedia.MediaStorageService):
        kept = {name: value for name, value in vars(Shelf).items() if inspect.isfunction(value) and name != missing}
        assert not isinstance(type("Half", (), kept)(), fsmedia.MediaStorageService)
        assert not isinstance({}, fsmedia.MediaStorageService)


PLAIN = {"create_media", "fs", "media_url", "object_url", "url", "organization", "url_options"}
"""What is no coroutine in the asynchronous store either."""
CONTEXT = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
OWN_RETURNS = {"open": "AsyncMediaReader"}
"""Coroutines whose results have coroutines in turn."""
PAIRS = [(MediaStore, AsyncMediaStore), (MediaWriter, AsyncMediaWriter)]


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


# They look at the root when they are read, and an attribute can't be awaited.
ASKS = {"url", "organization"}
METHODS = sorted(name for name in public(MediaStore) if callable(getattr(MediaStore, name)))


def test_both_stores_have_the_same_names_parameters_and_contexts_and_what_blocks_is_awaited() -> None:
    for plain, asynchronous in PAIRS:
        assert public(asynchronous) == public(plain) - ASKS
    assert parameters(AsyncMediaStore.__init__) == parameters(MediaStore.__init__)
    assert parameters(AsyncMediaWriter.write) == parameters(MediaWriter.write)
    assert inspect.iscoroutinefunction(AsyncMediaWriter.write)
    for name in METHODS:
        assert parameters(getattr(AsyncMediaStore, name)) == parameters(getattr(MediaStore, name))
    for plain, asynchronous in PAIRS:
        for name, async_name in CONTEXT.items():
            assert callable(getattr(plain, name))
            assert inspect.iscoroutinefunction(getattr(asynchronous, async_name))
            assert not hasattr(asynchronous, name)
    for name in METHODS:
        method = getattr(AsyncMediaStore, name)
        plain = inspect.signature(getattr(MediaStore, name)).return_annotation
        if name in PLAIN:
            assert not inspect.iscoroutinefunction(method)
        elif str(plain).startswith("Iterator"):
            assert not inspect.iscoroutinefunction(method)
            assert inspect.signature(method).return_annotation == f"Async{plain}"
        else:
            assert inspect.iscoroutinefunction(method)
            assert inspect.signature(method).return_annotation == OWN_RETURNS.get(name, plain)
    for name in METHODS:
        plain, asynchronous = inspect.getdoc(getattr(MediaStore, name)), inspect.getdoc(getattr(AsyncMediaStore, name))
        assert plain
        assert asynchronous
        assert f"`MediaStore.{name}`" in asynchronous
        assert asynchronous.partition("\n")[0].split()[0] == plain.split()[0]  # the same verb


def spelled(words: type) -> dict[str, object]:
    """Return name and annotation, as written, of each keyword of a `TypedDict`."""
    return {name: kind.__forward_arg__ for name, kind in words.__annotations__.items()}


def keywords(function: Callable[..., Any]) -> dict[str, object]:
    return {name: kind for name, how, _, kind in parameters(function) if how is inspect.Parameter.KEYWORD_ONLY}


def test_settings_and_words_that_others_hand_on_stand_once_and_an_erasure_takes_the_ids_only() -> None:
    assert spelled(StoreSettings) == keywords(MediaStore.__init__)
    assert (StoreSettings.__required_keys__, spelled(ListWords)) == (frozenset(), keywords(MediaStore.list))
    assert ListWords.__required_keys__ == frozenset()
    assert keywords(MediaStore.erase).items() > spelled(SubjectWords).items()
    assert not keywords(MediaStore.erase).keys() & (SelectionWords.__annotations__.keys() - spelled(SubjectWords))
    with pytest.raises(TypeError, match=r"erase\(\) got an unexpected keyword argument 'mime_type'"):
        MediaStore("memory://parity").erase(run_id="r1", mime_type="image/*")  # type: ignore[call-arg]


def test_who_takes_a_selection_shows_its_words() -> None:
    """`help` and notebooks name them, though the code says `**words`."""
    for function in (MediaStore.list, MediaStore.gallery, MediaStore.sync_to, AsyncMediaStore.gallery, Catalog.filter):
        shown = keywords(function)
        assert {name: shown.get(name) for name in spelled(SelectionWords)} == spelled(SelectionWords), function


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    store, asynchronous = MediaStore(tmp_path), AsyncMediaStore(tmp_path)

    async def listed() -> None:
        async for _ in asynchronous.list(runid="r1"):
            pytest.fail("a misspelled word selects everything")

    async def shown() -> None:
        await asynchronous.gallery(runid="r1")

    rows: list[tuple[str, str, Callable[[], object]]] = [
        ("list", "runid", lambda: store.list(runid="r1")),
        ("gallery", "runid", lambda: store.gallery(runid="r1")),
        ("erase", "runid", lambda: store.erase(runid="r1")),
        ("sync_to", "runid", lambda: store.sync_to(tmp_path / "other", runid="r1")),
        ("list", "runid", lambda: asyncio.run(listed())),
        ("gallery", "runid", lambda: asyncio.run(shown())),
        ("export_imagefolder", "runid", lambda: fsmedia.export_imagefolder(store, tmp_path / "set", runid="r1")),
    ]
    for use in (lambda: store.list(sicne=None), lambda: store.gallery(sicne=None)):
        # Python names the closest word from 3.13 on, of named parameters alone: here are all of them, the times too.
        told = str(raised(TypeError, use))
        assert {"run_id", "since", "until", "expires_before", "attributes", "limit"} <= {*re.findall(r"\w+", told)}
    # Unknown settings: not by the first call, which may come much later and far away.
    rows += [
        ("AsyncMediaStore", word, partial(AsyncMediaStore, "memory://parity", **{word: "x"}))
        for word in ("urll", "run_id")
    ]
    # Ids that a source tells itself are no words of its importer: whoever gives them expects other ids.
    rows += [
        (name, word, partial(getattr(fsmedia, name), store, tmp_path, **{word: {"run_id": "r9"}}))
        for name, word in (
            ("import_folder", "id"), ("import_imagefolder", "id"), ("import_webdataset", "id"),
            ("import_promptarena", "ids"), ("import_inspect", "ids"), ("import_inspect", "storage_options"),
            ("import_claude_code", "ids"), ("import_codex", "ids"),
        )
    ]  # fmt: skip
    for name, word, use in rows:
        raised(TypeError, use, match=rf"^{name}\(\) got an unexpected keyword argument '{word}'")
