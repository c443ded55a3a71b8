"""The search for the largest fleet inside a target."""

import pytest

from janus_vit.fleet.carried import Carried, devices_carried


def falls_after(limit: int):
    return lambda devices: 1.0 if devices <= limit else 0.5


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9])
def test_small_fleets_are_found_exactly(limit):
    assert devices_carried(falls_after(limit), target=0.99, most=64) == Carried(limit, limit + 1)


def test_large_fleets_are_found_within_the_precision():
    found = devices_carried(falls_after(1000), target=0.99, most=4096, precision=0.05)
    assert found.devices <= 1000 < found.too_many
    assert found.too_many - found.devices <= 0.05 * found.devices


def test_nothing_is_carried_where_one_device_is_too_many():
    assert devices_carried(lambda devices: 0.0, target=0.99, most=64) == Carried(0, 1)


def test_a_cloud_that_carries_all_that_were_tried_has_no_limit():
    assert devices_carried(lambda devices: 1.0, target=0.99, most=100) == Carried(100, None)


def test_the_search_may_begin_above_the_limit():
    assert devices_carried(falls_after(5), target=0.99, most=64, first=16) == Carried(5, 6)
