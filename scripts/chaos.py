"""Stream known frames on several devices while faults are injected into processes, links, disks, clocks and cameras.

    python scripts/chaos.py [--frames 10000] [--short] [--soak]

Each answer is compared with that of the same plan without a network. The exit status is 1 if a frame was lost,
duplicated, out of order or wrong, if one was late although a plan without the cloud would have been in time, or if
memory grew. Prints a table, and a line of JSON last. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
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
from janus_vit.testbed.chaos.faults import FAULTS
from janus_vit.testbed.chaos.judge import grows
from janus_vit.testbed.chaos.run import Plan, Report, run_chaos

MODEL, ENGINE = "janus-digits", "eager"
SLA_S, PERIOD_S, SLOWDOWN = 0.35, 0.15, 12.0
POLICIES = ("janus", "adaptive", "janus", "janus", "janus", "adaptive")
PRIVATE, CAMERAS = (2,), (4,)  # devices that keep pixels to themselves; devices with a camera
PROCESSES = 2
PACKET_FRAMES, PACKET_SHARE = 200, 0.02
DAMAGE = Damage(duplicated=PACKET_SHARE, reordered=PACKET_SHARE, corrupted=PACKET_SHARE)
FRAMES, SHORT_FRAMES, SOAK_FRAMES = 10_000, 1_800, 100_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite, print what it showed, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, help="of all devices together")
    parser.add_argument("--short", action="store_true", help=f"every fault once, in {SHORT_FRAMES:,d} frames")
    parser.add_argument("--soak", action="store_true", help=f"{SOAK_FRAMES:,d} frames")
    options = parser.parse_args(arguments)
    frames = options.frames or (SHORT_FRAMES if options.short else SOAK_FRAMES if options.soak else FRAMES)
    torch.set_num_threads(1)
    model = load_model(MODEL)
    engine = make_engine(model, ENGINE)
    profile = profile_machine(model, pictures()[:8], engine, clock=time.thread_time)
    with tempfile.TemporaryDirectory() as folder:
        devices = _devices(Path(folder), frames // len(POLICIES))
        groups = [devices[first::PROCESSES] for first in range(PROCESSES)]
        plan = Plan(MODEL, profile, ENGINE, FAULTS, not options.short, 1.0 if options.short else 3.0, groups)
        report = run_chaos(plan, model, engine, lambda message: print(message, flush=True))
        packets = _with_damaged_packets(plan, Path(folder), model, engine)
    return max(_print(report), 0 if packets is None else _print(packets))


def _with_damaged_packets(plan: Plan, folder: Path, model: Model, engine: Engine) -> Report | None:
    """Run one device over a link that loses, duplicates, reorders and corrupts packets; None if there is no tunnel."""
    try:
        check_machine()
    except InputError as error:
        print(f"no damaged packets: {error}")
        return None
    rate = Trace("constant", 1.0, np.array([50.0]))
    (device,) = _devices(folder, PACKET_FRAMES)[:1]
    with Tunnel(LinkSpec(rate, rate, delay_s=0.002), PACKET_SHARE, 1, DAMAGE) as tunnel:
        tunnel.start_shaping()
        over = replace(plan, faults=(), groups=[[device]], host=tunnel.host, namespace=tunnel.namespace)
        report = run_chaos(over, model, engine)
        print("\npackets damaged, up and down:", *tunnel.counts())
    return report


def _devices(folder: Path, frames: int) -> list[DeviceSpec]:
    return [
        DeviceSpec(
            name=f"{policy}-{index}",
            policy=policy,
            sla_s=SLA_S,
            period_s=PERIOD_S,
            frames=frames,
            slowdown=SLOWDOWN,
            images_allowed=index not in PRIVATE,
            has_camera=index in CAMERAS,
            records=folder / f"{index}.jsonl",
        )
        for index, policy in enumerate(POLICIES)
    ]


def _print(report: Report) -> int:
    total = report.total
    print(f"\n{'fault':28s} {'times':>5s} {'frames':>7s} {'late':>5s} {'fallbacks':>9s}")
    for name, (frames, late, fallbacks) in report.struck.items():
        times = sum(window.name == name for window in report.windows)
        print(f"{name:28s} {times:5d} {frames:7d} {late:5d} {fallbacks:9d}")
    for message in sorted(set(report.said)):
        print(message)
    clouds = [sample.cloud_mb for sample in report.memory]
    devices = [sample.devices_mb for sample in report.memory]
    grown = [name for name, sizes in (("cloud", clouds), ("devices", devices)) if grows(sizes)]
    step = max(1, len(clouds) // 12)
    print("memory of the cloud, MB:  ", *(f"{size:.0f}" for size in clouds[::step]))
    print("memory of devices, MB:    ", *(f"{size:.0f}" for size in devices[::step]))
    for problem in (*total.problems, *(f"memory of the {name} grew" for name in grown)):
        print(problem)
    passed = total.is_clean and not grown
    print(
        f"{total.frames:,d} frames in {report.seconds:.0f} s: {total.lost} lost, {total.duplicated} duplicated, "
        f"{total.disordered} out of order, {total.wrong} wrong, {total.late} late, {total.needlessly_late} of them "
        f"although a plan could have been in time: {'PASS' if passed else 'FAIL'}"
    )
    figures = {name: value for name, value in asdict(total).items() if name != "problems"}
    print(json.dumps({**figures, "seconds": report.seconds, "passed": passed, "faults": report.struck}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
