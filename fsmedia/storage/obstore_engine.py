"""obstore (Rust's object_store) beside a filesystem of fsspec: it reads and writes objects, all else stays as it is.

The filesystem of a storage makes a call by obstore where that is sure to mean the same, and by itself where it is not:
what obstore shows too little of (dates and fields of answers, what a listing or a deletion says), names and refusals
that it spells in its own way, a process forked from one that used it.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter
from datetime import timedelta
from html import unescape
from importlib.util import find_spec
from io import BytesIO
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from fsmedia.errors import InvalidReferenceError
from fsmedia.storage.errors import UnexpectedAnswerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fsmedia.storage.port import StorageClock

T = TypeVar("T")
Engine = Literal["auto", "fsspec", "obstore"]
ENGINES = ("auto", "fsspec", "obstore")
ENGINE_VARIABLE = "FSMEDIA_ENGINE"
"""Environment variable with the engine of stores that are opened without one."""
DEFINITE = (404, 409, 412, 416)
"""Statuses of refusals that mean the same whoever asked; after any other the filesystem asks again itself."""
_CHUNK = 2**20
_PIECE = 3 * 2**19
"""Bytes of a large answer that obstore gives at once: a third less takes a tenth longer, a third more 4 MiB more."""
_AFTER_A_BREAK = 2.0
"""Seconds for which what has a body is asked for by the filesystem itself, once one broke off: whoever reads again at
once gets it by other means, which try more than once."""
_MOST_REFUSALS = 3
"""One may be the fault of a moment: a key that has just expired, a slow line."""
# object_store knows no empty parts, no "." and no "..", and drops a slash at either end without a word.
_OTHERWISE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f]")
_STATUS = re.compile(r"Server returned non-2xx status code: (\d{3})[^:]*: ?(.*)", re.DOTALL)
_in_child: list[str] = []
"""Says that this process was forked from one that had obstore, whoever used it there: its threads do not survive that,
and a call would wait for ever."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _in_child.extend({"obstore"} & sys.modules.keys()))


class Refusal(Exception):  # noqa: N818 - what a server says is no failure of a program
    """A server's refusal, or what obstore makes of an answer (status 0); `code`: empty where it named none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message


def is_installed() -> bool:
    """Tell whether obstore can be imported."""
    return find_spec("obstore") is not None


class LongerAnswerError(UnexpectedAnswerError):
    """More bytes came than were told: which of them are right nobody can tell."""


class StandIn:
    """obstore's clients of the buckets of one filesystem, where it can stand in for that.

    `find_obstacle`: says what the filesystem's own client has that obstore's could not have. `make`: a client of a
    bucket, that asks as the filesystem's own does, or only once.
    """

    def __init__(
        self, wanted: Engine, clock: StorageClock, find_obstacle: Callable[[], str], make: Callable[..., Any]
    ) -> None:
        self.obstacle = ""
        self._refusals: Counter[str] = Counter()
        self._wanted, self._clock, self._find_obstacle, self._make = wanted, clock, find_obstacle, make
        self._stores: dict[str, Any] = {}
        self._readers: dict[str, Any] = {}
        self._blocking: dict[tuple[str, float], Any] = {}
        self._date_again = 0.0
        self._reads_again = 0.0

    def forget(self) -> None:
        """Make new clients: the filesystem has a new one."""
        self._stores.clear()
        self._readers.clear()
        self._blocking.clear()

    def takes(self, name: str) -> bool:
        """Tell whether obstore may be asked for an object of this name now."""
        if self._wanted == "fsspec" or (self.obstacle and self._wanted == "auto"):
            return False
        # obstore shows no dates: what asks for them once an hour goes by the filesystem itself, and once a minute where
        # the answer had none.
        if self._clock.is_wanted and monotonic() >= self._date_again:
            self._date_again = monotonic() + 60
            return False
        return not _in_child and _OTHERWISE.search(name) is None

    def client(self, bucket: str) -> Any:
        """Return obstore's client of a bucket; None where it can't stand in. The filesystem has connected before."""
        if bucket not in self._stores:
            self.obstacle = self.obstacle or self._find_obstacle()
            try:
                made = None if self.obstacle else self._make(bucket)
            except Exception as error:  # noqa: BLE001 - of options it does not take, or of another version
                # Its text shows the options.
                self.obstacle = f"its client does not take the options ({type(error).__name__})"
            if self.obstacle and self._wanted == "obstore":
                step = 'leave it out, or open the store with engine="auto"'
                raise InvalidReferenceError(f"obstore can't open {bucket!r}: {self.obstacle}", next_step=step)
            self._stores[bucket] = None if self.why_not(bucket) else made
        return self._stores[bucket]

    def reader(self, bucket: str) -> Any:
        """Return a client of a bucket for what has a body, as `client` does for all else."""
        # Where an answer breaks off obstore asks for the rest, if the object is the same still, and a server that knows
        # no conditions on reads, as rclone, gives the rest of another. One that asks once leaves it to the filesystem.
        if self.client(bucket) is None or monotonic() < self._reads_again:
            return None
        if bucket not in self._readers:
            self._readers[bucket] = self._make(bucket, retries=False)
        return self._readers[bucket]

    def note_break(self) -> None:
        """Note that an answer broke off, or stalled."""
        self._reads_again = monotonic() + _AFTER_A_BREAK

    def note_refusal(self, bucket: str) -> None:
        """Count that the filesystem itself was given what obstore was refused; in the end it has the bucket alone."""
        self._refusals[bucket] += 1
        if self._refusals[bucket] >= _MOST_REFUSALS:
            self._stores[bucket] = None

    def why_not(self, bucket: str) -> str:
        """Return why obstore does not read and write in a bucket, as far as it has been found out."""
        if _in_child:
            return "this process was forked from one that had obstore"
        refused = (
            "obstore is refused what s3fs is given, as in another region"
            if self._refusals[bucket] >= _MOST_REFUSALS
            else ""
        )
        return self.obstacle or refused

    def blocking(self, bucket: str, name: str, limit: float, make: Callable[[str, float], Any]) -> Any:
        """Return a client for calls that block the thread, and end after so many seconds; None: there is none yet."""
        # Whose turn it is to ask for the date is decided where the call goes then.
        if self._clock.is_wanted or self._stores.get(bucket) is None or not self.takes(name):
            return None
        if (bucket, limit) not in self._blocking:
            self._blocking[bucket, limit] = make(bucket, limit)
        return self._blocking[bucket, limit]


def client_options(
    endpoint: str, proxy: str | None, connect: float, read: float, limit: float | None = None
) -> dict[str, Any]:
    """Return options of obstore's HTTP client, for this proxy or none; waits in seconds."""
    place = urlsplit(endpoint)
    # Through one that nothing passes: without any, obstore looks for the environment's, and in its own way.
    nowhere = {"proxy_url": "http://127.0.0.1:9", "proxy_excludes": place.hostname} if getproxies() else {}
    return {
        # Without a limit here who waits for the answer counts the time, by its size.
        "timeout": timedelta(days=1) if limit is None else timedelta(seconds=limit),
        "connect_timeout": timedelta(seconds=connect), "read_timeout": timedelta(seconds=read),
        "allow_http": place.scheme == "http",
        **({"proxy_url": proxy} if proxy else nowhere),
    }  # fmt: skip


def not_carried(options: Mapping[str, Any], known: Mapping[str, frozenset[str] | None], place: str = "") -> str:
    """Name the first option that obstore has no equal of; empty: there is none.

    `known`: the names of those that it has, with the names in them where they hold more.
    """
    for name, value in options.items():
        if name not in known:
            return f"obstore has nothing that is the same as {place}{name}"
        inner = known[name]
        if inner is not None and (found := not_carried(value or {}, dict.fromkeys(inner), f"{place}{name}.")):
            return found
    return ""


def failures() -> tuple[type[Exception], ...]:
    """Return what a call by obstore raises. For `except` clauses, which only ask once something was raised."""
    from obstore.exceptions import BaseError

    return BaseError, OSError


async def asked(call: Awaitable[T], name: str) -> T:
    """Await a call about the object of a name; raises `Refusal`, `TimeoutError` or `ConnectionError`."""
    try:
        return await call
    except failures() as error:
        raise translated(error, name) from None


def put(store: Any, name: str, data: bytes, content_type: str) -> None:
    """Put an object by a client that blocks the thread; raises what `asked` does."""
    try:
        store.put(name, data, attributes={"Content-Type": content_type}, use_multipart=False)
    except failures() as error:
        raise translated(error, name) from None


def translated(error: Exception, name: str) -> Exception:
    """Return what an error of obstore's says. To be raised without a cause: its text shows a whole request."""
    text, _, debug = str(error).partition("\n\nDebug source:")
    # A name is a stranger's, and stands before what the server said.
    if (found := _STATUS.search(text.partition(name)[2] or text)) is not None:
        code, message = (re.search(f"<{each}>([^<]*)</{each}>", found[2]) for each in ("Code", "Message"))
        told = ["" if each is None else unescape(each[1]) for each in (code, message)]
        return Refusal(int(found[1]), *told)
    first = text.partition("\n")[0]
    if "kind: Timeout" in debug:
        return TimeoutError(first)
    return ConnectionError(first) if "HttpError" in debug else Refusal(0, type(error).__name__, first)


class Body:
    """Bytes of an answer that come as they are read, in the words of aiobotocore."""

    def __init__(self, result: Any, name: str) -> None:
        self.broke_off: Callable[[], object] = int
        """Called once the rest of them does not come."""
        start, end = result.range
        self.size = self._left = end - start
        self._result, self._name = result, name
        self._stream: Any = None
        self._ahead = memoryview(b"")
        self._coming: asyncio.Task[memoryview] | None = None

    async def read(self, size: int | None = None) -> bytes:
        """Read up to so many bytes, all by default; nothing at the end."""
        wanted = self._left if size is None else min(size, self._left)
        if not wanted:
            return b""
        if wanted == self.size <= _CHUNK:
            try:
                data = (await self._result.bytes_async()).to_bytes()
            except failures() as error:
                raise self._failed(error) from None
            if len(data) != wanted:
                raise UnexpectedAnswerError(f"{len(data)} bytes came where {wanted} were told")
            self._left = 0
            return bytes(data)
        # What is large is in memory once, and a piece of it: asked for whole obstore holds it twice, beside our copy.
        data = BytesIO()
        while wanted:
            piece = await self.piece()
            taken = data.write(piece[:wanted])
            wanted -= taken
            self._ahead, self._left = piece[taken:], self._left + len(piece) - taken
        return data.getvalue()

    async def piece(self) -> memoryview:
        """Return the next bytes, as many as have come together; nothing at the end."""
        piece, self._ahead = self._ahead, memoryview(b"")
        if not piece and self._left:
            if self._stream is None:
                self._stream = self._result.stream(min_chunk_size=_PIECE)
            try:
                piece = memoryview(await anext(self._stream, b""))
                # Of a server that answers a range by more than was asked for, what came is not that range.
                too_much = len(piece) > self._left or (len(piece) == self._left and await anext(self._stream, b""))
            except failures() as error:
                raise self._failed(error) from None
            if too_much:
                raise LongerAnswerError(f"more than the {self.size} bytes came that were told")
            if not piece:
                raise UnexpectedAnswerError(f"the answer ended {self._left} bytes too early")
        self._left -= len(piece)
        return piece

    async def following(self) -> memoryview:
        """Return the next bytes, and ask for those after them, which come while the caller has to do with these."""
        coming, self._coming = self._coming, None
        piece = await (coming or self.piece())
        self._coming = asyncio.ensure_future(self.piece())
        # What fails after all was given up is nobody's affair.
        self._coming.add_done_callback(lambda done: done.cancelled() or done.exception())
        return piece

    def _failed(self, error: Exception) -> Exception:
        self.broke_off()
        failed = translated(error, self._name)
        if not isinstance(failed, Refusal):
            return failed
        return UnexpectedAnswerError(f"the rest of the bytes did not come: {failed.message}")

    def close(self) -> None:
        """Give up what was not read, and the connection with it; on the loop that it is read on."""
        if self._coming is not None:
            self._coming.cancel()
        self._result = self._stream = self._coming = None
