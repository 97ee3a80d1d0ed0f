"""What was wrong on Azure, and what only Azure has."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, RetentionPolicy, generate_container_sas

from fsmedia import InvalidReferenceError, MediaStore, StorageError, StoreConflictError
from fsmedia.storage import open_backend
from fsmedia.storage.port import VersionRules
from tests.contract.specimens import PNG, get, put, raised
from tests.contract.test_failures import shows_none_of
from tests.servers import WrongAnswer
from tests.storages import AzureStorage
from tests.transfers import opened

KEY = "c2VjcmV0LTU2Nzg="


def another(storage: AzureStorage) -> MediaStore:
    """Open the store with a filesystem of its own, as another process has it."""
    return opened(replace(storage, options={**storage.options, "skip_instance_cache": True})).create()


def with_sas(storage: AzureStorage, rights: str) -> tuple[AzureStorage, str]:
    """Return the storage as one opens it who was given a signature of these rights, and that signature."""
    server = storage.server
    until, allowed = datetime.now(UTC) + timedelta(hours=1), ContainerSasPermissions.from_string(rights)
    place = {"account_name": server.account, "container_name": storage.bucket, "account_key": server.secret}
    signature = generate_container_sas(**place, permission=allowed, expiry=until)
    login = f"BlobEndpoint={server.url}/{server.account};SharedAccessSignature={signature}"
    return replace(storage, options={"connection_string": login}), signature


def test_what_another_process_made_longer_was_read_cut_short(azure_storage: AzureStorage) -> None:
    """From adlfs's cache of listings, without an error."""
    store, other = another(azure_storage), another(azure_storage)
    for text in (b"short", b"a much longer text"):
        other.fs.pipe_file("runs/r1/t.txt", text)
        assert store.fs.info("runs/r1/t.txt")["size"] == len(text)
        assert [each["size"] for each in store.fs.ls("runs/r1")] == [len(text)]
        assert store.fs.cat_file("runs/r1/t.txt") == store.fs.open("runs/r1/t.txt").read() == text
        assert store.fs.cat_file("runs/r1/t.txt", start=-4) == text[-4:]


def test_of_eight_who_create_one_file_all_won(azure_storage: AzureStorage) -> None:
    stores, gate = [another(azure_storage) for _ in range(8)], Barrier(8)

    def create(number: int, name: str) -> bool:
        gate.wait()
        try:
            stores[number].fs.pipe_file(name, b"%d" % number, mode="create")
        except StoreConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for round_ in range(4):
            name = f"runs/r1/{round_}.txt"
            won = list(pool.map(create, range(8), [name] * 8))
            assert won.count(True) == 1
            assert azure_storage.read(name) == b"%d" % won.index(True)


def test_a_name_with_a_backslash_is_no_other_file(azure_storage: AzureStorage) -> None:
    """Azure reads it as a slash: a media that is held could be deleted, or overwritten, by another name."""
    store = opened(azure_storage)
    reference = put(store)
    store.hold(reference, "a case")
    other = reference.replace("/", "\\")
    store.delete_media(other)
    assert not store.exists(other)
    for write in (store.fs.pipe_file, store.fs.cp_file):
        raised(InvalidReferenceError, write, *((other, b"x") if write == store.fs.pipe_file else (reference, other)))
    assert azure_storage.read(reference) == PNG


def test_folders_of_a_hierarchical_namespace_are_no_media(azure_storage: AzureStorage) -> None:
    store = opened(azure_storage)
    reference = put(store)
    with azure_storage.server.container(azure_storage.bucket) as client:
        for name in ("runs", "runs/r1", "runs/empty"):
            client.upload_blob(azure_storage.prefix + name, b"", metadata={"hdi_isfolder": "true"})
    assert list(store.list()) == [reference]
    assert store.fs.find("") == [reference]
    assert not store.exists("runs/r1")
    assert store.verify().whole


def test_soft_delete_is_told_by_the_account_and_versions_by_an_upload(azure_storage: AzureStorage) -> None:
    store = opened(azure_storage).create()
    assert store._backend.version_rules() == VersionRules(versions=False)
    server = azure_storage.server
    with BlobServiceClient.from_connection_string(server.connection(server.direct_url)) as account:
        account.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=True, days=7))
        try:
            assert store._backend.version_rules() == VersionRules(versions=False, soft=timedelta(days=7))
        finally:
            account.set_service_properties(delete_retention_policy=RetentionPolicy(enabled=False))
    written = {"x-ms-request-id": "1", "x-ms-version-id": "2026", "ETag": '"0x1"'}
    with azure_storage.server.answering(WrongAnswer("PUT", body=b"", status=201, headers=written)):
        store._backend.write("x", b"x", "text/plain")
    assert store._backend.version_rules().versions is True
    nobody = another(azure_storage)._backend
    nobody.fs.versioned = None
    assert nobody.version_rules().versions is None


def test_a_signature_of_few_rights_is_enough_and_is_never_shown(azure_storage: AzureStorage) -> None:
    reference = put(opened(azure_storage))
    storage, signature = with_sas(azure_storage, "rl")
    store = MediaStore(storage.url, storage_options=storage.options, read_only=True)
    assert store.read(reference) == PNG
    secrets = (signature, signature.partition("sig=")[2])
    error = raised(StorageError, store.get_url, reference, match="no key to sign")
    assert shows_none_of(error, *secrets)
    error = raised(StorageError, opened(storage).fs.pipe_file, "runs/r1/x.txt", b"x", match="refused access")
    assert shows_none_of(error, *secrets)
    with storage.server.answering(WrongAnswer("GET", body=signature.encode(), status=400)):
        error = raised(StorageError, store.read, reference)
    assert shows_none_of(error, *secrets)
    assert not [secret for secret in secrets if secret in repr(store) + store.url + repr(store._backend)]


def test_a_copy_stays_in_the_storage_and_keeps_its_type(azure_storage: AzureStorage) -> None:
    store = opened(azure_storage)
    reference = put(store)
    other = reference.replace("r1", "r2")
    with azure_storage.counted() as n:
        store.fs.cp_file(reference, other)
    assert n["copy"] == 1
    assert {call.key[-5:] for call in n.calls if call.kind == "put"} == {".meta"}
    assert not [call for call in n.calls if call.kind == "get" and call.key.endswith(reference)]
    assert azure_storage.content_type(other) == "image/png"
    assert get(store.get_url(other))[:2] == (200, "image/png")


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("az://media/d[1]/a#b", "media/d[1]/a#b"),
        ("abfss://media@acc.dfs.core.windows.net/lab", "media/lab"),
        ("abfs://media@acc.blob.core.windows.net", "media"),
        ("abfss://acc.dfs.core.windows.net/media/lab", "media/lab"),
    ],
)
def test_urls_that_name_container_and_account(url: str, root: str) -> None:
    named = {"account_key": KEY} if "acc" in url else {"account_key": KEY, "account_name": "acc"}
    backend = open_backend(url, named, timeout=timedelta(seconds=1))
    assert (backend._root, backend.endpoint) == (root, "https://acc.blob.core.windows.net")
    assert backend.url == url.partition("#")[0]
    assert json.dumps(backend.roots()).count(f"//{root}") >= 1
    assert "media" not in backend._secrets
