"""When two roots are one place: decided by URL and server, so that a sync never deletes in its own source."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fsmedia.maintenance.sync import overlap
from fsmedia.storage import open_backend


def opened(url: str, endpoint: str | None):
    options = {"key": "k", "secret": "s"} | ({} if endpoint is None else {"endpoint_url": endpoint})
    return open_backend(url, options, timeout=timedelta(seconds=1))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000/", True),
        ("http://localhost:9000", "http://127.0.0.1:9000", True),
        ("http://[::1]:9000", "HTTP://LOCALHOST:9000", True),
        ("https://S3.example.org", "https://s3.example.org:443/", True),
        ("http://127.0.0.1:9000", None, True),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9001", False),
        ("https://a.example.org", "https://b.example.org", False),
    ],
)
def test_spellings_of_one_server_are_one_place(one, other, same):
    source, target = opened("s3://bucket/media", one), opened("s3://bucket/media/copy", other)
    assert overlap(source, target) is overlap(target, source) is same


def test_roots_beside_each_other_are_two_places():
    server = "http://127.0.0.1:9000"
    assert not overlap(opened("s3://bucket/media", server), opened("s3://bucket/media-copy", server))
