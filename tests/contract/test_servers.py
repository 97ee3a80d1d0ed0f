"""The test infrastructure itself: servers start and stop, oracles tell the truth, counts are exact."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from tests.conftest import make_storage, on
from tests.contract.specimens import get, raised
from tests.servers import HOST, FakeGcsServer, MotoServer, RcloneServer
from tests.storages import GCS, LOCAL, OBJECT_STORAGES, S3_RCLONE, ObjectStorage

KEYS = ["plain.bin", "deep/er/x.png", "odd/a b+c&d=é~[1].png"]


def answers(url):
    """Say whether anybody listens there."""
    try:
        return get(url)[0] > 0
    except OSError:
        return False


def test_oracle_round_trip_and_fsspec_sees_the_same(storage, tmp_path, request):
    other = make_storage(storage.name, request, tmp_path / "other")
    assert other.url != storage.url
    assert storage.name != LOCAL or not (tmp_path / "media").exists(), "a local root is not there yet"
    assert storage.keys() == set()
    for number, key in enumerate(KEYS):
        storage.write(key, b"x" * number)
    assert storage.contents() == dict(zip(KEYS, (b"", b"x", b"xx"), strict=True))
    storage.remove(KEYS[1])
    assert storage.keys() == {KEYS[0], KEYS[2]}
    raised(FileNotFoundError, storage.read, KEYS[1])
    assert other.keys() == set()
    fs = storage.filesystem()
    fs.pipe_file(storage.path(KEYS[2]), b"by fsspec")
    assert storage.read(KEYS[2]) == b"by fsspec"
    for data in (b"by the oracle", *([os.urandom(3_000_000)] if isinstance(storage, ObjectStorage) else [])):
        storage.write(KEYS[0], data)
        assert storage.filesystem().cat_file(storage.path(KEYS[0])) == data


def test_clearing_memory(memory_storage):
    fs = memory_storage.filesystem()
    fs.makedirs(memory_storage.path("empty/folder"))
    memory_storage.write("a/b", b"1")
    memory_storage.clear()
    assert not fs.exists(memory_storage.path())


def test_oracle_lists_beyond_one_page(gcs_storage):
    """One answer holds at most 1,000 keys."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: gcs_storage.write(f"{number}", b"1"), range(1005)))
    assert len(gcs_storage.keys()) == 1005


def test_a_big_bucket_is_seeded_as_files(rclone, rclone_storage):
    """What lies in the folder before the first listing is there; later files show only after minutes."""
    folder = rclone.data_folder / rclone_storage.bucket / "runs"
    folder.mkdir()
    for number in range(1005):
        (folder / f"{number}").write_bytes(b"1")
    with rclone_storage.counted() as n:
        assert len(rclone_storage.filesystem().find(rclone_storage.path())) == 1005
    assert n == {"list": 2}
    assert len(rclone_storage.keys()) == 1005
    assert rclone_storage.read("runs/7") == b"1"


def test_content_types(moto_storage, gcs_storage, local_storage, memory_storage):
    moto_storage.filesystem().pipe_file(moto_storage.path("x"), b"1", ContentType="image/png")
    gcs_storage.filesystem().pipe_file(gcs_storage.path("x"), b"1", content_type="image/png")
    assert moto_storage.content_type("x") == gcs_storage.content_type("x") == "image/png"
    assert local_storage.content_type("x") is memory_storage.content_type("x") is None


@pytest.mark.parametrize("name", ["moto_storage", "rclone_storage"])
def test_counts_on_s3(name, request):
    storage = request.getfixturevalue(name)
    fs, path = storage.filesystem(), storage.path
    with storage.counted() as n:
        fs.pipe_file(path("a"), b"123")
        fs.pipe_file(path("d/b"), b"123")
        fs.cat_file(path("a"), start=0)
        fs.info(path("a"))
        fs.find(path())
        fs.cp_file(path("a"), path("c"))  # looks at the size first
        fs.rm_file(path("c"))
        fs.rm([path("a"), path("d/b")])
        storage.keys()  # the oracle does not count
    assert n == {"put": 2, "get": 1, "head": 2, "list": 1, "copy": 1, "delete": 1, "bulk_delete": 1}
    first = [(call.kind, call.key.removeprefix(storage.prefix)) for call in n.calls][:3]
    assert first == [("put", "a"), ("put", "d/b"), ("get", "a")]
    assert {call.bucket for call in n.calls} == {storage.bucket}
    data = os.urandom(6 << 20)
    with storage.counted() as n, fs.open(path("big"), "wb", block_size=5 << 20) as file:
        file.write(data[:-1])
        file.write(data[-1:])
    assert n == {"start_upload": 1, "put_part": 2, "finish_upload": 1}
    assert storage.read("big") == data


def test_counts_on_gcs(gcs_storage):
    fs, path = gcs_storage.filesystem(), gcs_storage.path
    with gcs_storage.counted() as n:
        fs.pipe_file(path("a"), b"123")
        fs.pipe_file(path("d/b é"), b"123")
        fs.cat_file(path("a"))
        fs.cat_file(path("a"), start=0, end=2)
        # Not fs.info(): it sends two requests at once, drops the slower one, and makes one to three in all.
        get(f"{gcs_storage.server.url}/storage/v1/b/{gcs_storage.bucket}/o/a")
        fs.find(path())
        fs.cp_file(path("a"), path("c"))
        fs.rm([path("a"), path("d/b é")])
        with fs.open(path("slow"), "wb") as file:
            file.write(b"1")
        gcs_storage.keys()
    assert {call.key for call in n.calls if call.kind == "delete"} == {"a", "d/b é"}
    assert n == {"put": 2, "get": 2, "head": 1, "list": 1, "copy": 1, "delete": 2, "start_upload": 1, "put_part": 1}


@on(S3_RCLONE, GCS, of=OBJECT_STORAGES)
def test_counts_are_complete_when_threads_have_their_answers(storage):
    fs = storage.filesystem()
    with storage.counted() as n, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: fs.pipe_file(storage.path(f"{number}"), b"1"), range(50)))
    assert n == {"put": 50}


def test_counting_stops_with_the_block_and_survives_an_error(rclone_storage):
    fs, path = rclone_storage.filesystem(), rclone_storage.path
    fs.pipe_file(path("before"), b"1")
    with rclone_storage.counted() as n:
        pass
    fs.pipe_file(path("after"), b"1")
    assert n == {}
    with suppress(FileNotFoundError), rclone_storage.counted() as n:
        fs.cat_file(path("none"), start=0)
    assert n["get"] == 1


def test_rclone_refuses_a_tampered_url_and_a_wrong_secret(rclone, rclone_storage):
    fs = rclone_storage.filesystem()
    fs.pipe_file(rclone_storage.path("a"), b"1")
    fs.pipe_file(rclone_storage.path("b"), b"1")
    signed = fs.sign(rclone_storage.path("a"), expiration=100)
    assert get(signed)[0] == 200
    assert get(signed.replace("/a?", "/b?"))[0] == 403
    rclone_storage.options["secret"] = rclone.secret[::-1]
    raised(PermissionError, rclone_storage.filesystem().cat_file, rclone_storage.path("a"), start=0)


def test_a_server_that_does_not_start_is_an_error_with_its_log():
    class Broken(MotoServer):
        def command(self, port):
            return [sys.executable, "-c", f"raise SystemExit('no luck on {HOST}:{port}')"]

    raised(RuntimeError, Broken().start, match=r"s3-moto did not start.*\n.*no luck on 127")


@pytest.mark.parametrize("server", [RcloneServer, FakeGcsServer, MotoServer])
def test_a_server_stops_and_leaves_nothing(server):
    running = server().start()
    assert running.start_seconds > 0
    folder, url = running.data_folder.parent, running.direct_url
    assert folder.exists()
    running.stop()
    running.stop()
    assert not folder.exists()
    assert not answers(url)


def test_a_server_dies_with_pytest(tmp_path):
    """The child starts a server and kills itself, as hard as can be."""
    script = (
        "import os, signal\nfrom tests.servers import FakeGcsServer\nserver = FakeGcsServer().start()\n"
        "print(server.direct_url, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    child = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, check=False)
    assert child.returncode == -signal.SIGKILL
    url, waiting = child.stdout.decode().strip(), threading.Event()
    for _ in range(400):
        if answers(url):
            waiting.wait(0.05)
    assert url
    assert not answers(url)


def test_clock(clock):
    assert clock().isoformat() == "2026-03-04T05:06:07.890123+00:00"
    clock.advance(timedelta(days=1, microseconds=1))
    assert clock().isoformat() == "2026-03-05T05:06:07.890124+00:00"
