"""Serve a model to devices from Python, as `janus-vit cloud` does.

python examples/server.py [MODEL] [HOST:PORT]
"""

import sys

from janus_vit import Cloud, load_model, profile_machine
from janus_vit.sources.builtin import builtin_frames


def start(name: str = "janus-digits", listen: str = "127.0.0.1:50051") -> Cloud:
    """Start serving; `close` stops it, and so does leaving a `with` block."""
    model = load_model(name)
    frames, _ = builtin_frames()  # better: frames of your own camera
    profile = profile_machine(model, frames[:8])  # devices plan with this machine's speed
    return Cloud(model, profile, listen)


if __name__ == "__main__":
    with start(*sys.argv[1:]) as cloud:
        print(f"serving on port {cloud.port}; Ctrl-C stops it")
        cloud.wait()
