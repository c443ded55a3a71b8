"""What was predicted for one frame, what was measured, and what the link showed. Plain numbers, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from janus_vit.planning.plan import Plan

_RESCUE_MARGIN_S = 0.002  # of timers and threads


@dataclass(frozen=True, slots=True)
class Transfer:
    """One observation of the uplink.

    Attributes:
        at_s: when it ended, on the device's clock.
        size_bytes: bytes sent.
        send_s: from the first to the last byte's arrival, without the round trip; for a transfer that was given
            up, how long it was tried.
        rtt_s: round trip without the sending time, None if no answer came.
    """

    at_s: float
    size_bytes: int
    send_s: float
    rtt_s: float | None

    @property
    def delivered(self) -> bool:
        """Whether an answer came; if not, size over time is only an upper bound of the rate."""
        return self.rtt_s is not None

    @property
    def rate_mbps(self) -> float:
        """10^6 bit/s while sending, round trip excluded; an upper bound if not delivered."""
        return self.size_bytes * 8e-6 / max(self.send_s, 1e-6)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a policy expects of its plan; seconds.

    Attributes:
        transfer_s: round trip and sending time. finish_s: finishing on the device from the split instead, in a hurry.
        unhurried_s: the same as planned, None if that is no different.
        rate_mbps: the rate that was assumed, None for a policy that does not look.
        spread: by how much, relatively, the device's compute errs on average.
        on_time: probability of meeting the deadline, None if the policy does not estimate it.
        accuracy: measured accuracy of the plan, None if it was not measured.
    """

    device_s: float
    encode_s: float
    transfer_s: float
    queue_s: float
    decode_s: float
    cloud_s: float
    finish_s: float
    size_bytes: float
    rate_mbps: float | None = None
    spread: float = 0.05
    on_time: float | None = None
    accuracy: float | None = None
    unhurried_s: float | None = None

    @property
    def total_s(self) -> float:
        """From the decision to the answer."""
        return self.device_s + self.encode_s + self.remote_s

    @property
    def remote_s(self) -> float:
        """From sending to the answer."""
        return self.transfer_s + self.queue_s + self.decode_s + self.cloud_s


@dataclass(frozen=True, slots=True)
class Measured:
    """What one frame really took; seconds. Network, queue, decode and cloud are 0 for a frame that stayed local.

    Attributes:
        prepare_s: resizing the frame. plan_s: the decision. device_s: compute on the device. encode_s: packing.
        send_s: payload on the wire. rtt_s: network without the payload. decode_s, queue_s, cloud_s: reported by
            the cloud. waited_s: spent on a cloud that did not answer. fallback_s: finishing on the device then.
        total_s: from the frame to the answer.
    """

    prepare_s: float = 0.0
    plan_s: float = 0.0
    device_s: float = 0.0
    encode_s: float = 0.0
    send_s: float = 0.0
    rtt_s: float = 0.0
    decode_s: float = 0.0
    queue_s: float = 0.0
    cloud_s: float = 0.0
    waited_s: float = 0.0
    fallback_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of a frame.

    Attributes:
        classes: the most probable ones, best first; none from a model that embeds.
        probabilities: theirs.
        vector: of length 1, from a model that embeds; empty from one that classifies.
    """

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]
    vector: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One frame from start to end.

    Attributes:
        frame: number in the stream, from 0. at_s: when it began, on the device's clock. sla_s: time allowed.
        predicted: of the policy. measured: what came. size_bytes: bytes really sent as payload.
        answer: never missing: no frame is lost. fallback: why the device finished the frame, None if it did not.
        transfers: all that the link showed since the last frame, this frame's own transfer last.
    """

    frame: int
    at_s: float
    sla_s: float
    plan: Plan
    predicted: Prediction
    measured: Measured
    size_bytes: int
    answer: Answer
    fallback: str | None
    transfers: tuple[Transfer, ...]

    @property
    def met(self) -> bool:
        """Whether the answer came inside the SLA."""
        return self.measured.total_s <= self.sla_s

    @property
    def deviation(self) -> float:
        """The paper's latency deviation rate: max(0, (measured - SLA) / SLA)."""
        return max(0.0, (self.measured.total_s - self.sla_s) / self.sla_s)


def patience_s(time_left_s: ArrayLike, finish_s: ArrayLike, remote_s: ArrayLike, spread: float) -> NDArray[np.float64]:
    """How long to wait for the cloud before the device finishes the frame itself; for one plan or for arrays of them.

    If the answer is expected while finishing here would still be in time, wait until just before that is over: the
    deadline is then met either way. If not, the plan was a bet on the cloud: wait for the deadline, and in any case for
    as long as finishing here would take (the ski-rental rule: once late, at most twice as late as with foresight).

    Args:
        time_left_s: from sending to the deadline. finish_s: what finishing here takes. remote_s: expected time from
            sending to the answer. spread: relative error of finish_s; twice that is kept in reserve.
    """
    rescue_s = np.asarray(time_left_s) - (1 + 2 * spread) * np.asarray(finish_s) - _RESCUE_MARGIN_S
    bet_s = np.maximum(np.maximum(time_left_s, finish_s), 1e-3)
    return np.where(rescue_s >= np.asarray(remote_s, float), rescue_s, bet_s)
