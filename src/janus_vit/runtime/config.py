"""The settings of a device. Imports neither torch nor a network library."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from janus_vit.errors import InputError
from janus_vit.planning.policies.presets import check_late_target, check_policy

if TYPE_CHECKING:
    import grpc

    from janus_vit.model.engines.base import Engine
    from janus_vit.planning.accuracy.table import AccuracyTable
    from janus_vit.tracing.frames import FrameTracer

DEFAULT_IN_FLIGHT, _MOST_IN_FLIGHT = 4, 32
_LONGEST_NAME = 64  # the wire format allows no more


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """Settings of a device; every field has a default.

    Attributes:
        sla_s: time allowed for each frame, in seconds.
        policy: a name of `janus_vit.planning.policies.presets.POLICIES`, or FILE.py:CLASS for a policy of your own.
        late_target: share of late frames that you accept, such as 0.01; the policy spends it on accuracy. None: a late
            answer counts as a wrong one.
        images_allowed: False keeps pixels on the device, so that only tokens are sent.
        name: identifies the device at the cloud; default: host name and process number.
        credentials: TLS credentials; None connects without TLS.
        token: proves to the cloud who this device is; None sends none. It needs TLS, or a cloud on this machine.
        in_flight: number of frames that a stream runs at once: while one is in the air, the device computes the next.
            `Device.infer` runs one.
        engine: runs the model on the device, an engine or its name; "auto" measures which float32 engine is fastest.
        accuracy: accuracy table measured on your frames; None uses the model's own table, if it has one.
        require_cloud: True raises an error if no cloud answers when connecting; False runs without one until it does.
        hello_timeout_s: how long to wait for the cloud when connecting.
        first_probes_bytes: sizes of the probes that measure the link when connecting. All of them measure the round
            trip, the second half also the rate.
        first_probe_timeout_s: how long to wait for each of these probes.
        probe_timeout_s: how long to wait for a probe that is sent together with a frame.
        tracer: traces frames; None traces none.

    Raises:
        InputError: a value cannot be used; the message names the field.
    """

    sla_s: float = 0.3
    policy: str = "adaptive-fleet"
    late_target: float | None = None
    images_allowed: bool = True
    name: str | None = None
    credentials: grpc.ChannelCredentials | None = None
    token: str | None = field(default=None, repr=False)
    in_flight: int = DEFAULT_IN_FLIGHT
    engine: Engine | str = "auto"
    accuracy: AccuracyTable | None = None
    require_cloud: bool = True
    hello_timeout_s: float = 10.0
    first_probes_bytes: tuple[int, ...] = (1_000, 1_000, 64_000, 64_000)
    first_probe_timeout_s: float = 5.0
    probe_timeout_s: float = 1.0
    tracer: FrameTracer | None = None

    def __post_init__(self) -> None:
        check_sla(self.sla_s)
        check_policy(self.policy)
        check_late_target(self.late_target, self.policy)
        for name in ("hello_timeout_s", "first_probe_timeout_s", "probe_timeout_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value!r}: give a positive number of seconds")
        check_in_flight(self.in_flight)
        if not self.first_probes_bytes or not all(size > 0 for size in self.first_probes_bytes):
            raise InputError(f"first_probes_bytes is {self.first_probes_bytes!r}: give at least one positive size")

    @property
    def device_name(self) -> str:
        """Name that the device sends to the cloud, at most 64 characters."""
        return (self.name or f"{socket.gethostname()}-{os.getpid()}")[-_LONGEST_NAME:]

    def with_options(self, options: dict[str, Any]) -> DeviceConfig:
        """Return a copy with some fields changed.

        Raises:
            InputError: an option is not a field, or its value cannot be used.
        """
        known = [each.name for each in fields(self)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise InputError(f"option {unknown[0]!r} is unknown: use one of {', '.join(known)}")
        return replace(self, **options)


def check_in_flight(frames: int) -> None:
    """Require a number of frames in flight that a device can handle.

    Raises:
        InputError: it is not.
    """
    if not 1 <= frames <= _MOST_IN_FLIGHT:
        raise InputError(f"{frames} frames in flight are not possible: give a number from 1 to {_MOST_IN_FLIGHT}")


def check_sla(sla_s: float) -> None:
    """Require a positive time.

    Raises:
        InputError: the SLA is zero, negative or not finite.
    """
    if not (math.isfinite(sla_s) and sla_s > 0):
        raise InputError(f"the SLA is {sla_s} s and must be a positive time: give one such as 300ms")
