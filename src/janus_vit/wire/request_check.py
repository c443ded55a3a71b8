"""Check a request from the network against the model that would run it. Decodes nothing."""

from __future__ import annotations

from janus_vit.errors import InputError, ModelMismatch, WireError
from janus_vit.planning.payloads import PLACE_BYTES, PayloadFormat, parse_payload, tensor_bytes
from janus_vit.planning.plan import ModelShape
from janus_vit.wire.fields import LONGEST_WAIT_S, require_field
from janus_vit.wire.messages import Request

_LONGEST_NAME = 64  # characters


def check_request(request: Request, shape: ModelShape, fingerprint: str) -> PayloadFormat:
    """Check every field against the model that would run the request, and return the payload's format.

    Args:
        request: what `parse_request` returned.
        shape: shape of the served model.
        fingerprint: fingerprint of the served model.

    Raises:
        ModelMismatch: the request is for another model.
        WireError: a field is out of range; the message names it.
    """
    if request.fingerprint != fingerprint:
        raise ModelMismatch(
            f"the request is for model {request.fingerprint[:16]!r}, but this cloud runs {shape.name} ({fingerprint}): "
            "start both sides with the same model"
        )
    require_field(len(request.device) <= _LONGEST_NAME, "device", f"has more than {_LONGEST_NAME} characters")
    require_field(request.device.isprintable(), "device", "has characters that cannot be printed")
    require_field(
        0 < request.time_left_s <= LONGEST_WAIT_S,
        "time_left_s",
        f"is {request.time_left_s}, expected more than 0 and at most {LONGEST_WAIT_S:g} seconds",
    )
    require_field(
        0 <= request.in_time_s <= LONGEST_WAIT_S,
        "in_time_s",
        f"is {request.in_time_s}, expected 0 to {LONGEST_WAIT_S:g} seconds",
    )
    require_field(
        request.in_time_s <= request.time_left_s,
        "in_time_s",
        f"is {request.in_time_s}, more than time_left_s, which is {request.time_left_s}",
    )
    require_field(
        request.split <= shape.blocks, "split", f"is {request.split}, but the model has {shape.blocks} blocks"
    )
    payload = _check_payload(request, shape)
    if payload.of_tokens:
        _check_tokens(request, shape)
    else:
        for name, count in (
            ("tokens", request.tokens),
            ("width", request.width),
            ("tap_tokens", len(request.tap_tokens)),
        ):
            require_field(count == 0, name, f"is {count}, expected 0 for {payload.name}, which carries no tokens")
    _check_merges(request, shape)
    return payload


def largest_body_bytes(shape: ModelShape) -> int:
    """Return the size of the largest valid body: float32 tokens before any merge, or the float32 input."""
    tokens_bytes = parse_payload("float32").token_bytes(shape.most_sent_tokens, shape.width)
    return max(tokens_bytes + PLACE_BYTES * shape.most_places, tensor_bytes(shape.input_values))


def _check_payload(request: Request, shape: ModelShape) -> PayloadFormat:
    try:
        payload = parse_payload(request.payload[:_LONGEST_NAME])
    except InputError as error:
        raise WireError(f"field payload: {error}") from error
    require_field(
        payload.of_tokens == (request.split > 0), "payload", f"{payload.name} does not fit split {request.split}"
    )
    takes_clips = len(shape.input_shape) > 3
    require_field(
        takes_clips or not payload.of_clips, "payload", f"{payload.name} is for clips, but the model takes images"
    )
    return payload


def _check_tokens(request: Request, shape: ModelShape) -> None:
    late = shape.joined(request.split)
    fewest, most = (shape.tokens_at(request.split, count + late) for count in (shape.protected + 1, shape.tokens))
    allowed = f"{fewest} to {most}" if fewest < most else f"the {most} that the head reads"
    require_field(fewest <= request.tokens <= most, "tokens", f"is {request.tokens}, expected {allowed}")
    require_field(request.width == shape.width, "width", f"is {request.width}, expected {shape.width}")
    taps = shape.taps_before(request.split)
    require_field(
        len(request.tap_tokens) == len(taps),
        "tap_tokens",
        f"has {len(request.tap_tokens)} entries, expected {len(taps)} at split {request.split}",
    )
    falling = (shape.tokens, *request.tap_tokens, request.tokens - late)
    require_field(
        all(one >= other for one, other in zip(falling, falling[1:], strict=False)),
        "tap_tokens",
        "rises, or is outside the range of tokens: no block makes tokens",
    )


def _check_merges(request: Request, shape: ModelShape) -> None:
    left = shape.blocks - request.split
    require_field(
        len(request.merges) == left, "merges", f"has {len(request.merges)} entries for {left} remaining blocks"
    )
    tokens = request.tokens - shape.joined(request.split) if request.split else shape.tokens
    for block, merges in enumerate(request.merges, start=request.split + 1):
        most = (tokens - shape.protected) // 2
        require_field(
            merges <= most, "merges", f"asks for {merges} merges in block {block}, which can do at most {most}"
        )
        tokens -= merges
