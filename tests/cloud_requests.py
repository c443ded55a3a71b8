"""Requests for the small model, as a device sends them."""

import dataclasses

import numpy as np
import torch
from patience import PATIENCE_S

from janus_vit.planning.payloads import parse_payload
from janus_vit.wire.messages import Request
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
