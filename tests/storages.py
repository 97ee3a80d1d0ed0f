"""The storages that tests run over, each with an oracle that bypasses fsspec and the package under test.

What a test claims about a store is looked up here: on disk with pathlib (behind SFTP and WebDAV, too), in memory in the
dict itself, on S3 with boto3, on GCS over plain HTTP, on Azure with its own client. The oracle of an object store goes
past the counting relay: it never shows in a count.
"""

import json
import urllib.error
import urllib.parse
import urllib.request
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from azure.core.exceptions import ResourceNotFoundError
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from fsmedia import MediaStore
from fsmedia.storage import Exclusion
from tests.servers import AzuriteServer, FakeGcsServer, Requests, S3Server

LOCAL, MEMORY, GCS, AZURE, SFTP, WEBDAV, SMB = "local", "memory", "gcs", "azure", "sftp", "webdav", "smb"
S3_MOTO, S3_RCLONE, S3_SEAWEED = "s3-moto", "s3-rclone", "s3-seaweed"
OBJECT_STORAGES = (S3_MOTO, S3_RCLONE, GCS, S3_SEAWEED, AZURE)
BY_OBSTORE = (S3_MOTO, S3_RCLONE, S3_SEAWEED, AZURE)
"""Run a second time with obstore as the engine."""
FILE_SERVERS = (SFTP, WEBDAV, SMB)
"""Opened by the class for any filesystem of fsspec's."""
WITHOUT_URLS = (MEMORY, GCS, *FILE_SERVERS)
"""Have none, or are asked by nobody who could sign one."""
# paramiko's, as where sshfs is not installed, which takes both names; its own is ssh://.
fsspec.register_implementation("sftp", "fsspec.implementations.sftp.SFTPFileSystem", clobber=True)
ALL_STORAGES = (LOCAL, MEMORY, *OBJECT_STORAGES, *FILE_SERVERS)


@dataclass
class Storage(ABC):
    """One fresh, empty place to keep a store in, and what really lies there. Keys are relative to `url`."""

    name: str
    url: str
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @abstractmethod
    def keys(self) -> set[str]:
        """Return the keys of all files below the root."""

    @abstractmethod
    def read(self, key: str) -> bytes:
        """Return what lies at the key; FileNotFoundError if nothing does."""

    def contents(self) -> dict[str, bytes]:
        """Return what lies at each key, in their order."""
        return {key: self.read(key) for key in sorted(self.keys())}

    @abstractmethod
    def write(self, key: str, data: bytes) -> None:
        """Put bytes at the key."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Take away what lies at the key; FileNotFoundError if nothing does, where the storage says so."""

    def content_type(self, key: str) -> str | None:
        """Return the content type the storage keeps with the key; None where it keeps none."""
        return None

    def filesystem(self) -> fsspec.AbstractFileSystem:
        """Return a new raw fsspec filesystem without listing cache: what the package is compared with."""
        protocol = self.url.partition("://")[0] if "://" in self.url else "file"
        return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False, **self.raw_options())

    def raw_options(self) -> dict[str, Any]:
        """Return the options, and what fsspec's own class needs besides to work at all."""
        return self.options

    def path(self, key: str = "") -> str:
        """Return the path of a key in the words of `filesystem()`."""
        return f"{self.url.partition('://')[2] or self.url}/{key}".rstrip("/")


@dataclass
class LocalStorage(Storage):
    """A folder that does not exist yet."""

    @property
    def folder(self) -> Path:
        return Path(self.url)

    def keys(self) -> set[str]:
        root = self.folder
        files = {file.relative_to(root).as_posix() for file in root.rglob("*") if not file.is_dir()}
        # Lock files are empty and mean nothing while nobody holds them; `contract/test_named.py` looks at them.
        return {key for key in files if not key.startswith(".fsmedia/locks/")}

    def read(self, key: str) -> bytes:
        return (self.folder / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        file = self.folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def remove(self, key: str) -> None:
        (self.folder / key).unlink()


@dataclass
class ServedStorage(LocalStorage):
    """A folder that a server on this machine serves, and that does not exist yet."""

    server: Any = field(default=None, repr=False)

    @property
    def folder(self) -> Path:
        path = urllib.parse.urlsplit(self.url)
        if self.name == SFTP:
            return Path(path.path)
        inside = path.path.removeprefix("/lab/") if self.name == SMB else f"{path.netloc}{path.path}"
        return self.server.data_folder / inside

    def path(self, key: str = "") -> str:
        """Return the path of a key in the words of `filesystem()`; WebDAV's begins in the server's folder."""
        root = self.folder if self.name == SFTP else self.folder.relative_to(self.server.data_folder)
        return f"{'/lab/' if self.name == SMB else ''}{root}/{key}".rstrip("/")

    def filesystem(self) -> fsspec.AbstractFileSystem:
        host = urllib.parse.urlsplit(self.url)
        place = {"host": host.hostname, "port": host.port} if self.name in (SFTP, SMB) else {}
        made = fsspec.filesystem(self.name, skip_instance_cache=True, **place, **self.options)
        if self.name == WEBDAV:  # which nobody else closes
            weakref.finalize(made, made.client.http.close)
        return made


@dataclass
class MemoryStorage(Storage):
    """A folder in the dict that all memory filesystems of a process share."""

    def keys(self) -> set[str]:
        prefix = f"{self._root}/"
        return {key.removeprefix(prefix) for key in MemoryFileSystem.store if key.startswith(prefix)}

    def read(self, key: str) -> bytes:
        return bytes(self._file(key).getvalue())

    def write(self, key: str, data: bytes) -> None:
        path = f"{self._root}/{key}"
        MemoryFileSystem.store[path] = MemoryFile(None, path, data)

    def remove(self, key: str) -> None:
        self._file(key)
        del MemoryFileSystem.store[f"{self._root}/{key}"]

    def clear(self) -> None:
        """Leave nothing behind in this process."""
        for key in self.keys():
            del MemoryFileSystem.store[f"{self._root}/{key}"]
        folders = MemoryFileSystem.pseudo_dirs
        folders[:] = [folder for folder in folders if not f"{folder}/".startswith(f"{self._root}/")]

    @property
    def _root(self) -> str:
        return "/" + self.url.removeprefix("memory://").strip("/")

    def _file(self, key: str) -> MemoryFile:
        path = f"{self._root}/{key}"
        if path not in MemoryFileSystem.store:
            raise FileNotFoundError(path)
        return MemoryFileSystem.store[path]


@dataclass
class ObjectStorage(Storage):
    """A prefix in a fresh bucket of a server that counts."""

    server: Any = field(default=None, repr=False)

    @property
    def bucket(self) -> str:
        return self.url.partition("://")[2].partition("/")[0]

    @property
    def prefix(self) -> str:
        """What stands before a key in the bucket: "" or "some/prefix/"."""
        prefix = self.url.partition("://")[2].partition("/")[2]
        return f"{prefix}/" if prefix else ""

    def counted(self) -> AbstractContextManager[Requests]:
        return self.server.counted()

    def keys(self) -> set[str]:
        return {name.removeprefix(self.prefix) for name in self._names() if not name.endswith("/")}

    @abstractmethod
    def _names(self) -> Iterator[str]:
        """Yield the names of the objects that begin with the prefix."""


def switch_looks(store: MediaStore) -> dict[str, int]:
    """Return the requests that go with each reading of the settings: where nothing is known to keep two apart."""
    return {"head": 2} if store._backend.known_exclusion is Exclusion.NONE else {}


@dataclass
class S3Storage(ObjectStorage):
    """S3 through boto3."""

    server: S3Server

    def _names(self) -> Iterator[str]:
        pages = self.server.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        names = (entry["Key"] for page in pages for entry in page.get("Contents", ()))
        yield from (name for name in names if self.server.has(self.bucket, name))

    def read(self, key: str) -> bytes:
        try:
            answer = self.server.client.get_object(**self._place(key))
        except self.server.client.exceptions.NoSuchKey:
            raise FileNotFoundError(key) from None
        with answer["Body"] as body:
            return body.read()

    def write(self, key: str, data: bytes) -> None:
        self.server.client.put_object(**self._place(key), Body=data)

    def remove(self, key: str) -> None:
        self.server.client.delete_object(**self._place(key))

    def content_type(self, key: str) -> str | None:
        return self.server.client.head_object(**self._place(key))["ContentType"]

    def raw_options(self) -> dict[str, Any]:
        return {"config_kwargs": self.server.config, **self.options}

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}


@dataclass
class GcsStorage(ObjectStorage):
    """GCS through its JSON interface."""

    server: FakeGcsServer

    def _names(self) -> Iterator[str]:
        query = {"prefix": self.prefix}
        while True:
            page = json.loads(self._ask("GET", f"storage/v1/b/{self.bucket}/o?{urllib.parse.urlencode(query)}"))
            yield from (item["name"] for item in page.get("items", ()))
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def read(self, key: str) -> bytes:
        return self._ask("GET", f"{self._place(key)}?alt=media")

    def write(self, key: str, data: bytes) -> None:
        query = urllib.parse.urlencode({"uploadType": "media", "name": self.prefix + key})
        self._ask("POST", f"upload/storage/v1/b/{self.bucket}/o?{query}", data)

    def remove(self, key: str) -> None:
        self._ask("DELETE", self._place(key))

    def content_type(self, key: str) -> str | None:
        return json.loads(self._ask("GET", self._place(key))).get("contentType")

    def filesystem(self) -> fsspec.AbstractFileSystem:
        from gcsfs.core import GCSFileSystem  # takes a second to import

        # fsspec's own choice asks for each bucket's type by gRPC, for a minute on the emulator.
        return GCSFileSystem(skip_instance_cache=True, use_listings_cache=False, **self.options)

    def _place(self, key: str) -> str:
        return f"storage/v1/b/{self.bucket}/o/{urllib.parse.quote(self.prefix + key, safe='')}"

    def _ask(self, method: str, target: str, data: bytes | None = None) -> bytes:
        headers = {} if data is None else {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.server.direct_url}/{target}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    raise FileNotFoundError(target) from None
            raise


@dataclass
class AzureStorage(ObjectStorage):
    """Azure through its own client."""

    server: AzuriteServer

    def _names(self) -> Iterator[str]:
        with self.server.container(self.bucket) as client:
            yield from client.list_blob_names(name_starts_with=self.prefix)

    def read(self, key: str) -> bytes:
        return self._ask(lambda client: client.download_blob(self.prefix + key).readall(), key)

    def write(self, key: str, data: bytes) -> None:
        self._ask(lambda client: client.upload_blob(self.prefix + key, data, overwrite=True), key)

    def remove(self, key: str) -> None:
        self._ask(lambda client: client.delete_blob(self.prefix + key), key)

    def content_type(self, key: str) -> str | None:
        found = self._ask(lambda client: client.get_blob_client(self.prefix + key).get_blob_properties(), key)
        return found.content_settings.content_type

    def _ask(self, call: Callable[[Any], Any], key: str) -> Any:
        with self.server.container(self.bucket) as client:
            try:
                return call(client)
            except ResourceNotFoundError:
                raise FileNotFoundError(key) from None
