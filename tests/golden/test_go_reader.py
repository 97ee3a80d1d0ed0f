"""What fsmedia writes without deduplication, PromptKit's Go code reads: its strictness, modelled without Go.

`encoding/json` matches keys without regard to case, takes no fraction for an int, and reads a time by RFC 3339 only;
`runtime/storage/local` reads `<path>.meta` beside `<path>` and takes the MIME type from it. The second half holds our
answers against PromptKit's own on policy names and MIME types.
"""

import io
import json
import os
import re
import wave
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.errors import UnknownPolicyError
from fsmedia.format import wav
from fsmedia.format.policy import KEEP_FOREVER, find_policy
from fsmedia.models import RetentionPolicy, mime
from tests.conftest import Clock
from tests.contract.specimens import raised
from tests.golden.conftest import vectors
from tests.storages import LocalStorage

# Go's struct MediaMetadata: key, Go type, omitempty; in the order in which Go writes them.
STRUCT = (
    ("run_id", "string", False), ("conversation_id", "string", True), ("session_id", "string", True),
    ("message_idx", "int", False), ("part_idx", "int", False), ("mime_type", "string", False),
    ("size_bytes", "int64", False), ("provider_id", "string", True), ("timestamp", "time.Time", False),
    ("policy_name", "string", True),
)  # fmt: skip
ORDER = [name for name, _, _ in STRUCT]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
MODES = {f"by-{name}": (f"{name}s", f"{name}_id") for name in ("run", "session", "conversation")}
PCM = bytes(range(256)) * 20
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\3\0\0\0\2\x08\2\0\0\0" + b"\0" * 40
REFUSED_HERE = {  # PromptKit takes these: 0, negative, and what would overflow a Python duration too
    "delete-after-0min", "delete-after--5min", "retain-0days", "retain--1days", "retain-0hours", "retain--2hours",
    "retain-9223372036854775807days", "retain--9223372036854775808days",
}  # fmt: skip
LONGER_HERE = {  # overflow int64 nanoseconds in Go, where they come out negative or short; here they mean what they say
    "retain-106752days": timedelta(days=106752), "retain-213503days": timedelta(days=213503),
    "retain-213504days": timedelta(days=213504), "retain-2562048hours": timedelta(hours=2562048),
    "delete-after-153722868min": timedelta(minutes=153722868),
}  # fmt: skip


class Fraction(float):
    """A number written with a fraction or an exponent: no Go int takes it, not even 1.0."""


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse keys that Go would read into one field."""
    folded = [key.casefold() for key, _ in pairs]
    assert len(folded) == len(set(folded)), folded
    return dict(pairs)


def go_unmarshal(data: bytes) -> dict[str, Any]:
    """Read a sidecar as Go does, or fail as Go does; unknown keys are ignored."""
    assert not data.startswith(b"\xef\xbb\xbf"), "Go refuses a byte order mark"

    def refuse(constant: str) -> None:
        pytest.fail(f"Go knows no {constant}")

    values = json.loads(data.decode(), parse_float=Fraction, parse_constant=refuse, object_pairs_hook=no_duplicates)
    assert isinstance(values, dict)
    known = {name: values[name] for name in ORDER if name in values}
    assert not {key for key in values if key not in known and key.casefold() in ORDER}, "Go would take it for ours"
    for value, kind in ((known[name], kind) for name, kind, _ in STRUCT if name in known):
        if kind == "string":
            assert isinstance(value, str)
            value.encode()
        elif kind == "time.Time":
            assert RFC3339.fullmatch(value), value
            assert datetime.fromisoformat(value).tzinfo is not None
        else:
            assert type(value) is int
            assert -(2**63) <= value < 2**63
    return known


def sources(folder: Path) -> dict[str, MediaContent]:
    """Return a dozen and more media, each kind of source among them."""
    file = folder / "source with blanks.mp4"
    file.write_bytes(b"\0\0\0\x18ftypmp42" + b"x" * 9000)
    sound = folder / "sound"
    sound.write_bytes(PCM)
    wrapped = io.BytesIO()
    with wave.open(wrapped, "wb") as out:
        out.setparams((2, 2, 8000, 0, "NONE", ""))
        out.writeframes(PCM)
    return {
        "png": MediaContent.from_bytes(PNG, "image/png", caption='a <b> & "c" é \u2028', file_name='a <b> & "c" é'),
        "jpeg": MediaContent.from_bytes(b"\xff\xd8\xff\xe0" + b"j" * 100, "image/jpeg", width=3, height=4),
        "webp": MediaContent.from_stream(io.BytesIO(b"RIFF\x10\0\0\0WEBPVP8 0000"), "image/webp"),
        "file": MediaContent.from_path(file, "video/mp4", duration=1.5, fps=29.97, policy_name="retain-7days"),
        "mp3": MediaContent.from_bytes(b"ID3" + b"m" * 50, "audio/mpeg", bit_rate=128000, channels=2),
        "pcm": MediaContent.from_bytes(PCM, "audio/pcm"),
        "l16": MediaContent.from_stream(io.BytesIO(PCM), "audio/L16;rate=16000"),
        "pcm file": MediaContent(file_path=str(sound), mime_type="audio/pcm"),
        "wav": MediaContent.from_bytes(wrapped.getvalue(), "audio/wav"),
        "text": MediaContent.from_text("Grüße\n", detail="low"),
        "pdf": MediaContent.from_bytes(b"%PDF-1.7 ...", "application/pdf"),
        "unknown": MediaContent.from_bytes(b"?", "application/x-unheard-of; a=b"),
        "empty": MediaContent.from_bytes(b"", "image/gif"),
        "liar": MediaContent.from_bytes(b"GIF89a" + b"\0" * 20, "image/png"),
        "base64": MediaContent(data="AQID\r\nBAU=", mime_type="video/webm"),
        "data url": MediaContent.from_url("data:image/png;base64,iVBORw0KGgo="),
    }


def metadata_of(number: int, field: str) -> MediaMetadata:
    """Return metadata with every shape of optional fields and of time."""
    times = [None, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), datetime(2026, 3, 4, 5, 6, 7, 890120, tzinfo=UTC)]
    times.append(datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=timezone(-timedelta(hours=9, minutes=30))))
    fields: dict[str, Any] = {field: ("r1", "a/b", "..", "héllo ✓", "x" * 300, 'q"\\<&>')[number % 6]}
    if number % 2:
        fields |= {"provider_id": "openai", "policy_name": "delete-after-5min"}
    if number % 3 == 0:
        fields |= {name: "other" for _, name in MODES.values() if name != field}
    words = {"Run_ID": "not the run", "size_bytes": -1, "score": 4.5, "tags": ["a"], "kept": True}
    fields["attributes"] = {**words, "prompt": "caf\N{LATIN SMALL LETTER E WITH ACUTE}"} if number % 2 else {}
    return MediaMetadata(message_idx=number * 997, part_idx=number, timestamp=times[number % 4], **fields)


@pytest.mark.parametrize("mode", MODES)
def test_go_reads_what_we_write(mode: str, local_storage: LocalStorage, tmp_path: Path, clock: Clock) -> None:
    folder, field = MODES[mode]
    store = MediaStore(local_storage.url, organization=mode, now=clock)
    root = Path(local_storage.url)
    old = os.umask(0)  # whatever the umask, nobody else gets in
    try:
        stored = {
            store.store_media(content, metadata_of(number, field)): (content, metadata_of(number, field))
            for number, content in enumerate(sources(tmp_path).values())
        }
    finally:
        os.umask(old)
    for reference, (content, metadata) in stored.items():
        path = root / reference
        sidecar = Path(f"{path}.meta")
        assert reference.startswith(f"{folder}/")
        assert (path.is_file(), path.is_symlink()) == (True, False)
        assert [file.stat().st_mode & 0o7777 for file in (path, sidecar)] == [0o600, 0o600]
        # Keys in Go's order, then ours; two blanks; so that a diff of the two writers' sidecars shows only facts.
        text = sidecar.read_text("utf-8")
        keys = list(json.loads(text))
        theirs = [key for key in keys if key in ORDER]
        assert theirs == keys[: len(theirs)] == [name for name in ORDER if name in keys]
        assert text.startswith('{\n  "run_id": "')
        assert "null" not in text
        found = go_unmarshal(sidecar.read_bytes())
        expected = {name: getattr(metadata, name) for name in ORDER}
        expected["mime_type"] = "audio/wav" if wav.is_raw(content.mime_type) else content.mime_type
        expected["policy_name"] = metadata.policy_name or content.policy_name
        expected["size_bytes"] = path.stat().st_size
        assert datetime.fromisoformat(found.pop("timestamp")) == (expected.pop("timestamp") or clock())
        optional = {name for name, _, omitted in STRUCT if omitted}
        assert found == {name: value for name, value in expected.items() if value or name not in optional}
        assert path.suffix == mime.extension_for(expected["mime_type"])
    assert {path.stat().st_mode & 0o7777 for path in (root, *root.rglob("*")) if path.is_dir()} == {0o750}


def test_gos_walk_meets_no_other_sidecars_and_media_may_be_gone_that_go_took_away(local_storage: LocalStorage) -> None:
    """Its delete removes bytes, then sidecar, then the empty folder; its enforcement may leave either."""
    store = MediaStore(local_storage.url)
    references = [store.store_media(MediaContent.from_bytes(PNG), MediaMetadata(run_id="r1")) for _ in range(3)]
    # PromptKit's enforcement reads every .meta below the root and deletes beside it.
    sidecars = {key for key in local_storage.keys() if key.endswith(".meta")}  # noqa: SIM118 - no dict
    assert sidecars == {f"{reference}.meta" for reference in references}
    local_storage.remove(references[0])
    local_storage.remove(references[1])
    local_storage.remove(f"{references[1]}.meta")
    assert list(store.list()) == references[2:]
    assert [store.exists(reference) for reference in references] == [False, False, True]
    store.delete_many(references)
    assert local_storage.keys() == {".fsmedia/store.json"}


# -- PromptKit's answers and ours ---------------------------------------------------------------------------
def test_promptkits_answers_on_policy_names_and_extensions_are_ours() -> None:
    assert (len(vectors()["policy_names"]), len(vectors()["mime_types"])) == (49, 34)
    accepted = {vector["name"] for vector in vectors()["policy_names"] if vector["error"] is None}
    assert accepted >= REFUSED_HERE | LONGER_HERE.keys()
    for vector in vectors()["policy_names"]:
        name = str(vector["name"])
        if vector["error"] is not None or name in REFUSED_HERE:
            info = raised(UnknownPolicyError, find_policy, name, {})
            assert KEEP_FOREVER in info.next_step
            assert str(info).isprintable()
            continue
        expected = LONGER_HERE.get(name) or timedelta(microseconds=int(str(vector["ns"])) // 1000)
        assert find_policy(name, {}) == RetentionPolicy(name=name, keep_for=expected)
    for vector in vectors()["mime_types"]:
        declared = str(vector["mime"])
        found = mime.extension_for("audio/wav" if wav.is_raw(declared) else declared)
        if vector["ext"] != ".bin":
            assert found == vector["ext"]
        else:
            assert (found == ".bin") == (declared == "application/octet-stream")
        if vector.get("stored_hex"):
            form = wav.pcm_format(declared, None)
            assert (wav.header(form, 4) + bytes([1, 2, 3, 4])).hex() == vector["stored_hex"]
        if vector["inferred_without_sidecar"]:
            assert mime.guess_from_name(f"x{vector['ext']}") == vector["inferred_without_sidecar"]
