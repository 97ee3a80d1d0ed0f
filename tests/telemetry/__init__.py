"""What a store tells hooks and OpenTelemetry."""
