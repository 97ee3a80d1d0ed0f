"""OpenTelemetry's SDK and storages as for the tests of telemetry."""

from tests.telemetry.conftest import exported, storage

__all__ = ["exported", "storage"]
