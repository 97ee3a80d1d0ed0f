"""Decoding within a bound of memory: small plain pictures in this process, all else in children that have a limit.

The bound holds for all that is decoded at once. Children are started when the first is needed, are told one media after
another, and end with the work that needed them. One that crashes, or takes too long, costs the media that it had. On
systems without limits of memory (macOS, Windows) the sizes that headers claim are all that bounds it.

A job is a line of JSON; the child asks for ranges of bytes, and answers with a packed preview, and what was made for a
browser to play or show, or with a reason.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from math import inf
from typing import IO, TYPE_CHECKING, Any

from fsmedia.display import pictures
from fsmedia.display.previewer import (
    MemoryBudget,
    OpenedSource,
    Preview,
    RangedFile,
    Source,
    UnshowableError,
    decoding,
    kind_of,
)
from fsmedia.models.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20
BOUND = 512 * MIB
"""Bytes that all decoding takes at once, children and their programs too."""
_SHARED = BOUND - 112 * MIB  # without a second child that waits for work, code, and the bytes that are decoded
SHARES = (192 * MIB, _SHARED)
"""Limits of a child, with its interpreter: two of the first at once, or one of the second, for a second try too."""
SECONDS = 30.0  # longest work of a child on one media
_TOO_LARGE = f"too large to preview: decoding it takes more than {_SHARED // MIB} MiB"
_FILM_BLOCKS = 8
_FRAME = struct.Struct(">cQQ")
_LENGTH = struct.Struct(">q")
_PREVIEW, _REASON, _FAILED, _MEMORY, _READ = b"P", b"U", b"F", b"M", b"R"
_LONGEST_ANSWER, _LONGEST_REASON = 8 * MIB, 300
MOST_MADE = 128 * MIB  # bytes that are made for a browser; they lie in the child, too
_LONGEST_PAGE = 14_400  # points; PDF allows no longer side
_NO_PASSWORD = 4  # of PDFium's errors
_HEIF = ("image/heic", "image/heif")
_LARGE = ("image/webp", "image/avif")
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from fsmedia.display.decoders import serve; serve()"
)


def picture(data: bytes, side: int) -> Preview:
    """Return a small picture; UnshowableError if there is none to show."""
    kind = kind_of(data) or ""
    if _is_heif(kind):
        return _in_child({"function": "thumbnail", "side": side, "kind": kind}, OpenedSource.of(data))[0]
    needed, is_plain = pictures.memory_needed(data, side)
    if needed > _SHARED and kind in _LARGE:
        # Pillow holds all of it several times over; FFmpeg, which knows less of the format, once. One at a time.
        found = poster(OpenedSource.of(data), kind, side, whole=True, needed=_SHARED)
        return replace(found, kind="picture", duration=None)
    if needed > _SHARED:
        raise UnshowableError(_TOO_LARGE)
    if is_plain and needed <= SHARES[0]:
        with _state.budget.take(needed):
            return pictures.thumbnail(data, side)
    return _in_child({"function": "thumbnail", "side": side}, OpenedSource.of(data), needed)[0]


def converted(data: bytes, side: int) -> tuple[Preview, bytes]:
    """Return a picture that browsers do not show as one that they do; UnshowableError if there is none."""
    kind = kind_of(data) or ""
    needed = 0 if _is_heif(kind) else pictures.memory_needed(data, side)[0]
    if needed > _SHARED:
        raise UnshowableError(_TOO_LARGE)
    return _in_child({"function": "converted", "side": side, "kind": kind}, OpenedSource.of(data), needed)


def _is_heif(kind: str) -> bool:
    if kind in _HEIF and find_spec("pillow_heif") is None:
        raise UnshowableError("to see it: pip install pillow-heif")
    return kind in _HEIF


def played(source: Source, kind: str, most: int) -> tuple[Preview, bytes]:
    """Return how a browser plays a film or sound, and the bytes for it where they are not its own; UnshowableError."""
    job = {"function": "played", "kind": kind, "most": min(most, MOST_MADE), "whole": False}
    return _in_child(job, source)


def markdown(text: str) -> str:
    """Return Markdown as HTML of a few harmless elements; UnshowableError if it takes too long."""
    return _in_child({"function": "markdown"}, OpenedSource.of(text.encode()))[1].decode()


def embedded(head: bytes, side: int) -> Preview:
    """Return the preview that a camera put into the first bytes of a JPEG; UnshowableError if there is none."""
    inner, (width, height) = pictures.embedded(head)
    try:
        return replace(picture(inner, side), width=width, height=height)
    except UnshowableError as error:
        raise UnshowableError("too large to be read for a preview") from error


def poster(source: Source, kind: str, side: int, *, whole: bool, needed: int = 0) -> Preview:
    """Return a frame of a film; UnshowableError if there is none. If not read whole it is read in a few blocks."""
    job = {"function": "poster", "kind": kind, "side": side, "whole": whole, "blocks": _FILM_BLOCKS}
    return _in_child(job, source, needed)[0]


def outline(source: Source, kind: str) -> Preview:
    """Return the outline of a sound; UnshowableError if there is none."""
    return _in_child({"function": "outline", "kind": kind, "whole": False}, source)[0]


def page(data: bytes, side: int, number: int = 0) -> Preview:
    """Return a page of a PDF, counted from 0; UnshowableError if there is none."""
    return _in_child({"function": "page", "side": side, "number": number}, OpenedSource.of(data))[0]


def table(source: Source, offset: int, limit: int) -> bytes:
    """Return some rows of a Parquet file as JSON; UnshowableError if there are none."""
    job = {"function": "table", "offset": offset, "limit": limit, "whole": False}
    return _in_child(job, source, SHARES[1])[1]


@contextmanager
def children() -> Iterator[None]:
    """Keep the children that are started in the block until its end, or that of another such block beside it."""
    state = _state
    with state.lock:
        state.users += 1
    try:
        yield
    finally:
        with state.lock:
            state.users -= 1
            ended = [] if state.users else state.waiting
            if ended:
                state.waiting = []
        for child in ended:
            child.close()


def _in_child(job: dict[str, Any], source: Source, needed: int = 0) -> tuple[Preview, bytes]:
    reason = "it can't be decoded"
    for share in (each for each in SHARES if each >= needed):
        with children(), _state.budget.take(share):
            kind, answer, made = _ask({**job, "memory": share, "size": source.size}, source)
        if kind == _PREVIEW:
            if (found := Preview.unpack(answer)) is None:
                break
            return found, made
        reason = _TOO_LARGE if kind == _MEMORY else answer[:_LONGEST_REASON].decode(errors="replace")
        if kind == _REASON:
            break
    raise UnshowableError(reason)


def _ask(job: dict[str, Any], source: Source) -> tuple[bytes, bytes, bytes]:
    """Have a child do a job; return the kind of its answer, the answer, and what it made."""
    state = _state
    with state.lock:
        child = state.waiting.pop() if state.waiting else None
    try:
        child = child or _Child()
        answer = child.run(job, source)
    except OSError:
        if child is None:
            return _REASON, b"no process could be started to decode it", b""
        is_late = child.is_late
        child.close()
        if is_late:
            return _REASON, f"takes longer than {SECONDS:.0f} s to decode".encode(), b""
        return _FAILED, b"the process that decoded it ended: it is broken, or too large", b""
    except BaseException:
        if child is not None:
            child.close()
        raise
    with state.lock:
        state.waiting.append(child)
    return answer


class _Child:
    def __init__(self) -> None:
        if not sys.executable or getattr(sys, "frozen", False):  # Python inside another program, which it would start
            raise FileNotFoundError
        self.is_late = False
        self._process = subprocess.Popen(  # noqa: S603 - this very module, by this very interpreter
            [sys.executable, "-P", "-c", _PROGRAM, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self, job: dict[str, Any], source: Source) -> tuple[bytes, bytes, bytes]:
        """Do a job; OSError where the child ended, or was ended, without an answer."""
        asked, answers = self._process.stdin, self._process.stdout
        if asked is None or answers is None:
            raise BrokenPipeError
        timer = threading.Timer(SECONDS, self._end_late)
        timer.daemon = True
        timer.start()
        try:
            _send(asked, json.dumps(job).encode() + b"\n")
            while True:
                kind, first, second = _FRAME.unpack(_received(answers, _FRAME.size))
                if kind != _READ:
                    answer = _received(answers, min(first, _LONGEST_ANSWER))
                    return kind, answer, _received(answers, min(second, MOST_MADE))
                try:
                    data = source.part(first, min(second, source.size))
                except Exception:  # noqa: BLE001 - a storage's; to a decoder it is as if the file ended there
                    _send(asked, _LENGTH.pack(-1))
                else:
                    _send(asked, _LENGTH.pack(len(data)), data)
        finally:
            timer.cancel()

    def _end_late(self) -> None:
        self.is_late = True
        self._process.kill()

    def close(self) -> None:
        """End the process; what it was doing is lost."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _send(pipe: IO[bytes], *parts: bytes) -> None:
    for part in parts:
        pipe.write(part)
    pipe.flush()


def _received(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise BrokenPipeError
    return data


class _State:
    """What all threads of this process share."""

    def __init__(self) -> None:
        self.budget = MemoryBudget(_SHARED)
        self.lock = threading.Lock()
        self.users = 0
        self.waiting: list[_Child] = []


_state = _State()


def _reset() -> None:
    global _state  # noqa: PLW0603 - in a forked child: locks may be held by threads that it has not
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)


# -- in the child -----------------------------------------------------------------------------------------------
class _ParentSource(Source):
    """Bytes that the parent reads."""

    def __init__(self, size: int, asked: IO[bytes], answers: IO[bytes]) -> None:
        self.size, self._asked, self._answers = size, asked, answers

    def part(self, start: int, end: int) -> bytes:
        """See `Source.part`; OSError where the parent can't read it."""
        _send(self._answers, _FRAME.pack(_READ, start, end))
        (length,) = _LENGTH.unpack(_received(self._asked, _LENGTH.size))
        if length < 0:
            raise OSError("can't be read")
        return _received(self._asked, length)


def serve() -> None:
    """Do the jobs that come on standard input until it ends."""
    # What a library prints must not stand between the answers.
    answers, asked = os.fdopen(os.dup(1), "wb"), sys.stdin.buffer
    os.dup2(2, 1)
    with suppress(ImportError, AttributeError):
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread's stack counts
    while line := asked.readline():
        job = json.loads(line)
        _limit_memory(job["memory"])
        made = b""
        try:
            found, made = _decoded(job, _ParentSource(job["size"], asked, answers))
            kind, answer = _PREVIEW, found.pack()
        except UnshowableError as error:
            # Many libraries do not say that it was memory which failed them: with more it may be shown.
            kind, answer = _REASON if error.__cause__ is None else _FAILED, str(error).encode()
        except MemoryError:
            kind, answer = _MEMORY, b""
        _send(answers, _FRAME.pack(kind, len(answer), len(made)), answer, made)


def _decoded(job: dict[str, Any], source: Source) -> tuple[Preview, bytes]:
    function = job["function"]
    data = source.part(0, source.size) if job.get("whole", True) else b""
    if job.get("kind") in _HEIF:
        with suppress(ImportError):
            import_module("pillow_heif").register_heif_opener(thumbnails=False)
    made, found = b"", Preview()
    if function == "thumbnail":
        found = pictures.thumbnail(data, job["side"])
    elif function == "converted":
        found, made = pictures.converted(data, job["side"])
    elif function == "page":
        found = _drawn(data, job["side"], job["number"])
    elif function == "table":
        with decoding("it can't be read as a table"):
            made = import_module("fsmedia.catalog.parquet").rows_of(
                RangedFile(source, inf), job["offset"], job["limit"]
            )
    elif function == "markdown":
        made = _rendered(data.decode()).encode()
    else:
        from fsmedia.display import films

        file: Any = io.BytesIO(data) if job["whole"] else RangedFile(source, job.get("blocks", inf))
        if function == "played":
            found, made = films.played(file, job["kind"], job["most"])
        elif function == "outline":
            found = films.outline(file, job["kind"])
        else:
            found = films.poster(file, job["kind"], job["side"])
    return found, made


def _rendered(text: str) -> str:
    """Return Markdown as HTML: no element or picture of the text's own, and links as text that tells where it leads."""
    from markdown_it import MarkdownIt

    def opened(renderer: Any, tokens: Any, index: int, options: Any, _env: Any) -> str:
        token = tokens[index]
        token.tag, token.attrs = "span", {"title": visible(str(token.attrGet("href") or ""), most=500)}
        return str(renderer.renderToken(tokens, index, options, _env))

    def closed(*_: Any) -> str:
        return "</span>"

    made = (
        MarkdownIt("commonmark", {"html": False, "langPrefix": ""}).enable(["table", "strikethrough"]).disable("image")
    )
    made.add_render_rule("link_open", opened)
    made.add_render_rule("link_close", closed)
    with decoding("it can't be rendered"):
        return str(made.render(text))


def _drawn(data: bytes, side: int, number: int) -> Preview:
    """Return a page of a PDF as a picture."""
    import pypdfium2

    with decoding(f"its {'first page' if not number else f'page {number + 1}'} can't be drawn"):
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if error.err_code == _NO_PASSWORD:
                raise UnshowableError("it is encrypted: open it with its password elsewhere") from None
            raise
        found = document[number]
        longest = max(found.get_size())
        if not 0 < longest <= _LONGEST_PAGE:
            raise ValueError
        drawn = found.render(scale=side / longest).to_pil().convert("RGB")
        return Preview(kind="picture", image=pictures.packed(drawn), pages=len(document))


def _limit_memory(size: int) -> None:
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (size, _SHARED))
