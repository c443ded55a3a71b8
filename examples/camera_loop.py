"""Answer the frames of a camera within 300 ms each, with the help of a cloud.

    python examples/camera_loop.py HOST:PORT [SOURCE] [FRAMES]

SOURCE is camera:0, a video or a folder of images. Without a camera the built-in frames take its place.
"""

import sys

from janus_vit import InputError, connect, load_model, profile_machine
from janus_vit.sources.frames import open_source


def main(address: str, spec: str = "camera:0", frames: str = "100") -> int:
    """Print one line for each frame; return how many frames were late."""
    try:
        source = open_source(spec)
    except InputError as error:
        print(f"{error}; the built-in frames are used instead")
        source = open_source("builtin")
    model = load_model("janus-digits")  # the same as the cloud's
    profile = profile_machine(model, [sample.frame for sample in source.first(4)])
    late = 0
    with connect(model, address, profile, sla_s=0.3) as device:
        for sample in source.first(int(frames)):
            outcome = device.infer(sample.frame, sample.captured_s)
            late += not outcome.met
            label = model.labels[outcome.answer.classes[0]]
            print(f"{sample.name}: {label}, {1e3 * outcome.measured.total_s:.0f} ms, {outcome.plan}")
    return late


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print(main(*sys.argv[1:]), "frames were late")
