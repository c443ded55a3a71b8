"""Describe this machine, for files that hold measurements."""

from __future__ import annotations

import platform


def hardware() -> str:
    """Return the CPU's name, its number of logical cores and the architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    name = names[0] if names else platform.processor() or "unknown processor"
    return f"{name}, {len(names) or '?'} logical cores, {platform.machine()}"
