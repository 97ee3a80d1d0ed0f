"""What else names a subject's media: mappings of a conversion, records of deletions, PromptKit's index, quarantine.

None of it is needed by any media that stays. A record of deletions is evidence, so it goes only where that is asked
for. Every step is guarded: what fails is reported, and the rest goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from fsmedia.core import promptkit, records
from fsmedia.core.parallel import windows
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.models import Remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from fsmedia.maintenance.erasure.subject import Subject
    from fsmedia.storage import Backend

_LINES = "application/x-ndjson"
_TOGETHER = 64
_STALE = "a hold names it, and it is not there: release it"


@dataclass(slots=True)
class Traces:
    """Finds and removes them.

    Attributes
    ----------
    erased
        References that are gone, or in a dry run would be.
    staying
        References of the subject that stay: held, or not deleted because something failed.
    """

    backend: Backend
    subject: Subject
    erased: Collection[str]
    staying: Collection[str]
    dry_run: bool
    failed: list[Remaining] = field(default_factory=list)

    def mappings(self) -> int:
        """Take lines out of what conversions wrote down; return how many."""
        return self._guarded(keys.REFERENCES, lambda: self._rewritten(keys.REFERENCES, ("old", "new")))

    def log_lines(self) -> int:
        """Take lines out of the records of deletions; return how many."""
        return self._guarded(keys.DELETIONS, lambda: self._rewritten(keys.DELETIONS, ("reference",)))

    def index_entries(self) -> int:
        """Take out of PromptKit's index what it says of media that are not there; return how many."""
        return self._guarded(keys.DEDUP_INDEX_KEY, self._index)

    def quarantined(self) -> int:
        """Remove what repairs set aside; return how many objects."""
        return self._guarded(keys.QUARANTINE, self._quarantine)

    def stale_holds(self) -> list[Remaining]:
        """Return holds of media that are not there: nobody but `release` takes a hold away, so they stay."""
        found: list[Remaining] = []

        def look() -> int:
            known = {keys.hold_key(each) for each in self.staying}
            others = (entry.key for entry in self.backend.entries(keys.HOLDS) if entry.key not in known)
            for window in windows(others, _TOGETHER):
                for key, data in zip(window, self.backend.fetch(reads=window).reads, strict=True):
                    named = _parsed(data or b"").get("reference")
                    if isinstance(named, str) and records.is_reference(named) and self._is_stale(named):
                        found.append(Remaining(reference=named, reason=f"{_STALE} ({key})"))  # type: ignore[arg-type]
            return 0

        self._guarded(keys.HOLDS, look)
        return found

    def _is_stale(self, reference: str) -> bool:
        """Tell whether a hold is the subject's and holds nothing."""
        return (reference in self.erased or self.subject.lies_in(reference)) and not self._there([reference])

    def _guarded(self, key: str, act: Callable[[], int]) -> int:
        try:
            return act()
        except MediaError as error:
            self._fail(key, error)
            return 0

    def _fail(self, key: str, error: MediaError) -> None:
        self.failed.append(Remaining(reference=key, reason=str(error)))  # type: ignore[arg-type]

    def _delete(self, gone: Collection[str]) -> int:
        """Remove objects; return how many went."""
        failed = {} if self.dry_run or not gone else self.backend.delete(gone)
        for key, error in failed.items():
            self._fail(key, error)
        return len(gone) - len(failed)

    # -- JSON lines ----------------------------------------------------------------------------------------

    def _rewritten(self, folder: str, fields: tuple[str, ...]) -> int:
        """Rewrite the objects with lines of the subject, each by one atomic write; what is no JSON stays."""
        count = 0
        listed = (entry.key for entry in self.backend.entries(folder) if not keys.is_temporary(entry.key))
        for window in windows(listed, _TOGETHER):
            for key, data in zip(window, self.backend.fetch(reads=window).reads, strict=True):
                lines = [] if data is None else data.split(b"\n")
                going = self._going(lines, fields)
                if not going:
                    continue
                count += len(going)
                kept = [line for number, line in enumerate(lines) if number not in going]
                if not any(kept):
                    self._delete([key])
                elif not self.dry_run:
                    self.backend.write(key, b"\n".join(kept), _LINES)
        return count

    def _going(self, lines: list[bytes], fields: tuple[str, ...]) -> set[int]:
        """Return the numbers of the lines that name media of the subject which are not there."""
        named: dict[int, list[str]] = {}
        for number, line in enumerate(lines):
            values = _parsed(line)
            references = [value for name in fields if isinstance(value := values.get(name), str)]
            if any(self._is_subjects(each) for each in references):
                named[number] = [each for each in references if self._is_reference(each)]
        there = self._there({each for references in named.values() for each in references})
        return {number for number, references in named.items() if there.isdisjoint(references)}

    def _is_subjects(self, reference: str) -> bool:
        return reference in self.erased or (reference not in self.staying and self.subject.lies_in(reference))

    @staticmethod
    def _is_reference(text: str) -> bool:
        return records.is_reference(text)

    def _there(self, references: Iterable[str]) -> set[str]:
        """Return which of the media are there; what is to go in a dry run counts as gone."""
        asked = sorted(each for each in references if each not in self.erased)
        found: set[str] = set()
        for window in windows(asked, _TOGETHER):
            heads = self.backend.fetch(heads=[keys.sidecar_key(each) for each in window]).heads
            found |= {each for each, head in zip(window, heads, strict=True) if head is not None}
        return found

    # -- PromptKit's index ---------------------------------------------------------------------------------

    def _index(self) -> int:
        data = self.backend.read(keys.DEDUP_INDEX_KEY)
        if data is None:
            return 0
        index = promptkit.read_index(data)
        named = {name for path in index.values() for name in promptkit.endings(path)}
        going = {name for name in named if name in self.erased}
        dangling = {name for name in named - going if self._is_subjects(name) and records.is_reference(name)}
        heads = self.backend.fetch(heads=sorted(dangling)).heads if dangling else []
        going |= {name for name, head in zip(sorted(dangling), heads, strict=True) if head is None}
        if going and not self.dry_run:
            promptkit.forget(self.backend, going)
        return sum(not going.isdisjoint(promptkit.endings(path)) for path in index.values())

    # -- quarantine ----------------------------------------------------------------------------------------

    def _quarantine(self) -> int:
        """Remove what was the subject's, and shared bytes that stood in quarantine for media of the subject alone."""
        count = 0
        digests: set[str] = set()
        staying: list[list[str]] = []
        listed = [entry.key for entry in self.backend.entries(keys.QUARANTINE)]
        for _, group in groupby(sorted(listed, key=_set_aside_together), _set_aside_together):
            together = list(group)
            if self._was_subjects(together):
                digests |= self._digests(together)
                count += self._delete(together)
            else:
                staying.append(together)
        digests |= {pointer.digest for each in self.erased if (pointer := keys.pointer_of(each)) is not None}
        if not digests:
            return count
        needed = {digest for together in staying for digest in self._digests(together)}
        for together in staying:
            shared = {
                blob.digest for origin in self._origins(together).values() if (blob := keys.parse_blob_key(origin))
            }
            if shared and shared <= digests - needed and not any(map(self._is_used, shared)):
                count += self._delete(together)
        return count

    def _digests(self, together: list[str]) -> set[str]:
        """Return the digests of the deduplicated media whose sidecars were set aside."""
        names = (keys.media_key(origin) for origin in self._origins(together).values() if keys.is_sidecar(origin))
        return {pointer.digest for each in names if (pointer := keys.pointer_of(each)) is not None}

    def _is_used(self, digest: str) -> bool:
        """Tell whether other media still share bytes of this digest, so that its damaged copy may be theirs, too."""
        own = {keys.marker_prefix(each) for each in self.erased}  # in a dry run they are still there
        names = (each.key.rpartition("/")[2] for each in self.backend.entries(f"{keys.blob_folder(digest)}/refs"))
        return any(f"{name.partition('-')[0]}-" not in own for name in names)

    def _origins(self, together: list[str]) -> dict[str, str]:
        """Return what was set aside together, but for the note: key -> the key that it had."""
        folder = _set_aside_together(together[0])
        note_key = f"{folder}.json"
        note = _parsed(self.backend.read(note_key) or b"") if note_key in together else {}
        objects = note.get("objects")
        said = dict(objects) if isinstance(objects, dict) else {}
        found = {}
        for key in together:
            origin = said.get(key)
            if key != note_key:
                found[key] = origin if isinstance(origin, str) else key.removeprefix(f"{folder}/")
        return found

    def _was_subjects(self, together: list[str]) -> bool:
        """Tell whether what was set aside together is the subject's: by the note beside it, a sidecar in it, paths."""
        folder = _set_aside_together(together[0])
        note_key = f"{folder}.json"
        note = _parsed(self.backend.read(note_key) or b"") if note_key in together else {}
        for key, origin in self._origins(together).items():
            if keys.is_sidecar(origin):
                data = self.backend.read(key)
                if data is not None and self.subject.owner(keys.media_key(origin), data) == "subject":
                    return True
            elif origin in self.erased or self.subject.lies_in(origin):
                return True
        reference = note.get("reference")
        return isinstance(reference, str) and (reference in self.erased or self.subject.lies_in(reference))


def _set_aside_together(key: str) -> str:
    """Return the folder of what was set aside together, of its note too."""
    folder = key.removeprefix(f"{keys.QUARANTINE}/").partition("/")[0]
    return f"{keys.QUARANTINE}/{folder.removesuffix('.json')}"


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        values = from_json(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
