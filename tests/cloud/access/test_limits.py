"""What one caller may use: plain numbers and a clock that the test sets."""

import pytest

from janus_vit.cloud.access.limits import INVALID_CALLS, Ledger, Limits, TooManyCalls, receive_limit_s
from janus_vit.cloud.access.memory import limits_of, limits_of_strangers
from janus_vit.errors import Rejected
from janus_vit.scheduling.config import CloudConfig

LIMITS = Limits(calls=6, calls_per_client=3, calls_per_s=10.0, memory_bytes=1_000, memory_per_client_bytes=400)


def begin(ledger, name, size_bytes=1, now_s=0.0):
    ledger.begin(name, size_bytes, now_s)


def test_one_caller_holds_its_share_of_open_calls_and_leaves_the_rest():
    ledger = Ledger(LIMITS)
    for _ in range(3):
        begin(ledger, "flood")
    with pytest.raises(Rejected, match="flood already has 3 calls open"):
        begin(ledger, "flood")
    begin(ledger, "honest")
    ledger.end("flood", 1)
    begin(ledger, "flood")


def test_one_caller_holds_its_share_of_memory_and_leaves_the_rest():
    ledger = Ledger(LIMITS)
    begin(ledger, "flood", 300)
    with pytest.raises(Rejected, match="flood already uses 300 bytes"):
        begin(ledger, "flood", 101)
    begin(ledger, "flood", 100)
    begin(ledger, "honest", 400)


def test_all_callers_together_hold_no_more_than_the_memory():
    ledger = Ledger(LIMITS)
    for name in ("a", "b"):
        begin(ledger, name, 400)
    with pytest.raises(Rejected, match="too many requests in flight"):
        begin(ledger, "c", 201)
    begin(ledger, "c", 200)
    ledger.end("a", 400)
    begin(ledger, "d", 400)


def test_a_rate_is_saved_up_for_a_second_and_no_longer():
    ledger = Ledger(LIMITS)

    def calls_at(now_s):
        count = 0
        while count < 100:
            try:
                begin(ledger, "flood", now_s=now_s)
            except TooManyCalls:
                return count
            ledger.end("flood", 1)
            count += 1
        return count

    assert [calls_at(now_s) for now_s in (0.0, 0.0, 0.5, 60.0)] == [10, 0, 5, 10]


def test_decoding_and_bad_requests_count_as_more_calls():
    ledger = Ledger(LIMITS)
    begin(ledger, "heavy")
    ledger.charge("heavy", decode_s=0.009, more_calls=0.0)
    begin(ledger, "bad")
    ledger.charge("bad", decode_s=0.0, more_calls=INVALID_CALLS)
    for name in ("heavy", "bad"):
        with pytest.raises(TooManyCalls, match="10 calls a second"):
            begin(ledger, name)
    begin(ledger, "heavy", now_s=0.2)
    with pytest.raises(TooManyCalls):
        begin(ledger, "bad", now_s=0.2)


def test_who_asks_above_a_limit_without_waiting_for_answers_uses_up_its_calls_sooner():
    ledger = Ledger(LIMITS)
    for _ in range(LIMITS.calls_per_client):
        begin(ledger, "eager")
    with pytest.raises(Rejected, match="already has 3 calls open"):
        begin(ledger, "eager")
    for _ in range(2):
        ledger.end("eager", 1)
        begin(ledger, "eager")
    with pytest.raises(TooManyCalls):  # 5 of them, and 5 for the one above the limit
        begin(ledger, "eager")


def test_who_is_refused_because_of_others_keeps_its_calls():
    ledger = Ledger(LIMITS)
    for name in ("a", "b"):
        for _ in range(LIMITS.calls_per_client):
            begin(ledger, name)
    for _ in range(10):
        with pytest.raises(Rejected, match="the cloud has too many requests in flight"):
            begin(ledger, "modest")
    with pytest.raises(TooManyCalls):
        begin(ledger, "modest")


def test_callers_that_ask_for_nothing_are_forgotten():
    ledger = Ledger(Limits(10**6, 3, 10.0, 10**9, 400))
    begin(ledger, "stays")
    for number in range(20_000):
        begin(ledger, f"caller {number}", now_s=number)
        ledger.end(f"caller {number}", 1)
    assert len(ledger._accounts) <= 4_096
    assert ledger._accounts["stays"].calls == 1


def test_a_message_may_take_as_long_as_a_slow_link_needs():
    assert receive_limit_s(1_000) == pytest.approx(2.0, abs=0.1)
    assert receive_limit_s(125_000) == 4.0
    assert receive_limit_s(10**9) == 10.0


def test_limits_follow_the_memory_and_the_number_of_processes():
    gigabyte, body_bytes = 10**9, 2_400_000
    calls, connections = limits_of(CloudConfig(memory_bytes=4 * gigabyte), body_bytes)
    assert (calls.memory_bytes, calls.memory_per_client_bytes) == (2 * gigabyte, gigabyte // 4)
    assert 64 < connections.total <= 1_024
    split, _ = limits_of(CloudConfig(memory_bytes=4 * gigabyte, ingest_processes=4), body_bytes)
    assert split.memory_bytes == calls.memory_bytes // 4
    poor, few = limits_of(CloudConfig(memory_bytes=1), body_bytes)
    assert (poor.memory_bytes, few.total) == (8 * 3 * body_bytes, 64)


@pytest.mark.parametrize(("memory_bytes", "calls"), [(1 << 33, 64), (1 << 25, 8)])
def test_health_checks_of_all_strangers_hold_no_more_than_one_caller(memory_bytes, calls):
    body_bytes = 1 << 20
    limits, _ = limits_of(CloudConfig(memory_bytes=memory_bytes), body_bytes)
    strangers = limits_of_strangers(limits, body_bytes)
    assert strangers.calls == calls
    assert strangers.calls * body_bytes <= max(limits.memory_per_client_bytes, 8 * body_bytes)
    assert strangers.calls_per_client < strangers.calls
