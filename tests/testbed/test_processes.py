"""Processes of a live run: what they send, what goes wrong in them, how they end. An engine that is slowed down."""

import os
import signal
import time

import pytest
import torch
from children import die, double, fail, sleep_on

from janus_vit.errors import InputError, Unreachable
from janus_vit.testbed.child_process import ChildProcess
from janus_vit.testbed.slowed_engine import SlowedEngine, Slowing
from janus_vit.testbed.slowed_worker import SlowedWorker, run_slowed

PATIENCE_S = 120.0  # a new process starts on a busy machine
MUCH = bytes(4_000_000)  # more than a pipe holds


@pytest.fixture
def start():
    children = []

    def started(target):
        children.append(ChildProcess("the child", target))
        return children[-1]

    yield started
    for child in children:
        child.close()


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_messages_are_answered_until_the_pipe_is_closed(start):
    child = start(double)
    pid = child.receive(PATIENCE_S)
    for value in (3, "ab", MUCH):
        child.send(value)
        assert child.receive(PATIENCE_S) == 2 * value
    assert is_running(pid)
    child.close()
    child.close()
    assert not is_running(pid)


def test_an_interrupt_from_the_terminal_is_for_the_first_process_alone(start):
    child = start(double)
    before = signal.getsignal(signal.SIGINT)
    pid = child.receive(PATIENCE_S)
    os.kill(pid, signal.SIGINT)
    child.send(4)
    assert child.receive(PATIENCE_S) == 8
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_process_is_raised_here(start):
    child = start(fail)
    child.send("devices")
    with pytest.raises(InputError, match="field devices is missing"):
        child.receive(PATIENCE_S)


def test_a_process_that_dies_keeps_nobody_waiting(start):
    child = start(die)
    with pytest.raises(Unreachable, match="the child has stopped"):
        child.send(MUCH)
    with pytest.raises(Unreachable, match="the child has stopped"):
        child.receive(PATIENCE_S)


def test_a_process_that_is_silent_or_does_not_end_keeps_nobody_waiting(start, monkeypatch):
    monkeypatch.setattr("janus_vit.testbed.child_process._STOP_TIMEOUT_S", 0.2)
    child = start(sleep_on)
    child.send("anything")
    with pytest.raises(Unreachable, match=r"the child did not answer within 0\.1 s"):
        child.receive(0.1)
    began_s = time.perf_counter()
    child.close()
    assert time.perf_counter() - began_s < PATIENCE_S / 4


class Machine:
    """The clocks of a thread, in place of `time`: it computes, sleeps, or waits while another program has the CPU."""

    def __init__(self):
        self.now_s = self.cpu_s = 0.0

    def perf_counter(self):
        return self.now_s

    def thread_time(self):
        return self.cpu_s

    def sleep(self, seconds):
        self.now_s += seconds

    def compute(self, cpu_s, denied_s=0.0):
        self.cpu_s += cpu_s
        self.now_s += cpu_s + denied_s


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr("janus_vit.testbed.slowed_worker.time", machine)
    return machine


def test_slowed_work_takes_so_many_times_its_cpu_time(machine):
    assert run_slowed(lambda: machine.compute(0.005), 8) == (None, pytest.approx(0.04))


def test_while_another_program_has_the_cpu_slowed_work_is_not_delayed_further(machine):
    assert run_slowed(lambda: machine.compute(0.005, denied_s=0.03), 8)[1] == pytest.approx(0.04)
    assert run_slowed(lambda: machine.compute(0.005, denied_s=0.05), 8)[1] == pytest.approx(0.055)


@pytest.mark.parametrize(
    ("denied_s", "took_s"),
    [(0.0, [0.02, 0.02, 0.02, 0.02]), (0.02, [0.028, 0.012, 0.02, 0.02]), (0.2, [0.208, 0.0, 0.0, 0.0])],
)
def test_a_slowed_worker_answers_in_steps_that_take_as_long_as_a_slower_device(machine, denied_s, took_s):
    class Worker:
        fingerprint = "model"

        def finish_in_steps(self, state, plan):
            for answer in (None, None, None, "answer"):
                machine.compute(0.002, denied_s / 4)
                yield answer

    found, answers = [], []
    began_s = machine.now_s
    for answer in SlowedWorker(Worker(), 10).finish_in_steps(None, None):
        found.append(machine.now_s - began_s)
        began_s = machine.now_s
        answers.append(answer)
    assert answers == [None, None, None, "answer"]
    assert found == pytest.approx(took_s)


def test_a_slowed_engine_gives_the_answers_of_the_engine(model, engine, frames):
    pixels = torch.cat([model.preprocessing.normalise(model.preprocessing.crop(frame)) for frame in frames])
    merges = [(1,) * model.shape.blocks] * len(frames)
    slowed = SlowedEngine(engine, Slowing(2.0, (1.0, 1.2)))
    answers = []
    for each in (engine, slowed):
        states = each.run_batch(each.embed_batch(pixels, merges), model.shape.blocks)
        alone = each.head(each.run(each.embed(pixels[:1], merges[0]), model.shape.blocks))
        answers.append(torch.cat([each.head_batch(states), alone]))
    assert torch.equal(*answers)
    assert (slowed.name, slowed.precision) == (engine.name, engine.precision)
    assert slowed.busy_s > slowed.own_s > 0
    assert slowed.busy_s < slowed.frames_s < len(frames) * slowed.busy_s


def test_a_batch_takes_as_long_as_an_accelerator_would():
    slowing = Slowing(4.0, (1.0, 1.25, 1.5))
    assert slowing.of_batch(1) == 4
    assert slowing.of_batch(2) * 2 == pytest.approx(4 * 1.25)
    assert slowing.of_batch(3) * 3 == pytest.approx(4 * 1.5)
    assert slowing.of_batch(30) == slowing.of_batch(3)


def test_an_engine_cannot_be_faster_than_this_machine():
    with pytest.raises(InputError, match=r"a slowdown of 0\.5 would be faster than this machine"):
        Slowing(0.5)
