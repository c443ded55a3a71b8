"""Messages that report the load of a cloud: prices, probes and their replies. Checks all that it parses."""

from __future__ import annotations

import math
from dataclasses import dataclass

from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.fields import LONGEST_WAIT_S, parse, require_duration, require_field


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """The reply to a probe.

    Attributes:
        receive_s: how long the probe took to arrive.
        load: of the cloud; None if an older cloud reports none.
        number: that of the probe; 0 from an older cloud.
    """

    receive_s: float
    load: CloudLoad | None
    number: int = 0


def serialise_probe(size_bytes: int, number: int) -> bytes:
    """Serialise a probe: bytes that the cloud discards, and a number that its reply repeats."""
    return pb.ProbeRequest(body=bytes(size_bytes), number=number).SerializeToString()


def parse_probe(data: bytes) -> int:
    """Parse a probe, and return its number; 0 from an older device.

    Raises:
        WireError: the bytes are not a probe.
    """
    return parse(pb.ProbeRequest, data).number


def serialise_probe_reply(receive_s: float, load: CloudLoad, number: int = 0) -> bytes:
    """Serialise the reply to a probe; arguments as in `ProbeReply`."""
    return pb.ProbeReply(
        receive_s=receive_s, expected_queue_s=load.expected_wait_s, price=price_message(load.price), number=number
    ).SerializeToString()


def parse_probe_reply(data: bytes) -> ProbeReply:
    """Parse the reply to a probe.

    Raises:
        WireError: the bytes are not a probe's reply, or a field is out of range; the message names it.
    """
    message = parse(pb.ProbeReply, data)
    require_duration("receive_s", message.receive_s)
    require_duration("expected_queue_s", message.expected_queue_s)
    load = CloudLoad(message.expected_queue_s, checked_price(message.price)) if message.HasField("price") else None
    return ProbeReply(message.receive_s, load, message.number)


def serialise_price(price: EnginePrice) -> bytes:
    """Serialise a price as a message of its own, for refusals."""
    return price_message(price).SerializeToString()


def parse_price(data: bytes) -> EnginePrice:
    """Parse and check a price.

    Raises:
        WireError: the bytes are not a price, or a field is out of range.
    """
    return checked_price(parse(pb.Price, data))


def price_message(price: EnginePrice) -> pb.Price:
    """The protobuf message of a price."""
    return pb.Price(
        stem_s=price.stem_s,
        head_s=price.head_s,
        frame_s=price.frame_s,
        token_s=price.token_s,
        answers_per_s=price.answers_per_s,
    )


def checked_price(message: pb.Price) -> EnginePrice:
    """Check the protobuf message of a price; an older cloud sends no `answers_per_s`, which means 0.

    Raises:
        WireError: a field is out of range.
    """
    values = message.stem_s, message.head_s, message.frame_s, message.token_s
    valid = all(0 <= value <= LONGEST_WAIT_S for value in values)
    require_field(valid, "price", f"is {values}, expected times from 0 to {LONGEST_WAIT_S:g} seconds")
    rate = message.answers_per_s
    require_field(math.isfinite(rate) and rate >= 0, "answers_per_s", f"is {rate}, expected a number of at least 0")
    return EnginePrice(*values, rate)
