"""Which jobs the cloud takes."""

import dataclasses

import pytest
from scheduled_jobs import BLOCKS, OPEN, ids, make_job, make_scheduler, seconds

from janus_vit.errors import Overloaded, Rejected
from janus_vit.scheduling.job import Job
from janus_vit.simulation.replay import End, replay

STRICT = dataclasses.replace(OPEN, waiting_per_client=4, waiting_total=64)


def in_time_by_client(result):
    counts = {}
    for outcome in result.outcomes:
        if outcome.end is End.IN_TIME:
            counts[outcome.job.client] = counts.get(outcome.job.client, 0) + 1
    return counts


def fill(scheduler, deadline_s, *, prefix="other", each=1):
    """Add jobs of other clients until one does not fit; gives how many were taken."""
    for number in range(10_000):
        client = f"{prefix}-{number // each}"
        try:
            scheduler.add(make_job(100 + number, deadline_s, client=client), 0.0)
        except Overloaded:
            return number
    raise AssertionError("never full")


def test_a_job_that_cannot_be_in_time_is_refused_with_its_wait():
    scheduler = make_scheduler()
    fill(scheduler, 0.02)
    wait_s = scheduler.load(0.0).expected_wait_s
    with pytest.raises(Overloaded, match=r"cannot answer in time: expected wait .* ms and compute 2\.1 ms") as refusal:
        scheduler.add(make_job(1, 0.02, client="other-0"), 0.0)
    assert refusal.value.expected_wait_s == wait_s > 5e-3


def test_a_job_that_is_late_even_alone_is_refused():
    with pytest.raises(Overloaded, match=r"expected wait 0\.0 ms and compute 2\.1 ms, but 2\.0 ms are left"):
        make_scheduler().add(make_job(1, 2e-3), 0.0)


def test_the_answer_has_to_be_ready_some_time_before_the_deadline():
    scheduler = make_scheduler(dataclasses.replace(OPEN, safety_s=1e-3))
    scheduler.add(make_job(1, 3.2e-3), 0.0)
    with pytest.raises(Overloaded):
        make_scheduler(dataclasses.replace(OPEN, safety_s=1e-3)).add(make_job(1, 3e-3), 0.0)


def test_all_that_are_taken_are_in_time():
    scheduler = make_scheduler()
    taken = fill(scheduler, 0.05)
    result = replay(scheduler, [], seconds)
    assert len(result.outcomes) == taken > 200
    assert result.share(End.IN_TIME) == 1.0


def test_a_job_is_refused_rather_than_making_an_admitted_one_late():
    scheduler = make_scheduler()
    taken = fill(scheduler, 0.05)
    with pytest.raises(Overloaded):
        scheduler.add(make_job(1, 0.045, client="new"), 0.0)
    assert scheduler.load(0.0).waiting == taken


def test_a_client_has_a_limit():
    scheduler = make_scheduler(STRICT)
    for number in range(4):
        scheduler.add(make_job(number), 0.0)
    with pytest.raises(Rejected, match="client 'a' already has 4 requests waiting: wait for answers"):
        scheduler.add(make_job(4), 0.0)
    scheduler.cancel(2)
    scheduler.add(make_job(4), 0.0)


def test_a_running_job_counts_towards_the_limit():
    scheduler = make_scheduler(dataclasses.replace(STRICT, waiting_per_client=1))
    scheduler.add(make_job(1), 0.0)
    scheduler.next_batch(0.0)
    with pytest.raises(Rejected, match="already has 1 requests waiting"):
        scheduler.add(make_job(2), 0.0)


def test_a_full_cloud_says_so():
    scheduler = make_scheduler(STRICT)
    for number in range(64):
        scheduler.add(make_job(number, client=f"client-{number}"), 0.0)
    with pytest.raises(Overloaded, match="the cloud already has 64 requests waiting, and one more would wait 10 ms"):
        scheduler.add(make_job(64, client="new"), 0.0)


def test_the_newest_job_of_the_client_that_holds_most_makes_room():
    scheduler = make_scheduler(STRICT)
    for number in range(64):
        scheduler.add(make_job(number, client=f"client-{number // 2}" if number > 7 else f"client-{number // 4}"), 0.0)
    evicted = scheduler.add(make_job(64, client="new"), 0.0)
    assert ids(evicted) == [3]
    assert scheduler.load(0.0).waiting == 64


def test_nobody_makes_room_for_a_client_that_holds_as_much():
    scheduler = make_scheduler(STRICT)
    for number in range(64):
        scheduler.add(make_job(number, client=f"client-{number // 2}"), 0.0)
    with pytest.raises(Overloaded):
        scheduler.add(make_job(64, client="client-0"), 0.0)


def test_a_running_job_never_makes_room():
    scheduler = make_scheduler(dataclasses.replace(STRICT, waiting_total=2))
    scheduler.add(make_job(1, client="heavy"), 0.0)
    scheduler.add(make_job(2, client="heavy"), 0.0)
    scheduler.next_batch(0.0)
    with pytest.raises(Overloaded):
        scheduler.add(make_job(3, client="new"), 0.0)


def test_asking_changes_nothing():
    scheduler = make_scheduler(STRICT)
    for number in range(64):
        scheduler.add(make_job(number, client=f"client-{number // 4}"), 0.0)
    before = scheduler.load(0.0)
    scheduler.check(make_job(64, client="new"), 0.0)
    with pytest.raises(Rejected):
        scheduler.check(make_job(65, client="client-0"), 0.0)
    assert scheduler.load(0.0) == before
    assert len(scheduler.next_batch(0.0).jobs) == 32


def flood(polite_hz, flood_hz, seconds_long, clients):
    """Arrivals of one client that floods and of others that send at a steady rate."""
    arrivals = [("flood", index / flood_hz) for index in range(int(seconds_long * flood_hz))]
    for client in range(clients):
        offset_s = client / polite_hz / clients
        arrivals += [
            (f"polite-{client}", offset_s + index / polite_hz) for index in range(int(seconds_long * polite_hz))
        ]
    arrivals.sort(key=lambda arrival: arrival[1])
    return [
        Job(number, client, at_s, at_s + 0.03, 0, (50,) * (BLOCKS + 1))
        for number, (client, at_s) in enumerate(arrivals)
    ]


@pytest.mark.parametrize("limit", [4, 1_000])
def test_a_flood_takes_nothing_from_others(limit):
    scheduler = make_scheduler(dataclasses.replace(OPEN, waiting_per_client=limit))
    jobs = flood(polite_hz=50, flood_hz=20_000, seconds_long=0.5, clients=40)
    by_client = in_time_by_client(replay(scheduler, jobs, seconds))
    assert min(by_client.get(f"polite-{client}", 0) for client in range(40)) >= 24
    assert by_client["flood"] > 50


def test_clients_that_ask_for_too_much_get_equal_parts():
    scheduler = make_scheduler(dataclasses.replace(OPEN, waiting_per_client=1_000))
    jobs = flood(polite_hz=600, flood_hz=12_000, seconds_long=0.5, clients=15)
    by_client = in_time_by_client(replay(scheduler, jobs, seconds))
    polite = [by_client.get(f"polite-{client}", 0) for client in range(15)]
    assert min(polite) > 0.6 * max(polite)
    assert by_client["flood"] < 1.5 * max(polite)
