"""How a real run differs from its profiles: overhead of the runtime, and noise in compute times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from janus_vit.errors import InputError
from janus_vit.planning.platforms import Platforms


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
    """

    device: tuple[float, ...]
    cloud: tuple[float, ...]
    seed: int

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

    def device_factor(self) -> Callable[[], float]:
        """Return a function that draws the device's next factor."""
        return _drawing_from(self.device, f"device {self.seed}")

    def cloud_factor(self) -> Callable[[], float]:
        """Return a function that draws the cloud's next factor."""
        return _drawing_from(self.cloud, f"cloud {self.seed}")


def _drawing_from(factors: Sequence[float], seed: str) -> Callable[[], float]:
    """Return a function that draws one of the factors; 1 if there are none."""
    random = Random(seed)
    return (lambda: random.choice(factors)) if factors else (lambda: 1.0)
