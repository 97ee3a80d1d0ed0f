"""obstore in the place of s3fs and adlfs: who is asked, what is carried over, and that nothing differs but time."""

import math
import multiprocessing
import os
import pickle
from datetime import timedelta

import fsspec
import pytest

from fsmedia import (
    InvalidMediaError,
    InvalidReferenceError,
    MediaContent,
    MediaError,
    MediaMetadata,
    MediaStore,
    StorageError,
)
from fsmedia.storage import open_backend
from fsmedia.storage.s3 import CheckedS3FileSystem
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
    for name in ("runs/r1/a b+c%20d#e?.txt", "runs/r1/\u00e9\U0001f600.txt", "runs/r1/..a/.b./x", "runs/r1/~'()*.txt"):
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
    ({}, "retry_config", {"max_retries": 4}),
    ({"config_kwargs": {"retries": {"max_attempts": 2}}}, "retry_config", {"max_retries": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "part", "expected"), CARRIED)
def test_what_botocore_found_is_what_obstore_gets(options, part, expected, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    filesystem = CheckedS3FileSystem(**(LOGIN | options), obstore="obstore", skip_instance_cache=True)
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
