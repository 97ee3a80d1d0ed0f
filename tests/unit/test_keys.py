"""Keys and references: what is built parses back, what is not media is hidden or refused, due entries sort by time."""

from __future__ import annotations

import pickle
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import InvalidLayoutError, InvalidMediaError, InvalidReferenceError
from fsmedia.format import keys

UNIQUE = "u01m833sxqnekfsa8ydpf0n07fg"
MILLISECONDS = st.integers(0, 2**48 - 1)
INDEX = st.integers(0, 10**18 - 1)


# --- names


def test_unique_names_are_u_and_26_lower_case_fresh_and_in_order() -> None:
    for _ in range(1000):
        name = keys.new_unique()
        assert (len(name), name[0]) == (27, "u")
        assert set(name[1:]) <= set("0123456789abcdefghijklmnopqrstuvwxyz")
    before = keys.new_unique(int(time.time() * 1000) - 1)
    names = [keys.new_unique() for _ in range(20_000)]
    after = keys.new_unique(int(time.time() * 1000) + 1)
    assert (len(set(names)), names) == (len(names), sorted(names))
    assert before < names[0] < names[-1] < after


def test_unique_holds_all_bits_of_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    for value in (0, 2**128 - 1, *(1 << bit for bit in range(128)), 0x018BCFE5687B7FFFBFFF0123456789AB):
        monkeypatch.setattr(uuid_utils, "uuid7", lambda value=value: uuid.UUID(int=value))
        number = 0
        for character in keys.new_unique()[1:]:
            number = number * 32 + digits.index(character)
        assert number == value


@given(MILLISECONDS, MILLISECONDS)
def test_unique_names_sort_by_time(one: int, other: int) -> None:
    names = keys.new_unique(one), keys.new_unique(other)
    if one != other:
        assert (names[0] < names[1]) == (one < other)
    assert names[0] != names[1]


@given(INDEX, INDEX, st.sampled_from(["", ".png", ".tar.gz", ".", ".12-ab-cd.png", ".\n", ".é"]))
def test_plain_names_parse_back(message_idx: int, part_idx: int, ext: str) -> None:
    name = keys.plain_name(message_idx, part_idx, UNIQUE) + ext
    expected = keys.OwnName(message_idx, part_idx, UNIQUE, ext)
    assert (keys.parse_own_name(name), keys.parse_own_name(f"runs/r1/{name}")) == (expected, expected)
    assert keys.is_own_name(name)
    assert keys.is_own_name(f"runs/r1/{name}")


def test_plain_and_temporary_names_and_what_they_can_not_hold() -> None:
    assert keys.plain_name(3, 1, UNIQUE) == f"0003_01_{UNIQUE}"
    assert keys.plain_name(12345, 678, UNIQUE) == f"12345_678_{UNIQUE}"
    own = keys.OwnName(3, 1, UNIQUE, ".png")
    assert pickle.loads(pickle.dumps(own)) == own
    for indices in ((-1, 0), (0, -1), (10**18, 0), (0, 10**18)):
        with pytest.raises(InvalidMediaError, match="message_idx"):
            keys.plain_name(*indices, UNIQUE)
    for milliseconds in (-1, 2**48):
        with pytest.raises(InvalidMediaError, match="1970"):
            keys.new_unique(milliseconds)
    name = keys.temporary_name()
    assert name.startswith(".tmp-u")
    assert len(name) == 32
    assert name != keys.temporary_name()
    assert keys.is_temporary(name)
    assert keys.is_temporary(f"runs/r1/{name}")


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


def test_other_names_are_neither_our_own_nor_temporary_nor_hidden_nor_sidecars() -> None:
    assert [name for name in NOT_OUR_OWN if keys.parse_own_name(name) is not None] == []
    assert [name for name in NOT_OUR_OWN if keys.is_own_name(name) or keys.is_own_name(f"runs/r1/{name}")] == []
    assert [name for name in NOT_TEMPORARY if keys.is_temporary(name)] == []
    assert [key for key in HIDDEN if not keys.is_hidden(key)] == []
    assert [key for key in NOT_HIDDEN if keys.is_hidden(key)] == []
    for key in HIDDEN:
        with pytest.raises(InvalidReferenceError):
            keys.check_reference(key)
    for key in ("", "runs/r1/x.png", "runs/r1/xmeta", "runs/x.meta/y", ".meta", "runs/r1/.meta"):
        assert not keys.is_sidecar(key)
        with pytest.raises(InvalidReferenceError, match="not a sidecar"):
            keys.media_key(key)


@given(st.text(min_size=1).filter(lambda text: not text.endswith("/")))
def test_sidecar_and_media_are_inverse(reference: str) -> None:
    sidecar = keys.sidecar_key(reference)
    assert keys.is_sidecar(sidecar)
    assert keys.media_key(sidecar) == reference


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
    with pytest.raises(InvalidReferenceError, match=problem) as caught:
        keys.check_reference(text)
    assert caught.value.next_step
    assert caught.value.reference == (text if isinstance(text, str) else None)


def test_references_that_are_accepted_and_lengths_that_are_and_are_not() -> None:
    for text in [
        "x.png", "runs/r1/x.png", f"runs/r1/0003_01_{UNIQUE}.png", "runs/ lead trail /x.gif",
        "runs/tab\tnew\nline/x.gif",
        "runs/%2F/x.gif", "runs/a\\b/*?.gif", "runs/e\u0301/x.gif", "runs/\u00e9/x.gif", "runs/.../x..png",
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
        with pytest.raises(InvalidLayoutError, match=problem) as caught:
            keys.check_lengths(reference, root)
        assert caught.value.reference == reference
        assert caught.value.next_step


@given(st.text(alphabet=st.sampled_from("ab./:~\0é\n"), max_size=12))
def test_an_accepted_reference_is_below_the_root_and_not_hidden(text: str) -> None:
    try:
        keys.check_reference(text)
    except InvalidReferenceError:
        return
    assert not keys.is_hidden(text)
    assert "" not in text.split("/")
    assert not {".", ".."} & set(text.split("/"))


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
    with pytest.raises(InvalidReferenceError, match="lone surrogate"):
        keys.check_reference(rest)


INSTANTS = st.datetimes(timezones=st.just(UTC))
REFERENCES = st.sampled_from(["a", "runs/r1/x.png", "runs/r 1/ä%#?*.png", "x" * 200, "a\nb/c"])
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@given(INSTANTS, INSTANTS, REFERENCES)
def test_a_key_is_read_back_sorts_by_time_and_is_never_due_before_its_instant(
    one: datetime, other: datetime, reference: str
) -> None:
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
