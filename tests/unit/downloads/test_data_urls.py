"""data: URLs."""

from __future__ import annotations

import base64
import io

import pytest

from fsmedia.core.download import open_url
from fsmedia.core.ingest import HashingWriter
from fsmedia.errors import InvalidMediaError, MediaTooLargeError
from fsmedia.models.urls import read_data_url
from tests.unit.downloads.wire import MIB, SECONDS, check_chain, serving, with_length

# --- data: URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:,", ("text/plain;charset=US-ASCII", b"")),
        ("data:,A%20brief%20note", ("text/plain;charset=US-ASCII", b"A brief note")),
        ("data:,a,b;c+d", ("text/plain;charset=US-ASCII", b"a,b;c+d")),
        ("data:;charset=utf-8,%c3%BC", ("text/plain;charset=utf-8", "ü".encode())),
        ("data:;base64,AP8=", ("text/plain;charset=US-ASCII", b"\x00\xff")),
        ("data:image/png;base64,AP8=", ("image/png", b"\x00\xff")),
        ("DATA:image/png;BASE64,AP8=", ("image/png", b"\x00\xff")),
        ("data:image/png;base64,", ("image/png", b"")),
        ("data:image/png;base64,AP\r\n8=\n", ("image/png", b"\x00\xff")),
        ("data:image/png;base64,AP%0D%0A8%3D", ("image/png", b"\x00\xff")),
        ("data:image/png;base64,%2B%2f+/", ("image/png", b"\xfb\xff\xbf")),
        ("data:text/plain;charset=utf-8;base64,AP8=", ("text/plain;charset=utf-8", b"\x00\xff")),
        ("data:image/svg%2Bxml,%3Csvg/%3E", ("image/svg+xml", b"<svg/>")),
        ("data:application/octet-stream,%00%ff", ("application/octet-stream", b"\x00\xff")),
    ],
)
def test_data_url(url: str, expected: tuple[str, bytes]) -> None:
    assert read_data_url(url, max_size=None) == expected
    assert read_data_url(url, max_size=len(expected[1])) == expected
    if expected[1]:
        with pytest.raises(MediaTooLargeError):
            read_data_url(url, max_size=len(expected[1]) - 1)


@pytest.mark.parametrize(
    "url",
    [
        "data:hidden", "data:hidden,hidden", "data:image/*,hidden", "data:image/png;hidden,x",
        "data:image/png; base64,hidden", "data:text/plain%0d%0aX: hidden,x", "http://hidden.example/,x",
        "xdata:,hidden", " data:,hidden", "data:image/png;base64,hidden=x", "data:image/png;base64,hidde",
        "data:image/png;base64,hidden-_", "data:image/png;base64,hid den=", "data:image/png;base64,hid\tden=",
        "data:image/png;base64,hidd====", "data:image/png;base64,=hidden=", "data:image/png;base64,hidd=",
        "data:image/png;base64,hi=", "data:image/png;base64,hid", "data:image/png;base64,h===",
        "data:image/png;base64,hi==hi==", "data:image/png;base64,hiddenü", "data:image/png;base64,hidd%20en==",
        "data:image/png;base64,hidd#", "data:,hidden%", "data:,hidden%2", "data:,hidden%zz", "data:,hidden%+1",
        "data:,hidden\x00", "data:,hidden\x7f", "data:,hiddenü", "data:,hidden\udcff",
        "data:image/svg+xml,<svg fill='#hidden'>",
    ],
)  # fmt: skip
def test_bad_data_url_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(InvalidMediaError, match="data: URL") as caught:
        read_data_url(url, max_size=None)
    assert "hid" not in str(caught.value).lower()
    check_chain(caught.value)


def test_data_url_that_is_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(MediaTooLargeError) as caught:
        read_data_url("data:image/png;base64," + "A" * 4000, max_size=2999)
    assert str(caught.value) == "larger than the store's max_file_size of 2999 bytes; open the store with a larger one"


def test_download_goes_through_an_intake() -> None:
    """What a store does with it."""
    body = b"\x89PNG\r\n\x1a\n" + b"x" * MIB
    intake = HashingWriter(None, None)
    with (
        serving(with_length(body)) as server,
        open_url(server.url, timeout=SECONDS, max_size=None, allow_private=True) as got,
    ):
        kept = io.BytesIO()
        for chunk in got.chunks():
            intake.write(chunk)
            kept.write(chunk)
    assert intake.size == len(body)
    assert kept.getvalue() == body
