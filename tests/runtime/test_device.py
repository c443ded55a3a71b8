"""The device's loop: every frame is answered, and its record says how."""

import dataclasses

import numpy as np
import pytest
from conftest import ROUGH
from patience import PATIENCE_S

from janus_vit.calibration.profiler import profile_machine
from janus_vit.cloud.in_process import InProcess, local_service
from janus_vit.errors import DeadlineExceeded, InputError, Overloaded, Rejected, Unreachable, WireError
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.outcome import Prediction, hedge_s
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Decision
from janus_vit.planning.policies.presets import POLICIES, make_policy
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.planning.splits import all_splits
from janus_vit.records.writer import to_record
from janus_vit.runtime.device import Device
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.simulation.clock import VirtualClock


class Always:
    """A policy with one plan."""

    def __init__(self, plan, unhurried_s=None):
        self.plan = plan
        self.unhurried_s = unhurried_s
        self.seen = []

    def observe(self, outcome):
        self.seen.append(outcome)

    def choose(self, situation):
        predicted = Prediction(0.01, 0.0, 0.01, 0.0, 0.0, 0.01, 0.01, 1000.0, unhurried_s=self.unhurried_s)
        return Decision(self.plan, predicted)


class Broken(InProcess):
    """A transport that fails in one way."""

    def __init__(self, error):
        self.error = error

    def infer(self, request, timeout_s):
        raise self.error


@pytest.fixture(scope="module")
def profile(model, engine):
    """A rough profile of this machine."""
    rng = np.random.default_rng(0)
    return profile_machine(model, [rng.integers(0, 256, (32, 32, 3), np.uint8)], engine, ROUGH)


@pytest.fixture
def service(model, engine, profile):
    service = local_service(model, engine, profile)
    yield service
    service.close()


def plan_at(model, split, level=0.0, payload=None):
    schedule = make_schedule("exponential", level, model.shape)
    kind = "local" if split > model.shape.blocks else "float32" if split else "png"
    return Plan("exponential", level, schedule.applied, split, payload or kind)


def test_every_split_and_level_gives_the_device_only_answer(any_model, profile, frames):
    engine = EagerEngine(any_model)
    service = local_service(any_model, engine, profile)
    worker = LocalWorker(any_model, engine)
    picture = frames[0] if any_model.preprocessing.frames == 1 else np.stack(frames)
    last, every_level = any_model.shape.blocks + 1, levels("exponential", any_model.shape)
    distinct = {plan_at(any_model, last, level).merges: level for level in every_level}  # neighbours may merge the same
    for level in distinct.values():
        alone = Device(worker, InProcess(service), Always(plan_at(any_model, last, level)), PATIENCE_S).infer(picture)
        for split in all_splits(any_model.shape.blocks):
            outcome = Device(worker, InProcess(service), Always(plan_at(any_model, split, level)), PATIENCE_S).infer(
                picture
            )
            assert outcome.answer == alone.answer
            assert outcome.fallback is None
    service.close()


@pytest.mark.parametrize("payload", ["float16", "float8", "int8", "int4", "float16+zstd", "float32+zstd"])
def test_every_token_format_reaches_the_cloud(model, engine, service, frames, payload):
    policy = Always(plan_at(model, 3, payload=payload))
    outcome = Device(LocalWorker(model, engine), InProcess(service), policy, PATIENCE_S).infer(frames[0])
    assert outcome.fallback is None
    assert outcome.size_bytes > 0


@pytest.mark.parametrize("payload", ["tensor", "tensor+zstd", "jpeg90", "webp75"])
def test_every_image_format_reaches_the_cloud(model, engine, service, frames, payload):
    policy = Always(plan_at(model, 0, payload=payload))
    outcome = Device(LocalWorker(model, engine), InProcess(service), policy, PATIENCE_S).infer(frames[0])
    assert outcome.fallback is None
    assert outcome.measured.cloud_s > 0


@pytest.mark.parametrize("split", [0, 1, 3, 6])
@pytest.mark.parametrize(
    "error", [Unreachable("gone"), DeadlineExceeded("late"), Rejected("full"), WireError("bad reply")]
)
def test_no_frame_is_lost_when_the_cloud_fails(model, engine, service, frames, split, error):
    worker = LocalWorker(model, engine)
    alone = Device(worker, InProcess(service), Always(plan_at(model, 7)), PATIENCE_S).infer(frames[1])
    policy = Always(plan_at(model, split))
    outcome = Device(worker, Broken(error), policy, PATIENCE_S).infer(frames[1])
    assert outcome.answer == alone.answer
    assert outcome.fallback == f"{type(error).__name__}: {error}"
    assert not outcome.transfers[-1].delivered
    assert outcome.measured.fallback_s > 0
    assert policy.seen == [outcome]


@pytest.mark.parametrize("split", [0, 2])
def test_fallback_uses_the_rescue_schedule_only_if_the_planned_one_would_be_late(model, engine, service, frames, split):
    worker = LocalWorker(model, engine)
    hurry = (4,) + (0,) * (model.shape.blocks - split - 1)
    plan = dataclasses.replace(plan_at(model, split), rescue=hurry)
    calm = dataclasses.replace(plan, rescue=None)
    for unhurried_s, ran in ((5.0, plan), (0.01, calm)):
        alone = Device(worker, InProcess(service), Always(ran.rescued), 1.0).infer(frames[1])
        outcome = Device(worker, Broken(Unreachable("gone")), Always(plan, unhurried_s), 1.0).infer(frames[1])
        assert outcome.answer == alone.answer
        assert outcome.plan == ran
    assert plan.rescued != calm.rescued


def test_every_policy_runs_a_stream(model, engine, service, profile, frames):
    platforms = Platforms(model.shape, profile, profile, rate_mbps=50.0, rtt_s=0.005)
    for name in POLICIES:
        device = Device(LocalWorker(model, engine), InProcess(service), make_policy(name, platforms), PATIENCE_S)
        outcomes = [device.infer(frame) for frame in frames]
        assert [outcome.frame for outcome in outcomes] == [0, 1, 2, 3]
        assert all(outcome.fallback is None for outcome in outcomes)


def test_frames_of_any_size_are_accepted_and_invalid_ones_refused(model, engine, service):
    device = Device(LocalWorker(model, engine), InProcess(service), Always(plan_at(model, 7)), PATIENCE_S)
    assert device.infer(np.zeros((71, 45, 3), np.uint8)).answer.classes
    for wrong in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)):
        with pytest.raises(InputError, match="uint8"):
            device.infer(wrong)


@pytest.mark.parametrize("sla_s", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_sla_is_refused(model, engine, service, sla_s):
    with pytest.raises(InputError, match="SLA"):
        Device(LocalWorker(model, engine), InProcess(service), Always(plan_at(model, 7)), sla_s)


def test_record_is_plain_json_with_predicted_and_measured_times(model, engine, service, frames):
    device = Device(LocalWorker(model, engine), InProcess(service), Always(plan_at(model, 3)), PATIENCE_S)
    record = to_record(device.infer(frames[0]), model.labels)
    assert record["plan"]["split"] == 3
    assert record["met"] is True
    assert record["answer"]["label"].startswith("label")
    assert set(record["measured"]) >= {"device_s", "encode_s", "send_s", "rtt_s", "queue_s", "cloud_s", "total_s"}
    assert set(record["predicted"]) >= {"device_s", "encode_s", "transfer_s", "queue_s", "cloud_s", "total_s"}


def test_device_begins_its_own_answer_when_it_can_just_meet_the_deadline():
    assert 0.15 < hedge_s(time_left_s=0.3, finish_s=0.1, spread=0.05) < 0.2
    assert hedge_s(time_left_s=0.1, finish_s=0.02, spread=0.05) < 0.08


def test_less_predictable_compute_makes_the_device_begin_earlier():
    calm, wild = (hedge_s(time_left_s=0.3, finish_s=0.1, spread=spread) for spread in (0.01, 0.2))
    assert wild < calm


def test_device_begins_at_once_if_its_own_answer_is_late_anyway():
    assert hedge_s(time_left_s=0.15, finish_s=0.28, spread=0.05) == 0
    assert hedge_s(time_left_s=-0.1, finish_s=0.5, spread=0.05) == 0


def test_steps_give_the_answer_of_the_whole(any_model, frames):
    worker = LocalWorker(any_model, EagerEngine(any_model))
    picture = frames[0] if any_model.preprocessing.frames == 1 else np.stack(frames)
    for split in (0, 3, any_model.shape.blocks):
        plan = plan_at(any_model, split)
        state = worker.compute(worker.prepare(picture), plan)
        *steps, answer = worker.finish_in_steps(state, plan)
        assert steps == [None] * max(0, any_model.shape.blocks - split - 1)
        assert answer == worker.finish(state, plan)


class Remembers(InProcess):
    """A transport that keeps the requests and how long the device waits for them, and refuses or answers."""

    def __init__(self, service, error=None):
        super().__init__(service)
        self.error = error
        self.asked = []

    def infer(self, request, timeout_s):
        self.asked.append((request, timeout_s))
        if self.error is not None:
            raise self.error
        return super().infer(request, timeout_s)


class WithLink(Always):
    """A policy with one plan that expects a rate, a round trip and a long way to finish on the device."""

    def choose(self, situation):
        predicted = Prediction(0.01, 0.0, 0.05, 0.0, 0.0, 0.01, finish_s=9.0, size_bytes=1000.0, rate_mbps=0.2)
        return Decision(self.plan, predicted)


def test_a_request_tells_when_its_answer_is_late_and_how_long_the_device_waits(model, engine, service, frames):
    transport = Remembers(service)
    policy, clock = WithLink(plan_at(model, 0)), VirtualClock()  # compute takes no time
    Device(LocalWorker(model, engine), transport, policy, sla_s=2.0, clock=clock).infer(frames[0])
    ((request, waits_s),) = transport.asked
    rtt_s = 0.01  # 50 ms less the 40 ms that 1000 bytes take
    assert waits_s == pytest.approx(1.1 * 9.0, abs=0.1)  # until its own answer would be there
    assert request.time_left_s == pytest.approx(waits_s - rtt_s)
    assert request.in_time_s == pytest.approx(2.0 - rtt_s)


def test_a_refusal_shows_that_the_link_delivered(model, engine, service, frames):
    policy, worker = WithLink(plan_at(model, 0)), LocalWorker(model, engine)
    refusal = Overloaded("too many requests", 0.5)
    outcome = Device(worker, Remembers(service, refusal), policy, sla_s=2.0).infer(frames[0])
    assert outcome.fallback == "Overloaded: too many requests"
    assert [transfer.delivered for transfer in outcome.transfers] == [True]
    lost = Device(worker, Remembers(service, DeadlineExceeded("no answer")), policy, sla_s=2.0).infer(frames[0])
    assert [transfer.delivered for transfer in lost.transfers] == [False]
