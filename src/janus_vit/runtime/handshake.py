"""The handshake with a cloud: compare the models, get the cloud's latency profile, and measure the link."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Protocol

from janus_vit.errors import InputError, ModelMismatch, TransportError, Unauthenticated
from janus_vit.planning.latency import PlatformProfile, parse_profile
from janus_vit.planning.outcome import Transfer
from janus_vit.planning.platforms import Platforms
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.refusals import remedy
from janus_vit.wire.fields import require_field
from janus_vit.wire.messages import Greeting

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model

_SLOWEST_MBPS = 0.1


class MeasurableTransport(Protocol):
    """The part of a transport that a handshake needs."""

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""

    def measure_link(self, size_bytes: int, timeout_s: float) -> Transfer:
        """Send bytes that the cloud discards, and return how long they took."""


def shake_hands(
    model: Model,
    transport: MeasurableTransport,
    address: str,
    profile: PlatformProfile,
    config: DeviceConfig,
) -> Platforms:
    """Compare the models, get the cloud's latency profile, and measure the link.

    Args:
        model: the device's model.
        transport: reaches the cloud.
        address: the cloud's address, for error messages.
        profile: latency profile of the device.
        config: timeouts, probe sizes, and whether images may be sent.

    Returns:
        Both machines and the link, with the model's own accuracy table.

    Raises:
        InputError: no cloud answers, or the profile belongs to another model.
        Unauthenticated: the cloud does not know this device.
        ModelMismatch: the cloud runs another model.
        WireError: the answer cannot be read, or names blocks that the model lacks.
    """
    check_profile(profile, model)
    try:
        greeting = transport.hello(config.hello_timeout_s)
    except Unauthenticated:
        raise
    except TransportError as error:
        what_helps = remedy(error, encrypted=config.credentials is not None)
        raise InputError(f"no janus-vit cloud answers ({error}): {what_helps}") from error
    if greeting.fingerprint != model.fingerprint:
        raise ModelMismatch(
            f"the cloud at {address} runs {greeting.model} ({greeting.fingerprint}) and this device "
            f"{model.name} ({model.fingerprint}): start both with the same --model"
        )
    exist = max(greeting.entry_blocks, default=0) <= model.shape.blocks
    require_field(exist, "entry_blocks", "exceeds the model's depth")
    cloud = parse_profile(greeting.profile_json, f"profile of {address}")
    rate_mbps, rtt_s = _measure(transport, config)
    return Platforms(
        shape=model.shape,
        device=profile,
        cloud=cloud,
        rate_mbps=rate_mbps,
        rtt_s=rtt_s,
        accuracy=model.accuracy,
        images_allowed=config.images_allowed,
        entry_blocks=greeting.entry_blocks,
    )


def check_profile(profile: PlatformProfile, model: Model) -> None:
    """Require a profile of the model.

    Raises:
        InputError: it belongs to another model.
    """
    if profile.model != model.name:
        raise InputError(f"the profile is of model {profile.model!r}, not {model.name!r}: profile this model")


def _measure(transport: MeasurableTransport, config: DeviceConfig) -> tuple[float, float]:
    """Rate in 10^6 bit/s and round trip in seconds."""
    sizes, timeout_s = config.first_probes_bytes, config.first_probe_timeout_s
    seen = [transport.measure_link(size_bytes, timeout_s) for size_bytes in sizes]
    rtts = [transfer.rtt_s for transfer in seen if transfer.rtt_s is not None]
    rates = [transfer.rate_mbps for transfer in seen[len(sizes) // 2 :] if transfer.delivered]
    rate_mbps = max(statistics.harmonic_mean(rates), _SLOWEST_MBPS) if rates else _SLOWEST_MBPS
    return rate_mbps, min(rtts) if rtts else timeout_s
