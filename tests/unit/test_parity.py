"""The asynchronous store is the synchronous one with `await`; lists of keywords that calls share stand once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsmedia import AsyncMediaStore, Catalog, MediaStore, MediaWriter
from fsmedia.aio import AsyncMediaWriter
from fsmedia.models.selection import ListWords, SelectionWords, SubjectWords
from fsmedia.store import StoreSettings

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


@pytest.mark.parametrize(("plain", "asynchronous"), PAIRS)
def test_both_have_the_same_names(plain, asynchronous):
    assert public(asynchronous) == public(plain) - ASKS


def test_both_are_made_alike():
    assert parameters(AsyncMediaStore.__init__) == parameters(MediaStore.__init__)


@pytest.mark.parametrize("name", METHODS)
def test_parameters_and_defaults_agree(name):
    assert parameters(getattr(AsyncMediaStore, name)) == parameters(getattr(MediaStore, name))


@pytest.mark.parametrize("name", METHODS)
def test_what_blocks_is_awaited_and_what_iterates_is_iterated_asynchronously(name):
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


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_described_on_both_sides(name):
    plain, asynchronous = inspect.getdoc(getattr(MediaStore, name)), inspect.getdoc(getattr(AsyncMediaStore, name))
    assert plain
    assert asynchronous
    assert f"`MediaStore.{name}`" in asynchronous
    assert asynchronous.partition("\n")[0].split()[0] == plain.split()[0]  # the same verb


@pytest.mark.parametrize(("plain", "asynchronous"), PAIRS)
def test_both_are_context_managers_of_their_kind(plain, asynchronous):
    for name, async_name in CONTEXT.items():
        assert callable(getattr(plain, name))
        assert inspect.iscoroutinefunction(getattr(asynchronous, async_name))
        assert not hasattr(asynchronous, name)


def test_writers_agree_on_what_they_share():
    assert parameters(AsyncMediaWriter.write) == parameters(MediaWriter.write)
    assert inspect.iscoroutinefunction(AsyncMediaWriter.write)


def spelled(words: type) -> dict[str, object]:
    """Return name and annotation, as written, of each keyword of a `TypedDict`."""
    return {name: kind.__forward_arg__ for name, kind in words.__annotations__.items()}


def keywords(function: Callable[..., Any]) -> dict[str, object]:
    """Return name and annotation of each keyword-only parameter."""
    found = inspect.signature(function).parameters.values()
    return {item.name: item.annotation for item in found if item.kind is item.KEYWORD_ONLY}


def test_the_settings_that_others_hand_on_are_the_constructors() -> None:
    assert spelled(StoreSettings) == keywords(MediaStore.__init__)
    assert StoreSettings.__required_keys__ == frozenset()


def test_the_words_of_a_selection_are_those_of_list() -> None:
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


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    store, asynchronous = MediaStore(tmp_path), AsyncMediaStore(tmp_path)

    async def listed() -> None:
        async for _ in asynchronous.list(runid="r1"):
            pytest.fail("a misspelled word selects everything")

    async def shown() -> None:
        await asynchronous.gallery(runid="r1")

    for use in (
        lambda: store.list(runid="r1"),
        lambda: store.gallery(runid="r1"),
        lambda: store.erase(runid="r1"),
        lambda: store.sync_to(tmp_path / "other", runid="r1"),
        lambda: asyncio.run(listed()),
        lambda: asyncio.run(shown()),
    ):
        with pytest.raises(TypeError, match="unexpected keyword argument 'runid'"):
            use()
