"""Measured accuracy: looked up, interpolated, never invented."""

import json

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.planning.accuracy import AccuracyTable, load_accuracy
from janus_vit.planning.plan import Plan
from janus_vit.planning.presets import policy_table

TABLE = AccuracyTable(
    "example",
    "exponential",
    1000,
    (0.0, 0.2, 0.4),
    (1, 5),
    {
        "local": np.array([[0.9], [0.8], [0.6]]),
        "int4": np.array([[0.8, 0.6], [0.7, 0.5], [0.5, 0.3]]),
        "jpeg90": np.array([[0.88], [0.78], [0.58]]),
    },
    {},
)


def plan(level=0.0, split=7, payload="local", family="exponential", merges=(1,) * 6):
    return Plan(family, level, merges, split, payload)


def test_measured_points_are_given_back_and_others_interpolated():
    assert TABLE.of_plan(plan(0.2)) == pytest.approx(0.8)
    assert TABLE.of_plan(plan(0.1)) == pytest.approx(0.85)
    assert TABLE.of_plan(plan(0.2, split=3, payload="int4")) == pytest.approx(0.6)
    assert TABLE.of_plan(plan(0.0, split=0, payload="jpeg90")) == pytest.approx(0.88)


def test_nothing_is_invented():
    assert TABLE.of_plan(plan(0.41)) is None
    assert TABLE.of_plan(plan(payload="float8", split=2)) is None
    assert TABLE.of_plan(plan(3.0, family="fixed")) is None
    assert TABLE.of_plan(plan(0.0, family="none", merges=(0,) * 6)) == pytest.approx(0.9)


def test_the_table_of_plans_agrees_with_plan_by_plan(platforms):
    table = policy_table("adaptive", platforms)
    values = TABLE.of_plans(table)
    for row, column in np.ndindex(*values.shape):
        one = TABLE.of_plan(table.plan(row, column))
        assert np.isnan(values[row, column]) if one is None else values[row, column] == pytest.approx(one)


def test_a_table_of_another_model_is_refused(platforms):
    other = AccuracyTable("other", "exponential", 1, (0.0,), (1,), {}, {})
    with pytest.raises(InputError, match="measured for model 'other'"):
        other.of_plans(policy_table("adaptive", platforms))


def test_a_table_survives_its_file(tmp_path):
    TABLE.save(tmp_path / "a.json")
    again = load_accuracy(tmp_path / "a.json")
    assert again.levels == TABLE.levels
    for name, grid in TABLE.accuracy.items():
        np.testing.assert_allclose(again.accuracy[name], grid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(levels=[0.2, 0.0, 0.4]), "field levels must be ascending"),
        (lambda v: v["accuracy"]["int4"].pop(), r"field accuracy\.int4 must be 3 rows of 2"),
        (lambda v: v["accuracy"].update(local=[[0.9], [0.8], [1.6]]), r"field accuracy\.local"),
        (lambda v: v.pop("frames"), "field frames is missing"),
    ],
)
def test_a_damaged_table_names_its_field(tmp_path, change, message):
    path = tmp_path / "a.json"
    TABLE.save(path)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        load_accuracy(path)
