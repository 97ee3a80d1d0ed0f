"""Fixtures for all tests: storages with oracles, their servers, a clock, hypothesis profiles."""

import copyreg
import gc
import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

# The machine's own settings must not reach a test, and s3fs, gcsfs and fsspec read theirs when they are imported.
FOREIGN = ("AWS_", "AZURE_", "FSMEDIA_", "FSSPEC_", "GCSFS_", "GOOGLE_", "STORAGE_EMULATOR_HOST")
# Make a missing browser or framework a failure; say where axe-core (tests/surfaces/hosts.py), Azurite and sshd lie
OURS = ("FSMEDIA_REQUIRE_BROWSER", "FSMEDIA_REQUIRE_FRAMEWORKS", "FSMEDIA_AXE", "FSMEDIA_AZURITE", "FSMEDIA_SSHD")
for variable in [name for name in os.environ if name.startswith(FOREIGN) and name not in OURS]:
    del os.environ[variable]
os.environ.update(
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    FSSPEC_CONFIG_DIR=os.devnull,
    FSMEDIA_ENGINE="fsspec",  # obstore's turns are storages of their own
    FSMEDIA_CACHE="off",  # tests of the cache name a folder of their own
    NO_PROXY="127.0.0.1,localhost",
    no_proxy="127.0.0.1,localhost",
)

# Spawned children import test modules by name. At the end, so that an installed fsmedia is what they test.
sys.path.append(str(Path(__file__).parents[1]))

import hypothesis  # noqa: E402
import pytest  # noqa: E402

# Here, before any test imports them: tests of several parts do, and pytest reads only what is not imported yet.
for module in ("protocol.worlds", "protocol.disk", "surfaces.specimens", "surfaces.commands"):
    pytest.register_assert_rewrite(f"tests.{module}")
pytest.register_assert_rewrite("fsmedia.testing")

from fsmedia import MediaError  # noqa: E402
from tests import storages as places  # noqa: E402
from tests.servers import (  # noqa: E402
    AZURITE,
    AzuriteServer,
    FakeGcsServer,
    MotoServer,
    RcloneServer,
    SeaweedServer,
    Server,
    SftpServer,
    SmbServer,
    WebDavServer,
    smbd,
    sshd,
)

hypothesis.settings.register_profile("default", max_examples=25, deadline=None)
hypothesis.settings.register_profile("full", max_examples=500, deadline=None)
MEMORY_NUMBERS = count(1)
MOST_WORKERS = 6  # each has servers of its own, and imports what clients bring along
TESTS = Path(__file__).parent
ON_SEAWEED = (
    "contract/test_engine.py", "contract/test_store.py", "contract/test_named.py", "contract/test_tickets.py",
    "protocol/test_requests.py", "protocol/test_tickets.py", "surfaces/test_uploads.py",
)  # fmt: skip
"""Files whose cases run on SeaweedFS at small size too: it is the third S3, and the slowest of them."""
ON_MOTO = (
    *ON_SEAWEED, "contract/test_deduplication.py", "contract/test_erasure.py", "contract/test_servers.py",
    "contract/test_sync.py", "contract/test_urls.py", "filesystem/test_writing.py", "protocol",
)  # fmt: skip
"""Files and folders whose cases run on moto at small size too where rclone, which is faster, has the same case."""
ON_FILE_SERVERS = (
    "contract/test_bulk.py", "contract/test_filesystems.py", "contract/test_list.py", "contract/test_named.py",
    "contract/test_references.py", "contract/test_sound.py", "contract/test_store.py",
)  # fmt: skip
"""Files whose cases run on SFTP and WebDAV at small size too."""
OBSTORE = "+obstore"
"""Behind the name of a storage: obstore reads and writes its objects; else s3fs and adlfs do."""
ON_OBSTORE = ("contract/test_store.py", "protocol/test_requests.py", "protocol/test_wrong_answers.py")
"""Files whose cases run by obstore at small size too, where they run on the same storage by fsspec."""


def asked_for_full(config: pytest.Config) -> bool:
    """Say whether `-m` names the marker `full`, other than after a "not"."""
    return re.search(r"(?<!not )\bfull\b", config.option.markexpr) is not None


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("full" if asked_for_full(config) else "default")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Let a run of everything use every core; what is asked for by name runs right here, with its output and pdb."""
    if config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make `-m full` mean everything, and any other run what is not marked so; clients come last."""
    usual = {(item.path, item.name) for item in items if not item.get_closest_marker("full")}
    for item in items:
        on_rclone, case = item.name.replace(places.S3_MOTO, places.S3_RCLONE), getattr(item, "callspec", None)
        is_second = on_rclone != item.name and (item.path, on_rclone) in usual
        given = () if case is None else [each for each in case.params.values() if isinstance(each, str)]
        is_served = any(each in places.FILE_SERVERS for each in given)
        is_fast = any(each.endswith(OBSTORE) for each in given)
        spared = (
            (is_second, ON_MOTO), (places.S3_SEAWEED in given, ON_SEAWEED), (is_served, ON_FILE_SERVERS),
            (is_fast, ON_OBSTORE),
        )  # fmt: skip
        for is_spared, paths in spared:
            if is_spared and not any(item.path.is_relative_to(TESTS / path) for path in paths):
                item.add_marker("full")
        # Chromium and a notebook server beside it are no clockwork on two busy cores: what fails twice is at fault.
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.flaky(reruns=1))
    if asked_for_full(config):
        for item in items:
            item.add_marker("full")
    else:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full")])
        items[:] = [item for item in items if not item.get_closest_marker("full")]
    # Each fork and each collection of garbage pays for what these import: pandas, dask, datasets, ...
    items.sort(key=lambda item: item.path.is_relative_to(TESTS / "clients"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the collector what stays until the end: every new S3 client makes it look through everything."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def full_run(pytestconfig: pytest.Config) -> bool:
    return asked_for_full(pytestconfig)


def served(server_class: type[Server]) -> Any:
    @pytest.fixture(scope="session")
    def server() -> Iterator[Server]:
        if server_class is AzuriteServer and AZURITE not in os.environ:
            pytest.skip(f"no Azurite: npm install --prefix DIR azurite, {AZURITE}=DIR/node_modules/.bin/azurite-blob")
        if server_class is SftpServer and sshd() is None:
            pytest.skip("no sshd: install openssh-server")
        if server_class is SmbServer and smbd() is None:
            pytest.skip("no smbd for root: install samba")
        started = server_class().start()
        yield started
        started.stop()

    return server


moto, rclone, seaweed = map(served, (MotoServer, RcloneServer, SeaweedServer))
fake_gcs, azurite = map(served, (FakeGcsServer, AzuriteServer))
sftp, webdav, smb = map(served, (SftpServer, WebDavServer, SmbServer))
SERVED = {
    places.S3_MOTO: ("moto", "lab/store", places.S3Storage),
    places.S3_RCLONE: ("rclone", "", places.S3Storage),
    places.S3_SEAWEED: ("seaweed", "lab/store", places.S3Storage),
    places.GCS: ("fake_gcs", "", places.GcsStorage),
    places.AZURE: ("azurite", "lab/d[1]", places.AzureStorage),
    places.SFTP: ("sftp", "", places.ServedStorage),
    places.WEBDAV: ("webdav", "lab/store", places.ServedStorage),
    places.SMB: ("smb", "lab/store", places.ServedStorage),
}
"""Name of a storage -> fixture of its server, prefix of its roots: a prefix in a bucket and a plain bucket must do."""


def make_storage(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a fresh, empty storage of this name; its server is started if it is the first."""
    name, is_fast, _ = name.partition(OBSTORE)
    if is_fast:
        patch = pytest.MonkeyPatch()
        request.addfinalizer(patch.undo)
        patch.setenv("FSMEDIA_ENGINE", "obstore")
    if name == places.LOCAL:
        return places.LocalStorage(name, str(tmp_path / "media"))
    if name == places.MEMORY:
        storage = places.MemoryStorage(name, f"memory://media-{next(MEMORY_NUMBERS)}")
        request.addfinalizer(storage.clear)
        return storage
    fixture, prefix, storage_class = SERVED[name]
    server = request.getfixturevalue(fixture)
    return storage_class(name, *server.new_root(prefix), server)


def mostly(*usual: str, of: tuple[str, ...] = places.ALL_STORAGES) -> list[Any]:
    """Return fixture parameters: these storages, and the rest of `of` in the full run."""
    # Whether a case runs on those at small size, too, depends on its file.
    plain = (*usual, *(each for each in of if each in places.FILE_SERVERS and each not in usual))
    plain += tuple(f"{each}{OBSTORE}" for each in plain if each in places.BY_OBSTORE)
    rest = [each for each in of if each not in plain]
    rest += [f"{each}{OBSTORE}" for each in rest if each in places.BY_OBSTORE]
    return [*plain, *(pytest.param(each, marks=pytest.mark.full) for each in rest)]


def on(*usual: str, of: tuple[str, ...] = places.ALL_STORAGES) -> pytest.MarkDecorator:
    """Run a test on these storages, and on the rest of `of` in the full run."""
    return pytest.mark.parametrize("storage", mostly(*usual, of=of), indirect=True)


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns a thousand times more often than they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(autouse=True)
def plain_pickles() -> None:
    """Undo what importing distributed does to every exception of the process: tblib pickles them its own way."""
    if MediaError in copyreg.dispatch_table:
        for kind in [each for each in copyreg.dispatch_table if issubclass(each, BaseException)]:
            del copyreg.dispatch_table[kind]


def storages(*usual: str, of: tuple[str, ...] = places.ALL_STORAGES) -> Any:
    """Return a fixture that gives a fresh storage, of each of these names in turn, in the full run of the rest too."""

    @pytest.fixture(params=mostly(*usual, of=of))
    def made(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        return make_storage(request.param, request, tmp_path)

    return made


def only(name: str) -> Any:
    return pytest.fixture(lambda request, tmp_path: make_storage(name, request, tmp_path))


storage, object_storage = storages(*places.ALL_STORAGES), storages(*places.OBJECT_STORAGES, of=places.OBJECT_STORAGES)
local_storage, memory_storage = only(places.LOCAL), only(places.MEMORY)
moto_storage, rclone_storage = only(places.S3_MOTO), only(places.S3_RCLONE)
seaweed_storage, gcs_storage = only(places.S3_SEAWEED), only(places.GCS)
azure_storage, sftp_storage, webdav_storage = only(places.AZURE), only(places.SFTP), only(places.WEBDAV)


class Clock:
    """A clock that stands still until a test moves it; call it for the time, as an aware UTC datetime."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> datetime:
        self.now += by
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock at 2026-03-04T05:06:07.890123Z, an instant with all its digits different."""
    return Clock(datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC))
