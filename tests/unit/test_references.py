"""References: nothing but media passes for one, whatever way it is spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsmedia.errors import InvalidLayoutError, InvalidReferenceError
from fsmedia.format import keys

UNIQUE = "u01m833sxqnekfsa8ydpf0n07fg"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is text, not NoneType"), (b"runs/r1/x.png", "is text, not bytes"), (7, "is text, not int"),
        ("", "empty"), ("runs/r1/\0.png", "NUL"), ("/data/media/runs/r1/x.png", "absolute"), ("/", "absolute"),
        ("runs//x.png", "segment is empty"), ("runs/r1/", "folder"), (".", "are no segments"),
        ("..", "are no segments"), ("runs/./x.png", "are no segments"), ("runs/../x.png", "are no segments"),
        ("../other/x.png", "are no segments"), ("runs/r1/..", "are no segments"), (".fsmedia", "in .fsmedia"),
        (".fsmedia/store.json", "in .fsmedia"), (".FsMedia/store.json", "in .fsmedia"),
        ("runs/.fsmedia/x.png", "in .fsmedia"), ("runs/r1/.FSMEDIA/blobs/x", "in .fsmedia"),
        ("runs/r1/x.png.meta", "sidecar"), ("runs/r1/.meta", "sidecar"), (f"runs/r1/.tmp-{UNIQUE}", "temporary"),
        (".dedup_index.json", "PromptKit's index"), ("runs/r1/a::b.png", "'::'"),
        ("media://runs/r1/x.png::s3://bucket", "URL"), ("s3://bucket/runs/r1/x.png", "URL"), ("runs/http://x", "URL"),
        ("x" * 1025, "1024 bytes"), ("é" * 513, "1024 bytes"), ("runs/\ud800/x.png", "lone surrogate"),
    ],
)  # fmt: skip
def test_references_that_are_refused(text: object, problem: str) -> None:
    with pytest.raises(InvalidReferenceError, match=problem) as caught:
        keys.check_reference(text)
    assert caught.value.next_step
    assert caught.value.reference == (text if isinstance(text, str) else None)


@pytest.mark.parametrize(
    "text",
    [
        "x.png", "runs/r1/x.png", f"runs/r1/0003_01_{UNIQUE}.png", "runs/ lead trail /x.gif",
        "runs/tab\tnew\nline/x.gif", "runs/%2F/x.gif", "runs/a\\b/*?.gif", "runs/e\u0301/x.gif", "runs/\u00e9/x.gif",
        "runs/.../x..png", "runs/.fsmedia2/x.png", "runs/.dedup_index.json", "runs/x.meta/y.png", "runs/a:b/x.png",
        ".meta.png", f".tmp-{UNIQUE}/x.png", "x" * 1024, "é" * 512,
    ],
)  # fmt: skip
def test_references_that_are_accepted_stay_as_they_are(text: str) -> None:
    assert keys.check_reference(text) == text


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


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("/data/my media/runs/r1/x.png", "runs/r1/x.png"), ("/data/my media/runs/%41/x.png", "runs/%41/x.png"),
        ("file:///data/my media/runs/r1/x.png", "runs/r1/x.png"),
        ("file:///data/my%20media/runs/a%20b/x.png", "runs/a b/x.png"),
        ("file:///data/my media/runs/%C3%A9/x.png", "runs/é/x.png"),
        ("s3://bucket/media/runs/%41/x.png", "runs/%41/x.png"), ("memory://m/x.png", "x.png"),
        ("/data/my%20media/x.png", "/data/my%20media/x.png"), ("/data/my media2/x.png", "/data/my media2/x.png"),
        ("/data/my media", "/data/my media"), ("file:///elsewhere/a%20b", "file:///elsewhere/a%20b"),
        ("s3://other/media/x.png", "s3://other/media/x.png"), ("runs/r1/x.png", "runs/r1/x.png"),
        ("runs/a%20b/x.png", "runs/a%20b/x.png"), ("", ""),
    ],
)  # fmt: skip
def test_relative_to_root(text: str, rest: str) -> None:
    assert keys.relative_to_root(text, ROOTS) == rest
    assert keys.relative_to_root(text, ROOTS[::-1]) == rest


@pytest.mark.parametrize(
    ("root", "text"), [("/", "/runs/x.png"), ("memory://", "memory://runs/x.png"), ("s3://b/", "s3://b/runs/x.png")]
)
def test_relative_to_a_root_that_ends_with_a_slash(root: str, text: str) -> None:
    assert keys.relative_to_root(text, [root]) == "runs/x.png"


def test_relative_to_the_longest_spelling() -> None:
    assert keys.relative_to_root("/a/b/c", ["/a", "/a/b", "/"]) == "c"


def test_a_file_url_that_is_not_utf8_is_refused_in_the_end() -> None:
    rest = keys.relative_to_root("file:///data/my media/runs/%E9/x.png", ROOTS)
    with pytest.raises(InvalidReferenceError, match="lone surrogate"):
        keys.check_reference(rest)


# --- lengths


@pytest.mark.parametrize(
    ("reference", "root"),
    [
        ("r/" + "x" * 250, 0),
        ("é" * 125, 0),
        ("/".join(["x" * 248] * 4)[:994], 0),  # 30 + 994
        ("/".join(["x" * 248] * 4)[:893], 100),  # 100 + 1 + 30 + 893
    ],
)
def test_lengths_that_fit(reference: str, root: int) -> None:
    keys.check_lengths(reference, root)


@pytest.mark.parametrize(
    ("reference", "root", "problem"),
    [
        ("r/" + "x" * 251, 0, "250 bytes, one here has 251"), ("x" * 251 + "/y", 0, "250 bytes"),
        ("é" * 126, 0, "has 252"), ("/".join(["x" * 248] * 4)[:995], 0, "1025 bytes"),
        ("/".join(["x" * 248] * 4)[:894], 100, "1025 bytes"), ("/".join(["é" * 124] * 4)[:600], 0, "over the 1024"),
    ],
)  # fmt: skip
def test_lengths_that_do_not_fit(reference: str, root: int, problem: str) -> None:
    with pytest.raises(InvalidLayoutError, match=problem) as caught:
        keys.check_lengths(reference, root)
    assert caught.value.reference == reference
    assert caught.value.next_step
