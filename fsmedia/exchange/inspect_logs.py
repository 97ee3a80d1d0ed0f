"""Logs of inspect_ai, read by its own reader: pictures, sound, video and documents in the messages of samples.

inspect_ai is loaded when this is used. URLs and files that messages name are not fetched: a log is a stranger's.
"""

from __future__ import annotations

import os
import zipfile
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fsmedia.errors import ForeignCall, InvalidMediaError, MediaError, MediaNotFoundError, StorageError
from fsmedia.exchange import importing
from fsmedia.exchange.importing import FoundItem, ImportWords, SourceItem
from fsmedia.models.selection import shows_words
from fsmedia.models.urls import read_data_url
from fsmedia.storage.errors import ErrorTranslator
from fsmedia.storage.listing import depth_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    from fsmedia.models import ImportReport
    from fsmedia.store import MediaStore

LARGEST_MEMBER = 2**30
"""Bytes of one sample in a log at most: it is read at once, and takes several times its size in memory."""

_MEDIA = ("image", "audio", "video", "document")
_ATTACHMENT = "attachment://"
_REMOVED = "<base64-data-removed>"
_ENDINGS = (".eval", ".json")
_CHUNK = 2**20


@shows_words(ImportWords, importing.IMPORT_DEFAULTS)
def import_inspect(
    store: MediaStore, logs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], **words: Unpack[ImportWords]
) -> ImportReport:
    """Import the media of inspect_ai's logs. Importing again stores what is new, and nothing twice.

    run_id is the evaluation's run, session_id the evaluation, conversation_id `<task>/<sample>/<epoch>`; message and
    part are those of the sample's messages, and what a model made names it as its provider. Other choices of a model
    and attachments that no message names follow after the messages. Attributes are `task`, `sample_id`, `epoch`, the
    sample's scores as `score.<scorer>`, and of what a model made `model`, `finish_reason` and `response_id`.

    Parameters
    ----------
    logs
        One or more log files (`.eval`, `.json`), or folders of them, on this machine.
    words
        See `ImportWords`.

    Raises
    ------
    StorageError
        inspect_ai is not installed.
    MediaNotFoundError
        There is no such log. What is wrong with single logs and media is in the report.
    """
    reader = _reader()
    files = _files([logs] if isinstance(logs, str | os.PathLike) else logs)
    return importing.Importer(store, **words).run(_of_logs(reader, files, words.get("policy_name")))


def _reader() -> ModuleType:
    try:
        import inspect_ai.log as reader
    except ImportError as error:
        raise StorageError(
            f"logs of inspect_ai are read by inspect_ai, which is not installed ({error})",
            next_step="pip install inspect-ai",
        ) from None
    return reader


def _files(given: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the logs, those in folders too, each once."""
    found: dict[Path, None] = {}
    for each in map(Path, given):
        if each.is_dir():
            with ErrorTranslator(str(each)):
                below = [path for path in _below(each) if path.suffix in _ENDINGS and not path.is_symlink()]
            found |= dict.fromkeys(path for path in sorted(below) if path.is_file() and path.name != "logs.json")
        elif each.is_file():
            found[each] = None
        else:
            raise MediaNotFoundError("no such log", next_step="check the path", key=str(each))
    return list(found)


def _below(folder: Path) -> Iterator[Path]:
    """Give all files below a folder; links are not entered."""

    def inside(each: Path) -> Iterable[Path] | None:
        return each.iterdir() if each == folder or (each.is_dir() and not each.is_symlink()) else None

    return depth_first(folder, inside)


def _of_logs(reader: ModuleType, files: list[Path], policy_name: str | None) -> Iterator[FoundItem]:
    for file in files:
        try:
            _check_sizes(file)
            evaluation, samples = _opened(reader, file)
        except Exception as error:  # noqa: BLE001 - logs are strangers', and inspect_ai's reader raises what it likes
            yield importing.not_imported(str(file), error)
            continue
        for sample_id, epoch, read in samples:
            where = f"inspect:{evaluation.eval_id}#{sample_id}/{epoch}"
            with ForeignCall() as call:
                sample = read()
            if call.error is not None:
                yield importing.not_imported(where, call.error)
            else:
                yield from _Sample(evaluation, sample, where, policy_name).media()


def _opened(reader: ModuleType, file: Path) -> tuple[Any, list[tuple[str | int, int, Callable[[], Any]]]]:
    """Return what a log says of its evaluation, and its samples, each with what reads it."""
    if file.suffix == ".json":  # one document, read at once
        log = reader.read_eval_log(file)
        return log.eval, [(each.id, each.epoch, partial(lambda sample: sample, each)) for each in log.samples or ()]
    header = reader.read_eval_log(file, header_only=True)
    read = partial(reader.read_eval_log_sample, file, exclude_fields={"events", "store", "timelines"})
    summaries = reader.read_eval_log_sample_summaries(file)
    return header.eval, [(each.id, each.epoch, partial(read, id=each.id, epoch=each.epoch)) for each in summaries]


def _check_sizes(file: Path) -> None:
    """Refuse a log that would not fit into memory: a small file may unpack to anything."""
    largest = file.stat().st_size
    if file.suffix == ".eval":
        with zipfile.ZipFile(file) as archive:
            largest = max((each.file_size for each in archive.infolist()), default=0)
            for each in archive.infolist() if largest <= LARGEST_MEMBER else ():
                _check_claim(archive, each)
    if largest > LARGEST_MEMBER:
        raise InvalidMediaError(
            f"holds a sample of {largest} bytes, more than the {LARGEST_MEMBER} that are read at once",
            next_step="look whether it is what it should be",
            key=str(file),
        )


def _check_claim(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse a member that unpacks to more than it claims: the reader of logs unpacks it at once."""
    claimed, size = member.file_size, 0
    member.file_size += 1  # else zipfile stops at the claim, and what comes after it is not seen
    with archive.open(member) as file:
        while data := file.read(_CHUNK):
            size += len(data)
    if size > claimed:
        raise InvalidMediaError(
            f"holds a file that unpacks to more than the {claimed} bytes that it claims",
            next_step="look whether it is what it should be",
            key=importing.printable(member.filename),
        )


class _Sample:
    def __init__(self, evaluation: Any, sample: Any, where: str, policy_name: str | None) -> None:
        self._sample = sample
        self._where = where
        self._attachments: dict[str, str] = dict(sample.attachments)
        self._names = {value: name for name, value in self._attachments.items()}
        self._used: set[str] = set()
        self._model = str(evaluation.model)
        scores = {f"score.{name}": score.value for name, score in (sample.scores or {}).items()}
        self._about = {"task": evaluation.task, "sample_id": sample.id, "epoch": sample.epoch, **scores}
        self._ids = {
            "run_id": importing.printable(evaluation.run_id),
            "session_id": importing.printable(evaluation.eval_id),
            "conversation_id": importing.printable(f"{evaluation.task}/{sample.id}/{sample.epoch}"),
            "policy_name": policy_name,
            "timestamp": sample.completed_at if isinstance(sample.completed_at, str) else None,
            "attributes": self._about,
        }

    def media(self) -> Iterator[FoundItem]:
        """Yield the media of its messages, then those of other choices, then attachments that nothing named."""
        messages = list(self._sample.messages)
        if not messages and not isinstance(self._sample.input, str):
            messages = list(self._sample.input)
        known = {message.id for message in messages if message.id}
        others = [choice.message for choice in self._sample.output.choices if choice.message.id not in known]
        known_contents = {repr(message.content) for message in messages}
        messages += [message for message in others if repr(message.content) not in known_contents]
        for number, message in enumerate(messages):
            made = message.role == "assistant"
            attributes = {**(self._answer(message) if made else {}), **self._about}
            for position, part in enumerate(message.content if isinstance(message.content, list) else ()):
                if part.type in _MEDIA:
                    source = f"{self._where}/messages/{number}/content/{position}"
                    place = {"message_idx": number, "part_idx": position, "attributes": attributes}
                    provider = self._model if made else None
                    yield self._of_part(source, part, {**self._ids, **place, "provider_id": provider})
        position = 0
        for name, value in self._attachments.items():
            # Text that is too long for a message is an attachment as well, and no media.
            if name not in self._used and value.startswith("data:"):
                metadata = {**self._ids, "message_idx": len(messages), "part_idx": position}
                yield self._of_url(f"{self._where}/attachments/{name}", value, metadata, {})
                position += 1

    def _answer(self, message: Any) -> dict[str, Any]:
        """Return which model made a message and, of the last answer, why it ended and its id; newer logs tell more."""
        output, about = self._sample.output, {"model": getattr(message, "model", None) or self._model}
        for choice in output.choices:
            if message.id and choice.message.id == message.id:
                about["response_id"] = getattr(output, "response_id", None)
                about["finish_reason"] = None if choice.stop_reason == "unknown" else choice.stop_reason
        return about

    def _of_part(self, source: str, part: Any, metadata: dict[str, Any]) -> FoundItem:
        value = getattr(part, part.type)
        if value.startswith(_ATTACHMENT):
            name = value.removeprefix(_ATTACHMENT)
            self._used.add(name)
            if name not in self._attachments:
                return importing.invalid(source, "the log names an attachment that it does not hold")
            value = self._attachments[name]
        content = {"detail": part.detail} if part.type == "image" else {}
        if part.type == "document":
            content |= {"caption": part.filename or None, "file_name": part.filename}
        return self._of_url(source, value, metadata, content)

    def _of_url(self, source: str, value: str, metadata: dict[str, Any], content: dict[str, Any]) -> FoundItem:
        if value.endswith(_REMOVED):
            return importing.skipped(source, "its bytes were left out when the log was written (log_images=False)")
        if not value.startswith("data:"):
            url = value.startswith(("http://", "https://"))
            why = "names only a URL, and URLs are not fetched" if url else "names a file elsewhere"
            return importing.skipped(source, why)
        self._used.add(self._names.get(value, ""))
        try:
            kind, data = read_data_url(value, max_size=None)
        except MediaError as error:
            return importing.not_imported(source, error)
        return SourceItem(source, partial(BytesIO, data), metadata, {**content, "mime_type": kind}, len(data))
