"""What the scheduler counts as demand, and where its price is told."""

import dataclasses

import pytest
from scheduled_jobs import BLOCKS, OPEN, make_job, make_scheduler

from janus_vit.errors import Overloaded, Rejected
from janus_vit.planning.price import EnginePrice
from janus_vit.scheduling.costs import constant_costs
from janus_vit.scheduling.scheduler import Scheduler

FRAME_S = 0.01  # of every frame, also in a batch


def slow_scheduler(config=OPEN):
    return Scheduler(constant_costs(0.0, FRAME_S, BLOCKS), BLOCKS, config)


def offer(scheduler, hz, seconds, *, within_s=0.05, checks=True):
    """Offer jobs and run what is taken; how many are taken, and how many are offered."""
    taken, ends_s, running = 0, 0.0, None
    for number in range(int(hz * seconds)):
        now_s = number / hz
        while running is not None and ends_s <= now_s:
            scheduler.finish(running, ends_s)
            running, ends_s = start(scheduler, ends_s)
        job = make_job(number, now_s + within_s, arrived_s=now_s)
        try:
            if checks:
                scheduler.check(job, now_s)
            scheduler.add(job, now_s)
            taken += 1
        except Overloaded:
            pass
        if running is None:
            running, ends_s = start(scheduler, now_s)
    return taken, int(hz * seconds)


def start(scheduler, now_s):
    scheduler.expire(now_s)
    batch = scheduler.next_batch(now_s)
    if batch is None:
        return None, now_s
    return batch, now_s + FRAME_S * len(batch.jobs) * (batch.stop - batch.start) / BLOCKS


def answers_per_s(scheduler, now_s):
    return scheduler.load(now_s).price.answers_per_s


def test_an_engine_with_time_to_spare_is_free():
    scheduler = slow_scheduler()
    taken, offered = offer(scheduler, 70, 5.0)
    assert taken == offered
    assert answers_per_s(scheduler, 5.0) == 0.0


def test_too_much_work_has_a_price_although_what_is_taken_is_in_time():
    scheduler = slow_scheduler()
    taken, offered = offer(scheduler, 150, 5.0)
    assert 0 < taken < 0.8 * offered
    assert answers_per_s(scheduler, 5.0) > 0.1


def test_a_check_and_the_job_that_follows_count_once():
    with_checks, without = slow_scheduler(), slow_scheduler()
    offer(with_checks, 150, 5.0)
    offer(without, 150, 5.0, checks=False)
    assert answers_per_s(with_checks, 5.0) == answers_per_s(without, 5.0) > 0


def test_what_even_an_idle_engine_cannot_answer_is_no_demand():
    scheduler = slow_scheduler()
    taken, _ = offer(scheduler, 500, 5.0, within_s=FRAME_S / 2)
    assert taken == 0
    assert answers_per_s(scheduler, 5.0) == 0.0


def test_what_one_client_sends_above_its_limit_is_no_demand():
    scheduler = slow_scheduler(dataclasses.replace(OPEN, waiting_per_client=1))
    scheduler.add(make_job(0, 1e3), 0.0)
    for number in range(1, 2_000):
        with pytest.raises(Rejected, match="already has 1 requests"):
            scheduler.check(make_job(number, 1e3), number / 500)
    assert answers_per_s(scheduler, 4.0) == 0.0


def test_a_slow_engine_is_dear_sooner():
    """Batches that take twice as long as predicted double the work of each request."""
    slow, known = slow_scheduler(), slow_scheduler()
    for number in range(40):
        slow.add(make_job(number, 1e3, arrived_s=float(number)), float(number))
        complete, now_s = (), float(number)
        while not complete:
            batch = slow.next_batch(now_s)
            now_s += 2 * FRAME_S * (batch.stop - batch.start) / BLOCKS
            complete = slow.finish(batch, now_s)
    for scheduler, start_s in ((slow, 100.0), (known, 100.0)):
        for number in range(300):
            at_s = start_s + number / 60
            job = make_job(1_000 + number, at_s + 1e3, arrived_s=at_s)
            scheduler.add(job, at_s)
            scheduler.cancel(job.id)
    assert answers_per_s(known, 105.0) == 0.0
    assert answers_per_s(slow, 105.0) > 0.0


def test_a_refusal_tells_the_present_price():
    scheduler = make_scheduler()

    def fill():
        for number in range(10_000):
            scheduler.add(make_job(number, 0.02), 0.0)

    with pytest.raises(Overloaded) as refusal:
        fill()
    assert refusal.value.price == scheduler.load(0.0).price != EnginePrice()
