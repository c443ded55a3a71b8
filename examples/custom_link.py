"""Run device and cloud on this machine over a link of your own: a train that enters a tunnel every 4 seconds.

python examples/custom_link.py
"""

import numpy as np
from server import start

from janus_vit import connect, load_model, profile_machine
from janus_vit.links.emulator import EmulatedLink, LinkSpec
from janus_vit.links.traces import Trace
from janus_vit.sources.builtin import builtin_frames


def train(seconds: float = 8.0, step_s: float = 0.1) -> Trace:
    """Return 30 Mbps that fade and stop for the last second of every four."""
    time_s = np.arange(0.0, seconds, step_s)
    fading = np.clip(3.0 - time_s % 4.0, 0.0, 1.0)  # 1 for two seconds, to 0 within one, 0 for one
    return Trace("train", step_s, 30.0 * fading)


def main(frames: int = 40) -> list[str]:
    """Return what each frame sent: an image, tokens or nothing."""
    model = load_model("janus-digits")
    pictures, _ = builtin_frames()
    profile = profile_machine(model, pictures[:4])
    with start("janus-digits", "127.0.0.1:0") as cloud:
        link = EmulatedLink(LinkSpec(train(), delay_s=0.015), "127.0.0.1", cloud.port)  # 30 ms round trip
        with link, connect(model, link.address, profile, sla_s=0.2) as device:
            return [device.infer(frame).plan.sends for frame in pictures[:frames]]


if __name__ == "__main__":
    print(*main(), sep="\n")
