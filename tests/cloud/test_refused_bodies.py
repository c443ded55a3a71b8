"""Bodies that no model can have made are refused by field; the largest values that are taken give an answer."""

import math

import numpy as np
import pytest
import torch
from cloud_requests import image_request, token_request

from janus_vit.cloud.in_process import local_service
from janus_vit.errors import WireError
from janus_vit.planning.payloads import parse_payload
from janus_vit.wire.tokens import LARGEST_VALUE, encode_tokens

FORMATS = ("float32", "float8", "int8", "int4", "float32+zstd", "int8+zstd")


@pytest.fixture
def service(model, engine, make_profile):
    service = local_service(model, engine, make_profile(1e-5, model="small"))
    yield service
    service.close()


def tokens_of(value):
    tokens = torch.randn(17, 24, generator=torch.Generator().manual_seed(0))
    tokens[3, 5], tokens[9, 2] = value, -value
    return tokens


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [1e38, 3e38, 1e20, 2e9])
def test_tokens_of_impossible_magnitude_are_refused(model, service, name, value):
    body = encode_tokens(tokens_of(value), torch.ones(17), parse_payload(name))
    with pytest.raises(WireError, match=r"field body holds a value of magnitude .*, expected at most 1e\+09"):
        service.handle(token_request(model, payload=name, body=body), 0.0)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("split", [1, 2, 5, 6])
def test_the_largest_tokens_that_are_taken_give_probabilities(model, service, name, split):
    tokens = tokens_of(0.9 * LARGEST_VALUE)
    count = model.shape.tokens_at(split, 17)
    body = encode_tokens(tokens[:count], torch.ones(count), parse_payload(name))
    request = token_request(model, payload=name, body=body, split=split, merges=(0,) * (6 - split), tokens=count)
    probabilities = service.handle(request, 0.0).answer.probabilities
    assert all(map(math.isfinite, probabilities))
    assert 0 < sum(probabilities) <= 1.001


@pytest.mark.parametrize("value", [1e38, -1e38, 1e10])
def test_pixels_of_impossible_magnitude_are_refused(model, service, value):
    pixels = np.zeros(model.shape.input_shape, np.float32)
    pixels[0, 3, 3] = value
    with pytest.raises(WireError, match="field body holds a value of magnitude"):
        service.handle(image_request(model, body=pixels.tobytes()), 0.0)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ([1] * 16 + [2], "sizes that add up to 18, expected 17"),
        ([1] * 16 + [65_535], "sizes that add up to 65551, expected 17"),
        ([2] + [1] * 16, "sizes other than 1 for the first 1 tokens"),
    ],
)
def test_sizes_that_do_not_add_up_to_the_patches_are_refused(model, service, sizes, problem):
    body = encode_tokens(tokens_of(1.0), torch.tensor(sizes), parse_payload("int8"))
    with pytest.raises(WireError, match=f"field body has {problem}"):
        service.handle(token_request(model, body=body), 0.0)


@pytest.mark.parametrize(("field", "value"), [("tokens", 999), ("width", 24)])
def test_an_image_that_states_tokens_is_refused(model, service, field, value):
    with pytest.raises(WireError, match=f"field {field} is {value}, expected 0 for tensor"):
        service.handle(image_request(model, **{field: value}), 0.0)
