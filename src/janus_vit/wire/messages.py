"""Requests and replies as plain data, and their protobuf messages. Checks every reply that it parses.

Knows no transport, and does not decode the body of a request. `request_check` compares a request with the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from janus_vit.planning.outcome import Answer
from janus_vit.planning.price import EnginePrice
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.answer_check import Outputs, checked_answer
from janus_vit.wire.checksum import check_checksum
from janus_vit.wire.dense.answers import write_dense
from janus_vit.wire.fields import parse, require_duration, require_field
from janus_vit.wire.load_messages import checked_price, price_message

WIRE_VERSION = 1
HEADER_BYTES = 4096  # generous upper bound for everything in a request except its body
_MAX_ENTRY_BLOCKS = 1_000
_LONGEST_NAME = 1_000  # characters
_REPLY_DURATIONS = ("receive_s", "decode_s", "queue_s", "compute_s", "expected_queue_s")


@dataclass(frozen=True, slots=True)
class Request:
    """One frame on its way to the cloud. The fields are those of janus.proto.

    Attributes:
        fingerprint: identifies the model that made the payload.
        payload: name of the format of `body`, such as "float8" or "jpeg90".
        split: number of blocks that have already run; 0 means that the body is an image.
        merges: number of tokens to merge in each of the remaining blocks.
        tokens: number of tokens in the body; 0 for an image.
        width: number of values in one token; 0 for an image.
        time_left_s: seconds until the device no longer needs the answer.
        device: name of the sender.
        body: the encoded tokens or image.
        in_time_s: seconds until the answer is late, if that is sooner: the device still takes a late one, which a busy
            cloud refuses. 0: answers are in time as long as the device needs them.
        tap_tokens: number of tokens in the body of each earlier block that a dense head reads.
        number: identifies the request; the reply repeats it. The transport draws it.
        trace: trace that the cloud may continue; not a part of the message, see `rpc.TRACE`.
    """

    fingerprint: str
    payload: str
    split: int
    merges: tuple[int, ...]
    tokens: int
    width: int
    time_left_s: float
    device: str
    body: bytes
    in_time_s: float = 0.0
    tap_tokens: tuple[int, ...] = ()
    number: int = 0
    trace: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """The cloud's answer and how long each step took, on the cloud's clock. The fields are those of janus.proto.

    Attributes:
        answer: classes with probabilities, or a vector.
        receive_s: time from the request's headers to the last byte of its payload.
        decode_s: time to decode the body.
        queue_s: time that the request waited.
        compute_s: time to run the remaining blocks and the head.
        expected_queue_s: time that a request arriving now would wait.
        price: engine seconds that a frame costs.
        map_bytes: compressed size of the map in the answer of a dense model.
        number: that of the request; 0 from an older cloud.
    """

    answer: Answer
    receive_s: float
    decode_s: float
    queue_s: float
    compute_s: float
    expected_queue_s: float
    price: EnginePrice = field(default_factory=EnginePrice)
    map_bytes: int = field(default=0, compare=False)
    number: int = 0


@dataclass(frozen=True, slots=True)
class Greeting:
    """Description of a cloud, sent to a device when it connects.

    Attributes:
        model: name of the model that it serves.
        fingerprint: identifies the model's weights and architecture.
        profile_json: the cloud's latency profile.
        entry_blocks: blocks at which a request may enter; empty means at every block.
    """

    model: str
    fingerprint: str
    profile_json: str
    entry_blocks: tuple[int, ...] = ()


def serialise_request(request: Request) -> bytes:
    """Serialise a request as a protobuf message."""
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
        in_time_s=request.in_time_s,
        tap_tokens=request.tap_tokens,
        number=request.number,
    ).SerializeToString()


def parse_request(data: bytes) -> Request:
    """Parse a request. Call `check_request` before you use its fields.

    Raises:
        WireError: the bytes are not a request, one that was changed or of another version, or one with too many bytes
            besides its body.
    """
    message = parse(pb.InferRequest, data)
    check_checksum(message, data)
    _check_version(message.wire_version)
    header_bytes = len(data) - len(message.body)
    require_field(header_bytes <= HEADER_BYTES, "body", f"comes with {header_bytes} bytes of other fields")
    return Request(
        fingerprint=message.fingerprint,
        payload=message.payload,
        split=message.split,
        merges=tuple(message.merges),
        tokens=message.tokens,
        width=message.width,
        time_left_s=message.time_left_s,
        device=message.device,
        body=message.body,
        in_time_s=message.in_time_s,
        tap_tokens=tuple(message.tap_tokens),
        number=message.number,
    )


def serialise_reply(reply: Reply) -> bytes:
    """Serialise a reply as a protobuf message."""
    message = pb.InferReply(
        classes=reply.answer.classes,
        probabilities=reply.answer.probabilities,
        vector=reply.answer.vector,
        receive_s=reply.receive_s,
        decode_s=reply.decode_s,
        queue_s=reply.queue_s,
        compute_s=reply.compute_s,
        expected_queue_s=reply.expected_queue_s,
        price=price_message(reply.price),
        number=reply.number,
    )
    write_dense(reply.answer, message)
    return message.SerializeToString()


def parse_reply(data: bytes, outputs: Outputs) -> Reply:
    """Parse and check a reply.

    Args:
        data: the reply's bytes.
        outputs: size and meaning of the answer that the model gives.

    Raises:
        WireError: the bytes are not a reply, or a field is out of range; the message names it.
    """
    message = parse(pb.InferReply, data)
    check_checksum(message, data)
    durations_s = {name: getattr(message, name) for name in _REPLY_DURATIONS}
    for name, seconds in durations_s.items():
        require_duration(name, seconds)
    answer = checked_answer(message, outputs)
    price, map_bytes = checked_price(message.price), len(message.map.codes)
    return Reply(answer, **durations_s, price=price, map_bytes=map_bytes, number=message.number)


def serialise_greeting(greeting: Greeting) -> bytes:
    """Serialise a greeting as a protobuf message."""
    return pb.HelloReply(
        wire_version=WIRE_VERSION,
        model=greeting.model,
        fingerprint=greeting.fingerprint,
        profile_json=greeting.profile_json,
        entry_blocks=greeting.entry_blocks,
    ).SerializeToString()


def parse_greeting(data: bytes) -> Greeting:
    """Parse a cloud's greeting.

    Raises:
        WireError: the bytes are not a greeting, or one of another version; or a name in it cannot be shown.
    """
    message = parse(pb.HelloReply, data)
    check_checksum(message, data)
    _check_version(message.wire_version)
    for name in ("model", "fingerprint"):
        text = getattr(message, name)
        printable = text.isprintable() and len(text) <= _LONGEST_NAME
        require_field(printable, name, f"is not at most {_LONGEST_NAME} printable characters")
    blocks = tuple(message.entry_blocks[:_MAX_ENTRY_BLOCKS])
    return Greeting(message.model, message.fingerprint, message.profile_json, blocks)


def _check_version(version: int) -> None:
    require_field(
        version == WIRE_VERSION,
        "wire_version",
        f"is {version}, expected {WIRE_VERSION}: use the same version of janus-vit on both sides",
    )
