"""When the storage says no: errors of this package, readable, with a next step, and no secret in any text of them."""

from __future__ import annotations

import builtins
import logging
import pickle
import subprocess
import sys
import traceback
from datetime import timedelta

import pytest

import fsmedia
from fsmedia import BulkError, MediaContent, MediaError, MediaNotFoundError, MediaStore, StorageError
from tests.contract.specimens import PNG, R1, png

GONE = "runs/r1/0000_00_u00000000000000000000000000.png"
WRONG_SECRET = "wrong-secret-Xk44"
WRONG_KEY = "wrong-key-Jd61"


def texts(error):
    """Yield every text that an error shows: its own, its causes', its traceback's."""
    yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
    yield "".join(traceback.format_exception(error))
    for linked in (error.__cause__, error.__context__):
        if linked is not None:
            yield from texts(linked)


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


@pytest.fixture
def refused(rclone_storage, monkeypatch, caplog):
    """Give, by name of the use, the error of a store whose credentials stopped being right after it was opened."""
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options).create()
    wrong = MediaStore.__new__(MediaStore)
    wrong.__dict__.update(store.__dict__)
    from fsmedia.core.settings_file import SettingsFile
    from fsmedia.storage import open_backend

    options = {**rclone_storage.options, "key": rclone_storage.server.key, "secret": WRONG_SECRET}
    wrong._backend = open_backend(rclone_storage.url, options, timeout=store._backend.timeout)
    settings_file = SettingsFile.__new__(SettingsFile)
    settings_file.__dict__.update(store._settings_file.__dict__)
    settings_file._backend = wrong._backend
    wrong._settings_file = settings_file
    caplog.set_level(logging.DEBUG, "fsmedia")
    errors = {}
    for name, use in uses_of(wrong).items():
        if name == "create":
            continue  # the settings are there and known
        with pytest.raises(MediaError) as caught:
            use()
        errors[name] = caught.value
    return errors


def test_a_wrong_secret_is_an_error_of_ours_for_every_use_and_never_shown(refused, rclone_storage, caplog):
    for name, error in refused.items():
        assert isinstance(error, StorageError), name
        assert isinstance(error, OSError), name
        assert "; " in str(error), name
        assert "\n" not in str(error), name
        assert len(str(error)) < 600, name
        for text in texts(error):
            for secret in (WRONG_SECRET, rclone_storage.server.secret, rclone_storage.server.key):
                assert secret not in text, name
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
    assert WRONG_SECRET not in caplog.text


def test_what_a_refused_use_was_about_is_named(refused):
    for name in ("info", "retrieve", "open", "exists", "delete"):
        assert refused[name].reference == GONE, name
    for name in ("store", "write"):
        assert refused[name].reference.startswith("runs/r1/0000_00_u"), name
        assert refused[name].reference.endswith(".png"), name


@pytest.mark.parametrize("wrong", [{"secret": WRONG_SECRET}, {"key": WRONG_KEY}], ids=["secret", "key"])
def test_a_store_with_wrong_credentials_says_so_when_it_is_opened(rclone_storage, wrong):
    with pytest.raises(StorageError, match="credentials") as caught:
        MediaStore(rclone_storage.url, storage_options={**rclone_storage.options, **wrong})
    for text in texts(caught.value):
        for secret in (*wrong.values(), rclone_storage.server.secret):
            assert secret not in text
    assert rclone_storage.keys() == set()


@pytest.mark.parametrize("protocol", ["nosuch", "http"])
def test_a_password_in_the_url_is_never_shown(rclone, protocol):
    where = rclone.direct_url.partition("//")[2]  # asks for a signature: 403
    url = f"{protocol}://user:{WRONG_SECRET}@{where}/media"
    with pytest.raises(MediaError) as caught:  # noqa: PT012 - which of the two fails depends on the protocol
        store = MediaStore(url)
        assert WRONG_SECRET not in repr(store) + store.url
        store.store_media(png(), R1)
    for text in texts(caught.value):
        assert WRONG_SECRET not in text


@pytest.mark.parametrize("name", ["s3_moto", "s3_rclone", "gcs"])
def test_a_bucket_that_is_missing_is_said_on_write_and_on_listing(request, name):
    fixture = {"s3_moto": "moto_storage", "s3_rclone": "rclone_storage", "gcs": "gcs_storage"}[name]
    storage = request.getfixturevalue(fixture)
    store = MediaStore(f"{storage.url.partition('://')[0]}://no-such-bucket", storage_options=storage.options)
    uses = uses_of(store)
    for use in ("store", "write", "create", "list", "info", "retrieve", "open", "delete"):
        with pytest.raises(StorageError, match="there is no bucket") as caught:
            uses[use]()
        assert not isinstance(caught.value, MediaNotFoundError)
        assert "\n" not in str(caught.value)
    assert uses["exists"]() is False


def test_a_server_that_is_not_there_is_an_error_of_ours():
    options = {
        "key": "k-1234567",
        "secret": WRONG_SECRET,
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1},
    }
    with pytest.raises(StorageError) as caught:
        MediaStore("s3://bucket/x", storage_options=options, timeout=timedelta(seconds=5))
    assert "; " in str(caught.value)
    for text in texts(caught.value):
        assert WRONG_SECRET not in text


def test_an_unknown_protocol_is_said():
    with pytest.raises(StorageError, match="nosuch://") as caught:
        MediaStore("nosuch://bucket/media")
    assert "; " in str(caught.value)


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
    urls = ["s3://bucket/media", "gs://bucket/media", "gcs://bucket/media"]
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGES, *urls], capture_output=True, text=True, check=True, timeout=60
    )
    s3, gs, gcs = child.stdout.splitlines()
    assert s3.startswith("s3:// needs a package")
    assert s3.endswith("pip install 'fsmedia[s3]'")
    assert gs.startswith("gs:// needs a package")
    assert gs.endswith("pip install 'fsmedia[gcs]'")
    assert gcs.endswith("pip install 'fsmedia[gcs]'")


def test_options_for_a_folder_are_refused_not_dropped(local_storage):
    with pytest.raises(MediaError, match="secret_option") as caught:
        MediaStore(local_storage.url, storage_options={"secret_option": WRONG_SECRET})
    assert WRONG_SECRET not in str(caught.value)


def test_no_repr_shows_a_secret(rclone_storage):
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options)
    reference = store.store_media(png(), R1)
    content = store.retrieve_media(reference)
    shown = [
        store,
        store._backend,
        content,
        content._handle,
        store.info(reference),
        store.create_media(R1, "image/png"),
    ]
    with store.open(reference) as file:
        shown.append(file)
        for text in map(repr, shown):
            assert rclone_storage.server.secret not in text
            assert rclone_storage.server.key not in text
    assert repr(store) == f"MediaStore({rclone_storage.url!r})"
    assert rclone_storage.server.secret.encode() not in pickle.dumps(content)
    assert rclone_storage.server.secret not in content.model_dump_json()


# -- errors themselves -------------------------------------------------------------------------------------

BUILTINS = {
    "InvalidMediaError": ValueError,
    "InvalidReferenceError": ValueError,
    "InvalidLayoutError": ValueError,
    "UnknownPolicyError": ValueError,
    "MediaTooLargeError": ValueError,
    "MediaNotFoundError": FileNotFoundError,
    "HeldMediaError": PermissionError,
    "ReadOnlyStoreError": PermissionError,
    "StoreConflictError": FileExistsError,
    "CorruptSidecarError": ValueError,
    "CorruptMediaError": OSError,
    "StorageError": OSError,
    "BulkError": Exception,
}


def test_the_table_of_errors_is_complete():
    public = {name for name in fsmedia.__all__ if name.endswith("Error")}
    assert public == {*BUILTINS, "MediaError"}


@pytest.mark.parametrize("name", [name for name in BUILTINS if name != "BulkError"])
def test_each_error_is_its_builtin_and_survives_pickling(name):
    kind = getattr(fsmedia, name)
    error = kind("it is so", next_step="do that", reference=fsmedia.Reference("runs/r1/x.png"))
    assert isinstance(error, MediaError)
    assert isinstance(error, BUILTINS[name])
    assert str(error) == "runs/r1/x.png: it is so; do that"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.reference, again.next_step) == (str(error), "runs/r1/x.png", "do that")
    about_key = pickle.loads(pickle.dumps(kind("it is so", key=".fsmedia/store.json")))
    assert (about_key.reference, about_key.key) == (None, ".fsmedia/store.json")
    with pytest.raises(BUILTINS[name]):
        raise again


def test_a_bulk_error_survives_pickling_with_all_that_failed():
    error = BulkError({0: "runs/r1/a.png"}, {1: MediaNotFoundError("no such media", reference="runs/r1/b.png")})
    again = pickle.loads(pickle.dumps(error))
    assert again.results == {0: "runs/r1/a.png"}
    assert type(again.errors[1]) is MediaNotFoundError
    assert again.errors[1].reference == "runs/r1/b.png"
    assert str(again) == str(error)
    assert "1 of 2 failed" in str(error)


def test_a_name_with_line_breaks_does_not_break_the_line(memory_storage):
    store = MediaStore(memory_storage.url).create()
    with pytest.raises(MediaNotFoundError) as caught:
        store.info("runs/r1/a\nERROR forged.png")
    assert "\n" not in str(caught.value)
    assert caught.value.reference == "runs/r1/a\nERROR forged.png"


def test_a_refused_content_is_not_quoted():
    with pytest.raises(MediaError) as caught:
        MediaContent(data="secret-Qp71 is no base64", mime_type="image/png")
    assert all("secret-Qp71" not in text for text in texts(caught.value) if "MediaContent(data=" not in text)
    assert "secret-Qp71" not in str(caught.value)


def test_every_public_error_is_documented_and_no_builtins_name():
    for name in BUILTINS:
        assert getattr(fsmedia, name).__doc__
        assert not hasattr(builtins, name)
