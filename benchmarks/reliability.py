"""Is the forecast honest, and does a stream spend the risk that its user accepts? On every network, beside the oracle.

    python benchmarks/reliability.py [--traces DIR] [--seconds 300] [--workers 2] [--out FOLDER]

Simulates the default policy with the paper's image model on its published machines, as many frames in flight as the
device command has, on all traces of DIR or on one of each generated scenario; the camera's period is the SLA, and a
dropped frame counts as late. Three tables: late frames beside those of the oracle and of the safest fixed plan, which
hindsight chooses; of the frames that the cloud was asked for, the share that the policy claimed to be in time and the
share that was; and the share of late frames for each accepted one (--late-target). Writes the reliability diagram to
FOLDER/reliability.svg (default build/).
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from _common import print_json

from janus_vit.links.trace_files import read_trace
from janus_vit.links.traces import Trace
from janus_vit.planning.policies.presets import make_policy
from janus_vit.reproduction.extended import Setting, generated_links
from janus_vit.runtime.config import DEFAULT_IN_FLIGHT
from janus_vit.simulation.bounds import FixedPlan, all_plans
from janus_vit.simulation.compare import ORACLE, run_case
from janus_vit.simulation.oracle import Oracle
from janus_vit.simulation.results import as_results
from janus_vit.simulation.simulate import simulate

POLICY = "adaptive-fleet"
SLAS_S = (0.3, 0.2, 0.15)
TARGETS = (None, 0.002, 0.01, 0.03)
EDGES = np.array([0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0 + 1e-9])
SAMPLED_FRAMES = 300  # frames by which the safest fixed plan is chosen
Job = tuple[float, Trace, float | None, float]
Late = dict[tuple[float, str, float | None], float]  # by SLA, network and accepted share
Reference = dict[tuple[float, str], float]  # by SLA and network
Claims = tuple[np.ndarray, np.ndarray]  # of the frames sent: claimed probability, and whether they were in time


def run(job: Job) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the share of late frames of a stream, and what was claimed and came of the frames that were sent."""
    sla_s, trace, target, seconds = job
    case = replace(Setting(sla_s=sla_s).case(POLICY, trace, min(seconds, trace.duration_s)), late_target=target)
    policy = make_policy(case.policy, case.platforms, target)
    outcomes = list(
        simulate(policy, case.platforms, trace, sla_s, case.duration_s, period_s=sla_s, in_flight=DEFAULT_IN_FLIGHT)
    )
    sent = [each for each in outcomes if not each.plan.is_local or each.fallback]
    claimed = np.array([each.predicted.on_time for each in sent], float)
    return float(as_results(outcomes, case).late.mean()), claimed, np.array([each.met for each in sent], bool)


def oracle(job: Job) -> float:
    """Return the share of frames that no plan answers in time."""
    sla_s, trace, _, seconds = job
    return float(run_case(Setting(sla_s=sla_s).case(ORACLE, trace, min(seconds, trace.duration_s))).late.mean())


def safest_fixed(job: Job) -> float:
    """Return the share of late frames of the plan that would answer most frames in time, each on an idle link."""
    sla_s, trace, _, seconds = job
    case = Setting(sla_s=sla_s).case(POLICY, trace, min(seconds, trace.duration_s))
    table, _ = all_plans(case.platforms)
    sample_s = np.linspace(0.0, case.duration_s, SAMPLED_FRAMES, endpoint=False)
    shares = Oracle(table, trace, case.platforms.rtt_s).share_in_time(sample_s, sla_s)
    row, column = divmod(int(shares.argmax()), shares.shape[1])
    plan = FixedPlan(table, row, column, case.platforms)
    outcomes = simulate(
        plan, case.platforms, trace, sla_s, case.duration_s, period_s=sla_s, in_flight=DEFAULT_IN_FLIGHT
    )
    return float(as_results(list(outcomes), case).late.mean())


def print_late(links: list[Trace], late: Late, best: Reference, fixed: Reference) -> None:
    """Print late frames beside those of the oracle and of the safest fixed plan."""
    print(f"\nlate %, ours (oracle; safest fixed plan)\n{'network':<26}", end="")
    print("".join(f"{1e3 * sla_s:>21.0f} ms" for sla_s in SLAS_S))
    for link in links:
        shares = [(late[s, link.name, None], best[s, link.name], fixed[s, link.name]) for s in SLAS_S]
        cells = ["{:.2f} ({:.2f}; {:.2f})".format(*(100 * share for share in each)) for each in shares]
        print(f"{link.name:<26}" + "".join(f"{cell:>24}" for cell in cells))
    excess = [[100 * (late[s, link.name, None] - best[s, link.name]) for link in links] for s in SLAS_S]
    print(f"{'mean excess, points':<26}" + "".join(f"{np.mean(each):>24.2f}" for each in excess))
    print(f"{'largest excess, points':<26}" + "".join(f"{max(each):>24.2f}" for each in excess))


def print_coverage(links: list[Trace], claims: dict[tuple[float, str], Claims]) -> None:
    """Print what was claimed and what came, of the frames that were sent."""
    print(
        f"\nin time % of the frames sent, claimed / came\n{'network':<26}"
        + "".join(f"{1e3 * s:>14.0f} ms" for s in SLAS_S)
    )
    for link in links:
        cells = []
        for sla_s in SLAS_S:
            claimed, came = claims[sla_s, link.name]
            cells.append(f"{100 * claimed.mean():.1f} / {100 * came.mean():.1f}" if len(claimed) else "none sent")
        print(f"{link.name:<26}" + "".join(f"{cell:>17}" for cell in cells))


def bins(claims: list[Claims]) -> list[tuple[float, float, int]]:
    """Return the mean claim, the share in time and the number of frames of each bin."""
    claimed, came = (np.concatenate(each) for each in zip(*claims, strict=True))
    index = np.digitize(claimed, EDGES) - 1
    taken = [index == each for each in range(len(EDGES) - 1)]
    return [(float(claimed[each].mean()), float(came[each].mean()), int(each.sum())) for each in taken if each.any()]


def draw(path: Path, diagram: dict[float, list[tuple[float, float, int]]]) -> None:
    """Draw the reliability diagram."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1, label="honest")
    for sla_s, points in diagram.items():
        claimed, came, _ = zip(*points, strict=True)
        axes.plot(claimed, came, marker="o", label=f"SLA {1e3 * sla_s:g} ms")
    axes.set(xlabel="claimed probability of being in time", ylabel="share that was in time", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="folder of recorded links, CSV")
    parser.add_argument("--seconds", type=float, default=300.0, help="longest stream")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for the diagram")
    options = parser.parse_args()
    recorded = [read_trace(path) for path in sorted(options.traces.glob("*.csv"))] if options.traces else []
    links = recorded or generated_links(options.seconds)
    keys = [(sla_s, link, target) for target in TARGETS for sla_s in SLAS_S for link in links]
    with ProcessPoolExecutor(options.workers) as pool:
        wanted = [(sla_s, link, None, options.seconds) for sla_s in SLAS_S for link in links]
        names = [(s, link.name) for s, link, *_ in wanted]
        best = dict(zip(names, pool.map(oracle, wanted), strict=True))
        fixed = dict(zip(names, pool.map(safest_fixed, wanted), strict=True))
        found = {}
        for (s, link, t), each in zip(keys, pool.map(run, [(*key, options.seconds) for key in keys]), strict=True):
            found[s, link.name, t] = each
            print(f"\r{len(found)} of {len(keys)} streams", end="", flush=True)
    late = {key: each[0] for key, each in found.items()}
    claims = {(s, name): each[1:] for (s, name, t), each in found.items() if t is None}
    print_late(links, late, best, fixed)
    print_coverage(links, claims)
    print(f"\nlate % for each accepted share\n{'SLA':<26}" + "".join(f"{_percent(t):>12}" for t in TARGETS))
    for s in SLAS_S:
        means = [100 * np.mean([late[s, link.name, t] for link in links]) for t in TARGETS]
        print(f"{1e3 * s:<26.0f}" + "".join(f"{mean:>12.2f}" for mean in means))
    diagram = {s: bins([claims[s, link.name] for link in links]) for s in SLAS_S}
    print("\nclaimed, came, frames of all networks together")
    for s, points in diagram.items():
        print(f"{1e3 * s:.0f} ms: " + "; ".join(f"{100 * a:.1f} -> {100 * b:.1f} ({n})" for a, b, n in points))
    draw(options.out / "reliability.svg", diagram)
    rows: list[dict[str, object]] = [
        {"sla_s": s, "link": name, "target": t, "late": share, "oracle": best[s, name], "fixed": fixed[s, name]}
        for (s, name, t), share in late.items()
    ]
    print_json("reliability", 0, rows)


def _percent(target: float | None) -> str:
    return "no target" if target is None else f"{100 * target:g} %"


if __name__ == "__main__":
    main()
