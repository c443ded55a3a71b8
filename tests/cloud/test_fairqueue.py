"""One worker for many devices: turns, limits and closing."""

import threading
import time

import pytest

from janus_vit.cloud.fairqueue import FairQueue
from janus_vit.errors import DeadlineExceeded, Rejected, Unreachable

LATER = time.perf_counter() + 3600


@pytest.fixture
def held():
    """A queue whose worker is busy until the event is set."""
    queue, release, busy = FairQueue(waiting_per_device=4), threading.Event(), threading.Event()
    queue.submit("first", lambda: busy.set() or release.wait(10), LATER)
    assert busy.wait(10)
    yield queue, release
    release.set()
    queue.close()


def test_devices_are_served_in_turn(held):
    queue, release = held
    order = []
    jobs = [queue.submit("many", lambda i=i: order.append(f"many {i}"), LATER) for i in range(3)]
    jobs.append(queue.submit("few", lambda: order.append("few 0"), LATER))
    release.set()
    for job in jobs:
        job.result(timeout=10)
    assert order == ["many 0", "few 0", "many 1", "many 2"]


def test_one_device_may_not_queue_without_limit(held):
    queue, _ = held
    for _ in range(4):
        queue.submit("many", int, LATER)
    with pytest.raises(Rejected, match="wait already"):
        queue.submit("many", int, LATER)
    queue.submit("few", int, LATER)


def test_a_job_past_its_deadline_does_not_run(held):
    queue, release = held
    ran = []
    late = queue.submit("a", lambda: ran.append(1), time.perf_counter() - 1)
    release.set()
    with pytest.raises(DeadlineExceeded):
        late.result(timeout=10)
    assert ran == []


def test_a_job_that_nobody_waits_for_is_neither_run_nor_counted(held):
    queue, release = held
    ran = []
    jobs = [queue.submit("a", lambda i=i: ran.append(i), LATER) for i in range(4)]
    with pytest.raises(Rejected):
        queue.admit("a")
    assert jobs[1].cancel()
    queue.admit("a")
    last = queue.submit("a", lambda: ran.append(4), LATER)
    release.set()
    last.result(timeout=10)
    assert ran == [0, 2, 3, 4]


def test_who_submits_and_cancels_leaves_nothing_in_the_queue(held):
    queue, release = held
    for index in range(100):
        queue.submit(f"device {index}", int, LATER).cancel()
        queue.submit("always the same", int, LATER).cancel()
    assert not queue._waiting
    last = queue.submit("always the same", lambda: 7, LATER)
    release.set()
    assert last.result(timeout=10) == 7


def test_a_job_that_fails_fails_alone(held):
    queue, release = held
    broken = queue.submit("a", lambda: 1 / 0, LATER)
    whole = queue.submit("a", lambda: 7, LATER)
    release.set()
    with pytest.raises(ZeroDivisionError):
        broken.result(timeout=10)
    assert whole.result(timeout=10) == 7


def test_the_expected_wait_counts_jobs_ahead_by_their_average_time(held):
    queue, release = held
    release.set()
    queue.submit("a", lambda: time.sleep(0.05), LATER).result(timeout=10)
    assert queue.expected_wait_s == 0.0  # an idle queue has no wait
    gate = threading.Event()
    queue.submit("a", lambda: gate.wait(10), LATER)
    queue.submit("a", int, LATER)
    assert queue.expected_wait_s > 0.0
    gate.set()


def test_closing_fails_what_waits():
    queue, release, busy = FairQueue(), threading.Event(), threading.Event()
    queue.submit("a", lambda: busy.set() or release.wait(10), LATER)
    assert busy.wait(10)
    waiting = queue.submit("a", int, LATER)
    queue.submit("a", int, LATER).cancel()
    closing = threading.Thread(target=queue.close)
    closing.start()
    with pytest.raises(Unreachable):
        waiting.result(timeout=10)
    release.set()
    closing.join()
    with pytest.raises(Unreachable):
        queue.submit("a", int, LATER)
