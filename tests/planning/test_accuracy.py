"""Accuracy tables: measured values, estimates with a wider interval, and nothing beyond the measured range."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_vit.errors import InputError
from janus_vit.planning.accuracy.points import Point, wilson
from janus_vit.planning.accuracy.retention import falling_fit
from janus_vit.planning.accuracy.table import AGREEMENT, RIGHT, AccuracyTable, load_accuracy
from janus_vit.planning.plan import ModelShape, Plan, tokens_saved
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.presets import make_policy, policy_table
from janus_vit.planning.schedules import levels, make_schedule

SHAPE = ModelShape("example", 6, 65, 1, 32, (3, 64, 64))


def merges(family, level):
    return make_schedule(family, level, SHAPE).applied


def point(family, level, right, split=7, payload="local", frames=1000):
    return Point(family, level, merges(family, level), split, payload, frames, frames // 2, right)


POINTS = (
    point("none", 0.0, 900),
    point("exponential", 0.4, 800),
    point("exponential", 0.6, 600),
    point("fixed", 4.0, 850),
    point("fixed", 8.0, 700),
    point("none", 0.0, 720, split=1, payload="int4"),
    point("none", 0.0, 810, split=5, payload="int4"),
    point("none", 0.0, 882, split=0, payload="jpeg90"),
    point("exponential", 0.6, 610, split=0, payload="jpeg90"),
)
TABLE = AccuracyTable("example", "f1", "eager", RIGHT, POINTS, {})


def plan(level=0.0, split=7, payload="local", family="exponential"):
    return Plan(family, level, merges(family, level), split, payload)


def share(*args, **more):
    return TABLE.of_plan(plan(*args, **more)).share


def test_measured_points_are_returned_with_their_interval():
    for known in POINTS:
        estimate = TABLE.of_plan(plan(known.level, known.split, known.payload, known.family))
        assert estimate.measured
        assert estimate.share == pytest.approx(known.share)
        assert (estimate.low, estimate.high) == pytest.approx(known.interval)


def test_all_lossless_payloads_share_one_measurement():
    for split, payload in ((0, "png"), (0, "tensor"), (3, "float32"), (2, "float32+zstd"), (7, "local")):
        assert TABLE.of_plan(plan(0.4, split, payload)) == TABLE.of_plan(plan(0.4))
    assert TABLE.of_plan(plan(0.0, 1, "int4+zstd")) == TABLE.of_plan(plan(0.0, 1, "int4"))


def test_share_between_measured_levels_is_interpolated_by_tokens_saved():
    saved = [tokens_saved(merges("exponential", level)) for level in (0.4, 0.5, 0.6)]
    assert share(0.5) == pytest.approx(np.interp(saved[1], saved[::2], [0.8, 0.6]))
    assert 0.85 < share(3.0, family="fixed") < 0.9


def test_payload_keeps_its_part_of_the_share_after_merging():
    assert share(0.4, split=1, payload="int4") == pytest.approx(0.8 * 0.8)
    assert share(0.4, split=3, payload="int4") == pytest.approx(0.8 * 0.85)
    assert share(4.0, split=6, payload="int4", family="fixed") == pytest.approx(0.85 * 0.9)


def test_payload_that_raised_a_share_is_not_expected_to_raise_others():
    assert share(0.6, split=0, payload="jpeg90") == 0.61
    assert share(0.59, split=0, payload="jpeg90") <= share(0.59)


def test_estimates_are_marked_and_less_certain():
    measured, between = TABLE.of_plan(plan(0.4)), TABLE.of_plan(plan(0.5))
    packed = TABLE.of_plan(plan(0.4, split=1, payload="int4"))
    assert measured.measured
    assert not between.measured
    assert not packed.measured
    assert between.high - between.low > measured.high - measured.low
    assert packed.high - packed.low > measured.high - measured.low
    for estimate in (measured, between, packed):
        assert estimate.low <= estimate.share <= estimate.high


def test_nothing_is_estimated_beyond_the_measured_range():
    assert TABLE.of_plan(plan(0.61)).measured  # merges exactly as 0.6 does
    assert TABLE.of_plan(plan(0.7)) is None
    assert TABLE.of_plan(plan(split=2, payload="float8")) is None
    assert TABLE.of_plan(plan(1.0, family="linear")) is None
    assert TABLE.of_plan(plan(0.0, family="linear")).share == pytest.approx(0.9)


def test_more_merging_is_never_better_without_losses():
    odd = dataclasses.replace(
        TABLE,
        points=(
            point("none", 0.0, 900),
            point("exponential", 0.2, 880),
            point("exponential", 0.4, 890),
            point("exponential", 0.6, 600, frames=700),
        ),
    )
    shares = [odd.of_plan(plan(level)).share for level in np.arange(0.0, 0.61, 0.02).round(2)]
    assert all(after <= before for before, after in zip(shares, shares[1:], strict=False))
    assert odd.of_plan(plan(0.2)).share == pytest.approx(0.885)


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 1000)), min_size=1, max_size=12))
def test_fit_never_rises_and_keeps_the_mean(pairs):
    values, weights = zip(*pairs, strict=True)
    fit = falling_fit(values, weights)
    assert all(after <= before + 1e-12 for before, after in zip(fit, fit[1:], strict=False))
    assert np.average(fit, weights=weights) == pytest.approx(np.average(values, weights=weights))
    assert falling_fit(fit, weights) == pytest.approx(fit)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_interval_contains_its_share_and_shrinks_with_frames(frames, part):
    hits = round(part * frames)
    low, high = wilson(hits, frames)
    assert 0 <= low <= hits / frames <= high <= 1
    closer = wilson(10 * hits, 10 * frames)
    assert closer[1] - closer[0] < high - low


def test_interval_is_wilsons():
    assert wilson(970, 1000) == pytest.approx((0.957497, 0.978906), abs=1e-5)
    assert wilson(50, 50) == pytest.approx((0.92865, 1.0), abs=1e-5)


def test_shares_of_a_table_agree_with_those_of_single_plans(platforms):
    table = policy_table("adaptive", dataclasses.replace(platforms, accuracy=TABLE))
    values = TABLE.of_plans(table)
    for row, column in np.ndindex(*values.shape):
        one = TABLE.of_plan(table.plan(row, column))
        assert np.isnan(values[row, column]) if one is None else values[row, column] == pytest.approx(one.share)


def schedules_with(platforms, *points):
    table = dataclasses.replace(TABLE, points=POINTS[:1] + points)
    return policy_table("adaptive", dataclasses.replace(platforms, accuracy=table)).schedules


def test_planner_has_all_levels_of_the_families_that_were_measured_at_several(platforms):
    rows = schedules_with(platforms, *POINTS[1:5])
    assert [row.level for row in rows if row.family == "exponential"] == list(levels("exponential", SHAPE))
    assert [row.level for row in rows if row.family == "fixed"] == list(levels("fixed", SHAPE))[1:]
    assert [row for row in rows if not any(row.applied)] == [make_schedule("exponential", 0.0, SHAPE)]


def test_planner_has_the_measured_levels_of_families_without_a_curve_or_a_rule(platforms):
    learned = dataclasses.replace(POINTS[1], family="learned", level=0.2)
    rows = schedules_with(platforms, POINTS[3], learned)
    assert [(row.family, row.level) for row in rows] == [("none", 0.0), ("fixed", 4.0), ("learned", 0.2)]


def test_planner_without_a_table_has_all_levels_of_the_family_that_typically_loses_least(platforms):
    rows = policy_table("adaptive", platforms).schedules
    assert [row.level for row in rows] == list(levels("fixed", SHAPE))
    assert {row.family for row in rows} == {"fixed"}


def test_planner_takes_the_family_that_costs_less(platforms):
    cheap = tuple(
        dataclasses.replace(known, right=known.frames, agreeing=known.frames)
        for known in POINTS
        if known.family in ("none", "fixed") and known.payload == "local"
    )
    dear = tuple(dataclasses.replace(known, right=known.frames // 4) for known in POINTS[1:3])
    known = dataclasses.replace(platforms, accuracy=dataclasses.replace(TABLE, points=cheap + dear), rate_mbps=0.01)
    decision = make_policy("adaptive", known).choose(Situation(0.0, 0.065))
    assert decision.plan.is_local
    assert decision.plan.family == "fixed"
    assert decision.predicted.accuracy == 1.0


def test_table_belongs_to_one_model_and_one_precision(platforms):
    renamed = TABLE.for_model("another name", "f1", "float32")
    assert (renamed.model, renamed.points) == ("another name", TABLE.points)
    with pytest.raises(InputError, match=r"t\.json: was measured for model example \(f1\), not for other \(f2\)"):
        TABLE.for_model("other", "f2", "float32", "t.json")
    with pytest.raises(InputError, match=r"measured in float32 \(engine 'eager'\), and the engine here .* int8"):
        TABLE.for_model("example", "f1", "int8")
    with pytest.raises(InputError, match="measured for model 'another name'"):
        renamed.of_plans(policy_table("adaptive", platforms))


def test_table_is_read_as_written(tmp_path):
    TABLE.save(tmp_path / "a.json")
    assert load_accuracy(tmp_path / "a.json") == TABLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("fingerprint"), "field fingerprint is missing"),
        (lambda v: v.update(metric="beauty"), "field metric must be one of right, agreement"),
        (lambda v: v.update(metric=AGREEMENT), r"field points\[0\]\.right must be null"),
        (lambda v: v["points"][2].update(right=None), r"field points\[2\]\.right must be a number"),
        (lambda v: v["points"][1].update(right=1001), r"field points\[1\]\.right must be at most frames \(1000\)"),
        (lambda v: v["points"][1].update(frames=0), r"field points\[1\]\.frames must be at least 1"),
        (lambda v: v["points"][1].update(payload="jpeg101"), r"field points\[1\]\.payload cannot be used"),
        (lambda v: v["points"][1].update(merges=[1, 2.5]), r"field points\[1\]\.merges must be whole numbers"),
        (lambda v: v["points"][1].update(merges=[10**400] * 6), r"field points\[1\]\.merges must be whole numbers"),
        (
            lambda v: v["points"][1].update(merges=[0] * 1001),
            r"field points\[1\]\.merges must be .* at most 1000 blocks",
        ),
        (lambda v: v["points"][1].update(frames=1e300), r"field points\[1\]\.frames must be at most 1e\+12"),
        (lambda v: v["points"][1].update(level=1e308), r"field points\[1\]\.level must be at most"),
        (lambda v: v["points"][1].update(split=1e308), r"field points\[1\]\.split must be at most"),
        (lambda v: v["points"][1]["merges"].pop(), "field points have merges of different numbers of blocks"),
        (lambda v: v["points"].append(3), r"field points\[9\] must be an object"),
        (lambda v: v["points"].append(v["points"][4]), "field points has one configuration twice"),
        (lambda v: v["points"].pop(0), "field points must begin with the configuration that merges and loses nothing"),
        (lambda v: v.update(points=[]), "field points must begin"),
        (lambda v: v.update(schema="janus-vit/accuracy/1"), "field schema"),
        (lambda v: v.update(points=v["points"] * 200), "field points must be at most 1000, not 1800"),
        (
            lambda v: [point.update(family=f"f{n}") for n, point in enumerate(v["points"])],
            "field points must be of at most 8 families",
        ),
        (
            lambda v: v["points"][1].update(family="x" * 201),
            r"points\[1\]\.family must be at most 200 characters",
        ),
        (lambda v: v["points"][1].update(family="\x1b[2J"), r"field points\[1\]\.family must be .* that can be shown"),
        (lambda v: v["points"][1].update(split=8), r"field points\[1\]\.split must be at most 7"),
        (
            lambda v: v["points"][1].update(merges=[65_535] * 6),
            r"points\[1\]\.merges must be at most 65535 together",
        ),
        (
            lambda v: v.update(precision="float7"),
            "field precision must be one of float32, bfloat16, int8, not",
        ),
        (lambda v: v.update(fingerprint="x" * 10**6), "field fingerprint must be at most 200 characters"),
    ],
)
def test_damaged_table_names_its_field(tmp_path, change, message):
    path = tmp_path / "a.json"
    TABLE.save(path)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        load_accuracy(path)
