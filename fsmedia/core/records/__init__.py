"""Finding media: one by its reference, many by a listing. Reads only.

A media is its bytes and, where it has one, its sidecar. Bytes under a name of our own form without a sidecar are a
store under way or a crash's leftover, and a sidecar without bytes is what a delete left: neither is a media.
"""

from fsmedia.core.records.describing import content_of, expiry_of, expiry_or_none, foreign_record, record_of, shared_url
from fsmedia.core.records.finding import (
    Found,
    brought_as,
    exists,
    find,
    find_many,
    may_have_moved,
    moved_many,
    moved_to,
    not_found,
    open_bytes,
    read_sidecars,
    refuse_folder,
)
from fsmedia.core.records.listing import (
    Answers,
    Listed,
    Selected,
    Shortcut,
    folder_of,
    is_reference,
    listed,
    select,
    selected,
)

__all__ = [
    "Answers",
    "Found",
    "Listed",
    "Selected",
    "Shortcut",
    "brought_as",
    "content_of",
    "exists",
    "expiry_of",
    "expiry_or_none",
    "find",
    "find_many",
    "folder_of",
    "foreign_record",
    "is_reference",
    "listed",
    "may_have_moved",
    "moved_many",
    "moved_to",
    "not_found",
    "open_bytes",
    "read_sidecars",
    "record_of",
    "refuse_folder",
    "select",
    "selected",
    "shared_url",
]
