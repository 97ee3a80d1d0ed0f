"""Syncs in processes of their own: killed in earnest at any moment, and measured."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.format import keys
from tests.servers import RcloneServer
from tests.storages import LOCAL, LocalStorage, S3Storage, Storage
from tests.transfers import media_of, opened

ROOT = Path(__file__).parents[2]
MIB = 2**20
BUDGET = 64 * MIB
COUNT = 300


def child(source: Storage, target: Storage, **more: Any) -> subprocess.Popen[str]:
    ask = {
        "url": source.url,
        "options": source.options,
        "target": target.url,
        "to_options": target.options,
        "wishes": {},
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.protocol.syncing_child", json.dumps({**ask, **more})],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# -- killed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"deduplicate": True, "organization": "by-session"}], ids=["plain", "shared"])
@pytest.mark.parametrize("kind", [LOCAL, "s3-rclone"])
def test_a_killed_process(kind: str, settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source, count = LocalStorage(LOCAL, str(tmp_path / "source")), COUNT if kind == LOCAL else COUNT // 3
    store = opened(source, durability="rename")
    store.store_many(
        (
            MediaContent.from_bytes(b"%d" % (at // 2), "text/plain"),  # each content twice
            MediaMetadata(run_id=f"r{at % 7}", session_id="s", policy_name="retain-9days" if at % 3 == 0 else None),
        )
        for at in range(count)
    )
    server = request.getfixturevalue("rclone") if kind != LOCAL else None
    target: Storage = LocalStorage(LOCAL, str(tmp_path / "target"))
    if server is not None:
        target = S3Storage(kind, *server.new_root("lab/store"), server)
    wanted = {name.rpartition("/")[2]: value for name, value in media_of(source).items()}
    for _ in range(3):
        process = child(source, target, wishes=settings)
        assert process.stdout is not None
        for _ in range(random.randrange(1, count)):
            if not process.stdout.readline().strip():
                break
        process.kill()
        process.communicate()
        there = {name.rpartition("/")[2]: value for name, value in media_of(target).items()}
        assert there.items() <= wanted.items()
        listed = list(opened(target).list())
        assert len(listed) >= len(there)  # a server may still finish what it was sent
    process = child(source, target, wishes={**settings, "delete": True})
    out, err = process.communicate()
    assert process.returncode == 0, err[-2000:]
    assert json.loads(out.splitlines()[-1])["failed"] == []
    assert {name.rpartition("/")[2]: value for name, value in media_of(target).items()} == wanted
    assert len(list(opened(target).list())) == count


# -- measured ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(full_run: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStorage]:
    """Store a media of 300 MB, in a full run of 500 MB, on a real disk; it takes no room where it is zero."""
    folder, size = tmp_path_factory.mktemp("large"), (500 if full_run else 300) * 10**6
    path = folder / "large.mp4"
    with path.open("wb") as file:
        file.write(b"\0\0\0\x18ftypmp42" + os.urandom(MIB))
        file.truncate(size)
    store = MediaStore(folder / "source", durability="rename")
    store.store_media(MediaContent.from_path(path, "video/mp4"), MediaMetadata(run_id="large"))
    path.unlink()
    yield LocalStorage(LOCAL, str(folder / "source"))
    store.delete_many(list(store.list()))


def grown(source: Storage, target: Storage, **wishes: Any) -> int:
    process = child(source, target, warm=True, wishes=wishes)
    out, err = process.communicate()
    assert process.returncode == 0, err[-2000:]
    told = json.loads(out.splitlines()[-1])
    assert (told["copied"], told["failed"]) == (1, [])
    return int(told["after"] - told["before"])


def test_memory(large: LocalStorage, tmp_path_factory: pytest.TempPathFactory, rclone: RcloneServer) -> None:
    """In and out of S3, plain and shared: under 64 MiB more, whatever the size."""
    folder = tmp_path_factory.mktemp("targets")
    far = S3Storage("s3-rclone", *rclone.new_root(direct=True), rclone)
    found = {
        "local": grown(large, LocalStorage(LOCAL, str(folder / "plain"))),
        "to s3, shared": grown(large, far, run_id="large", deduplicate=True),
        "from s3": grown(far, LocalStorage(LOCAL, str(folder / "back")), run_id="large", deduplicate=False),
    }
    assert max(found.values()) < BUDGET, {name: f"{size / MIB:.0f} MiB" for name, size in found.items()}
    before = {each.rpartition("/")[2] for each in opened(large).list(run_id="large")}
    assert {each.rpartition("/")[2] for each in MediaStore(folder / "back").list(run_id="large")} == before
    for name in ("plain", "back"):
        there = MediaStore(folder / name)
        there.delete_many(list(there.list()))
    assert not [key for key in large.keys() if keys.is_temporary(key)]  # noqa: SIM118
