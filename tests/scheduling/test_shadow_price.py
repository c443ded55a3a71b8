"""The price of engine seconds, on numbers alone: how it moves, and that a crowd that follows it settles."""

import numpy as np
import pytest

from janus_vit.planning.price import LARGEST_PRICE, LEAST_PRICE
from janus_vit.scheduling.shadow_price import ShadowPrice

FRAME_S, DEVICES, PERIOD_S = 0.005, 100, 0.2
STEP_S = 0.01


def feed(price, load, seconds, start_s=0.0, frame_s=FRAME_S, **options):
    """Let work arrive evenly; return the price after each arrival."""
    interval_s = frame_s / load
    prices = []
    for index in range(int(seconds / interval_s)):
        now_s = start_s + index * interval_s
        price.count(frame_s, now_s, **options)
        prices.append(price.at(now_s))
    return prices


def test_an_engine_with_time_to_spare_is_free():
    price = ShadowPrice()
    assert price.at(0.0) == 0.0
    assert set(feed(price, 0.8, 20.0)) == {0.0}


def test_the_price_rises_while_more_is_asked_for_than_the_engine_can_do():
    prices = feed(ShadowPrice(), 1.5, 10.0)
    assert prices[0] == 0.0
    paid = [each for each in prices if each]
    assert len(paid) > 0.8 * len(prices)
    assert paid == sorted(paid)
    assert paid[-1] > 50 * paid[0]


def test_the_first_price_is_below_what_devices_can_tell_apart():
    first = next(each for each in feed(ShadowPrice(), 1.2, 5.0) if each)
    assert first * FRAME_S < 1e-3


def test_a_crowd_raises_the_price_faster_than_a_few_too_many():
    few, crowd = feed(ShadowPrice(), 1.2, 3.0), feed(ShadowPrice(), 5.0, 3.0)
    assert crowd[-1] > 10 * few[-1]


@pytest.mark.parametrize("load", [3.0, 1e6])
def test_no_crowd_raises_the_price_without_limits(load):
    price = ShadowPrice()
    frame_s = load / 50
    before = 0.0
    for index in range(50 * 60):
        price.count(frame_s, index / 50)
        now = price.at(index / 50)
        assert now <= LARGEST_PRICE
        assert now < 20 * max(before, LEAST_PRICE)
        before = now
    assert before == LARGEST_PRICE


def test_an_idle_engine_is_free_again_within_seconds():
    price = ShadowPrice()
    high = feed(price, 3.0, 6.0)[-1]
    assert high > 1.0
    assert 0 < price.at(7.0) < high
    assert price.at(14.0) == 0.0


def test_the_price_stays_while_the_load_is_at_its_target():
    price = ShadowPrice()
    feed(price, 2.0, 4.0)
    prices = feed(price, 0.9, 10.0, start_s=4.0)
    settled = prices[len(prices) // 2 :]
    assert min(settled) > 0
    assert max(settled) < 1.5 * min(settled)


def test_the_same_arrivals_give_the_same_prices_however_often_they_are_asked_for():
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(FRAME_S / 1.1, 2_000))
    asked, silent = ShadowPrice(), ShadowPrice()
    for now_s in arrivals:
        asked.count(FRAME_S, now_s)
        asked.at(now_s)
        asked.at(now_s + 1e-4)
        silent.count(FRAME_S, now_s)
    assert asked.at(arrivals[-1] + 0.3) == silent.at(arrivals[-1] + 0.3) > 0


def test_a_pause_of_hours_leaves_the_price_as_new_at_once():
    price, new = ShadowPrice(), ShadowPrice()
    feed(price, 3.0, 4.0)
    hours_s = 1e5
    assert price.at(hours_s) == 0.0
    assert feed(price, 1.5, 5.0, start_s=hours_s)[-1] == pytest.approx(feed(new, 1.5, 5.0)[-1], rel=0.1)


class Crowd:
    """Devices that send while the price is below their thresholds, and know the price of their last report.

    Args:
        price: that they follow.
        thresholds: of the devices, in right answers per engine second.
        frame_s: engine seconds of a frame.
        report_s: time after which a device hears of the price again; it decides in each period.
    """

    def __init__(self, price, thresholds, frame_s, report_s=0.0):
        self.price, self.thresholds, self.frame_s = price, thresholds, frame_s
        self.report_s = max(report_s, PERIOD_S)
        count = len(thresholds)
        self.known = np.zeros(count)
        self.active = np.ones(count, bool)
        self.next_s = PERIOD_S * np.arange(count) / count
        self.news_s = self.next_s.copy()
        self.now_s = 0.0

    def run(self, seconds):
        """Engine seconds asked for in each second of every half second."""
        loads = []
        for _ in range(round(seconds / 0.5)):
            end_s, work_s = self.now_s + 0.5, 0.0
            while self.now_s < end_s - 1e-9:
                work_s += self._step()
                self.now_s += STEP_S
            loads.append(work_s / 0.5)
        return np.array(loads)

    def _step(self):
        due = self.active & (self.next_s <= self.now_s)
        sends = due & (self.known < self.thresholds)
        for _ in range(sends.sum()):
            self.price.count(self.frame_s, self.now_s)
        news = due & (sends | (self.news_s <= self.now_s))
        self.known[news] = self.price.at(self.now_s)
        self.news_s[news] = self.now_s + self.report_s - 1e-9
        self.next_s[due] += PERIOD_S
        return sends.sum() * self.frame_s


def swings(loads, middle, band):
    """How often the load passes from one side of a band to the other."""
    sides = [1 if load > middle + band else -1 for load in loads if abs(load - middle) > band]
    return sum(one != other for one, other in zip(sides, sides[1:], strict=False))


CROWDS = {
    "equal devices": (1.25, 5.0, 0.0),
    "equal devices, ten times too many": (1.25, 10.0, 0.0),
    "different devices": (20.0, 5.0, 0.0),
    "devices that hear of it late": (1.5, 5.0, 0.6),
}


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("level", [1.0, 50.0])
def test_a_step_in_load_settles_within_five_seconds_without_swinging(crowd, level):
    spread, most, report_s = CROWDS[crowd]
    thresholds = level * spread ** np.random.default_rng(1).uniform(-1, 1, DEVICES)
    devices = Crowd(ShadowPrice(), thresholds, most * PERIOD_S / DEVICES, report_s)
    assert devices.run(15.0)[-8:].mean() == pytest.approx(0.9, abs=0.15)
    for active in (DEVICES // 2, DEVICES):
        devices.active[:] = np.arange(DEVICES) < active
        devices.next_s = np.maximum(devices.next_s, devices.now_s)
        loads = devices.run(15.0)
        settled = loads[10:]
        assert np.abs(settled - 0.9).max() < 0.35
        assert settled.mean() == pytest.approx(0.9, abs=0.1)
        assert swings(loads, 0.9, 0.3) <= 2
