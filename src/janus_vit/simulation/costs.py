"""Predicted costs of plans: compute times on both platforms and payload sizes. Knows no clock and no link."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from janus_vit.planning.plan import Plan, tokens_after_blocks
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.schedules import Schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.wire.messages import Request


@dataclass(frozen=True, slots=True)
class PlanCosts:
    """Costs of one plan.

    Attributes:
        device_s: compute on the device before the split.
        encode_s: encoding of the payload on the device.
        decode_s: decoding of the payload in the cloud.
        cloud_s: compute in the cloud.
        finish_s: compute on the device if it finishes the frame itself after the split.
        size_bytes: size of the payload.
    """

    device_s: float
    encode_s: float
    decode_s: float
    cloud_s: float
    finish_s: float
    size_bytes: int


class Costs:
    """Costs of any plan on two platforms; each plan is computed once.

    Args:
        platforms: device, cloud and shape of the model.
    """

    def __init__(self, platforms: Platforms) -> None:
        self._platforms = platforms
        self._of_plan = lru_cache(maxsize=None)(self._compute)

    def __getitem__(self, plan: Plan) -> PlanCosts:
        return self._of_plan(plan)

    def finish_steps_s(self, plan: Plan) -> list[float]:
        """Return the times of the blocks in `finish_s`, in proportion to their tokens; one number if none is left."""
        tokens = tokens_after_blocks(self._platforms.shape.tokens, plan.rescued.merges)[plan.split : -1] or (1,)
        finish_s, together = self[plan].finish_s, sum(tokens)
        return [finish_s * count / together for count in tokens]

    def tokens_sent(self, plan: Plan) -> int:
        """Return how many tokens a plan sends; 0 if it sends an image."""
        shape, split = self._platforms.shape, plan.split
        return shape.tokens_at(split, shape.counts(plan.merges)[split]) if split else 0

    def of_request(self, request: Request) -> PlanCosts:
        """Return the costs of a request. Only its cloud costs equal those of the plan that made the request."""
        shape = self._platforms.shape
        merged = shape.tokens + shape.joined(request.split) - request.tokens
        # A request says how many tokens are left, not where they were merged, and the cloud's costs do not depend on
        # where. So assume that the first block merged them all.
        before = (merged, *(0,) * (request.split - 1)) if request.split else ()
        return self[Plan("request", 0.0, (*before, *request.merges), request.split, request.payload)]

    def _compute(self, plan: Plan) -> PlanCosts:
        shape = self._platforms.shape
        tokens = tokens_after_blocks(shape.tokens, plan.merges)
        schedule = Schedule(plan.family, plan.level, plan.merges, plan.merges, tokens)
        option = Option(plan.split, plan.payload)
        # Interpolate between measured samples. The fitted curves would favour the policies that plan with them.
        table = build_table(shape, [schedule], [option], self._platforms.device, self._platforms.cloud, "measured")
        parts = (table.device_s, table.encode_s, table.decode_s, table.cloud_s, table.finish_s, table.size_bytes)
        device_s, encode_s, decode_s, cloud_s, finish_s, size_bytes = (float(part[0, 0]) for part in parts)
        if plan.rescue is not None:
            finish_s = self[plan.rescued].device_s - device_s
        return PlanCosts(device_s, encode_s, decode_s, cloud_s, finish_s, round(size_bytes))
