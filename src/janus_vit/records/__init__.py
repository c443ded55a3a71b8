"""Outcomes as JSON lines: written, read back and summarised."""
