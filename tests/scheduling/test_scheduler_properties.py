"""What holds for every order of arrivals, batches, failures and cancellations."""

import dataclasses
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduled_jobs import BLOCKS, OPEN, make_job, make_scheduler, seconds

from janus_vit.errors import Rejected
from janus_vit.scheduling.job import Batch
from janus_vit.simulation.replay import End, replay

LEAST_RUN_S = 0.5 * 2.1e-3  # of one frame: predictions are corrected to half of the table at least
CONFIGS = st.builds(
    lambda frames, tokens, client, total, entries: dataclasses.replace(
        OPEN,
        max_batch_frames=frames,
        max_batch_tokens=tokens,
        waiting_per_client=client,
        waiting_total=total,
        entry_blocks=tuple(sorted(entries)) or None,
    ),
    st.sampled_from((1, 2, 4, 32)),
    st.sampled_from((60, 150, 32_768)),
    st.sampled_from((1, 3, 50)),
    st.sampled_from((2, 8, 100)),
    st.sets(st.integers(0, BLOCKS), max_size=3),
)
ARRIVALS = st.builds(
    lambda wait, client, entry, deadline, tokens: ("arrive", wait, client, entry, deadline, tokens),
    st.floats(0, 2e-3),
    st.sampled_from("abc"),
    st.integers(0, BLOCKS),
    st.floats(0, 0.05),
    st.integers(2, 100),
)
EVENTS = st.lists(
    st.one_of(
        ARRIVALS,
        ARRIVALS,
        st.tuples(st.just("cancel"), st.integers(0, 40)),
        st.tuples(st.just("finish"), st.floats(0.5, 3.0), st.sets(st.integers(0, 40), max_size=2)),
    ),
    max_size=60,
)


class World:
    """Drives a scheduler and keeps books of every job."""

    def __init__(self, config):
        self.config = config
        self.scheduler = make_scheduler(config)
        self.now_s, self.batch, self.slowness = 0.0, None, 1.0
        self.jobs, self.positions, self.ends = {}, {}, {}

    def end(self, jobs, how):
        for job in jobs:
            assert job.id not in self.ends, "a job ends once"
            self.ends[job.id] = how
            self.positions.pop(job.id)

    def arrive(self, wait, client, entry, deadline, tokens):
        self.now_s += wait
        number = len(self.jobs)
        job = make_job(number, self.now_s + deadline, client=client, arrived_s=self.now_s, entry=entry, tokens=tokens)
        self.jobs[number] = job
        alone_s = seconds(Batch((job,), entry, BLOCKS), LEAST_RUN_S, 0.0) if entry < BLOCKS else 0.0
        try:
            evicted = self.scheduler.add(job, self.now_s)
        except Rejected:
            self.ends[number] = "refused"
            return
        assert alone_s <= deadline, "a job that is late even alone is refused"
        self.positions[number] = entry
        self.end(evicted, "evicted")
        assert all(each.client != client for each in evicted), "nobody makes room for its own client"

    def cancel(self, number):
        known = number in self.positions
        assert self.scheduler.cancel(number) == known
        if known:
            self.end([self.jobs[number]], "cancelled")

    def finish(self, slowness, failed):
        if self.batch is None:
            return
        self.now_s += slowness * seconds(self.batch)
        complete = self.scheduler.finish(self.batch, self.now_s, failed)
        left = [job for job in self.batch.jobs if job.id in self.positions]
        self.end([job for job in left if job.id in failed], "failed")
        alive = [job for job in left if job.id not in failed]
        if self.batch.stop == BLOCKS:
            assert list(complete) == alive
            self.end(complete, "complete")
        else:
            assert complete == ()
            self.positions.update(dict.fromkeys((job.id for job in alive), self.batch.stop))
        self.batch = None

    def dispatch(self):
        if self.batch is not None:
            return
        self.end(self.scheduler.expire(self.now_s), "expired")
        self.batch = self.scheduler.next_batch(self.now_s)
        self.end(self.scheduler.expire(self.now_s), "expired")
        assert (self.batch is None) == (not self.positions), "an engine is idle only if nobody waits"
        if self.batch is not None:
            self.check_batch(self.batch)

    def check_batch(self, batch):
        assert len({job.id for job in batch.jobs}) == len(batch.jobs) <= self.config.max_batch_frames
        assert all(self.positions[job.id] == batch.start for job in batch.jobs), "all stand at the batch's block"
        tokens = sum(job.tokens_at(batch.start) for job in batch.jobs)
        assert tokens <= self.config.max_batch_tokens or len(batch.jobs) == 1
        assert batch.start < batch.stop or batch.start == BLOCKS
        assert batch.stop <= min((at for at in self.config.entries(BLOCKS) if at > batch.start), default=BLOCKS)

    def check_limits(self):
        load = self.scheduler.load(self.now_s)
        assert load.waiting == len(self.positions) <= self.config.waiting_total
        assert load.busy == (self.batch is not None)
        assert 0 <= load.expected_wait_s <= 10
        held = Counter(self.jobs[number].client for number in self.positions)
        assert max(held.values(), default=0) <= self.config.waiting_per_client


def play(config, events):
    world = World(config)
    for name, *values in events:
        getattr(world, name)(*values)
        world.dispatch()
        world.check_limits()
    while world.batch is not None:
        world.finish(1.0, set())
        world.dispatch()
    return world


@given(CONFIGS, EVENTS)
@settings(max_examples=150, deadline=None)
def test_every_job_ends_exactly_once_and_no_limit_is_broken(config, events):
    world = play(config, events)
    assert set(world.ends) == set(world.jobs)
    assert world.scheduler.load(world.now_s).waiting == 0


@given(st.lists(ARRIVALS, max_size=40))
@settings(max_examples=100, deadline=None)
def test_an_engine_that_keeps_its_times_never_computes_a_late_answer(arrivals):
    jobs, now_s = [], 0.0
    for number, (_, wait_s, client, entry, deadline_s, tokens) in enumerate(arrivals):
        now_s += wait_s
        jobs.append(make_job(number, now_s + deadline_s, client=client, arrived_s=now_s, entry=entry, tokens=tokens))
    result = replay(make_scheduler(), jobs, seconds)
    assert len(result.outcomes) == len(jobs)
    assert all(outcome.end is not End.LATE for outcome in result.outcomes)


@given(st.lists(ARRIVALS, min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_another_job_never_lowers_the_expected_wait(arrivals):
    scheduler, before_s = make_scheduler(), 0.0
    for number, (_, _, client, entry, deadline_s, tokens) in enumerate(arrivals):
        scheduler.add(make_job(number, 1.0 + deadline_s, client=client, entry=entry, tokens=tokens), 0.0)
        wait_s = scheduler.load(0.0).expected_wait_s
        assert wait_s >= before_s - 1e-12
        before_s = wait_s
