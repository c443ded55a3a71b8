"""A fleet on this machine, live beside its simulation, with clouds from loaded to overloaded.

    python benchmarks/live_fleet.py [--seconds 20] [--clouds 4,7,10]

A cloud of 4 takes four times as long for a frame as one core here. The devices are those of `janus-vit fleet --live`,
as many as the cores carry. Run it while nothing else runs. Each cell is live / simulated.
"""

from __future__ import annotations

import argparse
import time

import torch
from _common import print_json

from janus_vit.calibration.profiler import profile_machine
from janus_vit.model.catalog import BUILTIN as MODEL
from janus_vit.model.catalog import load_model
from janus_vit.sources.frames import BUILTIN, open_source
from janus_vit.testbed.live_fleet.comparison import FleetComparison, compare_fleets
from janus_vit.testbed.live_fleet.emulate import cpu_engine, default_fleet, emulate
from janus_vit.testbed.live_fleet.paired import FleetSettings, run_paired_fleets
from janus_vit.testbed.live_fleet.rig import FleetRig

SEED, WARM_UP_S = 24, 3.0
POLICIES = ("adaptive", "adaptive-fleet")
HEADER = (
    "cloud",
    "policy",
    "devices",
    "engine %",
    "batch",
    "right %",
    "in time %",
    "median ms",
    "p99 ms",
    "here %",
    "fallback %",
    "agree",
)


def run(cloud_frames: float, policy: str, seconds: float) -> FleetComparison:
    """Measure this machine, run the fleet live, and simulate it."""
    model = load_model(MODEL)
    engine = cpu_engine(model)
    frames = [sample.frame for sample in open_source(BUILTIN).first(8)]
    own = profile_machine(model, frames, engine, clock=time.thread_time)
    assert model.accuracy is not None, "the built-in model has an accuracy table"
    emulated = emulate(default_fleet(own, model.shape, model.accuracy, cloud_frames), own)
    with FleetRig(emulated, model, MODEL, engine, policy) as rig:
        return compare_fleets(run_paired_fleets(rig, FleetSettings(None, WARM_UP_S + seconds, WARM_UP_S, SEED)))


def cells(found: FleetComparison) -> list[str]:
    """The columns after the policy."""
    live, simulated = found.kinds[-1].live, found.kinds[-1].simulated
    both = [tuple(100 * each for each in found.busy), found.mean_batch]
    both += [(100 * live.right, 100 * simulated.right), (100 * live.in_time, 100 * simulated.in_time)]
    both += [(1e3 * live.median_s, 1e3 * simulated.median_s), (1e3 * live.p99_s, 1e3 * simulated.p99_s)]
    both += [(100 * live.here, 100 * simulated.here), (100 * live.fell_back, 100 * simulated.fell_back)]
    figures = [f"{one:.2f} / {other:.2f}" if one < 10 else f"{one:.1f} / {other:.1f}" for one, other in both]
    return [str(found.devices), *figures, "yes" if found.agrees else "no"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clouds", default="4,7,10")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("".join(f"{each:>16}" for each in HEADER))
    rows = []
    for cloud_frames in map(float, arguments.clouds.split(",")):
        for policy in POLICIES:
            found = run(cloud_frames, policy, arguments.seconds)
            print("".join(f"{each:>16}" for each in (f"{cloud_frames:g}", policy, *cells(found))), flush=True)
            for miss in found.misses:
                print(f"    {miss}")
            rows.append({"cloud_frames": cloud_frames, "policy": policy} | found.as_json())
    print_json("live_fleet", 0, rows)


if __name__ == "__main__":
    main()
