"""Observing operations: hooks and OpenTelemetry are told of each call on a store once it has ended.

Reads the clock that durations are measured by, and writes to the log. Without hooks and OpenTelemetry an operation pays
for one look at both.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from importlib import import_module
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from fsmedia.errors import BulkError, ForeignCall, InvalidMediaError, MediaError, StorageError, without_secrets
from fsmedia.models import Event

if TYPE_CHECKING:
    from fsmedia.core.opentelemetry import ActiveSpan, Recorder

T = TypeVar("T")
Method = TypeVar("Method", bound="Callable[..., Any]")
_LONGEST_ERROR = 500
_MOST_DRAFTS = 256
_PARTS = {"store_many": "store", "retrieve_many": "retrieve", "delete_many": "delete", "enforce_policy": "delete"}
"""Operations on many media items -> what they do with each."""
_IDS = ("mime_type", "run_id", "conversation_id", "session_id", "message_idx", "part_idx")
_FACTS = ("size_bytes", *_IDS)
_log = logging.getLogger("fsmedia")
_import_once: Callable[[str], Any] = functools.cache(import_module)


class Hook(Protocol):
    """Function that is called with the `Event` of each operation, in its thread, before the operation returns.

    What it raises is logged once and stops nothing. Operations that it calls itself are not told to any hook.
    """

    def __call__(self, event: Event, /) -> object:
        """Handle an event; quickly, for the operation waits."""


def checked_hooks(hooks: Any) -> tuple[Hook, ...]:
    """Return the hooks that a caller gave, unless they can't be called or are not several."""
    try:
        found: tuple[Any, ...] = tuple(hooks)
    except TypeError:
        found = (None,)
    if not all(callable(each) for each in found):
        raise InvalidMediaError(
            f"hooks must be several functions, not {type(hooks).__name__}",
            next_step="hooks=[function]; each is called with a fsmedia.Event after each operation",
        )
    return found


def safe_text(error: BaseException) -> str | None:
    """Return the text of an error of this package; None for any other."""
    # The text of others may hold anything: credentials, a signed URL, data.
    return without_secrets(str(error))[:_LONGEST_ERROR] if isinstance(error, MediaError) else None


class ObservedStore(Protocol):
    """Store or filesystem whose operations are observed."""

    @property
    def _observer(self) -> Observer: ...


class Observer:
    """The hooks of one store, and OpenTelemetry where that records.

    `url`: the store's root, without user, password or query. `hooks`: called with each event.
    """

    def __init__(self, url: str, hooks: Iterable[Hook] = ()) -> None:
        protocol, separator, _ = url.partition("://")
        self.backend = protocol if separator else "file"
        self.url = url
        self.hooks = tuple(hooks)
        self._failed: set[int] = set()

    def begin(self, operation: str) -> RunningOperation | None:
        """Begin to observe an operation; None if nobody listens, or a hook calls it."""
        # Asked anew each time: a program may set its providers after it has opened the store.
        recorder = _current_recorder()
        if recorder is None and not self.hooks:
            return None
        outer = _current.get()
        if outer is _SUPPRESSED:
            return None
        return RunningOperation(self, operation, outer, recorder)

    def notify(self, event: Event) -> None:
        """Call the hooks; what one raises is logged once."""
        if not self.hooks:
            return
        # A hook that stores an event in the same store would be called for that store as well, and so on.
        token = _current.set(_SUPPRESSED)
        try:
            for index, hook in enumerate(self.hooks):
                with ForeignCall() as call:
                    hook(event)
                if call.error is not None and index not in self._failed:
                    self._failed.add(index)
                    _log.warning(
                        "hook %s failed with %s; it is called on, and this is not said again",
                        _name_of(hook),
                        _where(call.error),
                    )
        finally:
            _current.reset(token)


@contextmanager
def _logged_failures() -> Iterator[None]:
    """Log whatever fails in telemetry itself, which must not reach the operation."""
    with ForeignCall() as call:
        yield
    if call.error is not None:
        _log.warning("telemetry failed with %s", _where(call.error))


class RunningOperation:
    """An operation that runs. In its block `add_facts` adds to it; at the end of the block it is reported."""

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
            with _logged_failures():
                self._span = recorder.begin(operation, backend=observer.backend, url=observer.url)

    def add(self, operation: str, facts: Mapping[str, Any]) -> None:
        """Add facts to this operation; those of another operation are reported as a part of this one."""
        if operation == self.operation:
            self.facts.update(facts)
            return
        with _logged_failures():
            self._report_part(operation, facts)

    def fail(self, error: BaseException) -> None:
        """Set the error that the operation ends with."""
        self._error = error

    def add_result(self, result: T) -> T:
        """Add the facts in a result, and return it."""
        with _logged_failures():
            self._add_facts_of(result)
        return result

    def _add_facts_of(self, result: object) -> None:
        """Add the facts of a record, the numbers of a report, the errors among many results."""
        part = _PARTS.get(self.operation)
        if isinstance(result, list):
            errors = [each for each in result if isinstance(each, MediaError)]
            self.facts.update(count=len(result) - len(errors), failed=len(errors))
            self._report_failures(part, errors)
        elif hasattr(result, "took"):
            self._add_report(result, part)
        elif isinstance(result, bytes):
            self.facts["size_bytes"] = len(result)
        elif type(result).__name__ == "Reference":
            self.facts["reference"] = str(result)
        else:
            self.facts.update(media_facts({name: getattr(result, name, None) for name in _FACTS}, _FACTS))

    def _add_report(self, report: Any, part: str | None) -> None:
        done = next((getattr(report, name) for name in ("deleted", "mended", "moved") if hasattr(report, name)), None)
        facts = {name: _number(getattr(report, name, None)) for name in ("examined", "failed", "skipped")}
        facts.update(count=_number(done), size_bytes=_number(getattr(report, "bytes_freed", None)))
        self.facts.update(facts, dry_run=bool(getattr(report, "dry_run", False)))
        if part is None:
            return
        for each in () if self.facts["dry_run"] else done or ():
            self._report_part(part, {"reference": each.reference, "size_bytes": each.size_bytes, "reason": "policy"})
        self._report_failures(part, [each.error for each in report.failed])

    def _report_failures(self, part: str | None, errors: Iterable[MediaError]) -> None:
        for error in errors if part else ():
            self._report_part(part or "", {}, error)

    def _report_part(self, operation: str, facts: Mapping[str, Any], error: MediaError | None = None) -> None:
        self._parts += error is None
        self._tell(self._event(operation, facts, error, within=self.operation))

    def _tell(self, event: Event) -> None:
        self._observer.notify(event)
        if self._recorder is not None:
            self._recorder.count(event)

    def _event(self, operation: str, facts: Mapping[str, Any], error: BaseException | None, **timing: Any) -> Event:
        fields = {**facts, **timing}
        if error is not None:
            fields["reference"] = getattr(error, "reference", None) or fields.get("reference")
            fields.update(error_type=type(error).__name__, error=safe_text(error))
        if fields.get("reference") is not None:
            fields["reference"] = without_secrets(str(fields["reference"]))
        return Event(operation=operation, backend=self._observer.backend, url=self._observer.url, **fields)

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        if self._span is not None:
            with _logged_failures():
                self._span.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration = timedelta(seconds=perf_counter() - self._begun)
        _current.reset(self._token)
        with _logged_failures():
            self._end(error or self._error, duration)

    def _end(self, error: BaseException | None, duration: timedelta) -> None:
        if isinstance(error, BulkError):
            self.facts.update(count=len(error.results), failed=len(error.errors))
            self._report_failures(_PARTS.get(self.operation), error.errors.values())
        if self.operation in _PARTS:
            self.facts.setdefault("count", self._parts)
        event = self._event(self.operation, self.facts, error, within=self._within, duration=duration)
        self._tell(event)
        if self._span is not None:
            self._span.end(event)


_SUPPRESSED: Any = object()  # stands in the place of an operation while hooks run: what they do is not reported
# A context variable: it follows an operation into its coroutines, and each thread has its own.
_current: ContextVar[RunningOperation | None] = ContextVar("fsmedia_operation", default=None)


class Drafts:
    """The media that a call is about to store, for whoever cancels it and can't wait for its end."""

    def __init__(self) -> None:
        self.references: deque[str] = deque(maxlen=_MOST_DRAFTS)
        self.abandoned = False


drafts: ContextVar[Drafts | None] = ContextVar("fsmedia_drafts", default=None)


def note_draft(reference: str) -> None:
    """Note the name of a media before its first byte is written; `StorageError` if its call was given up already."""
    if (found := drafts.get()) is None:
        return
    found.references.append(reference)
    # After the note: whoever gives the call up either reads it, or it is refused here.
    if found.abandoned:
        raise StorageError("was cancelled before it began", next_step="store it again", reference=reference)


def forget_draft(reference: str) -> None:
    """Forget a media that is stored."""
    if (found := drafts.get()) is not None and reference in found.references:
        found.references.remove(reference)


def is_observed() -> bool:
    """Return whether the current operation is observed; only then facts are worth collecting."""
    return isinstance(_current.get(), RunningOperation)


def add_facts(operation: str, **facts: Any) -> None:
    """Add facts to the current operation, or report what was done to one of its many media items."""
    running = _current.get()
    if isinstance(running, RunningOperation):
        running.add(operation, facts)


def media_facts(values: Mapping[str, Any], names: Iterable[str] = _IDS) -> dict[str, Any]:
    """Return those values of a media item's metadata that go into events: its ids and its MIME type."""
    return {name: values[name] for name in names if values.get(name) not in (None, "")}


def set_reference(reference: str) -> None:
    """Set the reference of the current operation, once it is known in its canonical form."""
    running = _current.get()
    if isinstance(running, RunningOperation) and running.operation not in _PARTS:
        running.facts["reference"] = reference


def observed(operation: str) -> Callable[[Method], Method]:
    """Decorate a method of an `ObservedStore` as an operation that is observed."""

    def decorate(method: Method) -> Method:
        def call(self: ObservedStore, /, *args: Any, **kwargs: Any) -> Any:
            running = self._observer.begin(operation)
            if running is None:
                return method(self, *args, **kwargs)
            with running:
                return running.add_result(method(self, *args, **kwargs))

        async def call_async(self: ObservedStore, /, *args: Any, **kwargs: Any) -> Any:
            running = self._observer.begin(operation)
            if running is None:
                return await method(self, *args, **kwargs)
            with running:
                return running.add_result(await method(self, *args, **kwargs))

        wrapper: Any = call_async if inspect.iscoroutinefunction(method) else call
        return cast("Method", functools.update_wrapper(wrapper, method))

    return decorate


def _current_recorder() -> Recorder | None:
    """Return OpenTelemetry's recorder; None where the program has not loaded it, or no provider records."""
    # A program that configures OpenTelemetry has imported it, so nothing is imported for the others.
    if "opentelemetry.trace" not in sys.modules:
        return None
    recorder: Recorder | None = _import_once("fsmedia.core.opentelemetry").recorder()
    return recorder


def _number(value: object) -> int | None:
    """Return a number of a report, or the number of things in it."""
    return value if isinstance(value, int) else len(value) if isinstance(value, Sized) else None


def _name_of(hook: object) -> str:
    kind = type(hook)
    return str(getattr(hook, "__qualname__", f"{kind.__module__}.{kind.__qualname__}"))


def _where(error: BaseException) -> str:
    """Return the type of an error and where it was raised, without its text, which may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" (line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name})"
    return f"{type(error).__name__}{place}"
