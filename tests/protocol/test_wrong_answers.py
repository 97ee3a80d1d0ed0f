"""Servers that answer something else than asked: nothing is lost by it, and nothing is called whole or complete.

The relay in front of the servers answers wrongly (`tests/relay.py`). What a test does with a wrong answer, it does a
second time with the check taken out that should notice it: then something must be lost or claimed, or the test would
see nothing.

In the matrix at the end every single call of an operation is answered wrongly once. That takes `-m full`: for each
operation and each kind of wrong answer the operation is run as often as it makes calls, in a new bucket each time. The
small run answers one call wrongly for some of the kinds. "flipped" changes the first byte of every answer too, so no
document can be read after it. Of one bit that makes another readable document of a sidecar (a 3 of a 2) nothing is
demanded: one read can't tell that from a sidecar that says so. What checks it is TCP and TLS on the way, and `verify`,
which compares the facts with the bytes.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from fsmedia import BulkError, MediaContent, MediaError, MediaMetadata, MediaNotFoundError, MediaStore, StorageError
from fsmedia.core import commit, lifetime, records
from fsmedia.format import keys
from fsmedia.maintenance import erase as erase_module
from fsmedia.maintenance import repair as repair_module
from fsmedia.maintenance import sync as sync_module
from fsmedia.maintenance.verify import Verification
from fsmedia.storage import gcs, s3
from fsmedia.storage.fsspec_backend import FsspecBackend
from fsmedia.storage.listing import KeyOrder
from tests.conftest import Clock, make_storage
from tests.servers import Call, WrongAnswer
from tests.storages import GCS, S3_MOTO, ObjectStorage

PORTAL = b'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Sign in</title></head><body/></html>'
ABSENT = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
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
    for room in (erase_module, sync_module):
        monkeypatch.setattr(room, "check_listing", lambda *_, **__: None)
    monkeypatch.setattr(Verification, "_check_listing", lambda _: None)


@dataclass
class World:
    """A store of some media, its mirror, and what must be true of them afterwards.

    Attributes
    ----------
    kept
        References -> their bytes; all of them must be listed and readable.
    contents
        What must be the bytes of some listed media, under whatever name.
    remains
        What must still lie somewhere in the bucket, also after a repair without any fault.
    held
        References whose hold must be there.
    many
        How many media lie in it where that does not matter.
    """

    place: ObjectStorage
    mirror: Path
    clock: Clock
    shared: bool = False
    many: int = 3
    kept: dict[str, bytes] = field(default_factory=dict)
    contents: list[bytes] = field(default_factory=list)
    remains: list[bytes] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open(deduplicate=self.shared)

    def open(self, **options: Any) -> None:
        # What is no XML at all botocore takes for an error of the server, and asks again and again.
        once = {"config_kwargs": {"retries": {"max_attempts": 1}}} if self.place.name == S3_MOTO else {}
        words = {"storage_options": {**self.place.options, **once}, "now": self.clock}
        self.store = MediaStore(self.place.url, **words, **options)

    def put(self, text: str, run: str = "r1", session: str = "bob", **metadata: Any) -> str:
        content = MediaContent.from_text(text)
        reference = self.store.store_media(content, MediaMetadata(run_id=run, session_id=session, **metadata))
        self.kept[reference] = text.encode()
        return reference

    def fill(self, session: str = "bob", **metadata: Any) -> list[str]:
        return [self.put(f"text {at}", f"r{at % 3}", session, **metadata) for at in range(self.many)]

    def look(self) -> list[str]:
        """Say what is wrong, once the server answers rightly again."""
        listed = {*self.store.list()}
        for reference, data in self.kept.items():
            try:
                if self.store.retrieve_media(reference).read_bytes() != data:
                    self.problems.append(f"lost: {reference} has other bytes")
            except MediaError as error:
                self.problems.append(f"lost: {error}")
            if reference not in listed:
                self.problems.append(f"lost: {reference} is not listed")
        if self.contents:
            there = {self.store.retrieve_media(each).read_bytes() for each in listed}
            self.problems += [f"lost: no media has {each!r}" for each in self.contents if each not in there]
        names = self.place.keys()
        self.problems += [f"lost: the hold of {each}" for each in self.held if keys.hold_key(each) not in names]
        if self.remains:
            self._look_for_remains()
        return self.problems

    def _look_for_remains(self) -> None:
        for round_ in ("by it", "by the next repair"):
            there = {self.place.read(key) for key in sorted(self.place.keys())}
            self.problems += [f"lost {round_}: {each[:40]!r}" for each in self.remains if each not in there]
            self.store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)


Act = Any  # what a scenario does while the server answers wrongly


def store(world: World) -> Act:
    world.put("there already")

    def act() -> None:
        world.put("new", policy_name="retain-30days")  # counts only if it was answered
        world.put("there already", "r2")

    return act


def delete(world: World) -> Act:
    first = world.put("one of two that may share")
    world.put("one of two that may share", "r2")
    del world.kept[first]

    def act() -> None:
        world.store.delete_media(first)
        # GCS answers 404 where nothing is, and a request more for each deletion would be needed to doubt it.
        if world.place.name == S3_MOTO and world.place.keys() & {first, f"{first}.meta"}:
            world.problems.append("claimed: deleted")

    return act


def delete_many(world: World) -> Act:
    going = [world.put(f"text {number}", f"r{number}") for number in range(2)]
    world.put("text 0", "r5")
    for each in going:
        del world.kept[each]
    return lambda: world.store.delete_many(going)


def change(world: World) -> Act:
    reference = world.put("to be changed")

    def act() -> None:
        world.store.apply_policy(reference, "retain-30days")
        world.store.fs.setxattrs(reference, {"user.a": 1})

    return act


def sweep(world: World) -> Act:
    held = world.put("held", policy_name="delete-after-1min")
    due = world.put("due", "r2", policy_name="delete-after-1min")
    world.put("due", "r3")
    world.store.hold(held, "court")
    world.clock.advance(timedelta(minutes=3))
    del world.kept[due]

    def act() -> None:
        for failed in world.store.enforce_policy(now=world.clock()).failed:  # a sweep goes on, and reports
            raise failed.error

    return act


def orphans(world: World) -> Act:
    world.put("shared")
    world.put("shared", "r2")
    world.put("other", "r3", policy_name="retain-30days")
    return lambda: world.store.verify(repair="leftovers", grace=timedelta(0), nobody_writes=True)


def repair(world: World) -> Act:
    orphans(world)
    return lambda: world.store.verify(repair=True, grace=timedelta(0), nobody_writes=True)


def damage(world: World) -> tuple[dict[str, str], list[bytes]]:
    """Return what verification must find: references -> kinds; and the bytes that must not go."""
    world.put("sound")
    rotten, torn, both = world.put("r" * 50, "r2"), world.put("t" * 50, "r3"), world.put("b" * 50, "r4")
    world.place.write(keys.bytes_key(rotten), b"R" * 50)
    world.place.write(keys.bytes_key(both), b"b" * 51)
    for each in (torn, both):
        told = json.loads(world.place.read(f"{each}.meta"))
        world.place.write(f"{each}.meta", json.dumps({**told, "message_idx": "seven"}).encode())
    for each in (rotten, torn, both):
        del world.kept[each]
    return {rotten: "digest", torn: "sidecar", both: "sidecar"}, [b"R" * 50, b"t" * 50, b"b" * 51]


def find_damage(world: World) -> Act:
    known, _ = damage(world)

    def act() -> None:
        report = world.store.verify(deep=True)
        missed = known.keys() - {each.key for each in report.findings}
        if missed and not report.failed:
            world.problems.append(f"claimed: nothing is wrong with {[known[each] for each in missed]}")

    return act


def repair_damage(world: World) -> Act:
    _, world.remains = damage(world)
    return lambda: world.store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)


def hold(world: World) -> Act:
    first, second = world.put("held already"), world.put("to be held", "r2")
    world.store.hold(first, "court")
    world.held = [first]

    def act() -> None:
        world.store.hold(first, "another court")
        world.store.hold(second, "court")
        world.held.append(second)  # counts only if it was answered

    return act


def move(world: World) -> Act:
    reference = world.put("to be moved")
    world.contents = [world.kept.pop(reference)]
    return lambda: world.store.fs.mv(reference, "runs/r1/new-name.txt")


def sync(world: World) -> Act:
    names = world.fill()
    world.store.sync_to(world.mirror)

    def act() -> None:
        try:
            world.store.sync_to(world.mirror, delete=True)
        finally:
            with MediaStore(world.mirror) as mirror:
                # By what is in them: media that share their bytes have other names there.
                there = {mirror.retrieve_media(each).read_bytes() for each in mirror.list()}
                world.problems += [f"lost in the mirror: {each}" for each in names if world.kept[each] not in there]

    return act


def verify(world: World) -> Act:
    broken = world.fill()[world.many // 2]
    world.place.remove(keys.bytes_key(broken))
    del world.kept[broken]

    def act() -> None:
        if world.store.verify().whole:
            world.problems.append("claimed: whole")

    return act


def erase(world: World) -> Act:
    names = world.fill("ada", policy_name="retain-30days")
    world.put("text 0", "r5")
    for each in names:
        del world.kept[each]

    def act() -> None:
        complete = world.store.erase(session_id="ada").is_complete
        left = {*names, *(f"{each}.meta" for each in names)} & world.place.keys()
        if complete and left:
            world.problems.append(f"claimed: complete, with {len(left)} left")

    return act


def catalog(world: World) -> Act:
    names = {*world.fill()}

    def act() -> None:
        found = {*world.store.catalog().to_arrow().column("reference").to_pylist()}
        if found != names:
            world.problems.append(f"claimed: {len(found)} of {len(names)} in the catalog")

    return act


def leftovers(world: World) -> Act:
    """Mend leftovers; bytes that somebody uses are none."""
    mend = orphans(world)

    def act() -> None:
        report = mend()
        if not report.findings and report.examined == 0:
            world.problems.append("claimed: an empty store")

    return act


def list_all(world: World) -> Act:
    names = sorted(world.fill())

    def act() -> None:
        found = list(world.store.list())
        if found != names:
            world.problems.append(f"claimed: {len(found)} of {len(names)} listed")

    return act


# -- listings ------------------------------------------------------------------------------------------------

SCENARIOS = (delete, sweep, leftovers, sync, verify, erase, catalog, list_all)
SCENARIO = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.__name__)
PLACE = pytest.mark.parametrize("place", [S3_MOTO, GCS], indirect=True)
Scenario = Any  # a function of a world


@pytest.fixture
def world(place: ObjectStorage, tmp_path: Path, clock: Clock) -> World:
    """Give an empty world."""
    return World(place, tmp_path / "mirror", clock, many=12)


def play(world: World, scenario: Scenario, wrong: WrongAnswer) -> None:
    """Do it while listings are answered wrongly: of a sweep those of the holds, else all of them."""
    if scenario in (delete, leftovers):
        world.open(deduplicate=True)
    act = scenario(world)
    with world.place.server.answering(replace(wrong, target="holds") if scenario is sweep else wrong):
        act()


@SCENARIO
@pytest.mark.parametrize(("place", "what"), CASES, indirect=["place"])
def test_a_listing_that_is_none_is_an_error(world: World, what: str, scenario: Scenario) -> None:
    """Every listing is answered 200 with something else."""
    wrong = WrongAnswer("LIST", body=NO_LISTINGS[world.place.name][what])
    with pytest.raises(StorageError, match="no proper answer"):
        play(world, scenario, wrong)
    assert world.look() == []


@SCENARIO
@PLACE
def test_without_the_proof_of_a_listing(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    body = {S3_MOTO: PORTAL, GCS: b"{}"}[world.place.name]
    play(world, scenario, WrongAnswer("LIST", body=body))
    assert world.look()


@PLACE
def test_a_listing_that_is_none_once_is_asked_for_again(world: World) -> None:
    """One wrong answer is as good as none: the request is repeated."""
    play(world, list_all, WrongAnswer("LIST", body=b"", times=1))
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
    play(world, scenario, WrongAnswer("LIST", change="hashed"))
    assert world.look() == []


@SCENARIO
@PLACE
def test_a_server_that_lists_in_order_and_in_pages(world: World, scenario: Scenario) -> None:
    """Nothing is wrong here, so that what the others show is not the relay's own doing."""
    play(world, scenario, WrongAnswer("LIST", change="sorted", page=5))
    assert world.look() == []


@PLACE
@pytest.mark.parametrize("scenario", [sync, catalog, list_all])
def test_without_the_sorting(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    no_sorting(monkeypatch)
    play(world, scenario, WrongAnswer("LIST", change="hashed"))
    assert world.look()


@PLACE
@pytest.mark.parametrize("scenario", [sync, verify, erase, catalog, list_all])
def test_a_later_page_that_shows_another_order(world: World, scenario: Scenario) -> None:
    """What was given can't be taken back, so it ends in an error, and nothing was deleted or claimed by then."""
    with pytest.raises(StorageError, match="order of keys"):
        play(
            world,
            scenario,
            WrongAnswer("LIST", target=r"^(?!.*(holds|catalog|due|delimiter))", change="turned", page=6),
        )
    assert world.look() == []


@PLACE
@pytest.mark.parametrize("scenario", [sync, list_all])
def test_without_a_look_at_the_order_of_pages(
    world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_sorting(monkeypatch)
    # Of an odd size, so that a page ends between bytes and their sidecar.
    play(world, scenario, WrongAnswer("LIST", change="turned", page=5))
    assert world.look()


@PLACE
def test_after_such_an_error_listings_are_sorted(world: World) -> None:
    names = sorted(world.fill())
    with world.place.server.answering(WrongAnswer("LIST", change="turned", page=6)):
        with pytest.raises(StorageError, match="order of keys"):
            list(world.store.list())
        assert list(world.store.list()) == names


@PLACE
def test_a_listing_that_goes_round_ends(world: World) -> None:
    """A page with the same token again and again, as a cache gives it."""
    world.fill()
    with (
        world.place.server.answering(WrongAnswer("LIST", change="repeated", page=6)),
        pytest.raises(StorageError, match="goes round"),
    ):
        list(world.store.list())


@PLACE
def test_without_a_look_at_tokens_and_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill()

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
    world.store.create()
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
    world.store.create()
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
    world.store.create()
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
    world.store.create()
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
    world.store.create()
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
    reference = world.put("to go")
    if not asks_again:
        monkeypatch.setattr(s3.S3Backend, "_delete_one", FsspecBackend._delete_one)
    with world.place.server.answering(WrongAnswer("DELETE", body=ABSENT, status=404, times=1)):
        world.store.delete_media(reference)
    left = {reference, f"{reference}.meta"} & world.place.keys()
    assert left == (set() if asks_again else {f"{reference}.meta"})


@pytest.mark.parametrize("place", [S3_MOTO], indirect=True)
@pytest.mark.parametrize("asks_again", [True, False], ids=["asks again", "mutant"])
def test_a_due_index_is_not_complete_by_one_wrong_answer(
    world: World, asks_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A media that a rebuild passes over would never expire."""
    reference = world.put("to expire", policy_name="retain-1days")
    for key in sorted(world.place.keys()):
        if keys.parse_due(key) is not None:
            world.place.remove(key)
    if not asks_again:
        once = records.read_sidecars
        monkeypatch.setattr(
            records, "read_listed_sidecars", lambda backend, names: dict(zip(names, once(backend, names), strict=True))
        )
    with world.place.server.answering(WrongAnswer("GET", target=r"\.meta", body=ABSENT, status=404, times=1)):
        report = world.store.verify(repair=True)
    there = {due.reference for key in sorted(world.place.keys()) if (due := keys.parse_due(key)) is not None}
    assert report.due_index == "complete"
    assert there == ({reference} if asks_again else set())


@PLACE
def test_without_the_proof_of_a_deletion(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    reference = world.put("still here")
    with world.place.server.answering(WrongAnswer("DELETE", body=PORTAL)):
        world.store.delete_media(reference)
    assert world.store.exists(reference)


@PLACE
@pytest.mark.parametrize("body", [b"", PORTAL, b"{}"], ids=["nothing", "a login page", "an empty object"])
def test_a_copy_that_is_not_confirmed(world: World, body: bytes) -> None:
    """A move deletes what it copied, if it did."""
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


# -- each call -------------------------------------------------------------------------------------------------

OTHER = {S3_MOTO: b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>", GCS: b'{"kind": "storage#buckets"}'}
SMALL = {S3_MOTO: 5, GCS: 8}
"""The small run takes every so manieth kind."""
LISTS = {"method": "LIST"}
READS = {"method": "GET"}


def wrong_answers(place: str) -> dict[str, dict[str, Any]]:
    """Return the kinds of wrong answers."""
    return {
        "nothing": {"body": b""},
        "not found": {"body": ABSENT, "status": 404},
        "a page": {"body": PORTAL, "headers": {"Content-Type": "text/html"}},
        "another document": {"body": OTHER[place]},
        "a stale listing": {**LISTS, "change": "first"},
        "another order": {**LISTS, "change": "hashed"},
        "a page that goes round": {**LISTS, "change": "repeated", "page": 2},
        "short": {**READS, "change": "short"},
        "flipped": {**READS, "change": "flipped"},
    }


KINDS = tuple(wrong_answers(S3_MOTO))


OPERATIONS = (
    store,
    delete,
    delete_many,
    change,
    hold,
    move,
    sweep,
    orphans,
    repair,
    repair_damage,
    sync,
    verify,
    find_damage,
    erase,
    catalog,
)


def fits(call: Call, method: str | None) -> bool:
    """Tell whether the relay applies a rule for a method to a call."""
    return call.kind == "list" if method == "LIST" else method in (None, call.method)


@dataclass(frozen=True)
class Matrix:
    """Runs one operation, with wrong answers to one of its calls."""

    place: str
    new_world: Callable[[], World]
    operation: Callable[[World], Act]

    def count(self) -> tuple[list[Call], list[Call]]:
        """Return the calls before and in the operation where all answers are right."""
        world = self.new_world()
        with world.place.counted() as before:
            act = self.operation(world)
        with world.place.counted() as during:
            act()
        assert world.look() == []
        return before.calls, during.calls

    def run(self, kind: str, counted: tuple[list[Call], list[Call]], small: int | None = None) -> Iterator[str]:
        """Yield what is wrong, with the number of the call that was answered wrongly.

        Parameters
        ----------
        small
            Answer only one call wrongly; different numbers choose different ones.
        """
        rule = wrong_answers(self.place)[kind]
        before, calls = (sum(fits(call, rule.get("method")) for call in part) for part in counted)
        assert calls or "method" in rule
        numbers = range(1, calls + 1) if small is None or not calls else [1 + small * 7 % calls]
        for number in numbers:
            yield from (f"{kind}, call {number} of {calls}: {each}" for each in self._one(kind, before, number))

    def _one(self, kind: str, before: int, number: int) -> list[str]:
        world = self.new_world()
        rule = {**wrong_answers(self.place)[kind], "times": 1}
        # That it says so is right; what must not be is looked for afterwards.
        with contextlib.suppress(MediaError, BulkError):
            # A stale page is one of before: the relay notes the pages while the store is filled.
            if kind == "a stale listing":
                with world.place.server.answering(WrongAnswer(nth=before + number, **rule)):
                    self.operation(world)()
            else:
                act = self.operation(world)
                with world.place.server.answering(WrongAnswer(nth=number, **rule)):
                    act()
        return world.look()


@pytest.fixture
def new_matrix(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[..., Matrix]:
    """Make matrices of one operation on one storage."""
    counter = iter(range(100_000))

    def make(place: str, operation: Any, shared: bool) -> Matrix:
        def new_world() -> World:
            return World(make_storage(place, request, tmp_path), tmp_path / f"mirror-{next(counter)}", clock, shared)

        return Matrix(place, new_world, operation)

    return make


OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
PLACES = pytest.mark.parametrize("place", [S3_MOTO, GCS])


@OPERATION
@PLACES
def test_some_call_is_answered_wrongly(new_matrix: Callable[..., Matrix], place: str, operation: Any) -> None:
    number = OPERATIONS.index(operation)
    matrix = new_matrix(place, operation, number % 2 == 0)
    counted = matrix.count()
    kinds = KINDS[number % SMALL[place] :: SMALL[place]]
    assert [each for kind in kinds for each in matrix.run(kind, counted, number + KINDS.index(kind))] == []


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@OPERATION
@PLACES
def test_each_call_is_answered_wrongly_once(
    new_matrix: Callable[..., Matrix], place: str, operation: Any, kind: str
) -> None:
    matrices = [new_matrix(place, operation, shared) for shared in (False, True)]
    assert [each for matrix in matrices for each in matrix.run(kind, matrix.count())] == []


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.full)])
def test_a_change_that_removes_the_sidecar_again(
    new_matrix: Callable[..., Matrix], shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant of what leaves it: one wrong "not found" loses a sound media its sidecar."""
    real = commit.rewrite_sidecar

    def rewrite(backend: Any, reference: str, *rest: Any, **words: Any) -> None:
        try:
            real(backend, reference, *rest, **words)
        except MediaNotFoundError:
            backend.delete([keys.sidecar_key(reference)])
            raise

    monkeypatch.setattr(commit, "rewrite_sidecar", rewrite)
    matrix = new_matrix(S3_MOTO, change, shared)
    assert any("lost" in each for each in matrix.run("not found", matrix.count()))


def test_a_hold_that_is_taken_back(new_matrix: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of what keeps it: one wrong "not found" loses the hold that was there before."""
    real = lifetime.hold

    def hold_or_take_back(context: Any, hold: Any) -> None:
        try:
            real(context, hold)
        except MediaNotFoundError:
            context.backend.delete([keys.hold_key(hold.reference)])
            raise

    monkeypatch.setattr(lifetime, "hold", hold_or_take_back)
    matrix = new_matrix(S3_MOTO, hold, False)
    assert any("lost: the hold" in each for each in matrix.run("not found", matrix.count()))


def test_a_verification_that_looks_once(new_matrix: Callable[..., Matrix], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutant of what looks twice: one wrong "not found" leaves damage out of the report."""
    monkeypatch.setattr(repair_module.Repairer, "_confirm", lambda *_: None)
    matrix = new_matrix(S3_MOTO, verify, False)
    assert any("claimed: whole" in each for each in matrix.run("not found", matrix.count()))
