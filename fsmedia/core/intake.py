"""How bytes are taken in: counted, hashed and looked at in one pass; raw sound gets its WAV header on the way.

Nothing is held in memory but the first few bytes.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fsmedia.errors import InvalidMediaError, MediaTooLargeError
from fsmedia.format import wav

if TYPE_CHECKING:
    from fsmedia.format.wav import PcmFormat
    from fsmedia.storage import Stage

HEAD_BYTES = 8192
"""Bytes kept from the beginning, to tell what they are."""

_WORTH_A_THREAD = 256 * 1024


class Intake:
    """Takes bytes as they come: counts, hashes, keeps the first, passes them on.

    Parameters
    ----------
    stage
        Where they go; None only looks at them.
    max_size
        Most bytes to take; None takes any number.
    """

    def __init__(self, stage: Stage | None, max_size: int | None) -> None:
        self._stage = stage
        self._max_size = max_size
        self._digest = hashlib.sha256()
        self._hasher: ThreadPoolExecutor | None = None
        self.size = 0
        self.head = b""

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes.

        Raises
        ------
        MediaTooLargeError
            They are too many.
        """
        self.size += len(data)
        if self._max_size is not None and self.size > self._max_size:
            raise too_large(self._max_size)
        if len(self.head) < HEAD_BYTES:
            self.head += bytes(data[: HEAD_BYTES - len(self.head)])
        if self._stage is None:
            self._digest.update(data)
        elif len(data) < _WORTH_A_THREAD:
            self._digest.update(data)
            self._stage.write(data)
        else:
            # Hashing and writing take about as long, and neither needs the other.
            if self._hasher is None:
                self._hasher = ThreadPoolExecutor(1, thread_name_prefix="fsmedia-digest")
            hashed = self._hasher.submit(self._digest.update, data)
            try:
                self._stage.write(data)
            finally:
                hashed.result()  # before the caller may change the bytes

    def finish(self) -> None:
        """Take note that all bytes have come."""
        if self._hasher is not None:
            self._hasher.shutdown(wait=False)

    @property
    def sha256(self) -> str:
        """Digest of what was taken so far, as lower-case hex."""
        return self._digest.hexdigest()


class SoundIntake(Intake):
    """Takes raw sound and puts a WAV header in front; what is a WAV file already stays as it is.

    The header tells how much sound follows it. If that was not known or was wrong, it is corrected at the end and
    the stage is read once more for the digest.

    Parameters
    ----------
    form
        Format of the samples.
    expected
        Bytes of sound that will come, where the source can tell.
    """

    def __init__(self, stage: Stage | None, max_size: int | None, form: PcmFormat, expected: int | None) -> None:
        super().__init__(stage, max_size)
        self._form = form
        self._written = expected if expected is not None and 0 <= expected <= wav.LARGEST else 0
        self._first: bytes | None = b""
        self._wrapped = False

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes; the first few decide whether they are raw."""
        if self._first is None:
            super().write(data)
        else:
            self._first += bytes(data)
            if len(self._first) >= wav.HEADER_BYTES:
                self._decide()
        if self._wrapped:
            wav.header(self._form, self.size - wav.HEADER_BYTES)  # raises once it is too much for a WAV file

    def _decide(self) -> None:
        first, self._first = self._first or b"", None
        if not wav.is_wav(first):
            self._wrapped = True
            super().write(wav.header(self._form, self._written))
        super().write(first)

    def finish(self) -> None:
        """Correct the header if another number of bytes came than it says."""
        super().finish()
        if self._first is not None:
            if not self._wrapped and not wav.is_wav(self._first):
                self._written = len(self._first)
            self._decide()
        sound = self.size - wav.HEADER_BYTES
        if not self._wrapped or sound == self._written:
            return
        header = wav.header(self._form, sound)
        self.head = header + self.head[len(header) :]
        if self._stage is None:
            raise InvalidMediaError("the size of the sound was not known in time")
        self._stage.patch(header)
        self._digest = hashlib.sha256()
        for data in self._stage.reread():
            self._digest.update(data)


def too_large(max_size: int) -> MediaTooLargeError:
    """Say that a media is over the limit."""
    return MediaTooLargeError(
        f"larger than the store's max_file_size of {max_size} bytes", next_step="open the store with a larger one"
    )
