"""A store over HTTP: bytes and their ranges, lists and facets, and that nothing of others is ever told."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import random
import re
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import av
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from starlette.requests import Request

import fsmedia
from fsmedia import (
    AsyncMediaStore,
    InvalidMediaError,
    MediaContent,
    MediaMetadata,
    MediaStore,
    ReadOnlyStoreError,
    StorageError,
)
from fsmedia.catalog.search import FACETS
from fsmedia.display import decoders, media_app
from fsmedia.display.previewer import OpenedSource
from fsmedia.display.web import originals as web_originals
from fsmedia.display.web.answers import byte_range
from fsmedia.display.web.originals import table_of
from fsmedia.models.selection import Selection
from fsmedia.models.text import size_text
from tests.conftest import Clock
from tests.storages import LocalStorage, S3Storage, Storage
from tests.surfaces.specimens import HTML, SVG, paper, picture, put, sound
from tests.surfaces.web import Site, served

KEY = bytes(range(32))
TEXT = bytes(range(256)) * 4096  # 1 MiB
MINE, THEIRS = "alice", "mallory"
SECRET = f"{THEIRS}s-secret"


def scope(request: Request) -> Mapping[str, str] | None:
    """Show each user the media of a session of that name, and an admin all."""
    user = request.headers.get("x-user")
    return None if user is None else {} if user == "admin" else {"session_id": user}


@pytest.fixture
def store(opened: MediaStore, cache_folder: object) -> MediaStore:
    return opened


@pytest.fixture
def site(store: MediaStore) -> Iterator[Site]:
    with served(media_app(store, scope=scope, write=True, key=KEY)) as found:
        yield found


@pytest.fixture
def mine(store: MediaStore) -> str:
    return put(store, picture(), "image/png", session_id=MINE, attributes={"model": "gpt-4*", "score": 4})


def store_theirs(store: MediaStore) -> str:
    words: dict[str, Any] = {"run_id": SECRET, "conversation_id": SECRET, "provider_id": SECRET, "caption": SECRET}
    words |= {"policy_name": "retain-77days", "attributes": {f"{THEIRS}s_own": SECRET}}
    return put(store, picture((77, 55)), "image/webp", session_id=THEIRS, **words)


@pytest.fixture
def theirs(store: MediaStore) -> str:
    return store_theirs(store)


def at(reference: str) -> str:
    return quote(reference)


def test_a_media_is_served_with_its_type_name_and_digest(site: Site, store: MediaStore) -> None:
    content = MediaContent(data=TEXT, mime_type='text/plain; charset="utf-8"', file_name='J"a\u00fcr;%41.txt')
    reference = store.store_media(content, MediaMetadata(run_id="r 1#?%2e", session_id=MINE))
    answer = site.of(MINE).ask(f"/media/{at(reference)}")
    assert (answer.status, answer.body) == (200, TEXT)
    wanted = {
        "etag": f'"{sha256(TEXT).hexdigest()}"', "content-type": 'text/plain; charset="utf-8"',
        "accept-ranges": "bytes",
        "content-length": str(len(TEXT)), "x-content-type-options": "nosniff", "cache-control": "private, no-cache",
        "content-disposition": "inline; filename=\"J_a_r;_41.txt\"; filename*=UTF-8''J%22a%C3%BCr%3B%2541.txt",
        "cross-origin-resource-policy": "same-origin",
    }  # fmt: skip
    assert wanted.items() <= answer.headers.items()
    assert "access-control-allow-origin" not in answer.headers
    head = site.of(MINE).ask(f"/media/{at(reference)}", "HEAD", Range="bytes=0-1")
    same = answer.headers.keys() - {"date"}
    assert (head.status, head.body) == (200, b"")
    assert {name: head.headers.get(name) for name in same} == {name: answer.headers[name] for name in same}
    saved = site.of(MINE).ask(f"/media/{at(reference)}?download=1")
    assert saved.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1), ("bytes=1000000-", 206, 1_000_000, 2**20), ("bytes=-5", 206, 2**20 - 5, 2**20),
        ("bytes=-99999999", 206, 0, 2**20), ("bytes=5-99999999", 206, 5, 2**20), ("bytes=0-", 206, 0, 2**20),
        ("bytes=700000-800000", 206, 700_000, 800_001), (f"bytes={2**20 - 1}-", 206, 2**20 - 1, 2**20),
        (f"bytes={2**20}-", 416, 0, 0), ("bytes=-0", 416, 0, 0), (f"bytes={2**30}-{2**31}", 416, 0, 0),
        # No range, another unit, or several ranges: all of it.
        ("Bytes=0-0", 206, 0, 1),
        ("bytes=5-4", 200, 0, 2**20), ("bytes=0-1,3-4", 200, 0, 2**20), ("lines=0-1", 200, 0, 2**20),
        ("bytes=--1", 200, 0, 2**20), ("bytes=a-b", 200, 0, 2**20), (f"bytes={'9' * 5000}-", 200, 0, 2**20),
        ("bytes=\u0661-2", 200, 0, 2**20),
    ],
)  # fmt: skip
def test_a_range_is_what_rfc_9110_says(asked: str, status: int, start: int, end: int) -> None:
    try:
        found = byte_range(asked, 2**20)
    except ValueError:
        assert status == 416
    else:
        assert found == (None if status == 200 else (start, end))


def test_a_range_goes_out_with_its_place_and_only_of_the_version_that_is_meant(site: Site, store: MediaStore) -> None:
    reference, user = put(store, TEXT, "application/octet-stream", session_id=MINE), site.of(MINE)
    path, tag = f"/media/{at(reference)}", f'"{sha256(TEXT).hexdigest()}"'
    part = user.ask(path, Range="bytes=700000-800000")
    assert (part.status, part.body) == (206, TEXT[700_000:800_001])
    assert part.headers["content-range"] == f"bytes 700000-800000/{2**20}"
    assert part.headers["content-length"] == str(len(part.body))
    assert user.ask(path, Range="bytes=0-").status == 206
    # A player is given the beginning of what it asks for, and asks for more if it stays.
    watched = user.ask(path, Range="bytes=5-", Sec_Fetch_Dest="video")
    assert (watched.status, watched.body) == (206, TEXT[5 : 5 + 2**19])
    assert watched.headers["content-range"] == f"bytes 5-{5 + 2**19 - 1}/{2**20}"
    none = user.ask(path, Range=f"bytes={2**20}-")
    assert (none.status, none.headers["content-range"]) == (416, f"bytes */{2**20}")
    for version, status in ((tag, 206), ('"another"', 200), (f"W/{tag}", 200), ("Wed, 21 Oct 2026 07:28:00 GMT", 200)):
        assert user.ask(path, Range="bytes=1-2", If_Range=version).status == status
    for known, status in ((tag, 304), (f'"a", W/{tag}', 304), ("*", 304), ('"a"', 200), ("", 200)):
        answer = user.ask(path, If_None_Match=known)
        assert (answer.status, answer.headers["etag"]) == (status, tag)
    assert user.ask(path, If_None_Match=tag, Range="bytes=1-2").status == 304
    for meant, status in ((tag, 206), (f'"a", {tag}', 206), ("*", 206), ('"a"', 412), (f"W/{tag}", 412), ("", 412)):
        assert user.ask(path, If_Match=meant, Range="bytes=1-2").status == status, meant
    assert user.ask(path, If_Match='"a"', If_None_Match=tag).status == 412
    empty = put(store, b"", "text/plain", session_id=MINE)
    assert user.ask(f"/media/{at(empty)}", Range="bytes=0-")[::2] == (200, b"")


def test_damaged_bytes_never_look_whole(site: Site, store: MediaStore, storage: Storage) -> None:
    reference = put(store, TEXT, "application/octet-stream", session_id=MINE)
    storage.write(reference, TEXT[:-1] + b"!")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        site.of(MINE).ask(f"/media/{at(reference)}")


@pytest.mark.parametrize(
    ("data", "kind", "is_sandboxed", "is_opened"),
    [
        (HTML, "text/html", True, True), (SVG, "image/svg+xml", True, True), (paper(), "application/pdf", True, True),
        (SVG, "IMAGE/SVG+XML", True, True), (HTML, "application/xhtml+xml", True, True),
        (HTML, "text/xml", True, True), (HTML, "application/javascript", True, True),
        (HTML, "multipart/mixed", True, False),
        (HTML, "application/octet-stream", True, False), (HTML, "image/png", False, True),
        (sound(), "audio/wav", False, True),
    ],
)  # fmt: skip
def test_hostile_media_run_nothing(
    site: Site, store: MediaStore, data: bytes, kind: str, is_sandboxed: bool, is_opened: bool
) -> None:
    """What is no picture, sound or film is in a sandbox of no origin; nothing is a script or a style of a page."""
    reference = put(store, data, kind, session_id=MINE)
    path, user = f"/media/{at(reference)}", site.of(MINE)
    answer = user.ask(path)
    assert answer.headers["content-type"].lower() == kind.lower()
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers.get("content-security-policy", "")
    assert ("sandbox;" in policy and "default-src 'none'" in policy) is is_sandboxed
    assert answer.headers["content-disposition"].startswith("inline") is is_opened
    for use in ("script", "style", "worker", "serviceworker"):
        assert user.ask(path, Sec_Fetch_Dest=use).status == 403
    for other in ("view", "preview", "api/original"):
        found = user.ask(f"/{other}/{at(reference)}")
        assert b"<script" not in found.body or found.headers["content-type"] == "application/json"
        assert found.headers["x-content-type-options"] == "nosniff"
    page = user.ask("/")
    assert re.search(r"script-src 'nonce-[\w-]{20,}';", page.headers["content-security-policy"])
    assert "'self'" not in page.headers["content-security-policy"].partition("script-src")[2].partition(";")[0]


PATHS = (
    "/media/{}", "/preview/{}", "/view/{}", "/view/{}?page=1", "/api/item/{}", "/api/original/{}", "/api/table/{}",
    "/api/similar/{}",
)  # fmt: skip
"""All that answer about one media."""


def test_nothing_is_told_without_a_scope(site: Site, mine: str) -> None:
    paths = [path.format(at(mine)) for path in PATHS]
    paths += ["/", "/compare", "/app.js", "/viewer.js", "/api/media", "/api/facets", "/api/compare?run=r1"]
    paths += [f"/api/items?ref={at(mine)}", "/api/duplicates", "/api/media?run_id="]
    for path in paths:
        answer = site.ask(path)
        assert (answer.status, answer.json["error"]) == (403, "nothing here is for you"), path
    assert site.ask(f"/api/annotate/{at(mine)}", "POST", b"{}", X_Fsmedia_Write="1").status == 403


def test_what_is_outside_of_the_scope_is_as_what_does_not_exist(
    site: Site, store: MediaStore, mine: str, theirs: str
) -> None:
    user, admin, gone = site.of(MINE), site.of("admin"), theirs[:-8] + "0000.png"
    assert admin.get("/api/media?refresh=1")["total"] == 2
    for path in PATHS:
        here, none = user.ask(path.format(at(theirs))), user.ask(path.format(at(gone)))
        assert (here.status, here.body) == (none.status, none.body), path
        assert here.status == 404, path
    for path in ("/media/{}", "/preview/{}"):  # a tag that somebody knows tells nothing
        tag = admin.ask(path.format(at(theirs))).headers["etag"]
        assert user.ask(path.format(at(theirs)), If_None_Match=tag).status == 404
        assert user.ask(path.format(at(theirs)), If_None_Match="*").status == 404
        assert user.ask(path.format(at(theirs)), "HEAD").status in (404, 405)
    assert user.get(f"/api/items?ref={at(theirs)}&ref={at(mine)}&ref={at(gone)}")["items"][::2] == [None, None]
    write = json.dumps({"attributes": {"rating": 1}}).encode()
    assert user.ask(f"/api/annotate/{at(theirs)}", "POST", write, X_Fsmedia_Write="1").status == 404
    assert "rating" not in store.info(theirs).attributes


@pytest.mark.parametrize(
    "asked",
    [
        "/api/media", f"/api/media?q={SECRET}", f"/api/media?session_id={THEIRS}", f"/api/media?run_id={SECRET}",
        f"/api/media?a={THEIRS}s_own={SECRET}", "/api/media?policy_name=retain-77days",
        "/api/media?mime_type=image/webp",
        "/api/media?sort=largest&offset=0", "/api/facets", "/api/facets?find=secret&facet=run_id",
        f"/api/facets?facet=attributes.{THEIRS}s_own", f"/api/compare?run={SECRET}&run=r1", "/api/media?held=false",
        f"/api/media?session_id={THEIRS}&session_id={MINE}", f"/api/facets?session_id={THEIRS}",
        f"/api/media?a=!{THEIRS}s_own",
    ],
)  # fmt: skip
def test_no_list_count_facet_or_search_tells_of_others(site: Site, store: MediaStore, mine: str, asked: str) -> None:
    """Whatever is asked, the answer is the one that was given before others had anything here."""

    def answer() -> dict[str, Any]:
        assert site.of("admin").get("/api/media?refresh=1")["total"] == len(list(store.list()))
        found = site.of(MINE).get(asked)
        return {name: value for name, value in found.items() if name not in ("version", "refreshed", "now")}

    before = answer()
    store_theirs(store)
    assert answer() == before
    assert before.get("root", "") == ""


def test_the_kinds_of_attributes_are_those_of_the_scope(site: Site, store: MediaStore) -> None:
    """A number is shown as a number, whatever others store under its name, and however many names they have."""
    put(store, b"1", "text/plain", session_id=MINE, attributes={"score": 4, "rare": "x"})

    def facets() -> Any:
        assert site.of("admin").get("/api/media?refresh=1")["total"] == len(list(store.list()))
        return site.of(MINE).get("/api/facets")["facets"]

    before = facets()
    for score in (4.5, "text"):
        put(store, b"1", "text/plain", session_id=THEIRS, attributes={"score": score})
        assert facets() == before
    for part in range(8):
        many = {f"name{part}_{each}": each for each in range(30)}
        for _ in range(2):
            put(store, b"1", "text/plain", session_id=THEIRS, attributes=many)
    assert facets() == before


def test_scopes_without_a_row_are_not_kept_for_ever(site: Site, store: MediaStore, mine: str) -> None:
    """A program may make a scope of what a stranger sends, such as a cookie."""
    app = media_app(store, scope=scope)
    state = app._catalog.state(wait=True)
    for each in range(1000):
        assert not len(state.within(Selection(session_id=f"s{each}")).table)
    assert len(state._scopes) <= 256


EVERY = {
    "run_id": ["r1", "r 2%&+"], "conversation_id": ["", "c*", "cx"], "session_id": [MINE],
    "provider_id": ["", "o\u00e4"],
}  # fmt: skip
ATTRIBUTES: list[dict[str, Any]] = [
    {"model": "gpt-4*", "score": 4, "ok": True, "tags": ["a", "b", "a"], "mixed": "4*"},
    {"model": "gpt-4x", "score": 4.5, "mixed": "4"},
    {"model": 'say "hi" \\', "score": -1, "ok": False, "tags": [], "mixed": '"4"'},
    {"mixed": 4, "tags": ["*"], "model": "4"}, {},
]  # fmt: skip


@pytest.fixture
def many(store: MediaStore) -> list[str]:
    """Give media whose words differ in all ways."""
    day, found = datetime(2026, 1, 1, tzinfo=UTC), []
    for number, attributes in enumerate(ATTRIBUTES * 2):
        words = {name: values[number % len(values)] for name, values in EVERY.items()} | {"message_idx": number}
        kind = ("text/plain", "text/plain; charset=utf-8", "application/json")[number % 3]
        content = MediaContent.from_bytes(b"%d" % number * (number + 1), kind, caption=f"N\u00ba-{number}. Caption")
        metadata = MediaMetadata(**words, timestamp=day + timedelta(days=number), attributes=attributes)
        found.append(store.store_media(content, metadata))
    return found


def test_each_value_of_each_facet_selects_as_many_media_as_it_says(site: Site, many: list[str]) -> None:
    user = site.of(MINE)
    answer = user.get("/api/facets?refresh=1")
    assert answer["total"] == len(many)
    names = [facet["name"] for facet in answer["facets"]]
    assert {*names} == {
        *EVERY,
        "mime_type",
        *(f"attributes.{each}" for each in ("model", "score", "ok", "tags", "mixed")),
    }
    for facet in answer["facets"]:
        for value in facet["values"]:
            asked = urlencode({facet["word"]: value["query"]})
            assert user.get(f"/api/media?{asked}")["total"] == value["count"], (facet["name"], value)
    score = next(facet for facet in answer["facets"] if facet["name"] == "attributes.score")
    assert (score["min"], score["max"]) == (-1, 4.5)
    # A facet is counted without its own word, and all others with it.
    narrowed = {each["name"]: each for each in user.get("/api/facets?run_id=r1")["facets"]}
    assert [each["count"] for each in narrowed["run_id"]["values"]] == [5, 5]
    assert sum(each["count"] for each in narrowed["conversation_id"]["values"]) == 5


def test_lists_are_those_of_the_store(site: Site, store: MediaStore, many: list[str]) -> None:
    user, day = site.of(MINE), datetime(2026, 1, 4, tzinfo=UTC)
    assert user.get("/api/media?refresh=1")["total"] == len(many)
    cases: list[tuple[dict[str, Any], list[tuple[str, Any]]]] = [
        ({}, []),
        ({"run_id": "r 2%&+"}, [("run_id", "r 2%&+")]),
        ({"mime_type": "text"}, [("mime_type", "text")]),
        ({"conversation_id": ""}, [("conversation_id", "")]),
        (
            {"since": day, "until": day + timedelta(days=3)},
            [("since", day.timestamp()), ("until", "2026-01-07T00:00:00Z")],
        ),
        ({"attributes": {"score": (4, None), "model": "gpt*"}}, [("a", "score>=4"), ("a", "model=gpt*")]),
        ({"attributes": {"ok": None}}, [("a", "!ok")]),
    ]
    for words, asked in cases:
        wanted = list(map(str, store.list(**words)))
        answer = user.get(f"/api/media?{urlencode(asked)}")
        assert [item["ref"] for item in answer["items"]] == wanted
        assert answer["total"] == len(wanted)
        assert answer["bytes"] == sum(store.info(each).size_bytes for each in wanted)
    newest = [str(each) for each in store.list(newest=4)]
    assert [item["ref"] for item in user.get("/api/media?sort=newest&limit=4")["items"]] == newest
    found: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = user.get(f"/api/media?limit=3&offset={offset}")
        found, offset = [*found, *(item["ref"] for item in page["items"])], page["next"]
    assert found == list(map(str, store.list()))
    assert [item["message"] for item in user.get("/api/media?q=CAPTION+n%C2%BA-7.")["items"]] == [7]
    store.hold(many[2], "evidence")
    assert [item["ref"] for item in user.get("/api/media?held=true&refresh=1")["items"]] == [many[2]]
    assert user.get("/api/media?held=false")["total"] == len(many) - 1
    for wrong in (
        "x=1",
        "since=never",
        "limit=0",
        "limit=501",
        "offset=-1",
        "a=score",
        "sort=up",
        "held=maybe",
        "mime_type=zz",
    ):
        answer = user.ask(f"/api/media?{wrong}")
        assert (answer.status, bool(answer.json["error"])) == (400, True), wrong
    step = user.ask("/api/media?sicne=2026-01-01").json["next_step"]
    assert {*re.findall(r"\w+", step)} == {"use", *FACETS, "since", "until", "expires_before", "a", "q", "held"}
    assert user.get("/api/media?_view=2")["total"] == len(many)
    assert user.ask("/api/duplicates?distance=17").status == 400  # takes ten seconds and more for 2,000 pictures


def test_a_version_that_shows_what_was_deleted_ends(
    store: MediaStore, mine: str, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = media_app(store, scope=scope)
    old = app._catalog.state(wait=True).version
    store.delete_media(mine)
    new = app._catalog.state(wait=True).version
    assert app._catalog.state(old).version == old
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 600)
    assert app._catalog.state(old).version == new


def test_a_version_stays_while_others_write(site: Site, store: MediaStore, many: list[str]) -> None:
    user = site.of(MINE)
    before = user.get("/api/media?refresh=1")
    put(store, b"later", "text/plain", session_id=MINE)
    after = user.get("/api/media?refresh=1")
    assert (before["total"], after["total"]) == (len(many), len(many) + 1)
    assert user.get(f"/api/media?version={before['version']}")["total"] == len(many)
    assert user.get("/api/media?refresh=1")["version"] == after["version"]


def test_runs_stand_side_by_side(site: Site, store: MediaStore) -> None:
    for run, message, data in (("a", 0, b"1"), ("a", 1, b"2"), ("b", 0, b"1"), ("b", 2, b"3"), ("c", 0, b"9")):
        put(store, data, "text/plain", run_id=run, session_id=MINE, message_idx=message)
    answer = site.of(MINE).get("/api/compare?run=a&run=b&refresh=1")
    assert [(row["name"], [len(cell) for cell in row["cells"]]) for row in answer["rows"]] == [
        ("message 0, part 0", [1, 1]), ("message 1, part 0", [1, 0]), ("message 2, part 0", [0, 1]),
    ]  # fmt: skip
    assert [answer["rows"][0][name] for name in ("same", "counts")] == [[[False], [True]], [1, 1]]
    assert answer["runs"] == [{"run": "a", "total": 2, "bytes": 2}, {"run": "b", "total": 2, "bytes": 2}]
    by = site.of(MINE).get("/api/compare?run=a&run=b&by=conversation&limit=1")
    assert (by["rows"][0]["name"], by["next"], by["total"]) == ("conversation c1, message 0, part 0", 1, 3)


def test_previews_and_originals_of_documents(
    site: Site, store: MediaStore, storage: Storage, cache_folder: Any
) -> None:
    user = site.of(MINE)

    def original(data: bytes, kind: str) -> tuple[dict[str, Any], str]:
        reference = put(store, data, kind, session_id=MINE)
        found: dict[str, Any] = user.get(f"/api/original/{at(reference)}")
        return found, reference

    seen, reference = original(picture((3000, 20)), "image/png")
    assert (seen["kind"], seen["url"]) == ("image", f"media/{at(reference)}")
    for side, wanted in ((1, 96), (200, 256), (5000, 960)):
        preview = user.ask(f"/preview/{at(reference)}?side={side}")
        assert (preview.status, preview.headers["content-type"]) == (200, "image/webp")
        assert user.ask(f"/preview/{at(reference)}?side={wanted}").headers["etag"] == preview.headers["etag"]
        known = user.ask(f"/preview/{at(reference)}?side={side}", If_None_Match=preview.headers["etag"])
        assert (known.status, known.body) == (304, b"")
    # Of a file without a sidecar the header tells how large it is.
    storage.write("huge.png", picture()[:16] + (40_000).to_bytes(4) * 2 + picture()[24:])
    huge = site.of("admin").get("/api/original/huge.png")
    assert (huge["kind"], "40,000 x 40,000 pixels" in huge["why"]) == ("none", True)
    item = user.get(f"/api/item/{at(reference)}")
    assert (item["w"], item["h"], item["details"]["sha256"]) == (3000, 20, store.info(reference).sha256)
    seen, _ = original(paper(pages=2), "application/pdf")
    assert (seen["kind"], seen["pages"]) == ("pages", 2)
    page = user.ask(f"/{seen['url'].replace('page=1', 'page=2')}&side=100")
    assert (page.status, page.headers["content-type"].partition("/")[0]) == (200, "image")
    assert user.ask(f"/{seen['url'].replace('page=1', 'page=3')}").status == 404
    seen, _ = original(picture(kind="TIFF"), "image/tiff")
    assert user.ask(f"/{seen['url']}").headers["content-type"] in ("image/png", "image/jpeg")
    seen, _ = original(SVG, "image/svg+xml")
    assert b"script" not in user.ask(f"/{seen['url']}").body if "url" in seen else seen["kind"] == "text"
    seen, _ = original(b'{"a": [1, {"b": null}]}', "application/json")
    assert (seen["kind"], json.loads(seen["text"])) == ("tree", {"a": [1, {"b": None}]})
    seen, _ = original(b"# Hi <b>\n", "text/markdown")
    assert (seen["kind"], "<h1>" in seen["html"], "<b>" in seen["html"]) == ("html", True, False)


def test_tables_are_shown_a_page_at_a_time(site: Site, store: MediaStore) -> None:
    user, rows = site.of(MINE), 450
    sink = pa.BufferOutputStream()
    table = pa.table({"n": list(range(rows)), "t": [f"<b>{each}" for each in range(rows)], "x": [float("nan")] * rows})
    parquet.write_table(table, sink, row_group_size=100)
    csv = "n,t\n" + "".join(f'{each},"<b>{each}"\n' for each in range(rows))
    lines = "".join(json.dumps({"n": each, "t": f"<b>{each}"}) + "\n" for each in range(rows))
    cases = ((csv.encode(), "text/csv", str), (csv.replace(",", "\t").encode(), "text/tab-separated-values", str))
    cases += (
        (lines.encode(), "application/jsonl", int),
        (sink.getvalue().to_pybytes(), "application/vnd.apache.parquet", int),
    )
    for data, kind, number in cases:
        reference = put(store, data, kind, session_id=MINE)
        first = user.get(f"/api/original/{at(reference)}")
        assert (first["kind"], first["table"]["next"]) == ("table", 200), kind
        assert [each["name"] for each in first["table"]["columns"]][:2] == ["n", "t"]
        last = user.get(f"/api/table/{at(reference)}?offset=400&limit=100")
        assert (last["next"], last["total"]) == (None, rows)
        assert [row[:2] for row in last["rows"]] == [[number(each), f"<b>{each}"] for each in range(400, rows)], kind
    broken = put(store, b"PAR1" + bytes(1000) + b"PAR1", "application/vnd.apache.parquet", session_id=MINE)
    assert user.get(f"/api/original/{at(broken)}")["kind"] == "none"
    assert user.ask(f"/api/table/{at(broken)}").status == 404


def test_a_table_of_which_only_the_beginning_is_shown_says_so(
    site: Site, store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, names = site.of(MINE), [f"c{each}" for each in range(201)]
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table({name: ["x" * 501] for name in names}), sink)
    wide, only = "the first 200 columns", "only the beginning is shown: "
    cases = [
        (",".join(names).encode(), "text/csv", only + wide),
        (b"a\n" + b"1," * 200, "text/csv", only + wide),
        (json.dumps(dict.fromkeys(names, 1)).encode(), "application/jsonl", only + wide),
        (sink.getvalue().to_pybytes(), "application/vnd.apache.parquet", only + wide),
        (b"a\n" + b"\xc3\xa4\n" * 450, "text/csv", None),
    ]
    for data, kind, why in cases:
        shown = user.get(f"/api/original/{at(put(store, data, kind, session_id=MINE))}")
        assert (shown["kind"], shown.get("why")) == ("table", why), kind
    # A long cell ends with a sign of it.
    longest = user.get(f"/api/original/{at(put(store, cases[3][0], cases[3][1], session_id=MINE))}")
    assert longest["table"]["rows"][0][0] == "x" * 500 + "\u2026"
    monkeypatch.setattr(web_originals, "_MOST_READ", 30_000)
    for encoding in ("utf-8", "utf-16"):
        data = "".join(f"\u00e4{each:08}\n" for each in range(5_000)).encode(encoding)
        reference = put(store, data, "text/csv", session_id=MINE)
        shown, said = user.get(f"/api/original/{at(reference)}"), f"{only}the first 29.3 KiB of {size_text(len(data))}"
        assert (shown["why"], shown["table"]["next"], shown["table"]["total"]) == (said, 200, None)
        rows, offset = [], 0
        while offset is not None:
            page = user.get(f"/api/table/{at(reference)}?offset={offset}&limit=500")
            rows, offset = [*rows, *page["rows"]], page["next"]
            assert (page["why"], page["total"]) == (said, None)
        assert 0.7 < len(rows) * len(data) / 5_000 / 30_000 <= 1


def test_a_long_cell_of_a_csv_is_shown_and_the_limit_of_the_program_stays(
    site: Site, store: MediaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = csv.field_size_limit()
    for length, why in ((limit + 1, None), (2**20 - 5, None), (2**20 + 1, "a cell has more than 1,048,576 characters")):
        data = f'a,b\n1,"{"x" * (length // 2)}\n{"x" * (length - length // 2 - 1)}"\n'.encode()
        shown = site.of(MINE).get(f"/api/original/{at(put(store, data, 'text/csv', session_id=MINE))}")
        assert shown.get("why") == why
        if why is None:
            assert shown["table"]["rows"] == [["1", "x" * 500 + "\u2026"]]
        assert csv.field_size_limit() == limit
    # What the program sets while a table is read is its own.
    monkeypatch.setattr(web_originals, "_cell", lambda _: csv.field_size_limit(10**9))
    try:
        table_of(OpenedSource.of(b"a\n1\n"), partial(io.BytesIO, b"a\n1\n"), "csv", 0, 1)
        assert csv.field_size_limit() == 10**9
    finally:
        csv.field_size_limit(limit)


def test_a_hostile_table_takes_no_more_memory_than_is_shown_of_it(site: Site, store: MediaStore) -> None:
    """Of half a million cells in a line, and of lines that all have names of their own, as much is kept as is shown."""
    cells = (b"ab," * 300_000 + b"ab\n") * 6
    names = b"".join(b"{%s}\n" % b",".join(b'"%d_%d":1' % (line, each) for each in range(3000)) for line in range(60))
    for data, kind in ((cells, "csv"), (names, "jsonl")):
        tracemalloc.start()
        table = table_of(OpenedSource.of(data), partial(io.BytesIO, data), kind, 0, 500)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (len(table["columns"]), {len(row) for row in table["rows"]}) == (200, {200})
        assert peak < 45_000_000, (kind, peak)  # two lines of cells: the last one, and the next
    # JSON may have half of a pair of surrogates, and numbers that are no number to a browser.
    odd = put(store, b'{"\\ud800": "\\udfff", "n": [9007199254740993, 1e999]}', "application/jsonl", session_id=MINE)
    table = site.of(MINE).get(f"/api/original/{at(odd)}")["table"]
    assert [each["name"] for each in table["columns"]] == ["?", "n"]
    assert table["rows"] == [["?", "[9007199254740993, Infinity]"]]
    large = put(store, b'{"n": 9007199254740993}', "application/jsonl", session_id=MINE)
    assert site.of(MINE).get(f"/api/table/{at(large)}")["rows"] == [["9007199254740993"]]


def test_a_write_needs_the_header_and_changes_attributes_only(site: Site, store: MediaStore, mine: str) -> None:
    user, path = site.of(MINE), f"/api/annotate/{at(mine)}"
    body = json.dumps({"attributes": {"rating": 5, "model": None}}).encode()
    assert user.ask(path, "POST", body).status == 403
    assert user.ask(path, X_Fsmedia_Write="1").status == 405
    assert "rating" not in store.info(mine).attributes
    answer = user.ask(path, "POST", body, X_Fsmedia_Write="1")
    assert (answer.status, answer.json["item"]["attributes"]) == (200, {"rating": 5, "score": 4})
    assert user.get("/api/media?a=rating=5&refresh=1")["total"] == 1
    wrong = [
        b"",
        b"[]",
        b"{}",
        b'{"attributes": 1}',
        b'{"attributes": {}, "caption": "x"}',
        b'{"attributes": {"a b": 1}}',
    ]
    for each in (*wrong, b'{"attributes": {"x": "' + bytes(70_000) + b'"}}', b"[" * 100_000):
        assert user.ask(path, "POST", each, X_Fsmedia_Write="1").status == 400
    with served(media_app(store, scope=scope)) as other:
        assert other.of(MINE).ask(path, "POST", body, X_Fsmedia_Write="1").status == 403
    with pytest.raises(ReadOnlyStoreError):
        media_app(
            MediaStore(store.url, storage_options=store._storage_options, read_only=True), scope=scope, write=True
        )


def test_a_link_opens_one_original_for_its_time_and_nothing_else(
    storage: Storage, clock: Clock, cache_folder: object
) -> None:
    store = MediaStore(storage.url, storage_options=storage.options, now=clock)
    one, other = (put(store, b"one %d" % each, "text/plain", session_id=MINE) for each in range(2))
    app = media_app(store, scope=scope, key=KEY)
    with served(app) as site:
        link = app.url_for(one, timedelta(minutes=5))
        answer = site.ask(link)
        assert (answer.status, answer.body) == (200, b"one 0")
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert site.ask(link, Range="bytes=0-2").body == b"one"
        later = re.sub(r"expires=(\d+)", lambda found: f"expires={int(found[1]) + 1}", link)
        forged = [link.replace(at(one), at(other)), later, link[:-1], link.replace("signature=", "signature=A")]
        forged += [
            link.partition("&")[0] + "&signature=",
            link.replace("expires=", "expires=%2B"),
            f"/media/{at(one)}?signature=",
        ]
        forged += [link.replace("/media/", path) for path in ("/preview/", "/view/", "/api/item/", "/api/original/")]
        for each in forged:
            assert site.ask(each).status == 403, each
            assert site.of(THEIRS).ask(each).status in (403, 404), each
        store.delete_media(one)
        assert site.ask(link).status == 404
        link = app.url_for(other, timedelta(minutes=5))
        clock.advance(timedelta(minutes=5, seconds=1))
        assert site.ask(link, If_None_Match="*").status == 403
    with served(media_app(store, scope=scope, key=bytes(32))) as site:
        assert site.ask(app.url_for(other, timedelta(minutes=5))).status == 403
    for key, expiry in ((None, timedelta(1)), (KEY, timedelta(0)), (KEY, 60), (KEY, timedelta.max)):
        with pytest.raises(InvalidMediaError):
            media_app(store, scope=scope, key=key).url_for(other, expiry)  # type: ignore[arg-type]
    with pytest.raises(InvalidMediaError, match="at least 32 bytes"):
        media_app(store, scope=scope, key=b"short")


def test_no_spelling_leads_out_of_the_root(
    url: str, local_storage: LocalStorage, tmp_path: Any, cache_folder: object
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"outside")
    store = MediaStore(url)
    inside = put(store, b"inside", "text/plain", session_id=MINE)
    os.symlink(outside, f"{url}/link.txt")
    os.symlink(tmp_path, f"{url}/folder")
    root, name = quote(url), outside.name
    spelled = [
        f"../{name}", f"%2e%2e/{name}", f"..%2f{name}", f"%2e%2e%2f{name}", f"%252e%252e%252f{name}", f"..%5c{name}",
        f"..%255c{name}", f"runs/../../{name}", f"runs/%2e%2e/%2e%2e/{name}", f"./../{name}", f"%00../{name}",
        f"x%00/../{name}",
        f"{root}/../{name}", f"/{root}/../{name}", f"%2f{quote(str(outside))}", f"%2F%2F{quote(str(outside))}",
        f"file://{quote(str(outside))}", f"file:%2f%2f{quote(str(outside))}", f"media://{inside}",
        f"media:%2f%2f{inside}",
        f"media%3A%2F%2F{quote(inside)}%3A%3A{root}", f"..%c0%af{name}", f"%c0%ae%c0%ae/{name}", f"..;/{name}",
        "link.txt",
        f"folder/{name}", ".fsmedia/store.json", ".FSMEDIA/store.json", "%2efsmedia/store.json", f"{inside}.meta",
        f"runs/.fsmedia/{name}", "runs", "runs/", "", "%ff", "a%0d%0aSet-Cookie:%20x=1", f"{inside}/", f"/{inside}",
    ]  # fmt: skip
    with served(media_app(store, scope=scope)) as site:
        assert site.of("admin").ask(f"/media/{at(inside)}").body == b"inside"
        for each in spelled:
            for path in ("/media/", "/preview/", "/view/", "/api/item/", "/api/original/", "/api/table/"):
                answer = site.of("admin").ask(f"{path}{each}")
                assert answer.status in (400, 404), (path, each, answer)
                assert b"outside" not in answer.body.replace(name.encode(), b"")
                assert "set-cookie" not in answer.headers
        for each in ("/../app.py", "/web/app.py", "/previewer.py", "/%2e%2e/errors.py", "/viewer.js/../errors.py"):
            assert site.of("admin").ask(each).status == 404


def test_a_catalog_that_a_stranger_wrote_leads_nowhere(local_storage: LocalStorage, url: str, tmp_path: Any) -> None:
    """Its rows are asked for pictures to compare: one of a file outside of the root was read."""
    store = MediaStore(url)
    put(store, picture(), "image/png", session_id=MINE)
    (tmp_path / "outside.png").write_bytes(picture())
    key = store.catalog().files[0]
    rows = parquet.read_table(key)
    for name in ("../outside.png", f"{tmp_path}/outside.png", "a/../../outside.png", "a/.FSMEDIA/store.json"):
        row = rows.set_column(0, "reference", pa.array([name])).cast(rows.schema)
        parquet.write_table(pa.concat_tables([row, rows]), key)
        with served(media_app(store, scope=scope)) as site:
            assert site.of("admin").get("/api/media")["total"] == 1, name
            answer = site.of("admin").get("/api/duplicates")
        assert (answer["looked"], answer["groups"]) == (1, [])


@pytest.mark.parametrize(
    "given",
    [
        {"session_id": None},
        {"session_id": ""},
        {"session": MINE},
        {"since": "x"},
        {"mime_type": "zz"},
        [],
        "",
        {"a": {}},
        1,
    ],
)
def test_a_scope_that_means_nothing_shows_nothing(store: MediaStore, mine: str, given: Any) -> None:
    """A user without a session is not shown all sessions."""
    with served(media_app(store, scope=lambda _: given)) as site:
        for path in ("/api/media", f"/media/{at(mine)}", f"/preview/{at(mine)}", "/"):
            answer = site.ask(path)
            assert answer.status == 500
            assert mine.encode() not in answer.body


def test_a_store_for_asyncio_is_served_as_well(store: MediaStore, mine: str) -> None:
    with served(media_app(AsyncMediaStore(store.url, storage_options=store._storage_options), scope=scope)) as site:
        assert site.of(MINE).ask(f"/preview/{at(mine)}").status == 200
        assert site.of(MINE).get("/api/media")["total"] == 1


def test_what_fails_is_not_told_as_what_is_not_there(
    site: Site, store: MediaStore, mine: str, storage: Storage
) -> None:
    """And nothing of where the store lies."""
    good = storage.read(f"{mine}.meta")
    storage.write(f"{mine}.meta", b"{")
    user = site.of(MINE)  # whose sidecar can't be read belongs to nobody that its path does not name
    assert user.ask(f"/media/{at(mine)}").status == 404
    assert site.of("admin").get(f"/api/item/{at(mine)}")["wrong"]
    storage.write(f"{mine}.meta", good)
    store.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store._backend, "fetch", lambda **_: raises(StorageError(f"no answer from {store.url}")))
        for path in (f"/media/{at(mine)}", f"/api/items?ref={at(mine)}", f"/preview/{at(mine)}"):
            answer = user.ask(path)
            assert (answer.status, answer.json["error"]) == (500, "the store can't answer")


def raises(error: Exception) -> Any:
    raise error


def test_a_media_of_another_scope_is_not_kept_from_the_last_answer(site: Site, store: MediaStore) -> None:
    """What is made of an original is kept for the next request: for that of the same media only."""
    refs = [put(store, picture((20 + each, 9), kind="TIFF"), "image/tiff", session_id=MINE) for each in range(2)]
    user = site.of(MINE)
    bodies = [user.ask(f"/view/{at(each)}").body for each in (*refs, *refs)]
    assert bodies[:2] == bodies[2:]
    assert bodies[0] != bodies[1]


def test_a_film_in_an_object_store_is_read_by_ranges_and_only_while_somebody_watches(
    rclone_storage: S3Storage, cache_folder: object
) -> None:
    store = MediaStore(rclone_storage.url, storage_options=rclone_storage.options)
    size = 64 * 2**20
    reference = put(store, bytes(size), "video/mp4", session_id=MINE)
    with served(media_app(store, scope=scope)) as site, rclone_storage.counted() as requests:
        with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)) as connection:
            connection.putrequest("GET", f"/media/{at(reference)}")
            connection.putheader("x-user", MINE)
            connection.putheader("Range", f"bytes={size // 2}-")
            connection.endheaders()
            answer = connection.getresponse()
            assert answer.headers["content-range"] == f"bytes {size // 2}-{size - 1}/{size}"
            assert len(answer.read(100_000)) == 100_000
        answer.close()
        # The server is done with it: it has seen that the client is gone, or is in the middle of the last piece.
        for _ in range(5):
            assert site.of(MINE).ask(f"/media/{at(reference)}", Range="bytes=0-9").status == 206
    pieces = [call for call in requests.calls if call.key == reference and call.method == "GET"]
    # What sockets hold, some MiB in pieces of up to one; not the 32 MiB that were asked for.
    assert len(pieces) - 5 <= 16, requests


def test_the_processes_that_decode_end_with_the_application_or_its_server(
    store: MediaStore, decoding: decoders._State
) -> None:
    """They stayed until the collector came, which may be never: the application is in a cycle."""
    one, other = (put(store, picture((20 + each, 9), kind="TIFF"), "image/tiff", session_id=MINE) for each in range(2))
    app = media_app(store, scope=scope)
    with served(app) as site:
        assert site.of(MINE).ask(f"/preview/{at(one)}").status == 200
        (child,) = decoding.waiting
    assert (decoding.users, decoding.waiting) == (0, [])
    assert child._process.returncode is not None
    app = media_app(store, scope=scope)
    with served(app) as site:
        assert site.of(MINE).ask(f"/preview/{at(one)}?side=96").status == 200
        (child,) = decoding.waiting
        for _ in range(2):
            app.close()
        assert child._process.returncode is not None
        # Who asks later is answered all the same.
        assert site.of(MINE).ask(f"/preview/{at(other)}").status == 200
        assert decoding.waiting == []


def test_the_program_of_the_docs_serves_its_users_and_no_others(
    tmp_path: Path, cache_folder: object, monkeypatch: pytest.MonkeyPatch, decoding: decoders._State
) -> None:
    """The example is mounted in FastAPI, below a path; at the end of it nothing decodes any more."""
    monkeypatch.chdir(tmp_path)
    page = (Path(fsmedia.__file__).parent / "docs" / "serving.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        exec(block, names)
    with served(names["api"]) as site:
        for cookie, status in (("ann's cookie", 200), ("x", 401), ("", 401)):
            for path in ("/files/", "/files/compare", "/files/api/media", f"/files/media/{at(names['reference'])}"):
                assert site.ask(path, Cookie=f"user={cookie}").status == status
        assert site.ask("/files/api/media").status == 403
        assert site.ask("/files/api/media", Cookie="user=ann's cookie").json["total"] == 1
        assert site.ask(names["link"]).body == b"hello"
        assert decoding.users == 1
    assert decoding.users == 0


def long_film(path: Path, seconds: int) -> Path:
    """Write a film of 280 KB/s, an hour of which is 1 GB: 20 seconds of noise again and again, and its index last."""
    clip, chance = io.BytesIO(), random.Random(1)
    with av.open(clip, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=10, options={"qp": "16", "preset": "ultrafast", "bf": "0", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuv420p"
        for _ in range(200):
            image = Image.frombytes("L", (192, 144), chance.randbytes(192 * 144)).convert("RGB")
            out.mux(stream.encode(av.VideoFrame.from_image(image)))
        out.mux(stream.encode(None))
    clip.seek(0)
    with av.open(clip) as source, av.open(str(path), "w", format="mp4") as out:
        copied = out.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.dts is not None]
        span = 200 * packets[0].duration
        for _ in range(seconds // 20):
            for packet in packets:
                packet.stream = copied
                out.mux(packet)
                packet.pts, packet.dts = packet.pts + span, packet.dts + span
    return path


SEEK = """async ([at, seconds]) => {
  const film = document.querySelector("video");
  const ready = (name) => new Promise((done, failed) => {
    film[name] = done; film.onerror = () => failed(new Error(film.error.message));
    setTimeout(() => failed(new Error(`no ${name} at ${film.currentTime}, ${film.readyState}`)), 20_000); });
  if (!film.readyState) await ready("onloadedmetadata");
  film.currentTime = at;
  await ready("onseeked");
  film.playbackRate = 8;
  if (seconds) await film.play();
  while (seconds && film.currentTime < at + seconds) await ready("ontimeupdate");
  return [film.duration, film.currentTime];
}"""


def test_chromium_seeks_in_a_long_film_over_s3_and_little_is_moved(
    browser: Any,
    rclone_storage: S3Storage,
    full_run: bool,
    cache_folder: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A film of 1 GB, or of 100 MB at small size: what Chromium leaves after a seek was never read."""
    store, length = MediaStore(rclone_storage.url, storage_options=rclone_storage.options), 3600 if full_run else 360
    content = MediaContent(file_path=str(long_film(tmp_path / "long.mp4", length)), mime_type="video/mp4")
    reference = store.store_media(content, MediaMetadata(run_id="r1"))
    backend, moved = store._backend, list[int]()
    read_range = backend.read_range

    def counted(key: str, start: int | None, end: int | None) -> bytes | None:
        data = read_range(key, start, end)
        moved.append(len(data or b""))
        return data

    monkeypatch.setattr(backend, "read_range", counted)
    with store.browse(open_browser=False) as page, closing(browser.new_page()) as tab:
        tab.goto(page.url)
        tab.wait_for_url("**/*/")
        tab.set_content(f'<video muted preload="metadata" src="media/{at(reference)}">')
        for place in (0.7, 0.2):
            assert tab.evaluate(SEEK, [length * place, 0]) == pytest.approx([length, length * place], abs=1)
        assert sum(moved) < 5_000_000, moved
        # It goes on where one answer ends.
        assert tab.evaluate(SEEK, [length / 2, 8])[1] >= length / 2 + 8
