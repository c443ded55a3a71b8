"""Traces of frames across device and cloud: spans as plain data, and their way to OpenTelemetry."""
