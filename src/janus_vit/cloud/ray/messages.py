"""What passes between Ray Serve's gRPC proxy and a replica. Ray pickles both. Imports neither Ray nor torch."""

from __future__ import annotations

import pickle
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from janus_vit.cloud.rpc.calls import CallResult

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def clock_id() -> str:
    """Identify the clock of `time.perf_counter`, which on Linux runs since the machine was started."""
    return _BOOT_ID.read_text("ascii").strip() if sys.platform == "linux" else ""


@dataclass(frozen=True, slots=True)
class ReplicaCall:
    """One call for a replica.

    Attributes:
        message: the device's message; empty for Hello. A probe comes without its body, which nobody reads.
        receive_s: time that the message took to arrive at the proxy.
        left_s: time until the device's call ends, when the proxy passed it on.
        peer: gRPC's name of the connection that the call came on, which is its client for fair shares.
        sent_s: when the proxy passed it on, on the clock of `time.perf_counter`.
        clock: identifies that clock, which processes on the same machine share; empty if unknown.
    """

    message: bytes
    receive_s: float
    left_s: float
    peer: str = ""
    sent_s: float = field(default_factory=time.perf_counter)
    clock: str = field(default_factory=lambda: clock_id())

    @property
    def left_here_s(self) -> float:
        """Time in which the replica has to answer: the answer needs as long for its way as the call did.

        Nobody knows how long a call took from another machine. It counts as nothing.
        """
        here = self.clock == clock_id() != ""
        return self.left_s - 2 * (time.perf_counter() - self.sent_s) if here else self.left_s


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
