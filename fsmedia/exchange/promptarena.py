"""Results of PromptArena: `out/<RunID>.json` with media inline, or beside it in PromptKit's own store.

What the results get wrong is put right: media go to the run whose message shows them, also where PromptKit kept the
bytes with another run; both spellings of `MediaOutputs` are read; a WAV file that is called raw sound is audio/wav.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, Unpack

from pydantic_core import from_json

from fsmedia.core import promptkit
from fsmedia.errors import InvalidMediaError, MediaError
from fsmedia.exchange import importing
from fsmedia.exchange.importing import FoundItem, ImportWords, SourceItem, SourceTree
from fsmedia.format import keys
from fsmedia.format.sidecar import Sidecar
from fsmedia.models import ImportReport, OrganizationMode, PassedOver
from fsmedia.models.selection import shows_words
from fsmedia.models.urls import from_base64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from fsmedia.store import MediaStore

LARGEST_RESULT = 256 * 2**20
"""Bytes of one `<RunID>.json` at most: it is read at once, and takes several times its size in memory."""

_log = logging.getLogger("fsmedia")
_INDEX = "index.json"
_DIGEST_NAME = re.compile(r"([0-9a-f]{64})(?:\.[^.]*)?")
_CONTENT = ("mime_type", "format", "detail", "caption", "duration", "bit_rate", "channels", "width", "height", "fps")
_SPELLINGS = {
    "mimetype": "mime_type", "width": "width", "height": "height", "duration": "duration", "filepath": "file_path",
    "messageindex": "message_idx", "messageidx": "message_idx", "partindex": "part_idx", "partidx": "part_idx",
}  # fmt: skip
_PLACE = ("message_idx", "part_idx")
_ABOUT = {"ScenarioID": "scenario", "Region": "region", "PromptPack": "prompt_pack"}


@shows_words(ImportWords, importing.IMPORT_DEFAULTS)
def import_promptarena(
    store: MediaStore,
    place: str | PathLike[str],
    *,
    storage_options: Mapping[str, Any] | None = None,
    **words: Unpack[ImportWords],
) -> ImportReport:
    """Import the media of PromptArena's results. Importing again stores what is new, and nothing twice.

    A media gets the run's id as run_id and conversation_id, the position of its message and of the part in it (parts of
    a tool's result follow the message's own), the time and policy that PromptKit wrote beside it if it did. Attributes
    are the run's `scenario`, `region` and `prompt_pack`, and `finish_reason` where its message has one.

    Parameters
    ----------
    place
        The folder of the results (`out/`) or one of them; a path or any fsspec URL. Nothing outside it is read.
    storage_options
        What the fsspec filesystem of the place takes.
    words
        See `ImportWords`; `policy_name` stands in place of the policies that the results name.

    Raises
    ------
    MediaNotFoundError
        There is nothing at the place. What is wrong with single media is in the report.
    """
    text, only = str(place), None
    if text.endswith(".json"):
        text, slash, only = text.rpartition("/")
        text = text or slash  # a file at the top of the machine is not one of the working directory
    importer = importing.Importer(store, storage_options=storage_options, **words)
    with importer.source(text or ".") as tree:
        return importer.run(_Results(tree, store, words.get("policy_name")).all(only))


class _Results:
    def __init__(self, tree: SourceTree, store: MediaStore, policy_name: str | None) -> None:
        self._tree = tree
        self._store = store
        self._policy_name = policy_name

    def all(self, only: str | None) -> Iterator[FoundItem]:
        names = [entry.key for entry in self._tree.backend.children().entries if entry.key.endswith(".json")]
        for name in sorted(names) if only is None else [only]:
            if name == _INDEX or keys.is_hidden(name) or name.startswith("."):
                continue
            try:
                result = from_json(self._tree.read(name, LARGEST_RESULT))
            except (MediaError, ValueError, OSError) as error:
                short = error if isinstance(error, MediaError) else ValueError(str(error)[:200])
                yield importing.not_imported(name, short)
                continue
            if not (isinstance(result, dict) and "RunID" in result and "Messages" in result):
                yield importing.skipped(name, "is no result of a run: it has no RunID, or no Messages")
            elif not isinstance(result["RunID"], str) or not result["RunID"]:
                yield importing.invalid(name, "its RunID is no text")
            else:
                yield from self._of_result(name, result["RunID"], result)

    def _of_result(self, name: str, run: str, result: dict[str, Any]) -> Iterator[FoundItem]:
        about = {ours: result[theirs] for theirs, ours in _ABOUT.items() if result.get(theirs)}
        ids = {"run_id": run, "conversation_id": run, "attributes": about}
        if self._store.organization is OrganizationMode.BY_SESSION:
            ids["session_id"] = run
        outputs = _outputs(result.get("MediaOutputs"))
        messages = result["Messages"]
        if messages is not None and not isinstance(messages, list):
            yield importing.invalid(name, "its Messages are no list")
        for number, message in enumerate(_listed(messages)):
            if not isinstance(message, dict):
                yield importing.invalid(f"{name}#Messages/{number}", "is no object")
                continue
            of_message = {**ids, "message_idx": number, "timestamp": message.get("timestamp")}
            if message.get("finish_reason"):
                of_message["attributes"] = {**about, "finish_reason": message["finish_reason"]}
            if message.get("role") == "assistant" and isinstance(result.get("ProviderID"), str):
                of_message["provider_id"] = result["ProviderID"]
            for position, where, part in _parts(message):
                source = f"promptarena:{run}#Messages/{number}/{where}"
                if not isinstance(part, dict):
                    yield importing.invalid(source, "is no object")
                elif part.get("media") is not None or part.get("type") not in (None, "text"):
                    output = outputs.pop((number, position), {})
                    yield self._of_part(source, part.get("media"), output, {**of_message, "part_idx": position})
        for (number, position), output in outputs.items():
            source = f"promptarena:{run}#MediaOutputs/{number}/{position}"
            if path := output.get("file_path"):
                metadata = {**ids, "message_idx": number, "part_idx": position}
                yield self._of_part(source, {"file_path": path}, output, metadata)
            else:
                yield importing.skipped(source, "MediaOutputs names it, and no message holds its bytes")

    def _of_part(self, source: str, media: Any, output: dict[str, Any], metadata: dict[str, Any]) -> FoundItem:
        """Return the media of one part: inline, or in a file below the folder."""
        if media is None:
            return importing.skipped(source, "its part holds no media")
        if not isinstance(media, dict):
            return importing.invalid(source, "is no object")
        content = {name: media.get(name) if media.get(name) is not None else output.get(name) for name in _CONTENT}
        metadata = {**metadata, "policy_name": self._policy_name or media.get("policy_name") or None}
        path = media.get("storage_reference") or media.get("file_path")
        try:
            if media.get("data"):
                data = _inline(media["data"])
                return SourceItem(source, partial(BytesIO, data), metadata, content, len(data))
            if path and not isinstance(path, str):
                raise InvalidMediaError("the name of its file is no text", next_step="mend the file")
            if path:
                return self._of_file(source, importing.locate(self._tree, path), metadata, content)
        except MediaError as error:
            return importing.not_imported(source, error)
        why = "names only a URL, and URLs are not fetched" if media.get("url") else "holds no bytes and names none"
        return importing.skipped(source, why)

    def _of_file(
        self, source: str, path: str, metadata: dict[str, Any], content: dict[str, Any]
    ) -> SourceItem | PassedOver:
        if self._is_stored(path, metadata["run_id"]):
            return importing.skipped(source, "is a media of this store and this run already")
        beside = self._sidecar(path)
        # The sidecar of bytes that another run wrote first speaks of that run.
        if beside.get("run_id") == metadata["run_id"]:
            policy = metadata["policy_name"] or beside.get("policy_name")
            timestamp = beside.get("timestamp") or metadata.get("timestamp")
            metadata = {**metadata, "timestamp": timestamp, "policy_name": policy}
        kind = content.get("mime_type") or beside.get("mime_type")
        kind = promptkit.mime_type_of(kind, path) if isinstance(kind, str) and kind else kind
        entry = self._tree.backend.head(path)
        named = _DIGEST_NAME.fullmatch(path.rpartition("/")[2])
        content = {**content, "mime_type": kind, **({"file_name": None} if named else {})}
        size, digest = None if entry is None else entry.size, None if named is None else named[1]
        return SourceItem(source, self._tree.opener(path), metadata, content, size, path, digest)

    def _is_stored(self, path: str, run: str) -> bool:
        """Tell whether a file is a media of this run in the very store that imports: PromptKit's, opened as it is."""
        place = self._tree.backend.local_path(path)
        if place is None or not place.startswith(f"{self._store.url}/"):
            return False
        try:
            return self._store.info(place).run_id == run
        except MediaError:
            return False  # what is not whole there is imported

    def _sidecar(self, path: str) -> dict[str, Any]:
        try:
            data = self._tree.backend.read(keys.sidecar_key(path))
            return {} if data is None else Sidecar.parse(data, path).values
        except MediaError as error:
            _log.warning("importing without what stands beside it: %s", error)
            return {}


def _inline(data: Any) -> bytes:
    """Decode inline bytes; no error quotes them."""
    if isinstance(data, str):
        with suppress(ValueError):
            return from_base64(data)
    raise InvalidMediaError("its data is not standard padded base64 (RFC 4648)", next_step="mend the file")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _parts(message: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    """Yield each part of a message: its position, the way to it, and itself; those of a tool's result come last."""
    own = _listed(message.get("parts"))
    for index, part in enumerate(own):
        yield index, f"parts/{index}", part
    result = message.get("tool_result")
    for index, part in enumerate(_listed(result.get("parts")) if isinstance(result, dict) else ()):
        yield len(own) + index, f"tool_result/parts/{index}", part


def _outputs(listed: Any) -> dict[tuple[int, int], dict[Any, Any]]:
    """Return what MediaOutputs tells, by message and part, whichever way its keys are spelled."""
    found: dict[tuple[int, int], dict[Any, Any]] = {}
    for each in _listed(listed):
        if not isinstance(each, dict):
            continue
        spelled = {_SPELLINGS.get(name.replace("_", "").lower()): value for name, value in each.items()}
        output = {name: value for name, value in spelled.items() if name in _PLACE or value not in ("", 0)}
        message_idx, part_idx = _index(output.get("message_idx")), _index(output.get("part_idx"))
        if message_idx is not None and part_idx is not None:
            found[message_idx, part_idx] = output
    return found


def _index(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
