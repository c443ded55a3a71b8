"""Simulate every policy on every kind of link: share of late frames, and of right answers in time.

    python benchmarks/policies.py [--traces DIR] [--sla-ms 100] [--slowdown 20]

Uses the built-in model with its measured accuracy table, a quick profile of this machine as the cloud, and a device
that is slower by the given factor. Links are generated, or all traces of a folder. The camera's period is the SLA; the
newest frame is run, and a dropped frame counts as late.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _common import print_json

from janus_vit.calibration.profiler import profile_machine
from janus_vit.links.generator import SCENARIOS, trace_from
from janus_vit.links.trace_files import read_trace
from janus_vit.links.traces import Trace
from janus_vit.model.catalog import load_model
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import POLICIES, make_policy
from janus_vit.records.summary import expected_in_time
from janus_vit.runtime.pacing import frames_taken
from janus_vit.simulation.simulate import simulate
from janus_vit.sources.builtin import builtin_frames

RTT_S = 0.03
DURATION_S = 120.0


def links(folder: Path | None) -> list[Trace]:
    """Return the traces of a folder; without one, a link of each generated scenario."""
    if folder is not None:
        return [read_trace(path) for path in sorted(folder.glob("*.csv"))]
    return [trace_from(name, DURATION_S, seed=1) for name in SCENARIOS]


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="a folder of CSV traces instead of generated links")
    parser.add_argument("--sla-ms", type=float, default=100.0)
    parser.add_argument("--slowdown", type=float, default=20.0)
    options = parser.parse_args()
    sla_s = options.sla_ms / 1e3
    taken = frames_taken(0, DURATION_S, sla_s)
    torch.set_num_threads(1)
    model = load_model()
    assert model.accuracy is not None
    images = [np.ascontiguousarray(frame) for frame in builtin_frames()[0][:8]]
    cloud = profile_machine(model, images)
    rows: list[dict[str, object]] = []
    runs = [(name, True) for name in POLICIES] + [("adaptive", False)]
    names = [name if allowed else f"{name}, private" for name, allowed in runs]
    print(
        "late % (right and in time %), SLA",
        options.sla_ms,
        "ms, device",
        options.slowdown,
        "times slower than the cloud",
    )
    print(f"{'link':<24}" + "".join(f"{name:>18}" for name in names))
    for trace in links(options.traces):
        cells = []
        for (name, allowed), shown in zip(runs, names, strict=True):
            device = cloud.slowed(options.slowdown)
            platforms = Platforms(model.shape, device, cloud, trace.mean_mbps, RTT_S, model.accuracy, allowed)
            policy = make_policy(name, platforms)
            outcomes = simulate(policy, platforms, trace, sla_s, DURATION_S, period_s=sla_s)
            in_time = [outcome for outcome in outcomes if outcome.met]
            late = 1 - len(in_time) / taken
            right = expected_in_time(in_time, taken, model.accuracy)
            cells.append(f"{100 * late:.1f}" + ("" if right is None else f" ({100 * right:.1f})"))
            rows.append({"link": trace.name, "policy": shown, "late": late, "right_in_time": right})
        print(f"{trace.name:<24}" + "".join(f"{cell:>18}" for cell in cells))
    print_json("policies", 0, rows)


if __name__ == "__main__":
    main()
