"""Faults in real processes: a few of them in a short stream, and the judge over plain data."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROUGH

from janus_vit.calibration.profiler import profile_machine
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction
from janus_vit.planning.plan import Plan
from janus_vit.records.reader import Record
from janus_vit.testbed.chaos import faults, run
from janus_vit.testbed.chaos.camera import CameraState, FailingCamera
from janus_vit.testbed.chaos.device_process import DeviceSpec, Streamed, Witness, pictures
from janus_vit.testbed.chaos.faults import Fault
from janus_vit.testbed.chaos.judge import Verdict, Window, grows, judge_device

SPEC = DeviceSpec("robot", "janus", 0.3, 0.05, 3, 8.0, True, False, Path("records.jsonl"))
OUTCOME = Outcome(
    frame=0,
    at_s=0.0,
    sla_s=0.3,
    plan=Plan("fixed", 1.0, (0, 0), split=0, payload="jpeg90"),
    predicted=Prediction(0.0, 0.0, 0.02, 0.0, 0.0, 0.01, 0.1, 3000.0),
    measured=Measured(send_s=0.02, total_s=0.05),
    size_bytes=3000,
    answer=Answer((3,), (0.7,)),
    fallback=None,
    transfers=(),
)
QUICK = (
    Fault("link cut", 0.4, faults.link_cut),
    Fault("bytes changed", 0.6, faults.bytes_changed),
    Fault("clock", 0.1, faults.clock_stepped),
    Fault("disk full", 0.4, faults.disk_full),
    Fault("cloud frozen", 0.6, faults.cloud_frozen),
)


def test_a_stream_under_faults_loses_duplicates_and_falsifies_no_frame(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_USED_AGAIN_S", 0.3)
    model = load_model("janus-digits")
    engine = EagerEngine(model)
    profile = profile_machine(model, pictures()[:2], engine, ROUGH, clock=time.thread_time)
    sends = replace(SPEC, policy="cloud-jpeg", sla_s=10.0, slowdown=30.0)
    device = replace(sends, frames=10_000, records=tmp_path / "records.jsonl")
    plan = run.Plan("janus-digits", profile, "eager", QUICK, (), pause_s=0.1, groups=[[device]], delay_s=0.05)
    report = run.run_chaos(plan, model, engine)
    assert len(report.windows) == len(QUICK)
    assert all(frames > 0 for frames, *_ in report.struck.values())
    total = report.total
    assert (total.lost, total.duplicated, total.disordered, total.wrong) == (0, 0, 0, 0)
    assert 0 < total.frames < 10_000  # it was stopped
    assert total.remote > 0
    assert total.overlapped > 0
    assert all(min(sample.cloud_mb, sample.devices_mb) > 50 for sample in report.memory)


def judged(*outcomes, names=None, witnesses=None, windows=(), agrees=lambda picture, outcome: True):
    names = names or [str(outcome.frame) for outcome in outcomes]
    records = [Record(outcome, name, None, None) for outcome, name in zip(outcomes, names, strict=True)]
    witnesses = witnesses or {
        number: Witness(0.05 * number, 0.05 * number + 0.05, 0.0) for number in range(SPEC.frames)
    }
    streamed = Streamed(witnesses, SPEC.frames)
    return judge_device(SPEC, streamed, records, windows, agrees, pictures=50, fastest_s=0.1)


def frames(*numbers, **changes):
    return [replace(OUTCOME, frame=number, **changes) for number in numbers]


def test_a_clean_stream_is_clean():
    assert judged(*frames(0, 1, 2)) == Verdict(frames=3, remote=3)
    assert judged(*frames(0, 1, 2)).is_clean


@pytest.mark.parametrize(("count", "late"), [(60, 1), (200, 1), (201, 2), (3_000, 15)])
def test_on_a_busy_machine_one_frame_of_200_may_be_late_without_need(count, late):
    assert Verdict(frames=count, needlessly_late=late).is_clean_but_for(0.005)
    assert not Verdict(frames=count, needlessly_late=late + 1).is_clean_but_for(0.005)
    assert not Verdict(frames=count, needlessly_late=1).is_clean


@pytest.mark.parametrize(
    ("numbers", "broken"),
    [((0, 2), "lost"), ((0, 1, 1, 2), "duplicated"), ((1, 0, 2), "disordered")],
)
def test_records_that_do_not_match_the_frames_are_found(numbers, broken):
    verdict = judged(*frames(*numbers))
    assert getattr(verdict, broken) == 1
    assert not verdict.is_clean


def test_a_record_of_another_frame_and_a_wrong_answer_are_found():
    assert "belongs to another frame" in judged(*frames(0, 1, 2), names=["0", "2", "1"]).problems[0]
    wrong = judged(*frames(0, 1, 2), agrees=lambda picture, outcome: picture != 1)
    assert (wrong.wrong, wrong.is_clean) == (1, False)


LONG = {0: Witness(0.0, 0.4, 0.0)}
LATE = {"measured": Measured(waited_s=0.3, fallback_s=0.1, total_s=0.4), "fallback": "Unreachable: gone"}


@pytest.mark.parametrize(
    ("ended_s", "denied_s", "windows", "needless"),
    [
        (0.4, 0.0, (), 1),
        (0.4, 0.25, (), 0),  # the machine ran others
        (0.4, 0.0, (Window("devices frozen", 0.1, 0.35, freezes_devices=True),), 0),
        (0.4, 0.0, (Window("outage", 0.1, 0.35),), 1),
        (0.1, 0.0, (), 0),  # the camera's frame was 0.3 s old
    ],
)
def test_a_late_frame_is_excused_only_if_no_plan_could_have_been_in_time(ended_s, denied_s, windows, needless):
    verdict = judged(*frames(0, **LATE), *frames(1, 2), witnesses={0: Witness(0.0, ended_s, denied_s)}, windows=windows)
    assert (verdict.late, verdict.needlessly_late) == (1, needless)


@pytest.mark.parametrize(("began_s", "needless"), [(0.2, 0), (0.5, 1)])
def test_a_late_frame_is_excused_by_slow_compute_of_a_frame_that_was_in_flight_with_it(began_s, needless):
    slow = Measured(waited_s=0.1, fallback_s=0.3, total_s=0.25)  # 0.1 s was expected
    outcomes = [*frames(0, **LATE), *frames(1, measured=slow, fallback="Unreachable: gone"), *frames(2)]
    witnesses = {0: Witness(0.0, 0.4, 0.0), 1: Witness(began_s, began_s + 0.25, 0.0)}
    assert judged(*outcomes, witnesses=witnesses).needlessly_late == needless


def test_a_fallback_that_took_its_time_as_planned_is_no_excuse():
    unhurried = replace(OUTCOME.predicted, finish_s=0.02, unhurried_s=0.1)
    assert judged(*frames(0, **LATE, predicted=unhurried), *frames(1, 2), witnesses=LONG).needlessly_late == 1


def test_a_frame_that_was_taken_and_never_delivered_is_lost():
    verdict = judge_device(SPEC, Streamed({}, 3), [], (), lambda *_: True, 50, 0.1)
    assert (verdict.frames, verdict.lost) == (3, 3)


def test_a_device_that_ended_early_is_a_problem():
    verdict = judge_device(SPEC, Streamed(failure="TypeError: x"), [], (), lambda *_: True, 50, 0.1)
    assert verdict.problems == ("robot: TypeError: x", "robot: ran 0 of 3 frames")


def test_memory_grows_if_its_last_part_is_above_its_first():
    assert grows([100.0 + 0.1 * second for second in range(300)])
    assert not grows([10.0, 100.0, 500.0, 120.0] * 60)
    assert not grows([10.0, 90.0] + [100.0] * 200)
    assert not grows([100.0])


def test_a_camera_that_fails_goes_on_with_its_next_picture():
    camera = FailingCamera(pictures()[:10], 0.001)
    samples = camera.samples()
    first = int(next(samples).name)
    camera.state = CameraState.REPEATS
    next(samples)
    assert next(samples).name == next(samples).name
    camera.state = CameraState.WORKS
    assert int(next(samples).name) != first
    samples.close()
