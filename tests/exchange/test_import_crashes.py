"""An import dies at any call, or is killed: the next one stores what is missing, and nothing twice."""

import hashlib
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from fsmedia import MediaStore, import_folder, import_promptarena
from fsmedia.exchange import importing
from tests.exchange.arena import PNG, inline, part, write
from tests.exchange.test_folder import plant
from tests.protocol.faults import CRASHES, Fault, Faults
from tests.protocol.worlds import World, each_call, fresh_world, run
from tests.storages import LOCAL, MEMORY


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A result with equal and different pictures, inline and beside."""
    folder = tmp_path / "out"
    (folder / "media").mkdir(parents=True)
    (folder / "media" / "large.png").write_bytes(PNG + bytes(3000))
    write(folder, "r", [inline(), inline(), part(storage_reference="out/media/large.png"), inline(PNG + b"2")])
    return folder


DIGESTS = Counter(hashlib.sha256(data).hexdigest() for data in (PNG, PNG, PNG + bytes(3000), PNG + b"2"))


def check(world: World) -> None:
    store = world.open()
    records = [store.info(reference) for reference in store.list(run_id="r")]
    assert Counter(each.sha256 for each in records) == DIGESTS
    assert {each.xattrs["user.source"] for each in records} == {f"promptarena:r#Messages/0/parts/{n}" for n in range(4)}


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize(("kind", "level"), [(MEMORY, "calls"), (LOCAL, "syscalls")])
def test_an_import_that_dies_anywhere_goes_on(
    kind: str, level: str, deduplicate: bool, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "SMALL", 2000)
    monkeypatch.setattr(importing, "_TOGETHER", 2)
    for fault in CRASHES:
        for faults in each_call(partial(Faults, fault=fault)):
            world = fresh_world(kind, tmp_path, first=True, deduplicate=deduplicate, durability="rename")
            run(world, faults, level, lambda store: import_promptarena(store, out))
            report = import_promptarena(world.open(), out)
            assert report.failed == ()
            assert len(report.stored) + report.unchanged == 4
            check(world)
            assert import_promptarena(world.open(), out).unchanged == 4


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST])
def test_what_a_storage_refuses_is_told_and_stored_by_the_next_import(fault: Fault, out: Path, tmp_path: Path) -> None:
    for faults in each_call(partial(Faults, fault=fault)):
        world = fresh_world(MEMORY, tmp_path, first=True)
        try:
            report = run(world, faults, "calls", lambda store: import_promptarena(store, out))
        except OSError:
            report = None
        if report is not None and faults.hit is not None and fault is Fault.FAIL:
            assert report.failed or len(report.stored) == 4
        again = import_promptarena(world.open(), out)
        assert again.failed == ()
        # An answer that got lost may leave a media that the first report calls failed: it is known again.
        check(world)


CHILD = """
import sys
from fsmedia import MediaStore, import_folder
import_folder(MediaStore(sys.argv[1]), sys.argv[2], progress=lambda count: print(count, flush=True))
"""


@pytest.mark.parametrize(
    "after", [150, pytest.param(70, marks=pytest.mark.full), pytest.param(299, marks=pytest.mark.full)]
)
def test_an_import_that_is_killed_goes_on(tmp_path: Path, after: int) -> None:
    tree = plant(tmp_path / "tree", {f"r{n % 3}/{n}.bin": str(n).encode() * 50 for n in range(300)})
    words = [sys.executable, "-c", CHILD, str(tmp_path / "store"), str(tree)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == after:
                child.send_signal(signal.SIGKILL)
                break
        child.wait()
    assert child.returncode == -signal.SIGKILL
    store = MediaStore(tmp_path / "store")
    there = len(list(store.list()))
    assert 0 < there < 300
    report = import_folder(store, tree)
    assert (len(report.stored), report.unchanged, report.failed) == (300 - there, there, ())
    sources = [store.info(reference).xattrs["user.source"] for reference in store.list()]
    assert sorted(sources) == sorted(f"folder:r{n % 3}/{n}.bin" for n in range(300))
