"""Measure how many frames per second the simulator runs on one core, with the paper's policy and with ours.

    python benchmarks/simulator.py

The paper's Algorithm 1 has 28 x 15 plans.
"""

from __future__ import annotations

import time

from _common import print_json
from decision import SHAPE, profile

from janus_vit.links.generator import generate
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import make_policy
from janus_vit.simulation.simulate import simulate

DURATION_S = 600.0
LIMIT_FPS = 5000


def main() -> None:
    """Print the table and the JSON line."""
    trace = generate("lte", "driving", duration_s=DURATION_S, seed=1)
    platforms = Platforms(SHAPE, profile(1.0), profile(0.05), rate_mbps=trace.mean_mbps, rtt_s=0.042)
    rows: list[dict[str, object]] = []
    print(f"{'policy':<10} {'frames':>7} {'wall s':>7} {'frames/s':>9}")
    for name in ("janus", "adaptive"):
        policy = make_policy(name, platforms)
        began_s = time.perf_counter()
        frames = sum(1 for _ in simulate(policy, platforms, trace, 0.3, DURATION_S))
        wall_s = time.perf_counter() - began_s
        print(f"{name:<10} {frames:7d} {wall_s:7.2f} {frames / wall_s:9.0f}")
        rows.append({"policy": name, "frames": frames, "frames_per_s": frames / wall_s})
    print_json("simulator", 0, rows)


if __name__ == "__main__":
    main()
