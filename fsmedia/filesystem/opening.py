"""Files as programs open them: text and compressed ones are layers that let go of what is below when a block raises.

fsspec's own layers only close what they wrote to, so half a text would be stored; and its compressing files never
close it, so a compressed media would not be stored at all.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fsspec.compression import compr
from fsspec.core import get_compression

from fsmedia.filesystem.copying import Copying

if TYPE_CHECKING:
    from types import TracebackType

    from fsmedia.filesystem.placement import PlacedFile

_TEXT_OPTIONS = ("encoding", "errors", "newline")


class CompressedMedia(io.BufferedIOBase):
    """Bytes that are compressed on their way into a media; commits and lets go as `PlacedFile` does."""

    def __init__(self, layer: Any, file: PlacedFile) -> None:
        self._layer = layer
        self._file = file

    def __repr__(self) -> str:
        return f"<compressed {self._file!r}>"

    def write(self, data: Any, /) -> int:
        """Take bytes."""
        if self.closed:
            raise ValueError("I/O operation on closed file")
        written: int = self._layer.write(data)
        return written

    def writable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Write what the compression ends with, then commit; may be called again."""
        if self.closed:
            return
        try:
            self._layer.close()
        except BaseException:
            self.discard()
            raise
        try:
            self._file.close()
        finally:
            super().close()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.discard()
        with suppress(Exception):  # it can't write its end any more
            self._layer.close()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self.closed:
            self.discard()
        self.close()

    def __del__(self) -> None:
        if not self.closed:
            with suppress(Exception):
                self.discard()


class TextMedia(io.TextIOWrapper):
    """Text on its way into a media; commits and lets go as `PlacedFile` does."""

    def __init__(self, file: Any, **options: Any) -> None:
        self._file: PlacedFile | CompressedMedia = file
        super().__init__(file, **options)

    def discard(self) -> None:
        """Leave nothing behind."""
        self._file.discard()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not self.closed:
            self.discard()
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):  # never begun, or detached
            if not self.closed:
                self.discard()


class Opening(Copying):
    """Methods of `MediaFileSystem` that open files and begin transactions."""

    def start_transaction(self) -> Any:
        """Begin a transaction; `end_transaction` stores its files.

        Raises
        ------
        InvalidMediaError
            One is under way.
        """
        transaction = self.transaction
        transaction.start()
        return transaction

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Any = None,
        compression: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Open a media: bytes or text, compressed on its way if asked.

        What is written exists once the file is closed; an error that leaves its `with` block lets go of it, in every
        mode.

        Raises
        ------
        InvalidMediaError
            The mode is none of these, an option is unknown, or the file was written in this transaction already and
            can't be appended to.
        ValueError
            The compression is unknown.
        """
        packing = get_compression(self._key(path), compression)
        is_text = "b" not in mode
        if "r" in mode or not (is_text or packing):
            file = super().open(path, mode, block_size, cache_options, compression, **kwargs)
            return _sized(file) if mode == "rb" and packing is None else file
        options = {name: kwargs.pop(name) for name in _TEXT_OPTIONS if is_text and name in kwargs}
        plain = mode.replace("t", "") + "b" * is_text
        placed: PlacedFile = super().open(path, plain, block_size, cache_options, **kwargs)
        try:
            file = CompressedMedia(compr[packing](placed, mode=plain[0]), placed) if packing else placed
            return TextMedia(file, **options) if is_text else file
        except BaseException:
            placed.discard()
            raise


def _sized(file: Any) -> Any:
    """Give a file opened for reading its size: fsspec's `tail` and `read_block`, and others, ask it for that."""
    if not hasattr(file, "size"):
        file.size = file.seek(0, os.SEEK_END)
        file.seek(0)
    return file
