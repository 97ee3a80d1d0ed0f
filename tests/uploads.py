"""Uploads by ticket as browsers and curl make them: over plain HTTP, past the package; by `accept_upload` elsewhere."""

import hashlib
import urllib.error
import urllib.request
from typing import Any

from fsmedia import MediaError, MediaMetadata, MediaStore, UploadTicket
from tests.storages import Storage

KEY = "key-of-the-tests-Tk4711"
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\3\x08\2\0\0\0\x12\x16\xf1M" + bytes(range(256)) * 8
R1 = MediaMetadata(run_id="r1")


def opened(storage: Storage, **settings: Any) -> MediaStore:
    return MediaStore(storage.url, **{"storage_options": storage.options, "ticket_key": KEY, **settings})


def ticket_for(store: MediaStore, data: bytes = PICTURE, metadata: MediaMetadata = R1, **asked: Any) -> UploadTicket:
    """Make a ticket for a picture; `digest=True` tells its SHA-256."""
    if asked.pop("digest", False):
        asked["sha256"] = hashlib.sha256(data).hexdigest()
    return store.upload_url(metadata, **{"mime_type": "image/png", "size_bytes": len(data), **asked})


def is_taken(store: MediaStore, ticket: UploadTicket, data: bytes = PICTURE, kind: str | None = None) -> bool:
    """Upload; tell whether the bytes were taken."""
    headers = {**ticket.headers, **({"Content-Type": kind} if kind else {})}
    if "://" not in ticket.url:
        try:
            store.accept_upload(ticket.token, [data], mime_type=headers["Content-Type"])
        except MediaError:
            return False
        return True
    if ticket.method == "POST":
        parts = [f'name="{name}"\r\n\r\n{text}'.encode() for name, text in ticket.fields.items()]
        parts.append(b'name="file"; filename="x"\r\nContent-Type: image/png\r\n\r\n' + data)
        data = (
            b"".join(b"--cut\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--cut--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    request = urllib.request.Request(ticket.url, data, headers, method=ticket.method)
    try:
        with urllib.request.urlopen(request) as answer:
            return 200 <= (answer.status or 0) < 300
    except urllib.error.HTTPError as error:
        with error:
            if error.code not in (400, 403, 409, 412):
                raise
    except (ConnectionError, urllib.error.URLError):
        pass  # refused by its head alone, while the bytes were still being sent
    return False
