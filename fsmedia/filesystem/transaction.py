"""Transactions: files written together appear at the end, one after another, or not at all after an error."""

from __future__ import annotations

from typing import Any

from fsspec.transaction import Transaction

from fsmedia.errors import InvalidMediaError


class MediaTransaction(Transaction):
    """fsspec's transaction, which also ends when a commit fails.

    fsspec's own stays open then, and the filesystem, which is shared, would swallow every later write.
    """

    _begun = False

    def start(self) -> None:
        """Begin.

        Raises
        ------
        InvalidMediaError
            It has begun already, here or in another thread: what it holds would be forgotten.
        """
        if self._begun:
            raise InvalidMediaError(
                "a transaction is under way on this filesystem",
                next_step="end it first; a thread of its own takes fsspec.filesystem(..., skip_instance_cache=True)",
            )
        self._begun = True
        super().start()

    def refuse_append(self, key: str) -> None:
        """Refuse to append to what was written here: only the bytes that are stored already would be kept.

        Raises
        ------
        InvalidMediaError
            A file of that place waits for the end.
        """
        filesystem: Any = self.fs
        place_of = filesystem._backend.place_of  # noqa: SLF001 - its own filesystem
        if any(place_of(file.path) == place_of(key) and not file.given_up for file in self.files):
            raise InvalidMediaError(
                "was written in this transaction, so nothing can be appended to it yet",
                next_step="write it at once, or end the transaction first",
                reference=key,
            )

    def complete(self, commit: bool = True) -> None:  # noqa: FBT001, FBT002 - as fsspec has it
        """Commit or discard all files; what comes after a failed commit is discarded."""
        try:
            while self.files:
                file = self.files.popleft()
                if commit and not file.given_up:
                    file.commit()
                else:
                    file.discard()
        finally:
            while self.files:
                self.files.popleft().discard()
            filesystem: Any = self.fs
            self.fs: Any = None
            if filesystem is not None:
                filesystem._intrans = False  # noqa: SLF001 - what fsspec's own transaction sets
                filesystem._transaction = None  # noqa: SLF001
