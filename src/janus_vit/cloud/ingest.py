"""From a request's bytes to a job and a frame: checks, limits and decoding. Knows no queue, engine or network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from janus_vit.cloud.backend import Frame, Start
from janus_vit.errors import InputError, WireError
from janus_vit.planning.payloads import PayloadFormat
from janus_vit.planning.plan import ModelShape
from janus_vit.scheduling.job import Job
from janus_vit.wire.activations import SentTokens, decode_activation
from janus_vit.wire.inputs import decode_pixels
from janus_vit.wire.messages import Request
from janus_vit.wire.request_check import check_request, largest_body_bytes

_QUICK_VALUES = 3 * 384 * 384  # a payload of an input this large decodes in about a millisecond


class Ingest:
    """Checks and decodes requests for one model. Does not need the model's weights.

    Args:
        shape: shape of the model.
        fingerprint: fingerprint of the model.
    """

    def __init__(self, shape: ModelShape, fingerprint: str) -> None:
        self._shape = shape
        self._fingerprint = fingerprint
        self.largest_body_bytes = largest_body_bytes(shape)

    def check(self, request: Request) -> PayloadFormat:
        """Check every field of a request against the model, and return the format of its payload.

        Raises:
            WireError: a field is out of range; the message names it.
            ModelMismatch: the request is for another model.
        """
        return check_request(request, self._shape, self._fingerprint)

    def decodes_quickly(self, request: Request) -> bool:
        """Whether decoding takes about a millisecond at most."""
        return request.split > 0 or math.prod(self._shape.input_shape) <= _QUICK_VALUES

    def job(self, job_id: int, client: str, request: Request, sent_s: float, arrived_s: float, ends_s: float) -> Job:
        """Describe a checked request to the scheduler.

        Args:
            job_id: unique number.
            client: who sent it, for fair shares.
            request: from the device.
            sent_s: when the device began to send it, on this machine's clock.
            arrived_s: when its last byte arrived.
            ends_s: when the call ends.
        """
        tokens = request.tokens if request.split else None
        left = self._shape.counts(request.merges, request.split, tokens)
        abandoned_s = min(sent_s + request.time_left_s, ends_s)
        deadline_s = min(sent_s + (request.in_time_s or request.time_left_s), abandoned_s)
        return Job(job_id, client, arrived_s, deadline_s, request.split, left, abandoned_s)

    def decode(
        self, request: Request, payload: PayloadFormat, before_frame: Callable[[], None] = lambda: None
    ) -> Start:
        """Decode the frame or activation in the body of a checked request.

        Args:
            request: the request.
            payload: format of its body.
            before_frame: called before each frame of a clip; an exception stops the decoding.

        Raises:
            WireError: the body is not a payload of the stated format and shape, or its values cannot be a model's.
        """
        if payload.of_tokens:
            sent = SentTokens(request.split, request.tokens, request.tap_tokens, payload)
            return decode_activation(request.body, sent, self._shape, request.merges, request.fingerprint)
        try:
            pixels = decode_pixels(request.body, payload, self._shape.input_shape, before_frame)
        except InputError as error:  # H.264 where PyAV is not installed
            raise WireError(f"field payload: {error}") from error
        return Frame(pixels if isinstance(pixels, torch.Tensor) else torch.from_numpy(pixels), request.merges)
