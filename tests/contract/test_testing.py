"""The contract that is shipped, `fsmedia.testing`: on each storage, from a shell, and on a filesystem that lies."""

import sys

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fsmedia.testing import StorageContract
from tests.conftest import storages
from tests.storages import ALL_STORAGES, LocalStorage
from tests.style.project import PACKAGE, run
from tests.surfaces.commands import tells

storage = storages(*ALL_STORAGES)


class TestEachStorage(StorageContract):
    @pytest.fixture
    def place(self, storage):
        yield storage.url, storage.options
        assert remains(storage) == []


def remains(storage) -> list[str]:
    """Return what lies below a root: files, and folders where there are some without files."""
    if isinstance(storage, LocalStorage):
        return [str(path) for path in storage.folder.rglob("*")]
    folders = [
        each for each in MemoryFileSystem.pseudo_dirs if each.startswith(f"{storage.url.removeprefix('memory:/')}/")
    ]
    return [*storage.keys(), *folders]


# Plain pytest, in a folder that is nobody's: it knows the package by its path alone, and no tests folder.
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-q")
CHOSEN = ("-k", "dict or needs or lines")


def pytest_in(folder, *words):
    return run(*PYTEST, *words, *CHOSEN, cwd=folder, env={"PYTHONPATH": f"{PACKAGE.parent}:{folder}"})


def test_a_shell_runs_it_on_any_url(tmp_path):
    plugin = ("-p", "fsmedia.testing", "--pyargs", "fsmedia.testing")
    done = pytest_in(tmp_path, *plugin, "--fsmedia-url", str(tmp_path / "lab"))
    assert done.returncode == 0, done.stdout
    tells(done.stdout, "4 passed")
    assert list(tmp_path.rglob("*")) == [tmp_path / "lab"]
    done = pytest_in(tmp_path, *plugin)
    assert done.returncode == 1
    tells(done.stdout, "which storage? -p fsmedia.testing --fsmedia-url URL", "4 errors")


LYING = """
import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsmedia.testing import StorageContract

class Forgetful(LocalFileSystem):
    protocol = "forgetful"

    def __init__(self, *args, secret, **options):
        assert secret == "open"
        super().__init__(*args, **options)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("forgetful://"))

    def cat_file(self, path, start=None, end=None, **options):
        data = super().cat_file(path, start, end, **options)
        return data if HONEST or (start, end) == (None, None) else data[::-1]

fsspec.register_implementation("forgetful", Forgetful)

class TestForgetful(StorageContract):
    url, storage_options = f"forgetful://{PLACE}", {"secret": "open"}
"""


@pytest.mark.parametrize("honest", [True, False])
def test_who_has_a_filesystem_of_their_own_subclasses_it(tmp_path, honest):
    place = str(tmp_path / "lab")
    (tmp_path / "test_forgetful.py").write_text(f"HONEST, PLACE = {honest}, {place!r}\n{LYING}")
    done = pytest_in(tmp_path, "test_forgetful.py")
    assert done.returncode == int(not honest), done.stdout
    tells(
        done.stdout, *(["4 passed"] if honest else ["test_the_storage_does_what_a_store_needs", "are not those asked"])
    )
