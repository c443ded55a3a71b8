"""The simulator: the live device loop with a predicted worker, a recorded link, a simulated cloud and a virtual clock.

`Device` and the policies are the live ones; only the parts that would take real time are replaced. The same trace, and
the same seed where compute is noisy, give identical records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Policy
from janus_vit.runtime.device import Device
from janus_vit.runtime.pacing import attentive, captures
from janus_vit.runtime.transport import Transport
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.cloud import IdleCloud
from janus_vit.simulation.conditions import NO_OVERHEAD, DelayedPolicy, Noise, Overhead
from janus_vit.simulation.costs import Costs
from janus_vit.simulation.link import RecordedLink
from janus_vit.simulation.transport import OneAtATime, SimulatedTransport
from janus_vit.simulation.worker import PredictedWorker


def simulate(
    policy: Policy,
    platforms: Platforms,
    trace: Trace,
    sla_s: float,
    duration_s: float,
    period_s: float | None = None,
    *,
    begin_s: float = 0.0,
    overhead: Overhead = NO_OVERHEAD,
    noise: Noise | None = None,
    in_flight: int = 1,
    waits_idly: bool = False,
) -> Iterator[Outcome]:
    """Run one device over a recorded link and yield the outcome of each frame.

    Args:
        policy: plans each frame; must be a fresh one.
        platforms: both sides, and the link's round trip.
        trace: the uplink's rate over time.
        sla_s: time allowed for each frame.
        duration_s: length of the stream, in the trace's time.
        period_s: time between frames of a camera, whose newest frame is run; None runs frames back to
            back, as the paper does.
        begin_s: position in the trace at the first frame.
        overhead: time and bytes that the runtime adds to each frame.
        noise: noise in compute on both sides; None takes exactly the profiles' times.
        in_flight: number of frames that run at once.
        waits_idly: whether the device computes nothing while a frame is in the air, as the paper's does.
    """
    clock = VirtualClock(begin_s)
    costs = Costs(platforms)
    noise = noise or Noise((), (), 0)
    worker = PredictedWorker(costs, clock, overhead, noise.device_factor())
    link = RecordedLink(trace, platforms.rtt_s + overhead.request_s, overhead.request_bytes)
    cloud = IdleCloud(costs, overhead.queue_s, noise.cloud_factor())
    transport: Transport = SimulatedTransport(link, cloud, clock)
    if waits_idly:
        transport = OneAtATime(transport)
    chosen = DelayedPolicy(policy, clock, overhead.plan_s)
    device = Device(worker, transport, chosen, sla_s, clock=clock, in_flight=in_flight)
    wait = attentive(device, clock.now, clock.advance)
    delivered: deque[Outcome] = deque()
    for captured_s in captures(clock.now, wait, duration_s, period_s, device.skip_if_hopeless):
        device.submit(None, captured_s, delivered.append)
        while delivered:
            yield delivered.popleft()
    device.drain()
    yield from delivered
