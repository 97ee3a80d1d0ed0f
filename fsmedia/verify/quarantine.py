"""Setting aside what can't be judged: a copy that is compared with what was read, and a note; originals go later.

The copy is there and confirmed before anything is removed, so whoever dies leaves at worst both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsmedia import keys
from fsmedia.errors import StorageError
from fsmedia.quarantine import Note
from fsmedia.verify import contents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fsmedia.verify.contents import Content
    from fsmedia.verify.ground import Ground

_TYPE = "application/octet-stream"


def set_aside(
    ground: Ground,
    subject: str,
    why: str,
    *,
    objects: Mapping[str, Content] | None = None,
    texts: Mapping[str, bytes] | None = None,
) -> str:
    """Copy objects, and write texts that were read, into a fresh folder; return the folder.

    Parameters
    ----------
    subject
        The media that the note speaks of, or the key where no media is known.
    objects
        Keys to copy -> what was read there; a copy that says otherwise is no copy.
    texts
        Keys -> what was read there, small enough to be in memory.

    Raises
    ------
    StorageError
        Something could not be copied whole; nothing of the store was changed.
    """
    backend, folder = ground.backend, keys.quarantine_folder(ground.now)
    placed: dict[str, str] = {}
    for key, content in (objects or {}).items():
        target = placed[key] = keys.quarantined_key(folder, key, backend.root_length)
        try:
            backend.copy(key, target, _TYPE)
        except FileNotFoundError:
            raise StorageError("went while it was copied to quarantine", next_step="verify again", key=key) from None
        if contents.read(backend, target, content.size) != content:
            raise StorageError("changed while it was copied to quarantine", next_step="verify again", key=key)
    for key, data in (texts or {}).items():
        placed[key] = keys.quarantined_key(folder, key, backend.root_length)
        backend.write(placed[key], data, _TYPE)
    shown = {target: key.encode(errors="replace").decode() for key, target in placed.items()}
    note = Note(subject, why, ground.now.isoformat(), shown)
    backend.write(keys.quarantine_note(folder), note.dump(), "application/json")
    return folder
