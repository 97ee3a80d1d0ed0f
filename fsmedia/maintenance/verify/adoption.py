"""Files of others: told, and where that is asked for given a sidecar, so that they are media like any other.

A sidecar only says what path and bytes tell, and names no policy. It is written where none is, and taken away again
if the file is gone by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia.core import commit
from fsmedia.errors import MediaError, StorageError
from fsmedia.format import keys
from fsmedia.maintenance.verify import contents, making

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fsmedia.maintenance.verify.contents import Content
    from fsmedia.maintenance.verify.ground import Ground, Outcome
    from fsmedia.storage import Entry

_PLAN = "it is given a sidecar: ids from its path, type, size and digest from its bytes, no policy"
_DETAIL = "it has no sidecar: another program's, or a client's whose store died"


def adopt(ground: Ground, entries: Sequence[Entry], outcome: Outcome) -> None:
    """Tell of files without sidecar, and adopt them where that is asked for."""
    for entry in entries:
        outcome.media += 1
        outcome.bytes += entry.size
    if not ground.adopts:
        plan = _PLAN if ground.adopting else ""
        for entry in entries:
            outcome.find("file", entry.key, _DETAIL, plan, harmless=True)
        return
    for entry, content in zip(entries, contents.read_many(ground.backend, entries), strict=True):
        try:
            if isinstance(content, MediaError):
                raise content
            if content is not None:
                outcome.bytes_read += content.size
                _adopt(ground, entry, content)
                outcome.find("file", entry.key, _DETAIL, _PLAN, done=True, harmless=True)
        except MediaError as error:
            outcome.fail(entry.key, error)


def _adopt(ground: Ground, entry: Entry, content: Content) -> None:
    """Write a sidecar, if the file is still the one that was read and has none."""
    backend, reference = ground.backend, entry.key
    if _token(ground, entry) != entry.token or content.size != entry.size:
        raise _changed(reference)
    sidecar = making.made(entry, content, ground.configuration, ground.now)
    if not backend.create(keys.sidecar_key(reference), sidecar.dump(), commit.SIDECAR_TYPE):
        return  # whoever wrote it knows more
    if backend.head(reference) is None:
        for error in backend.delete([keys.sidecar_key(reference)]).values():
            raise error
        raise _changed(reference)


def _token(ground: Ground, entry: Entry) -> str | None:
    found = ground.backend.head(entry.key)
    return None if found is None else found.token


def _changed(reference: str) -> StorageError:
    return StorageError("was changed while it was adopted", next_step="adopt again", reference=reference)
