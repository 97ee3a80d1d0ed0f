"""Session logs of coding agents: JSON Lines whose messages hold media inline, read line by line and never changed.

A format says what a line is (`SessionLog.take`); the media in it are found as `externalize` finds them. Media of
messages are imported at their position. The same bytes elsewhere in a session (events, compacted histories, results
told twice) are copies, and skipped; bytes that stand nowhere else are imported from there.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import partial
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from fsmedia.errors import MediaError
from fsmedia.exchange import importing
from fsmedia.exchange.importing import FoundItem, Importer, SourceItem, SourceTree, TreeFile
from fsmedia.format.messages import InlineMedia, media_fields
from fsmedia.models import InlineCost

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from fsmedia.models import ImportReport
    from fsmedia.store import MediaStore

LARGEST_LINE = 64 * 2**20
"""Bytes of one line at most: it is read at once, and takes several times its size in memory."""

_MOST_CALLS = 10_000
_CHUNK = 2**20
_MARKER = 250  # characters of the reference that stands in the place of base64, about
_COPY = "is a copy: a message of the session, or what came before, has the same bytes"
_UNTOLD = "is large base64 that does not say what it is, or is spelled so that it can't be taken out"


class ToolCall(NamedTuple):
    """A call of a tool: its name, and the model that called it; neither where nothing was called."""

    tool: str | None = None
    model: str | None = None


class LogMessage(NamedTuple):
    """One message of a log.

    `root` is the path in its line to the message, `parts` what it is made of, `calls` what each of those is a result
    of, or one for all. `model` made it.
    """

    root: tuple[str, ...]
    parts: list[Any]
    calls: list[ToolCall]
    model: str | None

    def position(self, path: tuple[str | int, ...]) -> tuple[int, int]:
        """Return which of the parts a path is in, and its position when the parts in parts are counted too."""
        sizes = [len(_listed(each.get("content"))) or 1 if isinstance(each, dict) else 1 for each in self.parts]
        outer, inner, *_ = (*(each for each in path[len(self.root) :] if isinstance(each, int)), 0, 0)
        if outer >= len(sizes):
            return outer, outer
        return outer, sum(sizes[:outer]) + (inner if inner < sizes[outer] else 0)


class SessionLog(ABC):
    """What the lines of one log have said so far."""

    kind: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.session = name
        self.conversation: str | None = None
        self.model: str | None = None
        self._calls: dict[str, ToolCall] = {}

    @abstractmethod
    def take(self, line: dict[str, Any]) -> LogMessage | None:
        """Return the message of a line; None if it holds none. KeyError or TypeError: it is of another format."""

    def named(self, name: object) -> str | None:
        """Return the id that a line has, in a form that every storage can hold; None for what is no text."""
        return importing.printable(name) if isinstance(name, str) else None

    def called(self, call: object, name: object) -> None:
        """Note a call of a tool, for its result; the oldest are forgotten."""
        if isinstance(call, str) and isinstance(name, str):
            if len(self._calls) >= _MOST_CALLS:
                del self._calls[next(iter(self._calls))]
            self._calls[call] = ToolCall(name, self.model)

    def call(self, call: object) -> ToolCall:
        """Return the call that a result names; an empty one if it names none that is known."""
        return self._calls.get(call, ToolCall()) if isinstance(call, str) else ToolCall()


def import_logs(
    store: MediaStore,
    place: str | os.PathLike[str],
    log: type[SessionLog],
    storage_options: Mapping[str, Any] | None,
    words: Mapping[str, Any],
) -> ImportReport:
    """Import the media of all logs of one format below a folder."""
    importer = Importer(store, storage_options=storage_options, **words)
    with importer.source(place) as tree:
        reader = _Reader(tree, log, importer.given)
        report = importer.run(reader.all())
    costs = sorted(reader.costs.values(), key=lambda each: -each.base64_bytes)
    return report.model_copy(update={"inline": tuple(each for each in costs if each.media)})


class _Line(NamedTuple):
    """One line of a log: where it is, and what is the same for all media in it."""

    number: int
    offset: int
    metadata: dict[str, Any]
    message: LogMessage | None


class _Reader:
    def __init__(self, tree: SourceTree, log: type[SessionLog], given: dict[str, Any]) -> None:
        self.costs: dict[str, InlineCost] = {}
        self._tree = tree
        self._log = log
        self._given = given
        self._known: set[tuple[str, bytes]] = set()

    def all(self) -> Iterator[FoundItem]:
        for file in importing.tree_items(self._tree, lambda each: each.path.rstrip("/").endswith(".jsonl")):
            if not isinstance(file, TreeFile):
                yield file
                continue
            try:
                yield from self._of_file(file)
            except (MediaError, OSError, ValueError) as error:  # the last: a log that is written anew meanwhile
                yield importing.not_imported(file.source, error)

    def _of_file(self, file: TreeFile) -> Iterator[FoundItem]:
        name = file.path.rpartition("/")[2].removesuffix(".jsonl")
        log, source, count = self._log(name), f"{self._log.kind}:{name}#", 0
        later: list[tuple[_Line, set[str]]] = []
        odd: dict[str, tuple[int, int]] = {}  # why lines are passed over: the first of them, and how many there are
        with self._tree.open(file.path) as opened:
            for number, offset, size, data in _lines(opened):
                if data is None:
                    why = f"has {size} bytes, more than the {LARGEST_LINE} of a line that are read at once"
                    yield importing.invalid(f"{source}{number}", why)
                    continue
                try:
                    document = json.loads(data)
                except (ValueError, RecursionError):
                    why = "is no JSON: cut off, or broken"
                else:
                    try:
                        message, why = log.take(document), ""
                    except (KeyError, TypeError, AttributeError):
                        why = f"is no line of a session of {self._log.kind}"
                if why:
                    first, others = odd.get(why, (number, 0))
                    odd[why] = first, others + 1
                    continue
                count += message is not None
                ids = {"run_id": log.session, "session_id": log.session}
                ids["conversation_id"] = log.conversation or log.session
                metadata = {**self._given, **ids, "message_idx": max(count - 1, 0)}
                metadata["timestamp"] = document.get("timestamp")
                line = _Line(number, offset, metadata, message)
                self._add_cost(log.session, log_bytes=size)
                yield from self._of_line(line, document, source, later)
            for line, places in later:
                opened.seek(line.offset)
                document = json.loads(opened.readline(LARGEST_LINE))
                yield from self._of_line(line, document, source, None, places.__contains__)
        for why, (first, number) in odd.items():
            yield importing.skipped(f"{source}{first}", why if number == 1 else f"{why}, as are others of its log")

    def _of_line(
        self,
        line: _Line,
        document: Any,
        source: str,
        later: list[tuple[_Line, set[str]]] | None,
        wanted: Callable[[str], bool] = lambda _: True,
    ) -> Iterator[FoundItem]:
        """Yield the media of a line; what may be a copy of one in a later message is put off."""
        session, waiting = line.metadata["run_id"], set()
        try:
            places = list(media_fields(document))
        except MediaError as error:
            yield importing.not_imported(f"{source}{line.number}", error)
            return
        root = None if line.message is None else line.message.root
        for place in places:
            path, where = tuple(chain.from_iterable(place.paths)), place.where
            named = f"{source}{line.number}{where.removeprefix('$')}"
            if not wanted(where):
                continue
            media = place.content()
            if media is None:
                if place.is_large:
                    yield importing.skipped(named, _UNTOLD)
                continue
            if later is not None:
                head = 0 if media.head is None else len(f"{media.head},")
                self._add_cost(session, media=1, base64_bytes=len(place.text) - head)
            key = session, bytes.fromhex(media.digest)
            in_message = root is not None and path[: len(root)] == root
            if not in_message and key in self._known:
                yield importing.skipped(named, _COPY)
            elif not in_message and later is not None:
                waiting.add(where)
            else:
                self._known.add(key)
                yield self._item(named, line, media, path if in_message else None)
        if waiting and later is not None:
            later.append((line._replace(message=None), waiting))  # whose parts are as large as the line

    def _item(self, source: str, line: _Line, media: InlineMedia, path: tuple[str | int, ...] | None) -> SourceItem:
        metadata, message = line.metadata, line.message
        if message is not None and path is not None:
            part, position = message.position(path)
            call = message.calls[min(part, len(message.calls) - 1)] if message.calls else ToolCall()
            about = {"model": message.model or call.model, "tool": call.tool}
            metadata = {**metadata, "part_idx": position, "provider_id": message.model}
            metadata["attributes"] = {name: value for name, value in about.items() if value}
        content = {"mime_type": media.mime_type}
        return SourceItem(source, partial(BytesIO, media.data), metadata, content, len(media.data))

    def _add_cost(self, session: str, *, log_bytes: int = 0, media: int = 0, base64_bytes: int = 0) -> None:
        old = self.costs.get(session, InlineCost(session=session))
        self.costs[session] = InlineCost(
            session=old.session,
            media=old.media + media,
            base64_bytes=old.base64_bytes + base64_bytes,
            log_bytes=old.log_bytes + log_bytes,
            saved_bytes=old.saved_bytes + max(0, base64_bytes - _MARKER),
        )


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, int, bytes | None]]:
    """Yield the number, place, size and bytes of each line that is not blank; None for bytes that are too many."""
    number = offset = 0
    while line := file.readline(LARGEST_LINE + 1):
        number, size, is_whole = number + 1, len(line), len(line) <= LARGEST_LINE
        data = line if is_whole else None
        while not is_whole and not line.endswith(b"\n") and (line := file.readline(_CHUNK)):
            size += len(line)
        if data is None or data.strip():
            yield number, offset, size, data
        offset += size


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
