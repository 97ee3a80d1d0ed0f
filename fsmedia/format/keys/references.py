"""How a reference may be spelled: normal forms, what is refused and why. Pure text."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from fsmedia.errors import InvalidReferenceError, without_secrets
from fsmedia.format.keys.forms import DEDUP_INDEX_KEY, INTERNAL, MAX_KEY, SIDECAR_SUFFIX, is_temporary

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_reference(text: object) -> str:
    """Return a store-relative reference if it can name a media.

    Parameters
    ----------
    text
        What a caller handed in, already cut to what is below the root (see `relative_to_root`).

    Returns
    -------
    str
        The same text: blanks, control characters, backslashes and any Unicode stay as they are.

    Raises
    ------
    InvalidReferenceError
        It names something outside the store, inside `.fsmedia`, a folder, a sidecar, or nothing.
    """
    if not isinstance(text, str):
        kind = type(text).__name__
        step = "give the str that store_media returned"
        raise InvalidReferenceError(f"a reference is text, not {kind}", next_step=step)
    problem = _fault(text)
    if problem:
        raise InvalidReferenceError(problem[0], next_step=problem[1], reference=without_secrets(text))
    return text


_RELATIVE = "give the path below the store's root, as store_media returned it"


def _fault(text: str) -> tuple[str, str] | None:
    """Return what keeps a text from being a reference, and the next step."""
    if not text:
        return "an empty reference names no media", _RELATIVE
    if not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            return "it holds a lone surrogate, so it has no UTF-8 form", "rename the file"
    else:
        size = len(text)
    if size > MAX_KEY:
        return f"a reference has at most {MAX_KEY} bytes, this one has {size}", _RELATIVE
    if "\0" in text:
        return "it holds a NUL character", _RELATIVE
    return _fault_of_form(text) or _fault_of_segments(text)


_FAULTS = (
    ("://", "the URL is not inside this store", "open the store at that URL, or give the path below its root"),
    ("?versionId=", "'?versionId=' names a version to S3's clients, not a file", "rename the file"),
    ("::", "'::' cuts a chained URL in two", "rename the file: no media:// URL could name it"),
    ("//", "a segment is empty", "write one '/' between segments"),
)


def _fault_of_form(text: str) -> tuple[str, str] | None:
    """Return what is wrong with the text as a whole."""
    if text[0] == "/":
        return "the absolute path is not inside this store", _RELATIVE
    if text[-1] == "/":
        return "a folder is no media", "list the folder, and give the reference of a media in it"
    return next(((problem, step) for part, problem, step in _FAULTS if part in text), None)


def _fault_of_segments(text: str) -> tuple[str, str] | None:
    """Return what is wrong with one of the segments."""
    segments = text.split("/")
    if "." in segments or ".." in segments:
        return "'.' and '..' are no segments of a reference", _RELATIVE
    if segments[0].casefold() == INTERNAL:
        return f"what lies in {INTERNAL} is no media", "list the store to see its media"
    if text.endswith(SIDECAR_SUFFIX):
        return "this is a sidecar", f"leave {SIDECAR_SUFFIX} away to name its media"
    if text == DEDUP_INDEX_KEY:
        return "this is PromptKit's index of shared bytes", "list the store to see its media"
    if is_temporary(segments[-1]):
        return "this is a temporary file of a store under way", "list the store to see its media"
    return None


def relative_to_root(text: str, roots: Sequence[str]) -> str:
    """Return the part of a path or URL that is below the root.

    Parameters
    ----------
    text
        A reference, or an absolute path or URL inside the root. A `file://` URL may be percent-encoded.
    roots
        The spellings of one root: `/data/media`, `file:///data/media`, `s3://bucket/media`. The longest that fits is
        taken.

    Returns
    -------
    str
        What follows root and `/`; the text unchanged where it begins with none of the roots. It is not checked.
    """
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
