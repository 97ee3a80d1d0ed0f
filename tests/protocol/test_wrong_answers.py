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

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import BytesIO
from itertools import chain, count, islice, product
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
from fsmedia.storage import azure, gcs, s3
from fsmedia.storage.fsspec_backend import FsspecBackend
from fsmedia.storage.listing import KeyOrder
from tests.conftest import OBSTORE, Clock, make_storage
from tests.servers import Call, WrongAnswer
from tests.storages import AZURE, GCS, S3_MOTO, S3_RCLONE, AzureStorage, GcsStorage, ObjectStorage, S3Storage

PORTAL = b'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>Sign in</title></head><body/></html>'
ABSENT = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
OTHER = {
    S3Storage: b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>",
    GcsStorage: b'{"kind": "storage#buckets"}',
}
NO_KEYS = b"<ListBucketResult><Name>media</Name><MaxKeys>1000</MaxKeys><KeyCount>0</KeyCount>%b</ListBucketResult>"
BARE = b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'
NO_BLOBS = b"<EnumerationResults><Blobs/></EnumerationResults>"
NO_LISTINGS = {
    S3Storage: [b"", PORTAL, OTHER[S3Storage], BARE, NO_KEYS % b""],  # the last without a word whether it ends there
    GcsStorage: [
        b"", PORTAL, b"{}", b'{"error": {"code": 503, "message": "backend error"}}', b"null", b"[]", OTHER[GcsStorage],
    ],
    AzureStorage: [b"", PORTAL, NO_BLOBS],
}  # fmt: skip


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    return make_storage(request.param, request, tmp_path)


def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe every answer, as botocore, s3fs and gcsfs do."""
    monkeypatch.setattr(s3, "PROOFS", {})
    monkeypatch.setattr(gcs, "_proof", lambda *_: None)
    monkeypatch.setattr(gcs.CheckedGCSFileSystem, "_request", gcs.GCSFileSystem._request)
    monkeypatch.setattr(gcs, "_is_of_object", lambda _: True)
    monkeypatch.setattr(azure, "_is_of_azure", lambda _: True)
    monkeypatch.setattr(azure, "_is_listing", lambda *_: True)
    no_brakes(monkeypatch)


def no_brakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the brakes out too, which stand behind the checks and would stop what a wrong listing begins."""
    for room in (erase_module, sync_module):
        monkeypatch.setattr(room, "check_listing", lambda *_, **__: None)
    monkeypatch.setattr(Verification, "_check_listing", lambda _: None)


@dataclass
class World:
    """A store of some media, its mirror, and what must be true of them afterwards."""

    place: ObjectStorage
    mirror: Path
    clock: Clock
    shared: bool = False
    many: int = 3  # media, where their number does not matter
    kept: dict[str, bytes] = field(default_factory=dict)  # all of them must be listed, and readable as these bytes
    contents: list[bytes] = field(default_factory=list)  # which some listed media must have, under whatever name
    remains: list[bytes] = field(default_factory=list)  # somewhere in the bucket, also after a repair without any fault
    held: list[str] = field(default_factory=list)  # whose hold must be there
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open(deduplicate=self.shared)

    def open(self, **options: Any) -> None:
        # What is no XML at all botocore takes for an error of the server, and asks again and again.
        once = {"config_kwargs": {"retries": {"max_attempts": 1}}} if isinstance(self.place, S3Storage) else {}
        words = {"storage_options": {**self.place.options, **once}, "now": self.clock}
        self.store = MediaStore(self.place.url, **words, **options)

    def put(self, text: str, run: str = "r1", session: str = "bob", **metadata: Any) -> str:
        content = MediaContent.from_text(text)
        reference = self.store.store_media(content, MediaMetadata(run_id=run, session_id=session, **metadata))
        self.kept[reference] = text.encode()
        return reference

    def fill(self, session: str = "bob", **metadata: Any) -> list[str]:
        return [self.put(f"text {at}", f"r{at % 3}", session, **metadata) for at in range(self.many)]

    def lets_go(self, *references: str) -> None:
        for each in references:
            del self.kept[each]

    def claim(self, wrong: bool, what: str) -> None:
        self.problems += [f"claimed: {what}"] if wrong else []

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
        for round_ in ("by it", "by the next repair") if self.remains else ():
            there = {self.place.read(key) for key in sorted(self.place.keys())}
            self.problems += [f"lost {round_}: {each[:40]!r}" for each in self.remains if each not in there]
            self.store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)
        return self.problems


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
    world.lets_go(first)

    def act() -> None:
        world.store.delete_media(first)
        # GCS answers 404 where nothing is, and a request more for each deletion would be needed to doubt it.
        there = world.place.keys() & {first, f"{first}.meta"}
        world.claim(isinstance(world.place, S3Storage) and there, "deleted")

    return act


def delete_many(world: World) -> Act:
    going = [world.put(f"text {number}", f"r{number}") for number in range(2)]
    world.put("text 0", "r5")
    world.lets_go(*going)
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
    world.lets_go(due)

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
    world.lets_go(rotten, torn, both)
    return {rotten: "digest", torn: "sidecar", both: "sidecar"}, [b"R" * 50, b"t" * 50, b"b" * 51]


def find_damage(world: World) -> Act:
    known, _ = damage(world)

    def act() -> None:
        report = world.store.verify(deep=True)
        missed = [known[each] for each in known.keys() - {each.key for each in report.findings}]
        world.claim(missed and not report.failed, f"nothing is wrong with {missed}")

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
    world.lets_go(broken)
    return lambda: world.claim(world.store.verify().whole, "whole")


def erase(world: World) -> Act:
    names = world.fill("ada", policy_name="retain-30days")
    world.put("text 0", "r5")
    world.lets_go(*names)

    def act() -> None:
        complete = world.store.erase(session_id="ada").is_complete
        left = {*names, *(f"{each}.meta" for each in names)} & world.place.keys()
        world.claim(complete and left, f"complete, with {len(left)} left")

    return act


def catalog(world: World) -> Act:
    world.fill()

    def act() -> None:
        found = world.store.catalog().to_arrow().column("reference").to_pylist()
        world.claim({*found} != {*world.kept}, f"{len(found)} of {len(world.kept)} in the catalog")

    return act


def leftovers(world: World) -> Act:
    """Mend leftovers; bytes that somebody uses are none."""
    mend = orphans(world)

    def act() -> None:
        report = mend()
        world.claim(not report.findings and report.examined == 0, "an empty store")

    return act


def list_all(world: World) -> Act:
    world.fill()
    return lambda: world.claim(list(world.store.list()) != sorted(world.kept), "all listed")


# -- listings ------------------------------------------------------------------------------------------------
SCENARIOS = (delete, sweep, leftovers, sync, verify, erase, catalog, list_all)
LISTED = pytest.mark.parametrize("place", [S3_RCLONE, GCS, pytest.param(AZURE, marks=pytest.mark.full)], indirect=True)
PLACE = pytest.mark.parametrize("place", [S3_RCLONE, GCS], indirect=True)
ON_BOTH_ENGINES = pytest.mark.parametrize("place", [S3_RCLONE, f"{S3_RCLONE}{OBSTORE}", GCS], indirect=True)
ON_MOTO = pytest.mark.parametrize("place", [S3_MOTO, GCS], indirect=True)  # for the relay asks too, and can't sign
ON_S3 = pytest.mark.parametrize("place", [S3_RCLONE], indirect=True)
Scenario = Any  # a function of a world


def scenarios(*chosen: Scenario) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scenario", chosen, ids=lambda each: each.__name__)


@pytest.fixture
def world(place: ObjectStorage, tmp_path: Path, clock: Clock) -> World:
    return World(place, tmp_path / "mirror", clock, many=12)


def refused(world: World, act: Act, match: str, *wrong: WrongAnswer) -> list[str]:
    """Do it under wrong answers; say so if no error of the storage comes that tells this."""
    told = None
    with world.place.server.answering(*wrong):
        try:
            act()
        except (StorageError, BulkError) as error:
            told = str(error)
    return [] if told is not None and re.search(match, told) else [f"{wrong}: {told or 'nothing'} was raised"]


def play(world: World, scenario: Scenario, *wrongs: WrongAnswer, refusal: str = "") -> list[str]:
    """Do it while listings are answered wrongly: of a sweep those of the holds, else all; say what is wrong then."""
    if scenario in (delete, leftovers):
        world.open(deduplicate=True)
    act, found = scenario(world), []
    for number, wrong in enumerate(wrongs):
        # What was taken can't be taken again; of what was refused only a delete has taken something.
        if number and scenario in ((delete,) if refusal else (delete, sweep, erase)):
            act = scenario(world)
        answer = replace(wrong, target="holds") if scenario is sweep else wrong
        if refusal:
            found += refused(world, act, refusal, answer)
        else:
            with world.place.server.answering(answer):
                act()
    return found + world.look()


@scenarios(*SCENARIOS)
@LISTED
def test_a_listing_that_is_none_is_an_error(world: World, scenario: Scenario) -> None:
    """Every listing is answered 200 with something else."""
    wrongs = [WrongAnswer("LIST", body=body) for body in NO_LISTINGS[type(world.place)]]
    assert play(world, scenario, *wrongs, refusal="no proper answer") == []


@scenarios(*SCENARIOS)
@LISTED
def test_without_the_proof_of_a_listing(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    body = {S3Storage: PORTAL, GcsStorage: b"{}", AzureStorage: NO_BLOBS}[type(world.place)]
    assert play(world, scenario, WrongAnswer("LIST", body=body, headers={"Content-Type": "application/xml"}))


@LISTED
def test_a_listing_that_is_none_once_is_asked_for_again(world: World) -> None:
    """One wrong answer is as good as none: the request is repeated."""
    assert play(world, list_all, WrongAnswer("LIST", body=b"", times=1)) == []


# -- order ---------------------------------------------------------------------------------------------------
def no_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give what is listed in the order of the server."""
    no_brakes(monkeypatch)
    monkeypatch.setattr(KeyOrder, "entries", lambda _, found: chain.from_iterable(page.entries for page in found))


@scenarios(*SCENARIOS)
@ON_MOTO
def test_a_server_that_lists_in_another_order(world: World, scenario: Scenario) -> None:
    """As rclone before 1.74.1, S3 Express and Storj do: what comes is sorted.

    Of the first answers nothing is wrong, so that what the others show is not the relay's own doing.
    """
    wrongs = WrongAnswer("LIST", change="sorted", page=5), WrongAnswer("LIST", change="hashed")
    assert play(world, scenario, *wrongs) == []


@scenarios(sync, verify, erase, catalog, list_all)
@ON_MOTO
def test_a_later_page_that_shows_another_order(world: World, scenario: Scenario) -> None:
    """What was given can't be taken back, so it ends in an error, and nothing was deleted or claimed by then."""
    wrong = WrongAnswer("LIST", target=r"^(?!.*(holds|catalog|due|delimiter))", change="turned", page=6)
    assert play(world, scenario, wrong, refusal="order of keys") == []


HASHED = WrongAnswer("LIST", change="hashed")
TURNED = WrongAnswer("LIST", change="turned", page=5)  # of an odd size: a page ends between bytes and their sidecar


@ON_MOTO
@pytest.mark.parametrize(
    ("scenario", "wrong"), [*product((sync, catalog, list_all), [HASHED]), *product((sync, list_all), [TURNED])]
)
def test_without_the_sorting(
    world: World, scenario: Scenario, wrong: WrongAnswer, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_sorting(monkeypatch)
    assert play(world, scenario, wrong)


@ON_MOTO
def test_after_such_an_error_listings_are_sorted(world: World) -> None:
    names = sorted(world.fill())
    with world.place.server.answering(WrongAnswer("LIST", change="turned", page=6)):
        with pytest.raises(StorageError, match="order of keys"):
            list(world.store.list())
        assert list(world.store.list()) == names


@ON_MOTO
def test_a_listing_that_goes_round_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with the same token again and again, as a cache gives it; who looks at no token and no page goes on."""
    world.fill()
    round_ = WrongAnswer("LIST", change="repeated", page=6)
    assert refused(world, lambda: list(world.store.list()), "goes round", round_) == []

    def pages(ask: Any, _: str) -> Iterator[Any]:
        page = ask(None)
        while page.token is not None:
            yield page
            page = ask(page.token)
        yield page

    no_sorting(monkeypatch)  # a page that comes a second time is out of order too
    for storage in (s3, gcs):
        monkeypatch.setattr(storage, "pages", pages)
    with world.place.server.answering(round_):
        assert len([*islice(world.store._backend.entries(), 100)]) == 100


@PLACE
def test_verify_looks_for_store_json_in_what_is_listed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing of another place may be a proper one: who does not look calls all whole."""
    names = [world.put(f"text {number}") for number in range(3)]
    world.place.remove(names[1])
    page = {S3Storage: NO_KEYS % b"<IsTruncated>false</IsTruncated>", GcsStorage: b'{"kind": "storage#objects"}'}[
        type(world.place)
    ]
    assert refused(world, world.store.verify, "proves nothing", WrongAnswer("LIST", body=page)) == []
    monkeypatch.setattr(Verification, "_check_listing", lambda _: None)
    with world.place.server.answering(WrongAnswer("LIST", body=page)):
        assert world.store.verify().whole


@ON_MOTO
def test_a_page_of_another_folder_is_no_answer(world: World) -> None:
    """A cache that takes all listings of a bucket for one."""
    world.put("a", "r1")
    world.put("b", "r2")
    listing = {
        S3Storage: f"{world.place.bucket}?list-type=2&prefix={world.place.prefix}runs/r2/",
        GcsStorage: f"storage/v1/b/{world.place.bucket}/o?prefix=runs/r2/",
    }[type(world.place)]
    with urllib.request.urlopen(f"{world.place.server.direct_url}/{listing}") as answer:
        wrong = WrongAnswer("LIST", target="runs/r1", body=answer.read())
    assert refused(world, lambda: list(world.store.list(run_id="r1")), "no proper answer", wrong) == []


# -- writes, deletions, copies -------------------------------------------------------------------------------
LARGE = bytes(range(256)) * 4096 * 20
"""20 MiB: more than one request for each of the storages."""
TRY_AGAIN = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>try again</Message></Error>"
"""S3 says so, with status 200, when it fails after it has begun to answer."""


def upload(world: World) -> Act:
    world.store.create()
    return lambda: world.put("new")


def upload_large(world: World) -> Act:
    world.store.create()

    def act() -> None:
        content = MediaContent.from_stream(BytesIO(LARGE), "application/octet-stream")
        world.kept[world.store.store_media(content, MediaMetadata(run_id="r1"))] = LARGE

    return act


def remove(world: World, *, many: bool = False) -> Act:
    reference = world.put("still here")

    def act() -> None:
        world.store.delete_many([reference]) if many else world.store.delete_media(reference)
        world.claim(world.store.exists(reference), "deleted")

    return act


def remove_many(world: World) -> Act:
    return remove(world, many=True)


def rename(world: World) -> Act:
    """A move deletes what it copied, if it did."""
    reference = world.put("to be moved")

    def act() -> None:
        world.store.fs.mv(reference, "runs/r1/new-name.txt")
        world.kept["runs/r1/new-name.txt"] = world.kept.pop(reference)
        assert reference not in sorted(world.place.keys())

    return act


Asked = tuple[str, str]  # method and target
DELETION = ([("DELETE", ""), ("POST", "delete")], PORTAL, [b"", b"{}", PORTAL])
CONFIRMED: dict[Any, dict[type, tuple[list[Asked], bytes, list[bytes]]]] = {
    upload: {
        S3Storage: ([("PUT", "/")], b"", [b"", PORTAL]),
        GcsStorage: (
            [("POST", "/upload/")], b'{"generation": "1"}', [b"", b"{}", b"null", PORTAL, b'{"kind": "storage#object"}']
        ),
    },
    upload_large: {
        S3Storage: ([("POST", "uploadId=")], b"<Other/>", [b"", b"<Other/>", TRY_AGAIN]),
        GcsStorage: ([("POST", "upload_id=")], b"{}", [b"", b"{}", PORTAL]),
    },
    remove: dict.fromkeys((S3Storage, GcsStorage), DELETION),
    remove_many: dict.fromkeys((S3Storage, GcsStorage), DELETION),
    rename: {
        S3Storage: ([("PUT", r"new-name\.txt$")], b"<CopyObjectResult/>", [b"", PORTAL, b"{}"]),
        GcsStorage: ([("POST", "rewriteTo")], b'{"done": true}', [b"", PORTAL, b"{}"]),
    },
}  # fmt: skip
"""What a server must confirm -> the requests, the body that was believed once, those that somebody in between sends."""


@scenarios(*CONFIRMED)
@ON_BOTH_ENGINES
def test_what_is_not_confirmed_is_an_error(world: World, scenario: Scenario) -> None:
    """The server is never asked; somebody in between says 200."""
    act, (asked, believed, bodies) = scenario(world), CONFIRMED[scenario][type(world.place)]
    for body in dict.fromkeys([*bodies, believed]):
        match = {TRY_AGAIN: "try again"}.get(body, "no proper answer" if scenario in (upload, upload_large) else "")
        assert refused(world, act, match, *(WrongAnswer(*each, body=body) for each in asked)) == []
    assert list(world.store.list()) == sorted(world.kept)
    assert world.look() == []


@scenarios(*(each for each in CONFIRMED if each is not remove_many))
@PLACE
def test_without_the_proof_of_a_confirmation(world: World, scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    no_checks(monkeypatch)
    act, (asked, body, _) = scenario(world), CONFIRMED[scenario][type(world.place)]
    with world.place.server.answering(*(WrongAnswer(*each, body=body) for each in asked)):
        act()
    assert world.look()


@ON_S3
def test_a_deletion_that_is_answered_not_found_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 confirms a deletion by 204 whether anything was there or not; GCS answers so where nothing is."""

    def left() -> set[str]:
        reference = world.put("to go")
        with world.place.server.answering(WrongAnswer("DELETE", body=ABSENT, status=404, times=1)):
            world.store.delete_media(reference)
        return {key.removeprefix(reference) for key in world.place.keys() if key.startswith(reference)}  # noqa: SIM118

    assert left() == set(), "it must be asked again"
    monkeypatch.setattr(s3.S3Backend, "_delete_one", FsspecBackend._delete_one)
    assert left() == {".meta"}


@ON_S3
def test_a_due_index_is_not_complete_by_one_wrong_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A media that a rebuild passes over would never expire."""
    reference, once = world.put("to expire", policy_name="retain-1days"), records.read_sidecars

    def indexed() -> set[str]:
        for key in filter(keys.parse_due, sorted(world.place.keys())):
            world.place.remove(key)
        with world.place.server.answering(WrongAnswer("GET", target=r"\.meta", body=ABSENT, status=404, times=1)):
            assert world.store.verify(repair=True, force=True).due_index == "complete"
        return {due.reference for due in map(keys.parse_due, world.place.keys()) if due is not None}

    assert indexed() == {reference}, "it must be asked again"
    monkeypatch.setattr(
        records, "read_listed_sidecars", lambda backend, names: dict(zip(names, once(backend, names), strict=True))
    )
    assert indexed() == set()


PAGES = [WrongAnswer(method, target="/runs/|%2F|/o/", body=PORTAL) for method in ("HEAD", "GET")]


@ON_BOTH_ENGINES
def test_a_look_or_a_read_answered_with_a_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of HTML is neither a sidecar nor a media; without the proofs it is taken for both."""
    reference = world.put("the bytes")
    backend = world.store._backend
    looks = (
        lambda: backend.head(reference), lambda: backend.read(f"{reference}.meta"),
        lambda: backend.read_range(reference, 1, 3), lambda: world.store.fs.cat_file(reference),
    )  # fmt: skip
    assert [each for look in looks for each in refused(world, look, "no proper answer", *PAGES)] == []
    assert world.look() == []
    no_checks(monkeypatch)
    world.open(verify_reads=False)
    backend = world.store._backend
    with world.place.server.answering(*PAGES):
        assert backend.read(f"{reference}.meta") == PORTAL
        assert world.store.fs.cat_file(reference) == PORTAL
    # What GCS tells of an object is JSON, and gcsfs reads it.
    there = {S3Storage: PORTAL, GcsStorage: b'{"name": "another", "size": "1"}'}[type(world.place)]
    with world.place.server.answering(*(replace(page, body=there) for page in PAGES)):
        assert backend.head(f"{reference}-that-is-not-there") is not None


# -- each call -------------------------------------------------------------------------------------------------
SMALL = {S3_MOTO: 5, f"{S3_MOTO}{OBSTORE}": 1, GCS: 8}
"""The small run takes every so manieth kind."""


def wrong_answers(place: str) -> dict[str, dict[str, Any]]:
    return {
        "nothing": {"body": b""},
        "not found": {"body": ABSENT, "status": 404},
        "a page": {"body": PORTAL, "headers": {"Content-Type": "text/html"}},
        "another document": {"body": OTHER[GcsStorage if place == GCS else S3Storage]},
        "a stale listing": {"method": "LIST", "change": "first"},
        "another order": {"method": "LIST", "change": "hashed"},
        "a page that goes round": {"method": "LIST", "change": "repeated", "page": 2},
        "short": {"method": "GET", "change": "short"},
        "flipped": {"method": "GET", "change": "flipped"},
    }


KINDS = tuple(wrong_answers(S3_MOTO))
OPERATIONS = (
    store, delete, delete_many, change, hold, move, sweep, orphans, repair, repair_damage, sync, verify, find_damage,
    erase, catalog,
)  # fmt: skip
OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.__name__)
PLACES = pytest.mark.parametrize("place", [S3_MOTO, pytest.param(f"{S3_MOTO}{OBSTORE}", marks=pytest.mark.full), GCS])


def fits(call: Call, method: str | None) -> bool:
    """Tell whether the relay applies a rule for a method to a call."""
    return call.kind == "list" if method == "LIST" else method in (None, call.method)


NewWorld = Callable[[str, bool], World]


@dataclass(frozen=True)
class Matrix:
    new_world: NewWorld
    place: str
    operation: Callable[[World], Act]
    shared: bool

    def count(self) -> tuple[list[Call], list[Call]]:
        """Return the calls before and in the operation where all answers are right."""
        world = self.new_world(self.place, self.shared)
        with world.place.counted() as before:
            act = self.operation(world)
        with world.place.counted() as during:
            act()
        assert world.look() == []
        return before.calls, during.calls

    def run(
        self, kind: str, counted: tuple[list[Call], list[Call]] | None = None, small: int | None = None
    ) -> Iterator[str]:
        """Yield what is wrong, with the number of the call that was answered wrongly: of each, or of a `small`-th."""
        rule = wrong_answers(self.place)[kind]
        before, calls = (sum(fits(call, rule.get("method")) for call in part) for part in counted or self.count())
        assert calls or "method" in rule
        for number in range(1, calls + 1) if small is None or not calls else [1 + small * 7 % calls]:
            yield from (f"{kind}, call {number} of {calls}: {each}" for each in self._one(kind, before, number))

    def _one(self, kind: str, before: int, number: int) -> list[str]:
        world = self.new_world(self.place, self.shared)
        rule = {**wrong_answers(self.place)[kind], "times": 1}
        # That it says so is right; what must not be is looked for afterwards.
        with suppress(MediaError, BulkError):
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
def new_world(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> NewWorld:
    mirrors = (tmp_path / f"mirror-{number}" for number in count())
    return lambda place, shared: World(make_storage(place, request, tmp_path), next(mirrors), clock, shared)


@OPERATION
@PLACES
def test_some_call_is_answered_wrongly(new_world: NewWorld, place: str, operation: Any) -> None:
    number = OPERATIONS.index(operation)
    matrix = Matrix(new_world, place, operation, number % 2 == 0)
    counted = matrix.count()
    kinds = KINDS[number % SMALL[place] :: SMALL[place]]
    assert [each for kind in kinds for each in matrix.run(kind, counted, number + KINDS.index(kind))] == []


@pytest.mark.full
@pytest.mark.timeout(1800)  # a new world for each call of an operation, and a repair makes a hundred of them
@pytest.mark.parametrize("kind", KINDS)
@OPERATION
@PLACES
def test_each_call_is_answered_wrongly_once(new_world: NewWorld, place: str, operation: Any, kind: str) -> None:
    matrices = [Matrix(new_world, place, operation, shared) for shared in (False, True)]
    assert [each for matrix in matrices for each in matrix.run(kind)] == []


def takes_back(key_of: Callable[[str], str]) -> Callable[..., Any]:
    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        def changed(first: Any, second: Any, *rest: Any, **words: Any) -> None:
            try:
                real(first, second, *rest, **words)
            except MediaNotFoundError:
                backend, reference = (first, second) if isinstance(second, str) else (first.backend, second.reference)
                backend.delete([key_of(reference)])
                raise

        return changed

    return make


DOUBTS: dict[str, tuple[Any, ...]] = {
    "a change that removes the sidecar again":
        (change, commit, "rewrite_sidecar", takes_back(keys.sidecar_key), "lost"),
    "a hold that is taken back": (hold, lifetime, "hold", takes_back(keys.hold_key), "lost: the hold"),
    "a verification that looks once":
        (verify, repair_module.Repairer, "_confirm", lambda _: lambda *_: None, "claimed: whole"),
}  # fmt: skip


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.full)], ids=["plain", "shared"])
@pytest.mark.parametrize("doubt", DOUBTS)
def test_without_what_doubts_one_not_found(
    new_world: NewWorld, doubt: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong "not found" loses a sound media its sidecar or its hold, or leaves damage out of the report."""
    operation, place, name, broken, wrong = DOUBTS[doubt]
    monkeypatch.setattr(place, name, broken(getattr(place, name)))
    assert any(wrong in each for each in Matrix(new_world, S3_MOTO, operation, shared).run("not found"))
