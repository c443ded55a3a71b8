"""Least costs against every way to batch: no batch takes less than the sum over its frames, or ends earlier."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_vit.planning.plan import ModelShape, tokens_after_blocks
from janus_vit.planning.schedules import make_schedule
from janus_vit.planning.table import Option, build_table
from janus_vit.reproduction.published import SHAPES, cloud_costs
from janus_vit.scheduling.costs import CostTable, constant_costs, profile_costs
from janus_vit.scheduling.job import Batch, Job
from janus_vit.simulation.arrivals import table_engine
from janus_vit.simulation.least_costs import CloudWork, LeastCosts, cloud_work

SHAPE = ModelShape("example", 6, 65, 1, 32, (3, 64, 64))
SECONDS = st.floats(1e-5, 1e-2)


@st.composite
def cost_tables(draw):
    frames = (1, *sorted(draw(st.sets(st.integers(2, 8), max_size=2))))
    tokens = tuple(sorted(draw(st.sets(st.sampled_from([1.0, 10.0, 33.0, 50.0, 65.0]), min_size=1))))
    rows = tuple(tuple(draw(SECONDS) for _ in tokens) for _ in frames)
    stem_s, head_s, merge_s = (tuple(draw(SECONDS) for _ in frames) for _ in range(3))
    return CostTable("example", frames, tokens, rows, stem_s, head_s, merge_s)


@st.composite
def jobs(draw):
    """A frame with any schedule, at any entry block."""
    entry = draw(st.integers(0, SHAPE.blocks))
    merges = tuple(draw(st.lists(st.sampled_from([0, 0, 1, 4, 9]), min_size=6, max_size=6)))
    return Job(draw(st.integers(0, 10**9)), "", 0.0, 1.0, entry, tokens_after_blocks(65, merges)[entry:])


def work_of(job, start, stop):
    """What a job leaves to a segment."""
    tokens = np.array([job.tokens_at(block) for block in range(start, stop + 1)], float)
    return CloudWork(
        blocks=np.array(float(stop - start)),
        tokens=np.array(((tokens[:-1] + 2 * tokens[1:]) / 3).sum()),
        merges=np.array(float((tokens[:-1] > tokens[1:]).sum())),
        stems=np.array(float(start == 0)),
        heads=np.array(float(stop == SHAPE.blocks)),
    )


@given(table=cost_tables(), batch=st.lists(jobs(), min_size=1, max_size=8), data=st.data())
def test_no_batch_takes_less_than_the_sum_over_its_frames(table, batch, data):
    start = max(job.entry for job in batch)
    stop = data.draw(st.integers(start, SHAPE.blocks))
    least = LeastCosts(table, SHAPE, 8)
    taken_s = table_engine(table, SHAPE.blocks, 8)(Batch(tuple(batch), start, stop))
    for line in least.lines:
        assert sum(float(least.engine_s(work_of(job, start, stop), line)) for job in batch) <= taken_s + 1e-12


@given(table=cost_tables(), job=jobs(), company=st.lists(jobs(), max_size=7), data=st.data())
def test_no_frame_ends_earlier_in_any_batches(table, job, company, data):
    """It runs in segments, each with other frames at the same block."""
    engine, least = table_engine(table, SHAPE.blocks, 8), LeastCosts(table, SHAPE, 8)
    stops = sorted({SHAPE.blocks, *data.draw(st.sets(st.integers(job.entry, SHAPE.blocks)))} - {job.entry})
    taken_s, start = 0.0, job.entry
    for stop in stops or [SHAPE.blocks]:
        beside = [each for each in company if each.entry <= start][: data.draw(st.integers(0, 7))]
        taken_s += engine(Batch((job, *beside), start, stop))
        start = stop
    assert float(least.latency_s(work_of(job, job.entry, SHAPE.blocks))) <= taken_s + 1e-12


def test_a_line_is_exact_for_frames_of_its_tokens():
    """The most efficient of all batches, by trying every size."""
    shape, table = SHAPES["vit-large-384"], cloud_costs("h100", "vit-large-384")
    least, engine = LeastCosts(table, shape, 32), table_engine(table, shape.blocks, 32)
    job = Job(0, "", 0.0, 1.0, 0, (577,) * 25)
    best_s = min(engine(Batch((job,) * count, 0, 24)) / count for count in range(1, 33))
    one = [np.array(value) for value in (24.0, 24 * 577.0, 0.0, 1.0, 1.0)]
    assert float(least.engine_s(CloudWork(*one), least.lines[least.line_at(577.0)])) == pytest.approx(best_s)
    alone_s = engine(Batch((job,), 0, 24))
    assert 0.8 * alone_s < float(least.latency_s(CloudWork(*one))) <= alone_s  # lighter frames beside it lower the mean


def test_frames_cost_what_their_share_of_a_full_batch_is_if_times_are_constant():
    least = LeastCosts(constant_costs(6e-3, 6e-4, 6), SHAPE, 4)
    (line,) = least.lines[-1:]
    work = CloudWork(*(np.array(value) for value in (3.0, 3 * 65.0, 1.0, 0.0, 1.0)))
    assert float(least.engine_s(work, line)) == pytest.approx(3 * (1e-3 / 4 + 1e-4))
    assert float(least.latency_s(work)) == pytest.approx(3 * (1e-3 + 1e-4))


def test_the_work_of_a_plan_is_what_the_cloud_runs_after_the_split(make_profile):
    schedules = [make_schedule("exponential", level, SHAPE) for level in (0.0, 0.8)]
    options = [Option(0, "jpeg90"), Option(4, "int8"), Option(6, "int8"), Option(7, "local")]
    cloud = make_profile(1e-5)
    table = build_table(SHAPE, schedules, options, make_profile(2e-4), cloud, "measured")
    work = cloud_work(table)
    assert work.blocks.tolist() == [[6, 2, 0, 0]] * 2
    assert work.stems.tolist() == [[1, 0, 0, 0]] * 2
    assert work.heads.tolist() == [[1, 1, 1, 0]] * 2
    assert work.tokens[0].tolist() == [6 * 65, 2 * 65, 0, 0]
    assert (work.tokens[1, :2] < work.tokens[0, :2]).all()
    assert work.merges.tolist() == [[0, 0, 0, 0], [6, 2, 0, 0]]
    latency_s = LeastCosts(profile_costs(cloud, SHAPE), SHAPE, 4).latency_s(work)
    assert latency_s == pytest.approx(table.cloud_s)  # times grow linearly with tokens, so means are exact
