"""OpenTelemetry: a span and measurements for each operation, with the providers that the program has set.

Loaded only in programs that have loaded OpenTelemetry. While none of its providers records, nothing is recorded.
Span attributes are PromptKit's where it has them (`media.backend`, `media.reference`, `media.mime_type`,
`media.size_bytes`, `media.run_id`), and those of the semantic conventions (`gen_ai.conversation.id`, `session.id`,
`error.type`).
"""

from __future__ import annotations

from contextvars import Token
from functools import cache
from importlib.metadata import version
from typing import Any

from opentelemetry import context, metrics, trace

from fsmedia.models import Event

_SCOPE = "fsmedia"
_PROMPTKIT = ("reference", "mime_type", "size_bytes", "run_id", "message_idx", "part_idx")
_NUMBERS = ("reason", "count", "failed", "skipped", "examined", "dry_run")
_CONVENTIONS = {"conversation_id": "gen_ai.conversation.id", "session_id": "session.id", "error_type": "error.type"}
_ATTRIBUTES = {**{field: f"media.{field}" for field in (*_PROMPTKIT, *_NUMBERS)}, **_CONVENTIONS}
_SWEEP = "enforce_policy"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Edges of the histogram: a store takes 0.2 ms in memory, 50 ms on an object store, minutes for a large video."""
_SUPPRESSED = "suppress_instrumentation"  # set by opentelemetry.instrumentation.utils.suppress_instrumentation()


class Recorder:
    """Makes spans and measurements of operations; each series names the operation and the store."""

    def __init__(self, tracer: trace.Tracer | None, meter: metrics.Meter | None) -> None:
        self._tracer = tracer
        self._meter = meter
        if meter is None:
            return
        self._operations = meter.create_counter(
            "media.operations", "{operation}", "Calls on a store, and whether they failed (error.type)."
        )
        self._bytes = meter.create_counter(
            "media.bytes", "By", "Bytes of media that were stored, handed out (retrieve) or freed."
        )
        self._duration = meter.create_histogram(
            "media.operation.duration", "s", "Time from call to answer.", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._deletions = meter.create_counter("media.sweep.deletions", "{media}", "Media that sweeps deleted.")
        self._due = meter.create_gauge("media.sweep.due", "{media}", "Media that the last sweep found due.")
        self._left = meter.create_gauge(
            "media.sweep.left", "{media}", "Media that were due and are still there after the last sweep."
        )

    def begin(self, operation: str, *, backend: str, url: str) -> ActiveSpan | None:
        """Begin a span below the current one; None where nobody records spans."""
        if self._tracer is None:
            return None
        attributes = {"media.operation": operation, "media.backend": backend, "media.url": url}
        kind = trace.SpanKind.INTERNAL
        return ActiveSpan(self._tracer.start_span(f"media.{operation}", kind=kind, attributes=attributes))

    def count(self, event: Event) -> None:
        """Add an event to the measurements."""
        if self._meter is None:
            return
        store = {"media.backend": event.backend, "media.url": event.url}
        series: dict[str, Any] = {"media.operation": event.operation, **store}
        if event.error_type is not None:
            series["error.type"] = event.error_type
        if event.size_bytes and event.operation != _SWEEP and not event.dry_run:
            self._bytes.add(event.size_bytes, series)
        if event.duration is None:
            return
        self._operations.add(1, series)
        self._duration.record(event.duration.total_seconds(), series)
        if event.operation == _SWEEP and event.count is not None:
            done, stay = event.count, (event.skipped or 0) + (event.failed or 0)
            self._due.set(done + stay, store)
            self._left.set(done + stay if event.dry_run else stay, store)
            if not event.dry_run:
                self._deletions.add(done, store)


class ActiveSpan:
    """A span of an operation that runs."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token: Token[context.Context] | None = None

    def enter(self) -> None:
        """Make it the current span, below which others begin."""
        self._token = context.attach(trace.set_span_in_context(self._span))

    def end(self, event: Event) -> None:
        """End it with what is known now."""
        if self._token is not None:
            context.detach(self._token)
        span = self._span
        if span.is_recording():
            values = {name: getattr(event, field) for field, name in _ATTRIBUTES.items()}
            span.set_attributes(
                {name: each for name, each in values.items() if each not in (None, "") and each is not False}
            )
            if event.error_type is not None:
                # The SDK would write down the stack and the causes, in which there may be signed URLs.
                raised = {"exception.type": event.error_type, "exception.message": event.error or ""}
                span.add_event("exception", raised)
                span.set_status(trace.Status(trace.StatusCode.ERROR, event.error or event.error_type))
        span.end()


def recorder() -> Recorder | None:
    """Return a recorder for the providers that are set now; None while neither kind of them records."""
    tracers, meters = trace.get_tracer_provider(), metrics.get_meter_provider()
    tracers_record, meters_record = _records(type(tracers)), _records(type(meters))
    if not (tracers_record or meters_record) or context.get_value(_SUPPRESSED):
        return None
    return _recorder(tracers if tracers_record else None, meters if meters_record else None)


@cache
def _records(kind: type[trace.TracerProvider | metrics.MeterProvider]) -> bool:
    """Return whether a provider is more than the API's own, which record nothing."""
    return not kind.__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))


@cache
def _recorder(tracers: trace.TracerProvider | None, meters: metrics.MeterProvider | None) -> Recorder:
    return Recorder(
        None if tracers is None else tracers.get_tracer(_SCOPE, version(_SCOPE)),
        None if meters is None else meters.get_meter(_SCOPE, version(_SCOPE)),
    )
