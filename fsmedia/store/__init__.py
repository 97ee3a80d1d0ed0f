"""`MediaStore`: the service over one root. Composes the rooms below it and decides nothing they can decide.

One store may be used by any number of threads and tasks; it pickles, and works in forked and spawned children.
Opening and reading write nothing.
"""

from __future__ import annotations

from fsmedia.store.bulk import Bulk, OnError
from fsmedia.store.cataloging import Cataloging
from fsmedia.store.describing import Describing
from fsmedia.store.erasing import Erasing
from fsmedia.store.externalizing import Externalizing
from fsmedia.store.retaining import Retaining
from fsmedia.store.root import Durability, utc_now
from fsmedia.store.showing import Showing
from fsmedia.store.transferring import Transferring
from fsmedia.store.verifying import Verifying

__all__ = ["Durability", "MediaStore", "OnError", "utc_now"]


class MediaStore(
    Cataloging,
    Describing,
    Erasing,
    Externalizing,
    Showing,
    Transferring,
    Verifying,
    Retaining,
    Bulk,
):
    """Media in a storage that an fsspec URL names.

    Parameters
    ----------
    url
        The root: a folder, ``memory://...``, ``s3://bucket/...``, ``gs://bucket/...``; None takes ``$FSMEDIA_URL``.
    storage_options
        What the fsspec filesystem of that URL takes: credentials, endpoint. They appear in no text this makes.
    organization
        Which layout to write in; None: what the store says, what its folders show, or by-run.
    layouts
        Templates that replace the default layouts, by mode.
    views
        Templates of folders under which `media://` shows all media besides, read-only, by name: ``{"by-day":
        "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}"}``.
    policies
        Retention policies by name, besides those whose names speak for themselves.
    default_policy
        Policy of media that name none.
    deduplicate
        True: media with the same bytes share them, each with its own reference, metadata and policy.
    orphan_grace
        Age from which leftovers of crashes may be mended, 24 hours unless told; no store may take longer.
    max_file_size
        Most bytes of one media; None takes any number.
    durability
        On local disk: "fsync" survives a power cut, "rename" a killed process.
    read_only
        Refuse every write.
    url_expiry
        How long a signed URL lives where `get_url` is not told.
    view_max_age
        How old what views show may be, one minute unless told; None: as old as the first look.
    timeout
        Longest wait for one answer of an object store or of a source's URL; large uploads may wait once more for
        each MiB.
    allow_private_urls
        Let sources be URLs of this machine and its own network, and use the environment's proxies.
    hooks
        Functions that are called with an `Event` after each operation. What one raises is logged once and stops
        nothing. They pickle along. OpenTelemetry needs none: it is told where the program has set it up.
    deletion_log
        A function that gets a `Deletion` for each media that was deleted, or "store" to keep them as JSON lines in
        the store; None keeps no record.
    now
        The clock.

    Raises
    ------
    StoreConflictError
        The store has other settings than asked, or is of a newer format.
    """
