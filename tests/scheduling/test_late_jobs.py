"""Jobs that will be late: an idle engine runs them for clients that still wait, a busy one refuses them at once."""

import dataclasses

import pytest
from scheduled_jobs import FIXED_S, PER_FRAME_S, ids, make_job, make_scheduler, seconds

from janus_vit.errors import Overloaded
from janus_vit.simulation.replay import End, replay

ALONE_S = FIXED_S + PER_FRAME_S


def late_job(number, *, abandoned_s, arrived_s=0.0, client="late"):
    """A job whose deadline is too near for any engine."""
    job = make_job(number, arrived_s + ALONE_S / 2, client=client, arrived_s=arrived_s)
    return dataclasses.replace(job, abandoned_s=abandoned_s)


def test_an_idle_engine_answers_late_rather_than_never():
    result = replay(make_scheduler(), [late_job(1, abandoned_s=1.0)], seconds)
    assert [outcome.end for outcome in result.outcomes] == [End.LATE]


def test_a_job_that_nobody_waits_for_is_refused():
    scheduler = make_scheduler()
    for abandoned_s in (0.0, ALONE_S / 2, ALONE_S * 0.9):
        with pytest.raises(Overloaded, match="cannot answer in time"):
            scheduler.add(late_job(1, abandoned_s=abandoned_s), 0.0)


def test_a_busy_engine_refuses_a_job_that_will_be_late():
    scheduler = make_scheduler()
    scheduler.add(make_job(1), 0.0)
    for step in (scheduler.check, scheduler.add):
        with pytest.raises(Overloaded, match="cannot answer in time"):
            step(late_job(2, abandoned_s=1.0), 0.0)
    scheduler.next_batch(0.0)
    with pytest.raises(Overloaded):
        scheduler.add(late_job(2, abandoned_s=1.0), 0.0)


def test_a_late_job_does_not_make_a_job_in_time_late():
    scheduler = make_scheduler()
    scheduler.add(late_job(1, abandoned_s=1.0), 0.0)
    scheduler.add(make_job(2, 1.2 * ALONE_S, client="urgent"), 0.0)
    batch = scheduler.next_batch(0.0)
    assert 2 in ids(batch.jobs)


def test_the_patience_of_a_client_changes_nothing_for_a_job_that_can_be_in_time():
    patient = dataclasses.replace(make_job(1, 5 * ALONE_S), abandoned_s=1.0)
    scheduler = make_scheduler()
    scheduler.add(patient, 0.0)
    assert ids(scheduler.expire(4.5 * ALONE_S)) == [1]
