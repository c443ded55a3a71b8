"""Measure what several frames in flight bring: answers in time per second, and late frames, live and simulated.

    python benchmarks/pipelining.py [--seconds 20] [--live-seconds 8]

All links have a round trip of 100 ms; the deadline is 300 ms, frames run back to back. Simulated: the paper's image
model on its published machines, over steady and generated links. Live: the built-in model, a device that is slower
than this machine by waiting, and a cloud process behind an emulated link. The bound is what the busiest of device,
uplink and cloud could do alone, by the plans that ran.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch
from _common import print_json

from janus_vit.calibration.profiler import QUICK, profile_machine
from janus_vit.links.emulator import LinkSpec
from janus_vit.links.generator import trace_from
from janus_vit.links.traces import Trace
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.presets import make_policy
from janus_vit.records.summary import expected_in_time
from janus_vit.reproduction.extended import Setting
from janus_vit.simulation.simulate import simulate
from janus_vit.sources.builtin import builtin_frames
from janus_vit.sources.frames import BUILTIN
from janus_vit.sources.streams import open_stream
from janus_vit.testbed.network import EmulatedNetwork
from janus_vit.testbed.rig import Rig

Row = dict[str, Any]
RTT_S, SLA_S = 0.1, 0.3
IN_FLIGHT = (1, 2, 4, 8)
LINKS = ("constant:20", "constant:50", "lte-static", "lte-walking", "5g-static", "wifi-static")
SIMULATED = (("adaptive", False), ("adaptive", True), ("janus-compact", True), ("cloud-jpeg", False))
LIVE = ("adaptive", "cloud-jpeg")
LIVE_LINK, SLOWDOWN = "constant:20", 40.0


def bound_fps(outcomes: Sequence[Outcome]) -> float:
    """Frames per second of the busiest of device, uplink and cloud, if nothing else took time."""
    times = [outcome.measured for outcome in outcomes]
    device_s = sum(each.prepare_s + each.plan_s + each.device_s + each.encode_s + each.fallback_s for each in times)
    busiest_s = max(device_s, sum(each.send_s for each in times), sum(each.cloud_s + each.decode_s for each in times))
    return float(len(outcomes) / max(1e-9, busiest_s))


def row(
    kind: str, link: str, policy: str, in_flight: int, outcomes: Sequence[Outcome], table: AccuracyTable | None
) -> Row:
    """Sum up one stream."""
    in_time = [outcome for outcome in outcomes if outcome.met]
    last = outcomes[-1]
    stream_s = last.at_s + last.measured.total_s - outcomes[0].at_s
    right = None if table is None else expected_in_time(outcomes, len(outcomes), table)
    return {
        "kind": kind,
        "link": link,
        "policy": policy,
        "in_flight": in_flight,
        "frames": len(outcomes),
        "in_time_per_s": len(in_time) / stream_s,
        "late": 1 - len(in_time) / len(outcomes),
        "right_in_time": right,
        "overlapped": sum(outcome.overlap.others > 0 for outcome in outcomes) / len(outcomes),
        "bound_per_s": bound_fps(outcomes),
    }


def simulated(seconds: float) -> Iterator[Row]:
    """Yield the rows of the simulated streams."""
    for link in LINKS:
        trace = trace_from(link, max(60.0, seconds), seed=1)
        for name, private in SIMULATED:
            platforms = replace(Setting(private=private).platforms(trace), rtt_s=RTT_S)
            for in_flight in IN_FLIGHT:
                policy = make_policy(name, platforms)
                outcomes = list(simulate(policy, platforms, trace, SLA_S, seconds, in_flight=in_flight))
                yield row("simulated", link, f"{name}{', private' * private}", in_flight, outcomes, platforms.accuracy)


def live(seconds: float) -> Iterator[Row]:
    """Yield the rows of the live streams."""
    torch.set_num_threads(1)
    model = load_model()
    engine = make_engine(model, "eager")
    frames = list(builtin_frames()[0][:8])
    profile = profile_machine(model, frames, engine, effort=QUICK, clock=time.thread_time)
    trace: Trace = trace_from(LIVE_LINK, 60.0, seed=1)
    network = EmulatedNetwork(LinkSpec(trace, delay_s=RTT_S / 2))
    with Rig(model, model.name, profile, network, SLOWDOWN, engine) as rig:
        for name in LIVE:
            for in_flight in IN_FLIGHT:
                with rig.open_link() as link, rig.connected(link.address, name, SLA_S, True, in_flight) as session:
                    samples = cycle(open_stream(BUILTIN, 1))
                    outcomes = [step.outcome for step in session.run(link, samples, seconds)]
                yield row("live", LIVE_LINK, name, in_flight, outcomes, model.accuracy)


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each simulated stream")
    parser.add_argument("--live-seconds", type=float, default=8.0, help="length of each live stream; 0: none")
    options = parser.parse_args()
    print(
        f"{'':<10}{'link':<13}{'policy':<23}{'in flight':>9}{'in time/s':>11}{'gain':>6}{'bound/s':>9}"
        f"{'late %':>8}{'right in time %':>17}{'overlapped %':>14}"
    )
    rows, alone = [], 1.0
    streams = [simulated(options.seconds)] + [live(options.live_seconds)] * (options.live_seconds > 0)
    for stream in streams:
        for each in stream:
            alone = each["in_time_per_s"] if each["in_flight"] == 1 else alone
            each["gain"] = each["in_time_per_s"] / alone if alone else float("nan")
            rows.append(each)
            right = "-" if each["right_in_time"] is None else f"{100 * each['right_in_time']:.1f}"
            print(
                f"{each['kind']:<10}{each['link']:<13}{each['policy']:<23}{each['in_flight']:>9}"
                f"{each['in_time_per_s']:>11.1f}{each['gain']:>6.2f}{each['bound_per_s']:>9.1f}"
                f"{100 * each['late']:>8.2f}{right:>17}{100 * each['overlapped']:>14.0f}",
                flush=True,
            )
    print_json("pipelining", 0, rows)


if __name__ == "__main__":
    main()
