"""Large media and syncs in processes of their own: under 64 MiB more in memory, and killed in earnest at any moment."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fsmedia import MediaContent, MediaMetadata
from fsmedia.format import keys
from fsmedia.maintenance import leftovers
from tests.conftest import make_storage
from tests.servers import RcloneServer
from tests.storages import AZURE, GCS, LOCAL, S3_RCLONE, LocalStorage, S3Storage, Storage
from tests.transfers import media_of, opened

MIB = 2**20
BUDGET = 64 * MIB
COUNT = 300
ROOT = Path(__file__).parents[2]
INS = ("in-path", "in-stream", "in-writer")
OUTS = ("out-open", "out-file", "out-chunks", "out-path")


class Large(NamedTuple):
    path: Path
    size: int
    digest: str


@pytest.fixture(scope="module")
def large(full_run: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Large]:
    """Write a file of 120 MB, in a full run of 500 MB; it takes no room of its own where it is zero."""
    path, size = tmp_path_factory.mktemp("large") / "large.mp4", (500 if full_run else 120) * 10**6
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42" + os.urandom(MIB))
        file.truncate(size)
    with path.open("rb") as file:
        yield Large(path, size, hashlib.file_digest(file, "sha256").hexdigest())
    path.unlink()


def child(ask: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.protocol.streaming_child", json.dumps(ask)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    assert process.returncode == 0, err[-2000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder on a real disk."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def far(rclone: RcloneServer) -> S3Storage:
    return S3Storage(S3_RCLONE, *rclone.new_root(direct=True), rclone)


def added(place: Storage, how: str, large: Large, reference: str = "") -> tuple[int, str]:
    """Stream in a child; return the bytes its peak grew by, and its answer."""
    ask = {"url": place.url, "options": place.options, "source": str(large.path), "how": how, "reference": reference}
    told = answer_of(child(ask))
    return told["after"] - told["before"], told["answer"]


@pytest.mark.parametrize("kind", [LOCAL, S3_RCLONE])
def test_streaming_in_and_out(
    kind: str, large: Large, full_run: bool, disk: Path, request: pytest.FixtureRequest
) -> None:
    place = LocalStorage(LOCAL, str(disk / "media")) if kind == LOCAL else request.getfixturevalue("far")
    grown, reference = {}, ""
    brief = kind != LOCAL and not full_run  # S3 takes its time, and all sources go the same way there
    for how in INS[-1:] if brief else INS:
        if reference:
            opened(place).delete_media(reference)
        grown[how], reference = added(place, how, large)
        record = opened(place).info(reference)
        assert (record.size_bytes, record.sha256) == (large.size, large.digest)
    for how in OUTS[:3] if brief else OUTS:
        grown[how], digest = added(place, how, large, reference)
        assert digest == large.digest
    opened(place).delete_media(reference)
    assert max(grown.values()) < BUDGET, {how: f"{size / MIB:.0f} MiB" for how, size in grown.items()}


def test_the_measure_sees_a_media_in_memory(large: Large, disk: Path) -> None:
    """The test above can fail."""
    place = LocalStorage(LOCAL, str(disk / "media"))
    _, reference = added(place, "in-path", large)
    size, digest = added(place, "out-whole", large, reference)
    assert digest == large.digest
    assert size > large.size * 0.9
    opened(place).delete_media(reference)


@pytest.mark.parametrize("kind", [LOCAL, S3_RCLONE, GCS, pytest.param(AZURE, marks=pytest.mark.full)])
def test_a_sidecar_of_400_mb_is_not_read_into_memory(
    kind: str, large: Large, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It was, on object stores: the limit was looked at when all of it was there."""
    place = make_storage(kind, request, tmp_path / "media")
    reference = opened(place).store_media(MediaContent.from_bytes(b"x", "text/plain"), MediaMetadata(run_id="r"))
    if kind in (GCS, AZURE):
        place.write(f"{reference}.meta", b" " * 100 * MIB)  # their servers keep all in memory
    else:
        folder = Path(place.url) if kind == LOCAL else place.server.data_folder / place.url.removeprefix("s3://")
        os.truncate(folder / f"{reference}.meta", 400 * MIB)
    size, answer = added(place, "info", large, reference)
    assert answer.startswith(f"CorruptSidecarError: {reference}: its sidecar is no JSON (larger than"), answer
    assert size < BUDGET / 2, f"{size / MIB:.0f} MiB"


SPOOLING = """
import sys
from fsmedia import MediaContent, MediaMetadata, MediaStore
store = MediaStore(sys.argv[1])
writer = store.create_media(MediaMetadata(run_id="r"), "video/mp4").__enter__()
writer.write(b"secret" * 2**21)
reference = store.store_media(MediaContent.from_bytes(b"text", "text/plain"), MediaMetadata(run_id="r"))
path = store.retrieve_media(reference).local_path()
print(path, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_no_bytes_in_the_temporary_folder_but_copies_that_verify_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed upload left 200 MB there, for good. A copy has a path that was handed out, so it has to stay."""
    spool, store = tmp_path / "spool", opened(LocalStorage(LOCAL, str(tmp_path / "media")))
    spool.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spool))
    command, pipes = [sys.executable, "-c", SPOOLING, "memory://spooling"], {"stdin": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(spool)}, **pipes
    ) as child:
        copy = Path(child.stdout.readline().strip())
        assert list(spool.iterdir()) == [copy]

        def told(**wishes: Any) -> list[str]:
            report = store.verify(**wishes)
            assert report.whole
            return [each.key for each in report.findings]

        def made(name: str, days: float, mode: int = 0o600) -> Path:
            path = copy if name == copy.name else spool / name
            path.touch()
            path.chmod(mode)
            os.utime(path, (time.time() - days * 86400,) * 2)
            return path

        made(copy.name, 2)
        assert told(repair=True) == [], "its process lives"
        child.kill()
    dead = child.pid
    old = made("fsmedia-abcd_fgh", 8)  # of an older version
    kept = [made("fsmedia-abcd_fg1", 2), made(f"fsmedia-{dead}-abcdefg1", 0.5), made("fsmedia-abcd_fg2", 9, 0o644)]
    kept += [made("fsmedia-bench.txt", 9), made(f"fsmedia-{os.getpid()}-abcdefg3", 9), made("other-abcdefgh", 9)]
    (spool / "fsmedia-abcd_fg4").symlink_to(kept[0])
    assert sorted(told()) == sorted(told(repair=True, dry_run=True)) == sorted(map(str, (copy, old)))
    assert old.exists()
    told(repair=True)
    assert {path.name for path in spool.iterdir()} == {*(path.name for path in kept), "fsmedia-abcd_fg4"}


def test_a_copy_that_goes_while_the_temporary_folder_is_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process of the machine puts files there and takes them away; one that went was told as a broken folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths = {str(tmp_path / f"fsmedia-abcd_f{number:02}") for number in range(9)}
    for path in map(Path, paths):
        path.touch(0o600)
        os.utime(path, (1, 1))  # 1970
    found = leftovers.spooled(timedelta(0))
    first, _ = next(found)
    left = {first, *sorted(paths - {first})[::2]}
    for path in paths - left:
        Path(path).unlink()
    assert {first, *(path for path, _ in found)} == left


# -- a sync, killed ----------------------------------------------------------------------------------------
def syncing(source: Storage, target: Storage, **more: Any) -> subprocess.Popen[str]:
    ask = {"url": source.url, "options": source.options, "target": target.url, "to_options": target.options}
    return child({**ask, "how": "sync", "wishes": {}, **more})


def by_name(storage: Storage) -> dict[str, Any]:
    return {name.rpartition("/")[2]: value for name, value in media_of(storage).items()}


@pytest.mark.parametrize("settings", [{}, {"deduplicate": True, "organization": "by-session"}], ids=["plain", "shared"])
@pytest.mark.parametrize("kind", [LOCAL, S3_RCLONE])
def test_a_killed_process(kind: str, settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source, count = LocalStorage(LOCAL, str(tmp_path / "source")), COUNT if kind == LOCAL else COUNT // 6
    store = opened(source, durability="rename")
    for at in range(count):
        policy = "retain-9days" if at % 3 == 0 else None
        metadata = MediaMetadata(run_id=f"r{at % 7}", session_id="s", policy_name=policy)
        store.store_media(MediaContent.from_bytes(b"%d" % (at // 2), "text/plain"), metadata)  # each content twice
    target = make_storage(kind, request, tmp_path / "target")
    wanted = by_name(source)
    for _ in range(3):
        process = syncing(source, target, wishes=settings)
        assert process.stdout is not None
        for _ in range(random.randrange(1, count)):
            if not process.stdout.readline().strip():
                break
        process.kill()
        process.communicate()
        there = by_name(target)
        assert there.items() <= wanted.items()
        listed = list(opened(target).list())
        assert len(listed) >= len(there)  # a server may still finish what it was sent
    process = syncing(source, target, wishes={**settings, "delete": True})
    assert answer_of(process)["answer"][1] == []
    assert by_name(target) == wanted
    assert len(list(opened(target).list())) == count


# -- a sync, measured --------------------------------------------------------------------------------------
def grown(source: Storage, target: Storage, **wishes: Any) -> int:
    told = answer_of(syncing(source, target, warm=True, wishes=wishes))
    assert told["answer"] == [1, []]
    return int(told["after"] - told["before"])


def test_memory(large: Large, disk: Path, far: S3Storage) -> None:
    """In and out of S3, plain and shared: under 64 MiB more, whatever the size."""
    source, plain, back = (LocalStorage(LOCAL, str(disk / name)) for name in ("source", "plain", "back"))
    store = opened(source, durability="rename")
    store.store_media(MediaContent.from_path(large.path, "video/mp4"), MediaMetadata(run_id="large"))
    found = {
        "local": grown(source, plain),
        "to s3, shared": grown(source, far, run_id="large", deduplicate=True),
        "from s3": grown(far, back, run_id="large", deduplicate=False),
    }
    assert max(found.values()) < BUDGET, {name: f"{size / MIB:.0f} MiB" for name, size in found.items()}
    before = {each.rpartition("/")[2] for each in store.list(run_id="large")}
    assert {each.rpartition("/")[2] for each in opened(back).list(run_id="large")} == before
    assert not [key for key in source.keys() if keys.is_temporary(key)]  # noqa: SIM118
    for there in map(opened, (plain, back, source)):
        there.delete_many(list(there.list()))
