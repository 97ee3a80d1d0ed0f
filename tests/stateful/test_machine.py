"""Random histories of a store on every storage, against a dict: what was stored and not deleted is there, whole."""

import base64
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from fsmedia import MediaContent, MediaMetadata, MediaNotFoundError, OrganizationMode, UnknownPolicyError
from fsmedia.core import commit
from fsmedia.format.keys import due_key
from tests.stateful import BROKEN, CHOICE, POLICIES, START, StoreMachine, fresh, run_machine
from tests.storages import ALL_STORAGES, LOCAL, MEMORY, OBJECT_STORAGES, Storage

STORE_JSON = ".fsmedia/store.json"
ODD_IDS = [
    "r1", "R1", "r 1/ä", "..", ".", "a.meta", "~", "~2f", "%2F", "*", "a[1]", "x?versionId=1", "a#1", "x" * 300,
    "x" * 301, "\n", "🎬", ".fsmedia", "a\\b", " ", "é", "e\u0301", "C:", "-", "runs", ".tmp-1", "a::b",
]  # fmt: skip
IDS = st.sampled_from(ODD_IDS) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
TYPES = ["image/png", "image/jpeg", "audio/mpeg", "video/mp4", "text/plain", "application/pdf", "application/x-odd"]
WAYS = ["bytes", "base64", "file", "stream", "writer", "stored"]
PATTERNS = ["image/*", "image/png", "*/*", "TEXT/*", "audio/ogg"]


def days(first: int, last: int) -> st.SearchStrategy[datetime]:
    return st.integers(first, last).map(lambda days: START + timedelta(days=days))


@dataclass(frozen=True)
class Media:
    data: bytes
    mime_type: str
    metadata: MediaMetadata
    expires_at: datetime | None

    def matches(self, **asked: Any) -> bool:
        """Tell whether a listing with these words shows it."""
        rest = dict(asked)
        expires = rest.pop("expires_before", None)
        if expires is not None and (self.expires_at is None or self.expires_at >= expires):
            return False
        since, until = rest.pop("since", None), rest.pop("until", None)
        timestamp = self.metadata.timestamp
        if (since is not None and timestamp < since) or (until is not None and timestamp >= until):
            return False
        pattern = rest.pop("mime_type", None)
        if pattern is not None and not fnmatchcase(self.mime_type, pattern.lower()):
            return False
        return all(getattr(self.metadata, name) == value for name, value in rest.items())


class Machine(StoreMachine):
    def __init__(self, fresh: Callable[[], Storage], folder: Path, thorough: bool = True) -> None:
        super().__init__(fresh, thorough=thorough)
        self.folder, self.touched = folder, list[str]()

    @initialize(mode=st.sampled_from(OrganizationMode), default=st.sampled_from([None, "audit"]))
    def open(self, mode: OrganizationMode, default: str | None) -> None:
        self.mode, self.default = mode, default
        policies = {"audit": POLICIES["audit"]}
        self.store = self.opened(organization=mode, policies=policies, default_policy=default).create()

    # -- writing -------------------------------------------------------------------------------------------
    @rule(
        data=st.binary(max_size=300) | st.just(bytes(range(256)) * 300), way=st.sampled_from(WAYS),
        kind=st.sampled_from(TYPES), own=IDS, other=st.sampled_from(["", "c1", "r 1/ä"]),
        indices=st.tuples(st.integers(0, 12_345), st.integers(0, 120)), policy=st.sampled_from([None, *POLICIES]),
        provider=st.sampled_from(["", "openai"]), given=st.booleans(),
    )  # fmt: skip
    def store_media(
        self, data: bytes, way: str, kind: str, own: str, other: str, indices: tuple[int, int], policy: str | None,
        provider: str, given: bool,
    ) -> None:  # fmt: skip
        ids = dict.fromkeys(("run_id", "conversation_id", "session_id"), other) | {self.mode.id_field: own}
        timestamp = self.now - timedelta(days=3) if given else None
        metadata = MediaMetadata(
            **ids, message_idx=indices[0], part_idx=indices[1], provider_id=provider, timestamp=timestamp,
            policy_name=policy,
        )  # fmt: skip
        if way == "stored" and self.model:
            source = self.one(len(data))
            data, kind = self.model[source].data, self.model[source].mime_type
            content = self.store.retrieve_media(source)
            policy = policy or content.policy_name
            reference = self.store.store_media(content, metadata)
        elif way == "writer":
            with self.store.create_media(metadata, kind) as writer:
                writer.write(data[:100])
                writer.write(memoryview(data)[100:])
            reference = writer.reference
        else:
            reference = self.store.store_media(self.content(data, way, kind), metadata)
        policy = policy or self.default
        keep_for = POLICIES[policy]
        said = {"timestamp": timestamp or self.now, "policy_name": policy, "size_bytes": len(data), "mime_type": kind}
        known = metadata.model_copy(update=said)
        assert reference not in {*self.model, *self.gone}
        self.model[reference] = Media(data, kind, known, known.timestamp + keep_for if keep_for else None)
        self.touched.append(reference)
        note(f"{reference} by {way}")

    def content(self, data: bytes, way: str, kind: str) -> MediaContent:
        if way == "base64" and not kind.startswith("text/"):  # which warns: it may be text itself
            return MediaContent(data=base64.b64encode(data).decode(), mime_type=kind)
        if way == "file":
            path = self.folder / "source.bin"
            path.write_bytes(data)
            return MediaContent.from_path(path, kind)
        if way == "stream":
            return MediaContent.from_stream(io.BytesIO(data), kind)
        return MediaContent.from_bytes(data, kind)

    @rule(own=IDS)
    def a_bad_policy_is_refused(self, own: str) -> None:
        metadata = MediaMetadata(**{self.mode.id_field: own}, policy_name="retain-0days")
        with pytest.raises(UnknownPolicyError):
            self.store.store_media(MediaContent.from_bytes(b"x", "text/plain"), metadata)

    @rule(own=IDS)
    def a_writer_gives_up(self, own: str) -> None:
        writing = self.store.create_media(MediaMetadata(**{self.mode.id_field: own}), "text/plain")
        with pytest.raises(ZeroDivisionError), writing as writer:  # noqa: PT012
            writer.write(b"some")
            raise ZeroDivisionError

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE, absolute=st.booleans())
    def delete(self, choice: int, absolute: bool) -> None:
        reference = self.one(choice)
        self.store.delete_media(f"{self.storage.url}/{reference}" if absolute else reference)
        del self.model[reference]
        self.gone.append(reference)

    # -- reading -------------------------------------------------------------------------------------------
    @precondition(lambda self: self.gone)
    @rule(choice=CHOICE)
    def what_is_gone_is_not_found(self, choice: int) -> None:
        reference = self.gone[choice % len(self.gone)]
        assert not self.store.exists(reference)
        for ask in (self.store.retrieve_media, self.store.info, lambda gone: self.store.open(gone).read()):
            with pytest.raises(MediaNotFoundError) as caught:
                ask(reference)
            assert caught.value.reference == reference

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE)
    def read(self, choice: int) -> None:
        self.is_whole(self.one(choice))

    @rule(
        asked=st.fixed_dictionaries({}, optional={
            "run_id": IDS, "session_id": st.sampled_from(["c1", "r1"]), "mime_type": st.sampled_from(PATTERNS),
            "provider_id": st.sampled_from(["openai", "nobody"]), "since": days(-5, 5), "until": days(-5, 5),
            "policy_name": st.sampled_from(["audit", "retain", "retain-2hours"]), "expires_before": days(0, 40),
        }),
        limit=st.none() | st.integers(0, 3),
    )  # fmt: skip
    def filtered(self, asked: dict[str, Any], limit: int | None) -> None:
        assert list(self.store.list(**asked, limit=limit)) == self.matching(asked)[:limit]

    def matching(self, asked: dict[str, Any]) -> list[str]:
        return [reference for reference in sorted(self.model) if self.model[reference].matches(**asked)]

    @precondition(lambda self: self.model)
    @rule(choice=CHOICE)
    def by_the_id_of_the_folder(self, choice: int) -> None:
        field = self.mode.id_field
        asked = {field: getattr(self.model[self.one(choice)].metadata, field)}
        wanted, folder = self.matching(asked), self.store.folder(**asked)
        assert list(self.store.list(**asked)) == wanted
        assert all(reference.startswith(f"{folder}/") for reference in wanted)

    # -- what always holds ---------------------------------------------------------------------------------
    @invariant()
    def the_listing_is_the_model(self) -> None:
        assert list(self.store.list()) == sorted(self.model)
        new, self.touched = self.touched, []
        for reference in self.model if self.thorough else new:
            if reference in self.model:
                self.is_whole(reference)

    def is_whole(self, reference: str) -> None:
        media = self.model[reference]
        content, record = self.store.retrieve_media(reference), self.store.info(reference)
        assert (content.read_bytes(), content.mime_type) == (media.data, media.mime_type)
        assert record.sha256 == hashlib.sha256(media.data).hexdigest()
        assert record.expires_at == media.expires_at
        assert all(getattr(record, name) == value for name, value in media.metadata)
        with self.store.open(reference) as file:
            file.seek(len(media.data) // 2)
            assert file.read() == media.data[len(media.data) // 2 :]
        assert self.store.exists(reference)

    def settle(self) -> None:
        """Look at what really lies there, past the package."""
        self.store.close()
        stored = {STORE_JSON, *self.model, *(f"{reference}.meta" for reference in self.model)}
        due = {key for key in sorted(self.storage.keys()) if key.startswith(".fsmedia/due/")}
        assert self.storage.keys() - due == stored
        expiring = {reference: media.expires_at for reference, media in self.model.items() if media.expires_at}
        assert due == {due_key(instant, reference) for reference, instant in expiring.items()}
        for reference, media in self.model.items():
            assert self.storage.read(reference) == media.data
            sidecar = json.loads(self.storage.read(f"{reference}.meta"))
            assert sidecar[self.mode.id_field] == getattr(media.metadata, self.mode.id_field)


@pytest.mark.parametrize("name", ALL_STORAGES)
def test_random_histories(name: str, full_run: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    examples, steps = (20, 30) if name in (LOCAL, MEMORY) else (4, 15)  # by requests
    make, words = fresh(name, request, tmp_path), {"max_examples": examples * (10 if full_run else 1)}
    run_machine(lambda: Machine(make, tmp_path, name not in OBJECT_STORAGES), stateful_step_count=steps, **words)


def test_a_store_that_forgets_is_caught(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "DELETE", commit.DELETE[:1])  # a delete leaves the bytes
    make = fresh(MEMORY, request, tmp_path)
    with pytest.raises(AssertionError):
        run_machine(lambda: Machine(make, tmp_path), max_examples=500, **BROKEN)
