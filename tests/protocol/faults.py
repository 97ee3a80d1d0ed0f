"""Faults on purpose: processes that die, answers that get lost, storages that fail; at any call one names.

Two levels. `FaultyBackend` stands before a real backend and counts the port's calls that change something. For a
folder of this machine `FaultyOs` takes the place of the module `os` in `fsmedia.storage.local*` and counts system
calls. A crash is a `Crash`, which no `except Exception` catches. From then on the process is dead: whatever it would
still do (`finally` blocks that tidy up) has no effect any more, as after SIGKILL.
"""

import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from unittest.mock import patch

from fsmedia import StorageError
from fsmedia.storage import Backend


class Crash(BaseException):
    """The process is killed here."""


class Fault(StrEnum):
    """What happens at the chosen call."""

    NONE = "none"  # only count
    CRASH_BEFORE = "crash-before"
    CRASH_AFTER = "crash-after"
    TORN = "torn"  # a write of bytes is half done, then the process is killed; elsewhere as CRASH_BEFORE
    LOST = "lost"  # done, but the answer is an error
    FAIL = "fail"  # not done, and the answer is an error
    BROKEN = "broken"  # as FAIL, and so is every call after it


CRASHES = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TORN)


@dataclass
class Faults:
    """Counts calls that change something, and spoils the `at`-th of them, counted from 1."""

    at: int = 0
    fault: Fault = Fault.NONE
    error: Callable[[tuple[str, ...]], Exception] = field(default_factory=lambda: no_answer)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    done: list[tuple[str, ...]] = field(default_factory=list)
    """The calls that did what they are for."""
    dead: bool = False
    hit: tuple[str, ...] | None = None
    in_vain: bool = False
    """The spoiled call failed by itself, so nothing was spoiled."""

    def look(self) -> None:
        """Let a call that only reads through, unless the process is dead."""
        if self.dead:
            raise Crash

    def change(self, call: tuple[str, ...], do: Callable[[], Any], torn: Callable[[], Any] | None = None) -> Any:
        """Make a call that changes something, or spoil it."""
        self.look()
        self.calls.append(call)
        number = len(self.calls)
        if self.fault is Fault.NONE or (
            number != self.at and not (self.fault is Fault.BROKEN and 0 < self.at < number)
        ):
            answer = do()
            self.done.append(call)
            return answer
        self.hit = self.hit or call
        if self.fault is Fault.TORN and torn is not None:
            torn()
        elif self.fault in (Fault.CRASH_AFTER, Fault.LOST):
            self.in_vain = True
            do()
            self.in_vain = False
            self.done.append(call)
        if self.fault in CRASHES:
            self.dead = True
            raise Crash(call)
        raise self.error(call)


def no_answer(call: tuple[str, ...]) -> StorageError:
    """Return what a backend raises for a storage that does not answer."""
    return StorageError(f"the storage gave no answer to {call[0]}", next_step="try again", key=call[1])


def os_error(number: int) -> Callable[[tuple[str, ...]], OSError]:
    """Return what makes a system call's error."""
    return lambda call: OSError(number, os.strerror(number), call[1])


class FaultyStage:
    def __init__(self, inner: Any, key: str, faults: Faults) -> None:
        self._inner, self._key, self._faults = inner, key, faults

    def write(self, data: bytes | memoryview) -> None:
        half = memoryview(data)[: len(data) // 2]
        self._faults.change(
            ("stage.write", self._key), lambda: self._inner.write(data), lambda: self._inner.write(half)
        )

    def retarget(self, key: str) -> None:
        self._inner.retarget(key)
        self._key = key

    def reread(self) -> Iterable[bytes]:
        self._faults.look()
        return list(self._inner.reread())

    def ready(self) -> None:
        self._faults.change(("stage.ready", self._key), self._inner.ready)

    def commit(self, content_type: str) -> None:
        self._faults.change(("stage.commit", self._key), lambda: self._inner.commit(content_type))

    def commit_new(self, content_type: str) -> Any:
        return self._faults.change(("stage.commit_new", self._key), lambda: self._inner.commit_new(content_type))

    def discard(self) -> None:
        self._faults.look()
        self._inner.discard()  # never spoiled: FaultyOs does that, call by call


def _spoiled(name: str, at: int = 0) -> Callable[..., Any]:
    def call(self: "FaultyBackend", *args: Any, **words: Any) -> Any:
        return self.faults.change((name, args[at]), lambda: getattr(self.inner, name)(*args, **words))

    return call


class FaultyBackend:
    """A backend whose calls can be spoiled; what this class does not know it passes on as a read."""

    def __init__(self, inner: Backend, faults: Faults) -> None:
        self.inner, self.faults = inner, faults

    write, create, put = _spoiled("write"), _spoiled("create"), _spoiled("put")
    copy = _spoiled("copy", 1)  # known by its target

    def write_many(self, writes: Any) -> Any:
        return Backend.write_many(self, writes)  # one after another, each to be spoiled

    def stage(self, key: str) -> FaultyStage:
        return FaultyStage(self.faults.change(("stage", key), lambda: self.inner.stage(key)), key, self.faults)

    def stage_file(self, key: str, *facts: Any) -> FaultyStage:
        stage = self.faults.change(("stage", key), lambda: self.inner.stage_file(key, *facts))
        return FaultyStage(stage, key, self.faults)

    def delete(self, keys: Any, **options: Any) -> Any:
        wanted = list(keys)
        try:
            return self.faults.change(("delete", *wanted), lambda: self.inner.delete(wanted, **options))
        except StorageError:  # the port's way to say it: key -> error
            return {key: self.faults.error(("delete", key)) for key in wanted}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not callable(value):
            return value

        def read(*args: Any, **kwargs: Any) -> Any:
            self.faults.look()
            return value(*args, **kwargs)

        return read


@contextmanager
def faulty_backends(faults: Faults) -> Iterator[None]:
    """Let stores that are opened in this block have a `FaultyBackend`, and their filesystems too."""
    from fsmedia import MediaFileSystem, store
    from fsmedia.filesystem import media_filesystem

    real = store.open_backend

    def opened(*args: Any, **kwargs: Any) -> FaultyBackend:
        return FaultyBackend(real(*args, **kwargs), faults)

    # fsspec keeps filesystems: neither may a sound one come in here, nor a spoiled one get out.
    MediaFileSystem.clear_instance_cache()
    try:
        with patch.object(store, "open_backend", opened), patch.object(media_filesystem, "open_backend", opened):
            yield
    finally:
        MediaFileSystem.clear_instance_cache()


def _passing(name: str) -> Callable[..., Any]:
    def call(self: "FaultyOs", *args: Any, **kwargs: Any) -> Any:
        folders = (
            [kwargs.get(name) for name in ("src_dir_fd", "dst_dir_fd")]
            if "src_dir_fd" in kwargs
            else [kwargs.get("dir_fd")]
        )
        names = [arg for arg in args if isinstance(arg, str)]
        paths = tuple(self.path_of(name, folder) for name, folder in zip(names, folders, strict=True))
        return self._faults.change((name, *paths), lambda: getattr(os, name)(*args, **kwargs))

    return call


class FaultyOs:
    """The module `os`, with faults in the calls that change files; records them all, also fsyncs, in order.

    A call is recorded as its name and the paths it is about; an fsync and a write by the path of their descriptor.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._paths: dict[int, str] = {}

    rename, replace, link = _passing("rename"), _passing("replace"), _passing("link")
    mkdir, unlink, rmdir = _passing("mkdir"), _passing("unlink"), _passing("rmdir")

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def path_of(self, name: str, folder: int | None) -> str:
        """Return the path of a name in an open folder."""
        return os.path.normpath(name if folder is None else f"{self._paths[folder]}/{name}")

    def open(self, name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        path = self.path_of(name, dir_fd)

        def do() -> int:
            descriptor = os.open(name, flags, mode, dir_fd=dir_fd)
            self._paths[descriptor] = path
            return descriptor

        if flags & os.O_CREAT:
            return self._faults.change(("open", path), do)
        self._faults.look()
        return (
            do() if flags & os.O_DIRECTORY else os.open(name, flags, mode, dir_fd=dir_fd)
        )  # what is read a file object will close

    def write(self, descriptor: int, data: memoryview) -> int:
        def half() -> int:
            return os.write(descriptor, memoryview(data)[: len(data) // 2])

        call = ("write", self._paths[descriptor])
        try:
            return self._faults.change(call, lambda: os.write(descriptor, data), half)
        except OSError:
            if self._faults.fault is Fault.FAIL:
                half()  # a full disk takes a part
            raise

    def fsync(self, descriptor: int) -> None:
        self._faults.change(("fsync", self._paths[descriptor]), lambda: os.fsync(descriptor))

    def close(self, descriptor: int) -> None:
        os.close(descriptor)  # the kernel does it for the dead too
        self._paths.pop(descriptor, None)


@contextmanager
def faulty_os(faults: Faults) -> Iterator[FaultyOs]:
    """Put a `FaultyOs` into all modules `fsmedia.storage.local*` for this block."""
    import fsmedia.storage.local  # noqa: F401 - loads the others

    fake = FaultyOs(faults)
    rooms = [module for name, module in sys.modules.items() if name.startswith("fsmedia.storage.local")]
    rooms = [module for module in rooms if getattr(module, "os", None) is os]
    assert rooms, "no module of fsmedia.storage.local* imports os any more: these tests would see nothing"
    for module in rooms:
        module.os = fake
    try:
        yield fake
    finally:
        for module in rooms:
            module.os = os
        for descriptor in list(fake._paths):
            fake.close(descriptor)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow larger: this stands for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python keeps bytecode of which only a part could be written, and falls over it at the next import.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = before
