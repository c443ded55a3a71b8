"""The engine's thread, with an engine that waits until a test lets it go on."""

import threading

import pytest
import torch
from patience import PATIENCE_S

from janus_vit.cloud.backend import Frame
from janus_vit.cloud.batch_runner import BatchRunner
from janus_vit.cloud.loop import EngineLoop
from janus_vit.errors import DeadlineExceeded, Rejected, Unreachable
from janus_vit.model.engines.known_time import KnownTimeEngine
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import constant_costs
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.simulation.clock import VirtualClock

FRAME = Frame(torch.zeros(32, 32, 3, dtype=torch.uint8), (0,) * 6)


class Gate:
    """Holds the engine at its first batch, and counts batches."""

    def __init__(self):
        self.reached, self.open = threading.Event(), threading.Event()
        self.failing = False

    def __call__(self, seconds):
        self.reached.set()
        assert self.open.wait(PATIENCE_S)
        if self.failing:
            raise RuntimeError("engine failed")


class Results:
    """What became of jobs."""

    def __init__(self):
        self.of = {}
        self._changed = threading.Condition()

    def take(self, job_id):
        def on_finished(finished):
            with self._changed:
                assert job_id not in self.of, "told twice"
                self.of[job_id] = finished
                self._changed.notify_all()

        return on_finished

    def wait(self, count):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of) >= count, PATIENCE_S)
        return self.of


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def batches():
    return []


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def loop(model, gate, batches, clock):
    config = CloudConfig(waiting_per_client=64)
    scheduler = Scheduler(constant_costs(2e-3, 1e-4, 6), 6, config)
    runner = BatchRunner(model, KnownTimeEngine(model, 2e-3, 1e-4, wait=gate))
    loop = EngineLoop(scheduler, runner, lambda batch, elapsed_s, load: batches.append(batch), clock.now)
    yield loop
    gate.open.set()
    loop.close()


def job(loop, number, client="a", within_s=30.0):
    now_s = loop._now()
    return Job(number, client, now_s, now_s + within_s, 0, (17,) * 7)


def test_frames_of_many_clients_run_in_one_batch_while_the_engine_is_busy(loop, gate, batches):
    results = Results()
    loop.submit(job(loop, 0), FRAME, results.take(0))
    assert gate.reached.wait(PATIENCE_S)
    for number in range(1, 9):
        loop.submit(job(loop, number, client=f"client {number}"), FRAME, results.take(number))
    gate.open.set()
    assert all(finished.answer is not None for finished in results.wait(9).values())
    assert max(len(batch.jobs) for batch in batches) >= 8


def test_a_job_that_is_cancelled_is_never_answered(loop, gate, batches):
    results = Results()
    loop.submit(job(loop, 0), FRAME, results.take(0))
    assert gate.reached.wait(PATIENCE_S)
    loop.submit(job(loop, 1), FRAME, results.take(1))
    loop.submit(job(loop, 2), FRAME, results.take(2))
    loop.cancel(0)  # while it runs
    loop.cancel(1)  # while it waits
    gate.open.set()
    results.wait(1)
    assert set(results.of) == {2}
    assert all(each.id != 1 for batch in batches for each in batch.jobs)
    assert loop.load().waiting == 0


def test_a_job_whose_deadline_passes_leaves_without_compute(loop, gate, clock):
    results = Results()
    loop.submit(job(loop, 0), FRAME, results.take(0))
    assert gate.reached.wait(PATIENCE_S)
    loop.submit(job(loop, 1, within_s=0.05), FRAME, results.take(1))
    clock.advance(0.1)
    gate.open.set()
    assert isinstance(results.wait(2)[1].error, DeadlineExceeded)
    assert results.of[0].answer is not None


def test_an_engine_error_fails_its_batch_and_the_next_one_runs(loop, gate, caplog):
    results = Results()
    gate.failing = True
    loop.submit(job(loop, 0), FRAME, results.take(0))
    assert gate.reached.wait(PATIENCE_S)
    gate.open.set()
    assert isinstance(results.wait(1)[0].error, Rejected)
    gate.failing = False
    loop.submit(job(loop, 1), FRAME, results.take(1))
    assert results.wait(2)[1].answer is not None
    assert "engine failed" in caplog.text


def test_a_job_that_cannot_be_in_time_is_refused_at_once(loop):
    with pytest.raises(Rejected, match="in time"):
        loop.check(job(loop, 0, within_s=1e-4))
    with pytest.raises(Rejected, match="in time"):
        loop.submit(job(loop, 0, within_s=1e-4), FRAME, lambda finished: pytest.fail("answered"))
    assert loop.load().waiting == 0


def test_a_listener_that_fails_does_not_stop_the_engine(loop, gate, caplog):
    def broken(finished):
        raise ConnectionError("gone")

    results = Results()
    gate.open.set()
    loop.submit(job(loop, 0), FRAME, broken)
    loop.submit(job(loop, 1), FRAME, results.take(1))
    assert results.wait(1)[1].answer is not None
    assert "could not be delivered" in caplog.text


def test_closing_fails_what_waits_and_refuses_what_comes(loop, gate):
    results = Results()
    loop.submit(job(loop, 0), FRAME, results.take(0))
    assert gate.reached.wait(PATIENCE_S)
    loop.submit(job(loop, 1), FRAME, results.take(1))
    closing = threading.Thread(target=loop.close)
    closing.start()
    assert isinstance(results.wait(2)[1].error, Unreachable)
    gate.open.set()
    closing.join(PATIENCE_S)
    with pytest.raises(Unreachable, match="shutting down"):
        loop.check(job(loop, 2))


def test_a_bug_of_the_scheduler_fails_all_jobs_takes_no_more_and_is_told(loop, gate, caplog, monkeypatch):
    def fail(*arguments):
        raise KeyError("a bug")

    results = Results()
    for number in range(3):
        loop.submit(job(loop, number), FRAME, results.take(number))
    assert gate.reached.wait(PATIENCE_S)
    monkeypatch.setattr(loop._scheduler, "finish", fail)
    gate.open.set()
    assert {type(finished.error) for finished in results.wait(3).values()} == {Unreachable}
    assert loop.failure == "the engine's thread has ended by itself (KeyError: 'a bug')"
    with pytest.raises(Unreachable):
        loop.submit(job(loop, 9), FRAME, results.take(9))
    assert "KeyError" in caplog.text, "the log shows where"
