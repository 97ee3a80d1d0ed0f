"""Files that are read over a network: what a steady reader gets ahead, and that it never gets anything else."""

import itertools
import random
from contextlib import nullcontext, suppress
from io import BytesIO
from types import SimpleNamespace

import pytest

from fsmedia import CorruptMediaError
from fsmedia.storage import fsspec_backend
from fsmedia.storage.fsspec_backend import TranslatedFile
from fsmedia.storage.obstore_engine import LongerAnswerError

DATA = random.Random(4).randbytes(300_000)


class Remote(BytesIO):
    """A file as fsspec opens one, whose bytes come by requests for parts, or piece by piece from a position on."""

    blocksize = 100
    cache = SimpleNamespace(name="none")
    size = len(DATA)

    def __init__(self) -> None:
        super().__init__(DATA)
        self.parts: list[tuple[int, int]] = []
        self.pieces: list[tuple[int, int]] = []
        self.answers: list[Rest] = []
        self.is_time = True
        self.failures: list[BaseException | None] = []
        self.random = random.Random(7)

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        if data := super().read(size):
            self.parts.append((start, start + len(data)))
        return data

    def stream(self, start: int, before: bytes) -> "Rest | None":
        assert DATA[:start].endswith(before)
        assert len(before) > 90
        self.answers.append(Rest(self, start))
        return self.answers[-1] if self.is_time else None

    def opened(self) -> TranslatedFile:
        return TranslatedFile(self, "x", frozenset(), nullcontext(), self.stream)


class Rest:
    """The rest of it, piece by piece."""

    def __init__(self, remote: Remote, start: int) -> None:
        self.remote, self.start, self.is_open = remote, start, True

    def following(self) -> memoryview:
        remote, start = self.remote, self.start
        piece = memoryview(DATA[start : start + remote.random.choice([1, 500, 3000, 9000])])
        self.start += len(piece)
        if remote.failures and (failure := remote.failures.pop()):
            raise failure
        remote.pieces.append((start, self.start))
        return piece

    def close(self) -> None:
        self.is_open = False


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsspec_backend, "MOST_AHEAD", 4000)
    monkeypatch.setattr(fsspec_backend, "SEEK_BLOCK", 1000)


@pytest.mark.parametrize("size", [1, 700, 3999, 4000, 4001, 9000, 50_000])
def test_a_steady_reader_gets_every_byte_once_and_most_of_them_by_one_answer(size: int) -> None:
    remote = Remote()
    with remote.opened() as file:
        assert b"".join(iter(lambda: file.read(size), b"")) == DATA
    got = sorted(remote.parts + remote.pieces)
    assert (got[0][0], got[-1][1]) == (0, len(DATA))
    assert all(before[1] == after[0] for before, after in itertools.pairwise(got))
    assert len(remote.answers) == 1
    assert len(remote.parts) <= 4
    assert not remote.answers[0].is_open


def test_reads_lines_looks_and_leaps_in_any_order_give_what_is_there_whatever_fails() -> None:
    for seed in range(60):
        random_, remote, plain = random.Random(seed), Remote(), BytesIO(DATA)
        if seed % 2:
            remote.failures = random_.choices([None, None, OSError(), TimeoutError(), KeyboardInterrupt()], k=400)
        with remote.opened() as file:
            for _ in range(200):
                size = random_.choice([0, 1, 50, 3000, 4000, 4001, 20_000])
                what, to = random_.randrange(8), random_.choice([0, size * 9, plain.tell() + size])
                with suppress(KeyboardInterrupt):  # breaks off what is done over again here, or not
                    match what:
                        case 0:
                            line = file.readline()
                            assert line == plain.readline()
                        case 1:
                            assert file.seek(to) == plain.seek(to)
                        case 2:
                            assert DATA[plain.tell() :].startswith(file.peek(size))
                        case 3 if not random_.randrange(9):
                            found = file.read()
                            assert found == plain.read()
                        case _:
                            found = file.read(size)
                            assert found == plain.read(size)
                plain.seek(file.tell())
                assert [each for each in remote.answers if each.is_open] in ([], [file._answer])
        assert not any(each.is_open for each in remote.answers)


def test_who_reads_little_or_leaps_asks_for_parts_alone() -> None:
    remote = Remote()
    remote.blocksize = 8000  # as large as a steady reader's parts
    with remote.opened() as file:
        assert file.read(2000) == DATA[:2000]
        for start in range(0, len(DATA), 10_000):
            file.seek(start)
            assert file.read(100) == DATA[start : start + 100]
    assert remote.answers == []


def test_an_answer_that_fails_is_followed_by_parts_for_good() -> None:
    remote = Remote()
    remote.failures = [OSError("gone"), None, None]
    with remote.opened() as file:
        assert b"".join(iter(lambda: file.read(500), b"")) == DATA
    assert (len(remote.answers), len(remote.pieces)) == (1, 2)


def test_who_breaks_a_read_off_may_read_on() -> None:
    remote = Remote()
    remote.failures = [KeyboardInterrupt(), None, None, KeyboardInterrupt(), None]
    with remote.opened() as file:
        found = b""
        while len(found) < len(DATA):
            with suppress(KeyboardInterrupt):
                found += file.read(500)
    assert found == DATA
    assert len(remote.answers) == 3


def test_a_read_that_was_broken_off_between_two_pieces_leaves_the_file_where_it_was() -> None:
    remote = Remote()
    with remote.opened() as file:
        found = b"".join(file.read(500) for _ in range(100))
        assert file._streamed(file.tell() + len(file._ahead))  # and then Ctrl-C
        assert found + b"".join(iter(lambda: file.read(500), b"")) == DATA
    assert len(remote.answers) == 2


def test_whoever_goes_elsewhere_gives_the_answer_up() -> None:
    for leave in (lambda file: file.seek(7), lambda file: file.read(), lambda file: file.close()):
        remote = Remote()
        file = remote.opened()
        for _ in range(100):
            file.read(500)
        assert remote.answers[0].is_open
        leave(file)
        assert not remote.answers[0].is_open
        file.close()


def test_where_it_is_not_the_time_for_an_answer_parts_are_read_until_it_is() -> None:
    remote = Remote()
    remote.is_time = False
    with remote.opened() as file:
        found = b"".join(file.read(500) for _ in range(100))
        assert (len(remote.answers) > 3, remote.pieces) == (True, [])
        remote.is_time = True
        assert found + b"".join(iter(lambda: file.read(500), b"")) == DATA
    assert remote.pieces[-1][1] == len(DATA)


def test_an_answer_that_is_longer_than_it_said_is_an_error_once_bytes_of_it_were_given_out() -> None:
    remote = Remote()
    remote.failures = [LongerAnswerError("more"), None]
    with remote.opened() as file, pytest.raises(CorruptMediaError, match="more"):
        b"".join(iter(lambda: file.read(500), b""))
    remote = Remote()
    remote.failures = [LongerAnswerError("more")]
    with remote.opened() as file:
        assert b"".join(iter(lambda: file.read(500), b"")) == DATA
    assert remote.pieces == []
