"""Fleets of devices that share a cloud: right and in time over their number, beside the bound, and devices carried.

    python benchmarks/fleet.py [--quick] [--traces FOLDER] [--workers N]

Fleets: "mixed" (built in: cameras, robots, vehicles and sensors on generated links), "recorded" (the same devices on
the recorded links of a folder), and "orin" (equal devices, constant 20 Mbps, SLA and period 300 ms). Every number of
devices is simulated with the live device loop, policies and scheduler; "jpeg-batches" is the better of two settings of
dynamic batching, chosen afterwards for each number of devices. The bound knows the future of all links.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

from _common import print_json
from _fleet_figure import draw

from janus_vit.fleet.carried import devices_carried
from janus_vit.fleet.contenders import BATCHED_JPEG, CONTENDERS
from janus_vit.fleet.file import mixed_fleet, published_cloud
from janus_vit.fleet.report import Row, bound_of, summarise
from janus_vit.fleet.simulate import simulate_fleet
from janus_vit.fleet.spec import DeviceKind, Fleet, members
from janus_vit.reproduction.published import published_profile

COUNTS, QUICK_COUNTS = (4, 16, 64, 256, 1024, 4096), (8, 64)
CLOUDS, MODEL = ("v100", "t4", "h100", "cpu"), "vit-large-384"
CURVES = ("jpeg-one-by-one", *BATCHED_JPEG, "jpeg-scheduler", "device-alone", "janus", "adaptive", "adaptive-fleet")
SEARCHED = (("mixed", "v100"), ("mixed", "h100"), ("orin", "v100"))
STEPS = ("jpeg-one-by-one", "jpeg-batches", "jpeg-scheduler", "merging", "splitting", "adaptive-fleet")
SEED, LONG_UNTIL = 24, 512
LARGEST, LARGEST_ELSEWHERE = (("mixed", "v100"), ("mixed", "h100")), 1024  # the largest fleets take minutes each
LONG_S, SHORT_S = (6.0, 12.0), (4.0, 3.0)  # until prices have settled, and the time that counts
TARGET, MOST_CARRIED = 0.99, 4096
JPEG, BOUND, OURS = "jpeg-batches", "bound", "adaptive-fleet"


@dataclass(frozen=True)
class Task:
    """One number of devices of a fleet on a cloud, run by one contender."""

    fleet: str
    cloud: str
    devices: int
    contender: str
    traces: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few devices, to see that it works")
    parser.add_argument("--traces", help="folder of recorded links")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--figure", type=Path, default=Path("build/fleet.svg"), help="where to write the figure")
    arguments = parser.parse_args()
    counts = QUICK_COUNTS if arguments.quick else COUNTS
    pairs = [("mixed", cloud) for cloud in (CLOUDS[:1] if arguments.quick else CLOUDS)]
    pairs += [("orin", "v100")]
    if arguments.traces:
        pairs += [("recorded", cloud) for cloud in (CLOUDS[:1] if arguments.quick else ("v100", "h100"))]
    began_s = time.perf_counter()
    curves: dict[str, dict[str, list[Row]]] = {}
    carried: dict[str, dict[str, int]] = {}
    with ProcessPoolExecutor(arguments.workers) as pool:
        for fleet, cloud in pairs:
            name = f"{fleet} on {cloud}"
            most = counts[-1] if (fleet, cloud) in LARGEST else LARGEST_ELSEWHERE
            few = [count for count in counts if count <= most]
            curves[name] = run_counts(pool, fleet, cloud, few, arguments.traces)
            print_curves(name, curves[name])
        for fleet, cloud in () if arguments.quick else SEARCHED:
            name = f"{fleet} on {cloud}"
            found = {step: pool.submit(search, fleet, cloud, step, arguments.traces) for step in STEPS}
            carried[name] = {step: devices.result() for step, devices in found.items()}
            print_carried(name, carried[name])
    draw({name: _curves(found) for name, found in curves.items()}, arguments.figure)
    print(f"\nfigure: {arguments.figure}; {time.perf_counter() - began_s:.0f} s")
    print_json(
        "fleet",
        0,
        {
            "right": {
                name: {one: [row.right for row in rows] for one, rows in found.items()}
                for name, found in curves.items()
            },
            "devices": {name: [row.devices for row in found[BOUND]] for name, found in curves.items()},
            "carried": carried,
            "worst_gap_points": {name: worst_gap(found) for name, found in curves.items()},
        },
    )


def run_counts(
    pool: ProcessPoolExecutor, fleet: str, cloud: str, counts: Sequence[int], traces: str | None
) -> dict[str, list[Row]]:
    """Run all contenders at all numbers of devices, the largest first."""
    names = (*CURVES, BOUND)
    tasks = [Task(fleet, cloud, count, name, traces) for count in sorted(counts, reverse=True) for name in names]
    rows = dict(zip(tasks, _shown(pool.map(run, tasks), tasks), strict=True))
    found = {name: [rows[Task(fleet, cloud, count, name, traces)] for count in counts] for name in names}
    best = [
        max(pair, key=lambda row: row.right) for pair in zip(*(found.pop(name) for name in BATCHED_JPEG), strict=True)
    ]
    return {JPEG: best, **found}


def _shown(rows: Iterator[Row], tasks: Sequence[Task]) -> Iterator[Row]:
    for row, task in zip(rows, tasks, strict=True):
        print(f"  {task.fleet} on {task.cloud}: {task.contender}, {task.devices} devices", file=sys.stderr, flush=True)
        yield row


def run(task: Task) -> Row:
    """Simulate one contender, or compute the bound."""
    return _simulated(task.fleet, task.cloud, task.devices, task.contender, task.traces)


def _simulated(fleet: str, cloud: str, devices: int, contender: str, traces: str | None) -> Row:
    chosen = _fleet(fleet, cloud, traces)
    warm_up_s, counted_s = LONG_S if devices <= LONG_UNTIL else SHORT_S
    until_s = warm_up_s + counted_s
    drawn = members(chosen, devices, until_s, SEED)
    if contender == BOUND:
        return bound_of(chosen, drawn, until_s, warm_up_s)
    return summarise(contender, devices, simulate_fleet(chosen, drawn, CONTENDERS[contender], warm_up_s))


@lru_cache(maxsize=8)
def _fleet(name: str, cloud: str, traces: str | None) -> Fleet:
    mixed = mixed_fleet()
    if name == "orin":
        kind = DeviceKind("orin-nano", 1.0, published_profile("orin-nano", MODEL), 0.3, 0.3, ("constant:20",), 0.02)
        mixed = replace(mixed, kinds=(kind,))
    elif name == "recorded":
        links = tuple(str(path) for path in sorted(Path(traces or ".").glob("*.csv")))
        mixed = replace(mixed, kinds=tuple(replace(kind, links=links) for kind in mixed.kinds))
    return replace(mixed, cloud=published_cloud(cloud, MODEL))


def search(fleet: str, cloud: str, step: str, traces: str | None) -> int:
    """The number of devices of which 99 % of the frames are in time."""
    names = BATCHED_JPEG if step == JPEG else (step,)

    @cache
    def in_time(devices: int) -> float:
        return max(_simulated(fleet, cloud, devices, name, traces).in_time or 0.0 for name in names)

    return devices_carried(in_time, TARGET, MOST_CARRIED, first=8, precision=0.1).devices


def worst_gap(found: dict[str, list[Row]]) -> float:
    """Largest distance of ours from the bound, in points."""
    return max(100 * (bound.right - ours.right) for bound, ours in zip(found[BOUND], found[OURS], strict=True))


def print_curves(name: str, found: dict[str, list[Row]]) -> None:
    """Print right and in time for each number of devices."""
    print(f"\n{name}: right and in time, %\n")
    print("".join(f"{each:>16}" for each in ("devices", *found, "gap to bound")))
    for index, row in enumerate(found[BOUND]):
        gap = 100 * (row.right - found[OURS][index].right)
        shares = "".join(f"{100 * rows[index].right:16.1f}" for rows in found.values())
        print(f"{row.devices:16d}{shares}{gap:16.1f}", flush=True)


def print_carried(name: str, found: dict[str, int]) -> None:
    """Print how many devices are carried, step by step."""
    print(f"\n{name}: devices of which {100 * TARGET:.0f} % of the frames are in time")
    for step, devices in found.items():
        print(f"{step:>18}{devices:8d}", flush=True)
    if found[JPEG]:
        print(f"{'factor':>18}{found[OURS] / found[JPEG]:8.1f}", flush=True)


def _curves(found: dict[str, list[Row]]) -> dict[str, list[tuple[int, float]]]:
    return {name: [(row.devices, row.right) for row in rows] for name, rows in found.items()}


if __name__ == "__main__":
    main()
