"""Interfaces: what other programs build against fits what the package offers, in names and signatures."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, MediaStorageService, MediaStore, Reference
from fsmedia.core.records import StoredBytes
from fsmedia.models.interfaces import ContentHandle


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


def test_the_protocol_asks_for_what_promptkits_interface_does() -> None:
    assert methods(MediaStorageService) == ["store_media", "retrieve_media", "get_url", "delete_media"]
    assert methods(ContentHandle) == ["open", "local_path"]


MORE = {"retrieve_media": [("local_copy", inspect.Parameter.KEYWORD_ONLY, False)]}
"""What `MediaStore` takes besides: keywords that nobody has to give, so that it fits all the same."""


@pytest.mark.parametrize("kind", [MediaStore, Shelf])
@pytest.mark.parametrize("name", methods(MediaStorageService))
def test_signatures_are_those_of_the_protocol(kind: type, name: str) -> None:
    mine, asked = shape(getattr(kind, name)), shape(getattr(MediaStorageService, name))
    assert [part for part in mine if part[:3] not in MORE.get(name, [])] == asked


@pytest.mark.parametrize("kind", [StoredBytes, Handle])
@pytest.mark.parametrize("name", methods(ContentHandle))
def test_handles_have_the_methods_of_their_protocol(kind: type, name: str) -> None:
    mine, asked = shape(getattr(kind, name)), shape(getattr(ContentHandle, name))
    assert [part[:3] for part in mine] == [part[:3] for part in asked]


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


def test_a_store_can_stand_where_the_interface_is_asked(tmp_path: Path) -> None:
    use(MediaStore(tmp_path / "media"))


def test_somebody_elses_class_can_stand_there_too() -> None:
    use(Shelf())


@pytest.mark.parametrize("missing", methods(MediaStorageService))
def test_a_class_that_lacks_a_method_does_not_fit(missing: str) -> None:
    kept = {name: value for name, value in vars(Shelf).items() if inspect.isfunction(value) and name != missing}
    assert not isinstance(type("Half", (), kept)(), MediaStorageService)
    assert not isinstance({}, MediaStorageService)


def test_any_handle_can_be_attached() -> None:
    handle: ContentHandle = Handle()
    content = MediaContent(storage_reference="a/b", mime_type="image/png").attach(handle)
    assert content.read_bytes() == b"ab"
    assert content.local_path() == Path("x")
