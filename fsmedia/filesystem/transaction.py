"""Transactions: files written together appear at the end, one after another, or not at all after an error."""

from __future__ import annotations

from typing import Any

from fsspec.transaction import Transaction


class MediaTransaction(Transaction):
    """fsspec's transaction, which also ends when a commit fails.

    fsspec's own stays open then, and the filesystem, which is shared, would swallow every later write.
    """

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
