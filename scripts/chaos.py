"""Stream known frames on several devices while faults are injected into processes, links, disks, clocks and cameras.

    python scripts/chaos.py [--frames 10000] [--short] [--soak]

Each answer is compared with that of the same plan without a network. The exit status is 1 if a frame was lost,
duplicated, out of order or wrong, if one was late although a plan without the cloud would have been in time, or if
memory grew. Prints a table, and a line of JSON last. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from janus_vit.calibration.profiler import profile_machine
from janus_vit.errors import InputError
from janus_vit.links.emulator import LinkSpec
from janus_vit.links.netns import check_machine
from janus_vit.links.packets import Damage
from janus_vit.links.traces import Trace
from janus_vit.links.tunnel import Tunnel
from janus_vit.model.catalog import Model, load_model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.testbed.chaos.device_process import DeviceSpec, pictures
from janus_vit.testbed.chaos.faults import FAULTS, Fault
from janus_vit.testbed.chaos.judge import grows, growth_mb
from janus_vit.testbed.chaos.run import Plan, Report, run_chaos, unmerged_s
from janus_vit.testbed.slowed_engine import SlowedEngine, Slowing

MODEL, ENGINE = "janus-digits", "eager"
SLA_S, PERIOD_S, DELAY_S = 0.9, 0.12, 0.05  # of frames; one-way delay of the link
PAUSES = 8.0  # calls while the machine is measured, as multiples of their compute
ALONE_S = 0.3  # time of a whole frame on each device: more than the way to the cloud and back
POLICIES = ("janus", "adaptive", "janus", "adaptive-fleet", "janus", "adaptive-fleet")
PRIVATE, CAMERAS = (2,), (4,)  # devices that keep pixels to themselves; devices with a camera
PROCESSES = 2
PACKET_SHARE = 0.02
DAMAGE = Damage(duplicated=PACKET_SHARE, reordered=PACKET_SHARE, corrupted=PACKET_SHARE)


@dataclass(frozen=True, slots=True)
class Form:
    """How long the suite runs.

    Attributes:
        frames: of all devices together, at most.
        packet_frames: of the device whose packets are damaged.
        share: of the length of each fault.
        pause_s: between two faults.
        repeated: faults that come again until all frames have been run.
    """

    frames: int = 10_000
    packet_frames: int = 200
    share: float = 1.0
    pause_s: float = 3.0
    repeated: Sequence[Fault] = FAULTS


WHOLE = Form()
SHORT = Form(packet_frames=60, share=0.4, pause_s=0.7, repeated=())
SOAK = Form(frames=100_000, repeated=[fault for fault in FAULTS if not fault.ends_cloud])  # one cloud lives on

BUSY_MACHINE = 0.005  # of the frames of each report of the short form may be late without need: CI shares its machine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, print what it showed, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, help=f"of all devices together; default: {WHOLE.frames:,d}")
    parser.add_argument("--short", action="store_true", help="every fault once and for a shorter time")
    parser.add_argument(
        "--soak", action="store_true", help=f"{SOAK.frames:,d} frames; the cloud ends in the first round alone"
    )
    options = parser.parse_args(arguments)
    form = SHORT if options.short else SOAK if options.soak else WHOLE
    form = replace(form, frames=options.frames or form.frames)
    torch.set_num_threads(1)
    model = load_model(MODEL)
    engine = make_engine(model, ENGINE)
    # With pauses, as slowed devices compute: caches are cold after them, and a tight loop would look faster.
    paused = SlowedEngine(engine, Slowing(PAUSES))
    # The fastest of three: measured in a slow moment of the machine, devices would be too fast to need the cloud.
    profiles = [profile_machine(model, pictures()[:8], paused, clock=time.thread_time) for _ in range(3)]
    profile = min(profiles, key=lambda each: unmerged_s(each, model.shape))
    with tempfile.TemporaryDirectory() as folder:
        slowdown = max(1.0, ALONE_S / unmerged_s(profile, model.shape))
        devices = _devices(Path(folder), form.frames, slowdown)
        groups = [devices[first::PROCESSES] for first in range(PROCESSES)]
        faults = [replace(fault, seconds=form.share * fault.seconds) for fault in FAULTS]
        plan = Plan(MODEL, profile, ENGINE, faults, form.repeated, form.pause_s, groups, form.frames, DELAY_S)
        print(f"devices are {slowdown:.1f} times slower than this machine")
        report = run_chaos(plan, model, engine, lambda message: print(message, flush=True))
        packets = _with_damaged_packets(plan, replace(devices[0], frames=form.packet_frames), model, engine)
    tolerated = BUSY_MACHINE if options.short else 0.0
    return max(_print(report, tolerated), 0 if packets is None else _print(packets, tolerated))


def _with_damaged_packets(plan: Plan, device: DeviceSpec, model: Model, engine: Engine) -> Report | None:
    """Run one device over a link that loses, duplicates, reorders and corrupts packets; None if there is no tunnel."""
    try:
        check_machine()
    except InputError as error:
        print(f"no damaged packets: {error}")
        return None
    rate = Trace("constant", 1.0, np.array([50.0]))
    with Tunnel(LinkSpec(rate, rate, delay_s=0.002), PACKET_SHARE, 1, DAMAGE) as tunnel:
        tunnel.start_shaping()
        over = replace(
            plan,
            faults=(),
            repeated=(),
            groups=[[device]],
            frames=math.inf,
            delay_s=0.0,
            host=tunnel.host,
            namespace=tunnel.namespace,
        )
        report = run_chaos(over, model, engine)
        print("\npackets damaged, up and down:", *tunnel.counts())
    return report


def _devices(folder: Path, frames: int, slowdown: float) -> list[DeviceSpec]:
    return [
        DeviceSpec(
            name=f"{policy}-{index}",
            policy=policy,
            sla_s=SLA_S,
            period_s=PERIOD_S,
            frames=frames,
            slowdown=slowdown,
            images_allowed=index not in PRIVATE,
            has_camera=index in CAMERAS,
            records=folder / f"{index}.jsonl",
        )
        for index, policy in enumerate(POLICIES)
    ]


def _print(report: Report, tolerated: float) -> int:
    total = report.total
    print(f"\n{'fault':28s} {'times':>5s} {'frames':>7s} {'late':>5s} {'fallbacks':>9s}")
    for name, (frames, late, fallbacks) in report.struck.items():
        times = sum(window.name == name for window in report.windows)
        print(f"{name:28s} {times:5d} {frames:7d} {late:5d} {fallbacks:9d}")
    for message in sorted(set(report.said)):
        print(message)
    problems = [*total.problems, *(f"{name} never came" for name, (frames, *_) in report.struck.items() if not frames)]
    for name, sizes in (("cloud", report.cloud_mb), ("devices", [sample.devices_mb for sample in report.memory])):
        curve = " ".join(f"{size:.0f}" for size in sizes[:: max(1, len(sizes) // 12)])
        print(f"memory of the {name}, MB: {curve}; growth {growth_mb(sizes):+.1f}")
        problems += [f"memory of the {name} grew"] * grows(sizes)
    for problem in (*problems, *total.examples):
        print(problem)
    passed = total.is_clean_but_for(tolerated) and not problems
    print(f"{total.remote:,d} answers of the cloud; {total.overlapped:,d} frames computed while others were in the air")
    print(
        f"{total.frames:,d} frames in {report.seconds:.0f} s: {total.lost} lost, {total.duplicated} duplicated, "
        f"{total.disordered} out of order, {total.wrong} wrong, {total.late} late, {total.needlessly_late} of them "
        f"although a plan could have been in time: {'PASS' if passed else 'FAIL'}"
    )
    figures = {name: value for name, value in asdict(total).items() if name not in ("problems", "examples")}
    print(json.dumps({**figures, "seconds": report.seconds, "passed": passed, "faults": report.struck}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
