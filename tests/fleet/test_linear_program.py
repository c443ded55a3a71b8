"""The linear program against a general solver."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from janus_vit.fleet.linear_program import Choices, solve


def random_groups(seed, largest=1.0):
    random = np.random.default_rng(seed)
    groups = []
    for _ in range(random.integers(1, 4)):
        plans, sets = int(random.integers(1, 6)), int(random.integers(1, 5))
        value = np.append(random.integers(0, 9, plans) / 8, random.integers(0, 5) / 8)  # ties are likely
        engine_s = np.append(largest * random.integers(0, 9, plans) / 8, 0.0)
        possible = random.random((sets, plans + 1)) < 0.6
        possible[:, -1] = True
        frames = random.integers(1, 4, sets).astype(float)
        groups.append(Choices(value, engine_s, np.ones(plans + 1), np.ones(plans + 1), possible, frames))
    return groups


def solved_in_general(groups, limit_s):
    """One variable for each set and plan: the number of its frames that take the plan."""
    value, engine_s, upper, rows = [], [], [], []
    for group in groups:
        for possible, frames in zip(group.possible, group.frames, strict=True):
            value += list(group.value)
            engine_s += list(group.engine_s)
            upper += [frames if each else 0.0 for each in possible]
            rows.append((len(value) - len(possible), len(value), frames))
    equal = np.zeros((len(rows), len(value)))
    for row, (first, last, _) in enumerate(rows):
        equal[row, first:last] = 1.0
    count = sum(frames for *_, frames in rows)
    found = linprog(
        -np.array(value),
        [engine_s],
        [limit_s * count],
        equal,
        [row[2] for row in rows],
        list(zip([0.0] * len(upper), upper, strict=True)),
    )
    assert found.success
    return -found.fun / count


@given(seed=st.integers(0, 10_000), limit_s=st.sampled_from([0.0, 0.05, 0.125, 0.3, 0.7, 2.0]))
def test_it_finds_what_a_general_solver_finds(seed, limit_s):
    groups = random_groups(seed)
    found = solve(groups, limit_s)
    assert found.value == pytest.approx(solved_in_general(groups, limit_s), abs=1e-9)
    assert found.engine_s <= limit_s + 1e-9
    assert found.alone <= found.value <= found.unlimited


@given(seed=st.integers(0, 10_000), limit_s=st.sampled_from([0.05, 0.125, 0.3]))
def test_the_price_is_what_one_more_engine_second_gives(seed, limit_s):
    groups, step_s = random_groups(seed), 1e-6
    less, here, more = (solve(groups, limit_s + step).value for step in (-step_s, 0.0, step_s))
    price = solve(groups, limit_s).price
    assert (more - here) / step_s - 1e-5 <= price <= (here - less) / step_s + 1e-5


def test_plans_that_give_engine_time_back_are_allowed():
    """By a line below the costs of light plans, see `simulation.least_costs`."""
    value, engine_s = np.array([1.0, 0.5, 0.25]), np.array([1.0, -0.5, 0.0])
    group = Choices(value, engine_s, np.ones(3), np.ones(3), np.ones((1, 3), bool), np.array([3.0]))
    found = solve([group], 0.0)
    assert found.value == pytest.approx(2 / 3 * 0.5 + 1 / 3 * 1.0)
    assert (found.alone, found.unlimited) == (0.25, 1.0)


def test_the_mean_tokens_are_those_of_the_optimum():
    """Half of the frames take the first plan, since that fills the engine."""
    tokens, blocks = np.array([100.0, 20.0, 0.0]), np.array([2.0, 1.0, 0.0])
    group = Choices(
        np.array([1.0, 0.9, 0.0]), np.array([3.0, 1.0, 0.0]), blocks, tokens, np.ones((1, 3), bool), np.array([4.0])
    )
    found = solve([group], 2.0)
    assert found.block_tokens == pytest.approx((100 + 20) / 3)
    assert found.price == pytest.approx(0.05)
    assert found.value == pytest.approx(0.95)
