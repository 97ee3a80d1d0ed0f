"""When the storage says no: errors of this package, readable, with a next step, and no secret in any text of them."""

import logging
import pickle
import subprocess
import sys
import traceback
from datetime import timedelta

import pytest

from fsmedia import MediaContent, MediaError, MediaNotFoundError, MediaStore, StorageError
from fsmedia.storage import open_backend
from tests.contract.specimens import PNG, R1, png, raised
from tests.transfers import opened

GONE = "runs/r1/0000_00_u00000000000000000000000000.png"
WRONG_SECRET = "wrong-secret-Xk44"


def texts(error):
    """Yield every text that an error shows: its own, its causes', its traceback's."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield "".join(traceback.format_exception(error))
    for linked in (error.__cause__, error.__context__):
        if linked is not None:
            yield from texts(linked)


def shows_none_of(error, *secrets):
    return not [(secret, text) for text in texts(error) for secret in secrets if secret in text]


def uses_of(store):
    """Return what can be asked of a store that does not exist or refuses, by name."""

    def in_pieces():
        with store.create_media(R1, "image/png") as writer:
            writer.write(PNG)

    return {
        "store": lambda: store.store_media(png(), R1),
        "write": in_pieces,
        "create": store.create,
        "info": lambda: store.info(GONE),
        "retrieve": lambda: store.retrieve_media(GONE),
        "open": lambda: store.open(GONE).read(),
        "exists": lambda: store.exists(GONE),
        "list": lambda: list(store.list()),
        "delete": lambda: store.delete_media(GONE),
    }


def copy_of(made, **values):
    copied = type(made).__new__(type(made))
    copied.__dict__.update(made.__dict__ | values)
    return copied


def test_a_wrong_secret_is_an_error_of_ours_for_every_use_and_never_shown(rclone_storage, caplog):
    """The credentials stopped being right after the store was opened."""
    caplog.set_level(logging.DEBUG, "fsmedia")
    server, store = rclone_storage.server, opened(rclone_storage).create()
    options = {**rclone_storage.options, "key": server.key, "secret": WRONG_SECRET}
    backend = open_backend(rclone_storage.url, options, timeout=store._backend.timeout)
    uses = uses_of(copy_of(store, _backend=backend, _settings_file=copy_of(store._settings_file, _backend=backend)))
    del uses["create"]  # the settings are there and known
    for name, use in uses.items():
        error = raised(StorageError, use)
        assert isinstance(error, OSError), name
        assert "; " in str(error), name
        assert "\n" not in str(error), name
        assert len(str(error)) < 600, name
        assert shows_none_of(error, WRONG_SECRET, server.secret, server.key), name
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        if name in ("info", "retrieve", "open", "exists", "delete"):
            assert error.reference == GONE, name
        elif name in ("store", "write"):
            assert error.reference.startswith("runs/r1/0000_00_u"), name
            assert error.reference.endswith(".png"), name
    assert WRONG_SECRET not in caplog.text


def test_a_store_that_can_not_be_opened_says_why_and_shows_no_secret(rclone_storage, local_storage):
    url, options, secret = rclone_storage.url, rclone_storage.options, rclone_storage.server.secret
    quick = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    nobody = {"key": "k-1234567", "secret": WRONG_SECRET, "endpoint_url": "http://127.0.0.1:9", "config_kwargs": quick}
    for kind, match, root, asked in (
        (StorageError, "credentials", url, {**options, "secret": WRONG_SECRET}),
        (StorageError, "credentials", url, {**options, "key": "wrong-key-Jd61"}),
        (StorageError, None, "s3://bucket/a-server-that-is-not-there", nobody),
        (StorageError, "nosuch://", "nosuch://bucket/media", {}),
        (MediaError, "secret_option", local_storage.url, {"secret_option": WRONG_SECRET}),
    ):
        error = raised(kind, MediaStore, root, match=match, storage_options=asked, timeout=timedelta(seconds=5))
        assert "; " in str(error), root
        assert shows_none_of(error, WRONG_SECRET, "wrong-key-Jd61", secret), (match, root)
    assert rclone_storage.keys() == set()


@pytest.mark.parametrize("protocol", ["nosuch", "http"])
def test_a_password_in_the_url_is_never_shown(rclone, protocol):
    where = rclone.direct_url.partition("//")[2]  # asks for a signature: 403
    url = f"{protocol}://user:{WRONG_SECRET}@{where}/media"
    with pytest.raises(MediaError) as caught:  # noqa: PT012 - which of the two fails depends on the protocol
        store = MediaStore(url)
        assert WRONG_SECRET not in repr(store) + store.url
        store.store_media(png(), R1)
    assert shows_none_of(caught.value, WRONG_SECRET)


def test_a_bucket_that_is_missing_is_named_whatever_was_asked_for(object_storage):
    """It said "runs/r1: the storage does not find it", or named no bucket at all."""
    url = f"{object_storage.url.partition('://')[0]}://no-such-bucket-77/media"
    store = MediaStore(url, storage_options=object_storage.options)
    uses = uses_of(store)
    assert uses.pop("exists")() is False
    uses["files"] = lambda: store.fs.ls("runs/r1")
    uses["read only"] = lambda: MediaStore(url, storage_options=object_storage.options, read_only=True)
    for name, use in uses.items():
        error = raised(StorageError, use)
        said = str(error).removeprefix(f"{GONE}: ")
        assert said.startswith(f"there is no bucket 'no-such-bucket-77', of the root {url}"), name
        assert said == str(error) or name in ("info", "retrieve", "open", "delete")
        assert not isinstance(error, MediaNotFoundError)
        assert "\n" not in str(error)
        assert error.key is None


WITHOUT_PACKAGES = """
import sys
sys.modules["s3fs"] = sys.modules["gcsfs"] = None  # as on a machine without them
import fsmedia
for url in sys.argv[1:]:
    try:
        fsmedia.MediaStore(url)
    except fsmedia.StorageError as error:
        print(error)
"""


def test_a_missing_package_is_named():
    packages = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
    command = [sys.executable, "-c", WITHOUT_PACKAGES, *(f"{protocol}://bucket/media" for protocol in packages)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    for line, (protocol, package) in zip(said, packages.items(), strict=True):
        assert line.startswith(f"{protocol}:// needs a package")
        assert line.endswith(f"pip install {package}")


def test_no_repr_shows_a_secret(rclone_storage):
    store, server = opened(rclone_storage), rclone_storage.server
    reference = store.store_media(png(), R1)
    content = store.retrieve_media(reference)
    with store.open(reference) as file:
        more = [store.info(reference), store.create_media(R1, "image/png"), file]
        for text in map(repr, [store, store._backend, content, content._handle, *more]):
            assert server.secret not in text
            assert server.key not in text
    assert repr(store) == f"MediaStore({rclone_storage.url!r})"
    assert server.secret.encode() not in pickle.dumps(content)
    assert server.secret not in content.model_dump_json()


def test_a_name_with_line_breaks_does_not_break_the_line_and_a_refused_content_is_not_quoted(memory_storage):
    name = "runs/r1/a\nERROR forged.png"
    error = raised(MediaNotFoundError, opened(memory_storage).create().info, name)
    assert "\n" not in str(error)
    assert error.reference == name
    error = raised(MediaError, MediaContent, data="secret-Qp71 is no base64", mime_type="image/png")
    assert all("secret-Qp71" not in text for text in texts(error) if "MediaContent, data=" not in text)
    assert "secret-Qp71" not in str(error)
