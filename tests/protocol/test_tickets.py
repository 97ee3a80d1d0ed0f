"""A process dies at every step of a ticket, its upload and its confirmation; others confirm, sweep, annotate, delete
and store the same bytes between any two calls. What is confirmed is whole, and nobody's bytes are lost.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from multiprocessing import get_context
from typing import Any

import pytest

from fsmedia import (
    InvalidMediaError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaNotFoundError,
    MediaStore,
    StorageError,
    UploadTicket,
)
from fsmedia.core import blobs, commit
from fsmedia.format import keys
from fsmedia.storage import Exclusion
from tests.conftest import Clock, make_storage
from tests.contract.specimens import AT_ONCE, STORE_JSON
from tests.protocol.faults import Fault, Faults, faulty_backends
from tests.protocol.test_requests import sent as sent  # noqa: PLC0414 - a fixture
from tests.protocol.wire import counted
from tests.protocol.worlds import Place, World, each_fault, fresh_world
from tests.storages import AZURE, LOCAL, MEMORY, S3_MOTO, S3_SEAWEED
from tests.uploads import KEY, PICTURE, R1, is_taken, ticket_for

SHARED = pytest.mark.parametrize("deduplicate", [False, True], ids=["plain", "deduplicated"])
PLACES = pytest.mark.parametrize(
    "place", [(MEMORY, "calls"), (LOCAL, "calls"), (LOCAL, "syscalls", {"durability": "rename"})], indirect=True,
    ids=["memory", "local", "local-syscalls"],
)  # fmt: skip
GARBAGE = PICTURE[:-1] + b"!"


def asked(store: MediaStore) -> UploadTicket:
    return ticket_for(store, metadata=MediaMetadata(run_id="r1", policy_name="retain-9days"), digest=True)


def uploaded(store: MediaStore, data: bytes = PICTURE) -> UploadTicket:
    ticket = asked(store)
    store.accept_upload(ticket.token, [data])
    return ticket


def whole(world: World) -> list[str]:
    """Check that all that is listed is whole; return what is listed."""
    store = world.open()
    listed = list(store.list())
    for reference in listed:
        data = store.read(reference)
        record = store.info(reference)
        assert (record.size_bytes, record.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    return listed


def swept(world: World) -> set[str]:
    """Take away what belongs to no media; return what stays."""
    world.open().verify(repair="leftovers", **AT_ONCE)
    return world.storage.keys()


def world_of(kind: str, place: Any, *, deduplicate: bool, first: bool = False, **more: Any) -> World:
    """Return a store with one media in it, or one that nobody has made yet."""
    world = fresh_world(kind, place, first=True, ticket_key=KEY, deduplicate=deduplicate, **more)
    if not first:
        world.open().store_media(MediaContent.from_bytes(b"neighbour", "text/plain"), MediaMetadata(run_id="r1"))
    return world


# -- crashes -----------------------------------------------------------------------------------------------
@SHARED
@pytest.mark.parametrize("step", ["ticket", "upload", "confirm"])
@PLACES
def test_a_process_that_is_killed(place: Place, step: str, deduplicate: bool) -> None:
    """Look at what is there, go on with what can go on, and sweep: nothing is left but media."""
    for faults in place.crashes():
        # A ticket for plain media writes nothing but the settings.
        world = world_of(place.kind, place.tmp_path, deduplicate=deduplicate, first=step == "ticket", **place.options)
        begun = whole(world)
        before = world.storage.keys()
        ticket = None if step == "ticket" else asked(world.open())
        if step == "confirm":
            world.open().accept_upload(ticket.token, [PICTURE])
        works: dict[str, Callable[[MediaStore], Any]] = {
            "ticket": asked,
            "upload": lambda store, ticket=ticket: store.accept_upload(ticket.token, [PICTURE]),
            "confirm": lambda store, ticket=ticket: store.confirm_upload(ticket.token),
        }
        answer = place.run(world, faults, works[step])
        there = [each for each in whole(world) if each not in begun]
        assert there in ([], [ticket.reference] if step == "confirm" else [])
        if step == "confirm" and answer is not None:
            assert there == [answer]
        if step == "upload":
            is_taken(world.open(), ticket)  # the client was told nothing, and sends again
        if ticket is not None:
            assert world.open().confirm_upload(ticket.token) == ticket.reference
            assert world.open().read(ticket.reference) == PICTURE
            assert world.open().verify(deep=True).whole
            world.open().delete_media(ticket.reference)
        assert swept(world) - {STORE_JSON} == before - {STORE_JSON}, f"left by {faults.hit}"


@SHARED
@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST, Fault.BROKEN])
def test_a_confirmation_without_an_answer(fault: Fault, deduplicate: bool, tmp_path: Any) -> None:
    """The caller hears of it, and asks again."""
    for faults in each_fault(fault):
        world = world_of(MEMORY, tmp_path, deduplicate=deduplicate)
        ticket = uploaded(world.open())
        with faulty_backends(faults):
            try:
                answer = world.open().confirm_upload(ticket.token)
            except MediaError as error:
                answer = None
                said = error
        assert answer is not None or said.reference == ticket.reference
        assert (answer is None) is (faults.hit is not None)
        assert world.open().confirm_upload(ticket.token) == ticket.reference
        assert ticket.reference in whole(world)


# -- meetings ----------------------------------------------------------------------------------------------
@dataclass
class Meeting(Faults):
    """Lets something happen before the `at`-th call of any kind."""

    act: Callable[[], Any] = bool
    seen: int = 0
    met: bool = False

    def look(self) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.met = True
            self.act()


def meetings(
    tmp_path: Any, work: Callable[[World, UploadTicket], Any], **how: Any
) -> Iterator[tuple[World, UploadTicket, Any]]:
    """Confirm an upload, with what others do before its first call, its second, ...; yield what came of it."""
    others = how.pop("others", False)  # whether another media has the same bytes
    for number in count(1):
        world = world_of(MEMORY, tmp_path, **how)
        if others:
            world.open().store_media(MediaContent.from_bytes(PICTURE, "image/png"), MediaMetadata(run_id="r2"))
        ticket = uploaded(world.open())
        faults = Meeting(act=lambda world=world, ticket=ticket: work(world, ticket))
        answer: Any = None
        with faulty_backends(faults):
            store = world.open()
        faults.seen, faults.at = 0, number
        try:
            answer = store.confirm_upload(ticket.token)
        except MediaError as error:
            answer = error
        if not faults.met:
            assert number > 5, "hardly any call was counted: the test sees nothing"
            return
        yield world, ticket, answer


@SHARED
def test_two_confirm_and_what_is_said_of_the_media_since_stays(deduplicate: bool, tmp_path: Any) -> None:
    def work(world: World, ticket: UploadTicket) -> None:
        other = world.open()
        assert other.confirm_upload(ticket.token) == ticket.reference
        other.annotate(ticket.reference, {"score": 5})
        other.apply_policy(ticket.reference, None)

    for world, ticket, answer in meetings(tmp_path, work, deduplicate=deduplicate):
        assert answer == ticket.reference
        record = world.open().info(answer)
        assert (record.attributes, record.policy_name) == ({"score": 5}, None), "a sidecar went over another's"
        assert whole(world)
        assert world.open().verify(deep=True).whole


def confirmed(url: str, tokens: list[str]) -> list[str]:
    store = MediaStore(url, ticket_key=KEY, durability="rename")
    return [store.confirm_upload(token) for token in tokens]


@SHARED
def test_two_processes_confirm(deduplicate: bool, tmp_path: Any) -> None:
    world = world_of(LOCAL, tmp_path, deduplicate=deduplicate, durability="rename")
    waiting = [uploaded(world.open()) for _ in range(40)]
    tokens = [ticket.token for ticket in waiting]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(confirmed, [world.storage.url] * 2, [tokens, tokens]))
    assert answers == [[ticket.reference for ticket in waiting]] * 2
    assert len(whole(world)) == 41
    before = world.storage.keys()
    due = {key for key in sorted(before) if key.startswith(".fsmedia/due/")}
    assert swept(world) | due == before, "nothing is left but hints about instants"


@pytest.mark.parametrize(
    ("deduplicate", "others"), [(False, False), (True, False), (True, True)], ids=["plain", "deduplicated", "shared"]
)
def test_a_confirmation_meets_one_that_is_followed_by_a_delete(deduplicate: bool, others: bool, tmp_path: Any) -> None:
    """Nothing comes back that was deleted: whoever is late hears that it is gone, and leaves no sidecar."""

    def work(world: World, ticket: UploadTicket) -> None:
        other = world.open()
        other.delete_media(other.confirm_upload(ticket.token))

    outcomes = []
    for world, ticket, answer in meetings(tmp_path, work, deduplicate=deduplicate, others=others):
        outcomes.append(answer)
        assert f"{ticket.reference}.meta" not in sorted(world.storage.keys())
        assert len(whole(world)) == 1 + others
        # The same URL once more: what it takes is looked at as if for the first time.
        world.storage.write(keys.plain_reference(ticket.reference) or ticket.reference, b"<html>")
        with pytest.raises(InvalidMediaError):
            world.open().confirm_upload(ticket.token)
        world.open().verify(repair=True, **AT_ONCE)
        assert len(whole(world)) == 1 + others
    # It was confirmed before the delete where only the upload is left to be removed, or the bytes, seen with the
    # marker, to be seen: others hold them.
    late = outcomes[: len(outcomes) - deduplicate - others]
    assert [each for each in late if not isinstance(each, MediaNotFoundError)] == []


@SHARED
def test_a_process_that_slept_longer_than_a_sweep_leaves_hints_of_no_media(
    deduplicate: bool, tmp_path: Any, clock: Clock
) -> None:
    """What it then makes a media goes all the same when its policy says so."""

    def sleep(world: World, ticket: UploadTicket) -> None:
        clock.advance(timedelta(hours=13))
        there = world.storage.keys()
        for key in () if f"{ticket.reference}.meta" in there else there:
            if key.startswith(f"{keys.DUE}/"):
                world.storage.remove(key)

    answers = []
    for world, ticket, answer in meetings(tmp_path, sleep, deduplicate=deduplicate, now=clock):
        answers.append(answer)
        due = {each.reference for key in sorted(world.storage.keys()) if (each := keys.parse_due(key)) is not None}
        assert isinstance(answer, InvalidMediaError) if isinstance(answer, MediaError) else ticket.reference in due
    assert ticket.reference in answers


@dataclass
class SweptAsleep(Faults):
    """The process sleeps until its due entry was swept, right before the sidecar; the entry can't be written again."""

    sleep: Callable[[], Any] = bool
    slept: bool = False

    def change(self, call: tuple[str, ...], do: Callable[[], Any], torn: Callable[[], Any] | None = None) -> Any:
        if call[0] == "create" and keys.is_sidecar(call[1]):
            self.slept = True
            self.sleep()
        if self.slept and call[1].startswith(f"{keys.DUE}/"):
            raise self.error(call)
        return super().change(call, do, torn)


@SHARED
def test_who_could_not_write_the_due_entry_again_hears_of_it_and_the_next_confirmation_writes_it(
    deduplicate: bool, tmp_path: Any, clock: Clock
) -> None:
    """It was told that the media is there, which no sweep would ever have seen."""
    world = world_of(MEMORY, tmp_path, deduplicate=deduplicate, now=clock)

    def due() -> list[str]:
        return [key for key in sorted(world.storage.keys()) if keys.parse_due(key) is not None]

    def sleep() -> None:
        clock.advance(timedelta(hours=13))
        for key in due():
            world.storage.remove(key)

    ticket = uploaded(world.open())
    with faulty_backends(SweptAsleep(sleep=sleep)), pytest.raises(StorageError, match="no answer") as caught:
        world.open().confirm_upload(ticket.token)
    assert (caught.value.reference, due()) == (ticket.reference, [])
    assert world.open().confirm_upload(ticket.token) == ticket.reference
    assert [keys.parse_due(key).reference for key in due()] == [ticket.reference]
    assert whole(world)


@SHARED
@pytest.mark.parametrize("hasty", [False, True], ids=["usual", "told that nobody writes"])
def test_a_confirmation_meets_a_sweep(hasty: bool, deduplicate: bool, tmp_path: Any) -> None:
    """The usual one takes nothing that is younger than the grace; one that is misled takes what is no media yet."""

    def work(world: World, ticket: UploadTicket) -> None:
        world.open().verify(repair="leftovers", **(AT_ONCE if hasty else {}))

    outcomes = set()
    for world, ticket, answer in meetings(tmp_path, work, deduplicate=deduplicate):
        outcomes.add(type(answer).__name__)
        assert isinstance(answer, MediaNotFoundError) if isinstance(answer, MediaError) else answer == ticket.reference
        assert hasty or answer == ticket.reference
        world.open().verify(repair=True, **AT_ONCE)
        assert (ticket.reference in whole(world)) is (answer == ticket.reference)
    assert hasty is ("MediaNotFoundError" in outcomes)


def test_a_store_of_the_same_bytes_meets_an_upload_of_others(tmp_path: Any) -> None:
    """A ticket for a digest brings garbage: no store of the right bytes shares it, whenever it comes."""

    def store_right(world: World, _: UploadTicket) -> None:
        reference = world.open().store_media(MediaContent.from_bytes(PICTURE, "image/png"), MediaMetadata(run_id="r2"))
        assert world.open().read(reference) == PICTURE

    for world, ticket, answer in meetings(tmp_path, store_right, deduplicate=True):
        assert answer == ticket.reference
        assert len(whole(world)) == 3
        for reference in list(world.open().list(run_id="r1")):
            world.open().delete_media(reference)
        assert whole(world), "the other's bytes went with the media"
    world = world_of(MEMORY, tmp_path, deduplicate=True)
    store = world.open()
    ticket = asked(store)
    world.storage.write(
        keys.plain_reference(ticket.reference) or "", GARBAGE
    )  # past `accept_upload`, which looks at the digest
    store_right(world, ticket)
    with pytest.raises(MediaError, match="other bytes"):
        store.confirm_upload(ticket.token)
    store_right(world, ticket)
    assert len(whole(world)) == 3


def test_uploads_share_bytes_and_must_bring_them(tmp_path: Any) -> None:
    world = world_of(MEMORY, tmp_path, deduplicate=True)
    store = world.open()
    reference = store.confirm_upload(uploaded(store).token)
    later = store.store_media(MediaContent.from_bytes(PICTURE, "image/png"), R1)
    empty_handed = asked(store)
    again = store.confirm_upload(uploaded(store).token)
    assert len({keys.bytes_key(each) for each in (reference, later, again)}) == 1
    with pytest.raises(MediaNotFoundError, match="nothing was uploaded"):
        store.confirm_upload(empty_handed.token)
    for each in (reference, later):
        store.delete_media(each)
    assert store.read(again) == PICTURE


def test_a_ticket_holds_the_bytes_that_it_names(tmp_path: Any) -> None:
    """Everybody else lets go of them between the ticket and its confirmation."""
    world = world_of(MEMORY, tmp_path, deduplicate=True)
    store = world.open()
    first = store.store_media(MediaContent.from_bytes(PICTURE, "image/png"), R1)
    ticket = uploaded(store)
    store.delete_media(first)
    assert store.read(store.confirm_upload(ticket.token)) == PICTURE


def test_a_ticket_whose_marker_was_swept_takes_nothing_that_could_go(tmp_path: Any) -> None:
    """It was misled, and the upload comes again."""
    world = world_of(MEMORY, tmp_path, deduplicate=True)
    store = world.open()
    first = store.store_media(MediaContent.from_bytes(PICTURE, "image/png"), R1)
    ticket = asked(store)
    store.verify(repair="leftovers", **AT_ONCE)
    store.accept_upload(ticket.token, [PICTURE])
    with pytest.raises(MediaNotFoundError, match="sweep"):
        store.confirm_upload(ticket.token)
    store.delete_media(first)
    assert len(whole(world)) == 1


def test_a_ticket_that_is_never_used_leaves_nothing_in_a_sweep_after_the_grace(tmp_path: Any) -> None:
    """By the storage's own times, which are those of the files."""
    for deduplicate in (False, True):
        world = world_of(LOCAL, tmp_path, deduplicate=deduplicate)
        before = world.storage.keys()
        asked(world.open())
        uploaded(world.open())
        later = Clock(world.open()._now() + timedelta(hours=23))
        world.open(now=later).verify(repair="leftovers")
        assert world.storage.keys() > before
        assert swept(world) == before


# -- these tests can fail ----------------------------------------------------------------------------------
def test_a_sidecar_that_goes_over_anothers_is_caught(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIRM", "CONFIRM_SHARED"):
        steps = [commit.put_sidecar if each is commit.create_sidecar else each for each in getattr(commit, name)]
        monkeypatch.setattr(commit, name, tuple(steps))
    for deduplicate in (False, True):
        with pytest.raises(AssertionError):
            test_two_confirm_and_what_is_said_of_the_media_since_stays(deduplicate=deduplicate, tmp_path=tmp_path)


def test_a_confirmation_that_does_not_look_again_is_caught(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "CONFIRM", commit.CONFIRM[:-1])
    with pytest.raises(AssertionError):
        test_a_confirmation_meets_one_that_is_followed_by_a_delete(deduplicate=False, others=False, tmp_path=tmp_path)


def test_uploads_to_where_bytes_are_shared_are_caught(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # The heal by MD5, or by reading where that is free, hides what happens on other storages.
    monkeypatch.setattr(blobs, "is_rotten", lambda *_: False)
    monkeypatch.setattr(keys, "plain_reference", keys.bytes_key)
    with pytest.raises((AssertionError, MediaError)):
        test_a_store_of_the_same_bytes_meets_an_upload_of_others(tmp_path)


def test_a_confirmation_that_does_not_look_at_the_marker_is_caught(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "has_marker", lambda *_: True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_ticket_whose_marker_was_swept_takes_nothing_that_could_go(tmp_path)


# -- at the wire -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [S3_MOTO, S3_SEAWEED, AZURE])
def test_no_byte_of_an_upload_passes_the_program(
    name: str, request: pytest.FixtureRequest, tmp_path: Any, sent: list[int]
) -> None:
    """A ticket is a marker at most; a confirmation sends the sidecar, and reads the ends where the storage hashes."""
    storage: Any = make_storage(name, request, tmp_path)
    data = PICTURE + bytes(4 * 2**20)
    for deduplicate in (False, True):
        url, options = f"{storage.url}/{deduplicate}", storage.options
        store = MediaStore(url, storage_options=options, ticket_key=KEY, deduplicate=deduplicate).create()
        assert store._backend.exclusion is Exclusion.CONDITIONS  # asks, once in a process
        ticket, n = counted(storage, lambda store=store: ticket_for(store, data, digest=True))
        assert n == ({"list": 1, "put": 1} if deduplicate else {}), n
        with storage.counted() as n:
            assert is_taken(store, ticket, data)
        assert [call.method for call in n.calls] == ["PUT"], "of the one who uploads"
        sent.clear()
        _, n = counted(storage, lambda store=store, ticket=ticket: store.confirm_upload(ticket.token))
        assert [call.key.rpartition("/")[2] for call in n.calls if call.kind == "put"] == [
            f"{ticket.reference.rpartition('/')[2]}.meta"
        ]
        reads = {"get": 3, "head": 6 if deduplicate else 3}
        assert set(n) == {"get", "head", "put", *(("copy", "delete") if deduplicate else ())}
        assert all(n[kind] <= reads.get(kind, 1) for kind in n), n
        if name == S3_SEAWEED:
            assert sum(sent) < 2 * 256 * 1024 + 20_000, "the checksum is the storage's"
        with storage.counted() as n:
            store.confirm_upload(ticket.token)
        assert n == {"get": 1, "head": 2 if deduplicate else 1}
        assert store.read(ticket.reference) == data
