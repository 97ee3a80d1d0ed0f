"""Servers that answer something else than asked: nothing is lost by it, and nothing is called whole or complete.

The relay in front of the servers answers wrongly (`tests/relay.py`). What a test does with a wrong answer, it does a
second time with the check taken out that should notice it: then something must be lost or claimed, or the test would
see nothing.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from fsmedia import BulkError, MediaContent, MediaError, MediaMetadata, MediaStore, StorageError
from fsmedia.core import records
from fsmedia.format import keys
from fsmedia.maintenance import erase, sync
from fsmedia.maintenance.verify import Verification
from fsmedia.storage import gcs, s3
from fsmedia.storage.fsspec_backend import FsspecBackend
from fsmedia.storage.listing import KeyOrder
from tests.conftest import Clock
from tests.servers import WrongAnswer
from tests.storages import GCS, S3_MOTO, ObjectStorage

PORTAL = b'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Sign in</title></head><body/></html>'
NO_LISTINGS = {
    S3_MOTO: {
        "nothing": b"",
        "a login page": PORTAL,
        "another document": b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>",
        "a bare listing": b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>',
        "a listing without an end": b"<ListBucketResult><Name>media</Name><MaxKeys>1000</MaxKeys><KeyCount>0</KeyCount>"
        b"</ListBucketResult>",
    },
    GCS: {
        "nothing": b"",
        "a login page": PORTAL,
        "an empty object": b"{}",
        "an error": b'{"error": {"code": 503, "message": "backend error"}}',
        "null": b"null",
        "a list": b"[]",
        "another kind": b'{"kind": "storage#buckets"}',
    },
}
CASES = [(storage, name) for storage, bodies in NO_LISTINGS.items() for name in bodies]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> ObjectStorage:
    """Give a fresh bucket of the storage that the test is for."""
    return request.getfixturevalue({S3_MOTO: "moto_storage", GCS: "gcs_storage"}[request.param])


def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe every answer, as botocore, s3fs and gcsfs do."""
    monkeypatch.setattr(s3, "PROOFS", {})
    monkeypatch.setattr(gcs, "_proof", lambda *_: None)
    monkeypatch.setattr(gcs.CheckedGCSFileSystem, "_request", gcs.GCSFileSystem._request)
    no_brakes(monkeypatch)


def no_brakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the brakes out too, which stand behind the checks and would stop what a wrong listing begins."""
    for room in (erase, sync):
        monkeypatch.setattr(room, "check_listing", lambda *_, **__: None)
    monkeypatch.setattr(Verification, "_check_listing", lambda _: None)


@dataclass
class World:
    """A store on one storage, its mirror on this machine, and what must be true of them whatever happens."""

    place: ObjectStorage
    mirror: Path
    clock: Clock
    store: MediaStore = field(init=False)
    kept: dict[str, bytes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def open(self, **options: Any) -> MediaStore:
        # What is no XML at all botocore takes for an error of the server, and asks again and again.
        once = {"config_kwargs": {"retries": {"max_attempts": 1}}} if self.place.name == S3_MOTO else {}
        self.store = MediaStore(
            self.place.url, storage_options={**self.place.options, **once}, now=self.clock, **options
        )
        return self.store

    def put(self, text: str, run: str = "r1", **metadata: Any) -> str:
        reference = self.store.store_media(
            MediaContent.from_text(text), MediaMetadata(run_id=run, session_id="ada", **metadata)
        )
        self.kept[reference] = text.encode()
        return reference

    def look(self) -> list[str]:
        """Say what is lost; asked when the server answers rightly again."""
        for reference, data in self.kept.items():
            try:
                if self.store.retrieve_media(reference).read_bytes() != data:
                    self.problems.append(f"lost: {reference} has other bytes")
            except MediaError as error:
                self.problems.append(f"lost: {error}")
        return self.problems


def delete_one_of_two(world: World, wrong: WrongAnswer) -> None:
    """Delete a media whose bytes another one shares, while the markers can't be listed."""
    world.open(deduplicate=True)
    first, _ = world.put("shared"), world.put("shared", "r2")
    del world.kept[first]
    with world.place.server.answering(wrong):
        world.store.delete_media(first)


def sweep_a_held_one(world: World, wrong: WrongAnswer) -> None:
    """Sweep a media that is due and held, while the holds can't be listed."""
    world.open()
    reference = world.put("held", policy_name="delete-after-1min")
    world.store.hold(reference, "legal")
    world.clock.advance(timedelta(minutes=3))
    only_holds = WrongAnswer("LIST", target="holds", body=wrong.body, change=wrong.change, page=wrong.page)
    with world.place.server.answering(only_holds):
        report = world.store.enforce_policy(now=world.clock())
    for failed in report.failed:  # a sweep goes on with what is left, and reports
        raise failed.error


def sweep_of_shared_bytes(world: World, wrong: WrongAnswer) -> None:
    """Mend leftovers; bytes that somebody uses are none."""
    world.open(deduplicate=True)
    world.put("shared")
    with world.place.server.answering(wrong):
        report = world.store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True)
        if not report.findings and report.examined == 0:
            world.problems.append("claimed: an empty store")


def sync_with_delete(world: World, wrong: WrongAnswer) -> None:
    """Bring a mirror to what the source has, which can't be listed."""
    world.open()
    names = [world.put(f"text {number}", f"r{number % 3}") for number in range(12)]
    world.store.sync_to(str(world.mirror))
    with world.place.server.answering(wrong):
        try:
            world.store.sync_to(str(world.mirror), delete=True)
        finally:
            with MediaStore(world.mirror) as mirror:
                world.problems += [f"lost in the mirror: {name}" for name in set(names) - {*mirror.list()}]


def verify_all(world: World, wrong: WrongAnswer) -> None:
    """Verify a store that has something wrong, which only a listing shows."""
    world.open()
    names = [world.put(f"text {number}", f"r{number % 3}") for number in range(12)]
    world.place.remove(names[7])
    del world.kept[names[7]]
    with world.place.server.answering(wrong):
        if world.store.verify().whole:
            world.problems.append("claimed: whole")


def erase_somebody(world: World, wrong: WrongAnswer) -> None:
    """Erase all of a session."""
    world.open()
    names = [world.put(f"text {number}", f"r{number % 3}") for number in range(12)]
    world.kept.clear()
    with world.place.server.answering(wrong):
        complete = world.store.erase(session_id="ada").is_complete
    left = {*names} & world.place.keys()
    if complete and left:
        world.problems.append(f"claimed: complete, with {len(left)} left")


def refresh_the_catalog(world: World, wrong: WrongAnswer) -> None:
    """Refresh the catalog."""
    world.open()
    names = {world.put(f"text {number}", f"r{number % 3}") for number in range(12)}
    with world.place.server.answering(wrong):
        shown = world.store.catalog()
        found = {*shown.to_arrow().column("reference").to_pylist()}
        if found != names:
            world.problems.append(f"claimed: {len(found)} of {len(names)} in the catalog")


def list_all(world: World, wrong: WrongAnswer) -> None:
    """List the store."""
    world.open()
    names = [world.put(f"text {number}", f"r{number % 3}") for number in range(12)]
    with world.place.server.answering(wrong):
        found = list(world.store.list())
        if found != sorted(names):
            world.problems.append(f"claimed: {len(found)} of {len(names)} listed")


SCENARIOS = (
    delete_one_of_two,
    sweep_a_held_one,
    sweep_of_shared_bytes,
    sync_with_delete,
    verify_all,
    erase_somebody,
    refresh_the_catalog,
    list_all,
)
SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
PLACE = pytest.mark.parametrize("place", [S3_MOTO, GCS], indirect=True)
Scenario = Any  # a function of a world and a rule


@pytest.fixture
def world(place: ObjectStorage, tmp_path: Path, clock: Clock) -> World:
    """Give an empty world."""
    return World(place, tmp_path / "mirror", clock)


@SCENARIO
@pytest.mark.parametrize(("place", "what"), CASES, indirect=["place"])
def test_a_listing_that_is_none_is_an_error(world: World, what: str, scenario: Scenario) -> None:
    """Every listing is answered 200 with something else."""
    wrong = WrongAnswer("LIST", body=NO_LISTINGS[world.place.name][what])
    with pytest.raises(StorageError, match="no proper answer"):
        scenario(world, wrong)
    assert world.look() == []


@SCENARIO
@PLACE
def test_without_the_proof_of_a_listing(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    body = {S3_MOTO: PORTAL, GCS: b"{}"}[world.place.name]
    scenario(world, WrongAnswer("LIST", body=body))
    assert world.look()


@PLACE
def test_a_listing_that_is_none_once_is_asked_for_again(world: World) -> None:
    """One wrong answer is as good as none: the request is repeated."""
    list_all(world, WrongAnswer("LIST", body=b"", times=1))
    assert world.look() == []


# -- order ---------------------------------------------------------------------------------------------------


def no_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give what is listed in the order of the server."""
    no_brakes(monkeypatch)
    monkeypatch.setattr(KeyOrder, "entries", lambda _, found: chain.from_iterable(page.entries for page in found))


@SCENARIO
@PLACE
def test_a_server_that_lists_in_another_order(world: World, scenario: Scenario) -> None:
    """As rclone before 1.74.1, S3 Express and Storj do: what comes is sorted."""
    scenario(world, WrongAnswer("LIST", change="hashed"))
    assert world.look() == []


@SCENARIO
@PLACE
def test_a_server_that_lists_in_order_and_in_pages(world: World, scenario: Scenario) -> None:
    """Nothing is wrong here, so that what the others show is not the relay's own doing."""
    scenario(world, WrongAnswer("LIST", change="sorted", page=5))
    assert world.look() == []


@PLACE
@pytest.mark.parametrize("scenario", [sync_with_delete, refresh_the_catalog, list_all])
def test_without_the_sorting(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    no_sorting(monkeypatch)
    scenario(world, WrongAnswer("LIST", change="hashed"))
    assert world.look()


@PLACE
@pytest.mark.parametrize("scenario", [sync_with_delete, verify_all, erase_somebody, refresh_the_catalog, list_all])
def test_a_later_page_that_shows_another_order(world: World, scenario: Scenario) -> None:
    """What was given can't be taken back, so it ends in an error, and nothing was deleted or claimed by then."""
    with pytest.raises(StorageError, match="order of keys"):
        scenario(world, WrongAnswer("LIST", target=r"^(?!.*(holds|catalog|due|delimiter))", change="turned", page=6))
    assert world.look() == []


@PLACE
@pytest.mark.parametrize("scenario", [sync_with_delete, list_all])
def test_without_a_look_at_the_order_of_pages(
    world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_sorting(monkeypatch)
    # Of an odd size, so that a page ends between bytes and their sidecar.
    scenario(world, WrongAnswer("LIST", change="turned", page=5))
    assert world.look()


@PLACE
def test_after_such_an_error_listings_are_sorted(world: World) -> None:
    world.open()
    names = sorted(world.put(f"text {number}", f"r{number % 3}") for number in range(12))
    with world.place.server.answering(WrongAnswer("LIST", change="turned", page=6)):
        with pytest.raises(StorageError, match="order of keys"):
            list(world.store.list())
        assert list(world.store.list()) == names


@PLACE
def test_a_listing_that_goes_round_ends(world: World) -> None:
    """A page with the same token again and again, as a cache gives it."""
    world.open()
    for number in range(12):
        world.put(f"text {number}")
    with (
        world.place.server.answering(WrongAnswer("LIST", change="repeated", page=6)),
        pytest.raises(StorageError, match="goes round"),
    ):
        list(world.store.list())


@PLACE
def test_without_a_look_at_tokens_and_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.open()
    for number in range(12):
        world.put(f"text {number}")

    def pages(ask: Any, _: str) -> Iterator[Any]:
        page = ask(None)
        while page.token is not None:
            yield page
            page = ask(page.token)
        yield page

    no_sorting(monkeypatch)  # a page that comes a second time is out of order too
    for storage in (s3, gcs):
        monkeypatch.setattr(storage, "pages", pages)
    with world.place.server.answering(WrongAnswer("LIST", change="repeated", page=6)):
        assert len([*islice(world.store._backend.entries(), 100)]) == 100


@PLACE
@pytest.mark.parametrize("looks", [True, False], ids=["looks", "mutant"])
def test_verify_looks_for_store_json_in_what_is_listed(
    world: World, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing of another place may be a proper one."""
    world.open()
    names = [world.put(f"text {number}") for number in range(3)]
    world.place.remove(names[1])
    page = {
        S3_MOTO: b"<ListBucketResult><Name>media</Name><MaxKeys>1000</MaxKeys><KeyCount>0</KeyCount>"
        b"<IsTruncated>false</IsTruncated></ListBucketResult>",
        GCS: b'{"kind": "storage#objects"}',
    }[world.place.name]
    if not looks:
        monkeypatch.setattr(Verification, "_check_listing", lambda _: None)
    with world.place.server.answering(WrongAnswer("LIST", body=page)):
        if looks:
            with pytest.raises(StorageError, match="proves nothing"):
                world.store.verify()
        else:
            assert world.store.verify().whole


@PLACE
def test_a_page_of_another_folder_is_no_answer(world: World) -> None:
    """A cache that takes all listings of a bucket for one."""
    world.open()
    world.put("a", "r1"), world.put("b", "r2")
    lists_r2 = {S3_MOTO: "prefix=lab/store/runs/r2/", GCS: "prefix=runs/r2/"}[world.place.name]
    with world.place.server.answering():
        page = captured_listing(world, lists_r2)
    with (
        world.place.server.answering(WrongAnswer("LIST", target="runs/r1", body=page)),
        pytest.raises(StorageError, match="no proper answer"),
    ):
        list(world.store.list(run_id="r1"))


def captured_listing(world: World, query: str) -> bytes:
    """Return what the server answers to a listing."""
    words = "list-type=2&" if world.place.name == S3_MOTO else ""
    path = world.place.bucket if world.place.name == S3_MOTO else f"storage/v1/b/{world.place.bucket}/o"
    with urllib.request.urlopen(f"{world.place.server.direct_url}/{path}?{words}{query}") as answer:
        return answer.read()


# -- writes and deletions ------------------------------------------------------------------------------------

UPLOADS = {S3_MOTO: ("PUT", "/"), GCS: ("POST", "/upload/")}
BODIES = {S3_MOTO: (b"", PORTAL), GCS: (b"", b"{}", b"null", PORTAL, b'{"kind": "storage#object"}')}
WRONG_WRITES = [(storage, body) for storage, bodies in BODIES.items() for body in bodies]


@pytest.mark.parametrize(("place", "body"), WRONG_WRITES, indirect=["place"])
def test_an_upload_that_is_not_confirmed(world: World, body: bytes) -> None:
    """The server is never asked; somebody in between says 200."""
    world.open().create()
    method, target = UPLOADS[world.place.name]
    with (
        world.place.server.answering(WrongAnswer(method, target=target, body=body)),
        pytest.raises(StorageError, match="no proper answer"),
    ):
        world.store.store_media(MediaContent.from_text("new"), MediaMetadata(run_id="r1"))
    assert list(world.store.list()) == []


@PLACE
def test_without_the_proof_of_an_upload(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    world.open().create()
    method, target = UPLOADS[world.place.name]
    body = {S3_MOTO: b"", GCS: b'{"generation": "1"}'}[world.place.name]
    with world.place.server.answering(WrongAnswer(method, target=target, body=body)):
        world.put("new")
    assert world.look()


LARGE = bytes(range(256)) * 4096 * 20
"""20 MiB: more than one request for each of the storages."""
ENDS = {S3_MOTO: ("POST", "uploadId="), GCS: ("POST", "upload_id=")}
WRONG_ENDS = [(S3_MOTO, b""), (S3_MOTO, b"<Other/>"), (GCS, b""), (GCS, b"{}"), (GCS, PORTAL)]


@pytest.mark.parametrize(("place", "body"), WRONG_ENDS, indirect=["place"])
def test_a_large_upload_whose_end_is_not_confirmed(world: World, body: bytes) -> None:
    world.open().create()
    method, target = ENDS[world.place.name]
    content = MediaContent.from_stream(BytesIO(LARGE), "application/octet-stream")
    with (
        world.place.server.answering(WrongAnswer(method, target=target, body=body)),
        pytest.raises(StorageError, match="no proper answer"),
    ):
        world.store.store_media(content, MediaMetadata(run_id="r1"))
    assert list(world.store.list()) == []


@PLACE
def test_without_the_proof_of_the_end_of_a_large_upload(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    world.open().create()
    method, target = ENDS[world.place.name]
    body = {S3_MOTO: b"<Other/>", GCS: b"{}"}[world.place.name]
    with world.place.server.answering(WrongAnswer(method, target=target, body=body)):
        reference = world.store.store_media(
            MediaContent.from_stream(BytesIO(LARGE), "application/octet-stream"), MediaMetadata(run_id="r1")
        )
    world.kept[reference] = LARGE
    assert world.look()


@pytest.mark.parametrize("place", [S3_MOTO], indirect=True)
def test_an_error_inside_of_an_answer_with_status_200(world: World) -> None:
    """S3 says so when it fails after it has begun to answer."""
    world.open().create()
    error = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>try again</Message></Error>"
    content = MediaContent.from_stream(BytesIO(LARGE), "application/octet-stream")
    with (
        world.place.server.answering(WrongAnswer("POST", target="uploadId=", body=error)),
        pytest.raises(StorageError, match="try again"),
    ):
        world.store.store_media(content, MediaMetadata(run_id="r1"))
    assert list(world.store.list()) == []


@PLACE
@pytest.mark.parametrize("body", [b"", b"{}", PORTAL], ids=["nothing", "an empty object", "a login page"])
def test_a_deletion_that_is_not_confirmed(world: World, body: bytes) -> None:
    """Status 200 of somebody in between: what is still there is not called deleted."""
    world.open()
    reference = world.put("still here")
    with (
        world.place.server.answering(WrongAnswer("DELETE", body=body), WrongAnswer("POST", target="delete", body=body)),
        pytest.raises(StorageError),
    ):
        world.store.delete_media(reference)
    with (
        world.place.server.answering(WrongAnswer("DELETE", body=body), WrongAnswer("POST", target="delete", body=body)),
        pytest.raises(BulkError),
    ):
        world.store.delete_many([reference])
    assert world.look() == []


@pytest.mark.parametrize("place", [S3_MOTO], indirect=True)
@pytest.mark.parametrize("asks_again", [True, False], ids=["asks again", "mutant"])
def test_a_deletion_that_is_answered_not_found_once(
    world: World, asks_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 confirms a deletion by 204 whether anything was there or not; GCS answers so where nothing is."""
    world.open()
    reference = world.put("to go")
    absent = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
    if not asks_again:
        monkeypatch.setattr(s3.S3Backend, "_delete_one", FsspecBackend._delete_one)
    with world.place.server.answering(WrongAnswer("DELETE", body=absent, status=404, times=1)):
        world.store.delete_media(reference)
    left = {reference, f"{reference}.meta"} & world.place.keys()
    assert left == (set() if asks_again else {f"{reference}.meta"})


@pytest.mark.parametrize("place", [S3_MOTO], indirect=True)
@pytest.mark.parametrize("asks_again", [True, False], ids=["asks again", "mutant"])
def test_a_due_index_is_not_complete_by_one_wrong_answer(
    world: World, asks_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A media that a rebuild passes over would never expire."""
    world.open()
    reference = world.put("to expire", policy_name="retain-1days")
    for key in sorted(world.place.keys()):
        if keys.parse_due(key) is not None:
            world.place.remove(key)
    if not asks_again:
        once = records.read_sidecars
        monkeypatch.setattr(
            records, "read_listed_sidecars", lambda backend, names: dict(zip(names, once(backend, names), strict=True))
        )
    absent = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
    with world.place.server.answering(WrongAnswer("GET", target=r"\.meta", body=absent, status=404, times=1)):
        report = world.store.verify(repair=True)
    there = {due.reference for key in sorted(world.place.keys()) if (due := keys.parse_due(key)) is not None}
    assert report.due_index == "complete"
    assert there == ({reference} if asks_again else set())


@PLACE
def test_without_the_proof_of_a_deletion(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    world.open()
    reference = world.put("still here")
    with world.place.server.answering(WrongAnswer("DELETE", body=PORTAL)):
        world.store.delete_media(reference)
    assert world.store.exists(reference)


@PLACE
@pytest.mark.parametrize("body", [b"", PORTAL, b"{}"], ids=["nothing", "a login page", "an empty object"])
def test_a_copy_that_is_not_confirmed(world: World, body: bytes) -> None:
    """A move deletes what it copied, if it did."""
    world.open()
    reference = world.put("to be moved")
    method, target = {S3_MOTO: ("PUT", "new-name.txt"), GCS: ("POST", "rewriteTo")}[world.place.name]
    with (
        world.place.server.answering(WrongAnswer(method, target=target, body=body)),
        pytest.raises(StorageError),
    ):
        world.store.fs.mv(reference, "runs/r1/new-name.txt")
    assert world.look() == []


@PLACE
def test_without_the_proof_of_a_copy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    world.open()
    reference = world.put("to be moved")
    del world.kept[reference]
    world.kept["runs/r1/new-name.txt"] = b"to be moved"
    method, target, body = {
        S3_MOTO: ("PUT", "new-name.txt", b"<CopyObjectResult/>"),
        GCS: ("POST", "rewriteTo", b'{"done": true}'),
    }[world.place.name]
    with world.place.server.answering(WrongAnswer(method, target=target, body=body)):
        world.store.fs.mv(reference, "runs/r1/new-name.txt")
    assert world.look()
    assert not {reference} & world.place.keys()


PAGES = [WrongAnswer(method, target="/runs/|%2F|/o/", body=PORTAL) for method in ("HEAD", "GET")]


@PLACE
def test_a_look_or_a_read_answered_with_a_page(world: World) -> None:
    """A page of HTML is neither a sidecar nor a media."""
    world.open()
    reference = world.put("the bytes")
    backend = world.store._backend
    looks = {
        "look": lambda: backend.head(reference),
        "read": lambda: backend.read(f"{reference}.meta"),
        "read a part": lambda: backend.read_range(reference, 1, 3),
        "cat": lambda: world.store.fs.cat_file(reference),
    }
    with world.place.server.answering(*PAGES):
        for what, look in looks.items():
            with pytest.raises(StorageError, match="no proper answer"):
                print(what, look())
    assert world.look() == []


@PLACE
def test_without_the_proof_of_a_look_or_a_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    world.open(verify_reads=False)
    reference = world.put("the bytes")
    backend = world.store._backend
    with world.place.server.answering(*PAGES):
        assert backend.read(f"{reference}.meta") == PORTAL
        assert world.store.fs.cat_file(reference) == PORTAL
    # What GCS tells of an object is JSON, and gcsfs reads it.
    there = {S3_MOTO: PORTAL, GCS: b'{"name": "another", "size": "1"}'}[world.place.name]
    with world.place.server.answering(*(replace(page, body=there) for page in PAGES)):
        assert backend.head(f"{reference}-that-is-not-there") is not None
