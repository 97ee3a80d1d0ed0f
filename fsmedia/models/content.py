"""`MediaContent`: bytes with a MIME type, wherever the bytes are; JSON keys are PromptKit's.

Nothing is read when one is made, except for inline base64. A content that a store returned opens its bytes through a
handle that the store attached; the handle is never pickled or serialised, for it may know secrets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import sys
import tempfile
import warnings
import weakref
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, BinaryIO, Protocol, Self, cast

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer, model_validator
from pydantic_core import to_jsonable_python

from fsmedia.errors import InvalidMediaError, MediaNotFoundError, MediaTooLargeError, StorageError
from fsmedia.models import base, mime
from fsmedia.models.metadata import ContentFields, PolicyName, Reference
from fsmedia.models.text import safe_file_name
from fsmedia.models.urls import checked_url, from_base64, guess_from_url, looks_like_text, public_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import FrameType


class CopyPath(type(Path())):  # type: ignore[misc]  # - before 3.12 only the system's own class can be subclassed
    """A path whose file is removed with the path object, or at exit; who passes its text on keeps the object."""

    def __deepcopy__(self, memo: object) -> Self:
        """Return this one: a second object would name a file that goes with the first."""
        return self


class CopyName(str):
    """The text of a `CopyPath`; the file lasts as long as this text, too."""

    __slots__ = ("_path",)
    _path: Path

    def __new__(cls, path: Path) -> Self:
        """Make the text of a path."""
        name = super().__new__(cls, path)
        name._path = path
        return name

    def __deepcopy__(self, memo: object) -> Self:
        """Return this one, for the same reason as its path."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as text: the file stays with the process that downloaded it."""
        return str, (str(self),)


def local_copy(chunks: Iterable[bytes], mime_type: str) -> Path:
    """Write bytes to a temporary file (0600) and return its path; the file goes with the path object.

    `StorageError` where the disk takes them not, or not all; nothing is left there then.
    """
    with _on_disk():
        file = temporary_file(mime.extension_for(mime_type))
    path = CopyPath(file.name)
    finalizer = weakref.finalize(path, _remove, file.name, getpid())
    try:
        for chunk in chunks:
            with _on_disk():
                file.write(chunk)
        with _on_disk():
            file.close()
    except BaseException:
        with suppress(OSError):  # it flushes, and the disk may be full
            file.close()
        finalizer()
        raise
    return path


def temporary_file(suffix: str = "") -> IO[bytes]:
    """Make a temporary file (0600) that tells whose it is: by its name `verify` knows those of dead processes."""
    return tempfile.NamedTemporaryFile(prefix=f"fsmedia-{getpid()}-", suffix=suffix, delete=False)


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StorageError(
            f"no temporary copy could be made ({reason})",
            next_step="free some space, or let $TMPDIR name another disk; .open() needs no copy",
        ) from error


def _remove(name: str, owner: int) -> None:
    """Remove the file, but not in a forked child, whose parent still needs it."""
    if getpid() == owner:
        Path(name).unlink(missing_ok=True)


INLINE_LIMIT = 20 * 2**20
"""Bytes above which `base64()` and `data_url()` refuse: what LLM APIs take inline is of this order."""
_HEAD = 8192
_CHUNK = 2**20
_SHOWN = 80


class ContentHandle(Protocol):
    """Access to the bytes of a content that lie in a store."""

    def open(self) -> BinaryIO:
        """Open the stored bytes for reading."""

    def local_path(self) -> Path:
        """Return a path of this machine that holds the bytes, downloaded if need be."""


def _decode(value: Any) -> Any:
    """Take bytes and binary files as they are, a `str` as strict base64."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        try:
            return from_base64(value)
        except (binascii.Error, UnicodeEncodeError):
            raise ValueError(
                "a str must be standard padded base64 (RFC 4648); for text use MediaContent.from_text(...)"
            ) from None
    if isinstance(value, io.TextIOBase):
        raise ValueError("is a file opened as text; open it in binary mode")  # noqa: TRY004 - pydantic wants it
    if callable(getattr(value, "read", None)):
        return value
    raise ValueError("must be bytes, a binary file object or base64 text")


class MediaContent(ContentFields):
    """Bytes and their MIME type; the source is one of `data`, `file_path`, `url`, `storage_reference`.

    `data` wins over `file_path`; `url` stands alone. `from_path`, `from_bytes`, `from_text`, `from_url`, `from_stream`
    and `from_json` guess the MIME type where none is given, and that of `MediaMetadata` wins over a guess; the bare
    constructor requires one.
    """

    data: Annotated[Any, BeforeValidator(_decode)] = Field(
        default=None, description="`bytes`, a binary file object, or standard base64 in a `str`; base64 in JSON."
    )
    file_path: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Path of a file on this machine; that of a downloaded copy goes with the content and this text.",
    )
    url: Annotated[str, AfterValidator(checked_url)] | None = Field(
        default=None, description="An http(s) or data: URL."
    )
    storage_reference: Reference | None = Field(default=None, description="Reference of a stored media item.")
    mime_type: Annotated[str, AfterValidator(mime.check)] = Field(description='MIME type, e.g. "image/png".')
    size_kb: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Size in KiB, rounded up, where it is known."
    )
    policy_name: PolicyName = Field(
        default=None, description="Retention policy that the content asks for; metadata's own wins."
    )

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, values: Any) -> Any:
        """Take path objects, and warn of text that was handed in as if it were base64."""
        if not isinstance(values, dict):
            return values
        path = values.get("file_path")
        if hasattr(path, "__fspath__"):
            values = {**values, "file_path": str(path)}
        data, kind = values.get("data"), values.get("mime_type")
        if data is None:
            return values
        is_text = isinstance(kind, str) and kind.lower().startswith("text/")
        if isinstance(data, str) and is_text and looks_like_text(data):
            _warn("data is read as base64, but looks like text; for text use MediaContent.from_text(...)")
        if isinstance(data, bytes | bytearray | memoryview) and not is_text:
            _warn_of_base64(data)
        return values

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url is not None and (self.data is not None or self.file_path is not None):
            raise ValueError("url can't stand beside data or file_path: name one source")
        if self.data is None and not (self.file_path or self.url or self.storage_reference):
            raise ValueError("has no source: give data, file_path, url or storage_reference")
        return self

    @field_serializer("data", when_used="json-unless-none")
    def _data_json(self, value: Any) -> str:
        if not isinstance(value, bytes):
            raise InvalidMediaError("a file object has no JSON form", next_step="use bytes or file_path")
        return base64.b64encode(value).decode("ascii")

    # -- making one ----------------------------------------------------------------------------------------

    @classmethod
    def from_path(cls, path: str | Path, mime_type: str | None = None, **fields: Any) -> Self:
        """Name a file; the MIME type is guessed from its name, then from its first bytes.

        `file_name` is its name as `safe_file_name` makes it, unless another or None is given.
        """
        kind = mime_type or mime.guess_from_name(str(path))
        if kind is None:
            with _opened(str(path)) as file:
                kind = mime.guess_from_bytes(file.read(_HEAD))
        named = {"file_name": safe_file_name(str(path)), **fields}
        return cls(file_path=str(path), mime_type=kind or _UNKNOWN, **named)._guessed(mime_type)

    @classmethod
    def from_bytes(cls, data: bytes, mime_type: str | None = None, **fields: Any) -> Self:
        """Take bytes; the MIME type is guessed from the first of them."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidMediaError(
                f"takes bytes, not {type(data).__name__}", next_step="see from_text, from_path and from_stream"
            )
        data = bytes(data)
        if not mime_type:
            _warn_of_base64(data)
        kind = mime_type or mime.guess_from_bytes(data[:_HEAD]) or _UNKNOWN
        return cls(data=data, mime_type=kind, **fields)._guessed(mime_type)

    @classmethod
    def from_text(cls, text: str, mime_type: str | None = None, **fields: Any) -> Self:
        """Take text; it is stored as UTF-8, as `text/plain` unless told otherwise."""
        try:
            data = text.encode()
        except (UnicodeEncodeError, AttributeError):
            problem = "takes a str without lone surrogates"
            raise InvalidMediaError(problem, next_step="encode it yourself and use from_bytes") from None
        return cls(data=data, mime_type=mime_type or "text/plain", **fields)._guessed(mime_type)

    @classmethod
    def from_json(cls, value: Any, mime_type: str | None = None, **fields: Any) -> Self:
        """Take a value that has a JSON form; it is stored as UTF-8, as `application/json` unless told otherwise.

        Models of pydantic, dataclasses, times, sets and the like become what pydantic makes of them. Refused, with
        `InvalidMediaError`: NaN and infinities, keys that are no text or number, and what has no JSON form.
        """
        try:
            data = json.dumps(value, ensure_ascii=False, allow_nan=False, default=to_jsonable_python).encode()
        except (TypeError, ValueError, RecursionError) as error:  # pydantic's own are ValueErrors
            step = "give dict, list, str, numbers, models or dataclasses; of an array its .tolist()"
            raise InvalidMediaError(f"has no JSON form ({str(error)[:200]})", next_step=step) from None
        return cls(data=data, mime_type=mime_type or "application/json", **fields)._guessed(mime_type)

    @classmethod
    def from_image(cls, image: Any, *, format: str = "png", **fields: Any) -> Self:  # noqa: A002 - the field's name
        """Encode a picture in memory; width and height are set, and the MIME type is that of the format.

        Parameters
        ----------
        image
            A PIL image, or an array (NumPy's, or what NumPy can read, such as a tensor on the CPU): (height, width) or
            (height, width, 1, 3 or 4) of uint8, of bool, or of floats from 0 to 1.
        format
            "png", "jpeg", "webp" or what else Pillow writes. Pixels are written, no EXIF; a photograph is turned as
            its EXIF says.
        fields
            Other fields of the content: `caption`, `detail`, `policy_name`.

        Raises
        ------
        InvalidMediaError
            It is no picture: NaN or floats outside, another shape (colours first, as in torch, says how to transpose),
            other numbers; or the format can't hold it.
        MediaError
            Pillow, or NumPy for an array, is not installed.
        """
        data, measured = base.encoder().encode_image(image, format)
        return cls(data=data, **{**measured, **fields})

    @classmethod
    def from_audio(cls, samples: Any, sample_rate: int, **fields: Any) -> Self:
        """Encode sound in memory as a WAV file; duration in seconds and channels are set.

        Parameters
        ----------
        samples
            An array (NumPy's, or what NumPy can read, such as a tensor on the CPU), (n,) or (n, channels): floats from
            -1 to 1, written as 16 bits, or int16 or int32, written as they are.
        sample_rate
            Samples a second, in each channel.
        fields
            Other fields of the content: `caption`, `detail`, `policy_name`.

        Raises
        ------
        InvalidMediaError
            It is no sound: NaN or floats outside (nothing is clipped), another shape, other numbers, no samples.
        MediaTooLargeError
            It is more than the 4 GiB of a WAV file.
        MediaError
            NumPy is not installed.
        """
        data, measured = base.encoder().encode_sound(samples, sample_rate)
        return cls(data=data, **{**measured, **fields})

    @classmethod
    def from_url(cls, url: str, mime_type: str | None = None, **fields: Any) -> Self:
        """Name an http(s) or data: URL; the MIME type is a data URL's own or guessed from the path."""
        return cls(url=url, mime_type=mime_type or guess_from_url(url) or _UNKNOWN, **fields)._guessed(mime_type)

    @classmethod
    def from_stream(cls, stream: BinaryIO, mime_type: str | None = None, **fields: Any) -> Self:
        """Take a binary file object, read once, from where it stands, when it is stored.

        The MIME type is guessed from the stream's name; bytes can only be looked at if it can seek.
        """
        name = getattr(stream, "name", None)
        kind = mime_type or (mime.guess_from_name(name) if isinstance(name, str) else None)
        if kind is None and getattr(stream, "seekable", bool)():
            start = stream.tell()
            kind = mime.guess_from_bytes(stream.read(_HEAD))
            stream.seek(start)
        return cls(data=stream, mime_type=kind or _UNKNOWN, **fields)._guessed(mime_type)

    @classmethod
    def from_promptkit(cls, fields: Mapping[str, Any]) -> Self:
        """Read PromptKit's JSON form; keys that this version does not know are dropped."""
        return cls(**{name: value for name, value in fields.items() if name in cls.model_fields})

    def attach(self, handle: ContentHandle) -> Self:
        """Attach the handle to its stored bytes; for the store that returns it."""
        return self._noted(_handle=handle)

    def downloaded(self) -> Self:
        """Return it with a `file_path`: a copy of the stored bytes is made where they lie elsewhere.

        Once downloaded it is read from the copy, which lasts as long as the content, its `file_path` or `local_path()`.
        `CorruptMediaError` where what came is not what was stored.
        """
        if self.file_path is not None:
            return self
        path = self.local_path()
        return self.model_copy(update={"file_path": CopyName(path)})._noted(_copy=path)

    def _guessed(self, given: str | None = None) -> Self:
        """Note that its MIME type is a guess, unless one was given."""
        return self if given else self._noted(_guess=self.mime_type)

    # Where pydantic keeps private attributes, so that copies have it, too; not declared as some, for it fills each in
    # by itself, which took half of what making a content takes.
    def _noted(self, **values: object) -> Self:
        object.__setattr__(self, "__pydantic_private__", {**(self.__pydantic_private__ or {}), **values})
        return self

    @property
    def _handle(self) -> ContentHandle | None:
        return (self.__pydantic_private__ or {}).get("_handle")

    @property
    def _copy(self) -> Path | None:
        return (self.__pydantic_private__ or {}).get("_copy")

    @property
    def _guess(self) -> str | None:
        """The type that nobody who stores it said; a copy with another type has one that was said."""
        return (self.__pydantic_private__ or {}).get("_guess")

    @property
    def is_type_guessed(self) -> bool:
        """Whether nobody said its MIME type: it was guessed, or is what a store returned."""
        return self._guess == self.mime_type

    @property
    def is_attached(self) -> bool:
        """Whether a store attached a handle to its bytes."""
        return self._handle is not None

    # -- reading one ---------------------------------------------------------------------------------------

    def open(self) -> BinaryIO:
        """Open the bytes for reading; the caller closes."""
        if isinstance(self.data, bytes):
            return io.BytesIO(self.data)
        if self.data is not None:
            return cast("BinaryIO", self.data)
        if self._copy is not None:
            return _opened(str(self._copy))
        if self._handle is not None:
            return self._handle.open()
        if self.file_path is not None:
            return _opened(self.file_path)
        where = "url" if self.url is not None else "storage_reference"
        raise InvalidMediaError(
            f"this content only names its bytes by {where}",
            next_step="store it, or open a stored media with store.open(reference)",
            reference=self.storage_reference,
        )

    def read_bytes(self) -> bytes:
        """Return all bytes, in memory; a stream given as `data` is read from where it stands."""
        if isinstance(self.data, bytes):
            return self.data
        if self.data is not None:
            return cast("bytes", self.data.read())
        with self.open() as file:
            return file.read()

    def local_path(self) -> Path:
        """Return a path of this machine that holds the bytes.

        A copy made for it lives as long as this object or the returned path object, whichever lives longer.
        """
        if self.data is None and self._copy is None:
            if self.file_path is not None:
                return Path(self.file_path)
            if self._handle is not None:
                return self._handle.local_path()
        copy = self._copy
        if copy is None:
            file = self.open()
            copy = local_copy(iter(lambda: file.read(_CHUNK), b""), self.mime_type)
            self._noted(_copy=copy)
        return copy

    def base64(self, *, max_size: int | None = INLINE_LIMIT) -> str:
        """Return the bytes as standard base64; refuses more than `max_size` bytes (None: any number)."""
        return base64.b64encode(self._inline(max_size)).decode("ascii")

    def data_url(self, *, max_size: int | None = INLINE_LIMIT) -> str:
        """Return a data: URL; refuses more than `max_size` bytes (None: any number)."""
        return f"data:{self.mime_type.replace(' ', '')};base64,{self.base64(max_size=max_size)}"

    def _inline(self, max_size: int | None) -> bytes:
        if max_size is None:
            return self.read_bytes()
        file = self.open()
        data = file.read(max_size + 1)
        if file is not self.data:  # a caller's stream stays open
            file.close()
        if len(data) > max_size:
            raise MediaTooLargeError(
                f"is larger than {max_size} bytes, too much to hold inline",
                next_step="pass max_size=None to do it all the same, or use .open()",
                reference=self.storage_reference,
            )
        return data

    # -- looking at one ------------------------------------------------------------------------------------

    def _repr_html_(self) -> str | None:
        return base.html_of(self)

    def player(self, *, max_size: int | None = INLINE_LIMIT) -> Any:
        """Return what plays or shows it at full size in a notebook, up to `max_size` bytes (None: any number).

        The bytes are read now and stand in the notebook with it. What browsers do not play or show is put into another
        container or format where that is possible, else a small picture stands there, and why; MediaError where the
        storage fails.
        """
        return base.player_of(self, max_size=max_size)

    # -- what must not get out -----------------------------------------------------------------------------

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle without the handle (it may know secrets) and without a temporary copy; the reference stays."""
        private = {"_handle": None, "_copy": None, "_guess": self._guess}
        state = {**super().__getstate__(), "__pydantic_private__": private}
        if isinstance(self.file_path, CopyName):
            state["__dict__"] = {**state["__dict__"], "file_path": None}
        return state

    def __eq__(self, other: object) -> bool:
        """Compare what it says, not the way to its bytes."""
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Show size and digest, never the data; a URL without its query."""
        for name, value in super().__repr_args__():
            if name == "data" and value is not None:
                yield name, _Shown(value)
            elif name == "url" and value is not None:
                yield name, public_url(value)
            elif isinstance(value, str) and len(value) > 2 * _SHOWN:
                yield name, value[:_SHOWN] + "..."
            elif value is not None:
                yield name, value


_UNKNOWN = "application/octet-stream"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_LEAST_BASE64 = 8  # bytes that begin base64 of any media: 6 of its own


def _warn_of_base64(data: bytes | bytearray | memoryview) -> None:
    """Warn of bytes that are base64 text of a media; those of real media are told by their first."""
    if len(data) < _LEAST_BASE64 or bytes(data[:_LEAST_BASE64]).translate(None, _BASE64):
        return
    text = bytes(data[:_HEAD]).translate(None, b"\r\n").rstrip(b"=")
    if text.translate(None, _BASE64):
        return
    found = mime.detect(base64.b64decode(text[: len(text) // 4 * 4]))
    if found is not None:
        _warn(f"these bytes are base64 text of {found}, and stored as text: pass it as str, or base64.b64decode(...)")


def _warn(told: str) -> None:
    """Warn whoever called this package; not of what the package itself makes, for that is not the caller's to mend."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _module_of(frame).startswith(("fsmedia.models.", "pydantic.")):
        level, frame = level + 1, frame.f_back
    if not _module_of(frame).startswith("fsmedia."):
        warnings.warn(told, UserWarning, stacklevel=level)


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


class _Shown:
    """Data in a repr."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __repr__(self) -> str:
        if isinstance(self.data, bytes):
            return f"<{len(self.data)} bytes, sha256 {hashlib.sha256(self.data).hexdigest()[:12]}...>"
        return f"<{type(self.data).__name__}, not read>"


def _opened(path: str) -> BinaryIO:
    """Open a file of the caller's, with errors of this package."""
    try:
        return Path(path).open("rb")
    except FileNotFoundError:
        raise MediaNotFoundError("no such file", next_step="check file_path", key=path) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"can't be read ({reason})", next_step="check file_path", key=path) from None
