"""A soak: many processes use one store at random, are killed at random, and nothing acknowledged may be lost.

    python -m tests.soak --minutes 30 --processes 4 --storage local --deduplicate

Workers store, stream, store and delete many, copy, move, overwrite, annotate, hold, release, change policies, sweep,
verify, repair, erase and refresh the catalog, all over the same few contents; the parent kills them with SIGKILL in
the middle of anything and starts others. Each writes to a journal of its own, synced, what it is about to do and what
it was answered. Once a minute all stop, and the journals are compared with what lies in the storage, past the package.

What is owed, by the journals alone (times are of one clock for all processes):

- A media whose making was acknowledged is there, with its bytes, unless something that may remove it (a delete, a move
  away, an erasure of its run, a sweep while it may have a short policy) was not over before the making began.
- A hold that was acknowledged before a removal began, and that nobody began to release before that ended, protects.
- Of a killed worker's last operation nobody knows whether it happened: it is owed nothing, and may have done its worst
  until shortly after the death. But who moves may leave two copies, never none.
- Bytes under a client's name are those of a write that no later acknowledged one has followed.
- What is owed is also found by whoever asks for it meanwhile.
- `dangling`: a sidecar under a name of the package's own form without bytes. Under a client's name that is no media.
- `torn`: a sidecar that speaks of other bytes, or a media that is owed and has none. Only a killed or failed write over
  a client's name may leave that, until an acknowledged one follows, or a repair; then no sidecar speaks of others.
"""

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fsmedia import HeldMediaError, MediaContent, MediaError, MediaMetadata, MediaStore
from tests.servers import MotoServer, S3Server, SeaweedServer

SERVERS: dict[str, type[S3Server]] = {"seaweed": SeaweedServer, "moto": MotoServer}
ROUND = 60.0  # seconds between two looks at what is owed
PROGRESS = 10.0
LATE = 5.0  # seconds for which a server may still work on what a dead client asked
LAST = 30.0  # the same before the repair, which is told that nobody writes: a busy server was late by more than LATE
HANGS = 600.0  # seconds after which a worker that was to stop is taken to hang: it may be in a deep verify
GRACE = timedelta(minutes=10)  # the shortest that a store takes
BRIEF, LONG = "delete-after-1min", "retain-3days"
EARLY = timedelta(minutes=4)  # how far ahead sweeps look, so that what is brief is due at once
RUNS, KEPT, NAMED = 6, 3, 24  # runs of which everything goes, runs of which nothing does, names of clients
COMMON, FLEETING = 24, 6  # contents that always some media has, and contents of which mostly the last one goes
PAUSE = {"local": (0.1, 1.0), "s3": (1.0, 5.0)}  # seconds from one kill to the next
REFUSALS = ("HeldMediaError", "MediaNotFoundError")  # before anything was written
TYPE = "application/octet-stream"
OWN = re.compile(
    r"[0-9]{4}_[0-9]{2}_(?P<unique>u[0-9a-z]{26})"
    r"(?:\.(?P<size>[0-9]+)-(?P<digest>[0-9a-f]{64})-(?P<generation>[0-9a-z]{26}))?(?:\.[^/]*)?"
)


@cache
def contents() -> list[bytes]:
    """Return the few contents that all processes share."""
    chance = random.Random(1)
    return [chance.randbytes(chance.choice([10, 300, 5_000, 20_000, 120_000])) for _ in range(COMMON + FLEETING)]


@cache
def numbers(kind: str) -> dict[str, int]:
    return {hashlib.new(kind, data).hexdigest(): number for number, data in enumerate(contents())}


# -- workers ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Job:
    """What a worker is told: where the store and its journals are, when to end, and its luck."""

    url: str
    options: dict[str, Any]
    deduplicate: bool
    journals: str
    ends: float
    seed: str


class Worker:
    """A process that does at random whatever the package offers, and says so before and after."""

    def __init__(self, job: Job) -> None:
        self.job, self.chance = job, random.Random(job.seed)
        self.store = MediaStore(
            job.url, storage_options=job.options, deduplicate=job.deduplicate, orphan_grace=GRACE
        ).create()
        self.held: list[str] = []
        # Nobody else writes to this file: its lines are whole, but for the last one of a killed process.
        self.journal = os.open(f"{job.journals}/{os.getpid()}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def run(self) -> None:
        deeds: dict[Callable[[], None], int] = {
            self.put: 24, self.stream: 8, self.put_many: 4, self.read: 14, self.delete: 9,
            self.delete_many: 3, self.copy: 8, self.move: 6, self.overwrite: 9, self.annotate: 4, self.hold: 3,
            self.release: 5, self.policy: 6, self.sweep: 3, self.verify: 1, self.refresh: 1, self.erase: 1,
        }  # fmt: skip
        quarrels = (
            self.overwrite,
            self.overwrite,
            self.delete,
            self.policy,
            self.annotate,
            self.copy,
            self.move,
            self.release,
        )
        while (now := time.monotonic()) < self.job.ends:
            # By turns of a second all quarrel over one name, do anything, and let shared bytes come and go.
            turn = int(now) % 4
            if turn == 0:
                self.chance.choice(quarrels)()
            elif turn == 2:
                self.flit()
            else:
                self.chance.choices(list(deeds), list(deeds.values()))[0]()
        self.store.close()

    def say(self, **words: Any) -> None:
        os.write(self.journal, json.dumps({"at": time.monotonic(), **words}).encode() + b"\n")
        os.fsync(self.journal)

    @contextmanager
    def doing(self, kind: str, **intent: Any) -> Iterator[dict[str, Any]]:
        """Say what is about to be done, and then what the answer was; what is put into the dict goes with it."""
        told: dict[str, Any] = {}
        self.say(kind=kind, **intent)
        try:
            yield told
        except HeldMediaError:
            self.say(done=False, untouched=intent.get("takes", []), error="HeldMediaError")
        except MediaError as error:
            self.say(done=False, error=type(error).__name__, text=str(error)[:300])
        except Exception as error:
            self.say(done=False, error=type(error).__name__, unexpected=traceback.format_exc()[-1500:])
        else:
            self.say(done=True, **told)

    # -- what to do it with --
    def some(self, *, keep: bool = False) -> str:
        """Return a name that may be a media's: of those that come and go, of a client's, or of those that are kept."""
        kinds = [("r", RUNS, 6), ("k", KEPT, 3 if keep else 0)]
        if self.chance.random() < (0.8 if int(time.monotonic()) % 4 == 0 else 0.3):
            return self.named()
        letter, count, _ = self.chance.choices(kinds, [each[2] for each in kinds])[0]
        try:
            found = list(self.store.list(run_id=f"{letter}{self.chance.randrange(count)}", limit=60))
        except MediaError:
            found = []
        return self.chance.choice(found) if found else self.named()

    def named(self) -> str:
        now = int(time.monotonic())
        number = now // 4 % NAMED if now % 4 == 0 else self.chance.randrange(NAMED)
        return f"runs/n{number % 3}/f{number}.bin"

    def target(self, source: str) -> str:
        """Return where a media may be copied: its own name in another run, or a client's."""
        if OWN.fullmatch(name := source.rpartition("/")[2]) and self.chance.random() < 0.7:
            return f"runs/r{self.chance.randrange(RUNS)}/{name}"
        return self.named()

    def content(self, number: int) -> MediaContent:
        return MediaContent.from_bytes(contents()[number], TYPE)

    def fresh(self) -> tuple[int, MediaMetadata, str | None]:
        keeps = self.chance.random() < 0.2
        run = f"k{self.chance.randrange(KEPT)}" if keeps else f"r{self.chance.randrange(RUNS)}"
        policy = self.chance.choice([None, LONG] if keeps else [None, None, None, LONG, BRIEF])
        return self.chance.randrange(COMMON), MediaMetadata(run_id=run, policy_name=policy), policy

    # -- the deeds --
    def put(self) -> None:
        number, metadata, policy = self.fresh()
        with self.doing("store") as told:
            reference = self.store.store_media(self.content(number), metadata)
            told |= {"makes": {reference: number}, "exposes": [reference] if policy == BRIEF else []}

    def stream(self) -> None:
        number, metadata, policy = self.fresh()
        data, piece = contents()[number], self.chance.choice([100, 4096, 70_000])
        with self.doing("stream") as told:
            with self.store.create_media(metadata, TYPE) as writer:
                for start in range(0, len(data), piece):
                    writer.write(data[start : start + piece])
            reference = str(writer.reference)
            told |= {"makes": {reference: number}, "exposes": [reference] if policy == BRIEF else []}

    def put_many(self) -> None:
        fresh = [self.fresh() for _ in range(6)]
        pairs = [(self.content(number), metadata) for number, metadata, _ in fresh]
        with self.doing("store many") as told:
            answers = self.store.store_many(pairs, on_error="return")
            made = [(each, *of) for each, of in zip(answers, fresh, strict=True) if isinstance(each, str)]
            told["makes"] = {reference: number for reference, number, _, _ in made}
            told["exposes"] = [reference for reference, _, _, policy in made if policy == BRIEF]

    def flit(self) -> None:
        """Store what others store and delete at this moment too, look, and delete it: shared bytes come and go."""
        number = COMMON + int(time.monotonic()) // 4 % FLEETING
        with self.doing("store") as told:
            reference = str(self.store.store_media(self.content(number), MediaMetadata(run_id="r0")))
            told["makes"] = {reference: number}
        if told:
            self.read(reference)
            if self.chance.random() < 0.9:
                self.delete(reference)

    def read(self, reference: str = "") -> None:
        reference = reference or self.some(keep=True)
        with self.doing("read", reads=reference):
            self.store.read(reference)

    def delete(self, reference: str = "") -> None:
        reference = reference or self.some()
        with self.doing("delete", takes=[reference]):
            self.store.delete_media(reference)

    def delete_many(self) -> None:
        references = sorted({self.some() for _ in range(5)})
        with self.doing("delete many", takes=references) as told:
            answers = self.store.delete_many(references, on_error="return")
            pairs = list(zip(references, answers, strict=True))
            told["untouched"] = [each for each, answer in pairs if isinstance(answer, HeldMediaError)]

    def copy(self) -> None:
        source = self.some(keep=True)
        if (target := self.target(source)) != source:
            with self.doing("copy", copies=[source, target]):
                self.store.fs.cp_file(source, target)

    def move(self) -> None:
        source = self.some()
        if (target := self.target(source)) != source:
            with self.doing("move", copies=[source, target], takes=[source]):
                self.store.fs.mv(source, target)

    def overwrite(self) -> None:
        name, number = self.named(), self.chance.randrange(COMMON)
        with self.doing("overwrite", makes={name: number}):
            self.store.fs.pipe_file(name, contents()[number])

    def annotate(self) -> None:
        reference = self.some(keep=True)
        with self.doing("annotate", annotates=reference):
            self.store.annotate(reference, {f"a{self.chance.randrange(3)}": self.chance.random()})

    def hold(self) -> None:
        reference = self.some()
        with self.doing("hold", holds=reference):
            self.store.hold(reference, "a soak")
            self.held.append(reference)

    def release(self) -> None:
        # Names of clients are held again and again; of the others few would be found by chance.
        reference = self.held.pop(0) if len(self.held) > 4 and self.chance.random() < 0.5 else self.named()
        with self.doing("release", releases=reference):
            self.store.release(reference)

    def policy(self) -> None:
        reference, name = self.some(), self.chance.choice([BRIEF, LONG, None])
        with self.doing("policy", **{"exposes" if name == BRIEF else "spares": [reference]}):
            self.store.apply_policy(reference, name)

    def sweep(self) -> None:
        with self.doing("sweep", sweeps=True):
            self.store.enforce_policy(now=datetime.now(UTC) + EARLY)

    def verify(self) -> None:
        how: Any = self.chance.choice([{}, {"deep": True}, {"repair": True}, {"repair": "leftovers"}])
        with self.doing("verify" if "repair" not in how else "repair"):
            self.store.verify(**how)

    def refresh(self) -> None:
        with self.doing("catalog"):
            self.store.catalog()

    def erase(self) -> None:
        run = f"r{self.chance.randrange(RUNS)}"
        with self.doing("erase", erases=run):
            self.store.erase(run_id=run)


def work(job: Job) -> None:
    """Be a worker, in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    logging.getLogger("fsmedia").setLevel(logging.CRITICAL)
    Worker(job).run()


# -- what lies there, past the package -------------------------------------------------------------------------------
class Thing(NamedTuple):
    """An object: its size, its MD5 or another tag that changes with its bytes, and when it was written."""

    size: int
    tag: str
    modified: float


class Folder:
    """A store on local disk, read by name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def things(self) -> dict[str, Thing]:
        found = {}
        for where, _, files in os.walk(self.root):
            for name in files:
                key = (Path(where) / name).relative_to(self.root).as_posix()
                data = b"" if key.startswith((".fsmedia/locks/", ".fsmedia/catalog/")) else self.read(key)
                found[key] = Thing(len(data), hashlib.md5(data).hexdigest(), (self.root / key).stat().st_mtime)
        return found

    def read(self, key: str) -> bytes:
        return (self.root / key).read_bytes()


class Bucket:
    """A store on an S3 server, asked by boto3."""

    def __init__(self, url: str, server: S3Server) -> None:
        self.client, self.name = server.client, url.removeprefix("s3://")

    def things(self) -> dict[str, Thing]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        listed = [each for page in pages for each in page.get("Contents", ())]
        return {
            each["Key"]: Thing(each["Size"], each["ETag"].strip('"'), each["LastModified"].timestamp())
            for each in listed
        }

    def read(self, key: str) -> bytes:
        with closing(self.client.get_object(Bucket=self.name, Key=key)["Body"]) as body:
            return body.read()


class Media(NamedTuple):
    """A media as it lies there: which content its bytes are, which its sidecar says, and whether it is brief."""

    number: int | None
    says: int | None
    has_sidecar: bool
    brief: bool
    age: float = 0.0  # seconds since its bytes were written


@dataclass
class Picture:
    """What a store holds at one moment."""

    media: dict[str, Media] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    dangling: list[str] = field(default_factory=list)


class Looker:
    """Takes pictures of a store; documents that have not changed are read once."""

    def __init__(self, place: Folder | Bucket) -> None:
        self.place = place
        self._read: dict[tuple[str, str], Any] = {}

    def picture(self) -> Picture:
        things, seen = self.place.things(), Picture()
        wanted = [key for key in things if self._is_document(key)]
        with ThreadPoolExecutor(8) as pool:
            texts = dict(zip(wanted, pool.map(lambda key: self._document(key, things[key].tag), wanted), strict=True))
        self._read = {(key, things[key].tag): text for key, text in texts.items()}
        names = {key.removesuffix(".meta") for key in things if not key.startswith(".fsmedia/")}
        for name in sorted(each for each in names if not each.rpartition("/")[2].startswith(".tmp-")):
            sidecar, own = texts.get(f"{name}.meta"), OWN.fullmatch(name.rpartition("/")[2])
            where = name
            if own and own["digest"]:
                digest = own["digest"]
                where = f".fsmedia/blobs/{digest[:2]}/{digest}/data/{own['generation']}"
            bytes_there = things.get(where)
            if own and f"{name}.meta" not in things:
                continue  # a leftover: no media
            if bytes_there is None or (own and own["size"] and int(own["size"]) != bytes_there.size):
                if own:
                    seen.dangling.append(name)
                continue
            sidecar = sidecar if isinstance(sidecar, dict) else {}
            says = numbers("sha256").get(sidecar.get("sha256", ""))
            number = self._number(where, bytes_there)
            if says != number and sidecar:
                # A listing may be behind what is there: both are read before they count as torn.
                says, number = self._both(name, where)
            age = time.time() - bytes_there.modified
            seen.media[name] = Media(number, says, bool(sidecar), sidecar.get("policy_name") == BRIEF, age)
        holds = (text for key, text in texts.items() if key.startswith(".fsmedia/holds/"))
        seen.held = {hold["reference"] for hold in holds if isinstance(hold, dict)}
        return seen

    def _is_document(self, key: str) -> bool:
        if key.rpartition("/")[2].startswith(".tmp-"):
            return False  # of a writer that died: what it says was never so
        return key.startswith(".fsmedia/holds/") or (not key.startswith(".fsmedia/") and key.endswith(".meta"))

    def _document(self, key: str, tag: str) -> Any:
        if (found := self._read.get((key, tag))) is not None:
            return found
        try:
            return json.loads(self.place.read(key))
        except ValueError:
            return None

    def _both(self, name: str, where: str) -> tuple[int | None, int | None]:
        """Return which contents a sidecar and the bytes are by reading both, whatever a listing says."""
        sidecar = json.loads(self.place.read(f"{name}.meta"))
        number = numbers("sha256").get(hashlib.sha256(self.place.read(where)).hexdigest())
        return numbers("sha256").get(sidecar.get("sha256", "")), number

    def _number(self, key: str, thing: Thing) -> int | None:
        if (found := numbers("md5").get(thing.tag)) is not None:
            return found
        # A server may give copies a tag of another form.
        return numbers("sha256").get(hashlib.sha256(self.place.read(key)).hexdigest())


# -- what is owed ----------------------------------------------------------------------------------------------------
@dataclass
class Operation:
    """One thing that a worker did, from before it began until its answer, or shortly after its death."""

    kind: str
    begun: float
    ended: float = float("inf")
    done: bool = False
    words: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list, repr=False)

    def takes(self, reference: str) -> bool:
        """Tell whether it may have removed a media, whatever its policy."""
        if reference in self.words.get("takes", ()):
            return reference not in self.words.get("untouched", ())
        return "erases" in self.words and reference.startswith(f"runs/{self.words['erases']}/")


def read_journal(path: Path, death: float) -> list[Operation]:
    """Read what a worker wrote; what has no answer ended with its death."""
    found: list[Operation] = []
    for line in path.read_text().splitlines():
        try:
            words = json.loads(line)
        except ValueError:
            break  # the last line of a killed process
        at = words.pop("at")
        if "kind" in words:
            found.append(Operation(words.pop("kind"), at, death, words=words, lines=[line]))
        else:
            last = found[-1]
            last.ended, last.done = at, words.pop("done")
            last.words |= words
            last.lines.append(line)
    return found


@dataclass
class Verdict:
    """What was found at one look."""

    owed: int = 0
    media: int = 0
    lost: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    histories: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.dangling or self.torn)


class Oracle:
    """Says from journals what must be there; after each look it begins anew with what was seen."""

    def __init__(self) -> None:
        self.contents: dict[str, int] = {}
        self.may_be_torn: set[str] = set()
        self.begin(Picture(), 0.0)

    def begin(self, seen: Picture, now: float) -> None:
        """Take what lies there as acknowledged now: nobody works, and all of it was found right."""
        start = Operation("seen", now, now, done=True)
        start.words = {"makes": {name: each.number for name, each in seen.media.items()}}
        start.words["exposes"] = [name for name, each in seen.media.items() if each.brief]
        # A hold of nothing goes with a repair, once it is as old as the grace, whatever comes to that name meanwhile.
        holding = [name for name in seen.held if name in seen.media]
        holds = [Operation("seen", now, now, done=True, words={"holds": name}) for name in holding]
        # Allowed then, or there would be no new beginning.
        self.may_be_torn = {name for name, each in seen.media.items() if each.says != each.number}
        uniques = {unique_of(name) for name in seen.media}
        self.contents = {unique: number for unique, number in self.contents.items() if unique in uniques}
        self.operations: list[Operation] = []
        self.add([start, *holds])

    def add(self, operations: list[Operation]) -> None:
        self.operations += operations
        self.made, self.by_name = defaultdict(list), defaultdict(list)
        self.everywhere = [each for each in self.operations if "erases" in each.words or "sweeps" in each.words]
        for each in self.operations:
            for name, number in each.words.get("makes", {}).items():
                self.made[name].append((each, number))
                if number is not None and (unique := unique_of(name)):
                    self.contents[unique] = number
            for name in names_of(each):
                self.by_name[name].append(each)
        self._add_copies()

    def _add_copies(self) -> None:
        """A copy has the bytes and the policy of what it is a copy of, and that may itself be one."""
        exposed = {name for each in self.operations for name in each.words.get("exposes", ())}
        copies = [each for each in self.operations if "copies" in each.words]
        for each in copies:
            source, target = each.words["copies"]
            self.made[target].append((each, self.contents.get(unique_of(source) or "")))
        while more := {each.words["copies"][1] for each in copies if each.words["copies"][0] in exposed} - exposed:
            exposed |= more
        self.exposed = exposed

    def owed(self, name: str) -> set[str] | None:
        """Return the names under one of which a media must be; None where it may be gone."""
        made = [each.begun for each, _ in self.made[name] if each.done]
        if not made:
            return None
        removals = self._removals(name, max(made))
        if not removals:
            return {name}
        moves = [each for each in removals if each.kind == "move" and not each.done]
        targets = {each.words["copies"][1] for each in moves}
        if len(moves) < len(removals) or any(self._removals(each, min(made)) for each in targets):
            return None
        return {name, *targets}

    def _missed(self) -> Iterator[tuple[str, str]]:
        """Yield what was answered as not there, although it was owed from before the question until after it."""
        for each in self.operations:
            name = next((each.words[key] for key in ("reads", "annotates", "holds") if key in each.words), "")
            if each.words.get("error") in ("MediaNotFoundError", "FileNotFoundError"):
                made = [make.begun for make, _ in self.made[name] if make.done and make.ended < each.begun]
                if made and not self._removals(name, max(made), each.ended):
                    yield name, each.words["text"]

    def _removals(self, name: str, since: float, until: float = float("inf")) -> list[Operation]:
        found = [each for each in (*self.by_name[name], *self.everywhere) if each.ended > since and each.begun < until]
        found = [each for each in found if each.takes(name) or self._sweeps(each, name)]
        return [each for each in found if not self._is_shielded(name, each)]

    def _sweeps(self, sweep: Operation, name: str) -> bool:
        """Tell whether a sweep may have found a media with a short policy."""
        if "sweeps" not in sweep.words or name not in self.exposed:
            return False
        mine = self.by_name[name]
        spared = [each for each in mine if name in each.words.get("spares", ()) and each.done]
        shortened = [each for each in mine if name in each.words.get("exposes", ())]
        shortened += [each for each in mine if name in each.words.get("copies", ())[1:]]
        return any(
            each.begun < sweep.ended and not any(each.ended < k.begun and k.ended < sweep.begun for k in spared)
            for each in shortened
        )

    def _is_shielded(self, name: str, removal: Operation) -> bool:
        mine = self.by_name[name]
        releases = [each for each in mine if each.words.get("releases") == name]
        return any(
            hold.words.get("holds") == name
            and hold.done
            and hold.ended < removal.begun
            and not any(each.begun < removal.ended and each.ended > hold.begun for each in releases)
            for hold in mine
        )

    def check(self, seen: Picture, *, mended: bool = False) -> Verdict:
        """Compare what is owed with what lies there; once mended, nothing may be torn any more."""
        verdict = Verdict(media=len(seen.media), dangling=list(seen.dangling))
        verdict.lost += [f"{name} (not found while it was owed: {error})" for name, error in self._missed()]
        for name in list(self.made):
            places = self.owed(name)
            if places is not None:
                verdict.owed += 1
                if not places & seen.media.keys():
                    verdict.lost.append(name)
        for name, media in seen.media.items():
            known = {self.contents[unique]} if (unique := unique_of(name)) in self.contents else self._candidates(name)
            if media.number is None or (known and media.number not in known):
                verdict.lost.append(f"{name} (its bytes are content {media.number}, not one of {sorted(known)})")
            if media.says == media.number or (not unique and not media.has_sidecar and self.owed(name) is None):
                continue  # a client's bytes without a sidecar are a file of another program's: it speaks of nothing
            if unique or not self._may_be_torn(name) or (mended and media.has_sidecar):
                written = f"written {media.age:.0f} s ago"
                verdict.torn.append(f"{name} (content {media.number}, {written}, its sidecar says {media.says})")
        for name in [*verdict.lost, *verdict.dangling, *verdict.torn][:10]:
            mine = [each for each in self.by_name[name.partition(" ")[0]] if each.lines]
            verdict.histories += [f"{name}:", *(f"    {line}" for each in mine[-12:] for line in each.lines)]
        return verdict

    def _may_be_torn(self, name: str) -> bool:
        """Tell whether a write over a client's name may have stopped half-way, and none was acknowledged after it."""
        made = [each for each, _ in self.made[name]]
        halves = [each for each in made if not each.done and each.words.get("error") not in REFUSALS]
        halves += [each for each in made if each.kind == "seen" and name in self.may_be_torn]
        return any(not any(each.done and each.begun > half.ended for each in made) for half in halves)

    def _candidates(self, name: str) -> set[int]:
        """Return what bytes under a client's name may be; nothing where nobody knows."""
        made = self.made[name]
        last = [each.begun for each, _ in made if each.done]
        found = [number for each, number in made if not any(each.ended < begun for begun in last)]
        return set() if None in found else set(found)


def unique_of(name: str) -> str | None:
    found = OWN.fullmatch(name.rpartition("/")[2])
    return found and found["unique"]


def names_of(operation: Operation) -> set[str]:
    words = operation.words
    listed = {name for key in ("makes", "takes", "exposes", "spares", "copies") for name in words.get(key, ())}
    return listed | {words[key] for key in ("holds", "releases", "annotates", "reads") if key in words}


# -- the parent ------------------------------------------------------------------------------------------------------
@dataclass
class Soak:
    """One run: its store, its workers, what they said, and what was found."""

    job: Job
    processes: int
    seconds: float
    storage: str
    looker: Looker
    say: Callable[[str], object] = print
    oracle: Oracle = field(default_factory=Oracle)
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    looks: int = 0
    owed: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    faults: list[str] = field(default_factory=list)

    def run(self) -> bool:
        """Soak, look, repair and look again; return whether all was right."""
        self.chance, self.begun = random.Random(self.job.seed), time.monotonic()
        self.next_line = self.begun + PROGRESS
        rounds = max(1, round(self.seconds / ROUND))
        for number in range(rounds):
            self._round(self.begun + self.seconds * (number + 1) / rounds)
            if not self._look():
                return False
        threading.Event().wait(LAST - LATE if self.storage == "s3" else 0)
        return self._mend()

    def _round(self, ends: float) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["fsmedia.store", "fsmedia.filesystem", "tests.servers", "s3fs", "pyarrow"])
        self.deaths: dict[int, float] = {}
        working = [self._start(context, ends) for _ in range(self.processes)]
        while time.monotonic() < ends:
            # Waits for a moment, and ends at once when a worker does so by itself.
            pick = self.chance.randrange(self.processes)
            working[pick].join(min(self.chance.uniform(*PAUSE[self.storage]), max(0.0, ends - time.monotonic())))
            self._progress()
            if time.monotonic() < ends:
                self._end(working[pick], kills=True)
                working[pick] = self._start(context, ends)
        for each in working:
            each.join(HANGS)
            self._end(each, kills=False)

    def _start(self, context: Any, ends: float) -> Any:
        job = Job(**{**vars(self.job), "ends": ends, "seed": str(self.chance.random())})
        process = context.Process(target=work, args=(job,), daemon=True)
        process.start()
        return process

    def _end(self, process: Any, *, kills: bool) -> None:
        if process.is_alive():
            if not kills:
                self.faults.append(f"a worker hangs: {HANGS:.0f} s after the end it had not stopped")
            process.kill()
            process.join()
            self.kills += kills
        elif process.exitcode:
            self.faults.append(f"a worker ended by itself with {process.exitcode}")
        self.deaths[process.pid] = time.monotonic() + (LATE if self.storage == "s3" else 0)

    def _progress(self) -> None:
        now = time.monotonic()
        if now >= self.next_line:
            self.next_line += PROGRESS
            written = sum(path.stat().st_size for path in Path(self.job.journals).iterdir())
            self.say(
                f"{now - self.begun:5.0f} s of {self.seconds:.0f}: {self.counts.total():,} operations before this "
                f"round, {written:,} bytes of journals in it, {self.kills} killed, {self.verdict.owed:,} media owed"
            )

    def _look(self) -> bool:
        # A server may still be at work on what the last of the killed asked for.
        threading.Event().wait(max(0.0, max(self.deaths.values()) - time.monotonic()))
        operations = []
        for path in sorted(Path(self.job.journals).iterdir()):
            operations += read_journal(path, self.deaths.get(int(path.stem), time.monotonic()))
        for each in operations:
            self.counts[each.kind] += 1
            if "unexpected" in each.words:
                self.faults.append(f"{each.kind}: {each.words['unexpected']}")
            elif "error" in each.words:
                self.errors[f"{each.kind}: {each.words['error']}"] += 1
                if each.words["error"] == "CorruptMediaError" and unique_of(each.words.get("reads", "")):
                    self.faults.append(f"wrong bytes were read: {each.lines}")
        self.oracle.add(operations)
        seen = self.looker.picture()
        self.verdict = self.oracle.check(seen)
        self.looks, self.owed = self.looks + 1, self.owed + self.verdict.owed
        if self.verdict.good and not self.faults:
            self.oracle.begin(seen, time.monotonic())
            for path in Path(self.job.journals).iterdir():
                path.unlink()
        return self.verdict.good and not self.faults

    def _mend(self) -> bool:
        with MediaStore(self.job.url, storage_options=self.job.options) as store:
            report = store.verify(deep=True, repair=True, grace=timedelta(0), nobody_writes=True)
            after = store.verify(deep=True)
            self.say(f"deep verify with repair: {report.mended} mended of {dict(report.counts)}")
            self.say(f"deep verify: {'whole' if after.whole else f'not whole: {after}'}")
            if not after.whole:
                self.faults.append("the store is not whole after its repair")
                left = {each.key for each in after.findings}
                for when, findings in (("then", after.findings), ("the repair", report.findings)):
                    told = [each for each in findings if each.key in left]
                    self.faults += [f"{when}: {each.kind} {each.key}: {each.detail}; {each.repair}" for each in told]
            seen = self.looker.picture()
            self.verdict = self.oracle.check(seen, mended=True)
            rows = set(store.catalog().to_arrow().column("reference").to_pylist())
            for what, found in (("listed", set(map(str, store.list()))), ("in the catalog", rows)):
                if differ := sorted(found ^ seen.media.keys()):
                    self.faults.append(f"{len(differ)} media are either {what} or there, and not both: {differ[:5]}")
        return self.verdict.good and not self.faults

    def summary(self) -> Iterator[str]:
        verdict = self.verdict
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.counts.most_common())
        yield f"{self.counts.total():,} operations ({kinds}), {self.kills} workers killed"
        yield f"answered with errors: {', '.join(f'{what} {n:,}' for what, n in self.errors.most_common()) or 'none'}"
        yield (
            f"{self.looks} looks found {self.owed:,} media owed, {verdict.media:,} are there at the end: "
            f"protected media lost {len(verdict.lost)}, dangling {len(verdict.dangling)}, torn {len(verdict.torn)}"
        )
        for what in ("lost", "dangling", "torn"):
            yield from (f"{what}: {each}" for each in getattr(verdict, what)[:20])
        yield from verdict.histories
        yield from (f"FAULT: {each}" for each in self.faults[:20])


@contextmanager
def soaking(asked: argparse.Namespace, folder: Path, say: Callable[[str], object] = print) -> Iterator[Soak]:
    """Give a soak in a fresh store."""
    journals = folder / "journals"
    journals.mkdir(parents=True)
    words = {"deduplicate": asked.deduplicate, "journals": str(journals), "ends": 0.0, "seed": str(asked.seed)}
    size = (asked.processes, asked.minutes * 60, asked.storage)
    if asked.storage == "local":
        root = folder / "media"
        yield Soak(Job(str(root), {}, **words), *size, Looker(Folder(root)), say)
        return
    server = SERVERS[asked.server]().start()
    try:
        url, options = server.new_root(direct=True)
        yield Soak(Job(url, options, **words), *size, Looker(Bucket(url, server)), say)
    finally:
        server.stop()


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    about, _, rules = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        "python -m tests.soak", description=about, epilog=rules, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=2, help="how long workers work (2)")
    add("--processes", type=int, default=4, help="how many workers there are at a time (4)")
    add("--storage", choices=["local", "s3"], default="local", help="a folder, or an S3 server on this machine")
    add("--server", choices=list(SERVERS), default="seaweed", help="which S3 server (seaweed; moto is slower)")
    add("--deduplicate", action="store_true", help="let media with the same bytes share them")
    add("--seed", type=int, help="what chances begin with; one seed does not repeat a run, for processes race")
    add("--folder", type=Path, help="a new folder for journals, and the store if it is local; it is kept")
    asked = parser.parse_args(argv)
    if asked.minutes <= 0 or asked.processes < 1:
        parser.error("--minutes and --processes are more than none")
    if asked.folder and asked.folder.exists():
        parser.error(f"{asked.folder} is there already: give the name of a new folder")
    if asked.seed is None:
        asked.seed = random.randrange(10**6)
    return asked


def main(argv: list[str] | None = None) -> int:
    """Soak a fresh store; 1 if anything was lost or wrong, and then the journals stay."""
    asked = arguments(argv)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="fsmedia-soak-"))
    kind = "deduplicated" if asked.deduplicate else "plain"
    where = asked.storage if asked.storage == "local" else f"s3 ({asked.server})"
    print(f"{asked.minutes:g} minutes, {asked.processes} processes, {where}, {kind}, seed {asked.seed}, in {folder}")
    with soaking(asked, folder, lambda line: print(line, flush=True)) as soak:
        good = soak.run()
        print(*soak.summary(), sep="\n", flush=True)
    if good and not asked.folder:
        shutil.rmtree(folder)
    print("all that was acknowledged is there" if good else f"FAILED; the journals stay in {folder}/journals")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
