"""Jobs and engines of known time for tests of the cloud's scheduler."""

from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import constant_costs
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Scheduler

BLOCKS = 12
FIXED_S, PER_FRAME_S = 2e-3, 1e-4  # of a whole run
OPEN = CloudConfig(safety_s=0.0, least_segment_s=0.0, waiting_per_client=1_000, waiting_total=100_000)


def make_job(number, deadline_s=1.0, *, client="a", arrived_s=0.0, entry=0, tokens=50):
    return Job(number, client, arrived_s, deadline_s, entry, (tokens,) * (BLOCKS + 1 - entry))


def make_scheduler(config=OPEN, fixed_s=FIXED_S, per_frame_s=PER_FRAME_S):
    return Scheduler(constant_costs(fixed_s, per_frame_s, BLOCKS), BLOCKS, config)


def seconds(batch, fixed_s=FIXED_S, per_frame_s=PER_FRAME_S):
    return (fixed_s + per_frame_s * len(batch.jobs)) * (batch.stop - batch.start) / BLOCKS


def ids(jobs):
    return [job.id for job in jobs]
