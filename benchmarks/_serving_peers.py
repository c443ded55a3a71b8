"""What `serving_peers.py` compares: servers in processes of their own, all with the same model and engine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

import numpy as np
import torch
from _common import run_in_process

from janus_vit.calibration.profiler import Effort, profile_machine
from janus_vit.cloud.server import Cloud
from janus_vit.model.answers import answers_of
from janus_vit.model.catalog import Model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.payloads import parse_payload
from janus_vit.wire.inputs import decode_pixels

SIDE, CLASSES = 224, 1000
SIZES = {"vit-tiny": (192, 3), "vit-small": (384, 6)}  # width, heads
PAYLOAD = parse_payload("jpeg90")
PATH = "/predict"
_PATCH = 16
_CORES = sorted(os.sched_getaffinity(0))  # in the process that starts all others, before it is pinned
_SERVER_CORES, _LOAD_CORES = {_CORES[0]}, {_CORES[-1]}
_EFFORT = Effort(points=6, repeats=5, limit_s=4.0)
_START_S, _STOP_S, _POLL_S = 120.0, 20.0, 0.2


@dataclass(frozen=True, slots=True)
class Service:
    """What each server does.

    Attributes:
        model: key of `SIZES`.
        blocks: depth of the model.
        engine: name of the engine.
        frame_s: the engine alone for one frame.
        deadline_s: from sending to an answer that counts.
    """

    model: str
    blocks: int
    engine: str
    frame_s: float
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Batching:
    """Settings of a peer: its batches, and its limit against late answers.

    Attributes:
        frames: in the largest batch.
        wait_s: for a batch to fill.
        patience: share of the deadline that a request may wait (LitServe), or that the engine may need for all requests
            under way (Ray Serve).
    """

    frames: int
    wait_s: float
    patience: float

    def longest_wait_s(self, service: Service) -> float:
        """Time after which LitServe drops a request that still waits."""
        return self.patience * service.deadline_s

    def most_ongoing(self, service: Service) -> int:
        """Requests under way beyond which Ray Serve refuses more."""
        return max(self.frames, round(self.patience * service.deadline_s / service.frame_s))


class Classifier:
    """What both peers run: JPEGs of the model's size to the most probable classes.

    Args:
        service: model and engine.
    """

    def __init__(self, service: Service) -> None:
        torch.set_num_threads(1)
        self._model = random_model(service.model, service.blocks)
        self._engine = make_engine(self._model, service.engine)
        self.classify([torch.zeros(SIDE, SIDE, 3, dtype=torch.uint8)])  # the first run is slower

    def decode(self, jpeg: bytes) -> torch.Tensor:
        """Decode a JPEG to uint8 pixels [H, W, 3]."""
        return torch.as_tensor(decode_pixels(jpeg, PAYLOAD, self._model.shape.input_shape))

    @torch.inference_mode()
    def classify(self, pixels: list[torch.Tensor]) -> list[list[int]]:
        """Give the classes of a batch of frames."""
        blocks = self._model.shape.blocks
        inputs = self._model.preprocessing.normalise_batch(torch.stack(pixels))
        activations = self._engine.embed_batch(inputs, [(0,) * blocks] * len(pixels))
        outputs = self._engine.head_batch(self._engine.run_batch(activations, blocks))
        return [list(answer.classes) for answer in answers_of(outputs, self._model.task)]


def random_model(name: str, blocks: int) -> Model:
    """A ViT with random weights, equal in all processes."""
    width, heads = SIZES[name]
    torch.manual_seed(0)
    architecture = Architecture(SIDE, _PATCH, width, blocks, heads, 4 * width, CLASSES)
    network = VisionTransformer(architecture).eval().requires_grad_(False)
    return Model(name, network, Preprocessing(SIDE), tuple(map(str, range(CLASSES))))


def engine_alone_s(model: str, blocks: int, engine: str, seconds: float) -> float:
    """Measure the engine alone on the servers' core: the median time of one frame, in seconds."""
    with _pinned(_SERVER_CORES):
        return float(run_in_process(_measure_engine, model, blocks, engine, seconds))


def _measure_engine(pipe: Connection, model: str, blocks: int, engine: str, seconds: float) -> None:
    torch.set_num_threads(1)
    loaded = random_model(model, blocks)
    runner = make_engine(loaded, engine)
    pixels, times_s = torch.zeros(1, 3, SIDE, SIDE), []
    end_s = time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < end_s:
            began_s = time.perf_counter()
            runner.head(runner.run(runner.embed(pixels, (0,) * blocks), blocks))
            times_s.append(time.perf_counter() - began_s)
    pipe.send(float(np.median(times_s)))


def serve_cloud(pipe: Connection, service: Service) -> None:
    """Serve with `Cloud`, as `janus-vit cloud` does: it measures this machine first."""
    torch.set_num_threads(1)
    model = random_model(service.model, service.blocks)
    engine = make_engine(model, service.engine)
    frame = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    profile = profile_machine(model, [frame], engine, _EFFORT)
    with Cloud(model, profile, engine=engine) as cloud:
        pipe.send(cloud.port)
        wait_for_end(pipe)


def wait_for_end(pipe: Connection) -> None:
    """Wait until the other side closes the pipe."""
    with suppress(EOFError):
        pipe.recv()


@contextmanager
def load_cores() -> Iterator[None]:
    """Keep this process, and those that it starts, off the servers' core."""
    with _pinned(_LOAD_CORES):
        yield


@contextmanager
def running(target: Callable[..., None], *arguments: object) -> Iterator[int]:
    """Run a server on its core until the block ends; gives its port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_in_own_session, args=(target, theirs, *arguments))
    with _pinned(_SERVER_CORES):
        process.start()
    theirs.close()
    try:
        if not ours.poll(_START_S):
            raise TimeoutError(f"{target.__name__} did not start within {_START_S:.0f} s")
        yield ours.recv()
    finally:
        ours.close()
        process.join(_STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid or 0, signal.SIGKILL)


def wait_until_healthy(url: str) -> None:
    """Wait until a server answers a GET with success."""
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5.0):
            return
        time.sleep(_POLL_S)
    raise TimeoutError(f"{url} did not answer within {_START_S:.0f} s")


def _in_own_session(target: Callable[..., None], *arguments: object) -> None:
    os.setsid()
    target(*arguments)


@contextmanager
def _pinned(cores: set[int]) -> Iterator[None]:
    """Run this thread, and processes that it starts, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
