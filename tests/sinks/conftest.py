"""OpenTelemetry's SDK for one test, exporting to memory, as for the tests of telemetry."""

from tests.telemetry.conftest import exported

__all__ = ["exported"]
