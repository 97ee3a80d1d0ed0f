"""A storage that takes the connection and says nothing: every call ends, with an error of ours."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from fsmedia import MediaStore, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def silent_server() -> Iterator[str]:
    """Accept connections and never answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in taken:
            connection.close()


@pytest.mark.parametrize(
    ("url", "options"),
    [("s3://bucket/media", {"key": "key-1234", "secret": "secret-5678"}), ("gs://bucket/media", {"token": "anon"})],
)
def test_a_silent_storage_is_given_up(url: str, options: dict[str, str]) -> None:
    with silent_server() as endpoint:
        begun = time.monotonic()
        with pytest.raises(StorageError, match="no answer in time") as caught:
            MediaStore(url, storage_options={**options, "endpoint_url": endpoint}, timeout=timedelta(seconds=0.5))
        # Asked twice, half a second each; the rest is what a client needs to start.
        assert time.monotonic() - begun < 20
    assert "longer timeout" in caught.value.next_step
    assert "secret-5678" not in str(caught.value)
