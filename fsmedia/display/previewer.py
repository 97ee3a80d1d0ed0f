"""Previews of many media of one store: from the local cache, else made by threads, with progress."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from fsmedia.display.cache import PreviewCache, default_folder, place_of
from fsmedia.display.making import preview_of
from fsmedia.display.previews import Preview
from fsmedia.display.reading import StoredSource
from fsmedia.errors import MediaError
from fsmedia.format import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fsmedia.storage import Backend, Entry

    Progress = bool | Callable[[int], object]

LARGEST_SIDE = 960
"""Longest side of the small picture that the cache keeps of an original; smaller ones are made of that."""

_SIDES = ((16, LARGEST_SIDE), (64, 512), (250, 256))
_SMALLEST = 160
_AT_ONCE = 16
_DECODED_AT_ONCE = min(4, os.cpu_count() or 1)  # each may take some 300 MB
_PATIENCE = 0.5
_CACHED = "1"


class Wanted(NamedTuple):
    """A media to show: where its bytes lie, and what they are said to be."""

    entry: Entry
    mime_type: str


def side_for(count: int) -> int:
    """Return how large pictures are among so many, so that a page stays light."""
    return next((side for most, side in _SIDES if count <= most), _SMALLEST)


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

    def of(self, wanted: Sequence[Wanted], progress: Progress) -> list[Preview]:
        """Return previews in the same order; what fails for one stands in its place.

        Parameters
        ----------
        progress
            True shows a bar where somebody looks; a function gets the number of those that are ready.
        """
        found: list[Preview] = [Preview()] * len(wanted)
        threads = _AT_ONCE if self._backend.concurrency > 1 else min(_AT_ONCE, os.cpu_count() or 1)
        executor = ThreadPoolExecutor(threads, thread_name_prefix="fsmedia-previews")
        try:
            futures = {executor.submit(self._one, each): index for index, each in enumerate(wanted)}
            with _told(progress, len(wanted)) as tell:
                for count, future in enumerate(as_completed(futures), 1):
                    found[futures[future]] = future.result()
                    tell(count)
        finally:
            executor.shutdown(cancel_futures=True)
        if self._made:
            self._cache.trim()
        return found

    def _one(self, wanted: Wanted) -> Preview:
        preview = self._cache.get(self._parts(wanted, self._side))
        if preview is not None:
            return preview
        whole = self._cache.get(self._parts(wanted, LARGEST_SIDE))
        if whole is None:
            try:
                whole = self._made_of(wanted)
            except MediaError as error:
                return Preview(reason=error.problem)  # not kept: the storage may answer the next time
        if self._side >= LARGEST_SIDE:
            return whole
        preview = _reduced(whole, self._side)
        if preview is not whole:
            self._cache.put(self._parts(wanted, self._side), preview)
        return preview

    def _made_of(self, wanted: Wanted) -> Preview:
        entry = wanted.entry
        source = StoredSource(self._backend, keys.bytes_key(entry.key), entry.size)
        made = preview_of(source, wanted.mime_type, LARGEST_SIDE, self._gate)
        self._made += 1
        if "pip install" not in made.reason and "gone" not in made.reason and "memory" not in made.reason:
            self._cache.put(self._parts(wanted, LARGEST_SIDE), made)
        return made

    def _parts(self, wanted: Wanted, side: int) -> tuple[object, ...]:
        """Return what a preview depends on; a sidecar's own word is no part, for it may lie about other bytes."""
        entry = wanted.entry
        place = place_of(self._backend.url, keys.bytes_key(entry.key))
        modified = None if keys.pointer_of(entry.key) is not None else entry.modified
        return (place, _CACHED, entry.size, entry.token, modified, wanted.mime_type, side)


def _reduced(preview: Preview, side: int) -> Preview:
    """Return a preview with a smaller picture; itself where it has none."""
    if not preview.image:
        return preview
    pictures = import_module("fsmedia.display.pictures")
    try:
        return replace(preview, image=pictures.reduced(preview.image, side))
    except Exception:  # noqa: BLE001 - a spoiled cache must not spoil the page
        return preview.lighter("its small picture can't be read")


@contextmanager
def _told(progress: Progress, total: int) -> Iterator[Callable[[int], object]]:
    """Give a function that tells how many are ready."""
    if callable(progress):
        yield progress
        return
    if not progress:
        yield bool
        return
    bar = _Bar(total)
    try:
        yield bar.reach
    finally:
        bar.close()


class _Bar:
    """A bar for whoever waits longer than half a second: in a notebook, or on a terminal."""

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
