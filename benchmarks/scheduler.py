"""How long the cloud's scheduler takes to decide, and how many frames are in time with it and with others.

    python benchmarks/scheduler.py

Decisions are timed with frames of 64 devices at two entry blocks in the queue. Shares are of frames answered in time in
a simulation of one engine: random arrivals at 50 to 150 % of what it could serve if every batch were full. The limit
counts all frames alike; where half of them enter late, which costs less, serving more of these goes beyond it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

from _common import median_p99, print_json, timed_ms

from janus_vit.errors import Overloaded
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable, constant_costs
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.simulation.arrivals import Traffic, table_engine
from janus_vit.simulation.baseline_schedulers import EarliestDeadlineBatches, FixedDelay, OneAtATime
from janus_vit.simulation.replay import BatchPolicy, End, replay

LOADS = (0.5, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
ROUNDS, WARM_UP = 2000, 100
LARGEST = 32
CONFIG = CloudConfig(max_batch_frames=LARGEST, waiting_per_client=64, safety_s=0.0)
# An engine like ViT-L/16@384 on one GPU: 45 us a block, 45 us more for each frame of 577 tokens.
VIT_L = CostTable(
    model="vit-large-384",
    frames=(1, LARGEST),
    tokens=(1.0, 577.0),
    block_s=tuple((45e-6, 45e-6 + count * 44.5e-6) for count in (1, LARGEST)),
    stem_s=(0.35e-3, 1.9e-3),
    head_s=(0.1e-3, 0.16e-3),
    merge_s=(0.0, 0.0),
)
KNOWN = constant_costs(2e-3, 1e-4, blocks=12)


@dataclass(frozen=True)
class Scenario:
    """One engine and its traffic."""

    name: str
    table: CostTable
    traffic: Traffic
    seconds: float


SCENARIOS = (
    Scenario("2 ms + 0.1 ms, 30 ms", KNOWN, Traffic(12, 197, (0,), (0.03,)), 2.0),
    Scenario("2 ms + 0.1 ms, 8 ms", KNOWN, Traffic(12, 197, (0,), (0.008,)), 1.0),
    Scenario("ViT-L, half at 12, 100 ms", VIT_L, Traffic(24, 577, (0, 12), (0.1,)), 6.0),
    Scenario("ViT-L, half at 12, 50-300 ms", VIT_L, Traffic(24, 577, (0, 12), (0.05, 0.1, 0.3)), 6.0),
)


def policies(scenario: Scenario) -> dict[str, Callable[[], BatchPolicy]]:
    """Ours and what it is compared with."""
    blocks = scenario.traffic.blocks
    return {
        "waves": lambda: Scheduler(scenario.table, blocks, CONFIG),
        "one at a time": lambda: OneAtATime(blocks),
        "fixed delay": lambda: FixedDelay(blocks, 2e-3, (4, 8, 16, LARGEST)),
        "by deadline": lambda: EarliestDeadlineBatches(scenario.table, blocks, LARGEST),
    }


def shares(scenario: Scenario) -> dict[str, list[float]]:
    """Per cent of frames in time by policy, at each load; prints the table."""
    traffic, engine = scenario.traffic, table_engine(scenario.table, scenario.traffic.blocks, LARGEST)
    capacity_hz = traffic.capacity_hz(engine, LARGEST)
    print(f"\n{scenario.name}: {capacity_hz:,.0f} frames/s at most; per cent in time by load")
    print(f"{'policy':<16}" + "".join(f"{100 * load:8.0f} %" for load in LOADS))
    found: dict[str, list[float]] = {"limit": [min(100.0, 100 / load) for load in LOADS]}
    for name, policy in policies(scenario).items():
        results = [replay(policy(), traffic.jobs(capacity_hz * load, scenario.seconds, 1), engine) for load in LOADS]
        found[name] = [100 * result.share(End.IN_TIME) for result in results]
    for name, values in found.items():
        print(f"{name:<16}" + "".join(f"{value:10.2f}" for value in values))
    return found


def full_queue(waiting: int) -> tuple[Scheduler, Job]:
    """A scheduler with so many frames of all devices, and one more frame."""
    scheduler = Scheduler(VIT_L, 24, CONFIG)
    for index in range(waiting + 1):
        entry = 12 * (index % 2)
        job = Job(index, f"device-{index % 64}", 0.0, 1.0 + 1e-3 * index, entry, (577,) * (25 - entry))
        if index < waiting:
            scheduler.add(job, 0.0)
    return scheduler, job


def admission_ms(waiting: int) -> list[float]:
    """Times of taking one more frame; it leaves again outside of the measurement."""
    scheduler, job = full_queue(waiting)
    times_ms = []
    for _ in range(ROUNDS):
        times_ms += timed_ms(lambda: scheduler.add(job, 0.0), 1, 0)
        scheduler.cancel(job.id)
    return times_ms[WARM_UP:]


def refusal_ms(waiting: int) -> list[float]:
    """Times of refusing a frame that would be late, of a device that holds less than its share."""
    scheduler, job = full_queue(waiting)
    hopeless = Job(job.id, "new", 0.0, 1e-3, job.entry, job.tokens)

    def refuse() -> None:
        try:
            scheduler.add(hopeless, 0.0)
        except Overloaded:
            return
        raise AssertionError("must be refused")

    return timed_ms(refuse, ROUNDS, WARM_UP)


def dispatch_ms(waiting: int, now_s: float) -> list[float]:
    """Times of choosing a batch at that time."""
    times_ms = []
    gc.disable()  # building so many queues makes garbage, which is not the scheduler's
    for _ in range(ROUNDS // 10):
        scheduler, _ = full_queue(waiting)
        times_ms += timed_ms(lambda: scheduler.next_batch(now_s), 1, 0)  # noqa: B023
    gc.enable()
    return times_ms


def main() -> None:
    """Print the tables and the JSON line."""
    rows: list[dict[str, object]] = []
    measured = (
        ("take one frame, 100 wait", admission_ms(100), 20.0),
        ("refuse one frame, 100 wait", refusal_ms(100), 20.0),
        ("choose a batch, 256 wait", dispatch_ms(256, 0.0), 100.0),
        ("the same, deadlines in danger", dispatch_ms(256, 0.99), 400.0),
    )
    print(f"{'decision':<32} {'median us':>10} {'p99 us':>8} {'limit us':>9}")
    for name, times_ms, limit_us in measured:
        median_ms, p99_ms = median_p99(times_ms)
        print(f"{name:<32} {1e3 * median_ms:10.1f} {1e3 * p99_ms:8.1f} {limit_us:9.0f}")
        rows.append({"decision": name, "median_us": 1e3 * median_ms, "p99_us": 1e3 * p99_ms, "limit_us": limit_us})
    rows += [{"scenario": each.name, "loads": LOADS, "in_time": shares(each)} for each in SCENARIOS]
    print_json("scheduler", WARM_UP, rows)


if __name__ == "__main__":
    main()
