"""Simulated fleets: every frame is accounted for, the same seed gives the same frames, and load does what it should."""

from dataclasses import replace

import numpy as np
import pytest

from janus_vit.fleet.contenders import CONTENDERS, contender
from janus_vit.fleet.file import mixed_fleet
from janus_vit.fleet.results import DROPPED
from janus_vit.fleet.simulate import simulate_fleet
from janus_vit.fleet.spec import DeviceKind, members, with_absence
from janus_vit.fleet.streams import ticks_s
from janus_vit.links.generator import trace_from
from janus_vit.planning.policies.presets import make_policy
from janus_vit.reproduction.published import published_profile
from janus_vit.simulation.simulate import simulate

SECONDS = 4.0


def orin_fleet(link="constant:20", sla_s=0.3):
    kind = DeviceKind("orin", 1.0, published_profile("orin-nano", "vit-large-384"), sla_s, 0.3, (link,), 0.02)
    return replace(mixed_fleet(), kinds=(kind,))


def run(fleet, count, name, seconds=SECONDS, seed=3, warm_up_s=0.0):
    return simulate_fleet(fleet, members(fleet, count, seconds, seed), contender(name), warm_up_s)


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_frame_of_every_camera_has_an_outcome(name):
    fleet = mixed_fleet()
    drawn = members(fleet, 12, SECONDS, seed=1)
    frames = simulate_fleet(fleet, drawn, contender(name)).frames
    for index, member in enumerate(drawn):
        assert frames.captured_s[frames.device == index] == pytest.approx(ticks_s(member))
    assert (frames.total_s[frames.kind == DROPPED] == np.inf).all()
    assert (frames.total_s > 0).all()


@pytest.mark.parametrize("name", ["jpeg-batches-8", "adaptive", "adaptive-fleet"])
def test_the_same_seed_gives_the_same_frames_and_another_one_others(name):
    fleet = mixed_fleet()
    first, again, other = (run(fleet, 6, name, seed=seed) for seed in (5, 5, 6))
    assert first.frames.digest == again.frames.digest
    assert first.prices == again.prices
    assert first.frames.digest != other.frames.digest


@pytest.mark.parametrize(
    ("policy", "link", "ends"),
    [("adaptive", "lte-driving", {True}), ("adaptive", "5g-driving", {True, False}), ("janus", "lte-driving", {True})],
)
def test_a_fleet_of_one_device_is_the_simulation_of_one_device(policy, link, ends):
    """Frame by frame, whether the cloud answers (`ends`: True) or the device, which works on frames while it waits."""
    fleet, seconds = orin_fleet(link), 30.0
    (member,) = members(fleet, 1, seconds, seed=2)
    member = replace(member, phase_s=0.0, begin_s=0.0)
    ours = []
    simulate_fleet(fleet, [member], contender(policy), on_outcome=lambda member, outcome: ours.append(outcome))
    platforms = member.platforms(fleet)
    alone = list(simulate(make_policy(policy, platforms), platforms, member.trace, 0.3, seconds, 0.3))
    assert {outcome.fallback is None for outcome in ours} == ends
    assert [outcome.plan for outcome in ours] == [outcome.plan for outcome in alone]
    for part in ("total_s", "discarded_s", "waited_s", "fallback_s"):
        both = [[getattr(outcome.measured, part) for outcome in outcomes] for outcomes in (ours, alone)]
        assert both[0] == pytest.approx(both[1])


def test_devices_of_a_full_cloud_answer_in_time_because_they_begin_while_they_wait():
    outcomes = []
    fleet = orin_fleet()
    simulate_fleet(
        fleet,
        members(fleet, 64, SECONDS, seed=3),
        contender("adaptive"),
        on_outcome=lambda member, outcome: outcomes.append(outcome),
    )
    own = [outcome for outcome in outcomes if outcome.fallback is not None]
    discarded = [outcome for outcome in outcomes if outcome.measured.discarded_s > 0]
    assert min(len(own), len(discarded)) > 0.01 * len(outcomes)
    assert all(outcome.met for outcome in own)


def test_one_device_alone_waits_for_nobody():
    frames = run(orin_fleet(), 1, "jpeg-one-by-one").frames
    cost_s = 0.02 + frames.total_s[0] - frames.total_s[0]  # the round trip is part of every frame
    assert frames.total_s.min() > cost_s
    assert np.ptp(frames.total_s) < 1e-9


def test_frames_that_come_one_by_one_wait_for_each_other():
    fleet = orin_fleet()
    two = [replace(member, phase_s=0.0) for member in members(fleet, 2, SECONDS, seed=0)]
    frames = simulate_fleet(fleet, two, contender("jpeg-one-by-one")).frames
    first, second = (np.sort(frames.total_s[frames.device == index]) for index in range(2))
    profile = fleet.cloud.profile
    whole_s = profile.stem_s + fleet.shape.blocks * float(profile.quadratic.seconds(577)) + profile.head_s
    assert second - first == pytest.approx(whole_s, rel=0.02)


def test_a_full_cloud_refuses_what_it_cannot_answer_in_time():
    light, heavy = (run(orin_fleet(), count, "jpeg-scheduler") for count in (4, 64))
    assert light.refused == 0
    assert light.frames.in_time.all()
    assert heavy.refused > 0.5
    assert heavy.busy > 0.9


def test_batches_form_where_they_pay():
    fleet = mixed_fleet()
    h100 = replace(fleet, cloud=_cloud("h100"))
    assert run(h100, 200, "jpeg-scheduler", 3.0).mean_batch > 4
    assert run(fleet, 64, "jpeg-scheduler", 3.0).mean_batch == 1


def _cloud(machine):
    from janus_vit.fleet.file import published_cloud

    return published_cloud(machine, "vit-large-384")


def test_frames_of_the_warm_up_are_left_out():
    whole = run(orin_fleet(), 4, "adaptive")
    late = run(orin_fleet(), 4, "adaptive", warm_up_s=2.0)
    assert (late.frames.captured_s >= 2.0).all()
    assert late.frames.total_s.tolist() == whole.frames.since(2.0).total_s.tolist()


def test_devices_that_are_away_send_nothing():
    fleet = orin_fleet()
    drawn = with_absence(members(fleet, 4, SECONDS, seed=0), 1.0, 2.5)
    frames = simulate_fleet(fleet, drawn, contender("adaptive")).frames
    away = frames.captured_s[frames.device == 1]
    assert not ((away >= 1.0) & (away < 2.5)).any()
    assert (away < 1.0).any()
    assert (away >= 2.5).any()
    stays = frames.captured_s[frames.device == 0]
    assert ((stays >= 1.0) & (stays < 2.5)).any()


def test_devices_with_the_same_link_do_not_share_it():
    together, alone = (
        run(orin_fleet("constant:8"), 2, "jpeg-one-by-one"),
        run(orin_fleet("constant:8"), 1, "jpeg-one-by-one"),
    )
    assert together.frames.total_s.min() == pytest.approx(alone.frames.total_s.min(), rel=1e-6)


def test_a_generated_link_is_long_enough_for_any_run():
    assert trace_from("lte-driving", 600.0, 0).duration_s >= 600
    assert all(member.trace.duration_s >= 400 for member in members(orin_fleet("lte-driving"), 3, 400.0, seed=0))
