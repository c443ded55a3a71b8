"""Requests and replies as plain data, and their protobuf messages. Checks every field that comes from the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as AnyMessage

from janus_vit.errors import InputError, ModelMismatch, WireError
from janus_vit.planning.outcome import Answer
from janus_vit.planning.payloads import PayloadFormat, parse_payload, tensor_bytes
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.price import EnginePrice
from janus_vit.wire import janus_pb2 as pb

WIRE_VERSION = 1
HEADER_BYTES = 4096  # generous bound of everything in a request but its body
_LONGEST_NAME = 64
_MOST_ENTRIES = 1_000
Message = TypeVar("Message", bound=AnyMessage)
LONGEST_WAIT_S = 60.0  # no frame is worth holding a thread of the cloud for longer


@dataclass(frozen=True, slots=True)
class Request:
    """One frame on its way to the cloud; fields as in janus.proto."""

    fingerprint: str
    payload: str
    split: int
    merges: tuple[int, ...]
    tokens: int
    width: int
    time_left_s: float
    device: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """The cloud's answer with its own durations in seconds; fields as in janus.proto."""

    answer: Answer
    receive_s: float
    decode_s: float
    queue_s: float
    compute_s: float
    expected_queue_s: float
    price: EnginePrice = EnginePrice()


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model answers: probabilities of so many classes, or a vector of so many values; the other is 0."""

    classes: int
    vector_width: int = 0


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the cloud says of itself: its model and how fast it is (a profile's JSON)."""

    model: str
    fingerprint: str
    profile_json: str
    entry_blocks: tuple[int, ...] = ()


def parse(kind: type[Message], data: bytes) -> Message:
    """Bytes as a protobuf message of that kind.

    Raises:
        WireError: they are none.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        name = kind.DESCRIPTOR.name
        raise WireError(f"not a janus.v1 {name} message: is the other end a janus-vit of this version?") from error


def serialise_request(request: Request) -> bytes:
    """A request's message."""
    return pb.InferRequest(
        wire_version=WIRE_VERSION,
        fingerprint=request.fingerprint,
        payload=request.payload,
        split=request.split,
        merges=request.merges,
        tokens=request.tokens,
        width=request.width,
        time_left_s=request.time_left_s,
        device=request.device,
        body=request.body,
    ).SerializeToString()


def parse_request(data: bytes) -> Request:
    """Read a request; its fields still have to be checked against a model.

    Raises:
        WireError: not a message, or one of another version.
    """
    message = parse(pb.InferRequest, data)
    _check_version(message.wire_version)
    return Request(
        message.fingerprint,
        message.payload,
        message.split,
        tuple(message.merges),
        message.tokens,
        message.width,
        message.time_left_s,
        message.device,
        message.body,
    )


def check_request(request: Request, shape: ModelShape, fingerprint: str) -> PayloadFormat:
    """Check every field against the model that would run it, and give the payload's format.

    Raises:
        ModelMismatch: the request is for another model.
        WireError: a field is out of range; the message names it.
    """
    if request.fingerprint != fingerprint:
        raise ModelMismatch(
            f"the request is for model {request.fingerprint[:16]!r} and this cloud runs {shape.name} ({fingerprint}): "
            "start both sides with the same model"
        )
    try:
        payload = parse_payload(request.payload[:_LONGEST_NAME])
    except InputError as error:
        raise WireError(f"field payload: {error}") from error
    _require(len(request.device) <= _LONGEST_NAME, "device", f"has more than {_LONGEST_NAME} characters")
    _require(
        0 < request.time_left_s <= LONGEST_WAIT_S, "time_left_s", f"is {request.time_left_s}, not a time up to 60 s"
    )
    _require(request.split <= shape.blocks, "split", f"is {request.split} and the model has {shape.blocks} blocks")
    _require(payload.of_tokens == (request.split > 0), "payload", f"{payload.name} does not fit split {request.split}")
    _require(
        not payload.of_clips or len(shape.input_shape) > 3, "payload", f"{payload.name} is for clips, not for images"
    )
    if payload.of_tokens:
        fewest, most = (shape.tokens_at(request.split, count) for count in (shape.protected + 1, shape.tokens))
        allowed = f"{fewest} to {most}" if fewest < most else f"the {most} that the head reads"
        _require(fewest <= request.tokens <= most, "tokens", f"is {request.tokens}, not {allowed}")
        _require(request.width == shape.width, "width", f"is {request.width}, not {shape.width}")
    _check_merges(request, shape)
    return payload


def largest_body_bytes(shape: ModelShape) -> int:
    """No valid body is larger: float32 tokens before any merge, or the float32 input."""
    return max(parse_payload("float32").token_bytes(shape.tokens, shape.width), tensor_bytes(shape.input_values))


def serialise_reply(reply: Reply) -> bytes:
    """A reply's message."""
    return pb.InferReply(
        classes=reply.answer.classes,
        probabilities=reply.answer.probabilities,
        vector=reply.answer.vector,
        receive_s=reply.receive_s,
        decode_s=reply.decode_s,
        queue_s=reply.queue_s,
        compute_s=reply.compute_s,
        expected_queue_s=reply.expected_queue_s,
        price=pb.Price(stem_s=reply.price.stem_s, frame_s=reply.price.frame_s, token_s=reply.price.token_s),
    ).SerializeToString()


def parse_reply(data: bytes, outputs: Outputs) -> Reply:
    """Read and check a reply of a model with those outputs.

    Raises:
        WireError: not a message, or a field that cannot be true.
    """
    message = parse(pb.InferReply, data)
    durations = (
        message.receive_s, message.decode_s, message.queue_s, message.compute_s, message.expected_queue_s
    )  # fmt: skip
    _require(
        all(math.isfinite(value) and value >= 0 for value in durations), "durations", "has a negative or no number"
    )
    answer = Answer(tuple(message.classes), tuple(message.probabilities), tuple(message.vector))
    _check_answer(answer, outputs)
    return Reply(answer, *durations, price=_checked_price(message.price))


def parse_probe_reply(data: bytes) -> float:
    """Read how long a probe took to arrive, in seconds.

    Raises:
        WireError: not a message, or not a time.
    """
    receive_s = parse(pb.ProbeReply, data).receive_s
    _require(math.isfinite(receive_s) and receive_s >= 0, "receive_s", f"is {receive_s}, not a time")
    return receive_s


def serialise_greeting(greeting: Greeting) -> bytes:
    """The message of a cloud's greeting."""
    return pb.HelloReply(
        wire_version=WIRE_VERSION,
        model=greeting.model,
        fingerprint=greeting.fingerprint,
        profile_json=greeting.profile_json,
        entry_blocks=greeting.entry_blocks,
    ).SerializeToString()


def parse_greeting(data: bytes) -> Greeting:
    """Read a cloud's greeting.

    Raises:
        WireError: not a message, or one of another version.
    """
    message = parse(pb.HelloReply, data)
    _check_version(message.wire_version)
    blocks = tuple(message.entry_blocks[:_MOST_ENTRIES])
    return Greeting(message.model, message.fingerprint, message.profile_json, blocks)


def _check_answer(answer: Answer, outputs: Outputs) -> None:
    width, classes = outputs.vector_width, outputs.classes
    _require(len(answer.vector) == width, "vector", f"has {len(answer.vector)} values, not {width}")
    _require(all(map(math.isfinite, answer.vector)), "vector", "holds what is no number")
    same = (classes > 0) == bool(answer.classes) and len(answer.classes) == len(answer.probabilities)
    _require(same, "classes", "is empty or does not match probabilities")
    _require(all(index < classes for index in answer.classes), "classes", f"exceeds the model's {classes} classes")
    _require(all(0 <= value <= 1.001 for value in answer.probabilities), "probabilities", "is outside 0 to 1")


def _checked_price(message: pb.Price) -> EnginePrice:
    values = message.stem_s, message.frame_s, message.token_s
    _require(all(0 <= value <= LONGEST_WAIT_S for value in values), "price", f"is {values}, not times up to 60 s")
    return EnginePrice(*values)


def _check_merges(request: Request, shape: ModelShape) -> None:
    left = shape.blocks - request.split
    _require(len(request.merges) == left, "merges", f"has {len(request.merges)} entries for {left} remaining blocks")
    tokens = request.tokens if request.split else shape.tokens
    for block, merges in enumerate(request.merges, start=request.split + 1):
        most = (tokens - shape.protected) // 2
        _require(merges <= most, "merges", f"asks for {merges} in block {block}, which can merge at most {most}")
        tokens -= merges


def _check_version(version: int) -> None:
    _require(
        version == WIRE_VERSION, "wire_version", f"is {version}, not {WIRE_VERSION}: use the same version on both sides"
    )


def _require(holds: bool, field: str, problem: str) -> None:
    if not holds:
        raise WireError(f"field {field} {problem}")
