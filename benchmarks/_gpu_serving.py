"""A cloud with a GPU engine in a process of its own, and devices that send JPEGs to it without a pause."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.connection import Connection

from _gpu_models import make_model
from _load_generator import Load, send_load
from serving import camera_frames, free_profile, running

from janus_vit.cloud.server import Cloud
from janus_vit.model.catalog import Model
from janus_vit.model.engines.gpu.engine import CudaEngine
from janus_vit.planning.payloads import parse_payload
from janus_vit.scheduling.config import CloudConfig
from janus_vit.wire.inputs import encode_input
from janus_vit.wire.messages import Request, serialise_request
from janus_vit.wire.rpc import INFER

_DEADLINE_S = 2.0
_WARM_UP_S = 1.0


@dataclass(frozen=True, slots=True)
class Served:
    """What devices got.

    Attributes:
        devices: that sent one request after the other.
        frames_per_s: answers a second.
        mean_batch: frames in a batch.
        failures: requests without an answer.
    """

    devices: int
    frames_per_s: float
    mean_batch: float
    failures: int


def serve(pipe: Connection, name: str, device: str, ingest: int) -> None:
    """The server's process: answers each message with frames in batches and batches so far."""
    model = make_model(name)
    engine = CudaEngine(model, keep_model=False, device=device)
    with Cloud(model, free_profile(model), engine=engine, config=CloudConfig(ingest_processes=ingest)) as cloud:
        pipe.send(cloud.port)
        value = cloud.metrics.registry.get_sample_value
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            pipe.send((value("janus_batch_frames_sum") or 0.0, value("janus_batch_frames_count") or 0.0))


def served(name: str, device: str, ingest: int, devices: list[int], seconds: float) -> list[Served]:
    """Throughput with so many devices at once.

    Args:
        name: of the model.
        device: "cuda" or "cpu".
        ingest: processes that receive and decode.
        devices: numbers of devices, one load each.
        seconds: of each load.
    """
    model, found = make_model(name), []
    with running(serve, name, device, ingest) as server:
        for count in devices:
            messages = _requests(model, count)
            send_load(Load(server.port, INFER, messages, None, _WARM_UP_S, _DEADLINE_S))
            before = server.read()
            outcomes = send_load(Load(server.port, INFER, messages, None, seconds, _DEADLINE_S))
            frames, batches = server.read() - before
            rate = len(outcomes.latencies_s) / outcomes.elapsed_s
            failures = sum(outcomes.failures.values())
            found.append(Served(count, round(rate, 1), round(frames / max(batches, 1), 2), failures))
    return found


def _requests(model: Model, devices: int) -> list[bytes]:
    """One message for each device; half of them with other merges, so that batches are ragged."""
    payload, preprocessing, blocks = parse_payload("jpeg90"), model.preprocessing, model.shape.blocks
    bodies = [
        encode_input(preprocessing.crop(each), payload, preprocessing.normalise) for each in camera_frames(devices)
    ]
    few = max(1, model.shape.tokens // (4 * blocks))
    plans = [(0,) * blocks, (few,) * (blocks - 1) + (0,)]
    return [
        serialise_request(
            Request(model.fingerprint, "jpeg90", 0, plans[index % 2], 0, 0, _DEADLINE_S, f"device {index}", body)
        )
        for index, body in enumerate(bodies)
    ]
