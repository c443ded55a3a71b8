"""Many streams as numbers: what counts as late, worth and regret, and that two processes give what one gives."""

import dataclasses

import numpy as np
import pytest

from janus_vit.links.traces import Trace
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import AccuracyTable
from janus_vit.planning.policies.presets import POLICIES, baseline_merges
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.simulation.compare import BEST_FIXED, ORACLE, interval, run_case, run_cases, score
from janus_vit.simulation.results import Case

SLA_S = 0.1


def measured(platforms):
    """Each merge costs, a JPEG costs a little, tokens cost what their format says."""
    shape, points = platforms.shape, []
    lost = {"local": 0, "jpeg90": 4, "float16": 0, "float8": 2, "int8": 3, "int4": 90}
    for level in levels("exponential", shape):
        schedule = make_schedule("exponential" if level else "none", level, shape)
        if points and schedule.applied == points[-1].merges:
            continue
        for payload, less in lost.items():
            split = 0 if payload in ("local", "jpeg90") else 1
            hits = 950 - 3 * sum(schedule.applied) - less
            points.append(Point(schedule.family, level, schedule.applied, split, payload, 1000, hits, hits))
    fixed = make_schedule("fixed", baseline_merges(shape), shape)
    hits = 950 - 3 * sum(fixed.applied)
    points.append(Point("fixed", fixed.level, fixed.applied, 0, "local", 1000, hits, hits))
    table = AccuracyTable(shape.name, "fingerprint", "eager", "right", tuple(points), {})
    return dataclasses.replace(platforms, accuracy=table)


def wild(seed=3, seconds=20):
    return Trace(f"wild {seed}", 0.1, np.random.default_rng(seed).lognormal(1.0, 1.0, 10 * seconds), {})


def case(policy, platforms, trace, seconds=20.0, period_s=SLA_S):
    return Case(policy, platforms, trace, SLA_S, seconds, period_s)


def test_a_frame_that_was_never_run_is_late_and_worth_nothing(platforms):
    slow = dataclasses.replace(measured(platforms), device=platforms.device.slowed(20))
    frames = run_case(case("device-only", slow, wild(), seconds=5.0))
    assert len(frames.total_s) == 50
    assert not frames.was_run.all()
    assert frames.late.all()
    numbers = score(frames)
    assert (numbers.late, numbers.value, numbers.fps) == (1.0, 0.0, 0.0)
    assert sum(numbers.kinds) == pytest.approx(frames.was_run.mean())


def test_no_policy_passes_the_oracle_and_regret_is_never_negative(platforms):
    known = measured(platforms)
    best = score(run_case(case(ORACLE, known, wild()))).value
    for name in (*POLICIES, BEST_FIXED):
        assert score(run_case(case(name, known, wild()))).value <= best + 1e-9


def test_the_best_fixed_plan_is_at_least_as_good_as_the_fixed_policies(platforms):
    known = measured(platforms)
    best = score(run_case(case(BEST_FIXED, known, wild()))).value
    for name in ("device-only", "cloud-only", "cloud-jpeg"):
        assert best >= score(run_case(case(name, known, wild()))).value - 0.005


def test_ours_stays_close_to_the_best_fixed_plan_that_nobody_knows_beforehand(platforms):
    known = measured(platforms)
    for seed in range(5, 11):
        fixed, ours = (score(run_case(case(name, known, wild(seed)))).value for name in (BEST_FIXED, "adaptive"))
        assert ours >= fixed - 0.03


def test_two_processes_give_what_one_gives(platforms):
    known = measured(platforms)
    cases = [case(name, known, wild(), seconds=3.0) for name in ("adaptive", "janus", ORACLE, BEST_FIXED)]
    alone, together = list(run_cases(cases)), list(run_cases(cases, workers=2))
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.total_s, two.total_s)
        np.testing.assert_array_equal(one.value, two.value)


def test_without_measurements_streams_are_judged_by_time_alone(platforms):
    numbers = score(run_case(case(BEST_FIXED, platforms, wild(), seconds=5.0)))
    assert np.isnan(numbers.value)
    assert 0 <= numbers.late <= 1


def test_frames_back_to_back_have_no_gaps(platforms):
    frames = run_case(case("janus", platforms, wild(), seconds=5.0, period_s=None))
    np.testing.assert_allclose(np.diff(frames.at_s), frames.total_s[:-1])


def test_an_interval_holds_the_mean_and_shrinks_with_more_runs():
    values = np.random.default_rng(0).normal(5.0, 1.0, 400)
    few, many = interval(values[:20]), interval(values)
    assert few[0] < values[:20].mean() < few[1]
    assert many[1] - many[0] < few[1] - few[0]
    assert interval(values[:1]) == (values[0], values[0])


def test_there_are_no_more_processes_than_cases(platforms, monkeypatch):
    monkeypatch.setattr("janus_vit.simulation.compare.ProcessPoolExecutor", None)
    alone = case("janus", platforms, wild(seconds=2), 2.0)
    assert len(list(run_cases([alone], workers=10**6))) == 1
