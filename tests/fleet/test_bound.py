"""The bound against brute force, by hand, and beside real schedules."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_vit.errors import InputError
from janus_vit.fleet.bound import BoundDevice, fleet_bound
from janus_vit.links.generator import trace_from
from janus_vit.links.traces import Trace
from janus_vit.planning.schedules import make_schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.reproduction.published import SHAPES, assumed_accuracy, cloud_costs, published_profile
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import CostTable
from janus_vit.scheduling.estimate import BatchCosts
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.simulation.arrivals import table_engine
from janus_vit.simulation.replay import End, replay

CONFIG = CloudConfig(max_batch_frames=4)
COSTS = CostTable(  # a batch of four takes twice as long as a frame
    model="example",
    frames=(1, 4),
    tokens=(1.0, 65.0),
    block_s=((8e-4, 2e-3), (16e-4, 4e-3)),
    stem_s=(1e-3, 2e-3),
    head_s=(5e-4, 1e-3),
    merge_s=(1e-4, 2e-4),
)


def few_plans(platforms):
    schedules = [make_schedule("exponential", level, platforms.shape) for level in (0.0, 0.8)]
    options = [Option(0, "jpeg90"), Option(2, "int8"), Option(7, "local")]
    return build_table(platforms.shape, schedules, options, platforms.device, platforms.cloud, "measured")


def link(rates):
    return Trace("link", 0.05, np.array([*rates, 1.0]))


def cells_in_time(device, costs, captured_s, at_most_s):
    """Value and engine seconds of every plan of a frame that is in time, and of no answer; one plan at a time."""
    table, depth = device.table, device.table.shape.blocks
    found = [(0.0, 0.0)]
    for row, column in np.ndindex(table.size_bytes.shape):
        split, tokens = (
            table.options[column].split,
            np.array(table.schedules[row].tokens[table.options[column].split :]),
        )
        sent_s = captured_s + table.device_s[row, column] + table.encode_s[row, column]
        total_s, engine_s = sent_s - captured_s, 0.0
        if split <= depth:
            work, merges = ((tokens[:-1] + 2 * tokens[1:]) / 3).sum(), (tokens[:-1] > tokens[1:]).sum()
            by_count = [
                costs.segment_s(n, split, depth, n * work, n * merges) for n in range(1, CONFIG.max_batch_frames + 1)
            ]
            engine_s = min(seconds / (index + 1) for index, seconds in enumerate(by_count))
            arrived_s = device.trace.finish_time(sent_s, round(table.size_bytes[row, column]))
            total_s = arrived_s - captured_s + device.rtt_s + table.decode_s[row, column] + by_count[0]
        if total_s <= at_most_s:
            found.append((float(device.accuracy[row, column]), float(engine_s)))
    return found


def brute_force(devices, duration_s, clouds):
    """The best assignment of whole frames to plans."""
    costs = BatchCosts(COSTS, devices[0].table.shape.blocks, CONFIG.max_batch_frames)
    frames = [
        cells_in_time(device, costs, float(at_s), device.sla_s) for device in devices for at_s in device.captured_s
    ]
    capacity_s = clouds * (duration_s + max(device.sla_s for device in devices))
    assignments = itertools.product(*frames)
    return max(
        sum(value for value, _ in each) for each in assignments if sum(engine_s for _, engine_s in each) <= capacity_s
    ) / len(frames)


@st.composite
def small_fleets(draw):
    """Up to two devices with up to two frames each: SLA, rates of the link, and capture times."""
    rates = st.lists(st.sampled_from([0.0, 0.3, 2.0, 10.0]), min_size=2, max_size=6)
    captured = st.lists(st.floats(0, 2), min_size=1, max_size=2)
    return draw(st.lists(st.tuples(st.sampled_from([0.03, 0.06, 0.15]), rates, captured), min_size=1, max_size=2))


@settings(max_examples=60)
@given(fleet=small_fleets(), clouds=st.sampled_from([0, 1, 1_000]), seed=st.integers(0, 99))
def test_the_best_assignment_of_whole_frames_never_exceeds_it(make_platforms, fleet, clouds, seed):
    platforms = make_platforms()
    table = few_plans(platforms)
    accuracy = np.random.default_rng(seed).random(table.size_bytes.shape)
    devices = [
        BoundDevice(table, accuracy, link(rates), 0.01, sla_s, np.array(captured)) for sla_s, rates, captured in fleet
    ]
    scarce = replace_times(devices)
    best, bound = brute_force(scarce, -0.14, clouds), fleet_bound(scarce, COSTS, CONFIG, -0.14, clouds)
    assert best <= bound.mean + 1e-9
    if clouds != 1 or bound.engine_share < 1:  # the engine's time is no limit, or there is none
        assert best == pytest.approx(bound.mean)


def replace_times(devices):
    """Let the longest SLA be 0.15 s, so that a duration of -0.14 s leaves 10 ms of engine time for all frames."""
    return [*devices[:-1], replace(devices[-1], sla_s=0.15)]


def jpeg_fleet(number, accuracy=0.9, period_s=0.3, duration_s=30.0):
    """Devices on fast links that can only send JPEGs to one V100."""
    shape, device, cloud = (
        SHAPES["vit-large-384"],
        *(published_profile(each, "vit-large-384") for each in ("orin-nano", "v100")),
    )
    table = build_table(shape, [make_schedule("none", 0.0, shape)], [Option(0, "jpeg90")], device, cloud, "measured")
    share, fast = np.array([[accuracy]]), trace_from("constant:100", 10.0, 1)
    captured_s = np.arange(0, duration_s - 1e-9, period_s)
    return [BoundDevice(table, share, fast, 0.02, 0.3, captured_s) for _ in range(number)]


def test_one_v100_that_runs_frames_one_by_one_serves_as_many_as_fit_into_its_time():
    """A frame takes 32.4 ms, so 30.3 s are enough for 934 of the 100 frames of each of 8, 16 or 64 devices."""
    costs = cloud_costs("v100", "vit-large-384")
    frame_s = BatchCosts(costs, 24, 1).route((577,) * 25).share_s[0]
    for number in (8, 16, 64):
        bound = fleet_bound(jpeg_fleet(number), costs, CloudConfig(), 30.0)
        served = min(1.0, 30.3 / frame_s / (100 * number))
        assert bound.mean == pytest.approx(0.9 * served)
        assert bound.engine_share == pytest.approx(min(1.0, 100 * number * frame_s / 30.3))
        assert bound.answers_per_engine_s == pytest.approx(0.9 / frame_s if number > 9 else 0.0)
        assert (bound.without_engine, bound.frames, bound.standard_error) == (0.0, 100 * number, 0.0)
        assert bound.unlimited_engine == pytest.approx(0.9)


def test_without_a_cloud_it_is_what_the_devices_do_alone(platforms):
    table = few_plans(platforms)
    accuracy = np.array([[0.9, 0.9, 0.9], [0.8, 0.8, 0.7]])
    captured_s = np.arange(10) * 0.1
    for sla_s, alone in ((0.15, 0.9), (table.device_s[1, 2] + 1e-6, 0.7), (0.001, 0.0)):
        bound = fleet_bound(
            [BoundDevice(table, accuracy, link([10.0]), 0.01, sla_s, captured_s)], COSTS, CONFIG, 1.0, 0
        )
        assert bound.mean == bound.without_engine == alone


def mixed_devices(platforms, frames=40):
    table = few_plans(platforms)
    accuracy = np.array([[0.88, 0.9, 0.9], [0.79, 0.8, 0.8]])
    random = np.random.default_rng(4)
    traces = [link(random.choice([0.0, 0.5, 3.0, 12.0], 30)) for _ in range(3)]
    return [
        BoundDevice(table, accuracy, trace, 0.01, sla_s, np.sort(random.uniform(0, 9, frames)))
        for trace in traces
        for sla_s in (0.05, 0.07)
    ]


def test_more_engines_never_give_less_and_each_gives_less_than_the_one_before(platforms):
    devices = mixed_devices(platforms)
    found = [fleet_bound(devices, COSTS, CONFIG, -0.05, clouds) for clouds in range(0, 40, 4)]
    steps = np.diff([bound.mean for bound in found])
    assert (steps >= -1e-12).all()
    assert (np.diff(steps) <= 1e-12).all()
    assert found[0].mean < found[-1].mean <= found[-1].unlimited_engine + 1e-12


def test_larger_batches_never_give_less(platforms):
    devices = mixed_devices(platforms)
    found = [fleet_bound(devices, COSTS, CloudConfig(max_batch_frames=most), 0.05).mean for most in (1, 2, 4)]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_devices_with_equal_tables_count_as_those_with_their_own(platforms):
    devices = mixed_devices(platforms)
    apart = [replace(device, table=few_plans(platforms), accuracy=device.accuracy.copy()) for device in devices]
    together = fleet_bound(devices, COSTS, CONFIG, 0.05)
    assert fleet_bound(apart, COSTS, CONFIG, 0.05).mean == pytest.approx(together.mean)


def test_a_sample_estimates_it(platforms):
    devices = mixed_devices(platforms, frames=400)
    whole = fleet_bound(devices, COSTS, CONFIG, 9.0)
    sample = fleet_bound(devices, COSTS, CONFIG, 9.0, sampled_frames=500)
    assert (whole.frames, sample.frames) == (2_400, 500)
    assert 0 < sample.standard_error < 0.03
    assert abs(sample.mean - whole.mean) < 3 * sample.standard_error


def test_an_answer_after_a_fallback_counts_if_its_accuracy_is_given(platforms):
    table = few_plans(platforms)
    accuracy, rescued = np.full((2, 3), 0.5), np.full((2, 3), 0.0)
    rescued[0, 1] = 0.75
    total_s = float((table.device_s + table.finish_s)[0, 1])
    for sla_s, best in ((total_s + 1e-6, 0.75), (total_s - 1e-6, 0.5)):
        device = BoundDevice(table, accuracy, link([10.0]), 0.01, sla_s, np.zeros(3), rescued)
        assert fleet_bound([device], COSTS, CONFIG, 1.0, clouds=0).mean == best


def test_a_fleet_without_frames_is_refused(platforms):
    device = replace(mixed_devices(platforms)[0], captured_s=np.array([]))
    with pytest.raises(InputError, match="no device of the fleet captures a frame"):
        fleet_bound([device], COSTS, CONFIG, 1.0)


@pytest.mark.parametrize("machine", ["v100", "h100"])
@pytest.mark.parametrize("load", [0.7, 1.1, 1.6])
@pytest.mark.parametrize("levels", [(0.0,), (0.0, 0.27)])
def test_no_schedule_of_the_live_scheduler_exceeds_it(machine, load, levels):
    """Frames arrive at random, with random plans; the bound chooses among them. With one level it is nearly reached."""
    shape, duration_s, sla_s = SHAPES["vit-large-384"], 5.0, 0.25
    costs, config = cloud_costs(machine, shape.name), CloudConfig(waiting_per_client=10_000, waiting_total=10_000)
    device, cloud = (published_profile(each, shape.name) for each in ("orin-nano", machine))
    schedules = [make_schedule("exponential", level, shape) for level in levels]
    table = build_table(shape, schedules, [Option(0, "jpeg90"), Option(0, "jpeg75")], device, cloud, "measured")
    accuracy = assumed_accuracy(shape.name).of_plans(table)
    fast = trace_from("constant:100", 10.0, 1)
    random = np.random.default_rng(6)
    rate_hz = load * {"v100": 31, "h100": 800}[machine]
    captured_s = np.sort(random.uniform(0, duration_s, int(rate_hz * duration_s)))
    cells = random.integers(0, (len(levels), 2), (len(captured_s), 2))
    jobs = []
    for number, (at_s, (row, column)) in enumerate(zip(captured_s, cells, strict=True)):
        before_s = table.encode_s[row, column] + 0.01 + table.decode_s[row, column]
        arrived_s = fast.finish_time(at_s + before_s, round(table.size_bytes[row, column]))
        jobs.append(Job(number, "", arrived_s, at_s + sla_s - 0.01, 0, schedules[row].tokens))
    jobs.sort(key=lambda job: job.arrived_s)
    engine = table_engine(costs, shape.blocks, config.max_batch_frames)
    run = replay(Scheduler(costs, shape.blocks, config), jobs, engine)
    reached = sum(accuracy[tuple(cells[each.job.id])] for each in run.outcomes if each.end is End.IN_TIME)
    bound = fleet_bound([BoundDevice(table, accuracy, fast, 0.02, sla_s, captured_s)], costs, config, duration_s)
    assert reached / len(jobs) <= bound.mean
    assert bound.mean <= accuracy.max()
    if load < 1 or len(levels) == 1:
        assert reached / len(jobs) >= 0.9 * bound.mean
