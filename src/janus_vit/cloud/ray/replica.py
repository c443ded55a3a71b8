"""A replica of the cloud: one engine with its scheduler, called by Ray Serve. Imports torch only when it starts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from janus_vit.cloud.access.callers import Caller
from janus_vit.cloud.ray.messages import ReplicaAnswer, ReplicaCall
from janus_vit.cloud.ray.settings import RaySettings
from janus_vit.cloud.rpc.calls import result_of
from janus_vit.errors import CloudFailed, DeadlineExceeded, InputError

if TYPE_CHECKING:
    from janus_vit.cloud.service import CloudService

_LOG = logging.getLogger("janus_vit.cloud")


class Replica:
    """Answers calls of the proxies. The names of its methods are those of the gRPC service.

    Args:
        make_service: makes the service in the replica's process.
    """

    def __init__(self, make_service: Callable[[], CloudService]) -> None:
        from janus_vit.cloud.async_service import AsyncService

        self._service = make_service()
        self._answers = AsyncService(self._service)

    def check_health(self) -> None:
        """Called by Ray Serve now and then; a replica that raises is replaced.

        Raises:
            CloudFailed: the engine's thread has ended.
        """
        if self._service.failure is not None:
            raise CloudFailed(f"{self._service.failure}: this replica has to be replaced")

    async def Hello(self, call: ReplicaCall) -> ReplicaAnswer:  # noqa: N802
        """Answer a handshake."""
        return await _answer(self._answers.hello())

    async def Infer(self, call: ReplicaCall) -> ReplicaAnswer:  # noqa: N802
        """Answer a request. Ray Serve cancels this coroutine if the device disconnects."""
        return await _answer(self._infer(call))

    async def _infer(self, call: ReplicaCall) -> bytes:
        from janus_vit.cloud.watching.call import Call

        left_s = call.left_here_s
        if left_s <= 0:
            raise DeadlineExceeded("the deadline passed on the way to the replica")
        return await self._answers.infer(call.message, call.receive_s, left_s, Call(Caller(call.peer)))

    async def Probe(self, call: ReplicaCall) -> ReplicaAnswer:  # noqa: N802
        """Answer a probe with the load of this replica."""
        from janus_vit.wire.load_messages import parse_probe

        return await _answer(self._answers.probe(parse_probe(call.message), call.receive_s))


def load_service(settings: RaySettings) -> CloudService:
    """Load the model and its engine, and start the engine's thread.

    Raises:
        InputError: the model, the profile or the engine cannot be used.
    """
    import torch

    from janus_vit.cloud.engine_half import EngineHalf
    from janus_vit.model.catalog import load_model
    from janus_vit.model.engines.factory import make_engine
    from janus_vit.model.engines.registry import engine_for_profile
    from janus_vit.model.image_size import parse_image_size
    from janus_vit.planning.latency import load_profile
    from janus_vit.scheduling.config import CloudConfig

    if settings.threads is not None:  # otherwise as many as the cores that Ray reserves, by OMP_NUM_THREADS
        torch.set_num_threads(settings.threads)
    profile = load_profile(Path(settings.profile))
    size = None if settings.image_size is None else parse_image_size(settings.image_size)
    model = load_model(settings.model, size, settings.task, settings.architecture)
    if profile.model != model.name:
        raise InputError(
            f"{settings.profile}: is the profile of model {profile.model!r}, not of {model.name!r}: "
            "run 'janus-vit profile' with this model"
        )
    name = engine_for_profile(settings.engine, profile)
    engine = make_engine(model, name, keep_model=False, on_fallback=_LOG.warning)
    return EngineHalf(model, profile, engine, CloudConfig(max_batch_frames=settings.max_batch)).service()


async def _answer(answer: Awaitable[bytes]) -> ReplicaAnswer:
    return ReplicaAnswer(await result_of(answer))
