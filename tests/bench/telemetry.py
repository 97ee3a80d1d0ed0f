"""What it costs to be watched: 20 KB on local disk with nobody listening, a hook, and OpenTelemetry's SDK."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from fsmedia import MediaContent, MediaMetadata, MediaStore
from fsmedia.core.telemetry import Observer, observed
from tests.bench.rounds import interleaved, show

COUNT = 300
CALLS = 100_000
DATA = b"\x89PNG\r\n\x1a\n" + os.urandom(20_472)


class Watched:
    """Calls of a store, or of the methods below what watches them."""

    def __init__(self, folder: Path, hooks: tuple = (), *, below: bool = False) -> None:
        self.media = MediaStore(folder, durability="rename", hooks=hooks).create()
        self.methods = [getattr(MediaStore, name) for name in ("store_media", "retrieve_media")]
        if below:
            self.methods = [method.__wrapped__ for method in self.methods]
        self.references: list[str] = []

    def store(self) -> None:
        content, metadata = MediaContent(data=DATA, mime_type="image/png"), MediaMetadata(run_id="r1")
        self.references = [self.methods[0](self.media, content, metadata) for _ in range(COUNT)]

    def retrieve(self) -> None:
        for reference in self.references:
            self.methods[1](self.media, reference)


class Empty:
    """A method that does nothing, so that only the watching is seen."""

    _observer = Observer("/media")

    def plain(self) -> None:
        pass

    @observed("nothing")
    def watched(self) -> None:
        pass


def _calls(method: str) -> None:
    call = getattr(Empty(), method)
    for _ in range(CALLS):
        call()


def _rounds(title: str, candidates: dict[str, Watched]) -> None:
    for operation in ("store", "retrieve"):
        figures = interleaved({name: getattr(each, operation) for name, each in candidates.items()}, rounds=9)
        show(f"{operation}, {title}", figures, "not watched", COUNT)


def _empty(title: str) -> None:
    figures = interleaved({name: lambda name=name: _calls(name) for name in ("plain", "watched")})
    show(f"an empty method, {title}", figures, "plain", CALLS, "under 2 us")


def run() -> None:
    """Run without OpenTelemetry, then with its API, then with its SDK."""
    folder = Path(tempfile.mkdtemp())
    try:
        if "opentelemetry.trace" not in sys.modules:
            _empty("OpenTelemetry not loaded")
        candidates = {
            "not watched": Watched(folder / "a", below=True),
            "nobody listens": Watched(folder / "b"),
            "a hook": Watched(folder / "c", (str,)),
        }
        _rounds("OpenTelemetry not loaded", candidates)
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider

        _empty("OpenTelemetry's API loaded, not set up")
        trace.set_tracer_provider(TracerProvider())
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        _rounds(
            "OpenTelemetry's SDK set up",
            {"not watched": candidates["not watched"], "spans": candidates["nobody listens"]},
        )
    finally:
        shutil.rmtree(folder)
