"""The outcome of one frame: predicted and measured times, the answer, the transfers. Plain numbers, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from janus_vit.errors import WireError
from janus_vit.planning.dense_answers.values import Box, DenseMap, KeyPoint
from janus_vit.planning.plan import Plan

DEFAULT_THRESHOLD = 0.5  # probability from which a label of a multi-label model counts as found
TIMERS_S = 0.002  # timers and threads are late by about this much


@dataclass(frozen=True, slots=True)
class Transfer:
    """One observation of the uplink.

    Attributes:
        at_s: end of the transfer, on the device's clock.
        size_bytes: number of bytes sent.
        send_s: time from the arrival of the first byte to that of the last, without the round trip. For a failed
            transfer: time until the device gave up.
        rtt_s: round trip without the sending time; None if no answer came.
    """

    at_s: float
    size_bytes: int
    send_s: float
    rtt_s: float | None

    @property
    def delivered(self) -> bool:
        """Whether an answer came. If not, `rate_mbps` is only an upper bound."""
        return self.rtt_s is not None

    @property
    def rate_mbps(self) -> float:
        """Rate while sending, in 10^6 bit/s, without the round trip; an upper bound if not delivered."""
        return self.size_bytes * 8e-6 / max(self.send_s, 1e-6)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Expected times of a plan.

    Attributes:
        device_s: compute on the device.
        encode_s: encoding the payload.
        transfer_s: round trip, and time to send the payload and the maps of the reply.
        queue_s: queueing delay in the cloud.
        decode_s: decoding the payload in the cloud.
        cloud_s: compute in the cloud.
        finish_s: a fallback: finishing on the device from the split, with the rescue schedule if there is one.
        size_bytes: size of the payload.
        rate_mbps: uplink rate that was assumed, in 10^6 bit/s; None if the policy assumes none.
        spread: mean relative error of the device's compute; a cautious one before any measurement.
        on_time: probability of meeting the deadline; None if the policy does not estimate it.
        accuracy: measured accuracy of the plan; None if it was not measured.
        unhurried_s: a fallback with the planned schedule; None if there is no rescue schedule.
        uplink_wait_s: waiting for the payloads of earlier frames that are still being sent.
        reply_bytes: size of the maps in the reply of a model with a dense head.
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
    uplink_wait_s: float = 0.0
    reply_bytes: float = 0.0

    @property
    def total_s(self) -> float:
        """Time from the decision to the answer."""
        return self.device_s + self.encode_s + self.remote_s

    @property
    def remote_s(self) -> float:
        """Time from sending to the answer."""
        return self.uplink_wait_s + self.transfer_s + self.queue_s + self.decode_s + self.cloud_s


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured times of one frame. The times of network and cloud are 0 for a frame that stayed on the device.

    Attributes:
        prepare_s: resizing the frame.
        plan_s: choosing the plan.
        device_s: compute on the device.
        encode_s: encoding the payload.
        send_s: sending the payload.
        rtt_s: network without the payload.
        decode_s: decoding in the cloud, as it reported.
        queue_s: queueing delay in the cloud, as it reported.
        cloud_s: compute in the cloud, as it reported.
        waited_s: waiting for a cloud that did not answer, before the device began to finish the frame itself.
        fallback_s: finishing on the device after that.
        discarded_s: finishing on the device until the cloud's answer came, which made it needless.
        total_s: from the capture to the answer.
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
    discarded_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Overlap:
    """How a frame and the other frames in flight shared the device and the link. All zero for a frame on its own.

    Attributes:
        others: number of earlier frames without an answer when this one was sent or finished.
        held_s: time that it waited before its compute, because an earlier frame might have needed the device.
        uplink_s: time that its payload waited for those of earlier frames.
        compute_s: time that the device computed for other frames while this one was in the air.
        order_s: time that its answer waited for those of earlier frames.
    """

    others: int = 0
    held_s: float = 0.0
    uplink_s: float = 0.0
    compute_s: float = 0.0
    order_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to a frame.

    Attributes:
        classes: most probable classes, best first; empty for a model that embeds or regresses.
        probabilities: probability of each of these classes. They sum to at most 1 if the classes exclude each other;
            those of a multi-label model are independent.
        vector: embedding with norm 1, or the numbers of a model that regresses; empty for other models.
        map: depth, classes or features over the frame; None for models without such a head.
        boxes: objects, the most probable first; empty for other models.
        keypoints: points of a pose; empty for other models.
    """

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]
    vector: tuple[float, ...] = ()
    map: DenseMap | None = None
    boxes: tuple[Box, ...] = ()
    keypoints: tuple[KeyPoint, ...] = ()

    def above(self, threshold: float) -> tuple[int, ...]:
        """Return the classes whose probability is at least the threshold: the labels that a multi-label model found."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return tuple(index for index, probability in pairs if probability >= threshold)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One frame from capture to answer.

    Attributes:
        frame: number of the frame in the stream, from 0.
        at_s: time of capture, on the device's clock.
        sla_s: time allowed.
        plan: the plan that ran.
        predicted: the policy's prediction.
        measured: measured times.
        size_bytes: payload bytes that were sent.
        answer: the answer; every frame has one.
        fallback: why the device finished the frame itself; None if it did not have to.
        transfers: observations of the link since the last frame; this frame's own transfer comes last.
        refused: whether the cloud refused the frame, which says nothing against the link.
        overlap: what it shared with other frames in flight.
        impossible: what probes and reports of load have told since the last frame that cannot be right, one sentence
            each.
        trace: the frame's trace and span, as in the header `traceparent` of W3C; None if it is not traced.
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
    refused: bool = False
    overlap: Overlap = Overlap()
    impossible: tuple[str, ...] = ()
    trace: str | None = None

    @property
    def refused_reply(self) -> str | None:
        """Why the device refused the cloud's reply to this frame; None if it did not."""
        is_wrong = self.size_bytes > 0 and (self.fallback or "").startswith(f"{WireError.__name__}: ")
        return self.fallback if is_wrong else None

    @property
    def met(self) -> bool:
        """Whether the answer met the SLA."""
        return self.measured.total_s <= self.sla_s

    @property
    def deviation(self) -> float:
        """The paper's latency deviation rate: max(0, (measured - SLA) / SLA)."""
        return max(0.0, (self.measured.total_s - self.sla_s) / self.sla_s)


def hedge_s(time_left_s: ArrayLike, finish_s: ArrayLike, spread: float) -> NDArray[np.float64]:
    """How long to wait for the cloud before the device begins to finish a frame itself, in seconds.

    Until the last moment from which its own answer would be in time; 0 if there is none. The cloud's answer still
    counts until the device has its own: the first one is taken, as with hedged requests (Dean and Barroso, "The tail
    at scale", 2013). Takes one plan or arrays of plans.

    Args:
        time_left_s: time from sending to the deadline.
        finish_s: time that the device takes.
        spread: relative error of `finish_s`; twice that is kept in reserve.
    """
    last_s = np.asarray(time_left_s) - (1 + 2 * spread) * np.asarray(finish_s) - TIMERS_S
    return np.maximum(last_s, 0.0)
