"""What this machine is, in words: for files that hold what was measured on it."""

from __future__ import annotations

import platform


def hardware() -> str:
    """This machine's processor in words."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    name = names[0] if names else platform.processor() or "unknown processor"
    return f"{name}, {len(names) or '?'} logical cores, {platform.machine()}"
