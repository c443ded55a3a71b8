"""The simulator: the real device loop with a predicted engine, a recorded link and a virtual clock.

Never a second implementation: `Device` and the policies are the live ones. Only the three things that cost real time
are replaced. The same trace, and the same seed where compute is noisy, give identical records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from janus_vit.errors import DeadlineExceeded, InputError
from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Answer, Outcome, Transfer
from janus_vit.planning.plan import Plan, tokens_after_blocks
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.planning.policies.presets import Platforms
from janus_vit.planning.schedules import Schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.runtime.device import Device
from janus_vit.runtime.pacing import captures
from janus_vit.runtime.worker import EncodedPayload
from janus_vit.wire.messages import Greeting, Reply, Request

_ANSWER = Answer((0,), (1.0,))
_BUFFERED_BYTES = 256 * 1024  # as the emulated link's queue


class VirtualClock:
    """Time that passes only when somebody says so."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now(self) -> float:
        """Current time in seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


@dataclass(frozen=True, slots=True)
class Overhead:
    """What the runtime adds to a frame beside compute, packing and the link. Nothing, unless it was measured.

    Attributes:
        prepare_s: resizing a frame. plan_s: one decision.
        request_s: gRPC and threads on both sides, on no link; a part of the round trip. queue_s: in an idle cloud.
        request_bytes: sent with each payload.
    """

    prepare_s: float = 0.0
    plan_s: float = 0.0
    request_s: float = 0.0
    queue_s: float = 0.0
    request_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Noise:
    """How compute strays from the profiles: every part of a frame takes one of these factors, drawn by the seed."""

    device: tuple[float, ...]
    cloud: tuple[float, ...]
    seed: int

    @classmethod
    def of_profiles(cls, platforms: Platforms, seed: int) -> Noise:
        """As far as the profiles' own samples stray from their curves.

        Raises:
            InputError: a profile without samples.
        """
        sides = platforms.device, platforms.cloud
        for profile in sides:
            if not profile.samples:
                raise InputError(f"profile of {profile.model!r} has no samples to draw noise from: profile it again")
        device, cloud = (tuple(profile.residuals().tolist()) for profile in sides)
        return cls(device, cloud, seed)


def _draws(factors: Sequence[float], seed: str) -> Callable[[], float]:
    """One of the factors a call; 1 if there are none."""
    random = Random(seed)
    return (lambda: random.choice(factors)) if factors else (lambda: 1.0)


@dataclass(frozen=True, slots=True)
class PlanCosts:
    """What one plan takes on both sides, in seconds, and the bytes between them."""

    device_s: float
    encode_s: float
    decode_s: float
    cloud_s: float
    finish_s: float
    size_bytes: int


class Costs:
    """Predicted costs of any plan on two platforms, computed once a plan."""

    def __init__(self, platforms: Platforms) -> None:
        self._platforms = platforms
        self._of_plan = lru_cache(maxsize=None)(self._compute)

    def __getitem__(self, plan: Plan) -> PlanCosts:
        return self._of_plan(plan)

    def crossing(self, plan: Plan) -> int:
        """Tokens that a plan sends; 0 if it sends an image."""
        shape, split = self._platforms.shape, plan.split
        return shape.tokens_at(split, tokens_after_blocks(shape.tokens, plan.merges)[split]) if split else 0

    def of_request(self, request: Request) -> PlanCosts:
        """Costs of a request's plan; only the cloud's are those of the plan that made it."""
        gone = self._platforms.shape.tokens - request.tokens
        # How the tokens went before the split does not matter to the cloud: say that the first block merged them.
        before = (gone, *(0,) * (request.split - 1)) if request.split else ()
        return self[Plan("request", 0.0, (*before, *request.merges), request.split, request.payload)]

    def _compute(self, plan: Plan) -> PlanCosts:
        shape = self._platforms.shape
        tokens = tokens_after_blocks(shape.tokens, plan.merges)
        schedule = Schedule(plan.family, plan.level, plan.merges, plan.merges, tokens)
        option = Option(plan.split, plan.payload)
        # Between the samples, not on a fitted curve: that would favour the policies that plan with it.
        table = build_table(shape, [schedule], [option], self._platforms.device, self._platforms.cloud, "measured")
        parts = (table.device_s, table.encode_s, table.decode_s, table.cloud_s, table.finish_s, table.size_bytes)
        device_s, encode_s, decode_s, cloud_s, finish_s, size_bytes = (float(part[0, 0]) for part in parts)
        if plan.rescue is not None:
            finish_s = self[plan.rescued].device_s - device_s
        return PlanCosts(device_s, encode_s, decode_s, cloud_s, finish_s, round(size_bytes))


class PredictedWorker:
    """A device that takes exactly as long as its profile says, times noise, and answers nothing useful."""

    fingerprint = "simulated"

    def __init__(self, costs: Costs, clock: VirtualClock, overhead: Overhead, noise: Callable[[], float]) -> None:
        self._costs = costs
        self._clock = clock
        self._overhead = overhead
        self._noise = noise
        self._body = lru_cache(maxsize=4096)(bytes)  # zeros of the right length

    def prepare(self, frame: None) -> None:
        """A simulated frame has no pixels."""
        self._clock.advance(self._overhead.prepare_s)

    def compute(self, prepared: None, plan: Plan) -> Plan:
        """See `Worker.compute`."""
        self._clock.advance(self._costs[plan].device_s * self._noise())
        return plan

    def encode(self, state: Plan, plan: Plan) -> EncodedPayload:
        """See `Worker.encode`."""
        costs = self._costs[plan]
        self._clock.advance(costs.encode_s)
        return EncodedPayload(self._body(costs.size_bytes), self._costs.crossing(plan), 0)

    def finish(self, state: Plan, plan: Plan) -> Answer:
        """See `Worker.finish`."""
        self._clock.advance(self._costs[plan].finish_s * self._noise())
        return _ANSWER


class _DecidingPolicy:
    """A policy whose decisions take time."""

    def __init__(self, policy: Policy, clock: VirtualClock, plan_s: float) -> None:
        self._policy = policy
        self._clock = clock
        self._plan_s = plan_s
        self.observe = policy.observe

    def choose(self, situation: Situation) -> Decision:
        """See `Policy.choose`."""
        self._clock.advance(self._plan_s)
        return self._policy.choose(situation)


class RecordedLink:
    """A transport over a recorded uplink to a cloud that takes as long as its profile says.

    Sending integrates the trace: a rate of zero stalls. Half of the round trip passes before the cloud begins. A probe
    shares the link with the frame that is sent after it.
    """

    def __init__(
        self,
        trace: Trace,
        rtt_s: float,
        costs: Costs,
        clock: VirtualClock,
        overhead: Overhead,
        noise: Callable[[], float],
    ) -> None:
        self._trace = trace
        self._rtt_s = rtt_s + overhead.request_s
        self._costs = costs
        self._clock = clock
        self._overhead = overhead
        self._noise = noise
        self._free_s = 0.0  # when the link has sent what was given to it

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return Greeting("simulated", "simulated", "")

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        began_s = self._clock.now()
        receive_s = self._send(len(request.body)) - began_s
        costs, queue_s = self._costs.of_request(request), self._overhead.queue_s
        cloud_s = costs.cloud_s * self._noise()
        elapsed_s = receive_s + self._rtt_s + costs.decode_s + queue_s + cloud_s
        if elapsed_s > timeout_s:
            self._abandon(began_s + timeout_s)
            self._clock.advance(timeout_s)
            raise DeadlineExceeded("the recorded link did not deliver in time")
        self._clock.advance(elapsed_s)
        return Reply(_ANSWER, receive_s, costs.decode_s, queue_s, cloud_s, 0.0)

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Transfer]:
        """See `Transport.probe`."""
        began_s = self._clock.now()
        send_s = self._send(size_bytes) - began_s
        if send_s + self._rtt_s > timeout_s:
            self._abandon(began_s + timeout_s)
            return _Arrival(Transfer(began_s + timeout_s, size_bytes, timeout_s, None), self._clock)
        return _Arrival(Transfer(began_s + send_s + self._rtt_s, size_bytes, send_s, self._rtt_s), self._clock)

    def close(self) -> None:
        """See `Transport.close`."""

    def _abandon(self, at_s: float) -> None:
        """Give up a transfer: what buffers on the way hold already is sent all the same."""
        self._free_s = min(self._free_s, self._trace.finish_time(at_s, _BUFFERED_BYTES))

    def _send(self, size_bytes: int) -> float:
        """Give bytes to the link; when it has sent them."""
        start_s = max(self._clock.now(), self._free_s)
        self._free_s = self._trace.finish_time(start_s, size_bytes + self._overhead.request_bytes)
        return self._free_s


class _Arrival(Future[Transfer]):
    """A transfer that is known already and over when the virtual clock says so."""

    def __init__(self, transfer: Transfer, clock: VirtualClock) -> None:
        super().__init__()
        self._over_s = transfer.at_s
        self._clock = clock
        self.set_result(transfer)

    def done(self) -> bool:
        """Whether the transfer is over."""
        return self._clock.now() >= self._over_s


def simulate(
    policy: Policy,
    platforms: Platforms,
    trace: Trace,
    sla_s: float,
    duration_s: float,
    period_s: float | None = None,
    *,
    begin_s: float = 0.0,
    overhead: Overhead = Overhead(),
    noise: Noise | None = None,
) -> Iterator[Outcome]:
    """Run a stream for that long of the trace's time.

    Args:
        policy: a fresh one. platforms: both sides, and the link's round trip.
        period_s: of a camera whose newest frame is taken, so that frames which no one waited for are dropped; frames
            back to back if None, as in the paper.
        begin_s: the trace's time at the first frame. overhead: of the runtime.
        noise: of compute on both sides; it is exactly as the profiles say if None.
    """
    clock = VirtualClock(begin_s)
    costs = Costs(platforms)
    noise = noise or Noise((), (), 0)
    device_noise, cloud_noise = _draws(noise.device, f"device {noise.seed}"), _draws(noise.cloud, f"cloud {noise.seed}")
    link = RecordedLink(trace, platforms.rtt_s, costs, clock, overhead, cloud_noise)
    worker = PredictedWorker(costs, clock, overhead, device_noise)
    device = Device(worker, link, _DecidingPolicy(policy, clock, overhead.plan_s), sla_s, clock=clock)
    for captured_s in captures(clock.now, clock.advance, duration_s, period_s, device.skips):
        yield device.infer(None, captured_s)
