"""Measure how long one planning decision takes; the paper reports 1 ms.

    python benchmarks/decision.py

Both policies plan for ViT-L/16@384: the paper's Algorithm 1 over its 28 levels and 15 splits, and ours over 28 levels,
26 splits and 6 payload formats. Only `choose` is timed, after the policy has observed the link.
"""

from __future__ import annotations

from _common import median_p99, print_json, timed_ms

from janus_vit.planning.latency import Cost, Curve, PlatformProfile
from janus_vit.planning.outcome import Answer, Measured, Outcome, Transfer
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.presets import make_policy, policy_table

SHAPE = ModelShape("vit-large-384", 24, 577, 1, 1024, (3, 384, 384))
TOKENS = ("float32", "float16", "float8", "int8", "int4", "float16+zstd")
IMAGES = ("tensor", "png", "jpeg90", "jpeg75", "jpeg50", "webp75")
ROUNDS, WARM_UP = 5000, 200
LIMITS_US = {"janus": 50.0, "adaptive": 300.0}


def profile(slower: float) -> PlatformProfile:
    """Return roughly the profile of the paper's Jetson Orin Nano, or of a machine that is slower by a factor."""
    curve = Curve(0.5e-3 * slower, 0.044e-3 * slower, 0.0, 0.0, 0.0, 0.0, 1.0)
    none = Cost(0.0, 0.0)
    costs = {name: Cost(1e-4, 1e-9) for name in TOKENS + IMAGES}
    sizes = dict.fromkeys(IMAGES, 45000.0)
    return PlatformProfile(
        model=SHAPE.name,
        stem_s=1e-3 * slower,
        head_s=2e-4 * slower,
        line=curve,
        quadratic=curve,
        merge=none,
        encode=costs,
        decode=costs,
        image_bytes=sizes,
        lossless_ratio={"float16+zstd": 0.87},
    )


def main() -> None:
    """Print the table and the JSON line."""
    platforms = Platforms(SHAPE, profile(1.0), profile(0.05), rate_mbps=12.0, rtt_s=0.04)
    rows: list[dict[str, object]] = []
    print(f"{'policy':<10} {'plans':>6} {'median us':>10} {'p99 us':>8} {'limit us':>9}")
    for name, limit_us in LIMITS_US.items():
        policy = make_policy(name, platforms)
        plans = policy_table(name, platforms).size_bytes.size
        first = policy.choose(Situation(0.0, 0.3))
        for index in range(60):
            seen = Transfer(0.1 * index, 50_000, 0.03 + 0.0005 * index, 0.04)
            policy.observe(
                Outcome(
                    frame=index,
                    at_s=0.0,
                    sla_s=0.3,
                    plan=first.plan,
                    predicted=first.predicted,
                    measured=Measured(),
                    size_bytes=0,
                    answer=Answer((0,), (1.0,)),
                    fallback=None,
                    transfers=(seen,),
                )
            )
        median_ms, p99_ms = median_p99(timed_ms(lambda: policy.choose(Situation(7.0, 0.3)), ROUNDS, WARM_UP))  # noqa: B023
        print(f"{name:<10} {plans:6d} {1e3 * median_ms:10.1f} {1e3 * p99_ms:8.1f} {limit_us:9.0f}")
        rows.append({"policy": name, "plans": plans, "median_us": 1e3 * median_ms, "p99_us": 1e3 * p99_ms})
    print_json("decision", WARM_UP, rows)


if __name__ == "__main__":
    main()
