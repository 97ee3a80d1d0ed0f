"""What of a store is a subject's: media, what else names them, leftovers of crashes, and older versions.

One listing of the store and every sidecar tell whose a media is. Nothing is left out because of where it lies, for a
folder alone proves nothing. A sidecar without bytes counts too, for it says who and what.

Traces are mappings of renamed references, records of deletions, PromptKit's index and quarantine; no media that stays
needs them. A record of deletions is evidence, so it goes only where that is asked for. What fails is reported, and the
rest goes on.

A bucket may keep older versions. A sidecar's tell whose a media was, as its current one does of what is there; so an
erasure also finds what was deleted before it. Versions that are current are never touched, whoever wrote them.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json, to_json

from fsmedia.core import holds, lifetime, promptkit, records
from fsmedia.core.parallel import JobResult, windows
from fsmedia.core.records import ListedPair, paired
from fsmedia.errors import CorruptSidecarError, InvalidMediaError, MediaError, StorageError
from fsmedia.format import keys
from fsmedia.format.layout import Layout, ids_of_path
from fsmedia.format.settings import Configuration
from fsmedia.format.sidecar import Sidecar
from fsmedia.maintenance import leftovers
from fsmedia.maintenance.leftovers import Generation, GenerationItem, LeftoverItem, LeftoverListing, ObjectItem
from fsmedia.maintenance.quarantine import QuarantineFolder, json_object, read_quarantine
from fsmedia.maintenance.survey import VerifyContext, before
from fsmedia.models import FindingKind, MediaMetadata, Reference, Remaining
from fsmedia.storage import Backend, Entry
from fsmedia.storage.listing import NestedStores
from fsmedia.storage.port import Version, storage_time

ID_WORDS = ("run_id", "conversation_id", "session_id", "provider_id")  # what can name a subject
Owner = Literal["subject", "other", "unclear", "elsewhere"]
"""Whose a media is; `unclear`: nothing tells, `elsewhere`: its path says the subject's, its sidecar another's."""
SEARCH_WINDOW = 500  # media whose sidecars are read together
_UNREADABLE = "its sidecar can't be read, and nothing tells whose it is; look at it, or verify the store"
_ELSEWHERE = "it lies where the subject's media lie, but its sidecar names another"
_NAMELESS = "it lies where the subject's media lie, but no reference can name it: remove it with the storage's tools"
_READ_TOGETHER = 64
_REMOVED_TOGETHER = 1000
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"')
_TEXTS = (keys.REFERENCES, keys.ERASURES)
"""Folders of JSON lines that name media; records of deletions only where they are to be forgotten."""
Match = Literal["all", "older", "text"]
"""What of a key is the subject's: all that lies there, only what is not current, or what names them when it is read."""
_STALE = "a hold names it, and it is not there: release it"
_DAMAGED = "a hold that can't be read names it, and it is not there: verify the store with repair, then erase again"
_YOUNG = "belongs to no media and is younger than the grace, so a store may be under way; erase again once it is older"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose media are erased: ids that a media must all have."""

    words: dict[str, str]  # name of the id -> its value
    ordered: Mapping[str, Layout]  # the store's layouts, the one that writing uses first
    folders: dict[str, str]  # name of an id that stands first in a layout -> folder of its media, with a slash

    @classmethod
    def of(cls, words: Mapping[str, str | None], configuration: Configuration) -> Subject:
        """Check the ids; an empty one is refused, for it would be everything without such an id."""
        given = {name: value for name, value in words.items() if value is not None}
        if not given:
            raise InvalidMediaError(
                "nobody is named whose media shall go", next_step=f"give one of {', '.join(ID_WORDS)}"
            )
        for name, value in given.items():
            if not isinstance(value, str) or not value:
                raise InvalidMediaError(f"{name} must be an id, not {value!r}", next_step="an empty id is nobody's")
        MediaMetadata.model_validate(given)  # what can't be an id is refused like that of a media
        ordered = configuration.ordered_layouts
        folders = {}
        for layout in ordered.values():
            wanted = given.get(layout.id_field)
            folder = layout.prefix if wanted is None else layout.folder(wanted)
            if folder != layout.prefix:
                folders[layout.id_field] = f"{folder}/"
        return cls(given, ordered, folders)

    @property
    def digest(self) -> str:
        """Digest of the ids, for the journal of an erasure, where nobody need read them."""
        return sha256(to_json(sorted(self.words.items()))).hexdigest()

    def ids_in_path(self, key: str) -> dict[str, bool | None]:
        """Return for each id whether a path says it; None where the path is silent (also of ids it shortens)."""
        parsed = ids_of_path(self.ordered, key)
        fields: Mapping[str, Any] = parsed[1] if parsed else {}
        answers: dict[str, bool | None] = {}
        for name, wanted in self.words.items():
            folder, said = self.folders.get(name), fields.get(name)
            # The folder of a shortened id says as much as the id.
            is_below = folder is not None and key.startswith(folder) and (not parsed or parsed[0].id_field == name)
            answers[name] = said == wanted if said else is_below or None
        return answers

    def lies_in(self, key: str) -> bool:
        """Tell whether a path names the subject and nobody else; for what has no sidecar of its own."""
        answers = self.ids_in_path(key).values()
        return True in answers and False not in answers

    def owns(self, key: str, sidecar: bytes | None) -> bool:
        """Tell whether a media, or what is left of one, is the subject's."""
        return self.owner(key, *sidecar_values(sidecar, key)) == "subject"

    def owner(self, key: str, values: Mapping[str, Any], readable: bool) -> Owner:
        """Tell whose a media is, by what `sidecar_values` returned."""
        by_path = self.ids_in_path(key)
        answers = []
        for name, wanted in self.words.items():
            said = values.get(name)
            answers.append(said == wanted if isinstance(said, str) and said else by_path[name])
        if False in answers:
            return "elsewhere" if readable and all(by_path.values()) else "other"
        if None in answers:
            return "other" if readable else "unclear"
        return "subject"


class EraseItem(NamedTuple):
    """A media of the subject, as the receipt will show it."""

    reference: str
    size: int
    sha256: str | None
    marker: str | None
    note: str = ""
    expires: bool = False


@dataclass(slots=True)
class SearchResult(JobResult):
    """Result of a window of a search."""

    items: list[EraseItem] = field(default_factory=list)  # media of the subject
    unclear: list[Remaining] = field(default_factory=list)  # where nobody can tell whose it is
    others: array[int] = field(default_factory=lambda: array("Q"))  # `digest_prefix` of others' media: maybe millions


def search_window(context: tuple[Backend, Subject], window: Sequence[ListedPair]) -> SearchResult:
    """Read the sidecars of some media, and sort the media by owner."""
    backend, subject = context
    result = SearchResult(examined=len(window))
    named = {item.key: item for item in window if records.is_reference(item.key)}
    lying = [item.key for item in window if item.key not in named and subject.lies_in(item.key)]
    result.unclear += [Remaining(reference=Reference(key), reason=_NAMELESS) for key in lying]
    read = records.read_listed_sidecars(backend, [key for key, item in named.items() if item.has_sidecar])
    for key, item in named.items():
        data = read.get(key)
        if isinstance(data, MediaError):
            result.fail(key, data)
        elif data is not None or not item.has_sidecar:
            _judge(subject, item, data, result)
    return result


def _judge(subject: Subject, item: ListedPair, data: bytes | None, result: SearchResult) -> None:
    values, readable = sidecar_values(data, item.key)
    owner, pointer = subject.owner(item.key, values, readable), keys.pointer_of(item.key)
    said = values.get("sha256") if pointer is None else pointer.digest
    digest = said if keys.is_digest(said) else None
    if owner == "subject":
        note = "it had no sidecar" if data is None else "" if readable else "its sidecar could not be read"
        # Of shared bytes the name tells the size.
        size = pointer.size if pointer is not None else 0 if item.data is None else item.data.size
        expires = values.get("expires_at") is not None
        result.items.append(EraseItem(item.key, size, digest, marker_of(values, item.key), note, expires))
        return
    if digest is not None:
        result.others.append(digest_prefix(digest))
    if owner != "other":
        reason = _UNREADABLE if owner == "unclear" else _ELSEWHERE
        result.unclear.append(Remaining(reference=Reference(item.key), reason=reason))


def digest_prefix(digest: str) -> int:
    """Return the first 64 bits of a digest: enough to count by."""
    return int(digest[:16], 16)


def owned_pairs(entries: Iterable[Entry]) -> Iterator[ListedPair]:
    """Yield what has an owner, sidecars alone too; not the bytes of a store under way, which are a leftover at most."""
    return (pair for pair in paired(entries, shown_only=True) if pair.has_sidecar or not keys.is_own_name(pair.key))


def sidecar_values(data: bytes | None, key: str) -> tuple[dict[str, Any], bool]:
    """Return the values of a sidecar, and whether it can be read; of one that is cut off, those before the cut."""
    try:
        return ({} if data is None else Sidecar.parse(data, key).values), True
    except CorruptSidecarError:
        return json_object(data or b"", partial=True), False


def marker_of(values: dict[str, Any], reference: str) -> str | None:
    """Return the marker that a sidecar names, if it is one of this reference."""
    try:
        return Sidecar(values).marker(reference)
    except MediaError:
        return None


# -- what else names them, and what crashes left --------------------------------------------------------


@dataclass(slots=True)
class CleanupResult(JobResult):
    """Result of cleaning what is not the media themselves."""

    due_entries: int = 0
    leftovers: int = 0
    waiting: list[Remaining] = field(default_factory=list)


@dataclass(slots=True)
class Traces:
    """Finds and removes traces of a subject's media."""

    backend: Backend
    subject: Subject
    erased: Collection[str]  # references that are gone, or in a dry run would be
    staying: Collection[str]  # references of the subject that stay: held, or not deleted because something failed
    dry_run: bool
    result: CleanupResult

    def remove(self, folder: str) -> int:
        """Remove what one folder, or PromptKit's index, says of media that are not there; return how many things."""
        acts = {keys.DEDUP_INDEX_KEY: self._index, keys.QUARANTINE: self._quarantine}
        with self.result.guard(folder):
            return acts.get(folder, partial(self._rewritten, folder))()
        return 0

    def stale_holds(self) -> list[Remaining]:
        """Return the holds of media that are not there; they stay, for only `release` removes a hold."""
        found: list[Remaining] = []
        known = {keys.hold_key(each) for each in self.staying}
        with self.result.guard(keys.HOLDS):
            others = (entry.key for entry in self.backend.entries(keys.HOLDS) if entry.key not in known)
            for key, data in records.read_each(self.backend, others):
                named = holds.named(data)
                if named is None or not records.is_reference(named):
                    continue
                if (named in self.erased or self.subject.lies_in(named)) and not self._there([named]):
                    reason = _STALE if keys.hold_key(named) == key else _DAMAGED
                    found.append(Remaining(reference=Reference(named), reason=f"{reason} ({key})"))
        return found

    def _delete(self, gone: Collection[str]) -> int:
        """Remove objects; return how many went."""
        failed = {} if self.dry_run or not gone else self.backend.delete(gone)
        self.result.fail_each(failed)
        return len(gone) - len(failed)

    # -- JSON lines ----------------------------------------------------------------------------------------

    def _rewritten(self, folder: str) -> int:
        """Rewrite objects without the subject's lines; what is no JSON stays."""
        count = 0
        listed = (entry.key for entry in self.backend.entries(folder) if not keys.is_temporary(entry.key))
        for key, data in records.read_each(self.backend, listed):
            lines = data.split(b"\n")
            going = self._going(lines, ("old", "new") if folder == keys.REFERENCES else ("reference",))
            kept = [line for number, line in enumerate(lines) if number not in going]
            count += len(going)
            if going and not any(kept):
                self._delete([key])
            elif going and not self.dry_run:
                # One atomic write: whoever dies leaves the old lines or the new ones, and others' are in both.
                self.backend.write(key, b"\n".join(kept), lifetime.JSON_LINES)
        return count

    def _going(self, lines: list[bytes], fields: tuple[str, ...]) -> set[int]:
        """Return the numbers of the lines that name media of the subject which are not there."""
        named: dict[int, list[str]] = {}
        for number, line in enumerate(lines):
            values = json_object(line)
            references = [value for name in fields if isinstance(value := values.get(name), str)]
            if any(self._is_subjects(each) for each in references):
                named[number] = [each for each in references if records.is_reference(each)]
        there = self._there({each for references in named.values() for each in references})
        return {number for number, references in named.items() if there.isdisjoint(references)}

    def _is_subjects(self, reference: str) -> bool:
        return reference in self.erased or (reference not in self.staying and self.subject.lies_in(reference))

    def _there(self, references: Iterable[str]) -> set[str]:
        """Return which of the media are there; what is to go in a dry run counts as gone."""
        asked = sorted(each for each in references if each not in self.erased)
        found: set[str] = set()
        for window in windows(asked, _READ_TOGETHER):
            heads = self.backend.fetch(heads=[keys.sidecar_key(each) for each in window]).heads
            found |= {each for each, head in zip(window, heads, strict=True) if head is not None}
        return found

    # -- PromptKit's index ---------------------------------------------------------------------------------

    def _index(self) -> int:
        index = promptkit.whole_index(self.backend)
        named = {name for path in index.values() for name in promptkit.endings(path)}
        going = {name for name in named if name in self.erased}
        dangling = sorted(name for name in named - going if self._is_subjects(name) and records.is_reference(name))
        heads = self.backend.fetch(heads=dangling).heads if dangling else []
        going |= {name for name, head in zip(dangling, heads, strict=True) if head is None}
        if going and not self.dry_run:
            promptkit.forget(self.backend, going)
        return sum(not going.isdisjoint(promptkit.endings(path)) for path in index.values())

    # -- quarantine ----------------------------------------------------------------------------------------

    def _quarantine(self) -> int:
        """Remove what was the subject's, and shared bytes that stood in quarantine for media of the subject alone.

        What is set aside of a media that stays, stays with it: a hold's words may lie nowhere else.
        """
        staying = Names(self.staying)
        judged: list[tuple[QuarantineFolder, Owner]] = []
        for aside in read_quarantine(self.backend):
            owner: Owner = "other" if staying.stand_for(aside) else self._owner(aside)
            judged.append((replace(aside, texts={}), owner))
        media = {each for aside, owner in judged if owner == "subject" for each in aside.sidecars.values()}
        erased, lost = Names(self.erased), Names(media - self._there(filter(records.is_reference, media)))
        hers: list[QuarantineFolder] = []
        others: list[QuarantineFolder] = []
        for aside, owner in judged:
            is_hers = owner == "subject" or (owner == "unclear" and self._is_named(aside, erased, lost))
            (hers if is_hers else others).append(aside)
        digests = {digest for aside in hers for digest in aside.needed}
        digests |= {pointer.digest for each in self.erased if (pointer := keys.pointer_of(each)) is not None}
        digests -= {digest for aside in others for digest in aside.needed}
        shared = [aside for aside in others if aside.blobs and aside.blobs <= digests]
        alone = [aside for aside in shared if not any(map(self._is_used, aside.blobs))]
        return sum(map(self._forget, [*alone, *hers]))  # in this order: sidecars tell whose the shared bytes were

    def _owner(self, aside: QuarantineFolder) -> Owner:
        """Tell whose it is by a sidecar in it; `unclear` where that does not say, or there is none."""
        texts = ((media, aside.texts.get(key)) for key, media in aside.sidecars.items())
        if any(data is not None and self.subject.owns(media, data) for media, data in texts):
            return "subject"
        return "other" if is_anothers(self.subject.words, aside) else "unclear"

    def _is_named(self, aside: QuarantineFolder, erased: Names, lost: Names) -> bool:
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

    def _forget(self, aside: QuarantineFolder) -> int:
        """Remove what was set aside together; what tells whose it is goes last, and stays with what can't go."""
        telling = [key for key in aside.keys if key in aside.sidecars or not keys.parse_quarantined(key).key]
        rest = [key for key in aside.keys if key not in telling]
        count = self._delete(rest)
        return count + self._delete(telling) if count == len(rest) else count

    def _is_used(self, digest: str) -> bool:
        """Tell whether other media still share bytes of this digest, so that its damaged copy may be theirs, too."""
        own = {keys.marker_prefix(each) for each in self.erased}  # in a dry run they are still there
        markers = self.backend.entries(f"{keys.blob_folder(digest)}/refs")
        return any(leftovers.marker_prefix_of(each) not in own for each in markers)

    # -- leftovers -----------------------------------------------------------------------------------------

    def clear_leftovers(self, configuration: Configuration) -> None:
        """List the store again, and remove leftovers of the subject; due entries of what is gone need not grow old."""
        backend, result = self.backend, self.result
        try:
            listing = leftovers.find_leftovers(backend)
            items = [*self._lone(listing), *self._markers(listing)]
            # Due entries of erased media need not grow old: no store of theirs is under way.
            self._clear_due(listing)
            if not items:
                return
            now = datetime.now(UTC) if self.dry_run else storage_time(backend)
            if now is None:
                raise StorageError(f"{backend.url} tells no times, so it can't be told what is old")
        except MediaError as error:
            result.fail(keys.INTERNAL, error)
            return
        old_before = before(now, configuration.orphan_grace)
        context = VerifyContext(backend, configuration, old_before, now, repairs=not self.dry_run)
        old: list[LeftoverItem] = []
        for item in items:
            entries = [entry for _, entry in leftovers.entries_of(item)]
            young = [entry for entry in entries if not context.is_old(entry)]
            result.waiting += [Remaining(reference=Reference(entry.key), reason=_YOUNG) for entry in young]
            if len(young) < len(entries):
                old.append(item)
        outcome = leftovers.mend_window(context, old)
        mended = Counter(each.kind for each in outcome.findings if not each.harmless)
        result.due_entries += mended["due"]
        result.leftovers += mended.total() - mended["due"]
        result.failed += outcome.failed

    def _lone(self, listing: LeftoverListing) -> Iterator[LeftoverItem]:
        """Yield bytes, temporary files and due entries of the subject that belong to no media."""
        subject = self.subject
        for entry in listing.temporary:
            data = self.backend.read(entry.key) if entry.key.startswith(f"{keys.ERASURES}/") else None
            if subject.digest.encode() in (data or b""):
                yield ObjectItem("temporary", entry)  # a page of the journal, on a disk
        uploads = {keys.plain_reference(each) for each in self.erased}  # where others put bytes that came to be shared
        kinds: dict[FindingKind, list[Entry]] = {"temporary": listing.temporary, "bytes": listing.bytes_without}
        for kind, entries in kinds.items():
            alone = (each for each in entries if each.key not in self.erased)
            named = (each for each in alone if each.key in uploads or subject.lies_in(each.key))
            yield from (ObjectItem(kind, each) for each in named)
        for entry, reference in listing.due:
            if reference not in self.erased and not listing.has_sidecar(reference) and subject.lies_in(reference):
                yield ObjectItem("due", entry)

    def _markers(self, listing: LeftoverListing) -> Iterator[LeftoverItem]:
        """Yield the generations with a marker of the subject that no media names; reads such markers only."""
        lonely: dict[str, tuple[tuple[str, str], Entry]] = {}
        for place, parts in listing.generations.items():
            named = listing.named.get(place, {})
            alone = (each for each in parts.markers if leftovers.marker_prefix_of(each) not in named)
            lonely |= {each.key: (place, each) for each in alone}
        for key, body in records.read_each(self.backend, lonely, SEARCH_WINDOW):
            reference, (place, entry) = body.decode(errors="replace"), lonely[key]
            if records.is_reference(reference) and (reference in self.erased or self.subject.lies_in(reference)):
                parts = Generation(listing.generations[place].data, [entry], [])
                yield GenerationItem.of(place, parts, listing.named.get(place, {}))

    def _clear_due(self, listing: LeftoverListing) -> None:
        """Remove all due entries of erased media, old hints too, unless such a media was stored again meanwhile."""
        backend, result = self.backend, self.result
        spent = {entry.key: reference for entry, reference in listing.due if reference in self.erased}
        if self.dry_run:
            result.due_entries += len(spent)
            return
        for window in windows(spent.items(), SEARCH_WINDOW):
            # A sidecar that is there again is that of a media stored meanwhile, which keeps its entries.
            sidecars = records.read_sidecars(backend, [reference for _, reference in window])
            going = [key for (key, _), sidecar in zip(window, sidecars, strict=True) if sidecar is None]
            failed = backend.delete(going) if going else {}
            result.due_entries += len(going) - len(failed)
            result.fail_each(failed)


class Names:
    """Names of media, to look for in quarantine."""

    def __init__(self, references: Iterable[str]) -> None:
        self._names = {name for each in references for name in (each, keys.plain_reference(each)) if name is not None}

    @cached_property
    def _digests(self) -> set[str]:
        """Of references, as in a hold's key, and of all keys that may have been too long for quarantine."""
        spelled = (key for each in self._names for key in (each, keys.sidecar_key(each), keys.hold_key(each)))
        return {sha256(each.encode(errors="surrogatepass")).hexdigest() for each in spelled}

    def stand_for(self, aside: QuarantineFolder) -> bool:
        """Tell whether one of the media is named by what was set aside."""
        if not self._names or not self._names.isdisjoint(aside.references):
            return bool(self._names)
        return bool(aside.digests) and not self._digests.isdisjoint(aside.digests)


def is_anothers(words: Mapping[str, str], aside: QuarantineFolder) -> bool:
    """Tell whether a sidecar that was set aside names somebody else: a name may have been others' before."""
    for key, media in aside.sidecars.items():
        values = sidecar_values(aside.texts.get(key), media)[0]
        if any(isinstance(said := values.get(name), str) and said not in ("", word) for name, word in words.items()):
            return True
    return False


# -- older versions, where the bucket keeps any ------------------------------------------------------------


class VersionsLeft(NamedTuple):
    """What became of older versions."""

    removed: int = 0  # versions with bytes that went, or in a dry run would
    left: tuple[Remaining, ...] = ()  # keys of which some stay readable, and why
    keys: frozenset[str] = frozenset()  # the same keys
    until: datetime | None = None  # when soft delete lets go of what was deleted; None: there is none
    is_known: bool = True  # whether the bucket told, or its versions could be listed

    def keeps(self, key: str) -> bool:
        """Tell whether bytes of a key may be there still."""
        return self.until is not None or not self.is_known or key in self.keys


@dataclass(slots=True)
class VersionSearch:
    """Finds the versions that are a subject's."""

    backend: Backend
    references: Collection[str]  # media that are gone, or in a dry run would be
    gone: Collection[str] = ()  # digests of bytes that nobody has any more
    staying: Collection[str] = ()  # media of the subject that stay, with their versions
    subject: Subject | None = None  # None: nothing else than what is named is looked for
    forget_log: bool = False
    nested: NestedStores = field(default_factory=NestedStores)  # stores below this one, whose versions are theirs
    _media: set[str] = field(default_factory=set)
    _holds: set[str] = field(default_factory=set)
    _markers: set[str] = field(default_factory=set)
    _generations: set[tuple[str, str]] = field(default_factory=set)
    _aside: set[str] = field(default_factory=set)

    def find(self) -> list[Version]:
        """Return all versions and markers of the subject's keys; those that are current only of media that go."""
        self._media = set(self.references)
        if self.subject is not None:
            self._media |= self._owned(self.subject)
        self._holds = {keys.hold_key(each) for each in self._media}
        self._markers = {keys.marker_prefix(each) for each in self._media}
        pointers = (keys.pointer_of(each) for each in self._media)
        self._generations = {(each.digest, each.generation) for each in pointers if each is not None}
        self._aside = set(self._set_aside())
        found: list[Version] = []
        texts: list[Version] = []
        for version in self._versions():
            match = self._match(version.key)
            if match == "all" or (match == "older" and (version.is_marker or not version.is_current)):
                found.append(version)
            elif match == "text" and not version.is_current:
                texts.append(version)
        return found + list(self._naming(texts))

    def _versions(self) -> Iterator[Version]:
        return (each for each in self.backend.versions() if not self.nested.covers(each.key))

    def _owned(self, subject: Subject) -> set[str]:
        """Return the media whose older sidecars say that they were the subject's; without one their path speaks."""
        found: set[str] = set()
        bare: set[str] = set()
        told: set[str] = set()
        older = (each for each in self._versions() if not (each.is_current or each.is_marker))
        for window in windows((each for each in older if not keys.is_internal(each.key)), _READ_TOGETHER):
            bare |= {each.key for each in window if not keys.is_sidecar(each.key) and subject.lies_in(each.key)}
            sidecars = [each for each in window if keys.is_sidecar(each.key)]
            for version, data in zip(sidecars, self.backend.read_versions(sidecars), strict=True):
                media = keys.media_key(version.key)
                if data is None or not records.is_reference(media):
                    continue
                if subject.lies_in(media):
                    told.add(media)
                if subject.owns(media, data):
                    found.add(media)
        return (found | (bare - told)) - set(self.staying)

    def _set_aside(self) -> Iterator[str]:
        """Yield the folders of quarantine in which something had a name of the subject's."""
        for version in self.backend.versions(keys.QUARANTINE):
            folder, name = keys.parse_quarantined(version.key)
            if name and not version.is_current and self._is_named(name):
                yield folder

    def _is_named(self, name: str) -> bool:
        media = keys.media_key(name) if keys.is_sidecar(name) else name
        return self._match(name) == "all" or name in self._holds or self._lies_in(media)

    def _lies_in(self, name: str) -> bool:
        return self.subject is not None and name not in self.staying and self.subject.lies_in(name)

    def _match(self, key: str) -> Match | None:
        if key == keys.DEDUP_INDEX_KEY:
            return "text"
        if not keys.is_internal(key):
            return "all" if (keys.media_key(key) if keys.is_sidecar(key) else key) in self._media else None
        due, blob = keys.parse_due(key), keys.parse_blob_key(key)
        if due is not None and due.reference in self._media:
            return "all"
        if blob is not None:
            return self._match_blob(blob)
        # Snapshots may hold rows, and can be made again of what is there.
        is_aside = keys.parse_quarantined(key).folder in self._aside
        if is_aside or key in self._holds or keys.parse_snapshot(key) is not None:
            return "older"
        folders = (*_TEXTS, keys.DELETIONS) if self.forget_log else _TEXTS
        return "text" if key.startswith(tuple(f"{folder}/" for folder in folders)) else None

    def _match_blob(self, blob: keys.BlobKey) -> Match | None:
        if blob.kind == "refs":
            return "all" if f"{blob.name.partition('-')[0]}-" in self._markers else None
        if blob.digest in self.gone:
            return "all"
        return "older" if (blob.digest, blob.generation) in self._generations else None

    def _naming(self, versions: Sequence[Version]) -> Iterator[Version]:
        """Yield the versions of texts that name the subject's media, with the markers of their keys."""
        for window in windows((each for each in versions if not each.is_marker), _READ_TOGETHER):
            read = zip(window, self.backend.read_versions(window), strict=True)
            yield from (version for version, data in read if data is not None and self._names(data))

    def _names(self, data: bytes) -> bool:
        for spelled in _TEXT.findall(data):
            try:
                text = from_json(spelled)
            except ValueError:
                continue
            # PromptKit's index has paths below a root that may be another one.
            names = {*promptkit.endings(text)}
            if not names.isdisjoint(self._media) or any(map(self._lies_in, names)):
                return True
        return self.subject is not None and self.subject.digest.encode() in data

    def clear(self, *, remove: bool, dry_run: bool, now: datetime) -> VersionsLeft:
        """Remove the older versions of a subject where that is asked for, and say which stay."""
        backend = self.backend
        rules = backend.version_rules()
        until = now + rules.soft if rules.soft else None
        soft = [] if until is None else [Remaining(reference=Reference(backend.url), reason=_soft(until))]
        if rules.versions is False:
            return VersionsLeft(left=tuple(soft), until=until)
        try:
            found = self.find() if backend.lists_versions else None
        except MediaError as error:
            if rules.versions:
                raise
            rules = rules._replace(unknown=f"{rules.unknown}; {error.problem}")
            found = None
        if found is None:
            why = f"nobody can tell whether older versions stay: {rules.unknown}"
            return VersionsLeft(left=(Remaining(reference=Reference(backend.url), reason=why), *soft), is_known=False)
        bodies = _bodies(found, dry_run=dry_run)
        if not dry_run and remove and found:
            _remove(backend, found)
            # What is listed afterwards counts, not the answers: a lock or a rule of the bucket may keep what it
            # confirmed.
            found = self.find()
        stays = [] if dry_run and remove else _bodies(found, dry_run=dry_run)
        counted = Counter(each.key for each in stays)
        left = [Remaining(reference=Reference(key), reason=_words(count, remove)) for key, count in counted.items()]
        return VersionsLeft(len(bodies) - len(stays), (*left, *soft), frozenset(counted), until)

    def readable(self, kept_until: datetime | None, finished: datetime | None) -> dict[str, str]:
        """Return what of erased media can still be read as an older version: key -> how."""
        rules = self.backend.version_rules()
        now = datetime.now(UTC)
        if kept_until is None and rules.soft and finished is not None:
            kept_until = finished + rules.soft
        found: dict[str, str] = {}
        if kept_until is not None and now < kept_until:
            found[self.backend.url] = _soft(kept_until)
        if rules.versions is False:
            return found
        if not self.backend.lists_versions:
            return found | {self.backend.url: f"nobody can tell whether older versions stay: {rules.unknown}"}
        counted = Counter(each.key for each in _bodies(self.find(), dry_run=False))
        return found | {key: f"{count} older versions of it are there" for key, count in counted.items()}


def _bodies(found: Iterable[Version], *, dry_run: bool) -> list[Version]:
    """Return what has bytes; what is current stays, but in a dry run it would be deleted first."""
    return [each for each in found if not each.is_marker and (dry_run or not each.is_current)]


def _words(count: int, was_asked: bool) -> str:
    step = "may whoever erased remove versions?" if was_asked else "erase with versions=True (--versions)"
    return f"{count} older version{'' if count == 1 else 's'} stay in the bucket: {step}"


def _soft(until: datetime) -> str:
    return f"soft delete keeps what was deleted until {until:%Y-%m-%d %H:%M} UTC"


def _remove(backend: Backend, found: Iterable[Version]) -> None:
    """Remove versions, and the markers of keys that have no other version left.

    In this order: without its marker an older version would be what readers of the key get.
    """
    ordered, kept = sorted(found), set[str]()
    for window in windows(_bodies(ordered, dry_run=False), _REMOVED_TOGETHER):
        kept |= {each.key for each in backend.delete_versions(window)}
    for window in windows((each for each in ordered if each.is_marker and each.key not in kept), _REMOVED_TOGETHER):
        backend.delete_versions(window)
