"""The streams of a simulated fleet: the live device loop, and the plain client of the JPEG baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from janus_vit.errors import TransportError
from janus_vit.fleet.shared_cloud.served_cloud import ServedCloud
from janus_vit.fleet.shared_cloud.transport import FleetTransport
from janus_vit.fleet.shared_cloud.world import World
from janus_vit.fleet.spec import Fleet, Member
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.runtime.clock import CLOSEST_S
from janus_vit.runtime.device import Device
from janus_vit.runtime.pacing import captures
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.conditions import Conditions, DelayedPolicy
from janus_vit.simulation.costs import Costs
from janus_vit.simulation.link import RecordedLink
from janus_vit.simulation.worker import PredictedWorker
from janus_vit.wire.messages import Request

OnOutcome = Callable[[Member, Outcome], None]


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One frame that ran.

    Attributes:
        captured_s: time of capture.
        total_s: from capture to answer; infinite if none came.
        plan: that ran.
        fell_back: whether the device finished it although the plan was to send it.
    """

    captured_s: float
    total_s: float
    plan: Plan
    fell_back: bool


@dataclass
class Stream:
    """One device and what became of its frames.

    Attributes:
        member: the device.
        frames: that ran, in order of their end.
    """

    member: Member
    frames: list[FrameRecord] = field(default_factory=list)


def run_device(
    stream: Stream,
    policy: Policy,
    fleet: Fleet,
    costs: Costs,
    cloud: ServedCloud,
    world: World,
    conditions: Conditions,
    on_outcome: OnOutcome,
) -> None:
    """Run a member with the live device loop; starts as a stream of the world.

    `on_outcome` is called for each frame.
    """
    member, overhead = stream.member, conditions.overhead
    clock = VirtualClock()
    noise = conditions.noise.of_device(member.name)
    request_factor, request_s = noise.request_factor(), overhead.request_s + overhead.queue_s
    link = RecordedLink(member.trace, member.kind.rtt_s, overhead.request_bytes, member.begin_s)
    transport = FleetTransport(
        world, clock, link, cloud, fleet.shape, costs, overhead_s=lambda: request_s * request_factor()
    )
    worker = PredictedWorker(costs, clock, overhead, noise.device_factor())
    chosen: Policy = _Remembering(policy)
    if overhead.plan_s:
        chosen = DelayedPolicy(chosen, clock, overhead.plan_s)
    device = Device(worker, transport, chosen, member.kind.sla_s, name=member.name, clock=clock)

    def run() -> None:
        for start_s, stop_s in _spans(member):
            clock.advance(max(0.0, start_s - clock.now()))
            length_s, period_s = stop_s - clock.now(), member.kind.period_s
            for captured_s in captures(clock.now, clock.advance, length_s, period_s, device.skip_if_hopeless):
                outcome = device.infer(None, captured_s)
                on_outcome(member, outcome)
                stream.frames.append(frame_record(outcome, captured_s))

    world.start(run)


def run_plain_client(stream: Stream, plan: Plan, fleet: Fleet, costs: Costs, cloud: ServedCloud, world: World) -> None:
    """Send every frame as an image when it is captured, and give up at the deadline: what clients of other servers do.

    Frames overlap if the SLA is longer than the period.
    """
    member = stream.member
    link = RecordedLink(member.trace, member.kind.rtt_s, begin_s=member.begin_s)
    cost = costs[plan]
    body = bytes(cost.size_bytes)

    def send(captured_s: float) -> None:
        clock = VirtualClock(captured_s + cost.encode_s)
        transport = FleetTransport(world, clock, link, cloud, fleet.shape, costs)
        left_s = member.kind.sla_s - cost.encode_s
        request = Request("simulated", plan.payload, 0, plan.merges, 0, 0, left_s, member.name, body)
        try:
            transport.infer(request, left_s)
            total_s = clock.now() - captured_s
        except TransportError:
            total_s = float("inf")
        stream.frames.append(FrameRecord(captured_s, total_s, plan, False))

    for captured_s in ticks_s(member):
        world.start(lambda at_s=captured_s: send(at_s), captured_s + cost.encode_s)  # type: ignore[misc]


class _Remembering:
    """A policy that is asked again in the same situation repeats its decision: the live loop asks up to three times."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._asked: Situation | None = None
        self._decided: Decision | None = None

    def observe(self, outcome: Outcome) -> None:
        """See `Policy.observe`."""
        self._asked = None
        self._policy.observe(outcome)

    def choose(self, situation: Situation) -> Decision:
        """See `Policy.choose`."""
        if self._decided is None or situation != self._asked:
            self._asked, self._decided = situation, self._policy.choose(situation)
        return self._decided


def ticks_s(member: Member) -> list[float]:
    """Capture times of all frames that a device's camera takes."""
    return [each for start_s, stop_s in _spans(member) for each in _ticks(start_s, stop_s, member)]


def frame_record(outcome: Outcome, captured_s: float) -> FrameRecord:
    """The part of an outcome that the results need."""
    return FrameRecord(captured_s, outcome.measured.total_s, outcome.plan, outcome.fallback is not None)


def _spans(member: Member) -> Iterator[tuple[float, float]]:
    """When the camera runs: its first frame comes with its phase after each start."""
    for start_s, stop_s in member.active:
        if start_s + member.phase_s < stop_s:
            yield start_s + member.phase_s, stop_s


def _ticks(start_s: float, stop_s: float, member: Member) -> Iterator[float]:
    tick = 0
    while (captured_s := start_s + tick * member.kind.period_s) < stop_s - CLOSEST_S:
        yield captured_s
        tick += 1
