"""The right answer to a frame: that of the same plan without a network, with the product's own formats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from janus_vit.cloud.in_process import InProcess, local_service
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.outcome import Answer, Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.policies.base import Decision, Situation
from janus_vit.runtime.device import Device
from janus_vit.runtime.local_worker import LocalWorker

_TOLERANCE = 0.05  # of a probability: frames in a batch round differently, and then other tokens may merge
_LONG_S = 60.0


class Reference:
    """Answers frames on this machine, each plan and picture once.

    Args:
        model: the model.
        engine: as that of the devices and the cloud.
        profile: any profile of the model.
        pictures: the frames that devices stream.
    """

    def __init__(
        self, model: Model, engine: Engine, profile: PlatformProfile, pictures: Sequence[NDArray[np.uint8]]
    ) -> None:
        self._worker = LocalWorker(model, engine)
        self._cloud = InProcess(local_service(model, engine, profile))
        self._pictures = pictures
        self._known: dict[tuple[int, Plan, bool], Answer] = {}

    def agrees(self, picture: int, outcome: Outcome) -> bool:
        """Whether the answer of an outcome is the right one for a picture."""
        right, got = self._answer(picture, outcome.plan, outcome.fallback is None), outcome.answer
        found = dict(zip(got.classes, got.probabilities, strict=True))
        expected = dict(zip(right.classes, right.probabilities, strict=True))
        return all(
            abs(found.get(index, 0.0) - expected.get(index, 0.0)) <= _TOLERANCE
            for index in {got.classes[0], right.classes[0]}
        )

    def close(self) -> None:
        """Stop the engine's thread."""
        self._cloud.close()

    def _answer(self, picture: int, plan: Plan, in_cloud: bool) -> Answer:
        key = (picture, plan, in_cloud)
        if key not in self._known:
            self._known[key] = self._remote(picture, plan) if in_cloud and not plan.is_local else self._local(*key[:2])
        return self._known[key]

    def _local(self, picture: int, plan: Plan) -> Answer:
        state = self._worker.compute(self._worker.prepare(self._pictures[picture]), plan)
        return self._worker.finish(state, plan)

    def _remote(self, picture: int, plan: Plan) -> Answer:
        device = Device(self._worker, self._cloud, _OnePlan(plan), _LONG_S)
        outcome = device.infer(self._pictures[picture])
        assert outcome.fallback is None, outcome.fallback
        return outcome.answer


class _OnePlan:
    """A policy that always chooses the same plan."""

    def __init__(self, plan: Plan) -> None:
        self._decision = Decision(plan, Prediction(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))

    def choose(self, situation: Situation) -> Decision:
        return self._decision

    def observe(self, outcome: Outcome) -> None:
        """Learns nothing."""
