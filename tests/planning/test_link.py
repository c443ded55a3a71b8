"""The forecast of the link against what happens."""

import numpy as np
import pytest

from janus_vit.planning.link import RateForecast, RoundTrip
from janus_vit.planning.outcome import Transfer


def sent(mbps, size_bytes=100_000, at_s=0.0):
    return Transfer(at_s, size_bytes, size_bytes * 8e-6 / mbps, 0.02)


def test_steady_link_is_trusted_close_to_its_rate():
    link = RateForecast(cold_start_mbps=1.0)
    for _ in range(60):
        link.observe(sent(20.0))
    assert link.rate_mbps == pytest.approx(20.0, rel=0.01)
    near, beyond = link.on_time(np.array([18.0, 25.0]))
    assert near > 0.95
    assert beyond < 0.05


def test_probability_falls_with_the_rate_that_is_needed_and_is_never_certain():
    link = RateForecast(cold_start_mbps=10.0)
    on_time = link.on_time(np.array([0.0, 0.001, 1.0, 5.0, 10.0, 20.0, 1e6]))
    assert on_time[0] == 1.0
    assert 0.9 < on_time[1] < 1.0
    assert np.all(np.diff(on_time) <= 0)
    assert on_time[-1] == 0.0


def test_probabilities_match_the_observed_frequencies():
    rng = np.random.default_rng(0)
    link, promised, kept = RateForecast(10.0), [], []
    for rate in np.exp(rng.normal(np.log(10), 0.5, 3000)):
        needed = float(rng.uniform(2, 20))
        promised.append(float(link.on_time(np.array([needed]))[0]))
        kept.append(rate >= needed)
        link.observe(sent(rate))
    promised, kept = np.array(promised), np.array(kept)
    for low, high in ((0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        chosen = (promised >= low) & (promised < high)
        assert kept[chosen].mean() == pytest.approx(promised[chosen].mean(), abs=0.08)


def test_failed_transfer_lowers_all_probabilities_and_those_of_high_rates_most():
    link = RateForecast(10.0)
    for _ in range(48):
        link.observe(sent(10.0))
    link.observe(Transfer(0.0, 100_000, 2.0, None))  # either at most 0.4 Mbps, or a gap that has ended
    little, much = link.on_time(np.array([0.01, 8.0]))
    assert 0.4 < much < 0.6 < little < 0.99


def test_cloud_that_refuses_at_once_is_soon_avoided():
    link = RateForecast(50.0)
    for _ in range(20):
        link.observe(Transfer(0.0, 50_000, 0.001, None))
    assert float(link.on_time(np.array([40.0]))[0]) < 0.15
    for _ in range(20):
        link.observe(sent(50.0))
    assert link.rate_mbps > 25.0


def test_every_transfer_after_a_failed_one_is_uncertain():
    link = RateForecast(20.0)
    for _ in range(50):
        link.observe(sent(20.0))
    assert float(link.on_time(np.array([0.01]))[0]) > 0.95
    link.observe(Transfer(1.0, 16_000, 1.0, None))
    assert float(link.on_time(np.array([1.0]))[0]) < 0.55
    for at_s in range(2, 6):
        link.observe(Transfer(at_s, 16_000, 1.0, None))
    assert float(link.on_time(np.array([1.0]))[0]) < 0.3


def test_link_that_recovers_is_trusted_at_once():
    link = RateForecast(20.0)
    for _ in range(10):
        link.observe(sent(20.0))
    for at_s in range(1, 11):
        link.observe(Transfer(at_s, 16_000, 1.0, None))
    link.observe(sent(30.0, at_s=11.0))
    assert link.rate_mbps == pytest.approx(30.0)
    assert float(link.on_time(np.array([3.0]))[0]) > 0.8  # one gap in twelve transfers is remembered


def test_a_late_reply_is_no_news_of_a_link_that_recovered():
    late, anew = (RateForecast(20.0) for _ in range(2))
    for link, at_s in ((late, 1.2), (anew, 2.0)):  # the first of them began before the failure, at 0.4 s
        for _ in range(50):
            link.observe(sent(20.0))
        link.observe(Transfer(1.0, 100_000, 0.6, None))
        link.observe(sent(1.0, at_s=at_s))
    assert anew.rate_mbps == pytest.approx(1.0)
    assert late.rate_mbps == pytest.approx(20.0 * (1.0 / 20.0) ** 0.4)  # as any other slow transfer


def test_a_transfer_that_should_have_ended_makes_higher_rates_less_likely():
    link = RateForecast(20.0)
    for mbps in (10.0, 20.0, 40.0) * 20:
        link.observe(sent(mbps))
    needed = np.array([2.0, 5.0, 10.0, 15.0, 30.0])
    usual, overdue = link.on_time(needed), link.on_time(needed, at_most_mbps=12.0)
    assert (overdue <= usual).all()
    assert overdue[-1] == pytest.approx(usual[-1] / 2)  # it is faster than the bound, and the next transfer may be
    assert link.on_time(needed, at_most_mbps=1000.0) == pytest.approx(usual, abs=1e-9)


def test_small_transfer_gives_only_a_lower_bound_of_the_rate():
    link = RateForecast(10.0)
    link.observe(sent(5.0, size_bytes=2000))  # 3.2 ms: may be the software's time, not the link's
    assert link.rate_mbps == pytest.approx(10.0)
    link.observe(sent(40.0, size_bytes=2000))
    assert link.rate_mbps > 10.0
    link.observe(sent(0.1, size_bytes=2000))  # 160 ms: the link's time
    assert link.rate_mbps < 5.0


def test_small_transfer_that_fails_counts_as_any_other():
    link = RateForecast(20.0)
    for _ in range(5):
        link.observe(Transfer(0.0, 1400, 0.1, None))
    assert float(link.on_time(np.array([1.0]))[0]) < 0.3


def test_round_trip_is_the_median_of_recent_ones():
    rtt = RoundTrip(0.05)
    for seconds in (0.5, 0.04, None, 0.04, 0.06):
        rtt.observe(Transfer(0.0, 1000, 0.01, seconds))
    assert rtt.seconds == 0.05
