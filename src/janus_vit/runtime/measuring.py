"""What a decision expects of a frame, and what its call shows: times of a reply, and the transfer for the forecast."""

from __future__ import annotations

from dataclasses import replace

from janus_vit.errors import Overloaded
from janus_vit.planning.outcome import Measured, Prediction, Transfer
from janus_vit.planning.policies.base import Decision, Situation
from janus_vit.wire.messages import Reply


def with_reply(measured: Measured, reply: Reply, elapsed_s: float, size_bytes: int) -> Measured:
    """Add the times that a reply reports: round trip = elapsed - transfer - server time.

    The maps of a reply to a payload of `size_bytes` are taken to have come at the rate of the payload.
    """
    server_s = reply.decode_s + reply.queue_s + reply.compute_s + reply.receive_s * reply.map_bytes / size_bytes
    return replace(
        measured,
        send_s=reply.receive_s,
        rtt_s=max(0.0, elapsed_s - reply.receive_s - server_s),
        decode_s=reply.decode_s,
        queue_s=reply.queue_s,
        cloud_s=reply.compute_s,
    )


def round_trip_s(predicted: Prediction) -> float:
    """Expected round trip without the payload; 0 if the policy assumes no rate."""
    if not predicted.rate_mbps:
        return 0.0
    return max(0.0, predicted.transfer_s - (predicted.size_bytes + predicted.reply_bytes) * 8e-6 / predicted.rate_mbps)


def transfer_of(error: Exception, predicted: Prediction, now_s: float, elapsed_s: float, size_bytes: int) -> Transfer:
    """What a failed call says about the link. A refusal comes at once, so the link has delivered the payload."""
    if isinstance(error, Overloaded):
        rtt_s = round_trip_s(predicted)
        return Transfer(now_s, size_bytes, send_s=max(0.0, elapsed_s - rtt_s), rtt_s=min(rtt_s, elapsed_s))
    return Transfer(now_s, size_bytes, send_s=elapsed_s, rtt_s=None)


def chance(decision: Decision, situation: Situation) -> float:
    """Probability that a frame is in time; 0 or 1 if the policy does not estimate it."""
    on_time = decision.predicted.on_time
    return float(decision.predicted.total_s <= situation.time_left_s) if on_time is None else on_time


def busy_s(decision: Decision) -> float:
    """How long a frame keeps the device busy before it is sent or finished, at most."""
    predicted = decision.predicted
    return (1 + 2 * predicted.spread) * (predicted.device_s + predicted.encode_s)
