"""The scheduler against brute force, and what each policy may choose from."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from janus_vit.errors import InputError
from janus_vit.planning.link import HarmonicMean, RateForecast
from janus_vit.planning.outcome import Answer, Measured, Outcome, Prediction, Transfer, hedge_s
from janus_vit.planning.payloads import LOCAL, TOKEN_FORMATS, parse_payload
from janus_vit.planning.plan import ModelShape, Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.adaptive import MostAccurateInTime
from janus_vit.planning.policies.algorithm1 import SmallestLevel
from janus_vit.planning.policies.base import Decision, Situation
from janus_vit.planning.policies.correction import MachineCorrection
from janus_vit.planning.policies.presets import POLICIES, baseline_merges, make_policy, policy_table
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.planning.splits import candidate_splits


def quickest(platforms, level):
    """Seconds, level and split of the fastest plan at a level, computed with plain loops from the profiles."""
    shape, device, cloud = platforms.shape, platforms.device, platforms.cloud
    schedule = make_schedule("exponential", level, shape)
    best = None
    for split in candidate_splits(shape.blocks):
        total_s = 0.0
        for block in range(1, shape.blocks + 1):
            effective = (schedule.tokens[block - 1] + 2 * schedule.tokens[block]) / 3
            side = device if block <= split else cloud
            total_s += float(side.line.seconds(effective))
            if schedule.tokens[block] < schedule.tokens[block - 1]:
                total_s += float(side.merge.seconds(schedule.tokens[block - 1]))
        total_s += device.stem_s if split > 0 else cloud.stem_s
        total_s += device.head_s if split == shape.blocks + 1 else cloud.head_s
        if split <= shape.blocks:
            payload = "float32" if split else "tensor"
            values = schedule.tokens[split] * shape.width if split else shape.input_values
            plain = parse_payload("float32").token_bytes(schedule.tokens[split], shape.width)
            size_bytes = plain if split else 4 * shape.input_values
            total_s += float(device.encode[payload].seconds(values) + cloud.decode[payload].seconds(values))
            total_s += platforms.rtt_s + size_bytes * 8e-6 / platforms.rate_mbps
        if best is None or total_s < best[0] - 1e-12:
            best = (total_s, level, split)
    return best


@settings(deadline=None, max_examples=80)
@given(
    rate_mbps=st.floats(0.05, 500),
    rtt_s=st.floats(0, 0.1),
    sla_s=st.floats(0.005, 0.5),
    device=st.floats(1e-6, 1e-3),
    cloud=st.floats(1e-7, 1e-4),
    blocks=st.integers(1, 14),
)
def test_scheduler_equals_algorithm_1_by_brute_force(make_profile, rate_mbps, rtt_s, sla_s, device, cloud, blocks):
    shape = ModelShape("example", blocks, 65, 1, 32, (3, 64, 64))
    platforms = Platforms(shape, make_profile(device), make_profile(cloud), rate_mbps, rtt_s)
    decision = make_policy("janus", platforms).choose(Situation(0.0, sla_s))
    by_level = [quickest(platforms, level) for level in levels("exponential", shape)]
    # Skip cases on the very edge, because the sums round differently.
    assume(not any(np.isclose(best[0], sla_s, rtol=1e-9, atol=0) for best in by_level))
    least_s = min(by_level)[0]
    largest = [best for best in by_level if best[0] <= least_s * (1 + 1e-9)][-1]  # of the fastest levels
    total_s, level, split = next((best for best in by_level if best[0] <= sla_s), largest)
    assert decision.predicted.total_s == pytest.approx(total_s)
    assert decision.plan.level == level
    assert decision.predicted.total_s <= sla_s or decision.predicted.total_s == pytest.approx(least_s, rel=1e-9)
    assert decision.plan.split == split or decision.predicted.total_s == pytest.approx(total_s, rel=1e-9)


def test_faster_link_never_needs_more_merging(platforms):
    chosen = []
    for rate_mbps in (0.1, 1, 3, 10, 30, 100, 1000):
        policy = make_policy("janus", dataclasses.replace(platforms, rate_mbps=rate_mbps))
        chosen.append(policy.choose(Situation(0.0, 0.06)).plan.level)
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] > chosen[-1]


def test_each_baseline_chooses_only_its_own_plans(platforms):
    kinds = {name: {(o.split, o.payload) for o in policy_table(name, platforms).options} for name in POLICIES}
    assert kinds["device-only"] == {(7, LOCAL)}
    assert kinds["cloud-only"] == {(0, "tensor")}
    assert kinds["mixed"] == {(0, "tensor"), (7, LOCAL)}
    assert kinds["cloud-jpeg"] == {(0, "jpeg90")}
    assert kinds["adaptive"] > kinds["janus"] == kinds["split-only"] > kinds["mixed"]


def test_baselines_merge_23_tokens_a_block_on_the_papers_image_model(make_profile):
    shape = ModelShape("vit-large-384", 24, 577, 1, 1024, (3, 384, 384))
    platforms = Platforms(shape, make_profile(1e-4), make_profile(1e-5), 10, 0.02)
    assert set(policy_table("mixed", platforms).schedules[0].wanted) == {23}
    assert baseline_merges(dataclasses.replace(shape, tokens=1569)) == 65
    assert {sum(schedule.applied) for schedule in policy_table("split-only", platforms).schedules} == {0}


def test_private_frames_never_leave_as_images(platforms):
    private = dataclasses.replace(platforms, images_allowed=False)
    assert all(option.split > 0 for option in policy_table("adaptive", private).options)
    with pytest.raises(InputError, match="only send images"):
        make_policy("cloud-jpeg", private)


def test_unknown_policy_is_refused_with_the_known_ones(platforms):
    with pytest.raises(InputError, match="adaptive, adaptive-fleet, janus"):
        make_policy("best", platforms)


def policy_with(platforms, accuracy):
    table = policy_table("adaptive", platforms)
    return MostAccurateInTime(table, RateForecast(platforms.rate_mbps), platforms.rtt_s, accuracy(table)), table


def share_in_budget(compute_s, budget_s, spread):
    if budget_s <= 0 or compute_s <= 0:
        return float(budget_s > compute_s)
    return 1 / (1 + np.exp(-1.7 * np.clip(np.log(budget_s / compute_s) / (1.25 * spread), -30, 30)))


def random_accuracy(table):
    return np.random.default_rng(5).uniform(0.5, 1.0, table.size_bytes.shape)


def best_by_brute_force(platforms, table, sla_s, link, device):
    """Largest expected accuracy of all plans, each computed on its own; the cloud is as its profile says."""
    best = 0.0
    for row, column in np.ndindex(*table.size_bytes.shape):
        before_s = device.factor * float(table.device_s[row, column] + table.encode_s[row, column])
        cloud_s = float(table.cloud_s[row, column] + table.decode_s[row, column])
        finish_s = device.factor * float(table.finish_s[row, column])
        megabits = float(table.size_bytes[row, column]) * 8e-6
        rtt_s = platforms.rtt_s if megabits else 0.0
        left_s = sla_s - before_s
        wait_s = float(hedge_s(left_s, finish_s, device.cautious_spread))
        slack_s = left_s - cloud_s - rtt_s
        answered = 1.0
        if megabits:
            answered = float(link.on_time(np.array([megabits / slack_s]))[0]) if slack_s > 0 else 0.0
        spread = np.hypot(device.spread * before_s, 0.02 * cloud_s) / (before_s + cloud_s)
        on_time = answered * share_in_budget(before_s + cloud_s, sla_s - rtt_s, spread)
        kept = share_in_budget(finish_s, left_s - wait_s, device.spread) if wait_s < left_s else 0.0
        rescued = (1 - answered) * min(kept, share_in_budget(before_s + finish_s, sla_s, device.spread))
        if answered < (0.1 if rescued > answered else 0.02):  # it would only take the link from the next frames
            continue
        best = max(best, (on_time + rescued) * float(random_accuracy(table)[row, column]))
    return best


@pytest.mark.parametrize("varies_by", [0.0, 0.1, 0.3])
def test_adaptive_has_the_best_expected_accuracy_by_brute_force(platforms, varies_by):
    for sla_s in (0.01, 0.03, 0.05, 0.1, 0.3):
        policy, table = policy_with(platforms, random_accuracy)
        device, alone = MachineCorrection(), Plan("none", 0.0, (0,) * 6, split=7, payload=LOCAL)
        for sign in (1, -1) * 8 if varies_by else ():
            expected = Prediction(0.1 * device.factor, 0.0, 0.0, 0.0, 0.0, 0.0, finish_s=0.0, size_bytes=0.0)
            measured = Measured(device_s=0.1 * (1 + sign * varies_by))
            policy.observe(outcome_of(Decision(alone, expected), measured=measured))
            device.observe(measured.device_s, expected.device_s, sla_s=0.1)
        chosen = policy.choose(Situation(0.0, sla_s)).predicted
        best = best_by_brute_force(platforms, table, sla_s, RateForecast(platforms.rate_mbps), device)
        if chosen.on_time >= 0.02:  # otherwise all plans are late, and time counts instead
            assert chosen.on_time * chosen.accuracy == pytest.approx(best, abs=1e-4)
        else:
            assert best < 0.03


def test_plans_without_a_measurement_are_not_chosen_while_measured_ones_exist(platforms):
    def only_local(table):
        return np.array([[0.8 if o.payload == LOCAL else np.nan for o in table.options]] * len(table.schedules))

    policy, _ = policy_with(platforms, only_local)
    assert policy.choose(Situation(0.0, 10.0)).plan.is_local


def test_adaptive_without_measurements_takes_the_plan_that_typically_loses_least(platforms):
    policy = make_policy("adaptive", platforms)
    generous = policy.choose(Situation(0.0, 10.0))
    assert generous.plan.level == 0.0
    assert generous.plan.payload == "png"  # lossless, and faster than the device
    assert generous.predicted.accuracy is None
    urgent = policy.choose(Situation(0.0, 0.04))
    assert urgent.plan.level > 0 or not urgent.plan.is_local


def test_unused_link_is_probed_only_by_policies_that_could_use_it(platforms):
    slow = dataclasses.replace(platforms, rate_mbps=0.01)
    assert make_policy("adaptive", slow).choose(Situation(0.0, 10.0)).probe_bytes > 0
    assert make_policy("device-only", slow).choose(Situation(0.0, 10.0)).probe_bytes == 0
    policy = make_policy("janus", slow)
    assert policy.choose(Situation(0.0, 0.2)).probe_bytes > 0
    assert policy.choose(Situation(0.1, 0.2, last_probe_s=0.0)).probe_bytes == 0
    assert policy.choose(Situation(0.6, 0.2, last_probe_s=0.0)).probe_bytes > 0


def test_a_device_that_no_link_can_help_stops_probing_often(platforms):
    policy = make_policy("adaptive", dataclasses.replace(platforms, rate_mbps=0.01))
    lost = Prediction(0.1, 0.0, 0.0, 0.0, 0.0, 0.0, finish_s=0.0, size_bytes=0.0, on_time=0.0)
    soon, later = (Situation(at_s, 1e-4, last_probe_s=0.0) for at_s in (0.2, 0.6))
    here = policy.choose(soon).plan
    assert policy.choose(soon).probe_bytes > 0
    for _ in range(100):
        policy.observe(outcome_of(Decision(here, lost)))
    assert policy.choose(soon).probe_bytes == 0
    assert policy.choose(later).probe_bytes > 0
    policy.observe(outcome_of(Decision(here, dataclasses.replace(lost, on_time=0.9))))
    assert policy.choose(soon).probe_bytes > 0


@pytest.mark.parametrize("name", POLICIES)
def test_choosing_changes_nothing(platforms, name):
    policy = make_policy(name, dataclasses.replace(platforms, rate_mbps=0.01))
    assert policy.choose(Situation(0.0, 0.2)) == policy.choose(Situation(0.0, 0.2))


def test_harmonic_mean_starts_from_the_offline_mean_and_then_forgets_it():
    link = HarmonicMean(cold_start_mbps=7.0)
    assert link.rate_mbps == 7.0
    link.observe(Transfer(0.0, 1_000_000, 1.0, 0.01))
    link.observe(Transfer(0.0, 1_000_000, 0.5, 0.01))
    assert link.rate_mbps == pytest.approx(2 / (1 / 8 + 1 / 16))


def test_algorithm_1_returns_the_largest_level_when_nothing_is_in_time(platforms):
    table = policy_table("janus", platforms)
    decision = SmallestLevel(table, HarmonicMean(0.001), 0.02).choose(Situation(0.0, 1e-6))
    assert decision.plan.level == levels("exponential", platforms.shape)[-1]


def test_late_frames_do_not_wait_for_a_dead_link(platforms):
    policy, _ = policy_with(platforms, lambda table: np.full(table.size_bytes.shape, 0.9))
    assert not policy.choose(Situation(0.0, 0.001)).plan.is_local  # the link seems to be up: the cloud is fastest
    for _ in range(12):
        policy.observe(failed_outcome())
    assert policy.choose(Situation(0.0, 0.001)).plan.is_local


def test_a_frame_that_is_late_anyway_is_not_sent_over_a_link_that_delivers_nothing(platforms):
    policy, table = policy_with(platforms, random_accuracy)
    sla_s = 0.9 * float(table.device_s[:, table.size_bytes[0] == 0].min())
    for _ in range(30):
        policy.observe(failed_outcome())
    assert policy.choose(Situation(0.0, sla_s)).plan.is_local


def outcome_of(decision, **changes):
    outcome = Outcome(
        frame=0,
        at_s=0.0,
        sla_s=0.1,
        plan=decision.plan,
        predicted=decision.predicted,
        measured=Measured(),
        size_bytes=0,
        answer=Answer((0,), (1.0,)),
        fallback=None,
        transfers=(),
    )
    return dataclasses.replace(outcome, **changes)


def failed_outcome():
    plan = Plan("none", 0.0, (0,) * 6, split=0, payload="jpeg90")
    predicted = Prediction(0.0, 0.0, 0.1, 0.0, 0.0, 0.0, finish_s=0.1, size_bytes=3000.0)
    failed = Transfer(0.0, 3000, send_s=0.5, rtt_s=None)
    return outcome_of(Decision(plan, predicted), size_bytes=3000, fallback="gone", transfers=(failed,))


def test_machine_without_any_error_can_be_planned_for(platforms):
    policy, _ = policy_with(platforms, lambda table: np.full(table.size_bytes.shape, 0.9))
    for frame in range(2000):
        decision = policy.choose(Situation(float(frame), 10.0))
        predicted = decision.predicted
        exact = Measured(device_s=predicted.device_s, encode_s=predicted.encode_s, cloud_s=predicted.cloud_s)
        policy.observe(outcome_of(decision, frame=frame, sla_s=0.01, measured=exact))
    assert 0.9 < decision.predicted.on_time <= 1.0


def test_a_new_token_format_needs_an_entry_in_token_formats_alone(monkeypatch, platforms):
    monkeypatch.setitem(TOKEN_FORMATS, "float12", (12, True))
    machines = {
        "device": dataclasses.replace(platforms.device, encode={"float12": platforms.device.encode["float8"]}),
        "cloud": dataclasses.replace(platforms.cloud, decode={"float12": platforms.cloud.decode["float8"]}),
    }
    private = dataclasses.replace(platforms, **machines, images_allowed=False)
    decision = make_policy("adaptive", private).choose(Situation(0.0, 0.06))
    assert decision.plan.payload == "float12"
