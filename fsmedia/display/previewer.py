"""Making previews: of one media, by what its first bytes are; of many, from the local cache or by threads.

Whatever the bytes are, there is a preview, which may say only why nothing is seen. How much is read, decoded and
waited for is bounded here and in the modules that decode.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter

from fsmedia.core.records import ReadCheck, StoredFacts
from fsmedia.errors import INSTALL, CorruptMediaError, MediaError
from fsmedia.format import keys
from fsmedia.format.measures import measure
from fsmedia.models import mime
from fsmedia.models.text import size_text, visible_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fsmedia.storage import Backend, Entry

    Progress = bool | Callable[[int], object]

Kind = Literal["picture", "sound", "film", "text", "none"]
MOST_SOUND = 256 * 1024  # bytes of a sound that may stand in a page
PEAKS = 96  # columns of the outline of a sound
_SVG = "image/svg+xml"
_MAGIC = b"fsmedia preview 2\n"
_MOST_PICTURE = 4 * 2**20
_MOST_TEXT = 8192
_PICTURES = {b"RIFF": "image/webp", b"\x89PNG": "image/png", b"<svg": _SVG}
_DIGEST = 32
_BLOCK, _BLOCKS_KEPT = 2**20, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What is shown of one media.

    A small picture as WebP or PNG of this package's own making, or SVG that it wrote anew, whether something shows
    through it, and the original's size in pixels; seconds; the outline of a sound, `PEAKS` numbers from 0 to 100; the
    bytes of a short sound as they are, and their type, of a fixed list; the first lines of a document, its pages; and
    why there is no more to see.
    """

    # For `unpack`: what lies in a cache may be anybody's.
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", val_json_bytes="base64")

    kind: Kind = "none"
    image: Annotated[bytes, Field(max_length=_MOST_PICTURE)] = b""
    width: int | None = None
    height: int | None = None
    duration: float | None = None
    peaks: Annotated[tuple[Annotated[int, Field(ge=0, le=100)], ...], Field(max_length=PEAKS)] = ()
    sound: Annotated[bytes, Field(max_length=MOST_SOUND)] = b""
    sound_type: str = ""
    text: Annotated[str, Field(max_length=_MOST_TEXT)] = ""
    pages: int | None = None
    alpha: bool = False
    reason: str = ""
    dhash: Annotated[int, Field(ge=0, lt=2**64)] | None = None  # of what `Previewer.hashes` keeps, which has no more

    @property
    def image_type(self) -> str:
        """The type of the small picture, by its first bytes; empty where they are none of ours."""
        return _PICTURES.get(self.image[:4], "")

    @property
    def weight(self) -> int:
        """Bytes it adds to a page, about: base64 makes four of three."""
        return (len(self.image) + len(self.sound)) * 4 // 3 + len(self.text) + 8 * len(self.peaks)

    def lighter(self, reason: str) -> Preview:
        """Return it without its bytes, and why."""
        return replace(self, image=b"", sound=b"", reason=reason)

    def pack(self) -> bytes:
        """Return it as bytes for a cache."""
        body = json.dumps(asdict(self), default=lambda data: base64.b64encode(data).decode()).encode()
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def unpack(cls, data: bytes) -> Preview | None:
        """Read what `pack` made; None for anything else, however it came to be."""
        body = data[len(_MAGIC) + _DIGEST :]
        if data[: -len(body)] != _MAGIC + hashlib.sha256(body).digest():
            return None
        try:
            found = _PACKED.validate_json(body)
        except ValueError:
            return None
        known = not found.image or (found.image_type and (found.image_type != _SVG or _is_redrawn(found.image)))
        return found if known else None


_PACKED = TypeAdapter(Preview)


def _is_redrawn(image: bytes) -> bool:
    """Return whether an SVG is what this package writes, which writes the same of it again."""
    pictures = _optional_module("pictures")
    try:
        return pictures is not None and pictures.drawing(image).image == image
    except UnshowableError:
        return False


class UnshowableError(Exception):
    """There is nothing to show; the text is the reason, for the person who looks."""


@contextmanager
def decoding(reason: str) -> Iterator[None]:
    """Turn what a decoder raises on a stranger's bytes, which may be anything, into `UnshowableError`.

    The decoder's own words are not shown: they may quote the bytes.
    """
    try:
        yield
    except (UnshowableError, MemoryError):
        raise
    except Exception as error:
        raise UnshowableError(reason) from error


class Source(ABC):
    """Bytes of one media."""

    size: int

    @abstractmethod
    def part(self, start: int, end: int) -> bytes:
        """Read from start to before end, less where it ends before; `FileNotFoundError` where it is gone."""

    def whole(self, most: int) -> bytes:
        """Read all, or if it is more than that the first `most + 1` bytes."""
        return self.part(0, most + 1)


class StoredSource(Source):
    """A media in a storage; one request for each read. What is read whole is compared with the facts, if given."""

    def __init__(self, backend: Backend, reference: str, size: int, facts: StoredFacts | None) -> None:
        self._backend, self._key, self.size = backend, keys.bytes_key(reference), size
        self._check = None if facts is None else ReadCheck(backend, reference, facts)

    def part(self, start: int, end: int) -> bytes:
        """See `Source.part`."""
        data = self._there(self._backend.read_range(self._key, start, end))
        wanted = max(0, min(end, self.size) - start)
        if self._check is not None and len(data) < wanted:
            raise CorruptMediaError(
                f"{len(data)} bytes came for a range of {wanted}", next_step="verify the store", key=self._key
            )
        return data

    def whole(self, most: int) -> bytes:
        """See `Source.whole`."""
        if self.size > most:
            return self.part(0, most + 1)
        data = self._there(self._backend.read_range(self._key, None, None))
        return (data if self._check is None else self._check.check(data))[: most + 1]

    def _there(self, data: bytes | None) -> bytes:
        if data is None:
            raise FileNotFoundError(self._key)
        return data


class OpenedSource(Source):
    """A file object that can seek."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)

    @classmethod
    def of(cls, data: bytes) -> OpenedSource:
        """Return a source of bytes in memory."""
        return cls(io.BytesIO(data))

    def part(self, start: int, end: int) -> bytes:
        """See `Source.part`."""
        self._file.seek(start)
        return self._file.read(end - start)


class RangedFile:
    """A large media as what PyAV reads: blocks of 1 MiB, of which a few are kept, and OSError after so many."""

    def __init__(self, source: Source, most_blocks: float) -> None:
        self._source = source
        self._blocks: dict[int, bytes] = {}
        self._left = most_blocks
        self._position = 0

    def read(self, size: int) -> bytes:
        """Read on, within one block at a time."""
        if self._position >= self._source.size:
            return b""
        number, inside = divmod(self._position, _BLOCK)
        if number not in self._blocks:
            self._left -= 1
            if self._left < 0:
                raise OSError("more of the file would have to be read than a preview is worth")
            if len(self._blocks) >= _BLOCKS_KEPT:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = self._source.part(number * _BLOCK, min((number + 1) * _BLOCK, self._source.size))
        data = self._blocks[number][inside : inside + size]
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._source.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Tell where it stands."""
        return self._position


MOST_BYTES = 256 * 2**20  # bytes that the cache may take; trimmed to nine tenths
_OWN = re.compile(r"[0-9a-f]{2}/(?:[0-9a-f]{62}-[0-9a-f]{64}|\.tmp-.+)")
_LARGEST = 8 * 2**20


def default_folder() -> Path | None:
    """Return where the cache lies; None where it is switched off or there is no home."""
    said = os.environ.get("FSMEDIA_CACHE", "").strip()
    if said.lower() in ("off", "0", "none"):
        return None
    if said:
        return Path(said).expanduser() / "previews"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        named = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(named) if named.startswith("/") else home / ".cache"
    return base / "fsmedia" / "previews"


class PreviewCache:
    """Previews by what they were made of, in a folder (None keeps none); the first part says of whose bytes."""

    def __init__(self, folder: Path | None, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder if folder is not None and _is_ours(folder) else None
        self._most = most_bytes

    def get(self, parts: Sequence[object]) -> Preview | None:
        """Return a preview; None if there is none that can be trusted."""
        path = self._path(parts)
        if path is None:
            return None
        try:
            with path.open("rb") as file:
                found = Preview.unpack(file.read(_LARGEST))
            if found is not None:
                os.utime(path)
        except OSError:
            return None
        return found

    def put(self, parts: Sequence[object], preview: Preview) -> None:
        """Keep a preview, if the disk lets it; readers see all of it or nothing."""
        path = self._path(parts)
        if path is None:
            return
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", delete=False) as file:
                # Renamed when it is whole: other processes look at the same folder.
                try:
                    file.write(preview.pack())
                    file.close()
                    Path(file.name).replace(path)
                finally:
                    Path(file.name).unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove what was not looked at for longest, down to the limit."""
        if self._folder is None:
            return
        found = []
        for path in self._folder.glob("*/*"):
            # The folder may have been named by mistake: what others put there is theirs.
            if _OWN.fullmatch(f"{path.parent.name}/{path.name}"):
                with suppress(OSError):
                    state = path.stat()
                    found.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in found)
        room = self._most if total <= self._most else self._most * 9 // 10
        for _, size, path in sorted(found):
            if total <= room:
                break
            with suppress(OSError):
                path.unlink()
                total -= size

    def forget(self, whose: Iterable[object]) -> int:
        """Remove all previews whose first part is one of these; return how many there were."""
        if self._folder is None:
            return 0
        count = 0
        for each in whose:
            name = _digest([each])
            for path in (self._folder / name[:2]).glob(f"{name[2:]}-*"):
                with suppress(OSError):
                    path.unlink()
                    count += 1
        return count

    def _path(self, parts: Sequence[object]) -> Path | None:
        name = _digest(parts[:1])
        return None if self._folder is None else self._folder / name[:2] / f"{name[2:]}-{_digest(parts[1:])}"


def place_of(url: str, key: str) -> str:
    """Return the first part of all previews of the bytes at a key of a store."""
    return f"{url}\0{key}"


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogatepass")).hexdigest()


def _is_ours(folder: Path) -> bool:
    """Make the folder if need be; False where it can't be made, or is another user's to fill."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        if not hasattr(os, "getuid"):
            return True
        if state.st_uid == os.getuid() and state.st_mode & 0o077:
            folder.chmod(0o700)
        return state.st_uid == os.getuid()
    except OSError:
        return False


MOST_WHOLE = 20 * 2**20  # bytes up to which an original is read whole
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
HEAD = 8192  # bytes from which is told what a media is
_LINES_READ = 4096
_LINES, _COLUMNS = 16, 160
_EMBEDDED = 2**20
_PDF = "application/pdf"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_KANA = re.compile("[\u3041-\u30fe]")
_TEXTS = {
    "application/json", "application/ld+json", "application/xml", "application/x-yaml", "application/yaml",
    "application/toml", "application/javascript", "application/x-ndjson", "application/jsonl", "application/sql",
    "image/svg+xml", "application/xhtml+xml", "application/x-sh", "application/csv", "application/x-ipynb+json",
}  # fmt: skip
_SIDES = ((16, LARGEST_SIDE), (64, 512), (250, 256), (500, 160), (1000, 88))
_SMALLEST = 64  # a photograph is about 700 bytes: 1,500 of them fit into a page of 2 MiB
_MOST_DRAWING = 16 * 1024  # bytes of an SVG that is its own preview, written anew
_MOST_READ_DRAWING = 256 * 1024
_AT_ONCE = 16
_PATIENCE = 0.5  # seconds before a bar is shown
_bar: tuple[object, Any] | None = None  # the cell and the output of the last bar in a notebook, which is empty now
_HASHED = "dhash 1"  # to be raised when hashes are made in another way
_HASHED_SIDE = 256  # of the pictures that are hashed, and of those of the page's grid: the cache has them already
_LIKE = 500  # hashes of equal parts that one is compared with, at most
_CACHED = "2"  # to be raised when previews are made in another way: the old ones are not found any more


class MemoryBudget:
    """A semaphore of bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._begin()
        if hasattr(os, "register_at_fork"):  # in a forked child: locks may be held by threads that it has not
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._left, self._changed = self._size, threading.Condition()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        """Wait until so many bytes are free, and hold them for the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= size)
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()


_read = MemoryBudget(64 * 2**20)  # bytes of originals that are in memory at once, to be decoded


class PreviewRequest(NamedTuple):
    """A media whose preview is asked for: its bytes, what they are said to be, and what they are compared with.

    `digest` is the SHA-256 in hexadecimal that is known of the bytes, under which a hash of their picture is kept.
    """

    entry: Entry
    mime_type: str
    facts: StoredFacts | None = None
    digest: str | None = None


class Previewer:
    """Makes previews of a store's media, of at most so many pixels, and keeps them in the user's cache folder.

    What lies in this process only is not kept. Of an original a picture of `largest` is made, and kept to make all
    smaller ones of.
    """

    def __init__(
        self, backend: Backend, side: int, cache: PreviewCache | None = None, *, largest: int = LARGEST_SIDE
    ) -> None:
        self._backend = backend
        self._side, self._largest = side, largest
        self._cache = cache or PreviewCache(None if backend.in_one_process else default_folder())
        self.made = 0

    def of(self, requests: Sequence[PreviewRequest], progress: Progress) -> list[Preview]:
        """Return previews in the order of the requests; what fails for one stands in its place.

        `progress` True shows a bar where somebody looks; a function gets the number of those that are ready.
        """
        found: list[Preview] = [Preview()] * len(requests)
        threads = _AT_ONCE if self._backend.concurrency > 1 else min(_AT_ONCE, os.cpu_count() or 1)
        executor = ThreadPoolExecutor(threads, thread_name_prefix="fsmedia-previews")
        decoders = _optional_module("decoders")
        with nullcontext() if decoders is None else decoders.children():
            try:
                futures = {executor.submit(self.one, each): index for index, each in enumerate(requests)}
                with progress_bar(progress, len(requests)) as advance:
                    for count, future in enumerate(as_completed(futures), 1):
                        found[futures[future]] = future.result()
                        advance(count)
            finally:
                executor.shutdown(cancel_futures=True)
        if self.made:
            self._cache.trim()
        return found

    def hashes(self, requests: Sequence[PreviewRequest]) -> list[int | None]:
        """Return the dHash of each media's picture; None where it has none, or one of a single grey.

        It is kept beside the preview. Only of what has none yet a preview is looked at, or made.
        """
        found = [self._cache.get(self._hash_parts(each)) for each in requests]
        wanted = [index for index, kept in enumerate(found) if kept is None and _has_picture(requests[index].mime_type)]
        for index, preview in zip(wanted, self.of([requests[each] for each in wanted], progress=False), strict=True):
            if (dhash := _dhash_of(preview)) is not None:
                found[index] = Preview(dhash=dhash)
                self._cache.put(self._hash_parts(requests[index]), Preview(dhash=dhash))
        # No grey grows brighter in a picture of one colour: that makes it like no other.
        return [kept.dhash or None if kept is not None else None for kept in found]

    def _hash_parts(self, request: PreviewRequest) -> tuple[object, ...]:
        # With the place first: an erasure forgets it, and a sidecar that lies about a digest spoils its own hash only.
        place, *others = self.key(request, self._side)
        return (place, _HASHED, *([request.digest] if request.digest else others))

    def one(self, request: PreviewRequest) -> Preview:
        """Return one preview; why there is none, where the storage failed."""
        if (kept := self._cache.get(self.key(request, self._side))) is not None:
            return kept
        whole = self._cache.get(self.key(request, LARGEST_SIDE))
        if whole is None:
            try:
                whole = self._make(request)
            except MediaError as error:
                return Preview(reason=error.problem)  # not kept: the storage may answer the next time
            if self._side >= self._largest:
                return whole
        preview = reduced_preview(whole, self._side)
        if preview is not whole:
            self._cache.put(self.key(request, self._side), preview)
        return preview

    def _make(self, request: PreviewRequest) -> Preview:
        entry = request.entry
        source = StoredSource(self._backend, entry.key, entry.size, request.facts)
        with _read.take(entry.size if entry.size <= MOST_WHOLE else 0):
            made = preview_of(source, request.mime_type, self._largest)
        self.made += 1
        # What may be otherwise the next time is not kept.
        if not any(word in made.reason for word in ("pip install", "gone", "memory", "process")):
            self._cache.put(self.key(request, self._largest), made)
        return made

    def key(self, request: PreviewRequest, side: int) -> tuple[object, ...]:
        """Return what a preview depends on, as the key of the cache.

        What a sidecar says of the bytes is no part of it: it may be a lie about other bytes.
        """
        entry = request.entry
        place = place_of(self._backend.url, keys.bytes_key(entry.key))
        modified = None if keys.pointer_of(entry.key) is not None else entry.modified
        return (place, _CACHED, entry.size, entry.token, modified, request.mime_type, side)


def preview_of(source: Source, mime_type: str, side: int) -> Preview:
    """Return what is shown of a media; raises only for a storage that failed, never for what its bytes are.

    Its first bytes are believed more than `mime_type`.
    """
    kind, family = mime.essence(mime_type), family_of(mime_type)
    try:
        if source.size == 0:
            made = Preview(reason="it is empty")
        elif kind == _SVG:
            made = _drawing(source.whole(_MOST_READ_DRAWING))
        elif family == "text":
            made = _text(source.part(0, _LINES_READ + 1), kind)
        elif kind == _PDF:
            made = _page(source, side)
        elif family == "file":
            made = Preview(reason=f"{kind or 'an unknown type'} is not looked into")
        else:
            made = _preview_by_bytes(source, family, side)
    except FileNotFoundError as error:
        if isinstance(error, MediaError):
            raise
        return Preview(reason="its bytes are gone: somebody deleted it")
    except MemoryError:
        return Preview(reason="there is not enough memory")
    return made


def family_of(mime_type: str) -> str:
    """Return "image", "audio", "video", "text" or "file": how a media of that type is shown and filtered."""
    kind = mime.essence(mime_type)
    if kind in _TEXTS or kind.startswith("text/") or kind.endswith(("+json", "+xml", "+yaml")):
        return "text"
    first = kind.partition("/")[0]
    return first if first in ("image", "audio", "video") else "file"


def _has_picture(mime_type: str) -> bool:
    return family_of(mime_type) in ("image", "video") or mime.essence(mime_type) == _PDF


def _dhash_of(preview: Preview) -> int | None:
    if not preview.image or preview.image_type == _SVG:
        return None
    try:
        with decoding("its small picture can't be read"):  # a spoiled cache must not spoil the page
            found: int = import_module("fsmedia.display.pictures").difference_hash(preview.image)
    except UnshowableError:
        return None
    return found


def picture_hashes(backend: Backend, requests: Sequence[PreviewRequest]) -> list[int | None]:
    """Return the 64-bit dHash of each media's picture, poster or first page; None where there is none to compare."""
    return Previewer(backend, _HASHED_SIDE, largest=_HASHED_SIDE).hashes(requests)


def near_groups(hashes: Sequence[int | None], distance: int) -> list[list[int]]:
    """Return the numbers of hashes that differ in at most `distance` bits, in groups of two and more, largest first.

    Each is that near to another one of its group. Hashes that differ in few bits have one of `distance + 1` parts in
    common: only such are compared, and each with a bounded number.
    """
    numbers: dict[int, list[int]] = {}
    for number, dhash in enumerate(hashes):
        if dhash is not None:
            numbers.setdefault(dhash, []).append(number)
    leaders = {dhash: dhash for dhash in numbers}

    def leader(dhash: int) -> int:
        while leaders[dhash] != dhash:
            leaders[dhash] = dhash = leaders[leaders[dhash]]
        return dhash

    bounds = [64 * part // (distance + 1) for part in range(distance + 2)]
    for start, end in pairwise(bounds):
        alike: dict[int, list[int]] = {}
        for dhash in numbers:
            part = alike.setdefault((dhash >> start) & ((1 << (end - start)) - 1), [])
            for other in part[-_LIKE:]:
                if (dhash ^ other).bit_count() <= distance:
                    leaders[leader(dhash)] = leader(other)
            part.append(dhash)
    groups: dict[int, list[int]] = {}
    for dhash, found in numbers.items():
        groups.setdefault(leader(dhash), []).extend(found)
    return sorted((sorted(each) for each in groups.values() if len(each) > 1), key=lambda each: (-len(each), each[0]))


def side_for(count: int) -> int:
    """Return how large pictures are among so many, so that a page stays light."""
    return next((side for most, side in _SIDES if count <= most), _SMALLEST)


def _preview_by_bytes(source: Source, family: str, side: int) -> Preview:
    large = source.size > MOST_WHOLE
    if large and family == "audio":
        return Preview(kind="sound", reason=f"{size_text(source.size)} are not read for an outline")
    # A large picture may hold a small one near its start; a large film is read block by block.
    data = source.part(0, _EMBEDDED) if large else source.whole(MOST_WHOLE)
    found = kind_of(data) or ""
    seen = family_of(found) if found else family
    if found == _SVG:
        made = _drawing(data)
    elif seen == "text":
        made = _text(data[: _LINES_READ + 1], found)
    elif seen == "image":
        made = _decoded("pictures", "embedded" if large else "picture", Preview(), "it", data, side)
    elif seen == "audio" and not large:
        made = _sound(data, found)
    elif seen == "video":
        read = source if large else OpenedSource.of(data)
        made = _decoded("films", "poster", Preview(kind="film"), "a picture of it", read, found, side, whole=not large)
    else:
        made = Preview(reason=f"the bytes are {found}" if found else "the bytes are of no kind that is shown")
    return made


def _page(source: Source, side: int) -> Preview:
    if source.size > MOST_WHOLE:
        return Preview(reason=f"{size_text(source.size)} are not read for a page")
    if find_spec("pypdfium2") is None or find_spec("PIL") is None:
        return Preview(reason=f"to see its first page: {INSTALL['notebook']}")
    data = source.whole(MOST_WHOLE)
    if mime.detect(data[:HEAD]) != _PDF:
        return Preview(reason="the bytes are no PDF")
    return _decoded("pictures", "page", Preview(), "it", data, side)


def kind_of(data: bytes) -> str | None:
    """Return the MIME type that the first bytes show, as `mime.detect`; also of MPEG-TS, whose mark is one letter."""
    return mime.detect(data[:HEAD]) or ("video/mp2t" if data[:565:188] == b"GGGG" else None)


def text_of(data: bytes, *, cut: bool = False) -> str | None:
    """Return bytes as text: UTF-8, UTF-16 with its mark, else what is surely Shift-JIS or Latin-1; None for no text.

    `cut`: more bytes follow, and the last character may not be whole.
    """
    if data[:2] in _UTF16:
        with suppress(UnicodeDecodeError):
            text = data[: len(data) & ~1].decode("utf-16", errors="ignore" if cut else "strict")
            return None if _CONTROLS.search(text[:HEAD].encode()) else text
    if not data or _CONTROLS.search(data[:HEAD]):
        return None
    for encoding in ("utf-8-sig", "cp932", "cp1252"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            if not cut or error.start < len(data) - 4 or not error.start:
                continue
            text = data[: error.start].decode(encoding, errors="ignore")
        # Kana are two bytes of which no other language makes sense; European text is mostly ASCII.
        strange = len(text) - len(text.encode("ascii", errors="ignore"))
        if encoding == "utf-8-sig" or (_KANA.search(text) if encoding == "cp932" else 2 * strange <= len(text)):
            return text
    return data.decode("utf-8-sig", errors="replace") if mime.is_text(data) else None


def pretty_json(text: str) -> str:
    """Return JSON with a line for each value; text that is none, or would not keep each of its numbers, as it is."""
    try:
        return json.dumps(json.loads(text, parse_float=_exact), indent=2, ensure_ascii=False)
    except (ValueError, ArithmeticError, RecursionError):
        return text


def _exact(number: str) -> float:
    if Decimal(repr(float(number))) != Decimal(number):
        raise ValueError
    return float(number)


def _text(data: bytes, kind: str) -> Preview:
    """Return the first lines, as text and nothing else, whatever language they are written in."""
    cut = len(data) > _LINES_READ
    text = text_of(data[:_LINES_READ], cut=cut)
    if text is None:
        return Preview(reason="the bytes are no text")
    if kind.endswith("json") and not cut:
        text = pretty_json(text)
    lines = text.splitlines()
    shown = "\n".join(line[:_COLUMNS] for line in lines[:_LINES])
    more = "\n..." if cut or len(lines) > _LINES else ""
    return Preview(kind="text", text=visible_lines(shown) + more)


def _drawing(data: bytes) -> Preview:
    """Return a small SVG as an image that runs nothing; its first lines where it can't be one, and why."""
    lines = _text(data[: _LINES_READ + 1], _SVG)
    if len(data) > _MOST_READ_DRAWING or _optional_module("pictures") is None:
        return lines
    try:
        drawn: Preview = import_module("fsmedia.display.pictures").drawing(data)
    except UnshowableError as error:
        return replace(lines, reason=str(error))
    return drawn if len(drawn.image) <= _MOST_DRAWING else replace(lines, width=drawn.width, height=drawn.height)


def _decoded(module: str, function: str, otherwise: Preview, what: str, *args: Any, **words: Any) -> Preview:
    """Return what a decoder makes of a media; `otherwise`, and why, where it makes nothing or its module is missing."""
    if _optional_module(module) is None:
        return replace(otherwise, reason=f"to see {what}: {INSTALL['notebook']}")
    try:
        made: Preview = getattr(import_module("fsmedia.display.decoders"), function)(*args, **words)
    except UnshowableError as error:
        return replace(otherwise, reason=str(error))
    return made


def _sound(data: bytes, kind: str) -> Preview:
    playable = kind in PLAYED and len(data) <= MOST_SOUND
    made = Preview(kind="sound", sound=data, sound_type=PLAYED[kind]) if playable else Preview(kind="sound")
    if _optional_module("films") is None:
        return made if playable else replace(made, reason=f"to see its outline: {INSTALL['notebook']}")
    try:
        found = import_module("fsmedia.display.decoders").outline(OpenedSource.of(data), kind)
    except UnshowableError as error:
        return replace(made, duration=measure(kind, data, b"", len(data)).get("duration"), reason=str(error))
    return replace(made, peaks=found.peaks, duration=found.duration)


def _optional_module(name: str) -> Any | None:
    """Return a module that decodes; None where its library is not installed."""
    try:
        return import_module(f"fsmedia.display.{name}")
    except ImportError:
        return None


def reduced_preview(preview: Preview, side: int) -> Preview:
    """Return a preview with a smaller picture; itself where it has none."""
    if not preview.image or preview.image_type == _SVG:
        return preview
    pictures = import_module("fsmedia.display.pictures")
    try:
        with decoding("its small picture can't be read"):
            return replace(preview, image=pictures.reduced(preview.image, side))
    except UnshowableError as error:  # a spoiled cache must not spoil the page
        return preview.lighter(str(error))


@contextmanager
def progress_bar(progress: Progress, total: int) -> Iterator[Callable[[int], object]]:
    """Give a function that is called with the number of previews that are ready.

    A total of 0 is not known. Without one of the caller's it shows a bar to whoever waits longer than half a second: in
    a notebook, or on a terminal. Nothing of it is seen afterwards; `show_in_place` takes a notebook's place of it.
    """
    global _bar  # noqa: PLW0603 - one process, one notebook
    if callable(progress):
        yield progress
        return
    if not progress:
        yield bool
        return
    begun = last = time.monotonic()
    shown: Any = None

    def reach(count: int) -> None:
        nonlocal last, shown
        now = time.monotonic()
        if now - begun < _PATIENCE or now - last < _PATIENCE / 4:
            return
        last, text = now, f"{count} of {total} previews" if total else f"{count} looked at"
        if (show := _notebook()) is not None:
            known = f" max='{total}' value='{count}'" if total else ""
            bar = {"text/html": f"<progress{known}></progress> {text}", "text/plain": ""}
            if shown is None and (kept := _bar_of_cell()) is not None:
                shown = kept
            if shown is None:
                shown = show(bar, raw=True, display_id=True)
            else:
                shown.update(bar, raw=True)
        elif sys.stderr is not None and sys.stderr.isatty():
            shown = "terminal"
            sys.stderr.write(f"\r{text}")
            sys.stderr.flush()

    try:
        yield reach
    finally:
        if shown == "terminal":
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        elif shown is not None:
            # A notebook can't take one output back, only all of a cell. Without data it has no height.
            shown.update({}, raw=True)
            _bar = (_cell(), shown)


def show_in_place(thing: Any) -> None:
    """Show what was drawn in the place of the bar that its previews left in this cell, as `_ipython_display_`.

    NotImplementedError, which IPython takes for "as usual", where there is none.
    """
    global _bar  # noqa: PLW0603 - one process, one notebook
    bar = _bar_of_cell()
    if bar is None:
        raise NotImplementedError
    _bar = None
    bundle = getattr(thing, "_repr_mimebundle_", None)
    data = bundle() if bundle else {"text/html": thing._repr_html_(), "text/plain": repr(thing)}
    bar.update(data[0] if isinstance(data, tuple) else data, raw=True)


def _bar_of_cell() -> Any | None:
    """Return the output of a bar that is done, if it stands in the cell that runs."""
    return _bar[1] if _bar is not None and _bar[0] == _cell() else None


def _cell() -> tuple[object, object]:
    shell = _shell()
    return shell, getattr(shell, "execution_count", None)


def _notebook() -> Any | None:
    """Return IPython's display where a notebook's kernel runs this."""
    return None if getattr(_shell(), "kernel", None) is None else import_module("IPython.display").display


def _shell() -> Any | None:
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
