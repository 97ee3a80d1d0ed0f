"""Keys: every path that a store uses is built and parsed here, and nowhere else.

A key is a path below the root, segments separated by `/`. All answers depend on its text alone; nothing is read.
Names of our own form (`0003_01_<unique>.png`) sort by time and are never PromptKit's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from secrets import token_hex
from typing import TYPE_CHECKING, Final, NamedTuple, TypeGuard
from urllib.parse import quote, unquote

import uuid_utils

from fsmedia.errors import InvalidLayoutError, InvalidMediaError, InvalidReferenceError, without_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERNAL: Final = ".fsmedia"
"""The folder at the root that holds what is not media."""
_SETTINGS_NAME = "store.json"
_STORE_FOLDERS = frozenset({"blobs", "catalog", "deletions", "due", "erasures", "holds", "quarantine", "references"})
CONFIGURATION_KEY: Final = f"{INTERNAL}/{_SETTINGS_NAME}"
"""What a store is; see `fsmedia.format.settings`."""
SIDECAR_SUFFIX: Final = ".meta"
"""What a sidecar's key has more than its media item's."""
DEDUP_INDEX_KEY: Final = ".dedup_index.json"
"""PromptKit's index of shared bytes, at the root of its stores."""
VIEWS: Final = ("by-session", "by-conversation", "by-run")
"""Names at the top of `media://` that show the store in another order; never stored."""
MAX_NAME: Final = 250
"""Bytes of one segment: disks take 255, and a sidecar's name is 5 longer than its media item's."""
MAX_KEY: Final = 1024
"""Bytes of a whole key: the limit of S3 and GCS."""
KEY_RESERVE: Final = 30
"""Bytes kept free in a key for what stands before or after the reference: due entries, `.meta`."""
MAX_SIDECAR_BYTES: Final = 4 * 2**20
"""Larger sidecars are refused: they are not ours, and would be read into memory."""
MAX_SETTINGS_BYTES: Final = 2**20
"""Larger settings are refused: a few kilobytes are many policies and views."""
MAX_RECORD_BYTES: Final = 2**28
"""Larger records are refused. PromptKit's index is one file with some 200 bytes for each content: a million of them."""
_UNIQUE = "u[0-9a-z]{26}"
# Crockford's base 32 in lower case: the order of its characters is the order of their values. Two at a time.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _DIGITS for low in _DIGITS)
# Of the 128 bits of a uuid7; the 48 above them are milliseconds.
_RANDOM_BITS = 80
_MAX_MILLISECONDS = 1 << 48
# 18 digits: what every reader of 64-bit integers takes.
_INDEX_LIMIT = 10**18
TEMPORARY_PREFIX: Final = ".tmp-"
"""What the names of temporary files begin with."""
_TEMPORARY = re.compile(rf"\.tmp-{_UNIQUE}")
_OWN_NAME = re.compile(
    rf"([0-9]{{4}}|[1-9][0-9]{{4,17}})_([0-9]{{2}}|[1-9][0-9]{{2,17}})_({_UNIQUE})((?:\.[^/]*)?)", re.DOTALL
)


# -- names of media items, sidecars and temporary files ----------------------------------------------------


class OwnName(NamedTuple):
    """The parts of a file name that a store of ours gave.

    `unique` is `u` and 26 characters of `[0-9a-z]`; its order is the order in time. `ext` is what follows: empty, or
    from a dot to the end (so with whatever a deduplicated name holds there).
    """

    message_idx: int
    part_idx: int
    unique: str
    ext: str


def sidecar_key(reference: str) -> str:
    """Return the key of a media item's sidecar."""
    return reference + SIDECAR_SUFFIX


def media_key(sidecar: str) -> str:
    """Return the reference whose sidecar this key is; InvalidReferenceError for other keys (see `is_sidecar`)."""
    if not is_sidecar(sidecar):
        raise InvalidReferenceError("not a sidecar", next_step="a sidecar's key ends with .meta", reference=sidecar)
    return sidecar[: -len(SIDECAR_SUFFIX)]


def is_sidecar(key: str) -> bool:
    """Return whether a key is that of a sidecar: a file name, and `.meta` after it."""
    return key.endswith(SIDECAR_SUFFIX) and key != SIDECAR_SUFFIX and not key.endswith("/" + SIDECAR_SUFFIX)


def new_unique(milliseconds: int | None = None) -> str:
    """Return a name that was never given before: `u` and a version 7 UUID in 26 characters of `[0-9a-z]`.

    Sorted as strings, names are sorted by time, which is now or so many milliseconds since 1970 in UTC.
    """
    value = uuid_utils.uuid7().int
    if milliseconds is not None:
        if not 0 <= milliseconds < _MAX_MILLISECONDS:
            problem = f"{milliseconds} ms since 1970 is no time that a name can hold"
            raise InvalidMediaError(problem, next_step="give a time from 1970 to 10889")
        value = milliseconds << _RANDOM_BITS | value & (1 << _RANDOM_BITS) - 1
    # Written out: a loop over the digits takes several times as long, and every store makes such a name.
    pair = _PAIRS
    return (
        f"u{pair[value >> 120]}{pair[value >> 110 & 1023]}{pair[value >> 100 & 1023]}{pair[value >> 90 & 1023]}"
        f"{pair[value >> 80 & 1023]}{pair[value >> 70 & 1023]}{pair[value >> 60 & 1023]}{pair[value >> 50 & 1023]}"
        f"{pair[value >> 40 & 1023]}{pair[value >> 30 & 1023]}{pair[value >> 20 & 1023]}{pair[value >> 10 & 1023]}"
        f"{pair[value & 1023]}"
    )


def plain_name(message_idx: int, part_idx: int, unique: str) -> str:
    """Return the name, without extension, of a media item whose bytes lie at its own key.

    InvalidMediaError where an index is negative or has more than 18 digits: the name would not be of our form.
    """
    if not (0 <= message_idx < _INDEX_LIMIT and 0 <= part_idx < _INDEX_LIMIT):
        problem = f"message_idx {message_idx} and part_idx {part_idx} can't stand in a name"
        raise InvalidMediaError(problem, next_step="count messages and parts from 0")
    # Padded, so that the listing of a conversation is in its order, as far as 9,999 messages of 99 parts.
    return f"{message_idx:04d}_{part_idx:02d}_{unique}"


def parse_own_name(name: str) -> OwnName | None:
    """Return the parts of a file name, or of a key's, that is of our own form; None for any other, and for sidecars."""
    found = _OWN_NAME.fullmatch(name, name.rfind("/") + 1)
    if found is None or name.endswith(SIDECAR_SUFFIX):
        return None
    return OwnName(int(found[1]), int(found[2]), found[3], found[4])


def is_digest(value: object) -> TypeGuard[str]:
    """Return whether something is a SHA-256 digest as this package writes it."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def is_own_name(name: str) -> bool:
    """Return whether a file name, or that of a key, is of our own form (see `parse_own_name`)."""
    return _OWN_NAME.fullmatch(name, name.rfind("/") + 1) is not None and not name.endswith(SIDECAR_SUFFIX)


def temporary_name() -> str:
    """Return a fresh file name for bytes that are on their way."""
    # Of one length: with the item's own name in it, the longest names could not be written.
    return f"{TEMPORARY_PREFIX}u{token_hex(13)}"


def is_temporary(name: str) -> bool:
    """Return whether a file name, or that of a key, is one that `temporary_name` gives."""
    # The plain search first: it decides nearly every name of a listing, and the expression takes much longer.
    return TEMPORARY_PREFIX in name and _TEMPORARY.fullmatch(name, name.rfind("/") + 1) is not None


def is_hidden(key: str) -> bool:
    """Return whether no listing may show this key: sidecars, temporary names, PromptKit's index, and `.fsmedia`.

    That is `.fsmedia` in any case and all below it, at any depth. A folder's key ends with a slash, since PromptKit may
    have named a folder `x.meta/`.
    """
    # PromptKit's index too: as a listed file it would be adopted, deleted and synced like one.
    if key.endswith(SIDECAR_SUFFIX) or key == DEDUP_INDEX_KEY:
        return True
    # The plain search first: it decides nearly every key.
    return (key.startswith(".") or "/." in key) and (is_temporary(key) or has_internal_part(key))


def is_internal(key: str) -> bool:
    """Return whether a key is the store's own `.fsmedia`, in any case, or below it."""
    # In any case: on a disk that ignores case, `.FSMEDIA/store.json` is the store's own.
    return key.startswith(".") and key.partition("/")[0].casefold() == INTERNAL


def is_in_store(inner: str) -> bool:
    """Return whether a path below a folder can only lie in `.fsmedia` of a store whose root that folder is.

    A folder that is merely called `.fsmedia` makes none: other writers may have called a run so.
    """
    folder, _, rest = inner.casefold().partition("/")
    name, slash, _ = rest.partition("/")
    return folder == INTERNAL and (name in _STORE_FOLDERS if slash else name == _SETTINGS_NAME)


def has_internal_part(key: str) -> bool:
    """Return whether a part of a key, at any depth, is `.fsmedia` in any case: it is no media of this store."""
    # The plain search first: it decides nearly every key.
    return (key.startswith(".") or "/." in key) and INTERNAL in key.casefold().split("/")


def check_lengths(reference: str, root_path_bytes: int) -> None:
    """Refuse a reference that some storage could not hold: InvalidLayoutError.

    A segment is over `MAX_NAME` bytes, or root, `/`, `KEY_RESERVE` and reference are over `MAX_KEY`. The root's own
    path counts (S3: the prefix below the bucket; 0 where there is none).
    """
    # Limits count bytes, so a character outside ASCII counts as the bytes of its UTF-8 form.
    key = reference if reference.isascii() else reference.encode(errors="surrogatepass").decode("latin-1")
    longest = max(map(len, key.split("/")))
    if longest > MAX_NAME:
        problem = f"a name has at most {MAX_NAME} bytes, one here has {longest}"
        raise InvalidLayoutError(problem, next_step="use shorter names or ids", reference=reference)
    # With the reserve: the due entry and the sidecar of an item that was accepted must fit as well.
    total = root_path_bytes + bool(root_path_bytes) + KEY_RESERVE + len(key)
    if total > MAX_KEY:
        problem = f"root, reserve and reference are {total} bytes, over the {MAX_KEY} that a key may have"
        step = "use shorter ids, a layout with fewer of them, or a shorter root"
        raise InvalidLayoutError(problem, next_step=step, reference=reference)


# -- shared bytes ------------------------------------------------------------------------------------------

BLOBS: Final = f"{INTERNAL}/blobs"
"""The folder of all shared bytes."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_POINTER = re.compile(r"\.(0|[1-9][0-9]{0,18})-([0-9a-f]{64})-([0-9a-z]{26})((?:\.[^/]*)?)", re.DOTALL)
_KEY = re.compile(
    rf"{re.escape(BLOBS)}/[0-9a-f]{{2}}/([0-9a-f]{{64}})/"
    r"(?:(data)/([0-9a-z]+)|(condemned|refs)/([0-9a-z]+)/([0-9a-z-]+))"
)
# A listing asks several times in a row what one and the same name tells.
_CACHED_POINTERS = 4096
SHORTEST: Final = len("0000_00_u") + 26 + len(".0-") + 64 + len("-") + 26
"""Characters of the shortest deduplicated name."""


class Pointer(NamedTuple):
    """Generation of shared bytes that a deduplicated name points to: their size, their SHA-256 in hex, and which copy.

    A blob that was deleted and stored again is another generation.
    """

    size: int
    digest: str
    generation: str

    @property
    def infix(self) -> str:
        """What stands in a deduplicated name before its extension."""
        return f".{self.size}-{self.digest}-{self.generation}"

    @property
    def data_key(self) -> str:
        """The key of the bytes."""
        return f"{blob_folder(self.digest)}/data/{self.generation}"

    @property
    def condemned_folder(self) -> str:
        """The folder of the marks that it is about to be deleted, and takes no new reference."""
        return f"{blob_folder(self.digest)}/condemned/{self.generation}"

    @property
    def refs_folder(self) -> str:
        """The folder of the markers of references that use it."""
        return f"{blob_folder(self.digest)}/refs/{self.generation}"

    def marker_key(self, marker: str) -> str:
        """Return the key of a marker."""
        return f"{self.refs_folder}/{marker}"

    def condemned_key(self) -> str:
        """Return a fresh key for a condemned mark."""
        # Two releases at once must not share one: the first to end would remove the other's.
        return f"{self.condemned_folder}/{new_generation()}"


class BlobKey(NamedTuple):
    """Parts of a key below `BLOBS`; the kind is `data`, `condemned` or `refs`, the name that of the mark or marker."""

    digest: str
    kind: str
    generation: str
    name: str


def blob_folder(digest: str) -> str:
    """Return the folder of all generations of some bytes."""
    # 256 folders in between: on disks, one folder of all digests would grow without end.
    return f"{BLOBS}/{digest[:2]}/{digest}"


def parse_blob_key(key: str) -> BlobKey | None:
    """Parse a key below `BLOBS`; None for anything else that lies there."""
    if (found := _KEY.fullmatch(key)) is None:
        return None
    return BlobKey(found[1], found[2] or found[4], found[3] or found[5], found[6] or "")


def pointer_of(reference: str) -> Pointer | None:
    """Return the pointer in a deduplicated name; None for every other name, and for sidecars."""
    return None if len(reference) < SHORTEST else _parse_pointer(reference)


@lru_cache(maxsize=_CACHED_POINTERS)
def _parse_pointer(reference: str) -> Pointer | None:
    own = parse_own_name(reference)
    found = None if own is None else _POINTER.fullmatch(own.ext)
    return None if found is None else Pointer(int(found[1]), found[2], found[3])


def moved_name(reference: str, pointer: Pointer) -> str:
    """Return the deduplicated reference of a plain media item of our own form, which keeps all other parts."""
    own = parse_own_name(reference)
    if own is None or pointer_of(reference) is not None:
        raise InvalidReferenceError("is not the name of a plain media of this package", reference=reference)
    plain = reference[: len(reference) - len(own.ext)]
    return f"{plain}{pointer.infix}{own.ext}"


def plain_reference(reference: str) -> str | None:
    """Return the reference that `moved_name` made this one of; None where it is not deduplicated."""
    pointer, own = pointer_of(reference), parse_own_name(reference)
    if pointer is None or own is None:
        return None
    return reference[: len(reference) - len(own.ext)] + own.ext[len(pointer.infix) :]


def bytes_key(reference: str) -> str:
    """Return the key of a media item's bytes: the reference itself, but for a deduplicated one."""
    pointer = pointer_of(reference)
    return reference if pointer is None else pointer.data_key


def file_name(reference: str) -> str:
    """Return the name under which a person would save a media item: without size, digest and generation."""
    name = reference.rpartition("/")[2]
    pointer = pointer_of(reference)
    return name if pointer is None else name.replace(pointer.infix, "", 1)


def new_generation() -> str:
    """Return a fresh name for a generation or a mark: 26 of `[0-9a-z]`, sorted by time."""
    # Never given twice: whoever decided to delete a generation must not meet new bytes under its name.
    return new_unique()[1:]


def new_marker(reference: str) -> str:
    """Return a fresh name for a marker of this reference."""
    # Two attempts never share one: each takes back its own, and a delete removes only the one its sidecar names.
    return f"{marker_prefix(reference)}{new_generation()}"


def marker_prefix(reference: str) -> str:
    """Return what the names of all markers of a reference begin with."""
    return f"{sha256(reference.encode()).hexdigest()[:32]}-"


def check_marker(marker: object, reference: str) -> str:
    """Return a marker's name as a sidecar gives it; by one of another reference nothing may be removed."""
    if not isinstance(marker, str) or not re.fullmatch(rf"{re.escape(marker_prefix(reference))}[0-9a-z]+", marker):
        problem = "its sidecar names no marker of its own"
        raise InvalidReferenceError(problem, next_step="verify the store", reference=reference)
    return marker


# -- references --------------------------------------------------------------------------------------------


def is_reference(text: str) -> bool:
    """Return whether a text can name a media item, see `check_reference`; the text alone decides."""
    return _problem_with(text) is None


def check_reference(text: object) -> str:
    """Return a store-relative reference if it can name a media item; else InvalidReferenceError.

    The text is already cut to what is below the root (see `relative_to_root`). Blanks, control characters, backslashes
    and any Unicode stay as they are; what lies outside the store or inside a `.fsmedia` at any depth, folders, sidecars
    and the empty text are refused.
    """
    if not isinstance(text, str):
        kind = type(text).__name__
        step = "give the str that store_media returned"
        raise InvalidReferenceError(f"a reference is text, not {kind}", next_step=step)
    if problem := _problem_with(text):
        # It may be a URL with a password in it.
        raise InvalidReferenceError(problem[0], next_step=problem[1], reference=without_secrets(text))
    return text


def check_new_reference(text: object, root_path_bytes: int, *, is_folder: bool = False) -> str:
    """Return a reference that a client chooses for a media item that it writes, or for a folder.

    InvalidReferenceError: no media item can have it, or none that a listing shows; InvalidLayoutError: it is too long.
    """
    key = check_reference(text)
    problem = None
    if pointer_of(key) is not None:
        problem = "names of this form belong to deduplicated media"
    elif key.startswith("@"):
        problem = "a name at the top that begins with @ stands for a named store"
    else:
        parts = key.split("/")
        if any(is_hidden(part) for part in (parts if is_folder else parts[:-1])):
            problem = "no listing shows what lies in a folder of this name"
    if problem:
        raise InvalidReferenceError(problem, next_step="choose another name", reference=key)
    check_lengths(key, root_path_bytes)
    return key


_USE_RELATIVE = "give the path below the store's root, as store_media returned it"


def _problem_with(text: str) -> tuple[str, str] | None:
    """Return why a text can't be a reference, and the next step; None if it can."""
    # Nearly all of them by one look: what is refused below has other characters, or a part that begins with a dot.
    if len(text) <= MAX_KEY and _PLAIN.fullmatch(text) is not None and not text.endswith(SIDECAR_SUFFIX):
        return None
    if not text:
        return "an empty reference names no media", _USE_RELATIVE
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        return "it holds a lone surrogate, so it has no UTF-8 form", "rename the file"
    if size > MAX_KEY:
        return f"a reference has at most {MAX_KEY} bytes, this one has {size}", _USE_RELATIVE
    if "\0" in text:
        return "it holds a NUL character", _USE_RELATIVE
    return _problem_with_form(text) or _problem_with_segments(text)


_PLAIN = re.compile(r"(?:[0-9A-Za-z_-][0-9A-Za-z_.-]*+/)*[0-9A-Za-z_-][0-9A-Za-z_.-]*+")
_FORBIDDEN_PARTS = (
    ("://", "the URL is not inside this store", "open the store at that URL, or give the path below its root"),
    ("?versionId=", "'?versionId=' names a version to S3's clients, not a file", "rename the file"),
    ("::", "'::' cuts a chained URL in two", "rename the file: no media:// URL could name it"),
    ("//", "a segment is empty", "write one '/' between segments"),
)


def _problem_with_form(text: str) -> tuple[str, str] | None:
    if text[0] == "/":
        return "the absolute path is not inside this store", _USE_RELATIVE
    if text[-1] == "/":
        return "a folder is no media", "list the folder, and give the reference of a media in it"
    for part, problem, step in _FORBIDDEN_PARTS:
        if part in text:
            return problem, step
    return None


def _problem_with_segments(text: str) -> tuple[str, str] | None:
    segments = text.split("/")
    if "." in segments or ".." in segments:
        return "'.' and '..' are no segments of a reference", _USE_RELATIVE
    if has_internal_part(text):
        return f"what lies in {INTERNAL} is no media", "list the store to see its media"
    if text.endswith(SIDECAR_SUFFIX):
        return "this is a sidecar", f"leave {SIDECAR_SUFFIX} away to name its media"
    if text == DEDUP_INDEX_KEY:
        return "this is PromptKit's index of shared bytes", "list the store to see its media"
    if is_temporary(segments[-1]):
        return "this is a temporary file of a store under way", "list the store to see its media"
    return None


def relative_to_root(text: str, roots: Sequence[str]) -> str:
    """Return what follows the root in a path or URL inside it, not checked; other texts unchanged.

    `roots` are the spellings of one root: `/data/media`, `file:///data/media`, `s3://bucket/media`. A `file://` URL may
    be percent-encoded.
    """
    # The longest root that fits: one spelling may be the beginning of another.
    best = -1
    rest = text
    is_file = text.startswith("file://")
    for root in roots:
        prefix = root if root.endswith("/") else root + "/"
        if len(prefix) <= best:
            continue
        if text.startswith(prefix):
            tail = text[len(prefix) :]
            best, rest = len(prefix), unquote(tail, errors="surrogateescape") if is_file else tail
        elif is_file and (decoded := unquote(text, errors="surrogateescape")).startswith(prefix):
            best, rest = len(prefix), decoded[len(prefix) :]
    return rest


# -- due entries, holds and records ------------------------------------------------------------------------

DUE: Final = f"{INTERNAL}/due"
"""The folder of the due index."""
HOLDS: Final = f"{INTERNAL}/holds"
"""The folder of the holds."""
DELETIONS: Final = f"{INTERNAL}/deletions"
"""The folder of the records of deletions."""
REFERENCES: Final = f"{INTERNAL}/references"
"""The folder of the records of references that changed."""
ERASURES: Final = f"{INTERNAL}/erasures"
"""The folder of the journals of erasures that are under way, or died."""
_MINUTE = timedelta(minutes=1)
_ENTRY = re.compile(
    rf"{re.escape(DUE)}/([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})/([0-9]{{2}})/([0-9]{{2}})/(.+)", re.DOTALL
)


class DueKey(NamedTuple):
    """Parts of a due entry's key: the media item's `expires_at`, rounded up to a minute, in UTC; and its reference."""

    minute: datetime
    reference: str


def due_minute(instant: datetime) -> datetime:
    """Return the minute at or after an aware instant, in UTC; the last one of the year 9999 stays that."""
    # After, not before: a sweep reads the minutes that are past, and would meet an entry that is not due yet.
    whole = instant.astimezone(UTC).replace(second=0, microsecond=0)
    try:
        return whole if whole == instant else whole + _MINUTE
    except OverflowError:
        return whole


def due_key(instant: datetime, reference: str) -> str:
    """Return the key of the due entry of a media item that expires at that instant."""
    minute = due_minute(instant)
    return f"{DUE}/{minute.date().isoformat()}/{minute:%H/%M}/{reference}"


def parse_due(key: str) -> DueKey | None:
    """Parse a due entry's key; None for anything else that lies there."""
    if (found := _ENTRY.fullmatch(key)) is None:
        return None
    try:
        year, month, day, hour, minute = (int(part) for part in found.groups()[:5])
        return DueKey(datetime(year, month, day, hour, minute, tzinfo=UTC), check_reference(found[6]))
    except (ValueError, InvalidReferenceError):
        return None


def due_folders(now: datetime) -> tuple[str, str, str]:
    """Return the folders of the day, the hour and the minute that an aware instant lies in."""
    instant = now.astimezone(UTC)
    day = f"{DUE}/{instant.date().isoformat()}"
    return day, f"{day}/{instant:%H}", f"{day}/{instant:%H/%M}"


def hold_key(reference: str) -> str:
    """Return the key of a media item's hold."""
    # By digest: of one length, so that the longest reference can be held too.
    return f"{HOLDS}/{sha256(reference.encode()).hexdigest()}"


def dated_key(folder: str, now: datetime) -> str:
    """Return a fresh key in a folder of records, for JSON lines, sorted by time."""
    instant = now.astimezone(UTC)
    return f"{folder}/{instant.date().isoformat()}/{instant:%H%M%S}-{new_unique()}.jsonl"


def probe_key() -> str:
    """Return a fresh key for an object whose time tells the storage's clock."""
    # A temporary name: should it be left behind, it is swept like one.
    return f"{INTERNAL}/{temporary_name()}"


CHECK: Final = f"{INTERNAL}/check-"
"""What the folders begin with in which a storage is tried."""


def is_left_over(key: str) -> bool:
    """Return whether a key is of bytes on their way, or of a check of the storage: gone unless its process died."""
    return is_temporary(key) or key.startswith(CHECK)


SWITCHES: Final = f"{INTERNAL}/switches"
"""The folder of settings that were turned on, on storages that keep neither conditions nor locks."""


def switch_key(name: str) -> str:
    """Return the key of a switch; that it is there says that it is on."""
    return f"{SWITCHES}/{name}"


ASIDE: Final = f"{INTERNAL}/aside"
"""The folder of bytes that are being deleted, on storages that offer nothing but a rename."""


def aside_key(reference: str, root_path_bytes: int) -> str | None:
    """Return a fresh key to move bytes to before they are deleted; None where it would be too long."""
    # In one folder: some storages never remove those that are left empty.
    name = f"{new_unique()}-{quote(reference, safe='', errors='surrogatepass')}"
    fits = len(name) <= MAX_NAME and root_path_bytes + 1 + len(f"{ASIDE}/{name}") <= MAX_KEY
    return f"{ASIDE}/{name}" if fits else None


def parse_aside(key: str) -> str | None:
    """Return whose bytes lie at a key below `ASIDE`; None for anything else that lies there."""
    reference = unquote(key.removeprefix(f"{ASIDE}/").partition("-")[2], errors="surrogatepass")
    return reference if reference and not is_internal(reference) and not is_own_name(reference) else None


PROMPTKIT: Final = f"{INTERNAL}/promptkit"
INDEX_ASIDE_KEY: Final = f"{PROMPTKIT}/dedup_index.json"
"""Where PromptKit's index lies once something was deleted or replaced that it names."""

LOCKS: Final = f"{INTERNAL}/locks"
"""The folder of lock files, on disks: empty, and of no meaning but while somebody holds them."""


def lock_key(name: str) -> str:
    """Return the key of the file that is locked while a name changes; 256 of them do for all names."""
    return f"{LOCKS}/{sha256(name.encode()).hexdigest()[:2]}"


def largest(key: str) -> int | None:
    """Return how many bytes a key's object has at most, so that it can be read whole; None for the bytes of media."""
    if is_read_cut(key) or (key.startswith(f"{BLOBS}/") and "/refs/" in key):
        return MAX_SIDECAR_BYTES
    if key == CONFIGURATION_KEY:
        return MAX_SETTINGS_BYTES
    is_record = key == DEDUP_INDEX_KEY or (is_internal(key) and not key.startswith((f"{BLOBS}/", f"{ASIDE}/")))
    return MAX_RECORD_BYTES if is_record else None


def is_read_cut(key: str) -> bool:
    """Return whether of an object that is too large the beginning is read, which its readers refuse, each by itself.

    One hostile sidecar or hold must not fail the listing of a thousand others, and a damaged hold holds all the same.
    """
    return key.endswith(SIDECAR_SUFFIX) or key.startswith((f"{HOLDS}/", f"{QUARANTINE}/"))


# -- catalog and quarantine --------------------------------------------------------------------------------

CATALOG: Final = f"{INTERNAL}/catalog"
"""The folder of the catalog's snapshots."""
_SNAPSHOT = re.compile(rf"{re.escape(CATALOG)}/([0-9]{{8}}T[0-9]{{9}})Z-{_UNIQUE}\.parquet")
_ERASURE = ".erased"


def snapshot_key(instant: datetime) -> str:
    """Return a fresh key for a snapshot whose listing began at an aware instant."""
    time = instant.astimezone(UTC)
    day = time.date().isoformat().replace("-", "")
    return f"{CATALOG}/{day}T{time:%H%M%S}{time.microsecond // 1000:03d}Z-{new_unique()}.parquet"


def parse_snapshot(key: str) -> datetime | None:
    """Return the instant in a snapshot's key, to the millisecond; None for anything else that lies there."""
    if (found := _SNAPSHOT.fullmatch(key)) is None:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    except ValueError:
        return None


def erasure_mark(now: datetime) -> str:
    """Return a fresh key for the mark that rows of the catalog are about to be erased; it stays for the grace."""
    return f"{CATALOG}/{now.astimezone(UTC):%Y-%m-%dT%H%M%S}-{new_unique()}{_ERASURE}"


def is_erasure_mark(key: str) -> bool:
    """Return whether this is the key of such a mark."""
    return key.startswith(f"{CATALOG}/") and key.endswith(_ERASURE) and "/" not in key[len(CATALOG) + 1 :]


QUARANTINE: Final = f"{INTERNAL}/quarantine"
"""The folder of what was set aside."""


class Quarantined(NamedTuple):
    """Parts of a key below `QUARANTINE`: the folder of what was set aside together, and what the thing was called.

    The key is the digest of that where it was too long, and empty for the note that stands beside the folder.
    """

    folder: str
    key: str


def quarantine_folder(now: datetime) -> str:
    """Return a fresh folder for what is set aside together, sorted by time."""
    return f"{QUARANTINE}/{now.astimezone(UTC):%Y-%m-%dT%H%M%S}-{new_unique()}"


def quarantined_key(folder: str, key: str, root_path_bytes: int) -> str:
    """Return where a key's object goes in such a folder: under its own name, or its digest where that is too long."""
    # The folder in front makes the key longer, and a key of the full length is one that may have to be set aside.
    wanted = f"{folder}/{key}"
    if root_path_bytes + 1 + len(wanted.encode(errors="surrogatepass")) <= MAX_KEY:
        return wanted
    return f"{folder}/{sha256(key.encode(errors='surrogatepass')).hexdigest()}"


def parse_quarantined(key: str) -> Quarantined:
    """Parse a key below `QUARANTINE`."""
    name, _, rest = key.removeprefix(f"{QUARANTINE}/").partition("/")
    return Quarantined(f"{QUARANTINE}/{name if rest else name.removesuffix('.json')}", rest)


def quarantine_note(folder: str) -> str:
    """Return the key of the note on what lies in such a folder."""
    return f"{folder}.json"
