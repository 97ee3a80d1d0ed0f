"""obstore in the place of s3fs and adlfs: who is asked, what is carried over, and that nothing differs but time."""

import _thread
import asyncio
import math
import multiprocessing
import os
import pickle
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fsspec
import obstore.store
import pytest
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession

from fsmedia import (
    InvalidMediaError,
    InvalidReferenceError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaStore,
    StorageError,
)
from fsmedia.storage import fsspec_backend, open_backend, s3
from fsmedia.storage.errors import UnexpectedAnswerError
from fsmedia.storage.obstore_engine import Body
from tests.contract.specimens import PNG, R1, png, put, raised
from tests.servers import WrongAnswer
from tests.storages import AZURE, S3_MOTO, S3_RCLONE, S3_SEAWEED
from tests.transfers import opened

BY_RUST = "user-agent: object_store"
SECRET = "secret-Kd83ab"
LOGIN = {"key": "key-Hq27ab", "secret": SECRET}
MINUTE = timedelta(minutes=1)


def on(*names):
    """Run a test on these storages; by which engine is said in it."""
    return pytest.mark.parametrize("storage", names, indirect=True)


def by(engine, storage, **options):
    return MediaStore(storage.url, storage_options=storage.options, engine=engine, **options)


def filled(store):
    """Do a bit of everything; return what a caller sees."""
    content, metadata = MediaContent.from_bytes(PNG, "image/png"), MediaMetadata(run_id="r1", session_id="ada")
    names = [store.store_media(content, metadata), *store.store_many([(content, metadata)] * 3)]
    store.fs.pipe_file("runs/r1/chosen.bin", b"first")
    store.fs.pipe_file("runs/r1/chosen.bin", b"")
    store.annotate(names[1], attributes={"score": 1})
    store.hold(names[2], "court")
    store.delete_media(names[3])
    seen = [raised(MediaError, call) for call in (lambda: store.info(names[3]), lambda: store.retrieve_media(names[3]))]
    with store.open(names[0]) as file:
        file.seek(-7, os.SEEK_END)
        tail = file.read()
    fs = store.fs
    ranges = [fs.cat_file(names[0], *each) for each in ((None, None), (3, 9), (-4, None), (9, 9), (10**6, 10**7))]
    told = [(type(each), str(each).replace(names[3], "it")) for each in seen]
    return names, [
        told,
        tail,
        ranges,
        fs.cat_file("runs/r1/chosen.bin"),
        [store.info(each).size_bytes for each in names[:3]],
    ]


@on(S3_MOTO, S3_RCLONE, S3_SEAWEED, AZURE)
def test_a_program_that_swaps_the_engine_sees_no_difference(storage):
    fast, plain = by("obstore", storage), by("fsspec", storage)
    assert (fast.engine, plain.engine) == ("obstore", 'fsspec (asked for by engine="fsspec")')
    (mine, seen), (others, expected) = filled(fast), filled(plain)
    assert seen == expected
    assert [*fast.list()] == [*plain.list()] == sorted([*mine[:3], *others[:3], "runs/r1/chosen.bin"])
    assert fast.verify(deep=True).whole
    for name in (mine[0], others[0]):
        assert storage.content_type(name) == "image/png"
        assert fast.info(name) == plain.info(name)
        assert fast.fs.cat([name]) == {name: PNG}
    assert fast.erase(session_id="ada", force=True).is_complete is False  # one is held
    assert {*plain.list()} == {mine[2], others[2], "runs/r1/chosen.bin"}


@on(S3_MOTO, AZURE)
def test_obstore_is_who_asks_and_what_it_is_refused_is_asked_again(storage):
    """Also for a program that reads `media://`."""
    store = by("obstore", storage).create()
    store.exists("runs/none/none.png")
    reference = put(store)
    names = [reference, *store.store_many([(png(), R1)] * 5)]
    files = fsspec.filesystem("media", root=storage.url, storage_options=storage.options, engine="obstore")
    files.exists(reference)
    # A put is tried in this thread first, then on the loop.
    for act, most in ((lambda: put(store), 4), (lambda: files.cat(names), 12), (lambda: files.cat_file(reference), 2)):
        with storage.counted() as plainly:
            act()
        with storage.counted() as again, storage.server.answering(WrongAnswer(field=BY_RUST, status=418, body=b"")):
            act()
        extra = sum(again.values()) - sum(plainly.values())
        assert 0 < extra <= most, (plainly, again)
    with storage.counted() as told, storage.server.answering(WrongAnswer(field=BY_RUST, status=418, body=b"")):
        put(by("fsspec", storage))
    assert sum(told.values()) < 10
    assert {*store.list()} >= {*names}


@on(S3_MOTO, S3_RCLONE, S3_SEAWEED)
def test_names_that_obstore_spells_in_its_own_way_are_left_to_s3fs(storage):
    backend = by("obstore", storage)._backend
    odd = (
        "a b+c%20d#e?.txt",
        "\u00e9e\u0301\U0001f600.txt",
        "..a/.b./x",
        "~'()*.txt",
        '{}^[]|"<>`&=;:@,$!%25%',
        "\u2028\x85",
    )
    for name in (f"runs/r1/{each}" for each in odd):
        backend.write(name, name.encode(), "text/plain")
        assert (backend.read_range(name, None, None), storage.read(name)) == (name.encode(), name.encode())
    others = by("fsspec", storage)._backend
    # What servers make of these differs.
    for name in ("runs/r1/", "runs//r1/x", "/runs/r1/x", "runs/./r1/x", "runs/r1/..", "runs/r1/tab\there"):
        told = [outcome(each.read_range, name, None, None) for each in (backend, others)]
        assert told[0] == told[1], name
        assert outcome(backend.head, name) == outcome(others.head, name)


def outcome(call, *args):
    try:
        return call(*args)
    except MediaError as error:
        return str(error)


def read_there(store, reference, answers):
    answers.put((store.retrieve_media(reference).read_bytes(), store.store_media(png(), R1)))


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_a_child_works_as_its_parent(rclone_storage, way):
    """Threads of Rust do not survive a fork: there s3fs does the work."""
    store = by("obstore", rclone_storage)
    reference = put(store)
    there = multiprocessing.get_context(way)
    answers = there.Queue()
    child = there.Process(target=read_there, args=(store, reference, answers))
    child.start()
    data, other = answers.get(timeout=60)
    child.join()
    assert data == PNG
    assert {*store.list()} == {reference, other}


def fork_behind_a_stranger(url, options, answers):
    """Fork after somebody else, as zarr does, has used obstore; this store has not."""
    options_of_theirs = {"aws_endpoint_url": options["endpoint_url"], "aws_skip_signature": True}
    theirs = obstore.store.S3Store("none", config=options_of_theirs, client_options={"allow_http": True})
    with pytest.raises(obstore.exceptions.BaseError):
        obstore.get(theirs, "x")
    store = MediaStore(url, storage_options=options, engine="auto")
    child = multiprocessing.get_context("fork").Process(target=store_there, args=(store, answers))
    child.start()
    child.join(20)
    if child.is_alive():
        child.kill()
        answers.put("it hangs")


def store_there(store, answers):
    answers.put([store.store_media(png(), R1), store.engine])


def test_a_child_of_a_process_where_somebody_else_used_obstore_does_not_wait_for_ever(rclone_storage):
    fresh = multiprocessing.get_context("spawn")
    answers = fresh.Queue()
    parent = fresh.Process(target=fork_behind_a_stranger, args=(rclone_storage.url, rclone_storage.options, answers))
    parent.start()
    name, engine = answers.get(timeout=60)
    parent.join()
    assert [*opened(rclone_storage).list()] == [name]
    assert "forked" in engine


PAGE = b"<html><body>404 Not Found</body></html>"


@on(S3_MOTO)
@pytest.mark.parametrize("status", [404, 409, 412, 416])
def test_a_page_in_between_is_not_the_absence_of_an_object(storage, status):
    """A proxy says 404 in its own words: who believes that takes the media for deleted."""
    store = by("obstore", storage).create()
    key = put(store)
    backend = store._backend
    assert backend.read(key) == PNG
    with storage.server.answering(
        WrongAnswer("GET", body=PAGE, status=status), WrongAnswer("PUT", body=PAGE, status=status)
    ):
        for call, *args in (
            (backend.read, key),
            (backend.read_range, key, 0, 9),
            (backend.write, key, b"x", "text/plain"),
        ):
            error = raised(StorageError, call, *args)
            assert "does not find" not in error.problem
    assert backend.read(key) == PNG


@on(AZURE)
def test_bytes_that_end_too_early_are_read_again(storage):
    """obstore asks for the rest by itself; a server that answers that by the whole has no part for it."""
    store = by("obstore", storage).create()
    key = put(store)
    assert store._backend.read(key) == PNG
    tag = f'"{store._backend.head(key).token}"'
    rest = WrongAnswer("GET", field="range:", body=PNG, headers={"ETag": tag}, times=1)
    cut = WrongAnswer("GET", target="runs", field=BY_RUST, change="cut", times=1)
    with storage.counted() as told, storage.server.answering(rest, cut):
        assert store._backend.read(key) == PNG
    assert sum(told.values()) == 3


@on(S3_RCLONE)
def test_bytes_that_end_too_early_are_read_again_from_the_beginning(storage):
    """The rest is that of another object, by a server that knows no conditions: half of each was read as one."""
    store = by("obstore", storage).create()
    key = put(store)
    tag, half = f'"{store._backend.head(key).token}"', len(PNG) // 2
    headers = {"Content-Range": f"bytes {half}-{len(PNG) - 1}/{len(PNG)}", "ETag": tag}
    rest = WrongAnswer("GET", field="range:", status=206, body=bytes(len(PNG) - half), headers=headers)
    cut = WrongAnswer("GET", target="runs", field=BY_RUST, change="cut", times=1)
    with storage.counted() as told, storage.server.answering(rest, cut):
        assert store._backend.read(key) == PNG
    assert sum(told.values()) == 2


@on(S3_MOTO)
@pytest.mark.parametrize("change", ["cut", "hung"])
@pytest.mark.parametrize("read", [
    lambda store, key: store._backend.read_range(key, 0, len(PNG)), lambda store, key: store._backend.open(key).read(),
    lambda store, key: store.fs.cat_file(key, 0, len(PNG)), lambda store, key: store.fs.cat([key, key])[key],
], ids=["range", "open", "media://", "cat"])  # fmt: skip
def test_bytes_that_never_come_by_obstore_come_by_s3fs(storage, change, read):
    """obstore is asked once for what has a body; who asks again must not meet it again."""
    options = {**storage.options, "config_kwargs": {"read_timeout": 1}}
    store = MediaStore(storage.url, storage_options=options, engine="obstore").create()
    key = put(store)
    with storage.server.answering(WrongAnswer("GET", target="runs", field=BY_RUST, change=change)):
        assert read(store, key) == PNG


@on(S3_MOTO)
@pytest.mark.parametrize(
    "wrong",
    [
        None,
        *({"change": change} for change in ("cut", "empty", "short", "closed", "hung")),
        *({"status": status, "body": PAGE} for status in (200, 206, 404, 416, 503)),
        {"status": 206, "body": b"all of it"},
    ],
    ids=str,
)
def test_a_steady_reader_gets_the_rest_by_one_answer_or_in_parts_where_that_one_is_wrong(storage, wrong, monkeypatch):
    monkeypatch.setattr(fsspec_backend, "MOST_AHEAD", 2**20)
    monkeypatch.setattr(s3, "_RANGES_BY_200", set())
    data, seconds = os.urandom(6_000_000), timedelta(seconds=1)
    store = by("obstore", storage, timeout=seconds if wrong == {"change": "hung"} else MINUTE).create()
    key = store.store_media(MediaContent.from_bytes(data, "video/mp4"), MediaMetadata(run_id="r1"))
    first = 2**18 + 2**19 - 4096  # behind the parts that grow, whose end must be the begin of the rest
    if wrong and wrong.get("body") == b"all of it":
        tag = f'"{store._backend.head(key).token}"'
        told = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}", "ETag": tag}
        wrong = {**wrong, "body": data, "headers": told}
    rules = [] if wrong is None else [WrongAnswer("GET", field=f"range: bytes={first}-", times=1, **wrong)]
    with storage.server.answering(*rules), storage.counted() as told, store.open(key) as file:
        assert b"".join(iter(lambda: file.read(100_000), b"")) == data
    # A look, its sidecar, two parts, and the rest.
    assert (sum(told.values()) == 5) == (wrong is None)


@on(S3_MOTO)
@pytest.mark.parametrize("engine", ["fsspec", "obstore"])
def test_bytes_with_another_etag_than_they_were_asked_for_with_are_no_answer(storage, engine):
    """Of a server, or a cache, that does not know the condition: another object stood in the middle of the media."""
    store = by(engine, storage).create()
    key = store.store_media(MediaContent.from_bytes(os.urandom(600_000), "video/mp4"), MediaMetadata(run_id="r1"))
    told = {"Content-Range": "bytes 262144-599999/600000", "ETag": '"another"'}
    other = WrongAnswer("GET", field="range: bytes=262144-", status=206, body=bytes(600_000 - 262_144), headers=told)
    with store._backend.open(key) as file:
        assert file.read(1000)
        with storage.server.answering(other):
            raised(StorageError, file.read, 500_000, match="without what belongs to it")
        assert len(file.read(599_000)) == 599_000


def test_a_bucket_that_obstore_is_refused_for_good_is_left_to_s3fs(rclone_storage):
    """As one in another region, or whose objects are locked: else each write is sent three times."""
    store = by("auto", rclone_storage).create()
    put(store)
    malformed = b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong</Message></Error>"
    with rclone_storage.server.answering(WrongAnswer(field=BY_RUST, status=400, body=malformed)):
        for _ in range(3):
            assert store.engine == "obstore"
            store._backend.write("runs/r1/a.txt", b"a", "text/plain")
        assert "is refused" in store.engine
        with rclone_storage.counted() as told:
            store._backend.write("runs/r1/a.txt", b"a", "text/plain")
    assert sum(told.values()) == 1


def test_credentials_that_expire_are_carried_over(rclone_storage):
    """botocore's times have a zone of dateutil's, of which obstore takes none."""
    options, renewed = dict(rclone_storage.options), []

    def login():
        keys = {"access_key": options["key"], "secret_key": options["secret"], "token": None}
        return {**keys, "expiry_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}

    async def renew():
        renewed.append(1)
        return login()

    session = AioSession()
    session._credentials = AioRefreshableCredentials.create_from_metadata(login(), refresh_using=renew, method="lab")
    store = MediaStore(
        rclone_storage.url,
        storage_options={"session": session, "endpoint_url": options["endpoint_url"]},
        engine="obstore",
    ).create()
    backend = store._backend
    backend.write("runs/r1/a.txt", b"a", "text/plain")
    for expiry in (None, datetime.now(UTC)):
        session._credentials._expiry_time = expiry or session._credentials._expiry_time
        by_rust = WrongAnswer(field=BY_RUST, status=418, body=b"")
        with rclone_storage.counted() as told, rclone_storage.server.answering(by_rust):
            backend.head("runs/r1/a.txt")
        assert sum(told.values()) == 2
        assert bool(renewed) == bool(expiry)
        backend.fs.rust.forget()


def test_who_interrupts_a_write_does_not_wait_for_its_timeout(monkeypatch):
    """No signal reaches Python before a call to Rust is over."""
    monkeypatch.setattr(s3, "_BLOCKED_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = {**LOGIN, "endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        backend = open_backend("s3://bucket/media", options, timeout=MINUTE, engine="obstore")
        backend.fs.clock._again = math.inf  # else the first call asks for the date, by s3fs
        backend.fs.connect()
        assert backend.fs.rust.client("bucket")
        timer = threading.Timer(0.1, _thread.interrupt_main)
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            backend.write("runs/r1/a.txt", b"a", "text/plain")
        assert time.monotonic() - began < 20
    timer.join()


@on(AZURE)
def test_a_page_with_a_tag_is_no_answer_of_azure(storage):
    backend = by("obstore", storage).create()._backend
    page = WrongAnswer("PUT", target="runs", body=PAGE, headers={"ETag": '"page"'})
    with storage.server.answering(page):
        raised(StorageError, backend.write, "runs/r1/a.txt", b"a", "text/plain", match="no proper answer")


NOT_CARRIED = {
    "s3://bucket/media": [
        ({"client_kwargs": {"verify": False}}, "client_kwargs.verify"),
        ({"config_kwargs": {"user_agent": "me"}}, "config_kwargs.user_agent"),
        ({"s3_additional_kwargs": {"ACL": "public-read"}}, "s3_additional_kwargs.ACL"),
        ({"version_aware": True}, "version_aware"),
        ({"cache_regions": True}, "cache_regions"),
        ({"s3": {"use_something_new": 1}}, "use_something_new"),
    ],
    "s3://bucket--x-s3/media": [({}, "no plain bucket")],
    "s3://arn:aws:s3:eu:1:accesspoint/x": [({}, "no plain bucket")],
    "az://box/media": [
        ({"account_name": "me", "tenant_id": "t", "client_id": "c", "client_secret": SECRET}, "tenant_id")
    ],
    "gs://bucket/media": [({"token": "anon"}, "not used for this protocol")],
    "memory://lab": [({}, "not used for this protocol")],
}


def root(url, options=LOGIN, engine=None):
    """Open a root without a request."""
    return open_backend(url, options, timeout=timedelta(seconds=2), engine=engine)


@pytest.mark.parametrize(
    ("url", "options", "said"), [(url, *each) for url, given in NOT_CARRIED.items() for each in given]
)
def test_what_can_not_be_carried_over_is_left_to_fsspec_and_said(url, options, said):
    given = {**(LOGIN if url.startswith("s3") else {}), **options}
    engine = root(url, given, "auto").engine
    assert engine.startswith("fsspec (")
    assert said in engine
    error = raised(InvalidReferenceError, root, url, given, "obstore")
    assert said in error.problem
    assert 'engine="auto"' in error.next_step
    assert SECRET not in str(error) + engine


def test_the_engine_of_the_environment_is_for_the_storages_that_have_it(monkeypatch, tmp_path):
    url = "s3://bucket/media"
    for value in ("", "auto", "obstore"):
        monkeypatch.setenv("FSMEDIA_ENGINE", value)
        assert root(url).engine == "obstore"
        assert root(url, engine="fsspec").engine == 'fsspec (asked for by engine="fsspec")'
        assert MediaStore(tmp_path).engine == "fsmedia's own"
        assert "not used" in root("gs://bucket/media", {"token": "anon"}).engine
    raised(InvalidReferenceError, root, url, {**LOGIN, "version_aware": True}, match="version_aware")
    raised(InvalidReferenceError, MediaStore, tmp_path, engine="obstore", match="local root")
    monkeypatch.setenv("FSMEDIA_ENGINE", "rust")
    raised(InvalidMediaError, root, url, match="auto, fsspec, obstore")
    monkeypatch.setenv("FSMEDIA_ENGINE", "auto")
    monkeypatch.setenv("AWS_SSE_KMS_KEY_ID", "k")
    assert "AWS_SSE_KMS_KEY_ID" in root(url).engine


def test_what_botocore_makes_of_the_environment_shows_at_the_first_call(monkeypatch, rclone, tmp_path):
    """A bundle of certificates stands there; obstore would believe the system's too."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    options = {**LOGIN, "endpoint_url": rclone.direct_url.replace("http:", "https:")}
    for engine, kind in (("auto", StorageError), ("obstore", InvalidReferenceError)):
        backend = root("s3://bucket/media", options, engine)
        assert backend.engine == "obstore"
        backend.fs.clock._again = math.inf  # else the first call asks for the date, by s3fs
        for _ in range(2):
            raised(kind, backend.read, "x", match="certificates" if engine == "obstore" else None)
        assert "certificates" in backend.engine


PLACE = {"endpoint_url": "http://s3.lab.example:9000"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        # Without the kind obstore sends neither of these.
        ({"s3_additional_kwargs": {"BucketKeyEnabled": True}}, "kind is left"),
        ({"s3_additional_kwargs": {"SSEKMSKeyId": "k1"}}, "kind is left"),
        ({"s3_additional_kwargs": {"ServerSideEncryption": f"{SECRET}:new"}}, "does not take"),
        ({**PLACE, "config_kwargs": {"response_checksum_validation": "when_supported"}}, "checksums"),
    ],
)
def test_what_obstore_would_drop_or_refuse_is_left_to_s3fs(options, said, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    url = "s3://bucket/media"
    backend = root(url, LOGIN | options, "auto")
    backend.fs.connect()
    assert backend.fs.rust.client("bucket") is None
    assert said in backend.engine
    asked = root(url, LOGIN | options, "obstore").fs
    asked.connect()
    for _ in range(2):
        error = raised(InvalidReferenceError, asked.rust.client, "bucket", match=said)
        assert SECRET not in str(error) + backend.engine


CARRIED = [
    ({}, "config", {"endpoint_url_s3": "https://bucket.s3.amazonaws.com", "region": "us-east-1",
                    "virtual_hosted_style_request": True, "skip_signature": False, "request_payer": False}),
    (PLACE, "config", {"endpoint_url_s3": PLACE["endpoint_url"], "virtual_hosted_style_request": False}),
    ({"client_kwargs": {**PLACE, "region_name": "eu-x"}}, "config", {"region": "eu-x"}),
    ({**PLACE, "config_kwargs": {"s3": {"addressing_style": "virtual"}}}, "config",
     {"endpoint_url_s3": "http://bucket.s3.lab.example:9000", "virtual_hosted_style_request": True}),
    ({"anon": True}, "config", {"skip_signature": True}),
    ({"requester_pays": True}, "config", {"request_payer": True}),
    ({"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k1"}}, "config",
     {"server_side_encryption": "aws:kms", "sse_kms_key_id": "k1"}),
    (PLACE, "client_options", {"allow_http": True, "connect_timeout": "5s", "read_timeout": "15s"}),
    ({"config_kwargs": {"connect_timeout": 3, "read_timeout": 44}}, "client_options",
     {"allow_http": False, "connect_timeout": "3s", "read_timeout": "44s"}),
    ({**PLACE, "config_kwargs": {"proxies": {"http": "http://p.example:1"}}}, "client_options",
     {"proxy_url": "http://p.example:1"}),
    ({**PLACE, "config_kwargs": {"request_checksum_calculation": "when_supported"}}, "config",
     {"checksum_algorithm": "sha256"}),
    ({}, "config", {"checksum_algorithm": "sha256"}),
    ({}, "retry_config", {"max_retries": 4}),
    ({"config_kwargs": {"retries": {"max_attempts": 2}}}, "retry_config", {"max_retries": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "part", "expected"), CARRIED)
def test_what_botocore_found_is_what_obstore_gets(options, part, expected, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    filesystem = root("s3://bucket/media", LOGIN | options, "obstore").fs
    filesystem.connect()
    client = filesystem.rust.client("bucket")
    found = getattr(client, part)
    shown = {name: found[name] for name in expected}
    assert {name: str(value).lower() for name, value in shown.items()} == {
        name: str(value).lower() for name, value in expected.items()
    }
    assert SECRET not in repr(client)


def test_a_profile_is_botocores_affair(tmp_path, monkeypatch, rclone):
    """Whatever stands in it: obstore is handed what botocore has found, also keys that change."""
    url, options = rclone.new_root()
    file = tmp_path / "credentials"
    file.write_text(f"[lab]\naws_access_key_id={options['key']}\naws_secret_access_key={options['secret']}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    options = {"profile": "lab", "endpoint_url": options["endpoint_url"]}
    store = MediaStore(url, storage_options=options, engine="obstore").create()
    assert store.retrieve_media(put(store)).read_bytes() == PNG
    assert store.engine == "obstore"


def test_opened_stores_of_both_engines_are_pickled_with_theirs(rclone_storage):
    for engine in ("obstore", "fsspec"):
        store = by(engine, rclone_storage)
        again = pickle.loads(pickle.dumps(store))
        assert again.engine == store.engine
        below = open_backend(rclone_storage.url, rclone_storage.options, timeout=MINUTE, engine=engine).below("x")
        assert below.engine == store.engine
    assert opened(rclone_storage).engine == 'fsspec (asked for by engine="fsspec")'


class EverythingForARange(BaseHTTPRequestHandler):
    """Says that it answers the range that was asked for, and sends all."""

    data = b"A" * 2**21 + b"B" * 2**21

    def do_GET(self):
        """Answer by 206."""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        self.send_response(206)
        told = {"Content-Range": f"bytes {first}-{last}/{len(self.data)}", "Content-Length": str(len(self.data))}
        for name, value in {**told, "ETag": '"e"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(self.data)

    def log_message(self, *_):
        """Be silent."""


@pytest.mark.parametrize("sizes", [(None,), (2**20, None)], ids=["whole", "in pieces"])
def test_an_answer_that_is_longer_than_the_range_it_claims_to_be_is_refused(sizes):
    """Its first bytes are not those of the range, and no digest would tell."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EverythingForARange) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        place = {"aws_endpoint_url_s3": f"http://127.0.0.1:{server.server_port}/b", "region": "lab"}
        how = {"config": {**place, "skip_signature": True}, "client_options": {"allow_http": True}}
        store = obstore.store.S3Store("b", **how)

        async def read():
            body = Body(await store.get_async("k", options={"range": (2**21, 2**22)}), "k")
            return [await body.read(size) for size in sizes]

        raised(UnexpectedAnswerError, asyncio.run, read(), match="more than the 2097152 bytes")
        server.shutdown()
