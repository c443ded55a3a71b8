"""What is closed, or left behind by a fork, says so; nothing leaks and nothing hangs."""

import contextlib
import multiprocessing
import os
import threading

import pytest
from cloud_requests import image_request
from patience import PATIENCE_S

from janus_vit.cloud.batch_runner import BatchRunner
from janus_vit.cloud.loop import EngineLoop
from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError, JanusError, Unreachable
from janus_vit.model.engines.known_time import KnownTimeEngine
from janus_vit.runtime.connect import connect
from janus_vit.runtime.grpc_client import GrpcTransport
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import constant_costs
from janus_vit.scheduling.job import Job
from janus_vit.scheduling.scheduler import Scheduler
from janus_vit.wire.answer_check import Outputs


@pytest.fixture
def profile(make_profile):
    return make_profile(1e-5, model="small")


@pytest.fixture
def start(model, profile):
    def start(listen="127.0.0.1:0", frame_s=1e-3, **limits):
        engine, costs = KnownTimeEngine(model, 1e-3, frame_s), constant_costs(1e-3, frame_s, model.shape.blocks)
        return Cloud(model, profile, listen, engine=engine, costs=costs, config=CloudConfig(**limits))

    return start


def test_a_closed_device_says_so(model, profile, start, frames):
    with start() as cloud:
        device = connect(model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy="cloud-only")
        device.infer(frames[0])
        device.close()
        with pytest.raises(InputError, match="the device is closed: connect again"):
            device.infer(frames[0])
        device.close()


def until_closed(device, frame):
    with contextlib.suppress(InputError):
        while True:
            yield device.infer(frame)


@pytest.mark.parametrize("policy", ["cloud-only", "adaptive"])
def test_a_frame_that_runs_while_its_device_is_closed_is_finished_here(model, profile, start, frames, policy):
    with start(frame_s=0.05) as cloud:
        device = connect(model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy=policy)
        outcomes = [device.infer(frames[0])]
        closing = threading.Timer(0.1, device.close)
        closing.start()
        outcomes += until_closed(device, frames[0])
        closing.join()
    assert all(outcome.answer.classes for outcome in outcomes)
    assert all(outcome.fallback is None or outcome.fallback.startswith("Unreachable") for outcome in outcomes)


def test_a_closed_connection_says_so(model, start):
    with start() as cloud:
        transport = GrpcTransport(f"127.0.0.1:{cloud.port}", Outputs(7))
        transport.infer(image_request(model), PATIENCE_S)
        transport.close()
        for call in (lambda: transport.infer(image_request(model), PATIENCE_S), lambda: transport.hello(PATIENCE_S)):
            with pytest.raises(Unreachable, match="is closed"):
                call()
        assert not transport.measure_link(1_000, PATIENCE_S).delivered
        assert not transport.probe(1_000, PATIENCE_S).result(PATIENCE_S).transfer.delivered


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("limits", [{}, {"metrics_port": 0}, {"ingest_processes": 1}])
def test_a_cloud_that_cannot_listen_leaves_no_thread_and_no_file_behind(start, limits):
    with start() as cloud:
        listen, threads, files = f"127.0.0.1:{cloud.port}", threading.active_count(), open_files()
        for _ in range(4):
            with pytest.raises(InputError, match="cannot listen"):
                start(listen, **limits)
        assert threading.active_count() == threads
        assert open_files() <= files + 1


def test_a_cloud_whose_page_cannot_listen_leaves_no_thread_behind(start):
    with start(metrics_port=0) as cloud:
        threads = threading.active_count()
        for _ in range(4):
            with pytest.raises(InputError, match="metrics cannot be served"):
                start(metrics_port=cloud.metrics_port)
        assert threading.active_count() == threads


def in_fork(work):
    """Run in a forked process; return the error's type and text."""

    def child(pipe):
        try:
            work()
            pipe.send(("no error", ""))
        except JanusError as error:
            pipe.send((type(error).__name__, str(error)))
        pipe.close()
        os._exit(0)

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=child, args=(theirs,))
    process.start()
    try:
        assert ours.poll(PATIENCE_S), "the forked process hangs"
        return ours.recv()
    finally:
        process.kill()
        process.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_is_told_to_connect_itself(model, profile, start, frames):
    with start() as cloud:
        address = f"127.0.0.1:{cloud.port}"
        with connect(model, address, profile, sla_s=PATIENCE_S, policy="cloud-only") as device:
            device.infer(frames[0])
            told = in_fork(lambda: device.infer(frames[0]))
            assert told == ("InputError", "the device was connected in another process: connect in this one")
            assert device.infer(frames[0]).fallback is None
        transport = GrpcTransport(address, Outputs(7))
        for call in (
            lambda: transport.infer(image_request(model), PATIENCE_S),
            lambda: transport.hello(PATIENCE_S),
            lambda: transport.probe(1_000, PATIENCE_S),
            lambda: transport.measure_link(1_000, PATIENCE_S),
        ):
            told = in_fork(call)
            assert told[0] == "InputError"
            assert "connect after the fork" in told[1]
        assert transport.infer(image_request(model), PATIENCE_S).answer.classes
        transport.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_engine_is_told_to_start_after_the_fork(model, engine):
    costs = constant_costs(1e-3, 1e-3, model.shape.blocks)
    loop = EngineLoop(Scheduler(costs, model.shape.blocks, CloudConfig()), BatchRunner(model, engine))
    job = Job(0, "device", 0.0, 1e9, 0, (17,) * 7)
    for call in (lambda: loop.check(job), lambda: loop.submit(job, None, print)):
        told = in_fork(call)
        assert told[0] == "Unreachable"
        assert "make the cloud after the fork" in told[1]
    loop.close()
