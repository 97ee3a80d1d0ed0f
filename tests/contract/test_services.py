"""Object storages as users have them: default classes, servers beside the clouds, roles that may do little."""

import io
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import gcsfs
import pytest
from fsspec.config import conf as fsspec_conf
from gcsfs.core import GCSFileSystem as PlainGCSFileSystem

from fsmedia import MediaContent, MediaMetadata, MediaStore, StorageError
from tests.contract.specimens import get, raised
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
