"""Annotations: changes of what a sidecar says in its users' words, made on it as often as need be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from fsmedia.errors import InvalidMediaError
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import ContentFields, MediaMetadata
from fsmedia.models.attributes import (
    AttributeValue,
    as_xattrs,
    checked_attributes,
    checked_name,
    checked_value,
    readable,
)

Unchanged = EllipsisType
"""Type of `...`, which leaves a value as it is."""
Texts = Mapping[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Changes of what users say of a media item; checked as far as they can be without it.

    Attributes
    ----------
    attributes
        Values by name; None removes one.
    add, discard
        Texts that a list of text shall have, and shall not have.
    described
        Fields of `ContentFields`; None removes one.
    provider_id
        Who made it, empty for nobody; None leaves it as it is.
    """

    attributes: Mapping[str, AttributeValue | None]
    add: Mapping[str, list[str]]
    discard: Mapping[str, list[str]]
    described: Mapping[str, Any]
    provider_id: str | None

    @classmethod
    def read(
        cls,
        attributes: Mapping[str, AttributeValue | None],
        add: Texts,
        discard: Texts,
        provider_id: str | Unchanged | None,
        **described: str | Unchanged | None,
    ) -> Annotation:
        """Check what a caller gives; `InvalidMediaError` for what can't be meant, or changes nothing."""
        fields: dict[str, Any] = {
            name: value for name, value in described.items() if not isinstance(value, EllipsisType)
        }
        provider = None if isinstance(provider_id, EllipsisType) else provider_id or ""
        checked = ContentFields(**fields)
        if provider is not None:
            provider = MediaMetadata(provider_id=provider).provider_id
        try:
            removed = {checked_name(name): None for name, value in dict(attributes).items() if value is None}
            given = checked_attributes({name: value for name, value in attributes.items() if value is not None})
            adds, discards = _texts_by_name(add), _texts_by_name(discard)
            for name in adds.keys() | discards.keys():
                if name in attributes:
                    raise ValueError(f"{name} is given a value, and added to or discarded from as well")
                if both := {*adds.get(name, ())} & {*discards.get(name, ())}:
                    raise ValueError(f"{name}: {min(both)!r} is to be added and to be discarded")
        except (ValueError, TypeError) as error:
            raise InvalidMediaError(f"attributes: {error}", next_step="see help(MediaStore.annotate)") from None
        if not (attributes or adds or discards or fields or provider is not None):
            raise InvalidMediaError("nothing is to be changed", next_step="see help(MediaStore.annotate)")
        return cls({**given, **removed}, adds, discards, {name: getattr(checked, name) for name in fields}, provider)

    def made_on(self, sidecar: Sidecar, reference: str) -> Sidecar:
        """Return a sidecar with these changes; `InvalidMediaError` where they don't go with what it says."""
        there = readable(sidecar.values.get("xattrs") or {})
        changes: dict[str, AttributeValue | None] = dict(self.attributes)
        for name in {**self.add, **self.discard}:
            texts = dict.fromkeys([*_texts(name, there.get(name, [])), *self.add.get(name, ())])
            # A list that nothing is left of is as good as none.
            changes[name] = [text for text in texts if text not in self.discard.get(name, ())] or None
        new = {**there, **changes}
        if any(value is not None for value in changes.values()):
            try:
                checked_attributes({name: value for name, value in new.items() if value is not None})
            except ValueError as error:
                raise InvalidMediaError(
                    f"its attributes: {error}", next_step="remove some", reference=reference
                ) from None
        values: dict[str, Any] = {}
        if self.provider_id is not None:
            values["provider_id"] = self.provider_id or None
        if self.described:
            content = {**(sidecar.values.get("content") or {}), **self.described}
            values["content"] = {name: value for name, value in content.items() if value is not None} or None
        return sidecar.with_values(reference, values, as_xattrs(changes))


def _texts_by_name(given: Texts) -> dict[str, list[str]]:
    return {checked_name(name): _texts(name, checked_value(name, value)) for name, value in dict(given).items()}


def _texts(name: str, value: AttributeValue) -> list[str]:
    """Return a list of text, of one text where there is no list."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise InvalidMediaError(f"{name} is {value!r}, no list of text", next_step="give it a value instead")
    return value
