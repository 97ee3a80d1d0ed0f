"""Forked and spawned children, pickles."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys

import pytest

from tests.filesystem.children import round_trip
from tests.filesystem.conftest import made, opened


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_use_the_parents_filesystem(storage, start):
    if storage.name == "memory" and start == "spawn":
        pytest.skip("memory is one process's own")
    made(storage)
    fs = opened(storage)
    fs.pipe({"runs/r1/x.txt": b"parent"})  # sessions, threads and loops are in use when the child comes
    with multiprocessing.get_context(start).Pool(2) as pool:
        answers = pool.starmap(round_trip, [(fs, f"runs/r1/{number}.txt") for number in range(4)])
    assert answers == [(b"parent", b"child")] * 4
    if storage.name != "memory":
        assert len(fs.find("runs")) == 5
    assert fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"parent"}


def test_a_plain_fork_may_use_the_inherited_object(moto_storage):
    made(moto_storage)
    fs = opened(moto_storage)
    fs.pipe({"runs/r1/x.txt": b"parent"})
    program_pid = os.fork()
    if program_pid == 0:
        try:
            ok = fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"parent"} and fs.ls("runs/r1")
            os._exit(0 if ok else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(program_pid, 0)[1]) == 0
    assert fs.cat(["runs/r1/x.txt"]) == {"runs/r1/x.txt": b"parent"}


def test_a_pickle_needs_no_import_in_the_other_process(local_storage):
    made(local_storage)
    fs = opened(local_storage)
    fs.pipe_file("runs/r1/x.txt", b"hey")
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).cat_file('runs/r1/x.txt').decode())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=pickle.dumps(fs), capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == b"hey"
