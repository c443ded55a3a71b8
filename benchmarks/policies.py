"""Every policy on every kind of link, simulated: share of late frames, and of right answers in time.

    python benchmarks/policies.py [--traces DIR] [--sla-ms 100] [--slowdown 12]

The built-in model with its measured accuracy, this machine's quick profile as cloud, and a device so many times slower.
Links are the generator's, or all traces of a folder. Frames follow each other back to back. Accuracy is looked up in
the measured table; the baselines' fixed merging is not in it, so theirs is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _common import print_json

from janus_vit.lab.generator import SCENARIOS, trace_from
from janus_vit.lab.profiler import profile_machine
from janus_vit.lab.simulate import simulate
from janus_vit.lab.traces import Trace, read_trace
from janus_vit.model.builtin import builtin_frames
from janus_vit.model.catalog import load_model
from janus_vit.planning.accuracy import AccuracyTable
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.presets import POLICIES, Platforms, make_policy

RTT_S = 0.03
DURATION_S = 120.0


def links(folder: Path | None) -> list[Trace]:
    """The traces of a folder, or one of each generated scenario."""
    if folder is not None:
        return [read_trace(path) for path in sorted(folder.glob("*.csv"))]
    return [trace_from(name, DURATION_S, seed=1) for name in SCENARIOS]


def right_in_time(outcomes: list[Outcome], table: AccuracyTable) -> float | None:
    """Mean measured accuracy of the plans that came in time, None if some plan was never measured."""
    values = [table.of_plan(outcome.plan) if outcome.met else 0.0 for outcome in outcomes]
    return None if any(value is None for value in values) else float(np.mean([value or 0.0 for value in values]))


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="a folder of CSV traces instead of generated links")
    parser.add_argument("--sla-ms", type=float, default=100.0)
    parser.add_argument("--slowdown", type=float, default=12.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model()
    assert model.accuracy is not None
    frames = [np.ascontiguousarray(frame) for frame in builtin_frames()[0][:8]]
    cloud = profile_machine(model, frames)
    rows: list[dict[str, object]] = []
    runs = [(name, True) for name in POLICIES] + [("adaptive", False)]
    names = [name if allowed else f"{name}, private" for name, allowed in runs]
    print(
        "late % (right in time %), SLA", options.sla_ms, "ms, device", options.slowdown, "times slower than the cloud"
    )
    print(f"{'link':<24}" + "".join(f"{name:>18}" for name in names))
    for trace in links(options.traces):
        cells = []
        for (name, allowed), shown in zip(runs, names, strict=True):
            device = cloud.slowed(options.slowdown)
            platforms = Platforms(model.shape, device, cloud, trace.mean_mbps, RTT_S, model.accuracy, allowed)
            policy = make_policy(name, platforms)
            outcomes = list(simulate(policy, platforms, trace, options.sla_ms / 1e3, DURATION_S))
            late = float(np.mean([not outcome.met for outcome in outcomes]))
            right = right_in_time(outcomes, model.accuracy)
            cells.append(f"{100 * late:.1f}" + ("" if right is None else f" ({100 * right:.1f})"))
            rows.append({"link": trace.name, "policy": shown, "late": late, "right_in_time": right})
        print(f"{trace.name:<24}" + "".join(f"{cell:>18}" for cell in cells))
    print_json("policies", 0, rows)


if __name__ == "__main__":
    main()
