"""The cloud's side of a frame: check, decode, queue, run, reply. A plain object that knows no gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass

from torch import Tensor

from janus_vit.cloud.fairqueue import FairQueue
from janus_vit.errors import InputError, Unreachable, WireError
from janus_vit.model.answers import answer_of
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.stage import Activation
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Answer
from janus_vit.planning.payloads import PayloadFormat
from janus_vit.wire.inputs import decode_input
from janus_vit.wire.messages import Greeting, Reply, Request, check_request, largest_body_bytes
from janus_vit.wire.tokens import decode_tokens

OnDisconnect = Callable[[Callable[[], object]], bool]


@dataclass(frozen=True, slots=True)
class _Computed:
    answer: Answer
    began_s: float
    ended_s: float


class CloudService:
    """Finishes frames of several devices with one model.

    Args:
        model: what to run. engine: how. profile: this machine's latency, told to devices in the greeting.
    """

    def __init__(self, model: Model, engine: Engine, profile: PlatformProfile) -> None:
        self._model = model
        self._engine = engine
        self._profile_json = profile.to_json()
        self._queue: FairQueue[_Computed] = FairQueue()

    @property
    def largest_body_bytes(self) -> int:
        """Bodies above this cannot be valid."""
        return largest_body_bytes(self._model.shape)

    def greeting(self) -> Greeting:
        """What this cloud runs."""
        return Greeting(self._model.name, self._model.fingerprint, self._profile_json)

    def handle(self, request: Request, receive_s: float, on_disconnect: OnDisconnect | None = None) -> Reply:
        """Finish one frame.

        Args:
            receive_s: how long the request took to arrive, for the reply.
            on_disconnect: takes what to do when the device hangs up; False if it has already.

        Raises:
            WireError: the request cannot be right. ModelMismatch: it is for another model.
            Rejected: too many requests of this device wait. DeadlineExceeded: it waited too long.
            Unreachable: the device hung up while it waited, or this service is closed.
        """
        arrived_s = time.perf_counter()
        payload = check_request(request, self._model.shape, self._model.fingerprint)
        self._queue.admit(request.device)
        start = self._decode(request, payload)
        decoded_s = time.perf_counter()
        deadline_s = arrived_s - receive_s + request.time_left_s  # the time left was counted when sending began
        computing = self._queue.submit(request.device, lambda: self._run(start), deadline_s)
        if on_disconnect is not None and not on_disconnect(computing.cancel):
            computing.cancel()
        try:
            computed = computing.result()
        except CancelledError as error:
            raise Unreachable("the device hung up") from error
        return Reply(
            computed.answer,
            receive_s,
            decode_s=decoded_s - arrived_s,
            queue_s=computed.began_s - decoded_s,
            compute_s=computed.ended_s - computed.began_s,
            expected_queue_s=self._queue.expected_wait_s,
        )

    def close(self) -> None:
        """Stop the worker; what waits fails with Unreachable."""
        self._queue.close()

    def _decode(self, request: Request, payload: PayloadFormat) -> Activation | tuple[Tensor, tuple[int, ...]]:
        if payload.of_tokens:
            tokens, sizes = decode_tokens(request.body, payload, request.tokens, request.width)
            return Activation(tokens[None], sizes[None], request.split, request.merges, request.fingerprint)
        shape, normalise = self._model.shape.input_shape, self._model.preprocessing.normalise
        try:
            return decode_input(request.body, payload, shape, normalise), request.merges
        except InputError as error:  # H.264 where PyAV is not installed
            raise WireError(f"field payload: {error}") from error

    def _run(self, start: Activation | tuple[Tensor, tuple[int, ...]]) -> _Computed:
        began_s = time.perf_counter()
        activation = start if isinstance(start, Activation) else self._engine.embed(*start)
        output = self._engine.head(self._engine.run(activation, self._model.shape.blocks))
        answer = answer_of(output, self._model.task)
        return _Computed(answer, began_s, time.perf_counter())
