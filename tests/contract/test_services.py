"""Object storages as users have them: default classes, servers beside the clouds, roles that may do little."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import fsspec
import gcsfs
import pytest
from fsspec.config import conf as fsspec_conf
from gcsfs.core import GCSFileSystem as PlainGCSFileSystem

import fsmedia
from fsmedia import HeldMediaError, MediaContent, MediaError, MediaMetadata, MediaStore, StorageError
from tests.conftest import make_storage
from tests.contract.specimens import get, raised
from tests.servers import WrongAnswer
from tests.transfers import opened

DATA = bytes(range(256)) * 4000
PROFILE = "[profile lab]\nendpoint_url = {}\n"


def test_gcs_is_never_asked_by_grpc_for_a_buckets_type(gcs_storage):
    """What gcsfs chooses by itself, as long as nobody switches it off, asks at every call, up to a minute."""
    assert gcsfs.GCSFileSystem is not PlainGCSFileSystem, "the tests run without gcsfs's switch, as users do"
    assert not isinstance(opened(gcs_storage)._backend.fs, gcsfs.GCSFileSystem)


def given_by(way, storage, monkeypatch, tmp_path):
    """Return options that leave the endpoint to one of the places where it can be given."""
    options, config = {**storage.options, "skip_instance_cache": True}, tmp_path / "config"
    url = options.pop("endpoint_url")
    config.write_text(PROFILE.format(url))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    if way == "variable":
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    elif way == "profile":
        monkeypatch.setenv("AWS_PROFILE", "lab")
    elif way == "configuration":
        monkeypatch.setitem(fsspec_conf, "s3", {"endpoint_url": url})
    else:
        options |= {
            "option": {"endpoint_url": url},
            "client": {"client_kwargs": {"endpoint_url": url}},
            "protocol": {"s3": {"endpoint_url": url}},
            "named profile": {"profile": "lab"},
        }[way]
    return options


WAYS = ("option", "client", "protocol", "variable", "profile", "named profile", "configuration")


@pytest.mark.parametrize("way", WAYS)
def test_seeks_and_ranges_where_an_endpoint_is_given(way, rclone_storage, monkeypatch, tmp_path):
    """Rclone answers a range with the checksum of the whole object that came with it: botocore refused each of them."""
    store = MediaStore(rclone_storage.url, storage_options=given_by(way, rclone_storage, monkeypatch, tmp_path))
    ours = store.store_media(MediaContent.from_bytes(DATA), MediaMetadata(run_id="r"))
    rclone_storage.write("runs/r/theirs.bin", DATA)  # as boto3 writes it, with a checksum
    for reference in (ours, "runs/r/theirs.bin"):
        assert store.read(reference, 5, 9) == DATA[5:9]
        assert store.read(reference, -7, None) == DATA[-7:]
        with store.open(reference) as file:
            file.seek(-3, io.SEEK_END)
            assert file.read() == DATA[-3:]
            file.seek(300_000)
            assert file.read(4) == DATA[300_000:300_004]


@pytest.mark.parametrize("way", ["option", "variable", "profile"])
def test_the_users_own_word_on_checksums_stays(way, rclone_storage, monkeypatch, tmp_path):
    options = given_by("profile", rclone_storage, monkeypatch, tmp_path)
    word = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_supported")
    if way == "option":
        options["config_kwargs"] = word
    elif way == "variable":
        for name, value in word.items():
            monkeypatch.setenv(f"AWS_{name.upper()}", value)
    else:
        with (tmp_path / "config").open("a") as config:
            config.writelines(f"{name} = {value}\n" for name, value in word.items())
    store = MediaStore(rclone_storage.url, storage_options=options)
    reference = store.store_media(MediaContent.from_bytes(DATA), MediaMetadata(run_id="r"))
    raised(StorageError, store.read, reference, 5, 9, match="FlexibleChecksum")


@pytest.mark.parametrize("name", ["rclone_storage", "seaweed_storage"])
def test_who_pays_is_in_the_query_of_a_signed_url(name, request):
    """As a header, which no browser sends, the signature would not hold; these servers check it."""
    storage = request.getfixturevalue(name)
    store = opened(replace(storage, options={**storage.options, "requester_pays": True}))
    reference = store.store_media(MediaContent.from_bytes(DATA), MediaMetadata(run_id="r"))
    url = store.get_url(reference)
    query = parse_qs(urlsplit(url).query)
    assert (query["x-amz-request-payer"], query["X-Amz-SignedHeaders"]) == (["requester"], ["host"])
    status, _, data = get(url)
    assert (status, data) == (200, DATA)
    assert get(url.replace("=requester", "=nobody"))[0] == 403
    assert "request-payer" not in opened(storage).get_url(reference)


DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
OBJECT = r"^/(storage/v1/b/|download/storage/v1/b/)?[^/?]+/(o/)?[^/?]"


def role(*actions, hides=None):
    """Return the rules of a relay for a role that may do these things only, in the order in which they are met.

    `hides`: whether what is not there is refused, as it is to who may not list unless told.
    """
    asked = {
        "s3:GetBucketVersioning": [("GET", r"\?versioning")],
        "s3:ListBucketVersions": [("GET", r"[?&]versions")],
        "s3:ListBucketMultipartUploads": [("GET", r"[?&]uploads")],
        "s3:AbortMultipartUpload": [("DELETE", "uploadId=")],
        "s3:ListBucket": [("LIST", "")],
        "s3:GetObject": [("GET", OBJECT), ("HEAD", OBJECT)],
        "s3:PutObject": [("PUT", ""), ("POST", r"\?uploads|uploadId=|/upload/")],
        "s3:DeleteObject": [("DELETE", ""), ("POST", r"\?delete")],
    }
    assert set(actions) <= set(asked), actions
    refused = [
        WrongAnswer(*each, status=403, body=DENIED) for name in asked if name not in actions for each in asked[name]
    ]
    hidden = [WrongAnswer(method, OBJECT, change="hidden") for method in ("GET", "HEAD")]
    return refused + (hidden if hides or "s3:ListBucket" not in actions else [])


@pytest.mark.parametrize("storage", ["s3-moto", "s3-seaweed", "gcs"], indirect=True)
@pytest.mark.parametrize("settled", [True, False])
def test_a_role_that_may_only_get(storage, settled):
    whole = opened(storage)
    reference = whole.store_media(MediaContent.from_bytes(DATA), MediaMetadata(run_id="r"))
    held = whole.store_media(MediaContent.from_bytes(DATA), MediaMetadata(run_id="r", message_idx=1))
    whole.hold(held, "asked for")
    if not settled:
        storage.remove(".fsmedia/store.json")
    before = storage.contents()
    with storage.server.answering(*role("s3:GetObject")):
        store = MediaStore(storage.url, storage_options=storage.options)
        assert store.info(reference).size_bytes == len(DATA)
        assert [each.hold for each in store.info_many([reference, held])] == [None, "asked for"]
        assert store.retrieve_media(reference).read_bytes() == store.read(reference) == DATA
        assert store.read(reference, 5, 9) == DATA[5:9]
        assert store.open(reference).read() == DATA
        with fsspec.open(store.media_url(reference), **store.url_options) as file:
            assert file.read() == DATA
        assert MediaStore(storage.url, storage_options=storage.options, read_only=True).read(reference) == DATA
        word = "refused access" if storage.name == "gcs" else "without s3:ListBucket S3 answers 403"
        for act in (store.info, store.read, store.retrieve_media, store.exists):
            assert word in str(raised(StorageError, act, "runs/r/none.png"))
    # Nobody may store or delete where it is not seen what is there.
    with storage.server.answering(*role("s3:GetObject", "s3:PutObject", "s3:DeleteObject")):
        store = MediaStore(storage.url, storage_options=storage.options)
        raised(StorageError, store.delete_media, reference, match="refused")
        raised(HeldMediaError, store.delete_media, held)
        if not settled:
            raised(StorageError, store.annotate, reference, {"a": 1}, match="refused")
            raised(StorageError, store.store_media, MediaContent.from_bytes(DATA), MediaMetadata(run_id="r"))
        raised(StorageError, lambda: [*store.list()])
    assert storage.contents() == before


def test_a_role_that_may_list_under_a_condition_on_prefixes(moto_storage):
    """To S3 it may not list where that decides between 403 and 404, and its listings show what is there."""
    whole = opened(moto_storage)
    ours, held = (
        whole.store_media(MediaContent.from_bytes(DATA), MediaMetadata(run_id="r", message_idx=i)) for i in (0, 1)
    )
    whole.hold(held, "asked for")
    with moto_storage.server.answering(*role("s3:GetObject", "s3:ListBucket", hides=True)):
        store = MediaStore(moto_storage.url, storage_options=moto_storage.options)
        assert [store.info(each).hold for each in (ours, held)] == [None, "asked for"]
        with moto_storage.server.answering(WrongAnswer("GET", "/holds/", status=403, body=DENIED)):
            raised(StorageError, store.info, held, match="refused access")
        moto_storage.remove(".fsmedia/store.json")
        assert MediaStore(moto_storage.url, storage_options=moto_storage.options).read(ours) == DATA


def test_wrong_credentials_hide_nothing(rclone_storage):
    opened(rclone_storage)
    options = {**rclone_storage.options, "secret": "not-the-secret"}
    raised(
        StorageError, MediaStore, rclone_storage.url, storage_options=options, match="SignatureDoesNotMatch|signature"
    )


def granted_by_page():
    """Return what each row of the page on permissions adds on S3, by the first word of its task."""
    page = (Path(fsmedia.__file__).parent / "docs" / "storages.md").read_text()
    rows = re.findall(r"^\| (\w+)[^|]*\| (`s3:[A-Z][^|]*) \|", page, re.MULTILINE)
    return {task: set(re.findall("`(s3:.*?)`", actions)) for task, actions in rows}


AHEAD = datetime.now(UTC) + timedelta(hours=2)
TEXT, RUN = MediaContent.from_text("new"), MediaMetadata(run_id="r")


class Laid(NamedTuple):
    """A store that a role has opened, and two media in it, one of them held."""

    store: MediaStore
    ours: str
    held: str

    def opened(self, end: str = "", **words: Any) -> MediaStore:
        return MediaStore(self.store.url + end, storage_options=dict(self.store.url_options["s3"]), **words)


TASKS = {
    "read": [
        lambda it: [it.store.info(it.ours), it.store.info(it.held), it.store.read(it.ours), it.store.get_url(it.ours)]
    ],
    "find": [
        lambda it: [*it.store.list(mime_type="*/*")],
        lambda it: it.store.verify(deep=True),
        lambda it: it.store.enforce_policy(dry_run=True),
        lambda it: it.opened(read_only=True).catalog(),
    ],
    "make": [
        lambda it: it.opened("-new").create(),
        lambda it: it.store.store_media(TEXT, RUN),
        lambda it: it.store.annotate(it.ours, {"a": 1}),
        lambda it: it.store.apply_policy(it.ours, "retain-30days"),
        lambda it: it.store.hold(it.ours, "why"),
        lambda it: it.store.change_settings(default_policy="retain-30days"),
        lambda it: it.store.catalog(),
    ],
    "remove": [
        lambda it: it.store.release(it.held),
        lambda it: it.store.delete_media(it.ours),
        lambda it: it.store.enforce_policy(now=AHEAD),
        lambda it: it.store.erase(run_id="r"),
    ],
}
CASES = [(task, number) for task, acts in TASKS.items() for number in range(len(acts))]


@pytest.mark.parametrize(("task", "number"), CASES)
def test_what_the_page_says_each_task_needs_is_enough_and_needed(task, number, moto, request, tmp_path):
    granted, rows = set(), granted_by_page()
    assert list(rows) == list(TASKS)
    for each in [*rows][: [*rows].index(task) + 1]:
        granted |= rows[each]

    def failure(*actions):
        """Do the task in a fresh store as a role that may do this; return what went wrong."""
        storage = make_storage("s3-moto", request, tmp_path)
        whole = opened(storage, deduplicate=True, default_policy="delete-after-1min").create()
        data = (MediaContent.from_text(text) for text in ("a", "b"))
        ours, held = (whole.store_media(each, MediaMetadata(run_id="r", message_idx=i)) for i, each in enumerate(data))
        whole.hold(held, "why")
        with storage.server.answering(*role(*actions)):
            store = MediaStore(storage.url, storage_options=storage.options)
            try:
                answer = TASKS[task][number](Laid(store, ours, held))
            except MediaError as error:
                return error
        return getattr(answer, "failed", None) or None

    assert failure(*granted) is None
    for action in rows[task]:
        assert failure(*(granted - {action})) is not None
