"""One address asks so often a second, after so many at once."""

from janus_vit.live_page.pace import Pace


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_an_address_asks_a_hundred_times_at_once_and_then_fifty_times_a_second():
    clock = Clock()
    pace = Pace(clock)
    for _ in range(10_000):
        clock.now_s += pace.count("flood")
    assert 198 <= clock.now_s <= 200


def test_an_address_that_was_quiet_asks_as_much_at_once_as_a_new_one_and_not_more():
    clock = Clock()
    pace = Pace(clock)
    for clock.now_s in (0.0, 1_000.0):
        waits_s = [pace.count("robot") for _ in range(102)]
        assert waits_s[:99] == [0.0] * 99
        assert waits_s[-1] > 0


def test_an_address_that_floods_delays_no_other_one_also_if_there_are_many():
    clock = Clock()
    pace = Pace(clock)
    for _ in range(200):
        pace.count("flood")
    for number in range(10_000):
        clock.now_s += 1e-4
        assert pace.count(f"10.0.{number >> 8}.{number & 255}") == 0
    assert pace.count("flood") > 0
