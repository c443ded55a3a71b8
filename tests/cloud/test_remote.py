"""Frames that cross to the engine's process: shared memory and messages, here with both ends in one process."""

import multiprocessing
import socket
import threading

import pytest
import torch
from patience import PATIENCE_S, wait_until

from janus_vit.cloud.backend import Finished, Frame
from janus_vit.cloud.metrics import RequestRecord
from janus_vit.cloud.processes.pipe import Pipe
from janus_vit.cloud.processes.remote import RemoteBackend, RemoteSession
from janus_vit.cloud.processes.shared_frames import SharedFrames, read_frame, slots_memory
from janus_vit.errors import Rejected
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer
from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Load

IDLE = Load(expected_wait_s=0.0, price=EnginePrice(frame_s=1e-3), waiting=0, busy=False)
BUSY = Load(expected_wait_s=0.5, price=EnginePrice(frame_s=1e-3), waiting=9, busy=True)
PIXELS = Frame(torch.arange(3 * 8 * 8, dtype=torch.uint8).view(8, 8, 3), (1, 0))
TENSOR = Frame(torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)), (0, 0))
TOKENS = Activation(torch.randn(1, 5, 24), torch.tensor([[1.0, 2.0, 1.0, 1.0, 3.0]]), 2, (1, 0, 0), "model")


def same(one, two):
    if isinstance(one, Frame):
        return one.merges == two.merges and torch.equal(one.pixels, two.pixels)
    alike = (one.next_block, one.merges, one.fingerprint) == (two.next_block, two.merges, two.fingerprint)
    return alike and torch.equal(one.tokens, two.tokens) and torch.equal(one.sizes, two.sizes)


@pytest.mark.parametrize("start", [PIXELS, TENSOR, TOKENS], ids=["pixels", "tensor", "tokens"])
def test_a_frame_crosses_shared_memory_unchanged(start):
    memory = slots_memory(2, 1000)
    assert same(read_frame(memory, SharedFrames(memory).write(start)), start)


def test_a_slot_is_not_written_again_before_it_is_free():
    memory = slots_memory(2, 1000)
    frames = SharedFrames(memory)
    first, second = frames.write(PIXELS), frames.write(TENSOR)
    with pytest.raises(Rejected, match="too many requests in flight"):
        frames.write(TOKENS)
    frames.free(first.slot)
    third = frames.write(TOKENS)
    assert third.slot == first.slot
    assert same(read_frame(memory, second), TENSOR)
    assert same(read_frame(memory, third), TOKENS)


class Backend:
    """Keeps jobs until a test finishes them."""

    def __init__(self):
        self.jobs, self.starts, self.finish, self.cancelled = [], [], [], []
        self.refusal = None
        self._changed = threading.Condition()

    def submit(self, job, start, on_finished):
        if self.refusal is not None:
            raise self.refusal
        with self._changed:
            self.jobs.append(job)
            self.starts.append(start)
            self.finish.append(on_finished)
            self._changed.notify_all()

    def cancel(self, job_id):
        with self._changed:
            self.cancelled.append(job_id)
            self._changed.notify_all()

    def wait(self, met):
        with self._changed:
            assert self._changed.wait_for(met, PATIENCE_S)


class Ends:
    """An ingest process' end and the engine's end of one pipe."""

    def __init__(self):
        self.backend, self.records = Backend(), []
        self.gone, self.drained = threading.Event(), threading.Event()
        ours, theirs = multiprocessing.Pipe()
        memory = slots_memory(2, 1000)
        self.session = RemoteSession(3, ours, memory, self.backend, lambda: BUSY, self.records.append)
        self.pipe = Pipe(theirs)
        self.remote = RemoteBackend(self.pipe, memory, IDLE, self.drained.set, self.gone.set)

    def submit(self, number, start=PIXELS):
        finished, told = [], threading.Event()

        def on_finished(result):
            finished.append(result)
            told.set()

        self.remote.submit(job(number), start, on_finished)
        return finished, told


def job(number, within_s=1e9):
    return Job(number, "camera", 0.0, within_s, 0, (17, 17, 17))


class ReadInParts:
    """A connection whose reader is between two parts of a message until it may go on."""

    def __init__(self):
        self._socket, self._other = socket.socketpair()
        self.between, self.may_go_on, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.fileno = self._socket.fileno

    def recv(self):
        self.between.set()
        assert self.may_go_on.wait(PATIENCE_S)
        assert not self.closed.is_set(), "another connection may have this number now"
        raise EOFError

    def close(self):
        self.closed.set()
        self._socket.close()
        self._other.close()


@pytest.fixture
def ends():
    ends = Ends()
    yield ends
    ends.remote.close()
    ends.session.join()


def test_a_job_is_computed_there_and_its_answer_comes_back(ends):
    finished, told = ends.submit(1, TOKENS)
    ends.backend.wait(lambda: ends.backend.finish)
    assert same(ends.backend.starts[0], TOKENS)
    ends.backend.finish[0](Finished(Answer((4,), (0.5,)), None, 0.1, BUSY))
    assert told.wait(PATIENCE_S)
    assert finished[0].answer == Answer((4,), (0.5,))
    assert finished[0].load == BUSY


def test_a_connection_is_closed_when_nobody_reads_it_any_more():
    connection = ReadInParts()
    remote = RemoteBackend(Pipe(connection), slots_memory(2, 1000), IDLE, lambda: None, lambda: None)
    assert connection.between.wait(PATIENCE_S)
    closing = threading.Thread(target=remote.close)
    closing.start()
    closing.join(0.1)
    assert not connection.closed.is_set()
    connection.may_go_on.set()
    closing.join(PATIENCE_S)
    assert connection.closed.is_set()


def test_jobs_of_different_processes_never_share_an_id(ends):
    ends.submit(1)
    ends.backend.wait(lambda: ends.backend.jobs)
    assert ends.backend.jobs[0].id >> 40 == 3


def test_a_refusal_of_the_scheduler_comes_back_as_one(ends):
    ends.backend.refusal = Rejected("too many")
    finished, told = ends.submit(1)
    assert told.wait(PATIENCE_S)
    assert isinstance(finished[0].error, Rejected)


def test_a_job_for_which_the_engine_has_no_memory_is_refused_and_the_next_one_is_computed(ends, caplog):
    ends.backend.refusal = torch.OutOfMemoryError("CUDA out of memory\nmore lines")
    finished, told = ends.submit(1)
    assert told.wait(PATIENCE_S)
    assert isinstance(finished[0].error, Rejected)
    assert [record.getMessage() for record in caplog.records] == [
        "a request could not be queued: OutOfMemoryError: CUDA out of memory"
    ]
    ends.backend.refusal = None
    ends.submit(2)
    ends.backend.wait(lambda: ends.backend.jobs)


def test_a_record_that_cannot_be_passed_on_does_not_keep_jobs_from_the_engine(ends, caplog):
    ends.session._on_record = None  # calling it fails
    ends.pipe.send(RequestRecord("camera", "answered", 1))
    ends.submit(1)
    ends.backend.wait(lambda: ends.backend.jobs)
    assert "a message of an ingest process failed: TypeError" in caplog.text


def test_a_cancelled_job_is_dropped_there_and_gives_its_slot_back(ends):
    finished, told = ends.submit(1)
    ends.submit(2)
    ends.backend.wait(lambda: len(ends.backend.jobs) == 2)
    ends.remote.cancel(1)
    ends.backend.wait(lambda: ends.backend.cancelled)

    def is_taken():
        try:
            ends.submit(3)
        except Rejected:
            return False
        return True

    wait_until(is_taken)
    ends.backend.wait(lambda: len(ends.backend.jobs) == 3)
    ends.backend.finish[0](Finished(Answer((1,), (1.0,)), None, 0.1, BUSY))  # too late
    assert not told.is_set()
    assert not finished


def test_a_process_that_dies_takes_its_own_jobs_along(ends):
    ends.submit(1)
    ends.submit(2)
    ends.backend.wait(lambda: len(ends.backend.jobs) == 2)
    ends.pipe.close()
    ends.session.join()
    assert sorted(number & 0xFF for number in ends.backend.cancelled) == [1, 2]


def test_a_job_that_cannot_be_in_time_is_refused_before_it_is_decoded(ends):
    with pytest.raises(Rejected, match="in time"):
        ends.remote.check(job(1, within_s=0.0))


def test_draining_is_told(ends):
    ends.session.drain()
    assert ends.drained.wait(PATIENCE_S)
