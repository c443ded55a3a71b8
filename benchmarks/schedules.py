"""Compare merging schedules at equal latency: accuracy on the device, in the cloud, and across a split.

    python benchmarks/schedules.py

Uses the built-in models with their measured accuracy tables. Latency is predicted from a profile that is measured
first: the cloud is this machine with one thread, the device is slower by a factor. Each family has its calibrated
levels.
"""

from __future__ import annotations

import numpy as np
import torch
from _common import print_json

from janus_vit.calibration.profiler import profile_machine
from janus_vit.model.catalog import BUILTIN, BUILTIN_VIDEO, Model, load_model
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.latency import Floats, PlatformProfile
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.schedules import Schedule, clip, make_schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.sources.streams import open_stream

SLOWDOWN = 12.0  # of the device
RATE_MBPS = 4.0
BUDGETS = (1.0, 0.95, 0.9, 0.85, 0.8)  # shares of the unmerged latency


def calibrated_schedules(family: str, accuracy: AccuracyTable, model: Model) -> list[Schedule]:
    """Return the unmerged schedule and the calibrated schedules of one family."""
    points = [point for point in accuracy.points if point.family == family]
    found = {point.merges: clip(family, point.level, point.merges, model.shape) for point in points}
    return [make_schedule("none", 0.0, model.shape), *found.values()]


def total_s(schedules: list[Schedule], option: Option, model: Model, profile: PlatformProfile) -> tuple[Floats, Floats]:
    """Return the latency without round trip and the accuracy of each schedule, for one split and payload."""
    assert model.accuracy is not None
    table = build_table(model.shape, schedules, [option], profile.slowed(SLOWDOWN), profile)
    compute_s = table.device_s + table.encode_s + table.cloud_s + table.decode_s
    seconds = compute_s + table.size_bytes * 8e-6 / RATE_MBPS
    return seconds[:, 0], model.accuracy.of_plans(table)[:, 0]


def main() -> None:
    """Print the tables and the JSON line."""
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    for name in (BUILTIN, BUILTIN_VIDEO):
        model = load_model(name)
        assert model.accuracy is not None
        frames = [sample.frame for sample in open_stream("builtin", model.preprocessing.frames, count=4)]
        profile = profile_machine(model, frames)
        blocks, families = model.shape.blocks, model.accuracy.families
        places = {
            "device": Option(blocks + 1, LOCAL),
            "cloud": Option(0, "jpeg90"),
            "split": Option(blocks // 2, "float8"),
        }
        print(f"{name}: % right at a share of the unmerged latency ({model.accuracy.frames} frames)")
        print(f"{'where':<8} {'share':>6} {'ms':>8}" + "".join(f"{family:>13}" for family in families))
        for place, option in places.items():
            found = {
                family: total_s(calibrated_schedules(family, model.accuracy, model), option, model, profile)
                for family in families
            }
            unmerged_s = float(next(iter(found.values()))[0][0])
            for share in BUDGETS:
                best = {
                    family: float(np.nanmax(np.where(seconds <= share * unmerged_s * (1 + 1e-9), right, -1.0)))
                    for family, (seconds, right) in found.items()
                }
                cells = "".join(f"{100 * right:>13.1f}" if right >= 0 else f"{'-':>13}" for right in best.values())
                print(f"{place:<8} {share:>6.2f} {1e3 * share * unmerged_s:>8.1f}{cells}")
                known = {family: right if right >= 0 else None for family, right in best.items()}
                rows.append({"model": name, "where": place, "share": share, "right": known})
    print("-: no calibrated level of that family is fast enough")
    print_json("schedules", 0, rows)


if __name__ == "__main__":
    main()
