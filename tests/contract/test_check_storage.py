"""What a storage is found to do, by `check_storage`: honest servers, and a relay that makes one lie in each way.

moto is asked through the relay; it looks at no signature, so what the relay leaves out of a request shows nowhere.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from datetime import timedelta

import pytest

from fsmedia import AsyncMediaStore, MediaStore, ReadOnlyStoreError, StorageError
from fsmedia.cli.cmd_check_storage import HELP
from fsmedia.maintenance import check_storage
from fsmedia.maintenance.check_storage import Trial
from fsmedia.models import StorageReport
from fsmedia.storage import Exclusion, fsspec_backend
from fsmedia.storage.local import LocalBackend
from fsmedia.store import utc_now
from tests.conftest import on, storages
from tests.contract.specimens import AT_ONCE, STORE_JSON, put, raised, traces
from tests.servers import WrongAnswer
from tests.storages import (
    ALL_STORAGES,
    AZURE,
    FILE_SERVERS,
    GCS,
    LOCAL,
    MEMORY,
    S3_MOTO,
    S3_RCLONE,
    S3_SEAWEED,
    ObjectStorage,
)
from tests.style.project import PACKAGE
from tests.surfaces.commands import answers, exits, places, tells

CHECKS = dict(check_storage.CHECKS)
storage = storages(*ALL_STORAGES)
PAGE = (PACKAGE / "docs" / "operating.md").read_text()
HANDLED = {
    LOCAL: {"content types"},
    MEMORY: {"content types", "signing"},
    S3_MOTO: {"signing"},  # it lets everybody in
    S3_RCLONE: {"conditional put", "many at once"},
    S3_SEAWEED: {"order of listings"},  # a folder stands where its name would, not where its keys do
    GCS: {"conditional delete", "content types", "signing"},
    AZURE: set(),
    **{name: {"conditional put", "content types", "signing", "many at once"} for name in FILE_SERVERS},
}
"""What each storage does not do, and fsmedia makes up for or does without; all else holds, on all of them."""


def states(report: StorageReport, state: str) -> set[str]:
    return {each.name for each in report.checks if each.state == state}


def checked(storage, **settings) -> StorageReport:
    return MediaStore(storage.url, storage_options=storage.options, **settings).check_storage()


def test_each_storage_is_what_it_is_and_nothing_stays(storage, monkeypatch):
    store = MediaStore(storage.url, storage_options=storage.options)
    put(store)
    before, trials = traces(storage), []
    monkeypatch.setattr(check_storage, "Trial", lambda *words: trials.append(Trial(*words)) or trials[-1])
    with storage.counted() if isinstance(storage, ObjectStorage) else nullcontext() as requests:
        report = store.check_storage()
    # Where a replaced file is not there for a moment, that is not seen each time. rclone looks at a file and opens it
    # then: of one that is replaced in between it may send the new bytes at the length of the old.
    broken, seldom = states(report, "broken"), {"replace"} if storage.name == S3_RCLONE else set()
    assert broken <= seldom, report.checks
    handled = states(report, "handled") - {"replace"}
    assert (handled, report.stands) == (HANDLED[storage.name], not broken), report.checks
    assert [each.name for each in report.checks] == list(CHECKS)
    assert (report.remains, traces(storage)) == ((), before)
    for text in (PAGE, HELP, store.check_storage.__doc__):
        objects, fewest, most = re.search(r"some (\d+) small objects(?s:.*?(\d+) to (\d+) requests)?", text).groups()
        assert len(trials[0].written) == pytest.approx(int(objects), rel=0.1)
        assert requests is None or fewest is None or int(fewest) <= requests.total() <= int(most), requests


NOWHERE = {"etag": '"0123456789abcdef0123456789abcdef"', "last-modified": "Fri, 01 Jan 1999 00:00:00 GMT"}
SIGNED = r"\?.*X-Amz-Signature"
LIES = {
    # name -> what the relay answers, the check that notices, what it comes to, and a word of what it says
    "a stale listing": ([WrongAnswer("LIST", change="first")], "list-after-write", "broken", "a listing"),
    "absence that is remembered": (
        [WrongAnswer("GET", r"/list/0\.bin", change="first")], "list-after-write", "broken", "a read",
    ),
    "a stale look": ([WrongAnswer("HEAD", r"/list/0\.bin", change="first")], "list-after-write", "broken", "a look"),
    "no order": ([WrongAnswer("LIST", change="hashed", page=10)], "order of listings", "handled", "in another order"),
    "pages in no order": (
        [WrongAnswer("LIST", change="turned", page=10)], "order of listings", "handled", "in another order",
    ),
    "one page for ever": ([WrongAnswer("LIST", change="repeated", page=10)], "order of listings", "broken", "round"),
    "If-None-Match is ignored": (
        [WrongAnswer("PUT", r"/put\.bin", without=("if-none-match",))], "conditional put", "broken", "nothing must be",
    ),
    "If-Match is ignored where something is": (
        [WrongAnswer("PUT", r"/put\.bin", without=("if-match",))], "conditional put", "broken", "it was changed",
    ),
    "If-Match is ignored where nothing is": (
        [WrongAnswer("PUT", r"/put-none\.bin", without=("if-match",))], "conditional put", "broken", "is gone",
    ),
    "what is refused is written": (
        [WrongAnswer("PUT", r"/put\.bin", "if-match", without=("if-match",), status=412, body=b"", after=True)],
        "conditional put", "broken", "was written all the same",
    ),
    "every condition is refused": (
        [WrongAnswer("PUT", r"/put\.bin", "if-", status=412, body=b"")], "conditional put", "broken", "is refused",
    ),
    "no condition is kept anywhere": (
        [WrongAnswer("PUT", without=("if-match", "if-none-match"))], "conditional put", "handled", "not kept",
    ),
    "a conditional delete is a delete": (
        [WrongAnswer("DELETE", without=("if-match",))], "conditional delete", "handled", "not kept",
    ),
    "a conditional delete removes and says no": (
        [WrongAnswer("DELETE", field="if-match", times=1, without=("if-match",), status=412, body=b"", after=True)],
        "conditional delete", "broken", "was removed all the same",
    ),
    "a delete that was not done": (
        [WrongAnswer("DELETE", status=204, body=b"")], "delete status", "broken", "are there",
    ),
    "a bulk delete that tells nothing": (
        [WrongAnswer("POST", r"\?delete", body=b"<DeleteResult/>")], "delete status", "broken", "not confirm",
    ),
    "a write that was not done": (
        [WrongAnswer("PUT", r"/replaced\.bin", nth=13, body=b"", headers=NOWHERE)],
        "replace", "broken", "is not what is read",
    ),
    "half of what is replaced": (
        [WrongAnswer("GET", r"/replaced\.bin", change="short")], "replace", "broken", "",
    ),
    "no ranges": ([WrongAnswer("GET", r"/range\.bin", without=("range",))], "ranges", "broken", "those asked for"),
    "another time": (
        [WrongAnswer("HEAD", r"/clock\.bin", body=b"", headers={**NOWHERE, "content-length": "1"})],
        "clock", "broken", "different times",
    ),
    "bytes that rot": ([WrongAnswer("GET", r"/bytes-70000\.bin", change="flipped")], "checksums", "broken", ""),
    "an ETag that is no MD5": (
        [WrongAnswer("HEAD", r"/bytes-1\.bin", body=b"", headers={**NOWHERE, "content-length": "1"})],
        "checksums", "handled", "that are none",
    ),
    "a type of its own": (
        [WrongAnswer("GET", r"/type\.bin" + SIGNED, body=b"picture", headers={"Content-Type": "text/plain"})],
        "content types", "handled", "served as text/plain",
    ),
    "a signed URL that nobody can open": (
        [WrongAnswer("GET", r"/signed\.bin" + SIGNED, status=403, body=b"")], "signing", "broken", "403",
    ),
    "a signed URL of something else": (
        [WrongAnswer("GET", r"/signed\.bin" + SIGNED, body=b"else")], "signing", "broken", "other bytes",
    ),
    "an answer to somebody else": (
        [WrongAnswer("GET", r"/many/07\.bin", nth=2, body=b"many/08.bin", headers=NOWHERE)],
        "many at once", "broken", "others",
    ),
    "a race that all win": (
        [WrongAnswer("HEAD", r"/many/one\.bin", status=404, body=b""),
         WrongAnswer("PUT", r"/many/one\.bin", without=("if-none-match",))],
        "many at once", "broken", "8 of 8 creators",
    ),
}  # fmt: skip


def test_an_md5_of_other_bytes_is_noticed_where_it_is_told_in_base64(gcs_storage, monkeypatch):
    monkeypatch.setattr(check_storage, "CHECKS", {"checksums": CHECKS["checksums"]})
    for rules, state, seen in (
        ((), "holds", "right MD5s are told"),
        ([WrongAnswer("GET", r"/bytes-1\.bin", change="another MD5")], "handled", "MD5s are told that are none"),
    ):
        with gcs_storage.server.answering(*rules):
            (found,) = checked(gcs_storage).checks
        assert (found.state, seen in found.seen) == (state, True), found


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_noticed(moto_storage, monkeypatch, lie):
    rules, name, state, seen = LIES[lie]
    monkeypatch.setattr(check_storage, "CHECKS", {name: CHECKS[name]})
    monkeypatch.setattr(fsspec_backend, "_EXCLUSIONS", {})
    moto_storage.options |= {"config_kwargs": {"retries": {"max_attempts": 1}}}
    with moto_storage.server.answering(*rules):
        (found,) = checked(moto_storage).checks
    assert (found.name, found.state) == (name, state), found
    assert seen in found.seen
    assert found.effect
    assert found.effect == CHECKS[name][1] or state == "handled"


def test_older_versions_are_told_whatever_the_bucket_says_and_go_with_the_folder(moto_storage, monkeypatch):
    monkeypatch.setattr(check_storage, "CHECKS", {"versioning": CHECKS["versioning"]})
    client = moto_storage.server.client
    client.put_bucket_versioning(Bucket=moto_storage.bucket, VersioningConfiguration={"Status": "Enabled"})
    silent = WrongAnswer("GET", r"\?versioning", body=b"<VersioningConfiguration/>")
    no_marks = WrongAnswer("DELETE", status=204, body=b"", after=True)
    for rules, state in (((), "handled"), ((silent,), "handled"), ((silent, no_marks), "broken")):
        with moto_storage.server.answering(*rules):
            report = checked(moto_storage)
        assert [each.state for each in report.checks] == [state], report.checks
        left = client.list_object_versions(Bucket=moto_storage.bucket)
        assert (left.get("Versions"), left.get("DeleteMarkers"), report.remains) == (None, None, ())


def test_what_a_bucket_says_of_versions_and_soft_delete_counts(gcs_storage, monkeypatch):
    monkeypatch.setattr(check_storage, "CHECKS", {"versioning": CHECKS["versioning"]})
    soft = {"softDeletePolicy": {"retentionDurationSeconds": "604800"}}
    for said, seen in (
        ({"versioning": {"enabled": True}}, "none was seen"),
        (soft, "7 days"),
        (None, "nobody can tell"),
    ):
        body = json.dumps({"kind": "storage#bucket", **said} if said else {}).encode()
        with gcs_storage.server.answering(WrongAnswer("GET", r"/b/[^/]+\?fields", body=body)):
            (found,) = checked(gcs_storage).checks
        assert (found.state, seen in found.seen) == ("handled", True), found


def test_a_clock_that_differs_is_told_by_how_much(local_storage, monkeypatch):
    monkeypatch.setattr(check_storage, "CHECKS", {"clock": CHECKS["clock"]})
    for minutes, state in ((0, "holds"), (3, "handled"), (-3, "handled"), (7, "broken"), (-7, "broken")):
        by = timedelta(minutes=minutes)
        (found,) = checked(local_storage, now=lambda by=by: utc_now() + by).checks
        assert found.state == state, found
        tells(found.seen, "this machine's", *(["behind"] if minutes > 0 else ["ahead"] if minutes else []))


@on(LOCAL, MEMORY, S3_MOTO)
def test_nothing_stays_where_it_is_interrupted_or_a_check_fails(storage, monkeypatch):
    def interrupted(trial):
        for key in ("a.bin", "deep/er/b.bin"):
            trial.write(key, b"x")
        raise KeyboardInterrupt

    def foreign(trial):
        trial.write("deep/er/c.bin", b"x")
        raise TypeError("secret")

    monkeypatch.setattr(check_storage, "CHECKS", {"first": (foreign, "then"), "second": (interrupted, "then")})
    raised(KeyboardInterrupt, checked, storage)
    assert traces(storage) == {}
    monkeypatch.setattr(check_storage, "CHECKS", {"first": (foreign, "then")})
    report = checked(storage)
    assert (*report.checks[0],) == ("first", "broken", "raises TypeError, which is no MediaError", "then")
    assert (report.stands, report.remains, traces(storage)) == (False, (), {})


@pytest.mark.parametrize("repair", [True, "leftovers"])
def test_what_a_killed_check_left_is_a_leftover(local_storage, repair):
    store = MediaStore(local_storage.url).create()
    check_storage.Trial(store._backend, utc_now).write("deep/er/a.bin", b"x")
    assert store.verify(repair=repair).mended == 0, "it may be under way"
    report = store.verify(repair=repair, **AT_ONCE)
    assert (report.counts, report.mended) == ({"temporary": 1}, 1)
    assert local_storage.keys() == {STORE_JSON}


def test_what_can_not_be_removed_is_named(moto_storage, monkeypatch):
    monkeypatch.setattr(check_storage, "CHECKS", {"ranges": CHECKS["ranges"]})
    with moto_storage.server.answering(WrongAnswer("POST", r"\?delete", status=403, body=b"")):
        report = checked(moto_storage)
    assert {*report.remains} == moto_storage.keys()
    tells("".join(report._view().warnings), "could not be removed: .fsmedia/check-")


def test_what_a_listing_shows_that_is_gone_did_not_stay(moto_storage, monkeypatch):
    """rclone lists for minutes, now and then, what many have written at once, after it is removed."""
    monkeypatch.setattr(check_storage, "CHECKS", {"ranges": CHECKS["ranges"]})
    with moto_storage.server.answering(WrongAnswer("LIST", change="first")):
        report = checked(moto_storage)
    assert (report.remains, moto_storage.keys()) == ((), set())


def test_calls_that_never_end_are_told(memory_storage):
    """A client that threads can't share hangs; the check goes on, and so does the process."""
    trial, ended = check_storage.Trial(MediaStore(memory_storage.url)._backend, utc_now), threading.Event()
    trial.patience = 0.01
    raised(check_storage._BrokenError, trial.at_once, [ended.wait, bool], match="1 of 2 calls at once gave no answer")
    ended.set()


def test_a_disk_whose_locks_or_renames_do_nothing(local_storage, monkeypatch):
    monkeypatch.setattr(check_storage, "CHECKS", {"conditional put": CHECKS["conditional put"]})
    with monkeypatch.context() as without:
        without.setattr("fcntl.lockf", lambda *_: None)
        (found,) = checked(local_storage).checks
        assert (found.state, found.seen) == ("broken", "two have the same lock at once")
    monkeypatch.setattr(LocalBackend, "exclusion", Exclusion.RENAME)
    monkeypatch.setattr(LocalBackend, "rename", lambda *_: True)
    assert checked(local_storage).checks[0].seen == "a rename does not take what is there to its new name"


def test_the_other_process_gets_its_client_where_nobody_else_sees_it(local_storage, monkeypatch):
    """Its arguments, with the root and the options in them, were there for everybody on the machine."""
    monkeypatch.setattr(check_storage, "CHECKS", {"conditional put": CHECKS["conditional put"]})
    started, begin = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: started.append(command) or begin(command, **how))
    assert [each.state for each in checked(local_storage).checks] == ["holds"]
    assert started == [[sys.executable, "-c", check_storage._OTHER_PROCESS]]


def test_nothing_is_written_where_nothing_may_be(moto_storage, local_storage):
    store = MediaStore(local_storage.url).create()
    raised(ReadOnlyStoreError, MediaStore(local_storage.url, read_only=True).check_storage)
    store.close()
    moto_storage.url = "s3://no-such-bucket/store"
    raised(StorageError, checked, moto_storage, match="no bucket")


@pytest.mark.parametrize("storage", [LOCAL, S3_MOTO], indirect=True)
def test_the_command_prints_a_table_and_its_exit_code_is_the_answer(storage, monkeypatch):
    names = ("ranges", "conditional put")
    monkeypatch.setattr(check_storage, "CHECKS", {name: CHECKS[name] for name in names})
    where = [storage.url, *places(storage)[2:]]
    result = exits(0, "check-storage", *where)
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["holds", "holds", "the"]
    tells(
        result.stdout, "a seek fetches 256 KiB", f"the guarantees stand on {storage.url} (", "2 hold, 0 handled, 0 br"
    )
    (told,) = answers("check-storage", *places(storage))
    assert [each["name"] for each in told["checks"]] == list(names)
    assert (told["stands"], told["url"], told["remains"]) == (True, storage.url, [])
    if storage.name == S3_MOTO:
        with storage.server.answering(WrongAnswer("GET", r"/range\.bin", without=("range",))):
            tells(exits(4, "check-storage", *where).stdout, "broken", "do not stand", "players and archives")
            assert answers("check-storage", *where, code=4)[0]["stands"] is False
        exits(1, "check-storage", "s3://no-such-bucket/x", *where[1:])

    tells(
        exits(2, "check-storage", "elsewhere", "--store", storage.url).stderr, "two storages are named: elsewhere and"
    )

    def told_to_stop(trial):
        trial.write("some.bin", b"x")
        os.kill(os.getpid(), signal.SIGINT)
        return check_storage.Verdict("holds", "", "")

    monkeypatch.setitem(check_storage.CHECKS, names[0], (told_to_stop, ""))
    tells(exits(130, "check-storage", *where).stdout, "were not all tried", "stopped early")
    assert traces(storage) == {}


@pytest.mark.anyio
async def test_it_is_awaited_too(memory_storage, monkeypatch):
    monkeypatch.setattr(check_storage, "CHECKS", {"ranges": CHECKS["ranges"]})
    async with AsyncMediaStore(memory_storage.url) as store:
        assert (await store.check_storage()).stands
    tells((await store.check_storage())._repr_html_() or "", "The guarantees stand on memory://")
