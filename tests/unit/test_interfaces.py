"""Interfaces: what others build against fits the store, the asynchronous store is its twin, keywords stand once."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import fsmedia
from fsmedia import (
    AsyncMediaStore,
    Catalog,
    MediaContent,
    MediaMetadata,
    MediaNotFoundError,
    MediaStorageService,
    MediaStore,
    MediaWriter,
    Reference,
)
from fsmedia.aio import AsyncMediaWriter
from fsmedia.core.records import StoredBytes
from fsmedia.models.interfaces import ContentHandle
from fsmedia.models.selection import ListWords, SelectionWords, SubjectWords
from fsmedia.store import StoreSettings


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
            raise MediaNotFoundError("no such media", reference=reference)
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
    """What a protocol asks for."""
    return [name for name, value in vars(protocol).items() if inspect.isfunction(value) and not name.startswith("_")]


def shape(function: Callable[..., Any]) -> list[tuple[str, object, object, object]]:
    """What a caller has to know of a signature."""
    signature = inspect.signature(function)
    parameters = [(p.name, p.kind, p.default, p.annotation) for p in signature.parameters.values()]
    return [*parameters, ("return", None, None, signature.return_annotation)]


MORE = {"retrieve_media": [("local_copy", inspect.Parameter.KEYWORD_ONLY, False)]}
"""What `MediaStore` takes besides: keywords that nobody has to give, so that it fits all the same."""


def test_signatures_are_those_of_the_protocol() -> None:
    for kind in [MediaStore, Shelf]:
        for name in methods(MediaStorageService):
            mine, asked = shape(getattr(kind, name)), shape(getattr(MediaStorageService, name))
            assert [part for part in mine if part[:3] not in MORE.get(name, [])] == asked
    for kind in [StoredBytes, Handle]:
        for name in methods(ContentHandle):
            mine, asked = shape(getattr(kind, name)), shape(getattr(ContentHandle, name))
            assert [part[:3] for part in mine] == [part[:3] for part in asked]
    assert methods(MediaStorageService) == ["store_media", "retrieve_media", "get_url", "delete_media"]
    assert methods(ContentHandle) == ["open", "local_path"]


def use(service: MediaStorageService) -> None:
    """What a program does that knows the interface only."""
    assert isinstance(service, MediaStorageService)
    reference = service.store_media(MediaContent.from_bytes(b"ab", "image/png"), MediaMetadata(run_id="r1"))
    assert isinstance(reference, Reference)
    assert service.retrieve_media(reference).read_bytes() == b"ab"
    assert "://" in service.get_url(reference)
    service.delete_media(reference)
    service.delete_media(reference)
    with pytest.raises(FileNotFoundError):
        service.retrieve_media(reference)


def test_a_store_and_somebody_elses_class_can_stand_where_the_interface_is_asked(tmp_path: Path) -> None:
    use(MediaStore(tmp_path / "media"))
    use(Shelf())
    handle: ContentHandle = Handle()
    content = MediaContent(storage_reference="a/b", mime_type="image/png").attach(handle)
    assert content.read_bytes() == b"ab"
    assert content.local_path() == Path("x")
    for missing in methods(MediaStorageService):
        kept = {name: value for name, value in vars(Shelf).items() if inspect.isfunction(value) and name != missing}
        assert not isinstance(type("Half", (), kept)(), MediaStorageService)
        assert not isinstance({}, MediaStorageService)


PLAIN = {"create_media", "fs", "media_url", "url", "organization", "url_options"}
"""What is no coroutine in the asynchronous store either."""
CONTEXT = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
OWN_RETURNS = {"open": "AsyncMediaReader"}
"""Coroutines whose results have coroutines in turn."""
PAIRS = [(MediaStore, AsyncMediaStore), (MediaWriter, AsyncMediaWriter)]


def public(kind: type) -> set[str]:
    """Return the public names of a class, inherited ones included."""
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(function: object) -> list[tuple[str, object, object, object]]:
    """Return name, kind, default and annotation of each parameter."""
    found = inspect.signature(function).parameters.values()
    return [(item.name, item.kind, item.default, item.annotation) for item in found]


# They look at the root when they are read, and an attribute can't be awaited.
ASKS = {"url", "organization"}
METHODS = sorted(name for name in public(MediaStore) if callable(getattr(MediaStore, name)))


def test_both_have_the_same_names_parameters_and_contexts() -> None:
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


def test_what_blocks_is_awaited_and_each_method_is_described_on_both_sides() -> None:
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
    """Return name and annotation of each keyword-only parameter."""
    found = inspect.signature(function).parameters.values()
    return {item.name: item.annotation for item in found if item.kind is item.KEYWORD_ONLY}


def test_the_settings_and_the_words_that_others_hand_on_stand_once() -> None:
    assert spelled(StoreSettings) == keywords(MediaStore.__init__)
    assert StoreSettings.__required_keys__ == frozenset()
    assert spelled(ListWords) == keywords(MediaStore.list)
    assert ListWords.__required_keys__ == frozenset()


@pytest.mark.parametrize(
    "function",
    [MediaStore.list, MediaStore.gallery, MediaStore.sync_to, AsyncMediaStore.gallery, Catalog.filter],
    ids=lambda each: each.__qualname__,
)
def test_who_takes_a_selection_shows_its_words(function: Callable[..., Any]) -> None:
    """`help` and notebooks name them, though the code says `**words`."""
    shown = keywords(function)
    assert {name: shown.get(name) for name in spelled(SelectionWords)} == spelled(SelectionWords)


def test_an_erasure_takes_the_ids_and_no_other_condition() -> None:
    assert keywords(MediaStore.erase).items() > spelled(SubjectWords).items()
    assert not keywords(MediaStore.erase).keys() & (SelectionWords.__annotations__.keys() - spelled(SubjectWords))
    with pytest.raises(TypeError, match=r"erase\(\) got an unexpected keyword argument 'mime_type'"):
        MediaStore("memory://parity").erase(run_id="r1", mime_type="image/*")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["urll", "run_id"])
def test_an_unknown_setting_is_refused_by_the_constructor(name: str) -> None:
    """Not by the first call, which may come much later and far away."""
    with pytest.raises(TypeError, match=rf"AsyncMediaStore\(\) got an unexpected keyword argument '{name}'"):
        AsyncMediaStore("memory://parity", **{name: "x"})


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("import_folder", "id"), ("import_imagefolder", "id"), ("import_webdataset", "id"),
        ("import_promptarena", "ids"), ("import_inspect", "ids"), ("import_inspect", "storage_options"),
    ],
)  # fmt: skip
def test_an_importer_refuses_what_it_would_not_heed(name: str, word: str, tmp_path: Path) -> None:
    """Ids that a source tells itself are no words of its importer: whoever gives them expects other ids."""
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument '{word}'"):
        getattr(fsmedia, name)(MediaStore(tmp_path / "store"), tmp_path, **{word: {"run_id": "r9"}})


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    store, asynchronous = MediaStore(tmp_path), AsyncMediaStore(tmp_path)

    async def listed() -> None:
        async for _ in asynchronous.list(runid="r1"):
            pytest.fail("a misspelled word selects everything")

    async def shown() -> None:
        await asynchronous.gallery(runid="r1")

    for name, use in (
        ("list", lambda: store.list(runid="r1")),
        ("gallery", lambda: store.gallery(runid="r1")),
        ("erase", lambda: store.erase(runid="r1")),
        ("sync_to", lambda: store.sync_to(tmp_path / "other", runid="r1")),
        ("list", lambda: asyncio.run(listed())),
        ("gallery", lambda: asyncio.run(shown())),
        ("export_imagefolder", lambda: fsmedia.export_imagefolder(store, tmp_path / "set", runid="r1")),
    ):
        with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'runid'"):
            use()
