"""What the scheduler runs, case by case."""

import dataclasses

import pytest
from scheduled_jobs import BLOCKS, OPEN, ids, make_job, make_scheduler, seconds

from janus_vit.errors import Overloaded
from janus_vit.simulation.replay import End, replay

ENTRIES = dataclasses.replace(OPEN, entry_blocks=(6,))


def run(scheduler, now_s):
    """Run one batch; gives it, its end, and the jobs that are complete."""
    batch = scheduler.next_batch(now_s)
    end_s = now_s + seconds(batch)
    return batch, end_s, ids(scheduler.finish(batch, end_s))


def test_an_idle_engine_runs_at_once_what_comes():
    scheduler = make_scheduler()
    assert scheduler.next_batch(0.0) is None
    assert scheduler.wake_s is None
    scheduler.add(make_job(1), 0.5)
    batch = scheduler.next_batch(0.5)
    assert (ids(batch.jobs), batch.start, batch.stop) == ([1], 0, 4)


def test_a_wave_stops_at_each_entry_block_and_ends_with_the_answer():
    scheduler = make_scheduler(ENTRIES)
    scheduler.add(make_job(1), 0.0)
    batch, now_s, complete = run(scheduler, 0.0)
    assert (batch.start, batch.stop, complete) == (0, 6, [])
    batch, now_s, complete = run(scheduler, now_s)
    assert (batch.start, batch.stop, complete) == (6, 12, [1])
    assert now_s == pytest.approx(2.1e-3)
    assert scheduler.next_batch(now_s) is None


def test_those_who_wait_at_an_entry_block_join_the_wave():
    scheduler = make_scheduler(ENTRIES)
    scheduler.add(make_job(1), 0.0)
    scheduler.add(make_job(2, entry=6, tokens=20), 0.0)
    batch, now_s, _ = run(scheduler, 0.0)
    assert ids(batch.jobs) == [1]
    batch, _, complete = run(scheduler, now_s)
    assert (batch.start, complete) == (6, [1, 2])


def test_a_wave_stops_where_others_wait_between_entry_blocks():
    scheduler = make_scheduler(ENTRIES)
    scheduler.add(make_job(1), 0.0)
    scheduler.add(make_job(2, entry=4), 0.0)
    batch, now_s, _ = run(scheduler, 0.0)
    assert (ids(batch.jobs), batch.stop) == ([1], 4)
    batch, _, _ = run(scheduler, now_s)
    assert (ids(batch.jobs), batch.start, batch.stop) == ([1, 2], 4, 6)


def test_a_stop_that_nobody_waits_at_is_left_out_where_the_segment_is_short():
    short = make_scheduler(dataclasses.replace(ENTRIES, least_segment_s=1e9))
    short.add(make_job(1), 0.0)
    batch, _, done = run(short, 0.0)
    assert (batch.start, batch.stop, done) == (0, 12, [1])
    waited = make_scheduler(dataclasses.replace(ENTRIES, least_segment_s=1e9))
    waited.add(make_job(1), 0.0)
    waited.add(make_job(2, entry=6), 0.0)
    assert run(waited, 0.0)[0].stop == 6


def test_new_jobs_wait_for_the_running_wave():
    scheduler = make_scheduler(ENTRIES)
    scheduler.add(make_job(1), 0.0)
    _, now_s, _ = run(scheduler, 0.0)
    scheduler.add(make_job(2), now_s)
    batch, now_s, _ = run(scheduler, now_s)
    assert ids(batch.jobs) == [1]
    assert ids(run(scheduler, now_s)[0].jobs) == [2]


def test_a_new_job_without_time_overtakes_the_running_wave():
    scheduler = make_scheduler(ENTRIES)
    scheduler.add(make_job(1), 0.0)
    _, now_s, _ = run(scheduler, 0.0)
    scheduler.add(make_job(2, now_s + 2.2e-3), now_s)
    assert ids(scheduler.next_batch(now_s).jobs) == [2]


def test_a_job_without_time_does_not_wait_for_those_behind():
    scheduler = make_scheduler(ENTRIES)
    scheduler.add(make_job(1), 0.0)
    scheduler.add(make_job(2, 1.2e-3, entry=6), 0.0)
    batch = scheduler.next_batch(0.0)
    assert (ids(batch.jobs), batch.start) == ([2], 6)


def test_a_full_batch_ahead_runs_before_those_behind():
    scheduler = make_scheduler(ENTRIES)
    for number in range(40):
        scheduler.add(make_job(number, 1.0 + number, entry=6), 0.0)
    scheduler.add(make_job(100), 0.0)
    assert ids(scheduler.next_batch(0.0).jobs) == list(range(32))


def test_the_earliest_deadlines_run_first():
    scheduler = make_scheduler()
    for number in range(50):
        scheduler.add(make_job(number, 1.0 - 0.01 * number), 0.0)
    assert ids(scheduler.next_batch(0.0).jobs) == list(range(49, 17, -1))


def test_a_tight_deadline_among_loose_ones_runs_in_a_small_batch():
    scheduler = make_scheduler()
    for number in range(20):
        scheduler.add(make_job(number, 1.0), 0.0)
    scheduler.add(make_job(20, 2.55e-3), 0.0)
    batch = scheduler.next_batch(0.0)
    assert batch.jobs[0].id == 20
    assert len(batch.jobs) == 5


def test_a_deadline_that_forces_small_batches_is_given_up_where_others_would_be_late():
    scheduler = make_scheduler()
    scheduler.add(make_job(0, 2.15e-3), 0.0)
    for number in range(1, 21):
        scheduler.add(make_job(number, 4.1e-3), 0.0)
    batch = scheduler.next_batch(0.0)
    assert ids(batch.jobs) == list(range(1, 21))
    assert ids(scheduler.expire(0.0)) == [0]


def test_a_batch_keeps_to_its_tokens():
    scheduler = make_scheduler(dataclasses.replace(OPEN, max_batch_tokens=1_000))
    for number, tokens in enumerate((300, 600, 200, 2_000)):
        scheduler.add(make_job(number, 1.0 + number, tokens=tokens), 0.0)
    batches = [ids(batch.jobs) for batch, _ in replay(scheduler, [], seconds).batches if batch.start == 0]
    assert batches == [[0, 1], [2], [3]]


def test_a_job_at_the_last_block_needs_only_the_head():
    scheduler = make_scheduler()
    scheduler.add(make_job(1, entry=BLOCKS), 0.0)
    batch = scheduler.next_batch(0.0)
    assert (batch.start, batch.stop) == (BLOCKS, BLOCKS)
    assert ids(scheduler.finish(batch, 0.001)) == [1]


def test_a_waiting_job_is_cancelled_at_once():
    scheduler = make_scheduler()
    scheduler.add(make_job(1), 0.0)
    assert scheduler.cancel(1)
    assert not scheduler.cancel(1)
    assert scheduler.next_batch(0.0) is None


@pytest.mark.parametrize("entry", [0, 8])
def test_a_running_job_is_cancelled_at_the_end_of_its_segment(entry):
    scheduler = make_scheduler()
    scheduler.add(make_job(1, entry=entry), 0.0)
    scheduler.add(make_job(2, entry=entry), 0.0)
    batch = scheduler.next_batch(0.0)
    assert scheduler.cancel(1)
    complete = ids(scheduler.finish(batch, 0.001))
    assert complete == ([2] if entry == 8 else [])
    assert scheduler.load(0.001).waiting == (0 if entry == 8 else 1)


def test_a_failed_job_is_forgotten_and_the_others_go_on():
    scheduler = make_scheduler()
    scheduler.add(make_job(1), 0.0)
    scheduler.add(make_job(2), 0.0)
    batch = scheduler.next_batch(0.0)
    assert scheduler.finish(batch, 0.001, failed=[1]) == ()
    assert ids(scheduler.next_batch(0.001).jobs) == [2]


def test_a_job_that_can_no_longer_be_in_time_expires():
    scheduler = make_scheduler()
    scheduler.add(make_job(1, 2.5e-3), 0.0)
    assert scheduler.expire(3e-4) == ()
    assert ids(scheduler.expire(5e-4)) == [1]
    assert scheduler.next_batch(5e-4) is None


def test_a_job_expires_between_segments():
    scheduler = make_scheduler(ENTRIES)
    scheduler.add(make_job(1, 2.5e-3), 0.0)
    batch = scheduler.next_batch(0.0)
    scheduler.finish(batch, 2e-3)  # twice as long as predicted
    assert ids(scheduler.expire(2e-3)) == [1]


def test_predictions_follow_a_slow_engine():
    scheduler = make_scheduler()
    job = make_job(9, 3e-3)
    scheduler.check(job, 0.0)
    for number in range(3):
        scheduler.add(make_job(number), 0.0)
        batch = scheduler.next_batch(0.0)
        scheduler.finish(batch, 2 * seconds(batch), failed=[number])
    late = dataclasses.replace(job, arrived_s=0.1, deadline_s=0.103)
    with pytest.raises(Overloaded, match=r"compute 4\.2 ms"):
        scheduler.check(late, 0.1)


def test_the_load_grows_with_what_waits_and_is_forgotten_with_time():
    scheduler = make_scheduler()
    waits = []
    for number in range(60):
        scheduler.add(make_job(number, 1.0 + 0.01 * (number % 7), entry=4 * (number % 3)), 0.0)
        waits.append(scheduler.load(0.0).expected_wait_s)
    assert waits == sorted(waits)
    assert waits[0] > 0
    replay(scheduler, [], seconds)
    idle = scheduler.load(1.0)
    assert (idle.expected_wait_s, idle.waiting, idle.busy) == (0.0, 0, False)


def test_the_load_counts_the_rest_of_the_running_batch():
    scheduler = make_scheduler(dataclasses.replace(OPEN, entry_blocks=(0,)))
    scheduler.add(make_job(1), 0.0)
    scheduler.next_batch(0.0)
    assert scheduler.load(0.0005).expected_wait_s == pytest.approx(1.6e-3)
    assert scheduler.load(0.0005).busy


def test_the_expected_wait_is_at_most_ten_seconds():
    config = dataclasses.replace(OPEN, longest_wait_s=1_000.0)
    scheduler = make_scheduler(config, fixed_s=0.0, per_frame_s=1.0)
    for number in range(9):
        scheduler.add(make_job(number, 1_000.0), 0.0)
    assert scheduler.load(0.0).expected_wait_s == pytest.approx(9.0)
    scheduler.next_batch(0.0)
    for number in range(10, 14):
        scheduler.add(make_job(number, 1_000.0), 0.0)
    assert scheduler.load(0.0).expected_wait_s == 10.0


def test_the_price_falls_as_batches_grow():
    scheduler = make_scheduler()
    alone = scheduler.load(0.0).price
    for number in range(200):
        scheduler.add(make_job(number), 0.0)
    replay(scheduler, [], seconds)
    assert scheduler.load(1.0).price.frame_s < alone.frame_s / 2


def test_an_engine_that_gains_nothing_from_batches_runs_frame_by_frame():
    scheduler = make_scheduler(fixed_s=0.0, per_frame_s=5e-3)
    for number in range(5):
        scheduler.add(make_job(number, 1.0 - 0.1 * number), 0.0)
    result = replay(scheduler, [], lambda batch: seconds(batch, 0.0, 5e-3))
    assert {len(batch.jobs) for batch, _ in result.batches} == {1}


def test_a_long_deadline_is_met_beside_a_stream_of_short_ones():
    """At 150 % of what the engine can do."""
    stream = [make_job(number, 1e-4 * number + 0.02, arrived_s=1e-4 * number) for number in range(20_000)]
    patient = make_job(99_999, 1.5, client="patient")
    result = replay(make_scheduler(), [patient, *stream], seconds)
    ends = {outcome.job.id: outcome.end for outcome in result.outcomes}
    assert ends[99_999] is End.IN_TIME


def test_a_job_without_a_deadline_is_served_after_the_longest_wait():
    config = dataclasses.replace(OPEN, longest_wait_s=0.5)
    stream = [make_job(number, 1e-4 * number + 0.02, arrived_s=1e-4 * number) for number in range(20_000)]
    patient = make_job(99_999, 1e9, client="patient")
    result = replay(make_scheduler(config), [patient, *stream], seconds)
    ends = {outcome.job.id: outcome for outcome in result.outcomes}
    assert ends[99_999].end is End.IN_TIME
    assert ends[99_999].latency_s <= 0.5
