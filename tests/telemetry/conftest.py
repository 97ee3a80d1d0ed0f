"""A store over each storage with a hook that remembers; OpenTelemetry's own SDK, exporting to memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import opentelemetry.metrics._internal
import opentelemetry.trace
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from fsmedia import Event, MediaStore
from tests.conftest import storages
from tests.storages import LOCAL, MEMORY, S3_RCLONE

storage = storages(LOCAL, MEMORY, S3_RCLONE)
"""A file system, memory and one S3; the other storages, where the same is told, in the full run."""


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
def open_store(storage, clock, heard) -> Callable[..., MediaStore]:
    def opened(**settings: Any) -> MediaStore:
        given = {"storage_options": storage.options, "now": clock, "hooks": [heard.append], **settings}
        return MediaStore(storage.url, **given)

    return opened


@pytest.fixture
def store(open_store) -> MediaStore:
    return open_store()


@dataclass
class Exported:
    """What OpenTelemetry's SDK has exported."""

    tracers: TracerProvider
    _spans: InMemorySpanExporter
    _reader: InMemoryMetricReader

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._spans.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def points(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
        return found

    def text(self) -> str:
        data = self._reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans), data.to_json() if data else ""])


@pytest.fixture
def exported(monkeypatch) -> Iterator[Exported]:
    """Set providers for one test, as a program does once for all: the API has no way to take them back."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader])
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", tracers)
    monkeypatch.setattr(opentelemetry.metrics._internal, "_METER_PROVIDER", meters)
    yield Exported(tracers, exporter, reader)
    tracers.shutdown()
    meters.shutdown()
