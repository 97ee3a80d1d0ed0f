"""Making previews: of one media, by what its first bytes are; of many, from the local cache or by threads.

Whatever the bytes are, there is a preview, which may say only why nothing is seen. How much is read, decoded and
waited for is bounded here and in the modules that decode.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.display.cache import PreviewCache, default_folder, place_of
from fsmedia.display.documents import first_page
from fsmedia.display.previews import MOST_SOUND, Preview, RangedFile, StoredSource, UnshowableError, decoding
from fsmedia.display.text import size_text, visible_lines
from fsmedia.errors import MediaError
from fsmedia.format import keys
from fsmedia.models import mime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from fsmedia.display.previews import Source
    from fsmedia.storage import Backend, Entry

    Progress = bool | Callable[[int], object]

MOST_WHOLE = 20 * 2**20
"""Bytes up to which an original is read whole."""
INSTALL = "pip install 'fsmedia[notebook]'"
LARGEST_SIDE = 960
"""Longest side of the small picture that the cache keeps of an original; smaller ones are made of that."""
PLAYED = {
    "audio/wav": "audio/wav", "audio/mpeg": "audio/mpeg", "audio/ogg": "audio/ogg", "audio/opus": "audio/ogg",
    "audio/flac": "audio/flac", "audio/mp4": "audio/mp4", "audio/x-m4a": "audio/mp4", "audio/webm": "audio/webm",
    "audio/aac": "audio/aac",
    "video/mp4": "video/mp4", "video/webm": "video/webm", "video/ogg": "video/ogg", "video/quicktime": "video/mp4",
    "video/x-m4v": "video/mp4",
}  # fmt: skip
"""What browsers play, by what the bytes are: the type to give them."""

_OPEN: AbstractContextManager[Any] = nullcontext()
_HEAD = 8192
_LINES_READ = 4096
_LINES, _COLUMNS = 16, 160
_EMBEDDED = 2**20
_PDF = "application/pdf"
_FILM_BLOCKS = 8
_TEXTS = {
    "application/json", "application/ld+json", "application/xml", "application/x-yaml", "application/yaml",
    "application/toml", "application/javascript", "application/x-ndjson", "application/jsonl", "application/sql",
    "image/svg+xml", "application/xhtml+xml", "application/x-sh", "application/csv", "application/x-ipynb+json",
}  # fmt: skip
_SIDES = ((16, LARGEST_SIDE), (64, 512), (250, 256))
_SMALLEST = 160
_AT_ONCE = 16
_DECODED_AT_ONCE = min(4, os.cpu_count() or 1)  # each may take some 300 MB
_PATIENCE = 0.5  # seconds before a bar is shown
_CACHED = "1"  # to be raised when previews are made in another way: the old ones are not found any more


class PreviewRequest(NamedTuple):
    """A media whose preview is asked for: where its bytes lie, and what they are said to be."""

    entry: Entry
    mime_type: str


class Previewer:
    """Makes previews of a store's media.

    Parameters
    ----------
    backend
        The root.
    side
        Longest side of a small picture, in pixels.
    cache
        Where previews are kept; None is the user's cache folder. What lies in this process only is not kept.
    """

    def __init__(self, backend: Backend, side: int, cache: PreviewCache | None = None) -> None:
        self._backend = backend
        self._side = side
        self._cache = cache or PreviewCache(None if backend.in_one_process else default_folder())
        self._gate = threading.BoundedSemaphore(_DECODED_AT_ONCE)
        self._made = 0

    def of(self, requests: Sequence[PreviewRequest], progress: Progress) -> list[Preview]:
        """Return previews in the order of the requests; what fails for one stands in its place.

        Parameters
        ----------
        progress
            True shows a bar where somebody looks; a function gets the number of those that are ready.
        """
        found: list[Preview] = [Preview()] * len(requests)
        threads = _AT_ONCE if self._backend.concurrency > 1 else min(_AT_ONCE, os.cpu_count() or 1)
        executor = ThreadPoolExecutor(threads, thread_name_prefix="fsmedia-previews")
        try:
            futures = {executor.submit(self._one, each): index for index, each in enumerate(requests)}
            with _progress(progress, len(requests)) as advance:
                for count, future in enumerate(as_completed(futures), 1):
                    found[futures[future]] = future.result()
                    advance(count)
        finally:
            executor.shutdown(cancel_futures=True)
        if self._made:
            self._cache.trim()
        return found

    def _one(self, request: PreviewRequest) -> Preview:
        preview = self._cache.get(self._parts(request, self._side))
        if preview is not None:
            return preview
        whole = self._cache.get(self._parts(request, LARGEST_SIDE))
        if whole is None:
            try:
                whole = self._make(request)
            except MediaError as error:
                return Preview(reason=error.problem)  # not kept: the storage may answer the next time
        if self._side >= LARGEST_SIDE:
            return whole
        preview = _reduced(whole, self._side)
        if preview is not whole:
            self._cache.put(self._parts(request, self._side), preview)
        return preview

    def _make(self, request: PreviewRequest) -> Preview:
        entry = request.entry
        source = StoredSource(self._backend, keys.bytes_key(entry.key), entry.size)
        made = preview_of(source, request.mime_type, LARGEST_SIDE, self._gate)
        self._made += 1
        # What may be otherwise the next time is not kept.
        if "pip install" not in made.reason and "gone" not in made.reason and "memory" not in made.reason:
            self._cache.put(self._parts(request, LARGEST_SIDE), made)
        return made

    def _parts(self, request: PreviewRequest, side: int) -> tuple[object, ...]:
        """Return what a preview depends on, as the key of the cache.

        What a sidecar says of the bytes is no part of it: it may be a lie about other bytes.
        """
        entry = request.entry
        place = place_of(self._backend.url, keys.bytes_key(entry.key))
        modified = None if keys.pointer_of(entry.key) is not None else entry.modified
        return (place, _CACHED, entry.size, entry.token, modified, request.mime_type, side)


def preview_of(source: Source, mime_type: str, side: int, gate: AbstractContextManager[Any] = _OPEN) -> Preview:
    """Return what is shown of a media; never raises for what its bytes are.

    Parameters
    ----------
    mime_type
        What it is said to be; its first bytes are believed more.
    side
        Longest side of a small picture, in pixels.
    gate
        Entered while a picture or sound is decoded, which takes memory.

    Raises
    ------
    MediaError
        The storage failed.
    """
    if source.size == 0:
        return Preview(reason="it is empty")
    try:
        return _preview_by_type(source, mime.essence(mime_type), side, gate)
    except FileNotFoundError as error:
        if isinstance(error, MediaError):
            raise
        return Preview(reason="its bytes are gone: somebody deleted it")
    except MemoryError:
        return Preview(reason="there is not enough memory")


def family_of(mime_type: str) -> str:
    """Return "image", "audio", "video", "text" or "file": how a media of that type is shown and filtered."""
    kind = mime.essence(mime_type)
    if kind in _TEXTS or kind.startswith("text/") or kind.endswith(("+json", "+xml", "+yaml")):
        return "text"
    first = kind.partition("/")[0]
    return first if first in ("image", "audio", "video") else "file"


def side_for(count: int) -> int:
    """Return how large pictures are among so many, so that a page stays light."""
    return next((side for most, side in _SIDES if count <= most), _SMALLEST)


def _preview_by_type(source: Source, kind: str, side: int, gate: AbstractContextManager[Any]) -> Preview:
    family = family_of(kind)
    if family == "text":
        return _text(source.part(0, _LINES_READ + 1))
    if kind == _PDF:
        return _page(source, side, gate)
    if family == "file":
        return Preview(reason=f"{kind or 'an unknown type'} is not looked into")
    return _preview_by_bytes(source, family, side, gate)


def _preview_by_bytes(source: Source, family: str, side: int, gate: AbstractContextManager[Any]) -> Preview:
    large = source.size > MOST_WHOLE
    if large and family == "audio":
        return Preview(kind="sound", reason=f"{size_text(source.size)} are not read for an outline")
    # A large picture may hold a small one near its start; a large film is read block by block.
    data = source.part(0, _EMBEDDED) if large else source.whole(MOST_WHOLE)
    found = mime.detect(data[:_HEAD]) or ""
    seen = family_of(found) if found else family
    with gate:
        if seen == "text":
            made = _text(data[: _LINES_READ + 1])
        elif seen == "image":
            made = _picture(data, side, large=large)
        elif seen == "audio" and not large:
            made = _sound(data, found)
        elif seen == "video":
            made = _film(RangedFile(source, _FILM_BLOCKS) if large else io.BytesIO(data), found, side)
        else:
            made = Preview(reason=f"the bytes are {found}" if found else "the bytes are of no kind that is shown")
    return made


def _page(source: Source, side: int, gate: AbstractContextManager[Any]) -> Preview:
    """Return the first page of a PDF."""
    if source.size > MOST_WHOLE:
        return Preview(reason=f"{size_text(source.size)} are not read for a page")
    if find_spec("pypdfium2") is None or find_spec("PIL") is None:
        return Preview(reason=f"to see its first page: {INSTALL}")
    data = source.whole(MOST_WHOLE)
    if mime.detect(data[:_HEAD]) != _PDF:
        return Preview(reason="the bytes are no PDF")
    with gate:
        found = first_page(data, side)
    if isinstance(found, str):
        return Preview(reason=found)
    return Preview(kind="picture", image=found[0], pages=found[1])


def _text(data: bytes) -> Preview:
    """Return the first lines, as text and nothing else, whatever language they are written in."""
    cut = len(data) > _LINES_READ
    data = data[:_LINES_READ]
    if not mime.is_text(data):
        return Preview(reason="the bytes are no text")
    text = data.decode("utf-8-sig", errors="ignore" if cut else "replace")
    lines = text.splitlines()
    shown = "\n".join(line[:_COLUMNS] for line in lines[:_LINES])
    more = "\n..." if cut or len(lines) > _LINES else ""
    return Preview(kind="text", text=visible_lines(shown) + more)


def _picture(data: bytes, side: int, *, large: bool) -> Preview:
    pictures = _optional_module("pictures")
    if pictures is None:
        return Preview(reason=f"to see it: {INSTALL}")
    try:
        small = pictures.embedded(data, side) if large else pictures.thumbnail(data, side)
    except UnshowableError as error:
        return Preview(reason=str(error))
    return Preview(kind="picture", image=small.image, width=small.width, height=small.height)


def _sound(data: bytes, kind: str) -> Preview:
    playable = kind in PLAYED and len(data) <= MOST_SOUND
    made = Preview(kind="sound", sound=data, sound_type=PLAYED[kind]) if playable else Preview(kind="sound")
    films = _optional_module("films")
    if films is None:
        return replace(made, reason="" if playable else f"to see its outline: {INSTALL}")
    try:
        found = films.outline(io.BytesIO(data), kind)
    except UnshowableError as error:
        return replace(made, duration=_tagged_duration(data), reason=str(error))
    return replace(made, peaks=found.peaks, duration=found.duration)


def _tagged_duration(data: bytes) -> float | None:
    """Return the length that the tags of a sound tell, where decoding it failed; None also without tinytag."""
    try:
        with decoding("its tags can't be read"):
            tags = import_module("tinytag").TinyTag.get(file_obj=io.BytesIO(data))
    except UnshowableError:
        return None
    return float(tags.duration) if tags.duration else None


def _film(file: Any, kind: str, side: int) -> Preview:
    films = _optional_module("films")
    if films is None:
        return Preview(kind="film", reason=f"to see a picture of it: {INSTALL}")
    try:
        found = films.poster(file, kind, side)
    except UnshowableError as error:
        return Preview(kind="film", reason=str(error))
    if not found.image:
        return Preview(kind="sound", peaks=found.peaks, duration=found.duration)
    return Preview(kind="film", image=found.image, width=found.width, height=found.height, duration=found.duration)


def _optional_module(name: str) -> Any | None:
    """Return a module that decodes; None where its library is not installed."""
    try:
        return import_module(f"fsmedia.display.{name}")
    except ImportError:
        return None


def _reduced(preview: Preview, side: int) -> Preview:
    """Return a preview with a smaller picture; itself where it has none."""
    if not preview.image:
        return preview
    pictures = import_module("fsmedia.display.pictures")
    try:
        with decoding("its small picture can't be read"):
            return replace(preview, image=pictures.reduced(preview.image, side))
    except UnshowableError as error:  # a spoiled cache must not spoil the page
        return preview.lighter(str(error))


@contextmanager
def _progress(progress: Progress, total: int) -> Iterator[Callable[[int], object]]:
    """Give a function that is called with the number of previews that are ready."""
    if callable(progress):
        yield progress
        return
    if not progress:
        yield bool
        return
    bar = _ProgressBar(total)
    try:
        yield bar.reach
    finally:
        bar.close()


class _ProgressBar:
    """A progress bar for whoever waits longer than half a second: in a notebook, or on a terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._begun = self._last = time.monotonic()
        self._shown: Any = None

    def reach(self, count: int) -> None:
        """Show how many are ready, a few times a second."""
        now = time.monotonic()
        if now - self._begun < _PATIENCE or now - self._last < _PATIENCE / 4:
            return
        self._last = now
        if (show := _notebook()) is not None:
            html = f"<progress max='{self._total}' value='{count}'></progress> {count} of {self._total} previews"
            if self._shown is None:
                self._shown = show({"text/html": html, "text/plain": ""}, raw=True, display_id=True)
            else:
                self._shown.update({"text/html": html, "text/plain": ""}, raw=True)
        elif sys.stderr is not None and sys.stderr.isatty():
            self._shown = "terminal"
            sys.stderr.write(f"\r{count} of {self._total} previews")
            sys.stderr.flush()

    def close(self) -> None:
        """Leave nothing behind."""
        if self._shown == "terminal":
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        elif self._shown is not None:
            self._shown.update({"text/html": "", "text/plain": ""}, raw=True)


def _notebook() -> Any | None:
    """Return IPython's display where a notebook's kernel runs this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return import_module("IPython.display").display
