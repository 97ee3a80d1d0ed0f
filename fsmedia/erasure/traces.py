"""What else names a subject's media: mappings of a conversion, records of deletions, PromptKit's index, quarantine.

None of it is needed by any media that stays. A record of deletions is evidence, so it goes only where that is asked
for. Every step is guarded: what fails is reported, and the rest goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from fsmedia import holds, keys, promptkit, records
from fsmedia.erasure.names import Names, is_anothers
from fsmedia.errors import MediaError
from fsmedia.models import Remaining
from fsmedia.quarantine import read_set_aside
from fsmedia.spreading import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from fsmedia.backends import Backend
    from fsmedia.erasure.subject import Owner, Subject
    from fsmedia.quarantine import SetAside

_LINES = "application/x-ndjson"
_TOGETHER = 64
_STALE = "a hold names it, and it is not there: release it"
_DAMAGED = "a hold that can't be read names it, and it is not there: verify the store with repair, then erase again"


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
                    named = holds.named(data or b"")
                    if named is not None and records.is_reference(named) and self._is_stale(named):
                        reason = _STALE if keys.hold_key(named) == key else _DAMAGED
                        found.append(Remaining(reference=named, reason=f"{reason} ({key})"))  # type: ignore[arg-type]
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
        """Remove what was the subject's, and shared bytes that stood in quarantine for media of the subject alone.

        What is set aside of a media that stays, stays with it: a hold's words may lie nowhere else.
        """
        staying = Names(self.staying)
        judged: list[tuple[SetAside, Owner]] = []
        for aside in read_set_aside(self.backend):
            owner: Owner = "other" if staying.stand_for(aside) else self._told(aside)
            judged.append((aside._replace(texts={}), owner))
        media = {each for aside, owner in judged if owner == "subject" for each in aside.sidecars.values()}
        erased, lost = Names(self.erased), Names(media - self._there(filter(records.is_reference, media)))
        hers: list[SetAside] = []
        others: list[SetAside] = []
        for aside, owner in judged:
            is_hers = owner == "subject" or (owner == "unclear" and self._is_named(aside, erased, lost))
            (hers if is_hers else others).append(aside)
        digests = {digest for aside in hers for digest in aside.needed}
        digests |= {pointer.digest for each in self.erased if (pointer := keys.pointer_of(each)) is not None}
        digests -= {digest for aside in others for digest in aside.needed}
        shared = [aside for aside in others if aside.blobs and aside.blobs <= digests]
        alone = [aside for aside in shared if not any(map(self._is_used, aside.blobs))]
        return sum(map(self._forget, [*alone, *hers]))  # in this order: sidecars tell whose the shared bytes were

    def _told(self, aside: SetAside) -> Owner:
        """Tell whose it is by a sidecar in it; `unclear` where that does not say, or there is none."""
        owned = ((media, aside.texts.get(key)) for key, media in aside.sidecars.items())
        if any(data is not None and self.subject.owner(media, data) == "subject" for media, data in owned):
            return "subject"
        return "other" if is_anothers(self.subject.words, aside) else "unclear"

    def _is_named(self, aside: SetAside, erased: Names, lost: Names) -> bool:
        """Tell whether names say that it is the subject's.

        Where they are not those of erased media, what is there speaks for itself, and a hold that is in force in the
        place of the one that was set aside may need its words.
        """
        if erased.stand_for(aside):
            return True
        if not lost.stand_for(aside) and not any(map(self.subject.lies_in, aside.references)):
            return False
        if self._there(filter(records.is_reference, aside.references)):
            return False
        return not (aside.holds and any(self.backend.fetch(heads=list(aside.holds.values())).heads))

    def _forget(self, aside: SetAside) -> int:
        """Remove what was set aside together; what tells whose it is goes last, and stays with what can't go."""
        telling = [key for key in aside.keys if key in aside.sidecars or not keys.parse_quarantined(key).key]
        rest = [key for key in aside.keys if key not in telling]
        count = self._delete(rest)
        return count + self._delete(telling) if count == len(rest) else count

    def _is_used(self, digest: str) -> bool:
        """Tell whether other media still share bytes of this digest, so that its damaged copy may be theirs, too."""
        own = {keys.marker_prefix(each) for each in self.erased}  # in a dry run they are still there
        names = (each.key.rpartition("/")[2] for each in self.backend.entries(f"{keys.blob_folder(digest)}/refs"))
        return any(f"{name.partition('-')[0]}-" not in own for name in names)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        values = from_json(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
