"""Fixtures of the contract suite: a store over each storage, and a watch that nothing changed in it."""

import http.server
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fsmedia import MediaMetadata, MediaStore
from tests.conftest import make_storage
from tests.contract.specimens import LIMIT, png, traces


@pytest.fixture
def anyio_backend():
    """Run tests that are coroutines by asyncio."""
    return "asyncio"


@pytest.fixture
def open_store(storage, clock):
    """Open a store over the storage, with the test's clock; called with further settings."""

    def opened(**settings: Any) -> MediaStore:
        return MediaStore(storage.url, **{"storage_options": storage.options, "now": clock, **settings})

    return opened


@pytest.fixture
def store(open_store):
    """Give a store over the storage, by-run."""
    return open_store()


@pytest.fixture(params=["new root", "new root of shared bytes", "root in use"])
def limited(request, open_store):
    """Give a store that takes 3 MiB: over a root where nothing is yet, and over one that has a media."""
    store = open_store(max_file_size=LIMIT, deduplicate=request.param == "new root of shared bytes")
    if request.param == "root in use":
        store.store_media(png(), MediaMetadata(run_id="neighbour"))
    return store


@pytest.fixture
def some_storage(request, tmp_path):
    """Give the storage that a test names by indirect parameters: for what is slow, and not about all of them."""
    return make_storage(request.param, request, tmp_path)


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """Give the folder that temporary files go to; empty at first, and nobody else's."""
    folder = tmp_path / "spool"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def unchanged(storage, spool):
    """Give a context manager that fails if its block leaves any trace: a byte, a folder, a temporary file."""

    @contextmanager
    def watch() -> Iterator[None]:
        before = traces(storage)
        yield
        assert traces(storage) == before
        assert list(spool.iterdir()) == []

    return watch


@pytest.fixture
def service_account():
    """Make a service account, and a token server that believes it."""

    class Tokens(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}')

        def log_message(self, *args): ...

    key = rsa.generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever).start()
        account = {
            "type": "service_account", "project_id": "fsmedia-tests", "private_key_id": "key-1", "client_id": "1",
            "private_key": key.private_bytes(*form).decode(), "client_email": "signer@fsmedia-tests.example",
            "token_uri": f"http://127.0.0.1:{server.server_port}/token",
        }  # fmt: skip
        yield account, key.public_key()
        server.shutdown()
