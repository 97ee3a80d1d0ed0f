"""Watching operations: when they begin and end, what becomes of them, and telling it to whoever listens.

May read the clock that durations are measured by, and write to the log. With nobody listening an operation pays one
look at who does.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Sized
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from fsmedia.errors import BulkError, InvalidMediaError, MediaError, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from fsmedia.core.opentelemetry import ActiveSpan, Recorder

_NAMES = {
    "store": "media.stored",
    "retrieve": "media.retrieved",
    "delete": "media.deleted",
    "open": "media.opened",
    "get_url": "media.url_given",
    "apply_policy": "media.policy_applied",
    "hold": "media.held",
    "release": "media.released",
    "enforce_policy": "media.swept",
    "sweep_orphans": "media.orphans_swept",
    "rebuild_due_index": "media.due_index_rebuilt",
    "deduplicate": "media.deduplicated",
    "erase": "media.erased",
}
"""Names of what succeeded, the first three as PromptKit has them; of any other operation it is `media.<operation>`."""
_FAILED = "media.store_error"  # PromptKit's, whatever the operation was
_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One operation on a store, once it has ended.

    Each call is one event. Bulk calls and sweeps also are one event for each media that they stored, retrieved or
    deleted, and for each that failed; those say `within` which call, have no duration, and come before the call's own.

    Attributes
    ----------
    operation
        `store`, `retrieve`, `delete`, `get_url`, `open`, ...: the method's name, without `_media`.
    backend
        Protocol of the store's URL: `file`, `memory`, `s3`, `gs`, ...
    url
        The store's root, without user, password or query.
    reference
        The media's; None where there is none (yet), or where many are meant.
    mime_type, size_bytes
        What is known of the media; of a sweep, the bytes that it freed.
    duration
        Time from call to answer; None for one media of many.
    run_id, conversation_id, session_id, message_idx, part_idx
        Of the media, where the operation knows them.
    within
        The operation that this is a part of.
    reason
        Of a deletion: `explicit`, or `policy`.
    count, failed, skipped, examined
        Of bulk calls and sweeps: media that were done, that failed, that had to stay, that were looked at.
    dry_run
        Whether nothing was changed.
    error_type, error
        Class name and text of what went wrong; the text only of this package's errors, at most 500 characters,
        without user, password or query of any URL in it.
    """

    operation: str
    backend: str
    url: str
    reference: str | None = None
    mime_type: str | None = None
    size_bytes: int | None = None
    duration: timedelta | None = None
    run_id: str | None = None
    conversation_id: str | None = None
    session_id: str | None = None
    message_idx: int | None = None
    part_idx: int | None = None
    within: str | None = None
    reason: str | None = None
    count: int | None = None
    failed: int | None = None
    skipped: int | None = None
    examined: int | None = None
    dry_run: bool = False
    error_type: str | None = None
    error: str | None = None

    @property
    def name(self) -> str:
        """The event's name: `media.stored`, `media.retrieved`, `media.deleted`, ...; `media.store_error` of failures.

        The first three and the last are PromptKit's.
        """
        return _FAILED if self.error_type else _NAMES.get(self.operation, f"media.{self.operation}")


class Hook(Protocol):
    """Whoever wants to hear of each operation: called with its `Event`, in the thread that did it, before it returns.

    What it raises is logged once and stops nothing. What it does with a store is not told to any hook.
    """

    def __call__(self, event: Event, /) -> object:
        """Take note; quickly, for the operation waits."""


def checked_hooks(hooks: object) -> tuple[Hook, ...]:
    """Return what a caller gave as hooks.

    Raises
    ------
    InvalidMediaError
        They can't be called, or are not several.
    """
    try:
        found: tuple[Any, ...] = tuple(hooks)  # type: ignore[arg-type] # a stranger's value
    except TypeError:
        found = (None,)
    if not all(callable(each) for each in found):
        raise InvalidMediaError(
            f"hooks must be several functions, not {type(hooks).__name__}",
            next_step="hooks=[function]; each is called with a fsmedia.Event after each operation",
        )
    return found


def safe_text(error: BaseException) -> str | None:
    """Return the text of an error of this package; others may say anything."""
    return without_secrets(str(error))[:_LONGEST_ERROR] if isinstance(error, MediaError) else None


Method = TypeVar("Method", bound="Callable[..., Any]")
_OPENTELEMETRY = "opentelemetry.trace"
_PARTS = {"store_many": "store", "retrieve_many": "retrieve", "delete_many": "delete", "enforce_policy": "delete"}
"""Operations on many media -> what they do with each."""
_IDS = ("mime_type", "run_id", "conversation_id", "session_id", "message_idx", "part_idx")
_FACTS = ("size_bytes", *_IDS)
_log = logging.getLogger("fsmedia")


class ObservedStore(Protocol):
    """Whose operations are watched."""

    @property
    def _observer(self) -> Observer: ...


class Observer:
    """Those who listen to one store.

    Parameters
    ----------
    url
        The store's root, without user, password or query.
    hooks
        Called with each event.
    """

    def __init__(self, url: str, hooks: Iterable[Hook] = ()) -> None:
        protocol, separator, _ = url.partition("://")
        self.backend = protocol if separator else "file"
        self.url = url
        self.hooks = tuple(hooks)
        self._failed: set[int] = set()

    def begin(self, operation: str) -> RunningOperation | None:
        """Begin to watch an operation; None if nobody listens, or a hook does it."""
        recorder = _current_recorder()
        if recorder is None and not self.hooks:
            return None
        outer = _current.get()
        if outer is _SUPPRESSED:
            return None
        return RunningOperation(self, operation, outer, recorder)

    def tell(self, event: Event) -> None:
        """Call the hooks; what one raises is logged once."""
        if not self.hooks:
            return
        token = _current.set(_SUPPRESSED)
        try:
            for index, hook in enumerate(self.hooks):
                try:
                    hook(event)
                except Exception as error:  # noqa: BLE001 - the hook's own trouble
                    if index not in self._failed:
                        self._failed.add(index)
                        _log.warning(
                            "hook %s failed with %s; it is called on, and this is not said again",
                            _name_of(hook),
                            _where(error),
                        )
        finally:
            _current.reset(token)


class RunningOperation:
    """One operation under way. As a context manager it is what `tell` speaks of, and ends at its end."""

    def __init__(
        self, observer: Observer, operation: str, outer: RunningOperation | None, recorder: Recorder | None
    ) -> None:
        self.operation = operation
        self.facts: dict[str, Any] = {}
        self._observer = observer
        self._within = None if outer is None else outer.operation
        self._recorder = recorder
        self._error: BaseException | None = None
        self._parts = 0
        self._begun = perf_counter()
        self._span: ActiveSpan | None = None
        if recorder is not None:
            with _LOG_FAILURES:
                self._span = recorder.begin(operation, observer)

    def tell(self, operation: str, facts: Mapping[str, Any]) -> None:
        """Add facts to this operation; those of another one make an event, as a part of this."""
        if operation == self.operation:
            self.facts.update(facts)
            return
        with _LOG_FAILURES:
            self._part(operation, facts)

    def fail(self, error: BaseException) -> None:
        """Note what the operation ends with."""
        self._error = error

    def take(self, result: object) -> None:
        """Learn what a result tells: a record's facts, a report's numbers, the errors among many answers."""
        with _LOG_FAILURES:
            self._take(result, _PARTS.get(self.operation))

    def _take(self, result: object, part: str | None) -> None:
        if isinstance(result, list):
            errors = [each for each in result if isinstance(each, MediaError)]
            self.facts.update(count=len(result) - len(errors), failed=len(errors))
            self._tell_failures(part, errors)
        elif hasattr(result, "took"):
            self._take_report(result, part)
        elif isinstance(result, bytes):
            self.facts["size_bytes"] = len(result)
        elif type(result).__name__ == "Reference":
            self.facts["reference"] = str(result)
        else:
            self.facts.update(media_facts({name: getattr(result, name, None) for name in _FACTS}, _FACTS))

    def _take_report(self, report: Any, part: str | None) -> None:
        done = next((getattr(report, name) for name in ("deleted", "mended", "moved") if hasattr(report, name)), None)
        facts = {name: _number(getattr(report, name, None)) for name in ("examined", "failed", "skipped")}
        facts.update(count=_number(done), size_bytes=_number(getattr(report, "bytes_freed", None)))
        self.facts.update(facts, dry_run=bool(getattr(report, "dry_run", False)))
        if part is None:
            return
        for each in () if self.facts["dry_run"] else done or ():
            self._part(part, {"reference": each.reference, "size_bytes": each.size_bytes, "reason": "policy"})
        self._tell_failures(part, [each.error for each in report.failed])

    def _tell_failures(self, part: str | None, errors: Iterable[MediaError]) -> None:
        for error in errors if part else ():
            self._part(part or "", {}, error)

    def _part(self, operation: str, facts: Mapping[str, Any], error: MediaError | None = None) -> None:
        self._parts += error is None
        event = self._event(operation, facts, error, within=self.operation)
        self._observer.tell(event)
        if self._recorder is not None:
            self._recorder.count(event)

    def _event(
        self,
        operation: str,
        facts: Mapping[str, Any],
        error: BaseException | None,
        *,
        within: str | None,
        duration: timedelta | None = None,
    ) -> Event:
        told = dict(facts)
        if error is not None:
            told["reference"] = getattr(error, "reference", None) or told.get("reference")
            told.update(error_type=type(error).__name__, error=safe_text(error))
        if told.get("reference") is not None:
            told["reference"] = without_secrets(str(told["reference"]))
        return Event(
            operation=operation,
            backend=self._observer.backend,
            url=self._observer.url,
            within=within,
            duration=duration,
            **told,
        )

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        if self._span is not None:
            with _LOG_FAILURES:
                self._span.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration = timedelta(seconds=perf_counter() - self._begun)
        _current.reset(self._token)
        with _LOG_FAILURES:
            self._end(error or self._error, duration)

    def _end(self, error: BaseException | None, duration: timedelta) -> None:
        if isinstance(error, BulkError):
            self.facts.update(count=len(error.results), failed=len(error.errors))
            self._tell_failures(_PARTS.get(self.operation), error.errors.values())
        if self.operation in _PARTS:
            self.facts.setdefault("count", self._parts)
        event = self._event(self.operation, self.facts, error, within=self._within, duration=duration)
        self._observer.tell(event)
        if self._recorder is not None:
            self._recorder.count(event)
        if self._span is not None:
            self._span.end(event)


class _LoggedFailures:
    """Around what tells of an operation: whatever fails in it is logged, and does not reach the operation."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            _log.warning("telemetry failed with %s", _where(error))
            return True
        return False


_LOG_FAILURES = _LoggedFailures()
_SUPPRESSED: Any = object()
"""Stands for a hook at work: what it does is not told."""
_current: ContextVar[RunningOperation | None] = ContextVar("fsmedia_watched", default=None)


def is_observed() -> bool:
    """Tell whether somebody wants to know what is done here; only then facts are worth finding."""
    return isinstance(_current.get(), RunningOperation)


def add_facts(operation: str, **facts: Any) -> None:
    """Say what was found out of the operation that is watched, or what was done to one of its many media."""
    watch = _current.get()
    if isinstance(watch, RunningOperation):
        watch.tell(operation, facts)


def media_facts(values: Mapping[str, Any], names: Iterable[str] = _IDS) -> dict[str, Any]:
    """Return what of a media's metadata is told: whose it is, and its MIME type."""
    return {name: values[name] for name in names if values.get(name) not in (None, "")}


def set_reference(reference: str) -> None:
    """Say which media the watched operation is about, once its reference is known in its one spelling."""
    watch = _current.get()
    if isinstance(watch, RunningOperation) and watch.operation not in _PARTS:
        watch.facts["reference"] = reference


def observed(operation: str) -> Callable[[Method], Method]:
    """Make a method an operation that is watched, of a class with an `_observer`; all else of it stays."""

    def watched(method: Method) -> Method:
        call = _observed_coroutine if inspect.iscoroutinefunction(method) else _observed_call
        return cast("Method", functools.update_wrapper(call(operation, method), method))

    return watched


def _observed_call(operation: str, method: Callable[..., Any]) -> Any:
    def call(self: ObservedStore, /, *args: Any, **kwargs: Any) -> Any:
        watch = self._observer.begin(operation)
        if watch is None:
            return method(self, *args, **kwargs)
        with watch:
            result = method(self, *args, **kwargs)
            watch.take(result)
        return result

    return call


def _observed_coroutine(operation: str, method: Callable[..., Any]) -> Any:
    async def call(self: ObservedStore, /, *args: Any, **kwargs: Any) -> Any:
        watch = self._observer.begin(operation)
        if watch is None:
            return await method(self, *args, **kwargs)
        with watch:
            result = await method(self, *args, **kwargs)
            watch.take(result)
        return result

    return call


def _current_recorder() -> Recorder | None:
    """Return OpenTelemetry's side, where the program has loaded that and something there records.

    Who configures OpenTelemetry has imported it, so nothing is imported for the others.
    """
    if _OPENTELEMETRY not in sys.modules:
        return None
    recorder: Recorder | None = _opentelemetry().recorder()
    return recorder


@functools.cache
def _opentelemetry() -> Any:
    return import_module("fsmedia.core.opentelemetry")


def _number(value: object) -> int | None:
    """Return a number of a report, or how many things it names."""
    return value if isinstance(value, int) else len(value) if isinstance(value, Sized) else None


def _name_of(hook: object) -> str:
    kind = type(hook)
    return str(getattr(hook, "__qualname__", f"{kind.__module__}.{kind.__qualname__}"))


def _where(error: BaseException) -> str:
    """Return what was raised and where, without its text: that may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" (line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name})"
    return f"{type(error).__name__}{place}"
