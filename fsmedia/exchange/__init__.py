"""What others wrote and read: importers, exporters, sinks of instrumented programs."""
