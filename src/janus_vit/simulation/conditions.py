"""How a real run differs from its profiles: overhead of the runtime, and noise in compute times."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from janus_vit.errors import InputError
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Decision, Policy, Situation
from janus_vit.simulation.clock import VirtualClock


@dataclass(frozen=True, slots=True)
class Overhead:
    """Time and bytes that the runtime adds to each frame. All zero unless they were measured.

    Attributes:
        prepare_s: time to resize a frame.
        plan_s: time of one planning decision.
        request_s: time of gRPC and threads on both sides, without a link; counts as part of the round trip.
        queue_s: waiting time in an idle cloud.
        request_bytes: bytes sent with each payload, such as headers.
    """

    prepare_s: float = 0.0
    plan_s: float = 0.0
    request_s: float = 0.0
    queue_s: float = 0.0
    request_bytes: int = 0


NO_OVERHEAD = Overhead()


@dataclass(frozen=True, slots=True)
class Noise:
    """Factors by which measured compute times differ from the profiles. Each part of a frame draws one of them.

    Attributes:
        device: factors of the device's compute; no noise if empty.
        cloud: factors of the cloud's compute; no noise if empty.
        seed: seed of the random draws; the same seed gives the same draws.
        request: factors of the overhead of a request, in a fleet; no noise if empty.
        cloud_warm: as `cloud`, for batches of a fleet that follow the batch before them without a pause; an engine that
            paused finds its caches cold. Empty: the same as `cloud`.
    """

    device: tuple[float, ...] = ()
    cloud: tuple[float, ...] = ()
    seed: int = 0
    request: tuple[float, ...] = ()
    cloud_warm: tuple[float, ...] = ()

    @classmethod
    def of_profiles(cls, platforms: Platforms, seed: int) -> Noise:
        """Take the factors from the profiles: each sample divided by the fitted curve.

        Raises:
            InputError: a profile has no samples.
        """
        sides = platforms.device, platforms.cloud
        for profile in sides:
            if not profile.samples:
                raise InputError(f"profile of {profile.model!r} has no samples to draw noise from: profile it again")
        device, cloud = (tuple(profile.residuals().tolist()) for profile in sides)
        return cls(device, cloud, seed)

    def of_device(self, name: str) -> Noise:
        """The same noise with draws of its own, for one of many devices."""
        return replace(self, seed=zlib.crc32(f"{name} {self.seed}".encode()))

    def device_factor(self) -> Callable[[], float]:
        """Return a function that draws the device's next factor."""
        return _drawing_from(self.device, f"device {self.seed}")

    def cloud_factor(self) -> Callable[[], float]:
        """Return a function that draws the cloud's next factor."""
        return _drawing_from(self.cloud, f"cloud {self.seed}")

    def warm_cloud_factor(self) -> Callable[[], float]:
        """Return a function that draws the next factor of a cloud that did not pause."""
        return _drawing_from(self.cloud_warm or self.cloud, f"warm cloud {self.seed}")

    def request_factor(self) -> Callable[[], float]:
        """Return a function that draws the next factor of a request's overhead."""
        return _drawing_from(self.request, f"request {self.seed}")


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a run differs from its profiles. By default it does not.

    Attributes:
        overhead: time and bytes that the runtime adds to a frame.
        noise: how compute differs from the profiles.
    """

    overhead: Overhead = NO_OVERHEAD
    noise: Noise = field(default_factory=Noise)


EXACT = Conditions()


class DelayedPolicy:
    """A policy whose decisions take virtual time.

    Args:
        policy: decides.
        clock: advanced by each decision.
        plan_s: time of one decision.
    """

    def __init__(self, policy: Policy, clock: VirtualClock, plan_s: float) -> None:
        self._policy = policy
        self._clock = clock
        self._plan_s = plan_s
        self.observe = policy.observe

    def choose(self, situation: Situation) -> Decision:
        """See `Policy.choose`."""
        self._clock.advance(self._plan_s)
        return self._policy.choose(situation)


def _drawing_from(factors: Sequence[float], seed: str) -> Callable[[], float]:
    """Return a function that draws one of the factors; 1 if there are none."""
    random = Random(seed)
    return (lambda: random.choice(factors)) if factors else (lambda: 1.0)
