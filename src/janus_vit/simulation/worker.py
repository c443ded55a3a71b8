"""The device's side of the model in a simulation: it takes the predicted time and computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from janus_vit.planning.outcome import Answer
from janus_vit.planning.plan import Plan
from janus_vit.runtime.worker import EncodedPayload
from janus_vit.simulation.clock import VirtualClock
from janus_vit.simulation.conditions import Overhead
from janus_vit.simulation.costs import Costs

SIMULATED_ANSWER = Answer((0,), (1.0,))
_zeros = lru_cache(maxsize=4096)(bytes)  # payloads of the right length, shared by all workers


class PredictedWorker:
    """A `Worker` that advances the clock by the profile's compute time, times noise. Its answers mean nothing.

    Args:
        costs: predicted costs of each plan.
        clock: advanced by each part of a frame.
        overhead: time to prepare a frame.
        noise: called for each compute part; returns the factor on its time.
    """

    fingerprint = "simulated"

    def __init__(self, costs: Costs, clock: VirtualClock, overhead: Overhead, noise: Callable[[], float]) -> None:
        self._costs = costs
        self._clock = clock
        self._overhead = overhead
        self._noise = noise

    def prepare(self, frame: None) -> None:
        """See `Worker.prepare`; a simulated frame has no pixels."""
        self._clock.advance(self._overhead.prepare_s)

    def compute(self, prepared: None, plan: Plan) -> Plan:
        """See `Worker.compute`."""
        self._clock.advance(self._costs[plan].device_s * self._noise())
        return plan

    def encode(self, state: Plan, plan: Plan) -> EncodedPayload:
        """See `Worker.encode`."""
        costs = self._costs[plan]
        self._clock.advance(costs.encode_s)
        return EncodedPayload(_zeros(costs.size_bytes), self._costs.tokens_sent(plan), 0)

    def finish(self, state: Plan, plan: Plan) -> Answer:
        """See `Worker.finish`."""
        self._clock.advance(self._costs[plan].finish_s * self._noise())
        return SIMULATED_ANSWER

    def finish_in_steps(self, state: Plan, plan: Plan) -> Iterator[Answer | None]:
        """See `Worker.finish_in_steps`."""
        *steps_s, last_s = self._costs.finish_steps_s(plan)
        noise = self._noise()
        for step_s in steps_s:
            self._clock.advance(step_s * noise)
            yield None
        self._clock.advance(last_s * noise)
        yield SIMULATED_ANSWER
