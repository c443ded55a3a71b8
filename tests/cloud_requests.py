"""Requests for the small model, as a device sends them, and what a cloud tells of them."""

import dataclasses

import numpy as np
import torch
from patience import PATIENCE_S, wait_until

from janus_vit.cloud.metrics import RequestRecord
from janus_vit.cloud.watching.events import BatchRan
from janus_vit.planning.payloads import parse_payload
from janus_vit.runtime.connect import connect
from janus_vit.wire.messages import Request
from janus_vit.wire.stream_report import StreamReport
from janus_vit.wire.tokens import encode_tokens


def image_request(model, **changes):
    body = np.zeros(model.shape.input_shape, np.float32).tobytes()
    request = Request(model.fingerprint, "tensor", 0, (0,) * 6, 0, 0, PATIENCE_S, "test", body)
    return dataclasses.replace(request, **changes)


def token_request(model, **changes):
    tokens = torch.randn(17, 24, generator=torch.Generator().manual_seed(0))
    body = encode_tokens(tokens, torch.ones(17), parse_payload("int8"))
    request = Request(model.fingerprint, "int8", 2, (1, 1, 0, 0), 17, 24, PATIENCE_S, "test", body)
    return dataclasses.replace(request, **changes)


def events_until(buffer, kind):
    """All events up to the first of a kind."""
    found = []

    def is_there():
        found.extend(buffer.take())
        return any(isinstance(event, kind) for event in found)

    wait_until(is_there)
    return found


def check_events_of_a_stream(buffer, model, port, profile):
    """A device's stream of two frames is told with its report, its requests and their batches."""
    options = {"name": "robot", "policy": "cloud-jpeg", "engine": "eager", "first_probes_bytes": (1_000,)}
    with connect(model, f"127.0.0.1:{port}", profile, sla_s=PATIENCE_S, **options) as device:
        for _ in range(2):
            device.infer(np.zeros((32, 32, 3), np.uint8))
    events = events_until(buffer, StreamReport)
    report = next(event for event in events if isinstance(event, StreamReport))
    assert (report.device, report.frames, report.in_time, report.images) == ("robot", 1, 1, 1)
    assert {RequestRecord, BatchRan} <= {type(event) for event in events}
