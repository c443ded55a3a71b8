"""A process that ends is replaced, also when that does not succeed at once."""

import logging
import threading

import pytest
from patience import PATIENCE_S

from janus_vit.cloud.processes.supervisor import Member, Supervisor
from janus_vit.errors import InputError


class Process:
    """Ends when the test says so."""

    exitcode = -9

    def __init__(self):
        self.ended = threading.Event()
        self.terminate = self.ended.set

    def join(self):
        self.ended.wait(PATIENCE_S)


class Closed(threading.Event):
    """Notes how long somebody wanted to wait for it, and waits no time."""

    def __init__(self):
        super().__init__()
        self.pauses_s = []

    def wait(self, timeout=None):
        self.pauses_s.append(timeout)
        return super().wait(0.0)


class Starts:
    """Starts that succeed or fail in this order; then a test waits for `used`."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.used = threading.Event()
        self.ready_seen, self.supervisor = [], None

    def __call__(self, index):
        if self.supervisor is not None:
            self.ready_seen.append(self.supervisor.member is not None)
        outcome = self.outcomes.pop(0)
        if not self.outcomes:
            self.used.set()
        if isinstance(outcome, Exception):
            raise outcome
        return Member(outcome, None)


@pytest.fixture
def closed():
    closed = Closed()
    yield closed
    closed.set()


def test_a_process_that_cannot_be_replaced_is_tried_again_less_and_less_often(closed, caplog):
    first, last = Process(), Process()
    starts = Starts(first, *[InputError("tokens.txt, line 3: no hash")] * 6, last)
    supervisor = starts.supervisor = Supervisor(0, starts, closed)
    with caplog.at_level(logging.ERROR, "janus_vit.cloud"):
        first.ended.set()
        assert starts.used.wait(PATIENCE_S)
    assert closed.pauses_s == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert not any(starts.ready_seen), "nobody serves meanwhile"
    lines = [record.getMessage() for record in caplog.records]
    assert lines[1] == "ingest process 0 cannot start: tokens.txt, line 3: no hash; next try in 1 s"
    assert not any(record.exc_info for record in caplog.records)
    while supervisor.member is None:
        assert supervisor._thread.is_alive()
    assert supervisor.member.process is last
    closed.set()
    last.ended.set()


def test_the_first_process_has_to_start(closed):
    with pytest.raises(InputError, match="no hash"):
        Supervisor(0, Starts(InputError("no hash")), closed)


def test_a_process_that_serves_after_the_end_is_stopped(closed):
    first, late = Process(), Process()
    supervisor = Supervisor(0, lambda index: Member(first, None), closed)

    def start_late(index):
        closed.set()
        return Member(late, None)

    supervisor._start = start_late
    first.ended.set()
    assert late.ended.wait(PATIENCE_S)
    assert supervisor.member is None


def test_a_start_that_fails_in_an_unknown_way_is_tried_again_too(closed, caplog):
    first, last = Process(), Process()
    starts = Starts(first, ValueError("a bug\nmore lines"), last)
    supervisor = Supervisor(0, starts, closed)
    first.ended.set()
    assert starts.used.wait(PATIENCE_S)
    assert caplog.records[1].getMessage() == "ingest process 0 cannot start: ValueError: a bug; next try in 1 s"
    assert supervisor.failure is None
    closed.set()
    last.ended.set()


def test_a_supervisor_that_ends_says_so(closed, caplog):
    class Lost(Process):
        def join(self):
            raise OSError(10, "no child processes")

    supervisor = Supervisor(3, lambda index: Member(Lost(), None), closed)
    supervisor._thread.join(PATIENCE_S)
    assert supervisor.failure.startswith("nobody replaces ingest process 3 any more (")
