"""What strangers wrote, any bytes and bytes that were right once: read or refused, soon and in little memory.

A time is that of this process on the CPU, so a busy machine fails nothing.
"""

import json
import re
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fsmedia import MediaContent, MediaError, MediaMetadata, MediaStore
from fsmedia.catalog import snapshots
from fsmedia.core import holds, records
from fsmedia.filesystem import MediaFileSystem
from fsmedia.format import keys, messages
from fsmedia.format import sidecar as sidecars
from fsmedia.format.settings import Configuration, Settings
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import OrganizationMode, RetentionPolicy
from fsmedia.models.text import safe_file_name
from fsmedia.models.urls import read_data_url
from fsmedia.storage.address import resolve_root, split_media_url
from tests.messages import ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES, PROMPTKIT

SECONDS = 2.0
MEMORY = 16 * 2**20
EACH_BYTE = 200
"""Bytes of memory for each byte that is read: `[[],[],...` takes most."""
LONGEST_ERROR = 5000
NOON = datetime(2026, 3, 4, 12, 30, 5, 890123, tzinfo=UTC)
DIGEST = "ab" * 32
OWN = "runs/r1/0003_01_u01m8343t30ehsv9fkm039etnz4.png"
SHARED = f"runs/r1/0003_01_u01m8343t30ehsv9fkm039etnz4.12-{DIGEST}-{'0' * 26}.png"
HUGE = [
    b"9" * 400, b"1" * 5000, b"-1", b"1e400", b"1e-9999999999", b"18446744073709551616", b"0.1e1", b"NaN", b"-Infinity",
]  # fmt: skip
ODD = [
    b"null", b"true", b"[]", b"{}", b'""', b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xef\xbb\xbf", b"../", b"//", b"\0",
    b"::",
]  # fmt: skip
NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")
TEXT = re.compile(rb'"[^"\\]*"')


@st.composite
def spoiled(draw: st.DrawFn, right: list[bytes]) -> bytes:
    """Make bytes that were right once: changed a little in one to five places."""
    data = draw(st.sampled_from(right))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 40)))
        how = draw(st.sampled_from(["flip", "cut", "end", "insert", "repeat", "splice", "number", "text", "nest"]))
        if how == "flip" and start < len(data):
            data = data[:start] + bytes([data[start] ^ 1 << draw(st.integers(0, 7))]) + data[start + 1 :]
        elif how == "cut":
            data = data[:start] + data[end:]
        elif how == "end":
            data = data[:start]
        elif how == "insert":
            data = data[:start] + draw(st.binary(max_size=8) | st.sampled_from(HUGE + ODD)) + data[start:]
        elif how == "repeat":
            data = data[:start] + data[start:end] * draw(st.sampled_from([2, 3, 500])) + data[end:]
        elif how == "splice":
            other = draw(st.sampled_from(right))
            data = data[:start] + other[draw(st.integers(0, len(other))) :]
        elif how == "nest":
            depth = draw(st.sampled_from([3, 300, 20_000]))
            opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}")]))
            data = data[:start] + opening * depth + data[start:end] + closing * depth + data[end:]
        elif places := list((NUMBER if how == "number" else TEXT).finditer(data)):
            place = draw(st.sampled_from(places))
            data = data[: place.start()] + draw(st.sampled_from(HUGE + ODD)) + data[place.end() :]
    return data


def strange(*right: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=200) | spoiled(list(right)) | spoiled(list(right))


def strange_text(*right: str) -> st.SearchStrategy[str]:
    return strange(*(each.encode() for each in right)).map(lambda data: data.decode(errors="surrogateescape"))


def bounded(data: bytes | str, *calls: Callable[[], object]) -> None:
    """Call each: it returns, or raises a `MediaError` that does not quote all, within bounds."""
    for call in calls:
        tracemalloc.start()
        begun, said = time.process_time(), ""
        try:
            call()
        except MediaError as error:
            said = str(error)
        taken, peak = time.process_time() - begun, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert taken < SECONDS
        assert peak < MEMORY + EACH_BYTE * len(data)
        assert len(said) < LONGEST_ERROR


@cache
def store() -> MediaStore:
    opened = MediaStore("memory://fuzzed").create()
    content = MediaContent.from_bytes(b"\x89PNG\r\n\x1a\n", "image/png")
    for number in range(3):
        opened.store_media(content, MediaMetadata(run_id=f"r{number}", policy_name="retain-3days"))
    return opened


def sidecar(**words: Any) -> bytes:
    values = {"run_id": "r1", "message_idx": 3, "mime_type": "image/png", "size_bytes": 12, "timestamp": NOON, **words}
    metadata = MediaMetadata(**values)
    content = {"width": 3, "height": 2, "caption": "é", "duration": 2.5, "file_name": "a.png"}
    return Sidecar.build(dict(metadata), content, sha256=DIGEST, expires_at=NOON).with_marker("m").dump()


SIDECARS = [sidecar(), sidecar(attributes={"a": 1, "b": ["x", "y"], "c": True}, policy_name="retain-3days"), b"{}"]
HOLD = json.dumps({"reference": OWN, "reason": "a reason", "who": "me", "when": NOON.isoformat()}).encode()


@given(strange(*SIDECARS))
def test_sidecars(data: bytes) -> None:
    def use(call: Callable[[Sidecar], object]) -> Callable[[], object]:
        return lambda: call(Sidecar.parse(data, OWN))

    bounded(
        data,
        use(lambda found: found.metadata(OWN)),
        use(lambda found: found.record(OWN, 12)),
        use(lambda found: found.content_values(OWN)),
        use(lambda found: found.retention(OWN)),
        use(lambda found: (found.marker(SHARED), found.agrees(SHARED))),
        use(lambda found: Sidecar.parse(found.dump(), OWN)),
        use(lambda found: found.with_values(OWN, {"provider_id": "p"}, {"user.a": 1}).record(OWN, 12)),
        use(lambda found: found.with_policy("retain-3days", NOON, NOON).retention(OWN)),
        lambda: records.facts_of_sidecar(data, OWN),
        lambda: sidecars.without_leaving(sidecars.with_leaving(data, "mark")),
        lambda: sidecars.leaving(data),
    )


@given(strange(HOLD, b"{}"))
def test_holds(data: bytes) -> None:
    key = keys.hold_key(OWN)
    bounded(
        data,
        lambda: holds.parse(data, OWN),
        lambda: holds.refusal(OWN, data),
        lambda: holds.reference_of(data, key),
        lambda: holds.named(data),
    )


def configurations() -> list[bytes]:
    words: Any = {"views": {"by-day": "{timestamp:%Y-%m-%d}/{mime_type}/{name}{ext}"}, "default_policy": "audit"}
    words |= {"policies": [RetentionPolicy(name="audit", keep_for=timedelta(days=365))], "deduplicate": True}
    full = Configuration.first(Settings.read(words), organization=OrganizationMode.BY_SESSION, adopted=True)
    return [Configuration().dump(), full.dump()]


@given(strange(*configurations()))
def test_settings(data: bytes) -> None:
    bounded(data, lambda: Configuration.parse(Configuration.parse(data).dump()))


NAMES = [
    OWN, SHARED, f"{OWN}.meta", "runs/a b/é.png", f"media://{OWN}", f"media://{OWN}::memory://fuzzed",
    "memory://fuzzed/runs/r1/x.png", "media://@lab/runs/r1/x.png", "file:///data/media/x%20y.png",
    f".fsmedia/blobs/ab/{DIGEST}/refs/{'0' * 26}/{'a' * 32}-1", f".fsmedia/due/2026-03-04/05/06/{OWN}",
    keys.snapshot_key(NOON), f".fsmedia/quarantine/20260304T123005890Z-x/{OWN}", "by-day/2026-03-04/image/png/x.png",
    "data:image/png;base64,iVBORw0KGgo=",
]  # fmt: skip


@given(strange_text(*NAMES))
@example(f"media://@{'[' * 40_000}/runs/r1/x.png")
@example(f"@lab/{'x' * 40_000}")
def test_names(text: str) -> None:
    references, layouts = store()._references, Configuration().ordered_layouts.values()
    parsers = (
        keys.parse_own_name, keys.parse_blob_key, keys.pointer_of, keys.parse_due, keys.parse_snapshot,
        keys.parse_quarantined, keys.parse_aside, keys.check_reference, keys.media_key, keys.plain_reference,
        keys.is_in_store, references.key, split_media_url, MediaFileSystem._strip_protocol, safe_file_name,
        messages.InlineReference.parse, *(each.parse for each in layouts),
    )  # fmt: skip
    bounded(text, *(lambda parse=parse: parse(text) for parse in parsers))
    bounded(
        text,
        lambda: keys.relative_to_root(text, ["/data/media", "file:///data/media"]),
        lambda: read_data_url(text, max_size=1000),
        lambda: resolve_root(text, {}, {}),
        lambda: store().exists(text),
        lambda: store().fs.exists(text),
        lambda: store().fs.ls(text),
        lambda: store().read(text),
    )


MARKED = json.dumps({"type": "image_url", "image_url": {"url": f"media://{OWN}#fsmedia=1;sha256={DIGEST};as=b64"}})
DOCUMENTS = [json.dumps(each) for each in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC, PROMPTKIT)]


@given(strange_text(*DOCUMENTS, MARKED))
def test_messages(text: str) -> None:
    metadata = MediaMetadata(run_id="r1")
    bounded(
        text,
        lambda: messages.parse_json(text),
        lambda: store().externalize_text(text, metadata, dry_run=True),
        lambda: store().inline_text(text),
    )


@cache
def snapshot() -> tuple[str, bytes]:
    """Return key and bytes of a snapshot."""
    store().catalog()
    (entry,) = snapshots.names(store()._backend)
    data = store()._backend.read_range(entry.key, None, None)
    assert data is not None
    return entry.key, data


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_snapshots(draws: st.DataObject) -> None:
    """A damaged one is passed over, or refused; what pyarrow takes of memory is not seen here."""
    key, right = snapshot()
    data, backend = draws.draw(strange(right)), store()._backend
    backend.write(key, data, "application/octet-stream")
    try:
        for call in (
            lambda: store().catalog(refresh=False).filter(run_id="r1").to_arrow(),
            lambda: store().stats(refresh=False),
            lambda: snapshots.row_count(backend),
            lambda: list(store().list(run_id="r1")),
        ):
            begun = time.process_time()
            with suppress(MediaError):
                call()
            assert time.process_time() - begun < SECONDS
    finally:
        backend.write(key, right, "application/octet-stream")
