"""Measures on a rig how a real run differs from its profiles: overhead of the runtime, and noise in compute times."""

from __future__ import annotations

import statistics
import time
from itertools import cycle, islice

from janus_vit.planning.outcome import Outcome
from janus_vit.planning.platforms import Platforms
from janus_vit.simulation.conditions import Conditions, Noise, Overhead
from janus_vit.sources.frames import Source
from janus_vit.testbed.gap_analysis import compute_ratios
from janus_vit.testbed.rig import Rig

_FRAMES, _WARM_UP = 30, 4  # of each measurement
_LIMIT_S = 4.0  # of each measurement, once it has frames after the warm-up
_PAUSE_S = 0.01  # between frames, the same as the profiler's
_LOCAL_POLICY, _SENDING_POLICY = "device-only", "cloud-jpeg"
_LONG_SLA_S = 30.0  # no request times out
REQUEST_BYTES = 120  # the message's other fields and gRPC's headers, as counted by the emulated link


def measure_conditions(rig: Rig, policy: str, sla_s: float, images_allowed: bool, source: Source) -> Conditions:
    """Run a few frames without a link: all on the device, all in the cloud, and as the policy plans them.

    Args:
        rig: runs the frames.
        policy: a preset's name, or FILE.py:CLASS; its planning time is measured.
        sla_s: time allowed for each frame that the policy plans.
        images_allowed: False keeps the policy's pixels on the device.
        source: frames to run.
    """
    local, platforms = _frames_without_link(rig, _LOCAL_POLICY, _LONG_SLA_S, True, source)
    sent, _ = _frames_without_link(rig, _SENDING_POLICY, _LONG_SLA_S, True, source)
    planned, _ = _frames_without_link(rig, policy, sla_s, images_allowed, source)
    overhead = Overhead(
        prepare_s=statistics.median(outcome.measured.prepare_s for outcome in planned),
        plan_s=statistics.median(outcome.measured.plan_s for outcome in planned),
        request_s=statistics.median(outcome.measured.send_s + outcome.measured.rtt_s for outcome in sent),
        queue_s=statistics.median(outcome.measured.queue_s for outcome in sent),
        request_bytes=REQUEST_BYTES,
    )
    noise = Noise(compute_ratios(local, platforms)[0], compute_ratios(sent, platforms)[1], seed=0)
    return Conditions(overhead, noise)


def _frames_without_link(
    rig: Rig, policy: str, sla_s: float, images_allowed: bool, source: Source
) -> tuple[list[Outcome], Platforms]:
    """Return the outcomes after the warm-up, and the platforms as the policy knew them."""
    outcomes: list[Outcome] = []
    with rig.connected(rig.address, policy, sla_s, images_allowed) as session:
        began_s = time.perf_counter()
        for sample in islice(cycle(source), _FRAMES):
            time.sleep(_PAUSE_S)
            outcomes.append(session.device.infer(sample.frame))
            if len(outcomes) > 2 * _WARM_UP and time.perf_counter() - began_s > _LIMIT_S:
                break
    return outcomes[_WARM_UP:], session.platforms
