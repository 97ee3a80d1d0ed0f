"""Describing many media in one call, as `info` does one; leaves the store as it is."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fsmedia.core import records
from fsmedia.core.telemetry import observed
from fsmedia.errors import BulkError, MediaError
from fsmedia.store.bulk import Bulk

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable

    from fsmedia.models import MediaRecord
    from fsmedia.store.bulk import OnError

_WINDOW = 256


class Describing(Bulk):
    """The method of `MediaStore` that tells what it knows of many media."""

    @observed("info_many")
    def info_many(
        self, references: Iterable[str], *, on_error: OnError = "raise"
    ) -> builtins.list[MediaRecord | MediaError]:
        """Return all that the store knows of many media, in the same order; holds are not looked for.

        Sidecars are read 256 at a time, concurrently on object stores.

        Parameters
        ----------
        on_error
            "raise" tries all and then raises `BulkError`; "return" puts each error in its place.

        Raises
        ------
        BulkError
            Some could not be described.
        """
        answers: list[MediaRecord | MediaError] = []
        given = iter(references)
        while window := list(islice(given, _WINDOW)):
            answers += self._described(window)
        errors = {index: answer for index, answer in enumerate(answers) if isinstance(answer, MediaError)}
        if errors and on_error == "raise":
            raise BulkError({at: answer for at, answer in enumerate(answers) if at not in errors}, errors)
        return answers

    def _described(self, window: builtins.list[str]) -> builtins.list[MediaRecord | MediaError]:
        answers: list[MediaRecord | MediaError] = []
        for given, found in zip(window, self._found(window), strict=True):
            try:
                if isinstance(found, MediaError):
                    # Alone it may be found under the name that a conversion gave it.
                    answers.append(self.info(given))
                else:
                    answers.append(records.record_of(found, self._founding.configuration))
            except MediaError as error:
                answers.append(error)
        return answers

    def _found(self, window: builtins.list[str]) -> builtins.list[records.Found | MediaError]:
        names: list[str | MediaError] = []
        for each in window:
            try:
                names.append(self._key(each))
            except MediaError as error:
                names.append(error)
        found = iter(records.find_many(self._backend, [name for name in names if isinstance(name, str)]))
        return [next(found) if isinstance(name, str) else name for name in names]
