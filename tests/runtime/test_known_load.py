"""What a device remembers of its cloud's reports."""

import dataclasses

import pytest

from janus_vit.planning.price import LARGEST_PRICE, EnginePrice
from janus_vit.runtime.known_load import KnownLoad, price_factor

PRICE = EnginePrice(1e-3, 1e-3, 1e-4, 1e-5, answers_per_s=8.0)


def answers_per_s(load, now_s):
    return load.price(now_s).answers_per_s


def test_before_the_first_report_the_cloud_is_idle_and_free():
    load = KnownLoad("camera")
    assert load.queue_s(5.0) == 0.0
    assert load.price(5.0) == EnginePrice()


def test_the_wait_counts_down_and_an_absurd_one_is_limited():
    load = KnownLoad("camera")
    load.learn(0.5, None, 1.0)
    assert load.queue_s(1.2) == pytest.approx(0.3)
    assert load.queue_s(2.0) == 0.0
    load.learn(1e6, None, 3.0)
    assert load.queue_s(3.0) == pytest.approx(10.0)


def test_a_wait_without_news_is_believed_for_two_seconds():
    load = KnownLoad("camera")
    load.learn(9.0, None, 1.0)
    assert load.queue_s(3.0) == pytest.approx(7.0)
    assert load.queue_s(3.1) == 0.0


def test_waits_do_not_count_after_a_wrong_one_until_the_cloud_refuses_a_frame():
    notes = []
    load = KnownLoad("camera", notes.append)
    load.learn(9.0, None, 1.0)
    load.compare(sent_s=2.0, ended_s=2.25)
    assert notes == ["load: an answer came 7.75 s before the end of the wait that the cloud had reported"]
    load.learn(9.0, None, 2.5)
    assert load.queue_s(2.5) == 0.0
    load.learn(9.0, None, 3.0, refused=True)
    assert load.queue_s(3.0) == 9.0


@pytest.mark.parametrize(("sent_s", "ended_s"), [(0.5, 1.5), (9.0, 9.75)], ids=["sent before", "half a second"])
def test_an_answer_that_proves_nothing_changes_nothing(sent_s, ended_s):
    notes = []
    load = KnownLoad("camera", notes.append)
    load.learn(9.0, None, 1.0)
    load.compare(sent_s, ended_s)
    assert load.queue_s(1.5) == 8.5
    assert notes == []


def test_reports_that_cannot_be_right_are_noted():
    notes = []
    load = KnownLoad("camera", notes.append)
    load.learn(61.0, dataclasses.replace(PRICE, answers_per_s=1e300), 0.0)
    load.learn(60.0, PRICE, 1.0)
    assert notes == [
        "load: expected wait of 61 s, but no request waits longer than 60 s",
        "load: price of 1e+300, but none is above 10000",
    ]


def test_each_device_has_its_own_price_and_keeps_its_factor():
    prices = []
    for number in range(300):
        load = KnownLoad(f"camera-{number}")
        load.learn(0.0, PRICE, 1.0)
        assert answers_per_s(load, 1.0) == PRICE.answers_per_s * price_factor(f"camera-{number}")
        assert dataclasses.replace(load.price(1.0), answers_per_s=8.0) == PRICE
        prices.append(answers_per_s(load, 1.0))
    least, most = 4.0, 16.0
    assert all(least <= price <= most for price in prices)
    below = [sum(price < each for price in prices) for each in (8.0 / 2**0.5, 8.0, 8.0 * 2**0.5)]
    assert all(abs(count - expected) < 30 for count, expected in zip(below, (75, 150, 225), strict=True))


def test_a_price_is_forgotten_without_news_but_not_within_a_second():
    load = KnownLoad("camera")
    load.learn(0.0, PRICE, 10.0)
    told = answers_per_s(load, 10.0)
    assert answers_per_s(load, 11.0) == told
    assert answers_per_s(load, 14.0) == pytest.approx(told / 2)
    assert answers_per_s(load, 17.0) == pytest.approx(told / 4)
    assert answers_per_s(load, 100.0) == 0.0
    assert load.price(100.0).token_s == PRICE.token_s
    load.learn(0.0, PRICE, 100.0)
    assert answers_per_s(load, 100.0) == told


def test_a_report_that_is_older_than_the_last_one_is_ignored():
    load = KnownLoad("camera")
    load.learn(0.5, PRICE, 2.0)
    load.learn(0.0, EnginePrice(), 1.0)
    assert load.queue_s(2.0) == 0.5
    assert answers_per_s(load, 2.0) > 0


def test_a_report_without_a_price_leaves_the_last_one():
    load = KnownLoad("camera")
    load.learn(0.0, PRICE, 2.0)
    told = answers_per_s(load, 2.0)
    load.learn(0.5, None, 2.5)
    assert load.queue_s(2.5) == 0.5
    assert answers_per_s(load, 2.5) == told


def test_an_absurd_price_is_limited():
    load = KnownLoad("camera")
    load.learn(0.0, dataclasses.replace(PRICE, answers_per_s=1e300), 0.0)
    assert answers_per_s(load, 0.0) == LARGEST_PRICE
