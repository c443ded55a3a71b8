"""The servers of `ray_serve.py`: the same service in one process, and on Ray Serve. The replicas import this file."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from serving import free_profile, model_224

from janus_vit.cloud.access.settings import Access, Gate
from janus_vit.cloud.engine_half import EngineHalf
from janus_vit.cloud.ray.scale import Scale
from janus_vit.cloud.rpc.server import GrpcServer
from janus_vit.cloud.service import CloudService
from janus_vit.model.engines.known_time import KnownTimeEngine
from janus_vit.scheduling.config import CloudConfig
from janus_vit.scheduling.costs import constant_costs

MARK = "JANUS_BENCHMARK"  # environment variable of all processes of a server, set before they start
_LARGEST_BYTES = 2_000_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def one_by_one(frame_s: float) -> CloudService:
    """A service whose engine takes that long for each frame, one after the other, and computes nothing."""
    torch.set_num_threads(1)
    model = model_224()
    config = CloudConfig(max_batch_frames=1, entry_blocks=(0,))
    costs = constant_costs(0.0, frame_s, model.shape.blocks)
    return EngineHalf(model, free_profile(model), KnownTimeEngine(model, 0.0, frame_s), config, costs).service()


def serve_alone(pipe: Connection, frame_s: float) -> None:
    """The server's process: our own gRPC server with one engine."""
    service = one_by_one(frame_s)
    server = GrpcServer(service, "127.0.0.1:0", CloudConfig(), Gate(Access()))
    _answer(pipe, server.port)
    server.stop(grace_s=0.0)
    service.close()


def serve_on_ray(pipe: Connection, frame_s: float, replicas: int) -> None:
    """The process that starts Ray Serve, with so many replicas."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    from janus_vit.cloud.ray.local import deploy, local_ray

    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    with local_ray(port, _LARGEST_BYTES, cpus=replicas):
        deploy(partial(one_by_one, frame_s), Scale(replicas, replicas, ongoing=2.0, cpus=1, gpus=0), port)
        _answer(pipe, port)


def replica_ids(mark: str) -> list[int]:
    """Process numbers of the replicas that run now."""
    return [int(path.name) for path in _marked(mark) if b"ray::ServeReplica" in _read(path / "cmdline")]


def cpu_s(mark: str) -> float:
    """CPU time so far of all processes of a server that still run."""
    return sum(map(_cpu_s, _marked(mark)))


def _cpu_s(process: Path) -> float:
    fields = _read(process / "stat").rpartition(b")")[2].split()  # from the third field on
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else 0.0


def _marked(mark: str) -> list[Path]:
    entry = f"{MARK}={mark}".encode()
    return [path for path in Path("/proc").iterdir() if path.name.isdecimal() and entry in _read(path / "environ")]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


def _answer(pipe: Connection, port: int) -> None:
    """Send the port, and wait until the other side closes the pipe."""
    pipe.send(port)
    with suppress(EOFError):
        pipe.recv()
