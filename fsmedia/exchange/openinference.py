"""A blob uploader for OpenInference's instrumentations: `OPENINFERENCE_BLOB_UPLOADER=fsmedia`.

Pictures that are too large for a span attribute go into a store, and the attribute holds their `media://` URL. The
interface is `BlobUploader` of openinference-instrumentation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from openinference.instrumentation import Blob, get_attributes_from_context
from opentelemetry.trace import get_current_span

from fsmedia.exchange.uploader import BackgroundUploader, logged_failure, span_metadata, timeout_of

if TYPE_CHECKING:
    from datetime import timedelta
    from os import PathLike

_MESSAGE = re.compile(r"_messages\.([0-9]{1,6})\.")
_PART = re.compile(r"message\.contents\.([0-9]{1,6})\.")


class StoreBlobUploader:
    """Stores blobs of spans; a `BlobUploader` that takes what `BackgroundUploader` takes.

    MediaError if the store can't be opened. Later trouble is logged, and the blob is redacted.
    """

    def __init__(self, url: str | PathLike[str] | None = None, **options: Any) -> None:
        self._uploader = BackgroundUploader(url, **options)

    def upload(self, blob: Blob) -> str | None:
        """Return the URL under which the blob will be, or None if it is refused; never waits for the storage."""
        with logged_failure("a blob was not kept"):
            key = blob.attribute_key or ""
            metadata = span_metadata(get_current_span(), dict(get_attributes_from_context()))
            place = {"message_idx": _index(_MESSAGE, key), "part_idx": _index(_PART, key)}
            return self._uploader.send(
                blob.data, blob.mime_type, metadata.model_copy(update=place), digest=blob.content_sha256
            )
        return None

    def flush(self, timeout: timedelta) -> bool:
        """Wait until all is stored; False if that took longer."""
        return self._uploader.flush(timeout)

    def shutdown(self, timeout_sec: float = 10.0) -> None:
        """Store what is queued, within the timeout, and take nothing any more."""
        self._uploader.shutdown(timeout_of(timeout_sec))


def _index(pattern: re.Pattern[str], key: str) -> int:
    found = pattern.search(key)
    return int(found[1]) if found else 0


def blob_uploader() -> StoreBlobUploader:
    """Return an uploader to the store of `$FSMEDIA_URL`; found as entry point `fsmedia`."""
    return StoreBlobUploader()
