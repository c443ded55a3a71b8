"""Whole requests through a cloud, and whole replies and greetings through a device."""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from conftest import small_model

from fuzzing.mutation import mutate_message
from fuzzing.scratch import FOLDER
from fuzzing.target import Target
from janus_vit.cloud.in_process import local_service
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.latency import Cost, Curve, PlatformProfile
from janus_vit.planning.outcome import Transfer
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.policies.presets import POLICIES, make_policy
from janus_vit.records.reader import read_records
from janus_vit.records.writer import RecordWriter
from janus_vit.runtime.config import DeviceConfig
from janus_vit.runtime.connect import expected_outputs
from janus_vit.runtime.device import Device
from janus_vit.runtime.handshake import shake_hands
from janus_vit.runtime.local_worker import LocalWorker
from janus_vit.runtime.transport import Probed
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.images import encode_image
from janus_vit.wire.messages import (
    Greeting,
    Reply,
    Request,
    parse_greeting,
    parse_reply,
    parse_request,
    serialise_greeting,
    serialise_reply,
    serialise_request,
)
from janus_vit.wire.tokens import encode_tokens

_FORMATS = ("float32", "float16", "float8", "int8", "int4", "float16+zstd", "float8+zstd", "tensor", "png", "jpeg90")
_ANSWER_S = 20.0
_LONGEST_S = 0.5  # of a frame: it also computes
_ENTRIES = (0, 2, 4, 6)


def make_profile() -> PlatformProfile:
    curve = Curve(1e-4, 1e-5, 0.0, 0.0, 0.0, 0.0, 1.0)
    costs = {name: Cost(1e-4, 1e-9) for name in _FORMATS}
    return PlatformProfile(
        "small",
        2e-4,
        1e-4,
        curve,
        curve,
        Cost(1e-5, 0.0),
        costs,
        costs,
        {"png": 3000.0, "jpeg90": 1000.0},
        {"float16+zstd": 0.9, "float8+zstd": 0.9},
        samples=((17, 17, 1e-3), (5, 5, 5e-4)),
    )


class LyingTransport:
    """Answers a device with the bytes that the fuzzer wants."""

    def __init__(self, model: Any) -> None:
        self.outputs = expected_outputs(model)
        self.data = b""

    def hello(self, timeout_s: float) -> Greeting:
        """See `Transport.hello`."""
        return parse_greeting(self.data)

    def infer(self, request: Request, timeout_s: float) -> Reply:
        """See `Transport.infer`."""
        return parse_reply(self.data, self.outputs)

    def probe(self, size_bytes: int, timeout_s: float) -> Future[Probed]:
        """See `Transport.probe`."""
        probed: Future[Probed] = Future()
        probed.set_result(Probed(self.measure_link(size_bytes, timeout_s)))
        return probed

    def measure_link(self, size_bytes: int, timeout_s: float) -> Transfer:
        """See `GrpcTransport.measure_link`."""
        return Transfer(0.0, size_bytes, 0.01, 0.02)

    def close(self) -> None:
        """See `Transport.close`."""


class _Live:
    """One cloud and one device for each policy, which remember what they were told."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.model = small_model()
        engine = EagerEngine(self.model)
        self.service = local_service(self.model, engine, make_profile())
        self.transport = LyingTransport(self.model)
        self.transport.data = serialise_greeting(self.greeting())
        self.worker = LocalWorker(self.model, engine)
        platforms = self.shake_hands()
        self.devices = [
            Device(self.worker, self.transport, make_policy(name, platforms), 0.3, name=name) for name in POLICIES
        ]
        self.frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        self.turn = 0

    def greeting(self) -> Greeting:
        return Greeting("small", self.model.fingerprint, make_profile().to_json(), _ENTRIES)

    def shake_hands(self) -> Any:
        return shake_hands(self.model, self.transport, "cloud:1", make_profile(), DeviceConfig())

    def request(self, data: bytes) -> None:
        """Send a request through the cloud; its reply must be one that a device takes."""
        answered: Future[Any] = Future()
        self.service.begin(parse_request(data), 0.0, answered.set_result)
        reply = answered.result(_ANSWER_S)
        if isinstance(reply, Exception):
            raise reply
        parse_reply(serialise_reply(reply), self.transport.outputs)

    def reply(self, data: bytes) -> None:
        """Answer a frame of a device with this reply; its outcome must be one that can be recorded and read."""
        self.transport.data = data
        self.turn += 1
        outcome = self.devices[self.turn % len(self.devices)].infer(self.frame)
        assert outcome.answer.classes
        assert abs(sum(outcome.answer.probabilities)) <= 1.02
        assert math.isfinite(outcome.predicted.total_s)
        path = FOLDER / "outcomes.jsonl"
        writer = RecordWriter(path)
        writer.write(outcome)
        writer.close()
        assert read_records(path).outcomes == (outcome,)

    def hello(self, data: bytes) -> None:
        """Connect with this greeting; each policy must then find a plan, and go on after a frame."""
        self.transport.data = data
        platforms = self.shake_hands()
        self.transport.data = _honest_reply()
        for name in POLICIES:
            device = Device(self.worker, self.transport, make_policy(name, platforms), 0.3)
            for _ in range(2):
                outcome = device.infer(self.frame)
                assert outcome.answer.classes
                assert math.isfinite(outcome.predicted.total_s)


def _honest_reply() -> bytes:
    return pb.InferReply(classes=[3, 1], probabilities=[0.6, 0.3], receive_s=0.01, compute_s=0.01).SerializeToString()


def _requests(live: _Live) -> tuple[bytes, ...]:
    fingerprint = live.model.fingerprint
    image = encode_image(live.frame, parse_payload("png"))
    whole = Request(fingerprint, "png", 0, (0,) * 6, 0, 0, 5.0, "device", image)
    tokens = torch.randn(17, 24, generator=torch.Generator().manual_seed(0))
    found = [whole, replace(whole, merges=(2, 2, 2, 1, 1, 0))]
    for name in ("float32", "float16+zstd", "float8", "int8", "int4"):
        body = encode_tokens(tokens, torch.ones(17), parse_payload(name))
        found.append(Request(fingerprint, name, 2, (1, 1, 0, 0), 17, 24, 5.0, "device", body))
    return tuple(map(serialise_request, found))


def live_targets() -> list[Target]:
    """A cloud and devices, each with all that it does."""
    live = _Live()
    return [
        Target("cloud", live.request, _requests(live), mutate_message(pb.InferRequest), _LONGEST_S, 64 << 20),
        Target("device", live.reply, (_honest_reply(),), mutate_message(pb.InferReply), _LONGEST_S, 64 << 20),
        Target(
            "handshake",
            live.hello,
            (serialise_greeting(live.greeting()),),
            mutate_message(pb.HelloReply),
            2 * _LONGEST_S,
            64 << 20,
        ),
    ]
