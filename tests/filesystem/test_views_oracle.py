"""Views answer as fsspec's own filesystem in memory does that holds the same files: every question, every path."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.conftest import make_storage
from tests.filesystem.conftest import files_in
from tests.filesystem.viewed import expected, filled, media
from tests.storages import LOCAL, MEMORY, S3_MOTO, S3_RCLONE

NUMBERS = count(1)
IDS = ["r1", "a/b", "r[1]*?", "é"]


class Pair:
    """A store's filesystem, and one in memory with the same files as the views show."""

    def __init__(self, fs: Any, files: dict[str, bytes]) -> None:
        self.fs = fs
        self.files = files
        self.raw = MemoryFileSystem()
        self.root = f"/oracle-{next(NUMBERS)}"
        for path, data in files.items():
            self.raw.pipe_file(f"{self.root}/{path}", data)

    def agree(self, what: str, *arguments: Any, **options: Any) -> None:
        """Ask both the same; names of the one are cut to those of the other."""
        path, *rest = arguments
        mine = self._asked(lambda: getattr(self.fs, what)(path, *rest, **options))
        theirs = self._asked(lambda: getattr(self.raw, what)(f"{self.root}/{path}", *rest, **options))
        assert mine == theirs, f"{what}{arguments} {options}"

    def _asked(self, call: Callable[[], Any]) -> Any:
        try:
            return self._cut(call())
        except (FileNotFoundError, IsADirectoryError) as error:
            return "nothing" if isinstance(error, FileNotFoundError) else "a folder"

    def _cut(self, value: Any) -> Any:
        if isinstance(value, str):
            return value.removeprefix(f"{self.root}/").strip("/")
        if isinstance(value, list | tuple):
            cut = [self._cut(each) for each in value]
            return sorted(cut, key=repr) if isinstance(value, list) else tuple(cut)
        if isinstance(value, dict) and "type" in value and "name" in value:
            return {name: self._cut(value[name]) for name in ("name", "size", "type")}
        if isinstance(value, dict):
            return {self._cut(name): self._cut(each) for name, each in value.items()}
        return value


@pytest.fixture(params=(LOCAL, MEMORY, S3_RCLONE, pytest.param(S3_MOTO, marks=pytest.mark.full)), scope="module")
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    storage = make_storage(request.param, request, tmp_path_factory.mktemp("oracle"))
    store, stored = filled(storage, deduplicate=request.param == LOCAL, some=media(ids=IDS))
    made = Pair(store.fs, {path: stored[reference].data for path, reference in expected(stored).items()})
    yield made
    made.raw.rm(made.root, recursive=True)


def paths(pair: Pair) -> list[str]:
    """All files, all their folders, and what is not there."""
    files = sorted(pair.files)[::5]
    folders = {file.rsplit("/", depth)[0] for file in files for depth in range(1, file.count("/") + 1)}
    return [*files, *sorted(folders), "by-run/none", "by-day/2026-03-04/image/none/x", f"{files[0]}/below"]


def test_looks(pair):
    for path in paths(pair):
        for what in ("exists", "isdir", "isfile", "info", "size"):
            if what != "size" or pair.fs.isfile(path):
                pair.agree(what, path)


def test_listings(pair):
    for path in (each + slash for each in paths(pair) for slash in ("", "/")):
        for detail in (False, True):
            pair.agree("ls", path, detail=detail)
        for total in (True, False):
            pair.agree("du", path, total=total)
        for options in (
            {},
            {"maxdepth": 1},
            {"maxdepth": 2},
            {"withdirs": True},
            {"withdirs": True, "maxdepth": 1},
            {"withdirs": True, "maxdepth": 2, "detail": True},
            {"detail": True},
        ):
            pair.agree("find", path, **options)


def test_walks(pair):
    def walked(fs: Any, path: str, **options: Any) -> list[Any]:
        return sorted(
            (pair._cut(top), sorted(folders), sorted(names)) for top, folders, names in fs.walk(path, **options)
        )

    for path in paths(pair):
        for options in ({}, {"maxdepth": 1}, {"maxdepth": 2}, {"topdown": False}):
            if pair.fs.isdir(path):
                assert walked(pair.fs, path, **options) == walked(pair.raw, f"{pair.root}/{path}", **options)


PATTERNS = [
    "by-run/*", "by-run/*/", "by-run/**", "by-run/**/*.png", "by-run/*/*.txt", "by-run/r1/*", "by-run/r[0-9]/*",
    "by-run/r?/*_00_*", "by-run/none*", "by-day/*/image/png/*", "by-day/**/png/*", "by-day/2026-03-0[45]/*",
    "by-day/*/*", "by-session/a~2fb/*", "by-session/{r1,a~2fb}/*", "all_of-it/000[0-3]*.*", "all_of-it/**",
    "by-run/r~5b1~5d~2a~3f/*",
]  # fmt: skip
PARTS = ((None, None), (0, 3), (2, None), (None, 4), (-3, None), (None, -2), (1, -1), (5, 5), (0, 99))


def test_patterns(pair):
    for pattern in PATTERNS:
        for options in ({}, {"detail": True}, {"maxdepth": 1} if "**" in pattern else {}):
            pair.agree("glob", pattern, **options)
        pair.agree("expand_path", pattern)
        pair.agree("expand_path", pattern, recursive=True)


def test_bytes(pair):
    for path, data in list(pair.files.items())[::3]:
        for part in PARTS:
            pair.agree("cat_file", path, *part)
        pair.agree("head", path, 3)
        pair.agree("tail", path, 3)
        pair.agree("read_block", path, 1, 4)
        assert pair.fs.cat_ranges([path] * 2, [0, 2], [2, 4]) == [data[:2], data[2:4]]
        with pair.fs.open(path) as file:
            found = (file.read(2), file.seek(-2, 2), file.read(), file.size)
        assert found == (data[:2], len(data) - 2, data[-2:], len(data))


@pytest.mark.parametrize(
    "source", ["by-run", "by-run/", "by-day/2026-03-04", "by-run/r1/*.txt", "by-session/*", "all_of-it"]
)
def test_getting(pair, tmp_path, source):
    for into in ("there", "new", "new/"):
        got = []
        for fs, root, name in ((pair.fs, "", "mine"), (pair.raw, f"{pair.root}/", "theirs")):
            target = tmp_path / into.replace("/", "-") / name
            (target / "there").mkdir(parents=True)
            fs.get(f"{root}{source}", f"{target}/{into}", recursive=True)
            got.append(files_in(target))
        assert got[0] == got[1] != {}, into
