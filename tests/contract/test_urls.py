"""URLs for other programs, asked for with nothing but urllib; and stored media as sources of new ones."""

import hashlib
import re
import urllib.request
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import parse_qs, unquote, urlsplit

import botocore.auth
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.errors import InvalidMediaError, InvalidReferenceError, MediaNotFoundError, StorageError
from tests.conftest import make_storage, on, storages
from tests.contract.specimens import edited, get, png, put, raised
from tests.deduplicated import told
from tests.protocol.wire import costs, counted
from tests.storages import AZURE, GCS, LOCAL, MEMORY, S3_MOTO, S3_RCLONE
from tests.transfers import opened

RUN = MediaMetadata(run_id="a run/é & co", timestamp=datetime.fromisoformat("2026-03-04T05:06:07Z"))
PNG = b"\x89PNG\r\n\x1a\n the bytes of a picture"
WEEK = timedelta(days=7)
MISSING = "runs/r1/nothing.png"
storage = storages(LOCAL, S3_RCLONE)


def stored(store, data=PNG, mime_type="image/png"):
    return store.store_media(MediaContent.from_bytes(data, mime_type), RUN)


def query(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}


def lifetimes(store, reference, field):
    """See how long the URLs of a store hold whose own are good for 90 seconds."""
    asked = {None: 90, timedelta(0): 90, timedelta(days=-1): 90, timedelta.min: 90, timedelta(seconds=59.2): 60}
    asked |= {timedelta(milliseconds=1): 1, timedelta(seconds=1): 1, timedelta(hours=2): 7200, WEEK: 604800}
    for expiry, seconds in asked.items():
        assert query(store.get_url(reference, expiry))[field] == str(seconds), expiry
    for expiry in (WEEK + timedelta(microseconds=1), timedelta.max):
        raised(InvalidMediaError, store.get_url, reference, expiry, match="7 days")


def failures(store, reference):
    """Return the errors of every way in which a URL can't be had."""
    caught = []
    for expected, *calls in (
        (MediaNotFoundError, (MISSING,)),
        (InvalidReferenceError, ("runs",), (reference.rpartition("/")[0],), (f"{reference}.meta",)),
        (InvalidMediaError, (reference, 60), (reference, "1h")),
    ):
        for call in calls:
            error = raised(expected, store.get_url, *call)
            caught.append(error)
    return caught


def test_local(local_storage, tmp_path, monkeypatch):
    store = opened(local_storage)
    reference = stored(store)
    url = store.get_url(reference)
    assert url == (tmp_path / "media" / reference).as_uri()
    assert get(url)[2] == PNG
    assert store.get_url(url) == url, "a URL of a media names it"
    assert store.get_url(reference, timedelta(days=1000)) == url, "a file does not expire"
    monkeypatch.chdir(tmp_path)
    assert MediaStore("media", read_only=True).get_url(reference) == url


def test_local_names_are_percent_encoded(tmp_path):
    for root in ("with blank", "100%", "ü#?&;=+[]~'", "a\nb", "%2F"):
        for name in ("x.png", "a b/é#?%2F.png", "tab\tnl\n/&;=+[]~'.png", "e\u0301/x"):
            path = tmp_path / root / "runs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG)
            store = MediaStore(tmp_path / root)
            url = store.get_url(f"runs/{name}")
            assert url.isascii()
            assert not re.search(r"[\s#?]", url)
            assert get(url)[2] == PNG
            assert store.retrieve_media(url).read_bytes() == PNG


@pytest.mark.parametrize(("name", "step"), [(MEMORY, "store.open"), (GCS, "service account")])
def test_storages_that_can_not_sign(name, step, request, tmp_path):
    store = opened(make_storage(name, request, tmp_path))
    reference = stored(store)
    error = raised(StorageError, store.get_url, reference)
    assert reference in (error.reference, error.key)
    assert step in error.next_step


EACH_S3 = on(S3_MOTO, S3_RCLONE, of=(S3_MOTO, S3_RCLONE))


@on(LOCAL, S3_RCLONE, of=(LOCAL, S3_RCLONE, S3_MOTO))
def test_what_has_no_url(storage):
    store = opened(storage)
    reference = stored(store)
    failures(store, reference)
    storage.remove(f"{reference}.meta")
    raised(MediaNotFoundError, store.get_url, reference)


@EACH_S3
def test_s3(storage):
    """By version 4: buckets made since 2020, and whole regions, refuse signatures of the older version."""
    store = opened(storage, url_expiry=timedelta(seconds=90))
    for mime_type in ("image/png", "text/plain; charset=utf-8"):
        reference = stored(store, PNG, mime_type)
        # Signing is offline; the look tells whether there is something to sign for, the sidecar what it is called.
        url = costs(storage, partial(store.get_url, reference), get=1, head=1)
        assert get(url) == (200, mime_type, PNG)
        assert storage.server.secret not in unquote(url)
    assert opened(storage, read_only=True).get_url(reference).startswith(url.partition("?")[0])
    lifetimes(store, reference, "X-Amz-Expires")
    raised(InvalidMediaError, opened(storage, url_expiry=timedelta(days=30)).get_url, reference, match="7 days")
    fields = query(opened(storage).get_url(reference))
    assert (fields["X-Amz-Expires"], fields["X-Amz-Algorithm"]) == ("3600", "AWS4-HMAC-SHA256")


def test_tampered_urls_are_refused(rclone_storage):
    store = opened(rclone_storage)
    reference, other = stored(store), stored(store, b"something else", "text/plain")
    url = store.get_url(reference, timedelta(minutes=5))
    signature = query(url)["X-Amz-Signature"]
    assert get(url)[0] == 200
    for changed in (
        url.replace(signature, signature[:-1] + ("0" if signature[-1] != "0" else "1")),
        url.partition("&X-Amz-Signature")[0],
        url.replace(reference.rpartition("/")[2], other.rpartition("/")[2]),
        url.replace(".png?", ".png.meta?"),
        url.replace("X-Amz-Expires=300", "X-Amz-Expires=3000"),
        re.sub(r"X-Amz-Date=\d{8}", "X-Amz-Date=20300101", url),
        url.partition("?")[0],
    ):
        assert changed != url
        assert get(changed)[0] in (400, 403), changed


def test_expired_urls_are_refused(rclone_storage, monkeypatch):
    """Signed in the past: only while the query is signed does botocore's clock go wrong."""
    store = opened(rclone_storage)
    reference = stored(store)
    sign, clock = botocore.auth.S3SigV4QueryAuth.add_auth, botocore.auth.get_current_datetime

    def in_the_past(self, request):
        with monkeypatch.context() as patched:
            patched.setattr(botocore.auth, "get_current_datetime", lambda *args, **kwargs: clock(*args, **kwargs) - age)
            sign(self, request)

    monkeypatch.setattr(botocore.auth.S3SigV4QueryAuth, "add_auth", in_the_past)
    for seconds, accepted in ((30, True), (62, False), (86400, False)):
        age = timedelta(seconds=seconds)
        status, _, data = get(store.get_url(reference, timedelta(seconds=60)))
        assert (status == 200, data == PNG) == (accepted, accepted), status
        assert accepted or status in (400, 403)


@EACH_S3
def test_no_secret_in_any_error(storage, monkeypatch):
    store = opened(storage)
    reference = stored(store)
    caught = failures(store, reference)
    if storage.name == S3_RCLONE:
        options = storage.options | {"secret": "wrong-secret-Xy77"}
        wrong = partial(MediaStore, storage.url, storage_options=options)
        caught.append(raised(StorageError, lambda: wrong().get_url(reference)))

    async def failing(*args, **kwargs):
        raise OSError(f"can't reach with {storage.server.secret} of {storage.server.key}")

    for broken in ("_url", "_call_s3"):
        with monkeypatch.context() as patched:
            patched.setattr(store._backend.fs, broken, failing)
            caught.append(raised(StorageError, store.get_url, reference))
    for error in caught:
        shown = f"{error!r} {error} {error.__dict__} {error.__cause__!r}"
        for secret in (storage.server.secret, "wrong-secret-Xy77", "Signature=", "AWSAccessKeyId", "X-Amz"):
            assert secret not in shown


@pytest.mark.parametrize("payer", [None, "who-pays"])
def test_gcs(gcs_storage, service_account, payer):
    account, public_key = service_account
    options = {**gcs_storage.options, "token": account, "requester_pays": payer or False}
    store = MediaStore(gcs_storage.url, storage_options=options, url_expiry=timedelta(seconds=90))
    reference = stored(store)
    url, requests = counted(gcs_storage, lambda: store.get_url(reference))
    assert requests == {"get": 1, "head": 1}, "signed offline"
    fields, parts = query(url), urlsplit(url)
    assert unquote(parts.path) == f"/{gcs_storage.bucket}/{gcs_storage.prefix}{reference}"
    assert fields["X-Goog-Algorithm"] == "GOOG4-RSA-SHA256"
    assert fields.get("userProject") == payer
    email, _, scope = fields["X-Goog-Credential"].partition("/")
    assert (email, scope[8:]) == (account["client_email"], "/auto/storage/goog4_request")
    assert fields["X-Goog-Date"].startswith(scope[:8])
    signed, _, signature = parts.query.partition("&X-Goog-Signature=")
    canonical = f"GET\n{parts.path}\n{signed}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"GOOG4-RSA-SHA256\n{fields['X-Goog-Date']}\n{scope}\n{digest}".encode()
    public_key.verify(bytes.fromhex(signature), text, padding.PKCS1v15(), hashes.SHA256())
    lifetimes(store, reference, "X-Goog-Expires")
    said = [f"{error!r} {error.__dict__}" for error in failures(store, reference)]
    assert not [secret for secret in account["private_key"].splitlines() for text in said if secret in text]


def test_a_url_of_shared_bytes_on_gcs_asks_for_the_references_own_type_and_name(gcs_storage, service_account):
    store = opened(replace(gcs_storage, options={**gcs_storage.options, "token": service_account[0]}), deduplicate=True)
    put(store)
    reference = put(store, "r2", png(mime_type="image/webp"))
    url = store.get_url(reference)
    assert urlsplit(url).path.endswith(told(reference).data)
    assert query(url)["response-content-type"] == "image/webp"
    begin = reference.rpartition("/")[2].partition(".")[0]
    assert (
        query(url)["response-content-disposition"]
        == f"inline; filename=\"{begin}.webp\"; filename*=UTF-8''{begin}.webp"
    )


@pytest.mark.parametrize("deduplicate", [False, True])
@on(S3_MOTO, GCS, AZURE, of=(S3_MOTO, S3_RCLONE, GCS, AZURE))
def test_a_signed_url_names_the_file(storage, deduplicate: bool, service_account) -> None:
    """In one look at the bytes and one read of the sidecar, where it was two looks before."""
    if storage.name == GCS:
        storage = replace(storage, options={**storage.options, "token": service_account[0]})
    store = opened(storage, deduplicate=deduplicate)

    def named(url: str, data: bytes) -> str | None:
        """Fetch a URL as any program would, and return how the answer names it."""
        # This server knows URLs of objects by Google's own host alone, and nothing of the fields that name them.
        host = {"Host": "storage.googleapis.com"} if storage.name == GCS else {}
        with urllib.request.urlopen(urllib.request.Request(url, headers=host)) as answer:
            assert (answer.read(), answer.headers["Set-Cookie"]) == (data, None)
            found = answer.headers["Content-Disposition"]
        return query(url).get("response-content-disposition") if storage.name == GCS else found

    names = {
        "photo.jpg": ("photo.jpg", "photo.jpg"), '"; x="y%41.png': ("_; x=_y_41.png", "%22%3B%20x%3D%22y%2541.png"),
        "Gr\u00fc\u00dfe \u2603.png": ("Gr__e _.png", "Gr%C3%BC%C3%9Fe%20%E2%98%83.png"),
    }  # fmt: skip
    for number, (name, (plain, encoded)) in enumerate(names.items()):
        reference = put(store, f"r{number}", MediaContent.from_bytes(data := PNG + name.encode(), file_name=name))
        url = costs(storage, partial(store.get_url, reference), get=1, head=1)
        assert named(url, data) == f"inline; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
    edited(storage, reference, content={"file_name": "x\r\nSet-Cookie: a=b"})
    assert 'filename="xSet-Cookie: a=b"' in named(store.get_url(reference), data)
    storage.write(f"{reference}.meta", b"{")
    if not deduplicate:  # else its type is not known
        assert named(store.get_url(reference), data) is None


def test_a_media_of_the_same_store_as_source(storage):
    store = opened(storage)
    first = store.store_media(MediaContent.from_bytes(PNG, "image/png", caption="kept"), RUN)
    second, made = MediaMetadata(run_id="second"), []
    for spelled in (first, f"{storage.url}/{first}"):
        made.append(store.store_media(MediaContent(storage_reference=spelled, mime_type="image/png"), second))
        assert (store.info(made[-1]).run_id, store.info(made[-1]).sha256) == ("second", store.info(first).sha256)
    made.append(store.store_media(store.retrieve_media(first), second))
    store.delete_media(first)
    assert sorted(store.list()) == sorted(set(made))
    assert [storage.read(each) for each in made] == [PNG] * 3
    assert store.info(made[-1]).caption == "kept"


def test_a_media_of_another_store_as_source(storage, request, tmp_path):
    """A retrieved content knows the way to its bytes, wherever it is stored next."""
    store = opened(storage)
    for name in (LOCAL, MEMORY):
        place = make_storage(name, request, tmp_path / "other")
        other = opened(place)
        there = other.store_media(store.retrieve_media(stored(store)), RUN)
        assert place.read(there) == PNG
        content = other.retrieve_media(there)
        assert storage.read(store.store_media(content, RUN)) == PNG
        other.delete_media(there)
        raised(MediaNotFoundError, store.store_media, content, RUN)


def test_what_is_no_source(storage):
    store = opened(storage)
    reference = stored(store)
    before = storage.keys()
    wrong = ("../x.png", f"{reference}.meta", ".fsmedia/store.json", "runs", "s3://elsewhere/x.png", "/etc/hostname")
    for source, expected in {MISSING: MediaNotFoundError, **dict.fromkeys(wrong, InvalidReferenceError)}.items():
        raised(expected, store.store_media, MediaContent(storage_reference=source, mime_type="image/png"), RUN)
        assert storage.keys() == before, source
        with pytest.raises(expected), store.open(source) as file:
            file.read(1)
