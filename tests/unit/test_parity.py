"""The asynchronous store is the synchronous one with `await`: names, parameters, defaults, docstrings."""

from __future__ import annotations

import inspect

import pytest

from fsmedia import AsyncMediaStore, MediaStore, MediaWriter
from fsmedia.aio import AsyncMediaWriter

PLAIN = {"create_media", "fs", "media_url", "url", "organization", "url_options"}
"""What is no coroutine in the asynchronous store either."""
CONTEXT = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
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
        assert inspect.isasyncgenfunction(method)
        assert inspect.signature(method).return_annotation == f"Async{plain}"
    else:
        assert inspect.iscoroutinefunction(method)
        assert inspect.signature(method).return_annotation == plain


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
