"""A store in `Cells`, the operations that meet in it, and what lies there."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any
from unittest.mock import patch

import fsmedia.filesystem
from fsmedia import MediaContent, MediaMetadata, MediaStore, UploadTicket
from fsmedia import store as root
from fsmedia.core.settings_file import SettingsFile
from fsmedia.filesystem import media_filesystem
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.storage import Exclusion
from tests.interleavings.cells import Cell, Cells, SteppingBackend
from tests.interleavings.schedules import straight_on
from tests.interleavings.turns import Fault, How, Run
from tests.uploads import KEY, ticket_for

SAME = b"the same bytes"
GRACE = timedelta(hours=24)


@dataclass
class Actor:
    what: str  # `store`, `delete`, `copy`, `move`, `policy`, `sweep`, `clock`, ...
    work: Callable[[], Any]
    backend: SteppingBackend
    target: str | None = None  # what it makes, changes or deletes, where that is known before
    source: str | None = None  # what it copies or moves
    others: tuple[str, ...] = ()  # what it deletes besides its target

    @property
    def deletes(self) -> frozenset[str]:
        gone = {"delete": (self.target, *self.others), "move": (self.source,)}.get(self.what, ())
        return frozenset(filter(None, gone))


@dataclass
class World:
    cells: Cells = field(default_factory=Cells)
    exclusion: Exclusion = Exclusion.NONE
    deduplicate: bool = True
    actors: list[Actor] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # references that were there before
    image: dict[str, Cell] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)  # run -> the reference that was stored in it before
    tokens: dict[str, str] = field(default_factory=dict)  # run -> the ticket of what was uploaded to it before
    settings: list[SettingsFile] = field(default_factory=list)  # of the stores that were opened

    # -- building ------------------------------------------------------------------------------------------
    def open(self) -> tuple[MediaStore, SteppingBackend]:
        """Open the store as a process of its own would."""
        backend = SteppingBackend(self.cells, self.exclusion)

        def opened(*_: Any, **__: Any) -> SteppingBackend:
            return backend

        with patch.object(root, "open_backend", opened), patch.object(media_filesystem, "open_backend", opened):
            how: Any = {"now": self.cells.clock, "timeout": timedelta(hours=1), "ticket_key": KEY}
            store = MediaStore(SteppingBackend.url, deduplicate=self.deduplicate, **how)
            store.create()
            fsmedia.filesystem.MediaFileSystem.clear_instance_cache()
            assert store.fs is not None  # opened now, with the same backend
            assert store.fs._write_context() is not None
        self.settings += [store._settings_file, store.fs._settings_file.open()]
        return store, backend

    def named(self, word: str) -> str:
        """Return a reference: of the media stored in a run, or, for "run@folder", of a copy of it elsewhere."""
        run, _, folder = word.partition("@")
        reference = self.runs.get(run, run)
        return f"runs/{folder}/{reference.rpartition('/')[2]}" if folder else reference

    def stored(self, run: str = "old", data: bytes = SAME, policy: str | None = None) -> str:
        store, _ = self.open()
        reference = self.runs[run] = str(store.store_media(*media(run, data, policy)))
        self.kept.append(reference)
        return reference

    def copied(self, source: str, target: str, *, kept: bool = False) -> None:
        self.open()[0].fs.cp_file(self.named(source), self.named(target))
        self.kept += [self.named(target)] if kept else []

    def uploaded(self, run: str) -> None:
        """Upload bytes by a ticket that nobody has confirmed yet."""
        ticket = upload(self.open()[0], run)
        self.runs[run], self.tokens[run] = str(ticket.reference), ticket.token

    def half_deleted(self, run: str) -> None:
        """Leave what a delete leaves that died after its sidecar: bytes with a marker."""
        gone = self.stored(run)
        self.crashed(lambda store: store.delete_media(gone), after=3)
        self.kept.remove(gone)

    def unmarked(self, run: str) -> None:
        """Store a media whose marker is gone: a delete and a rewrite died together."""
        reference = self.stored(run)
        del self.cells.objects[keys.pointer_of(reference).marker_key(self.marker_of(reference))]

    def orphans(self) -> None:
        """Leave what crashes leave: a marker alone, bytes with a marker, a marker whose sidecar was removed."""
        for after in (2, 3):
            given = media(f"dead{after}", b"%d" % after)
            self.crashed(lambda store, given=given: store.store_media(*given), after=after)
        self.half_deleted("gone")

    def act(self, what: str, work: Callable[[MediaStore], Any], **named: Any) -> None:
        store, backend = self.open()
        self.actors.append(Actor(what, lambda: work(store), backend, **named))

    def stores(self, run: str, data: bytes = SAME, policy: str | None = None) -> None:
        given = media(run, data, policy)
        self.act("store", lambda store: str(store.store_media(*given)))

    def streams(self, run: str, data: bytes = SAME) -> None:
        def work(store: MediaStore) -> str:
            with store.create_media(MediaMetadata(run_id=run), "text/plain") as writer:
                writer.write(data)
            return str(writer.reference)

        self.act("store", work)

    def uploads(self, run: str) -> None:
        """Make a ticket, upload and confirm."""
        self.act("store", lambda store: str(store.confirm_upload(upload(store, run).token)))

    def confirms(self, run: str) -> None:
        token = self.tokens[run]
        self.act("confirm", lambda store: store.confirm_upload(token), target=self.named(run))

    def deletes(self, word: str) -> None:
        reference = self.named(word)
        self.act("delete", lambda store: store.delete_media(reference), target=reference)

    def deletes_all_of(self, run: str) -> None:
        """Delete whatever is seen of a run, as soon as it is seen."""
        self.act("purge", lambda store: [store.delete_media(each) for each in store.list(run_id=run)])

    def copies(self, source: str, target: str) -> None:
        source, target = self.named(source), self.named(target)
        self.act("copy", lambda store: store.fs.cp_file(source, target), source=source, target=target)

    def moves(self, source: str, target: str) -> None:
        source, target = self.named(source), self.named(target)
        self.act("move", lambda store: store.fs.mv(source, target), source=source, target=target)

    def applies(self, word: str, policy: str | None) -> None:
        reference = self.named(word)
        self.act("policy", lambda store: store.apply_policy(reference, policy), target=reference)

    def enforces(self, due: str, *others: str) -> None:
        """Let a retention sweep delete what its policy let go; say which that is."""
        target, *rest = map(self.named, (due, *others))
        self.act("delete", lambda store: complete(store.enforce_policy()), target=target, others=tuple(rest))

    def deletes_many(self, *words: str) -> None:
        references = tuple(map(self.named, words))

        def work(store: MediaStore) -> None:
            for error in filter(None, store.delete_many(references, on_error="return")):
                raise error

        self.act("delete", work, target=references[0], others=references[1:])

    def sweeps(self) -> None:
        self.act("sweep", lambda store: complete(store.verify(repair="leftovers")))

    def sweeps_and_deletes(self, word: str) -> None:
        reference = self.named(word)

        def both(store: MediaStore) -> None:
            complete(store.verify(repair="leftovers"))
            store.delete_media(reference)

        self.act("delete", both, target=reference)

    def time_passes(self, *steps: timedelta) -> None:
        """Let everybody else be slow: between any two of their steps, so much time may pass."""
        backend = SteppingBackend(self.cells)

        def work() -> None:
            for by in steps:
                backend._step("wait", str(by), lambda by=by: self.cells.advance(by))

        self.actors.append(Actor("clock", work, backend))

    def crashed(self, work: Callable[[MediaStore], Any], *, after: int) -> None:
        """Do something before it begins that dies after so many steps."""
        store, backend = self.open()
        run = Run([lambda: work(store)], straight_on, Fault(0, after + 1, How.CRASH))
        backend.process = run.processes[0]
        run.go()
        assert run.hit, f"it has no {after + 1} steps: {run.trace}"

    def ages(self, by: timedelta = 2 * GRACE) -> None:
        self.cells.advance(by)

    # -- looking -------------------------------------------------------------------------------------------
    def visible(self) -> list[str]:
        found = [key[: -len(keys.SIDECAR_SUFFIX)] for key in self.cells.objects if keys.is_sidecar(key)]
        return [each for each in found if not keys.is_internal(each)]

    def readable(self, reference: str) -> bool:
        """Whether the bytes that the name promises are there."""
        pointer = keys.pointer_of(reference)
        cell = self.cells.objects.get(keys.bytes_key(reference))
        if cell is None or pointer is None:
            return cell is not None
        return len(cell.data) == pointer.size and sha256(cell.data).hexdigest() == pointer.digest

    def leftovers(self) -> list[str]:
        """Objects that no visible media needs."""
        marked, found, shown = set(), [], set(self.visible())
        for key, cell in self.cells.objects.items():
            blob, due = keys.parse_blob_key(key), keys.parse_due(key)
            if blob is not None and blob.kind == "refs":
                reference = cell.data.decode()
                marked.add((blob.digest, blob.generation))
                if self.marker_of(reference) != blob.name:
                    found.append(f"marker {key} of {reference}")
            elif blob is not None and blob.kind == "condemned":
                found.append(f"mark {key}")
            elif due is not None and due.reference not in shown:
                found.append(f"due entry {key}")
            elif not blob and not due and key not in {*shown, keys.CONFIGURATION_KEY} and not keys.is_sidecar(key):
                found.append(f"object {key}")
        blobs = {key: blob for key in self.cells.objects if (blob := keys.parse_blob_key(key)) and blob.kind == "data"}
        return found + [f"data {key}" for key, blob in blobs.items() if (blob.digest, blob.generation) not in marked]

    def marker_of(self, reference: str) -> str | None:
        cell = self.cells.objects.get(keys.sidecar_key(reference))
        return None if cell is None else Sidecar.parse(cell.data, reference).marker(reference)


def complete(report: Any) -> None:
    """Raise what a report says went wrong: without that it is an answer."""
    for each in report.failed:
        raise each.error


def upload(store: MediaStore, run: str) -> UploadTicket:
    ticket = ticket_for(store, SAME, MediaMetadata(run_id=run), mime_type="text/plain", digest=True)
    store.accept_upload(ticket.token, [SAME])
    return ticket


def media(run: str, data: bytes = SAME, policy: str | None = None) -> tuple[MediaContent, MediaMetadata]:
    return MediaContent.from_bytes(data, "text/plain"), MediaMetadata(run_id=run, policy_name=policy)
