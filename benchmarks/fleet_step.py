"""A step in load: half of a fleet leaves and returns later. How long it takes to settle, and how often it swings.

    python benchmarks/fleet_step.py

All times are virtual. "settles" is the time until the share of frames that are sent stays within ten points of its new
value; a swing is a passage from one side of that band to the other. A small fleet takes few frames in half a second, so
its share is the mean of several runs with different seeds.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
from _common import print_json

from janus_vit.fleet.contenders import CONTENDERS
from janus_vit.fleet.file import mixed_fleet, published_cloud
from janus_vit.fleet.results import FleetFrames
from janus_vit.fleet.settling import sent_shares, settling
from janus_vit.fleet.simulate import simulate_fleet
from janus_vit.fleet.spec import DeviceKind, Fleet, members, with_absence
from janus_vit.reproduction.published import published_profile

SEED, MODEL = 24, "vit-large-384"
RUN_DEVICES = 480  # of all runs of a case together, at least
LEAVE_S, RETURN_S, END_S = 35.0, 50.0, 65.0
CASES = (
    ("mixed", "v100", 48),
    ("mixed", "v100", 160),
    ("mixed", "h100", 500),
    ("orin", "v100", 48),
    ("orin", "h100", 400),
)
POLICIES = ("adaptive", "adaptive-fleet")


def fleet_of(name: str, cloud: str) -> Fleet:
    """The mixed fleet, or equal devices: the hardest case, since all of them would move at the same price."""
    fleet = replace(mixed_fleet(), cloud=published_cloud(cloud, MODEL))
    if name == "mixed":
        return fleet
    kind = DeviceKind("orin-nano", 1.0, published_profile("orin-nano", MODEL), 0.3, 0.3, ("constant:20",), 0.02)
    return replace(fleet, kinds=(kind,))


def run_of(fleet: Fleet, count: int, policy: str, seed: int) -> FleetFrames:
    """One run in which every second device is away from `LEAVE_S` to `RETURN_S`."""
    drawn = with_absence(members(fleet, count, END_S, seed), LEAVE_S, RETURN_S)
    return simulate_fleet(fleet, drawn, CONTENDERS[policy]).frames


def main() -> None:
    print(f"half of the devices leave after {LEAVE_S:g} s and return after {RETURN_S:g} s\n")
    header = (
        "fleet",
        "cloud",
        "devices",
        "runs",
        "policy",
        "leave: settles s",
        "swings",
        "return: settles s",
        "swings",
        "in time %",
    )
    print("".join(f"{each:>18}" for each in header))
    rows = []
    for name, cloud, count in CASES:
        fleet, runs = fleet_of(name, cloud), -(-RUN_DEVICES // count)
        for policy in POLICIES:
            ran = [run_of(fleet, count, policy, SEED + index) for index in range(runs)]
            left = settling(np.mean([sent_shares(frames, LEAVE_S, RETURN_S) for frames in ran], axis=0))
            back = settling(np.mean([sent_shares(frames, RETURN_S, END_S) for frames in ran], axis=0))
            in_time = float(np.mean([frames.since(LEAVE_S).in_time.mean() for frames in ran]))
            cells = (name, cloud, count, runs, policy, left.seconds, left.swings, back.seconds, back.swings)
            print("".join(f"{each!s:>18}" for each in cells) + f"{100 * in_time:18.1f}", flush=True)
            rows.append(
                {"fleet": name, "cloud": cloud, "devices": count, "runs": runs, "policy": policy, "in_time": in_time}
                | {"leave": asdict(left), "return": asdict(back)}
            )
    print_json("fleet_step", 0, rows)


if __name__ == "__main__":
    main()
