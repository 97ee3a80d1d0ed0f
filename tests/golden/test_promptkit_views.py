"""Stores that PromptKit wrote, seen through views: every media once in each, and nothing is changed."""

from __future__ import annotations

import hashlib

from fsmedia.format.keys import VIEWS
from fsmedia.format.layout import escape_id
from tests.golden.conftest import Adopted

FIELDS = {"by-session": "session_id", "by-conversation": "conversation_id", "by-run": "run_id"}


def test_every_media_stands_in_every_view(adopted: Adopted) -> None:
    before = adopted.snapshot()
    fs = adopted.open().fs
    assert set(VIEWS) < set(fs.ls("", detail=False))
    items = {item.reference: item for item in adopted.items}
    for view, field in FIELDS.items():
        found = fs.find(view, detail=True)
        assert sorted(info["reference"] for info in found.values()) == adopted.references
        for path, info in found.items():
            item = items[info["reference"]]
            assert path.split("/")[1] == escape_id(item.sidecar.get(field) or "") if item.sidecar else path
            assert info["size"] == item.size
        data = fs.cat(list(found))
        assert {path: hashlib.sha256(each).hexdigest() for path, each in data.items()} == {
            path: items[info["reference"]].sha256 for path, info in found.items()
        }
    assert adopted.snapshot() == before
