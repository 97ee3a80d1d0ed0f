"""Keys: what is built parses back, names of our own form are known, and what is not media is hidden."""

from __future__ import annotations

import pickle
import time
import uuid

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import InvalidMediaError, InvalidReferenceError
from fsmedia.format import keys

UNIQUE = "u01m833sxqnekfsa8ydpf0n07fg"
MILLISECONDS = st.integers(0, 2**48 - 1)
INDEX = st.integers(0, 10**18 - 1)


# --- names


def test_unique_is_u_and_26_of_digits_and_lower_case() -> None:
    for _ in range(1000):
        name = keys.new_unique()
        assert len(name) == 27
        assert name[0] == "u"
        assert set(name[1:]) <= set("0123456789abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    "value", [0, 2**128 - 1, *(1 << bit for bit in range(128)), 0x018BCFE5687B7FFFBFFF0123456789AB]
)
def test_unique_holds_all_bits_of_its_uuid(value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uuid_utils, "uuid7", lambda: uuid.UUID(int=value))
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
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


def test_unique_names_of_now_are_fresh_and_in_order() -> None:
    before = keys.new_unique(int(time.time() * 1000) - 1)
    names = [keys.new_unique() for _ in range(20_000)]
    after = keys.new_unique(int(time.time() * 1000) + 1)
    assert len(set(names)) == len(names)
    assert names == sorted(names)
    assert before < names[0] < names[-1] < after


@pytest.mark.parametrize("milliseconds", [-1, 2**48])
def test_unique_refuses_a_time_that_it_cannot_hold(milliseconds: int) -> None:
    with pytest.raises(InvalidMediaError, match="1970"):
        keys.new_unique(milliseconds)


@given(INDEX, INDEX, st.sampled_from(["", ".png", ".tar.gz", ".", ".12-ab-cd.png", ".\n", ".é"]))
def test_plain_names_parse_back(message_idx: int, part_idx: int, ext: str) -> None:
    name = keys.plain_name(message_idx, part_idx, UNIQUE) + ext
    expected = keys.OwnName(message_idx, part_idx, UNIQUE, ext)
    assert keys.parse_own_name(name) == expected
    assert keys.parse_own_name(f"runs/r1/{name}") == expected
    assert keys.is_own_name(name)
    assert keys.is_own_name(f"runs/r1/{name}")


def test_plain_name_has_four_and_two_digits() -> None:
    assert keys.plain_name(3, 1, UNIQUE) == f"0003_01_{UNIQUE}"
    assert keys.plain_name(12345, 678, UNIQUE) == f"12345_678_{UNIQUE}"


@pytest.mark.parametrize("indices", [(-1, 0), (0, -1), (10**18, 0), (0, 10**18)])
def test_plain_name_refuses_what_would_not_parse(indices: tuple[int, int]) -> None:
    with pytest.raises(InvalidMediaError, match="message_idx"):
        keys.plain_name(*indices, UNIQUE)


@pytest.mark.parametrize(
    "name",
    [
        "", "0_0_1795329442634380786.png",  # PromptKit
        "8df3558c41c5f1c215aca452101dc6139d88ef3c62f4583a0fc9d117120cdbc6.gif",  # PromptKit, deduplicated
        f"003_01_{UNIQUE}.png", f"0003_1_{UNIQUE}.png", f"00003_01_{UNIQUE}.png", f"0003_001_{UNIQUE}.png",
        f"0003-01-{UNIQUE}.png", f"0003_01_{UNIQUE[:-1]}.png", f"0003_01_{UNIQUE}0.png",
        f"0003_01_{UNIQUE.upper()}.png", f"0003_01_v{UNIQUE[1:]}.png", f"x0003_01_{UNIQUE}.png", f"0003_01_{UNIQUE}png",
        f"0003_01_{UNIQUE}.png.meta", f"0003_01_{UNIQUE}.meta", f"0003_01_{UNIQUE}.png/other",
        f"\u0660003_01_{UNIQUE}.png",  # another script's digit
        "9" * 5000 + f"_01_{UNIQUE}.png",
    ],
)  # fmt: skip
def test_other_names_are_not_our_own(name: str) -> None:
    assert keys.parse_own_name(name) is None
    assert not keys.is_own_name(name)
    assert not keys.is_own_name(f"runs/r1/{name}")


def test_own_name_pickles() -> None:
    own = keys.OwnName(3, 1, UNIQUE, ".png")
    assert pickle.loads(pickle.dumps(own)) == own


def test_temporary_names_are_short_fresh_and_known() -> None:
    name = keys.temporary_name()
    assert name.startswith(".tmp-u")
    assert len(name) == 32
    assert name != keys.temporary_name()
    assert keys.is_temporary(name)
    assert keys.is_temporary(f"runs/r1/{name}")


@pytest.mark.parametrize("name", ["", ".tmp-", ".tmp-x", f".tmp-{UNIQUE}.png", f"x.tmp-{UNIQUE}", f".tmp-{UNIQUE}/x"])
def test_other_names_are_not_temporary(name: str) -> None:
    assert not keys.is_temporary(name)


# --- sidecars and what is hidden


@given(st.text(min_size=1).filter(lambda text: not text.endswith("/")))
def test_sidecar_and_media_are_inverse(reference: str) -> None:
    sidecar = keys.sidecar_key(reference)
    assert keys.is_sidecar(sidecar)
    assert keys.media_key(sidecar) == reference


@pytest.mark.parametrize("key", ["", "runs/r1/x.png", "runs/r1/xmeta", "runs/x.meta/y", ".meta", "runs/r1/.meta"])
def test_what_is_no_sidecar_has_no_media(key: str) -> None:
    assert not keys.is_sidecar(key)
    with pytest.raises(InvalidReferenceError, match="not a sidecar"):
        keys.media_key(key)


@pytest.mark.parametrize(
    "key",
    [
        ".fsmedia", ".fsmedia/", ".fsmedia/store.json", ".FSMedia/store.json",
        ".f\u017fmedia/store.json",  # long s: the same folder on a disk that folds case
        ".fsmedia/blobs/ab/x", "runs/.fsmedia/x.png", "runs/r1/.FSMedia/store.json", "runs/r1/.fsmedia",
        "runs/r1/x.png.meta", "x.meta", "runs/r1/.meta", f"runs/r1/.tmp-{UNIQUE}", f".tmp-{UNIQUE}",
        ".dedup_index.json",
    ],
)  # fmt: skip
def test_hidden(key: str) -> None:
    assert keys.is_hidden(key)
    with pytest.raises(InvalidReferenceError):
        keys.check_reference(key)


@pytest.mark.parametrize(
    "key",
    [
        "", "x.png", "runs", "runs/r1/x.png", ".fsmedia2/x.png", "runs/.fsmedia2/x.png", "runs/r1/.dedup_index.json",
        "runs/x.meta/y.png", "runs/x.meta/", f"runs/.tmp-{UNIQUE}/", ".hidden.png", "by-run/x.png",
    ],
)  # fmt: skip
def test_not_hidden(key: str) -> None:
    assert not keys.is_hidden(key)
