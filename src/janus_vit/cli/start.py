"""The beginning of the command `janus-vit`: an interrupt while modules are imported ends it as any other does."""

from __future__ import annotations

import sys

_EXIT_INTERRUPTED = 130


def main() -> int:
    """Import the commands, which takes seconds on a small device, and run one. Return the exit code."""
    try:
        from janus_vit.cli.main import main as run
    except KeyboardInterrupt:
        print("janus-vit: interrupted", file=sys.stderr)
        return _EXIT_INTERRUPTED
    return run()
