"""Keys and layouts: what is rendered parses back, ids stay apart, what is not media or could lose some is refused."""

import copy
import hashlib
import pickle
import re
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
import uuid_utils
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from fsmedia.errors import InvalidLayoutError, InvalidMediaError, InvalidReferenceError
from fsmedia.format import keys
from fsmedia.format import layout as layout_format
from fsmedia.format.keys import VIEWS, check_reference, is_hidden, plain_name
from fsmedia.format.layout import MODES, Layout, escape_id, layouts, parse_any, read_id, unescape_id
from fsmedia.models import OrganizationMode
from tests.contract.specimens import raised
from tests.unit.templates import AT, FULL, IDS, NAME, RESERVED, TAIL, TEMPLATES, TEXT_FIELDS, UNIQUE

MILLISECONDS = st.integers(0, 2**48 - 1)
INDEX = st.integers(0, 10**18 - 1)


# --- names
def test_unique_names_are_fresh_in_order_and_hold_all_bits_of_their_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(1000):
        name = keys.new_unique()
        assert (len(name), name[0]) == (27, "u")
        assert set(name[1:]) <= set("0123456789abcdefghijklmnopqrstuvwxyz")
    before = keys.new_unique(int(time.time() * 1000) - 1)
    names = [keys.new_unique() for _ in range(20_000)]
    after = keys.new_unique(int(time.time() * 1000) + 1)
    assert (len(set(names)), names) == (len(names), sorted(names))
    assert before < names[0] < names[-1] < after
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    for value in (0, 2**128 - 1, *(1 << bit for bit in range(128)), 0x018BCFE5687B7FFFBFFF0123456789AB):
        monkeypatch.setattr(uuid_utils, "uuid7", lambda value=value: uuid.UUID(int=value))
        number = 0
        for character in keys.new_unique()[1:]:
            number = number * 32 + digits.index(character)
        assert number == value


@given(
    MILLISECONDS, MILLISECONDS, INDEX, INDEX,
    st.sampled_from(["", ".png", ".tar.gz", ".", ".12-ab-cd.png", ".\n", ".é"]),
)  # fmt: skip
def test_names_sort_by_time_and_parse_back(one: int, other: int, message_idx: int, part_idx: int, ext: str) -> None:
    names = keys.new_unique(one), keys.new_unique(other)
    if one != other:
        assert (names[0] < names[1]) == (one < other)
    assert names[0] != names[1]
    name = keys.plain_name(message_idx, part_idx, UNIQUE) + ext
    for each in (name, f"runs/r1/{name}"):
        assert keys.parse_own_name(each) == keys.OwnName(message_idx, part_idx, UNIQUE, ext)
        assert keys.is_own_name(each)


NOT_OUR_OWN = [
    "", "0_0_1795329442634380786.png",  # PromptKit
    "8df3558c41c5f1c215aca452101dc6139d88ef3c62f4583a0fc9d117120cdbc6.gif",  # PromptKit, deduplicated
    f"003_01_{UNIQUE}.png", f"0003_1_{UNIQUE}.png", f"00003_01_{UNIQUE}.png", f"0003_001_{UNIQUE}.png",
    f"0003-01-{UNIQUE}.png", f"0003_01_{UNIQUE[:-1]}.png", f"0003_01_{UNIQUE}0.png", f"0003_01_{UNIQUE.upper()}.png",
    f"0003_01_v{UNIQUE[1:]}.png", f"x0003_01_{UNIQUE}.png", f"0003_01_{UNIQUE}png", f"0003_01_{UNIQUE}.png.meta",
    f"0003_01_{UNIQUE}.meta", f"0003_01_{UNIQUE}.png/other", "9" * 5000 + f"_01_{UNIQUE}.png",
    f"\u0660003_01_{UNIQUE}.png",  # another script's digit
]  # fmt: skip
NOT_TEMPORARY = ["", ".tmp-", ".tmp-x", f".tmp-{UNIQUE}.png", f"x.tmp-{UNIQUE}", f".tmp-{UNIQUE}/x"]
HIDDEN = [
    ".fsmedia", ".fsmedia/", ".fsmedia/store.json", ".FSMedia/store.json",
    ".f\u017fmedia/store.json",  # long s: the same folder on a disk that folds case
    ".fsmedia/blobs/ab/x", "runs/.fsmedia/x.png", "runs/r1/.FSMedia/store.json", "runs/r1/.fsmedia",
    "runs/r1/x.png.meta", "x.meta", "runs/r1/.meta", f"runs/r1/.tmp-{UNIQUE}", f".tmp-{UNIQUE}", ".dedup_index.json",
]  # fmt: skip
NOT_HIDDEN = [
    "", "x.png", "runs", "runs/r1/x.png", ".fsmedia2/x.png", "runs/.fsmedia2/x.png", "runs/r1/.dedup_index.json",
    "runs/x.meta/y.png", "runs/x.meta/", f"runs/.tmp-{UNIQUE}/", ".hidden.png", "by-run/x.png",
]  # fmt: skip


def test_plain_and_temporary_names_and_others_that_are_neither_nor_hidden_nor_sidecars() -> None:
    assert keys.plain_name(3, 1, UNIQUE) == f"0003_01_{UNIQUE}"
    assert keys.plain_name(12345, 678, UNIQUE) == f"12345_678_{UNIQUE}"
    own = keys.OwnName(3, 1, UNIQUE, ".png")
    assert pickle.loads(pickle.dumps(own)) == own
    for indices in ((-1, 0), (0, -1), (10**18, 0), (0, 10**18)):
        raised(InvalidMediaError, keys.plain_name, *indices, UNIQUE, match="message_idx")
    for milliseconds in (-1, 2**48):
        raised(InvalidMediaError, keys.new_unique, milliseconds, match="1970")
    name = keys.temporary_name()
    assert name.startswith(".tmp-u")
    assert len(name) == 32
    assert name != keys.temporary_name()
    assert keys.is_temporary(name)
    assert keys.is_temporary(f"runs/r1/{name}")
    assert [name for name in NOT_OUR_OWN if keys.parse_own_name(name) is not None] == []
    assert [name for name in NOT_OUR_OWN if keys.is_own_name(name) or keys.is_own_name(f"runs/r1/{name}")] == []
    assert [name for name in NOT_TEMPORARY if keys.is_temporary(name)] == []
    assert [key for key in HIDDEN if not keys.is_hidden(key)] == []
    assert [key for key in NOT_HIDDEN if keys.is_hidden(key)] == []
    for key in HIDDEN:
        raised(InvalidReferenceError, keys.check_reference, key)
    for key in ("", "runs/r1/x.png", "runs/r1/xmeta", "runs/x.meta/y", ".meta", "runs/r1/.meta"):
        assert not keys.is_sidecar(key)
        raised(InvalidReferenceError, keys.media_key, key, match="not a sidecar")


# --- sidecars and what is hidden
@pytest.mark.parametrize(("text", "problem"), [
    (None, "is text, not NoneType"), (b"runs/r1/x.png", "is text, not bytes"), (7, "is text, not int"), ("", "empty"),
    ("runs/r1/\0.png", "NUL"), ("/data/media/runs/r1/x.png", "absolute"), ("/", "absolute"),
    ("runs//x.png", "segment is empty"), ("runs/r1/", "folder"), (".", "are no segments"), ("..", "are no segments"),
    ("runs/./x.png", "are no segments"), ("runs/../x.png", "are no segments"), ("../other/x.png", "are no segments"),
    ("runs/r1/..", "are no segments"), (".fsmedia", "in .fsmedia"), (".fsmedia/store.json", "in .fsmedia"),
    (".FsMedia/store.json", "in .fsmedia"), ("runs/.fsmedia/x.png", "in .fsmedia"),
    ("runs/r1/.FSMEDIA/blobs/x", "in .fsmedia"), ("runs/r1/x.png.meta", "sidecar"), ("runs/r1/.meta", "sidecar"),
    (f"runs/r1/.tmp-{UNIQUE}", "temporary"), (".dedup_index.json", "PromptKit's index"), ("runs/r1/a::b.png", "'::'"),
    ("media://runs/r1/x.png::s3://bucket", "URL"), ("s3://bucket/runs/r1/x.png", "URL"), ("runs/http://x", "URL"),
    ("x" * 1025, "1024 bytes"), ("é" * 513, "1024 bytes"), ("runs/\ud800/x.png", "lone surrogate"),
])  # fmt: skip
def test_references_that_are_refused(text: object, problem: str) -> None:
    caught = raised(InvalidReferenceError, keys.check_reference, text, match=problem)
    assert caught.next_step
    assert caught.reference == (text if isinstance(text, str) else None)


def test_references_that_are_accepted_and_lengths_that_are_and_are_not() -> None:
    for text in [
        "x.png", "runs/r1/x.png", f"runs/r1/0003_01_{UNIQUE}.png", "runs/ lead trail /x.gif",
        "runs/tab\tnew\nline/x.gif", "runs/%2F/x.gif",
        "runs/a\\b/*?.gif", "runs/e\u0301/x.gif", "runs/\u00e9/x.gif", "runs/.../x..png",
        "runs/.fsmedia2/x.png", "runs/.dedup_index.json", "runs/x.meta/y.png", "runs/a:b/x.png", ".meta.png",
        f".tmp-{UNIQUE}/x.png", "x" * 1024, "é" * 512,
    ]:  # fmt: skip
        assert keys.check_reference(text) == text
    for reference, root in [
        ("r/" + "x" * 250, 0), ("é" * 125, 0), ("/".join(["x" * 248] * 4)[:994], 0),  # 30 + 994
        ("/".join(["x" * 248] * 4)[:893], 100),  # 100 + 1 + 30 + 893
    ]:  # fmt: skip
        keys.check_lengths(reference, root)
    for reference, root, problem in [
        ("r/" + "x" * 251, 0, "250 bytes, one here has 251"), ("x" * 251 + "/y", 0, "250 bytes"),
        ("é" * 126, 0, "has 252"), ("/".join(["x" * 248] * 4)[:995], 0, "1025 bytes"),
        ("/".join(["x" * 248] * 4)[:894], 100, "1025 bytes"), ("/".join(["é" * 124] * 4)[:600], 0, "over the 1024"),
    ]:  # fmt: skip
        caught = raised(InvalidLayoutError, keys.check_lengths, reference, root, match=problem)
        assert caught.reference == reference
        assert caught.next_step


@given(st.text(alphabet=st.sampled_from("ab./:~\0é\n"), max_size=12), st.text(min_size=1))
def test_an_accepted_reference_is_below_the_root_and_not_hidden_and_has_one_sidecar(text: str, other: str) -> None:
    if not other.endswith("/"):
        sidecar = keys.sidecar_key(other)
        assert keys.is_sidecar(sidecar)
        assert keys.media_key(sidecar) == other
    try:
        keys.check_reference(text)
    except InvalidReferenceError:
        return
    assert not keys.is_hidden(text)
    assert not {"", ".", ".."} & set(text.split("/"))


ROOTS = ("/data/my media", "file:///data/my media", "s3://bucket/media", "memory://m")


def test_relative_to_root_in_any_of_its_spellings() -> None:
    for text, rest in [
        ("/data/my media/runs/r1/x.png", "runs/r1/x.png"), ("/data/my media/runs/%41/x.png", "runs/%41/x.png"),
        ("file:///data/my media/runs/r1/x.png", "runs/r1/x.png"),
        ("file:///data/my%20media/runs/a%20b/x.png", "runs/a b/x.png"),
        ("file:///data/my media/runs/%C3%A9/x.png", "runs/é/x.png"),
        ("s3://bucket/media/runs/%41/x.png", "runs/%41/x.png"),
        ("memory://m/x.png", "x.png"), ("/data/my%20media/x.png", "/data/my%20media/x.png"),
        ("/data/my media2/x.png", "/data/my media2/x.png"), ("/data/my media", "/data/my media"),
        ("file:///elsewhere/a%20b", "file:///elsewhere/a%20b"), ("s3://other/media/x.png", "s3://other/media/x.png"),
        ("runs/r1/x.png", "runs/r1/x.png"), ("runs/a%20b/x.png", "runs/a%20b/x.png"), ("", ""),
    ]:  # fmt: skip
        assert (keys.relative_to_root(text, ROOTS), keys.relative_to_root(text, ROOTS[::-1])) == (rest, rest)
    for root, text in [("/", "/runs/x.png"), ("memory://", "memory://runs/x.png"), ("s3://b/", "s3://b/runs/x.png")]:
        assert keys.relative_to_root(text, [root]) == "runs/x.png"
    assert keys.relative_to_root("/a/b/c", ["/a", "/a/b", "/"]) == "c"
    rest = keys.relative_to_root("file:///data/my media/runs/%E9/x.png", ROOTS)
    raised(InvalidReferenceError, keys.check_reference, rest, match="lone surrogate")


INSTANTS = st.datetimes(timezones=st.just(UTC))
REFERENCES = st.sampled_from(["a", "runs/r1/x.png", "runs/r 1/ä%#?*.png", "x" * 200, "a\nb/c"])
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@given(INSTANTS, INSTANTS, REFERENCES)
def test_a_key_is_read_back_sorts_by_time_and_is_never_due_early(one, other, reference) -> None:
    minute = keys.due_minute(one)
    assert keys.parse_due(keys.due_key(one, reference)) == keys.DueKey(minute, reference)
    assert minute >= one or minute == datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    assert minute - one < timedelta(minutes=1)
    first, second = sorted([one, other])
    assert keys.due_key(first, "a") <= keys.due_key(second, "a")


def test_keys_of_retention_have_the_minute_at_or_after_and_one_length() -> None:
    for instant, begin in [
        (NOON, "2026-03-04/12/00"), (NOON + timedelta(microseconds=1), "2026-03-04/12/01"),
        (datetime(2026, 12, 31, 23, 59, 1, tzinfo=UTC), "2027-01-01/00/00"),
        (datetime(2026, 3, 4, 13, 0, tzinfo=timezone(timedelta(hours=1))), "2026-03-04/12/00"),
        (datetime(33, 1, 1, tzinfo=UTC), "0033-01-01/00/00"), (datetime.max.replace(tzinfo=UTC), "9999-12-31/23/59"),
    ]:  # fmt: skip
        assert keys.due_key(instant, "runs/r1/x.png") == f"{keys.DUE}/{begin}/runs/r1/x.png"
    for key in [
        ".fsmedia/due", ".fsmedia/due/2026-03-04/12/00/", ".fsmedia/due/2026-03-04/12/00/a/../b",
        ".fsmedia/due/2026-03-04/12/00/.fsmedia/store.json", ".fsmedia/due/2026-03-04/12/00/a.meta",
        ".fsmedia/due/2026-13-04/12/00/a", ".fsmedia/due/2026-03-04/24/00/a", ".fsmedia/due/2026-3-4/12/00/a",
        ".fsmedia/duet/2026-03-04/12/00/a", "runs/2026-03-04/12/00/a",
    ]:  # fmt: skip
        assert keys.parse_due(key) is None
    assert len(keys.due_key(NOON, "a")) - 1 == keys.KEY_RESERVE
    assert keys.due_folders(NOON) == tuple(
        f"{keys.DUE}/{end}" for end in ("2026-03-04", "2026-03-04/12", "2026-03-04/12/00")
    )
    assert keys.due_key(NOON, "a").startswith(keys.due_folders(NOON)[2])
    assert len({len(keys.hold_key(each)) for each in ("a", "b" * 900, "ä")}) == 1
    assert keys.hold_key("a") != keys.hold_key("b")
    assert keys.dated_key(keys.DELETIONS, NOON) != keys.dated_key(keys.DELETIONS, NOON)
    assert keys.is_temporary(keys.probe_key())


THOROUGH = settings(max_examples=200)
LIMITS = st.integers(layout_format.MINIMUM_LIMIT, 250)


def test_escaped_forms_what_escape_never_renders_and_what_it_refuses() -> None:
    for text, segment in [
        ("run-1_A.b", "run-1_A.b"), ("a b", "a~20b"), ("a/b", "a~2fb"), ("é", "~c3~a9"), ("e\u0301", "e~cc~81"),
        ("~", "~7e"), ("%=*?[#", "~25~3d~2a~3f~5b~23"), ("\0\n", "~00~0a"), ("", "~_"), (".", "~2e"), ("..", "~2e~2e"),
        ("...", "..."), (".fsmedia", ".fsmedia"), (".meta", "~2emeta"), ("a.meta", "a~2emeta"),
        ("a.meta.b", "a.meta.b"), ("a.META", "a.META"),
    ]:  # fmt: skip
        assert (escape_id(text), unescape_id(segment), read_id(segment)) == (segment, text, text)
    for segment in [
        "", ".", "..", "a.meta", "a b", "é", "~", "~2", "~2E", "~zz", "~41",  # A stands for itself
        "a~2e", "~__", "a~_", "~c3",  # half a character
        "~ed~a0~80",  # a surrogate
        "~2e~2emeta",  # only the last dot is escaped
        "x" * 251,
    ]:  # fmt: skip
        assert unescape_id(segment) is None
        assert read_id(segment) == segment  # PromptKit wrote ids as they are
    assert escape_id("x" * 300 + "a") != escape_id("x" * 300 + "b")
    assert escape_id("x" * 250) == "x" * 250
    assert escape_id("x" * 251) == "x" * 216 + "~~" + hashlib.sha256(b"x" * 251).hexdigest()[:32]
    assert (escape_id("Run"), escape_id("run")) == ("Run", "run")
    assert escape_id("É") != escape_id("é")
    raised(InvalidLayoutError, escape_id, "x", match="39 bytes", limit=layout_format.MINIMUM_LIMIT - 1)
    for text in ("\ud800", "a\udce9b", "\udfff" * 300):
        caught = raised(InvalidMediaError, escape_id, text, match="lone surrogate")
        assert caught.next_step
        str(caught).encode()  # can be printed


@THOROUGH
@given(IDS, st.text(alphabet=st.sampled_from("~_2eE.metaA3c9"), max_size=12))
def test_unescape_is_the_inverse_or_knows_that_it_is_not_and_only_of_what_was_escaped(text: str, given: str) -> None:
    segment = escape_id(text)
    whole = escape_id(text, limit=10**6)
    assert unescape_id(whole, limit=10**6) == text
    assert unescape_id(segment) == (text if len(whole) <= 250 else None)
    assert read_id(segment) == (text if len(whole) <= 250 else "")
    unescaped = unescape_id(given)
    assert unescaped is None or escape_id(unescaped) == given


@THOROUGH
@given(IDS, IDS, LIMITS)
@example("x.meta", "x", 40)
@example("x" * 36 + ".meta", "x", 40)
def test_a_segment_is_a_harmless_name_and_two_ids_never_share_one(text: str, other: str, limit: int) -> None:
    segment = escape_id(text, limit=limit)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", segment)
    assert len(segment) <= limit
    assert segment not in {".", ".."}
    assert not segment.endswith(".meta")
    assert text == other or escape_id(other, limit=limit) != segment


@THOROUGH
@given(st.text(alphabet=st.sampled_from("ab~é/"), min_size=260, max_size=300), LIMITS)
def test_long_ids_become_prefix_and_digest(text: str, limit: int) -> None:
    segment = escape_id(text, limit=limit)
    prefix, mark, digest = segment.rpartition("~~")
    assert mark
    assert digest == hashlib.sha256(text.encode()).hexdigest()[:32]
    assert re.fullmatch(r"(?:[A-Za-z0-9._-]|~[0-9a-f]{2})*", prefix)  # no escape is cut
    assert escape_id(text, limit=10**6).startswith(prefix)
    assert limit - 2 <= len(segment) <= limit
    assert unescape_id(segment, limit=limit) is None
    assert read_id(segment, limit=limit) == ""


# --- render and parse
def test_default_layouts_are_promptkits_folders_require_their_modes_id_and_one_escape_too_many_is_its_id() -> None:
    assert list(layouts()) == list(MODES) == ["by-session", "by-conversation", "by-run"]
    references = {mode: layout.render(FULL, NAME, ".png") for mode, layout in layouts().items()}
    folders = {"by-session": "sessions/s1", "by-conversation": "conversations/c1", "by-run": "runs/r1"}
    assert references == {mode: f"{folder}/{NAME}.png" for mode, folder in folders.items()}
    for mode, layout in layouts().items():
        assert layout.id_field == layout_format.ID_FIELDS[mode]
        others = {used: "x" for used in TEXT_FIELDS if used != layout.id_field}
        with pytest.raises(InvalidMediaError, match=f"{layout.id_field} is required: this store is organized {mode}"):
            layout.render(others, NAME, ".png")
        layout.render({layout.id_field: "x"}, NAME, ".png")
    # The last one begins with a sharp s: by-session on a disk that folds case.
    for template, folder in [("{run_id}", "~61bc"), ("runs/{run_id}", "~62y-run"), ("by-se{run_id}", "~dfion")]:
        assert Layout(template + TAIL, "by-run").parse(f"{template.format(run_id=folder)}/x.png")["run_id"] == folder


@THOROUGH
@given(
    template=st.sampled_from(TEMPLATES),
    ids=st.fixed_dictionaries(dict.fromkeys(TEXT_FIELDS, IDS)),
    indices=st.tuples(*[st.integers(0, 10**18 - 1) | st.integers(0, 200)] * 2),
    timestamp=st.datetimes(timezones=st.just(UTC)),
)
def test_parse_is_the_inverse(template, ids, indices, timestamp) -> None:
    assume(ids["run_id"])
    layout = Layout(template, "by-run")
    fields = {**ids, "message_idx": indices[0], "part_idx": indices[1], "timestamp": timestamp}
    name = plain_name(*indices, UNIQUE)
    reference = layout.render(fields, name, ".png")
    parsed = layout.parse(reference)
    assert (parsed["name"], parsed["ext"]) == (name, ".png")
    assert (parsed["message_idx"], parsed["part_idx"]) == indices
    for used in TEXT_FIELDS:
        if used in template:
            shortened = any("~~" in segment for segment in reference.split("/"))
            assert parsed[used] == ids[used] or (shortened and parsed[used] == "")
        else:
            assert used not in parsed


@THOROUGH
@given(template=st.sampled_from(TEMPLATES), run_id=IDS, session_id=IDS, provider_id=IDS)
def test_no_id_reaches_what_is_not_for_media_and_two_never_share_a_folder(template, run_id, session_id, provider_id):
    assume(run_id)
    layout = Layout(template, "by-run")
    fields = {**FULL, "run_id": run_id, "session_id": session_id, "provider_id": provider_id}
    reference = layout.render(fields, NAME, ".png")
    assert check_reference(reference) == reference
    segments = reference.split("/")
    assert segments[0].casefold() not in VIEWS
    for length in range(1, len(segments)):
        assert not is_hidden("/".join(segments[:length]))
    assert max(len(segment.encode()) for segment in segments) <= 250
    if provider_id not in ("", run_id):
        assert layout.render({**fields, "run_id": provider_id}, NAME, ".png") != reference


def test_only_what_would_be_reserved_is_escaped_once_more() -> None:
    for reserved in RESERVED:
        layout = Layout("{run_id}" + TAIL, "by-run")
        escaped = f"~{ord(reserved[0]):02x}{reserved[1:]}"
        reference = layout.render({"run_id": reserved}, NAME, ".png")
        assert reference == f"{escaped}/{NAME}.png"
        parsed = layout.parse(reference)
        assert parsed["run_id"] == reserved
        assert layout.parse(f"{reserved}/{NAME}.png") is None
        assert layout.folder(reserved) == escaped
        assert layout.render({"run_id": escaped}, NAME, ".png") != reference
    for template, run_id, folder in [
        (".fs{run_id}", "media", ".fs~6dedia"), (".FS{run_id}", "Media", ".FS~4dedia"),
        ("by-{run_id}", "run", "by-~72un"),
        ("{run_id}-session", "by", "~62y-session"), (".t{run_id}", f"mp-{UNIQUE}", f".t~6dp-{UNIQUE}"),
        ("by-{run_id}", "runs", "by-runs"), ("runs/{run_id}", ".fsmedia", "runs/~2efsmedia"),
        ("runs/{run_id}", ".FSMedia", "runs/~2eFSMedia"), ("runs/.{run_id}", "fsmedia", "runs/.~66smedia"),
        ("runs/{run_id}", "by-run", "runs/by-run"), ("runs/{run_id}", f".tmp-{UNIQUE}", f"runs/~2etmp-{UNIQUE}"),
    ]:  # fmt: skip
        layout = Layout(template + TAIL, "by-run")
        assert layout.render({"run_id": run_id}, NAME, "") == f"{folder}/{NAME}"
        parsed = layout.parse(f"{folder}/{NAME}")
        assert parsed["run_id"] == run_id


def test_names_of_promptkits_folders_and_of_files_are_read_and_rendered_and_others_are_not() -> None:
    for folder in [" lead trail ", "héllo wörld ✓", "e\u0301", "a\nb\tc", "%2F", "a_b_&c", "-dash", "x.meta"]:
        parsed = layouts()["by-run"].parse(f"runs/{folder}/22_0_1795329442638423830.gif")
        assert parsed == {"run_id": folder, "name": "22_0_1795329442638423830", "ext": ".gif"}
    for file, expected in [
        (f"{NAME}.png", {"name": NAME, "ext": ".png", "message_idx": 3, "part_idx": 1}),
        (NAME, {"name": NAME, "ext": "", "message_idx": 3, "part_idx": 1}),
        (f"{NAME}.12-ab-cd.png", {"name": NAME, "ext": ".12-ab-cd.png", "message_idx": 3, "part_idx": 1}),
        ("a.tar.gz", {"name": "a.tar", "ext": ".gz"}), ("README", {"name": "README", "ext": ""}),
        (".bashrc", {"name": ".bashrc", "ext": ""}), ("...x", {"name": "...x", "ext": ""}),
        ("..a.b", {"name": "..a", "ext": ".b"}), ("x.", {"name": "x", "ext": "."}),
    ]:  # fmt: skip
        assert layouts()["by-run"].parse(f"runs/r1/{file}") == {**expected, "run_id": "r1"}
    for name, ext in [("x" * 246, ".png"), ("é" * 123, ".png"), ("a b", ""), (".a", ".b")]:
        assert layouts()["by-run"].render(FULL, name, ext) == f"runs/r1/{name}{ext}"
    for name, ext in [
        ("", ".png"), ("a/b", ".png"), ("a", "png"), ("a", ".meta"), ("a.me", "ta"), (".", ""), (".", "."),
        (".meta", ""), (f".tmp-{UNIQUE}", ""), ("a\0", ".png"), ("\ud800", ".png"), ("a::b", ".png"),
        ("x" * 247, ".png"), ("é" * 124, ".png"),
    ]:  # fmt: skip
        raised(InvalidLayoutError, layouts()["by-run"].render, FULL, name, ext, match="file name")
    for template, reference in [
        ("runs/{run_id}", "runs/x.png"), ("runs/{run_id}", "x.png"), ("runs/{run_id}", "runs/r1/more/x.png"),
        ("runs/{run_id}", "Runs/r1/x.png"), ("runs/{run_id}", "sessions/r1/x.png"),
        ("runs/{run_id}", "runs/r1/x.png.meta"),
        ("runs/{run_id}", f"runs/r1/.tmp-{UNIQUE}"), ("runs/{run_id}", f"runs/.tmp-{UNIQUE}/x.png"),
        ("{run_id}", ".fsmedia/store.json"), ("{run_id}", "by-session/x.png"), ("by-{run_id}", "by-session/x.png"),
        ("a.b/{run_id}", "aXb/r1/x.png"), ("{run_id}/{message_idx:04d}", "r1/003/x.png"),
        ("{run_id}/{message_idx:04d}", "r1/00003/x.png"), ("{run_id}/{message_idx}", "r1/03/x.png"),
        ("{run_id}/{message_idx}", "r1/-3/x.png"), ("{run_id}/{message_idx}", "r1/" + "9" * 5000 + "/x.png"),
        ("{run_id}/{message_idx:018d}", "r1/" + "9" * 19 + "/x.png"),
        ("{run_id}/{timestamp:%Y-%m-%d}", "r1/2026-13-01/x.png"),
        ("{run_id}/{timestamp:%Y-%m-%d}", "r1/2026-3-1/x.png"),
        ("{run_id}/{timestamp:%Y.%j}", "r1/2026x001/x.png"), ("{run_id}/{timestamp:%j}", "r1/367/x.png"),
        ("{run_id}+{session_id}", "r1-s1/x.png"), ("{run_id}+{session_id}", "r1+s1+s2/x.png"),
        ("x{run_id}", "xa b/x.png"),
    ]:  # fmt: skip
        assert Layout(template + TAIL, "by-run").parse(reference) is None


def test_ids_and_timestamps_of_one_segment_share_its_bytes_and_others_may_be_missing() -> None:
    layout = layouts()["by-run"]
    parsed = layout.parse(layout.render({"run_id": "é" * 200}, NAME, ".png"))
    assert parsed["run_id"] == ""
    layout = Layout("{run_id}+{session_id}+{message_idx:04d}" + TAIL, "by-run")
    reference = layout.render({**FULL, "run_id": "r" * 300, "session_id": "s" * 300, "message_idx": 10**17}, NAME, "")
    folder = reference.partition("/")[0]
    assert len(folder) == 250
    run_id, session_id, index = folder.split("+")
    assert run_id == escape_id("r" * 300, limit=115)
    assert session_id == escape_id("s" * 300, limit=115)
    assert index == str(10**17)
    layout = Layout("{run_id}+{timestamp:%Y-%j}" + TAIL, "by-run")
    folder = layout.render({**FULL, "run_id": "r" * 300}, NAME, "").partition("/")[0]
    assert folder == escape_id("r" * 300, limit=241) + "+2026-063"
    assert len(folder) == 250
    layout = Layout("{run_id}/{provider_id}/{session_id}/{mime_type}" + TAIL, "by-run")
    reference = layout.render({"run_id": "r1", "provider_id": "", "session_id": None}, NAME, ".png")
    assert reference == f"r1/~_/~_/~_/{NAME}.png"
    parsed = layout.parse(reference)
    assert (parsed["provider_id"], parsed["session_id"], parsed["mime_type"]) == ("", "", "")
    layout = Layout("{run_id}/{timestamp:%Y%m%d-%H.%M_%S}/{timestamp:%j}" + TAIL, "by-run")
    for instant in (AT, AT.astimezone(timezone(timedelta(hours=2)))):
        assert layout.render({**FULL, "timestamp": instant}, "x", "") == "r1/20260304-05.06_07/063/x"
    early = datetime(1, 1, 1, tzinfo=UTC)  # PromptKit's zero time
    assert layout.render({**FULL, "timestamp": early}, "x", "") == "r1/00010101-00.00_00/001/x"


@pytest.mark.parametrize(("fields", "problem"), [
    ({}, "run_id is required: this store is organized by-run"), ({"run_id": ""}, "run_id is required"),
    ({"run_id": None}, "run_id is required"), ({"run_id": 7}, "run_id is text, not int"),
    ({"run_id": "\ud800"}, "lone surrogate"), ({"provider_id": 7}, "provider_id is text"),
    ({"message_idx": None}, "message_idx stands in this layout"), ({"message_idx": -1}, "message_idx"),
    ({"message_idx": "3"}, "message_idx"), ({"message_idx": 10**18}, "message_idx"),
    ({"timestamp": None}, "timestamp stands in this layout"),
    ({"timestamp": datetime(2026, 3, 4)}, "not an aware datetime"),
    ({"timestamp": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, "no form in UTC"),
])  # fmt: skip
def test_metadata_that_cannot_be_rendered(fields: dict[str, object], problem: str) -> None:
    layout = Layout("{run_id}/{provider_id}/{message_idx}/{timestamp:%Y}" + TAIL, "by-run")
    caught = raised(InvalidMediaError, layout.render, {**FULL, **fields} if fields else {}, NAME, ".png", match=problem)
    assert caught.next_step


def test_folder_and_prefix_and_templates_that_are_accepted() -> None:
    for template, folder, prefix in [
        ("runs/{run_id}", "runs/a~20b", "runs"), ("{run_id}", "a~20b", ""),
        ("media/all/{run_id}", "media/all/a~20b", "media/all"),
        ("runs/{run_id}/{timestamp:%Y-%m-%d}", "runs/a~20b", "runs"),
        ("runs/{run_id}/media/{session_id}", "runs/a~20b/media", "runs"),
        ("runs/{timestamp:%Y}/{run_id}", "runs", "runs"),
        ("{timestamp:%Y}/{run_id}", "", ""), ("runs/{run_id}+{session_id}/x", "runs", "runs"),
        ("x/r-{run_id}.d/y", "x/r-a~20b.d/y", "x"),
    ]:  # fmt: skip
        layout = Layout(template + TAIL, "by-run")
        assert (layout.prefix, layout.folder("a b")) == (prefix, folder)
        assert layout.render({**FULL, "run_id": "a b"}, NAME, ".png").startswith(folder + "/" if folder else "")
    for template in [*TEMPLATES, "a+b@c,d-e_f.g/{run_id}/{name}{ext}", "runs/by-run/{run_id}/{name}{ext}"]:
        assert Layout(template, "by-run").template == template
    raised(InvalidLayoutError, Layout, "{run_id}-{session_id}/{name}{ext}", "by-run", match=r"put '/' or '\+' between")
    raised(InvalidLayoutError, Layout, "{run_id}/{timestamp}/{name}{ext}", "by-run", match=r"\{timestamp:%Y-%m-%d\}")
    for wrong, mode in (("runs/{run_id}/{name}{ext}", "by-user"), (None, "by-run"), (7, "by-run")):
        raised(InvalidLayoutError, Layout, wrong, mode, match=r"unknown organization|is text")


def test_layouts_take_overrides_and_are_values() -> None:
    chosen = layouts({"by-run": "r/{run_id}/{name}{ext}"})
    assert (list(chosen), chosen["by-run"].template) == (list(MODES), "r/{run_id}/{name}{ext}")
    assert chosen["by-session"].template == layout_format.DEFAULT_TEMPLATES["by-session"]
    raised(InvalidLayoutError, layouts, {"by-user": "r/{run_id}/{name}{ext}"}, match="unknown organization 'by-user'")
    raised(InvalidLayoutError, layouts, {"by-run": "r/{name}{ext}"}, match="run_id is not in it")
    known = layouts()
    found = parse_any(known, "conversations/c1/x.png")
    assert found == (known["by-conversation"], {"conversation_id": "c1", "name": "x", "ext": ".png"})
    assert parse_any(known, "x.png") is None
    assert parse_any({}, "runs/r1/x.png") is None
    wide = {"wide": Layout("{session_id}/{run_id}/{name}{ext}", "by-run"), **known}
    for order, wanted in ((wide, wide["wide"]), ({**known, "wide": wide["wide"]}, known["by-run"])):
        assert parse_any(order, "runs/r1/x.png")[0] is wanted
    raised(InvalidMediaError, layouts()["by-run"].folder, "", match="run_id is required")
    layout = Layout(layout_format.DEFAULT_TEMPLATES["by-run"], OrganizationMode.BY_RUN)
    twin = layouts()["by-run"]
    assert (layout, hash(layout)) == (twin, hash(twin))
    assert type(layout.mode) is str
    assert layout != layouts()["by-session"]
    for clone in (pickle.loads(pickle.dumps(layout)), copy.deepcopy(layout)):
        assert (clone, clone.render(FULL, NAME, ".png")) == (layout, f"runs/r1/{NAME}.png")
    with pytest.raises(AttributeError):
        layout.template = "x"  # type: ignore[misc]
    assert repr(layout) == "Layout(template='runs/{run_id}/{name}{ext}', mode='by-run')"


FIELDS_AND_LITERALS = (
    "{session_id} {provider_id} {message_idx} {message_idx:02d} {part_idx:018d} {timestamp:%Y-%m} {timestamp:%H} "
    "{timestamp:.%j} / + - . _ 0 a meta .tmp- by-"
)
PIECES = st.sampled_from(FIELDS_AND_LITERALS.split())


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.tuples(*[st.lists(PIECES, max_size=3).map("".join)] * 2).map("{run_id}".join),
    IDS.filter(bool), IDS, st.integers(0, 10**18 - 1), st.integers(0, 999),
)  # fmt: skip
def test_whatever_template_is_accepted_loses_nothing(folders: str, one: str, other: str, first: int, last: int) -> None:
    try:
        layout = Layout(folders + TAIL, "by-run")
    except InvalidLayoutError:
        assume(False)
    fields = {**FULL, "run_id": one, "session_id": other, "provider_id": one, "message_idx": first, "part_idx": last}
    reference = layout.render(fields, "x", ".png")
    assert check_reference(reference) == reference
    segments = reference.split("/")
    assert not any(is_hidden("/".join(segments[:length])) for length in range(1, len(segments)))
    for used, value in layout.parse(reference).items():
        if used not in {"name", "ext"}:
            assert value == fields[used] or (value == "" and "~~" in reference)
    assert reference.startswith(layout.folder(one))


REFUSED_TEMPLATES = {  # problem -> templates
    "file name": """{name}{ext} runs/{run_id} runs/{run_id}/{name} runs/{run_id}/{ext}{name} runs/{run_id}/x-{name}{ext}
        runs/{run_id}/{name}-{ext} runs/{run_id}/{name}{ext}/ runs/{run_id}/{name}{ext}.png
        runs/{run_id}/{name}/{name}{ext} runs/{run_id}/{ext}/{name}{ext}"""
}
REFUSED_FOLDERS = {  # problem -> what stands before /{name}{ext}
    "run_id is not in it": "runs runs/{session_id}",
    "twice": "{run_id}/{run_id} {run_id}/{message_idx}/{message_idx}",
    "no field": """runs/{user}/{run_id} runs/{run_id.__class__} runs/{run_id[0]} runs/{run_id!r} runs/{}/{run_id}
        runs/{0}/{run_id} runs/{size_bytes}/{run_id}""",
    "has a format": "runs/{run_id:>10} runs/{run_id:}",
    "no format for message_idx": """runs/{run_id}/{message_idx:d} runs/{run_id}/{message_idx:4d}
        runs/{run_id}/{message_idx:04x} runs/{run_id}/{message_idx:0100d} runs/{run_id}/{message_idx:}""",
    "timestamp has no format": "runs/{run_id}/{timestamp} runs/{run_id}/{timestamp:}",
    "no format for timestamp": """runs/{run_id}/{timestamp:%y} runs/{run_id}/{timestamp:%Y/%m}
        runs/{run_id}/{timestamp:%%} runs/{run_id}/{timestamp:day} runs/{run_id}/{timestamp:-}""",
    "brace|no field": "runs/{run_id",
    "brace": "runs/run_id}/{run_id} runs/{{run_id}}",
    "more than": "läufe/{run_id} a=b/{run_id} a~b/{run_id} a%b/{run_id} a:b/{run_id}",
    "segment is empty": "/runs/{run_id} runs//{run_id} runs/{run_id}/",
    "may not be named": """./{run_id} a/../{run_id} .fsmedia/{run_id} .FSMedia/{run_id} by-run/{run_id}
        by-session/{run_id} by-conversation/{run_id} .dedup_index.json/{run_id} runs/.tmp-{run_id}""",
    r"end with '\.meta'": "x.meta/{run_id} {run_id}.meta {run_id}meta {run_id}a",
    "told apart": """{run_id}{session_id} {run_id}-{session_id} {run_id}_x.y_{session_id} {run_id}{message_idx}
        {run_id}-{message_idx:04d} {run_id}/{message_idx}{part_idx} {run_id}/{message_idx}0{part_idx}
        {run_id}-{timestamp:%Y} {timestamp:%Y}{run_id} {run_id}/{timestamp:%Y}{message_idx}
        {run_id}/{message_idx}-{timestamp:%Y-%m}""",
}


@pytest.mark.parametrize(("template", "problem"), [
    ("", "file name"),
    *((template, problem) for problem, told in REFUSED_TEMPLATES.items() for template in told.split()),
    *((folder + TAIL, problem) for problem, told in REFUSED_FOLDERS.items() for folder in told.split()),
    ("runs/{ run_id}/{name}{ext}", "no field"),
    ("runs/{run_id}/{timestamp:%Y %m}/{name}{ext}", "no format for timestamp"),
    ("my runs/{run_id}/{name}{ext}", "more than"),
    ("a\n/{run_id}/{name}{ext}", "more than"),
    ("x" * 251 + "/{run_id}/{name}{ext}", "does not fit"),
    ("x" * 211 + "{run_id}/{name}{ext}", "does not fit"),
    ("x" * 100 + "{run_id}+{session_id}+{provider_id}+{mime_type}/{name}{ext}", "does not fit"),
])  # fmt: skip
def test_templates_that_are_refused(template: str, problem: str) -> None:
    caught = raised(InvalidLayoutError, Layout, template, "by-run", match=problem)
    assert caught.key == template
    assert caught.next_step
