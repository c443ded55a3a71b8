"""A client with many requests does not take the engine from others, whatever deadlines it claims."""

from contextlib import suppress

import pytest
from scheduled_jobs import make_job, make_scheduler, seconds

from janus_vit.errors import Rejected
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.fairness import EngineShares

FRAME_S = 0.02
ONE_BY_ONE, BATCHES = CloudConfig(safety_s=0.0).one_by_one(), CloudConfig(safety_s=0.0)


def waits(config, claimed_s, from_s=0.6, until_s=6.0):
    """How long a modest client waits for its answers, ten a second, beside one that asks all the time."""
    scheduler, now_s, number, asks_s, found = make_scheduler(config, 0.0, FRAME_S), 0.0, 0, 0.05, []
    while now_s < until_s:
        for _ in range(config.waiting_per_client):
            number += 1
            try:
                scheduler.add(make_job(number, now_s + claimed_s, client="flood", arrived_s=now_s), now_s)
            except Rejected:
                break
        batch = scheduler.next_batch(now_s)
        assert batch is not None
        ends_s = now_s + seconds(batch, 0.0, FRAME_S)
        while asks_s < ends_s:  # while the batch runs
            number += 1
            scheduler.add(make_job(number, asks_s + 0.3, client="modest", arrived_s=asks_s), asks_s)
            asks_s += 0.1
        now_s = ends_s
        found += [(job, now_s - job.arrived_s) for job in scheduler.finish(batch, now_s) if job.client == "modest"]
        assert "modest" not in [job.client for job in scheduler.expire(now_s)]
    return [wait_s for job, wait_s in found if job.arrived_s > from_s]


@pytest.mark.parametrize("claimed_s", [0.025, 0.06, 0.3, 1.0])
@pytest.mark.parametrize("config", [ONE_BY_ONE, BATCHES], ids=["one by one", "batches"])
def test_a_modest_client_waits_for_a_part_of_the_running_frame_alone(config, claimed_s):
    found = waits(config, claimed_s)
    assert len(found) > 45
    assert max(found) <= (1 + 1 / 6) * FRAME_S + 1e-9 if config is ONE_BY_ONE else max(found) <= 6 * FRAME_S


@pytest.mark.parametrize("claimed_s", [0.025, 0.06, 0.08])
def test_a_flood_of_urgent_frames_keeps_others_waiting_for_moments_alone(claimed_s):
    found = waits(ONE_BY_ONE, claimed_s, from_s=0.0)
    assert max(found) <= 4.5 * FRAME_S + 1e-9  # what waited when the flood was alone, and not up to their deadline
    assert sum(wait_s > (1 + 1 / 6) * FRAME_S + 1e-9 for wait_s in found) <= 2


def test_frames_of_a_greedy_client_run_in_parts_and_each_is_answered():
    scheduler, now_s, complete, stops = make_scheduler(ONE_BY_ONE, 0.0, FRAME_S), 0.0, [], set()
    for number in range(200):
        scheduler.add(make_job(number, now_s + 1.0, client="flood", arrived_s=now_s), now_s)
        if number % 20 == 0:
            scheduler.add(make_job(1_000 + number, now_s + 1.0, client="modest", arrived_s=now_s), now_s)
        while (batch := scheduler.next_batch(now_s)) is not None:
            now_s += seconds(batch, 0.0, FRAME_S)
            stops.add(batch.stop)
            complete += scheduler.finish(batch, now_s)
    assert stops == {2, 4, 6, 8, 10, 12}
    assert sorted(job.id for job in complete) == [*range(200), *range(1_000, 1_200, 20)]


def test_a_client_alone_or_one_of_an_idle_engine_is_never_greedy():
    shares = EngineShares()
    for tick in range(100):
        shares.asks("a", tick / 10)
        shares.used("a", 0.1, tick / 10)
    assert not shares.greed("a", FRAME_S, 10.0)
    shares.asks("b", 10.0)
    assert shares.greed("a", FRAME_S, 10.2)
    assert not shares.greed("b", FRAME_S, 10.2)
    shares.asks("a", 13.0)
    shares.asks("b", 13.0)
    assert not shares.greed("a", FRAME_S, 13.0)  # the engine has been idle since


def test_of_two_greedy_clients_the_one_that_used_more_is_served_later():
    shares = EngineShares()
    for tick in range(40):
        for client, engine_s in (("more", 0.055), ("less", 0.05)):
            shares.asks(client, tick / 10)
            shares.used(client, engine_s, tick / 10)
    assert shares.greed("more", FRAME_S, 3.9) > shares.greed("less", FRAME_S, 3.9) > 0


def test_devices_that_share_a_busy_engine_evenly_are_not_greedy():
    shares = EngineShares()
    for tick in range(900):
        client = f"device {tick % 30}"
        shares.asks(client, tick / 100)
        shares.used(client, 0.01, tick / 100)
        assert not shares.greed(client, 0.01, tick / 100)


def test_a_client_whose_single_frames_are_large_is_not_greedy_among_many():
    shares = EngineShares()
    for tick in range(80):  # each of 64 clients asks twice a second; one of them gets 6 % of a busy engine
        for number in range(64):
            shares.asks(f"device {number}", tick / 2)
        shares.used("device 1", 0.45, tick / 2)
        shares.used("device 0", 0.032, tick / 2 + 0.05)
        assert not shares.greed("device 0", 0.032, tick / 2 + 0.1)
        assert tick == 0 or shares.greed("device 1", 0.032, tick / 2 + 0.1)


def test_a_slow_camera_keeps_its_answers_although_many_others_ask_for_more_than_the_engine_can_do():
    scheduler, now_s, answered = make_scheduler(ONE_BY_ONE, 0.0, FRAME_S), 0.0, 0
    asked = [(tick / 2, "slow", 0.5) for tick in range(20)]
    asked += [(tick / 1_000, f"device {tick % 90}", 0.2) for tick in range(0, 10_000, 7)]
    for number, (asks_s, client, left_s) in enumerate(sorted(asked)):
        while now_s < asks_s and (batch := scheduler.next_batch(now_s)) is not None:
            now_s += seconds(batch, 0.0, FRAME_S)
            answered += sum(job.client == "slow" for job in scheduler.finish(batch, now_s))
            scheduler.expire(now_s)
        now_s = max(now_s, asks_s)
        with suppress(Rejected):
            scheduler.add(make_job(number, asks_s + left_s, client=client, arrived_s=asks_s), now_s)
    assert answered >= 19  # of 20; the last one may still run
