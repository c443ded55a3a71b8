"""What passes between Ray Serve's gRPC proxy and a replica. Ray pickles both. Imports neither Ray nor torch."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

from janus_vit.cloud.calls import CallResult


@dataclass(frozen=True, slots=True)
class ReplicaCall:
    """One call for a replica.

    Attributes:
        message: the device's message; empty for Hello and for probes, whose body nobody reads.
        receive_s: time that the message took to arrive at the proxy.
        left_s: time until the device's call ends.
    """

    message: bytes
    receive_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class ReplicaAnswer:
    """What a replica returns.

    Ray's proxy drops the trailing metadata of a call that fails. So a replica never fails: a refusal is an answer, too.

    Attributes:
        result: the answer or the refusal.
    """

    result: CallResult

    def SerializeToString(self) -> bytes:  # noqa: N802 - Ray Serve calls this method, as protobuf messages have it
        """Serialise the answer for Ray Serve."""
        return pickle.dumps(self.result)

    @staticmethod
    def parse(data: bytes) -> CallResult:
        """Return the result in the bytes that Ray Serve delivers."""
        result: CallResult = pickle.loads(data)
        return result
