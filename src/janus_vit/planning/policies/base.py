"""The interface of a policy: a situation goes in, a decision comes out. Knows no algorithm.

A policy has two methods: `observe` learns from a finished frame, `choose` decides how the next frame runs. Policies are
deterministic and do no I/O; the time is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from janus_vit.planning.outcome import Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.correction import MachineCorrection
from janus_vit.planning.price import EnginePrice
from janus_vit.planning.table import PlanTable

FREE = EnginePrice()  # before the cloud has reported a price
AS_PROFILED = MachineCorrection()  # a machine that computes exactly as fast as its profile says


@dataclass(frozen=True, slots=True)
class Situation:
    """What a policy knows when it decides about a frame.

    Attributes:
        now_s: current time on the device's clock.
        time_left_s: time until the frame's deadline.
        cloud_queue_s: queueing delay that the cloud reported last, less the time since then.
        last_probe_s: when the device last sent a probe, on its clock; None before the first one.
        price: what the cloud's engine costs this device, as it knows it from the cloud's last report.
        uplink_busy_s: time until the payloads of earlier frames are sent.
        device_busy_s: time for which earlier frames will need the device if none of their replies comes.
        at_most_mbps: upper bound of the uplink's rate, in 10^6 bit/s, from a frame whose reply is overdue; infinite if
            none is.
        doubts_profile: whether to plan as if the cloud computed in no time, however slow its profile says that it is.
    """

    now_s: float
    time_left_s: float
    cloud_queue_s: float = 0.0
    last_probe_s: float | None = None
    price: EnginePrice = FREE
    uplink_busy_s: float = 0.0
    device_busy_s: float = 0.0
    at_most_mbps: float = math.inf
    doubts_profile: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan and its prediction.

    Attributes:
        plan: how the frame runs.
        predicted: expected times of the plan.
        probe_bytes: size of a probe to send together with the frame, to measure the link; 0 for none.
        by_cloud: probability that the cloud's answer meets the deadline, without the device's own; None if the policy
            does not estimate it.
    """

    plan: Plan
    predicted: Prediction
    probe_bytes: int = 0
    by_cloud: float | None = None


class Policy(Protocol):
    """Chooses a plan for every frame."""

    def observe(self, outcome: Outcome) -> None:
        """Learn from a finished frame."""

    def choose(self, situation: Situation) -> Decision:
        """Decide how the next frame runs.

        Must not change the policy: a device may call it several times for a frame, or for a frame that it then skips.
        """


def predict(
    table: PlanTable,
    row: int,
    column: int,
    rate_mbps: float,
    rtt_s: float,
    queue_s: float,
    device: MachineCorrection = AS_PROFILED,
    cloud: MachineCorrection = AS_PROFILED,
    on_time: float | None = None,
    accuracy: float | None = None,
    uplink_busy_s: float = 0.0,
) -> Prediction:
    """Predict the times of one plan of a table.

    Args:
        table: all plans.
        row: row of the plan.
        column: column of the plan.
        rate_mbps: expected rate of the uplink, in 10^6 bit/s.
        rtt_s: expected round trip.
        queue_s: expected queueing delay in the cloud.
        device: how the device's compute relates to its profile.
        cloud: how the cloud's compute relates to its profile.
        on_time: probability of meeting the deadline, copied to the result.
        accuracy: accuracy of the plan, copied to the result.
        uplink_busy_s: time until the payloads of earlier frames are sent.
    """
    size_bytes = float(table.size_bytes[row, column])
    sends = size_bytes > 0
    device_s = float(table.device_s[row, column]) * device.factor
    encode_s = float(table.encode_s[row, column]) * device.factor
    return Prediction(
        device_s=device_s,
        encode_s=encode_s,
        transfer_s=rtt_s + (size_bytes + table.reply_bytes) * 8e-6 / rate_mbps if sends else 0.0,
        queue_s=queue_s if sends else 0.0,
        decode_s=float(table.decode_s[row, column]) * cloud.factor,
        cloud_s=float(table.cloud_s[row, column]) * cloud.factor,
        finish_s=float(table.finish_s[row, column]) * device.factor,
        size_bytes=size_bytes,
        reply_bytes=table.reply_bytes if sends else 0.0,
        rate_mbps=rate_mbps,
        spread=device.cautious_spread,
        on_time=on_time,
        accuracy=accuracy,
        unhurried_s=float(table.rescue.planned_s[row, table.options[column].split]) * device.factor,
        uplink_wait_s=max(0.0, uplink_busy_s - device_s - encode_s) if sends else 0.0,
    )
