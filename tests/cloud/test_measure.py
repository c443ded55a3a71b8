"""The cost table that a cloud measures at its start, and what it means for its scheduler."""

import pytest
from conftest import small_model

from janus_vit.cloud.engine_half import Capacity
from janus_vit.cloud.measure import measure_costs
from janus_vit.cloud.server import Cloud
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.known_time import KnownTimeEngine
from janus_vit.scheduling.config import CloudConfig
from janus_vit.simulation.clock import VirtualClock


@pytest.fixture
def make_engine(monkeypatch):
    """Engines that take their known time by the clock that is measured with."""
    clock = VirtualClock()
    monkeypatch.setattr("janus_vit.cloud.measure.time.perf_counter", clock.now)
    return lambda model, fixed_s, frame_s: KnownTimeEngine(model, fixed_s, frame_s, wait=clock.advance)


def test_the_table_holds_what_an_engine_of_known_time_takes(make_engine):
    model = small_model(depth=4)
    table = measure_costs(model, make_engine(model, 0.02, 0.002), max_frames=4)
    assert table.frames == (1, 2, 4)
    for frames, row in zip(table.frames, table.block_s, strict=True):
        assert row == pytest.approx([(0.02 + 0.002 * frames) / 4] * len(row))
    assert max(table.merge_s) == pytest.approx(0.0, abs=1e-9)


def test_measuring_ends_when_its_time_is_spent():
    model = small_model(depth=4)
    shares = []
    table = measure_costs(model, KnownTimeEngine(model, 0.01, 0.0), 64, progress=shares.append, budget_s=0.0)
    assert table.frames == (1,)
    assert len(shares) == 1


def test_a_cloud_says_what_its_engine_can_do(model, make_engine):
    engine = make_engine(model, 2e-3, 1e-4)
    table = measure_costs(model, engine, max_frames=8)
    capacity = Capacity.of(model, engine, table, max_frames=8)
    assert capacity.batch_frames == 8
    assert capacity.frames_per_s == pytest.approx(8 / 2.8e-3)
    assert str(capacity).startswith("engine known-time on cpu in float32, ")


def test_an_engine_that_gains_nothing_from_batches_runs_single_frames_and_announces_no_blocks(model, make_profile):
    profile = make_profile(1e-5, model="small")
    with Cloud(model, profile, engine=EagerEngine(model)) as alone:
        assert alone.capacity.batch_frames == 1
        assert alone.greeting().entry_blocks == ()
    with Cloud(model, profile, engine=KnownTimeEngine(model, 1e-3, 1e-4), config=CloudConfig()) as together:
        assert together.greeting().entry_blocks == (0, 2, 4, 6)
