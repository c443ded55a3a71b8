"""Every token format keeps its size, its error bound and its temper."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from janus_vit.errors import WireError
from janus_vit.planning.payloads import TOKEN_FORMATS, parse_payload
from janus_vit.wire.lossless import compress
from janus_vit.wire.tokens import decode_tokens, encode_tokens, error_bound

FORMATS = tuple(TOKEN_FORMATS)
SCALED = tuple(name for name, (_, scaled) in TOKEN_FORMATS.items() if scaled)
NAMES = FORMATS + tuple(f"{name}+zstd" for name in FORMATS)
T, C = 5, 7  # odd on both sides: int4 pads, scales are not aligned

formats = pytest.mark.parametrize("name", FORMATS)
scaled_formats = pytest.mark.parametrize("name", SCALED)
all_names = pytest.mark.parametrize("name", NAMES)
shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def random_tokens(tokens: int = T, width: int = C, seed: int = 0) -> Tensor:
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed))


def ones(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[0])


def encode(tokens: Tensor, name: str) -> bytes:
    return encode_tokens(tokens, ones(tokens), parse_payload(name))


def round_trip(tokens: Tensor, name: str) -> Tensor:
    return decode_tokens(encode(tokens, name), parse_payload(name), *tokens.shape)[0]


def decode(data: bytes | memoryview, name: str, tokens: int = T, width: int = C) -> Tensor:
    return decode_tokens(data, parse_payload(name), tokens, width)[0]


def assert_within_bound(tokens: Tensor, name: str) -> None:
    error = (round_trip(tokens, name).double() - tokens.double()).abs()
    assert (error <= error_bound(name).limits(tokens)).all()


@formats
@settings(max_examples=25, deadline=None)
@given(shape=shapes)
def test_a_body_has_exactly_the_planned_size(name: str, shape: tuple[int, int]) -> None:
    body = encode(random_tokens(*shape), name)
    assert len(body) == parse_payload(name).token_bytes(*shape)


def test_the_layout_is_the_documented_one() -> None:
    tokens, sizes = torch.tensor([[7.0, -7.0, 3.0], [0.0, 14.0, -2.0]]), torch.tensor([1.0, 258.0])
    body = encode_tokens(tokens, sizes, parse_payload("int4"))
    assert body == struct.pack("<HHff", 1, 258, 1.0, 2.0) + bytes([0x97, 0x03, 0x70, 0x0F])


@formats
@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=st.integers(0, 99), magnitude=st.sampled_from([1e-44, 1e-38, 1e-6, 1.0, 6e4, 1e30, 3e37]))
def test_the_error_is_within_the_bound(name: str, shape: tuple[int, int], seed: int, magnitude: float) -> None:
    tokens = random_tokens(*shape, seed=seed) * magnitude
    if name == "float16":
        tokens = tokens.clamp(-65504, 65504)
    assert_within_bound(tokens, name)


@formats
def test_outlier_channels_zeros_and_limits_stay_within_the_bound(name: str) -> None:
    tokens = random_tokens(64, 33)
    tokens[:, ::8] *= 400
    tokens[3] = 0
    tokens[4, 1:] = 0
    if name != "float16":
        tokens[5, 0] = torch.finfo(torch.float32).max
        tokens[6, 0] = -torch.finfo(torch.float32).max
    assert_within_bound(tokens, name)
    assert (round_trip(tokens, name)[3] == 0).all()


@scaled_formats
def test_the_bound_is_tight(name: str) -> None:
    tokens = random_tokens(64, 1000)
    bound = error_bound(name).limits(tokens)
    error = (round_trip(tokens, name).double() - tokens.double()).abs()
    assert (error / bound).max() > 0.9


@pytest.mark.parametrize("name", ["float32", "float32+zstd"])
def test_float32_is_exact(name: str) -> None:
    tokens = torch.cat((random_tokens(), torch.tensor([[0.0, -0.0, 1e-45, 3.4e38, -3.4e38, 1.0, -1.0]])))
    assert round_trip(tokens, name).numpy().tobytes() == tokens.numpy().tobytes()


def test_float16_is_exact_on_every_finite_float16() -> None:
    tokens = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.float16)
    tokens = tokens[tokens.isfinite()].reshape(64, -1)
    assert torch.equal(round_trip(tokens, "float16"), tokens.float())


def test_float16_clamps_instead_of_overflowing() -> None:
    decoded = round_trip(torch.tensor([[1e30, -1e30, 65519.0, 65521.0]]), "float16")
    assert decoded.tolist() == [[65504.0, -65504.0, 65504.0, 65504.0]]


@all_names
def test_sizes_survive_up_to_the_largest(name: str) -> None:
    sizes = torch.tensor([1.0, 2.0, 255.0, 256.0, 65535.0])
    payload = parse_payload(name)
    _, decoded = decode_tokens(encode_tokens(random_tokens(), sizes, payload), payload, T, C)
    assert torch.equal(decoded, sizes)


@formats
@settings(max_examples=15, deadline=None)
@given(shape=shapes)
def test_the_lossless_stage_changes_no_value(name: str, shape: tuple[int, int]) -> None:
    tokens = random_tokens(*shape)
    assert torch.equal(round_trip(tokens, f"{name}+zstd"), round_trip(tokens, name))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@all_names
def test_any_float_type_stride_and_gradient_is_taken(name: str, dtype: torch.dtype) -> None:
    tokens = random_tokens(C, T).to(dtype).t().requires_grad_()
    assert torch.equal(round_trip(tokens, name), round_trip(tokens.detach().float().contiguous(), name))


@all_names
def test_the_result_is_float32_and_may_be_written_to(name: str) -> None:
    body = encode(random_tokens(), name)
    before = bytes(body)
    values, sizes = decode_tokens(memoryview(body), parse_payload(name), T, C)
    values.zero_()
    sizes.zero_()
    assert body == before
    assert values.dtype == sizes.dtype == torch.float32
    assert values.is_contiguous()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 1e39])
@all_names
def test_tokens_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    tokens = random_tokens().double()
    tokens[2, 3] = bad
    with pytest.raises(WireError, match="to encode holds a value that is not finite"):
        encode(tokens, name)


@pytest.mark.parametrize("bad", [0.0, -1.0, 1.5, 65536.0, float("nan")])
def test_sizes_that_are_no_counts_are_refused(bad: float) -> None:
    with pytest.raises(WireError, match="token sizes to encode"):
        encode_tokens(random_tokens(), torch.tensor([1.0, 1.0, bad, 1.0, 1.0]), parse_payload("int8"))


@pytest.mark.parametrize(("tokens", "sizes"), [((5, 7), (4,)), ((1, 5, 7), (5,)), ((0, 7), (0,)), ((5, 0), (5,))])
def test_shapes_that_do_not_match_are_refused(tokens: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    with pytest.raises(WireError, match=r"\[T, C\]"):
        encode_tokens(torch.ones(tokens), torch.ones(sizes), parse_payload("int8"))


def test_an_image_payload_is_refused() -> None:
    with pytest.raises(WireError, match="jpeg90 carries an image"):
        encode(random_tokens(), "jpeg90")
    with pytest.raises(WireError, match="jpeg90 carries an image"):
        decode(b"", "jpeg90")


def test_a_wrong_length_names_both_lengths() -> None:
    with pytest.raises(WireError, match="has 64 bytes, expected 65"):
        decode(bytes(64), "int8")


@all_names
def test_every_truncation_and_every_extension_is_refused(name: str) -> None:
    body = encode(random_tokens(), name)
    for cut in range(len(body)):
        with pytest.raises(WireError, match="field body"):
            decode(body[:cut], name)
    for extra in (b"\0", b"\0" * 1000, body):
        with pytest.raises(WireError, match="field body"):
            decode(body + extra, name)


@all_names
@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte_gives_finite_values_or_an_error(name: str, place: int, flip: int) -> None:
    body = bytearray(encode(random_tokens(), name))
    body[place % len(body)] ^= flip
    assert_finite_or_refused(bytes(body), name)


@all_names
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_garbage_gives_finite_values_or_an_error(name: str, data: st.DataObject) -> None:
    payload = parse_payload(name)
    size = payload.token_bytes(T, C)
    garbage = data.draw(st.binary(max_size=300) | st.binary(min_size=size, max_size=size))
    assert_finite_or_refused(garbage, name)
    assert_finite_or_refused(compress(garbage), name)


def assert_finite_or_refused(body: bytes, name: str) -> None:
    try:
        values, sizes = decode_tokens(body, parse_payload(name), T, C)
    except WireError:
        return
    assert values.isfinite().all()
    assert (sizes >= 1).all()


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1.0, 3e38])
@scaled_formats
def test_a_scale_that_cannot_be_true_is_refused(name: str, scale: float) -> None:
    body = bytearray(encode(torch.full((T, C), 3.0), name))
    struct.pack_into("<f", body, 2 * T + 4, scale)
    with pytest.raises(WireError, match=r"scale|not finite"):
        decode(bytes(body), name)


@scaled_formats
def test_a_scale_of_zero_decodes_to_zeros(name: str) -> None:
    body = bytearray(encode(random_tokens(), name))
    struct.pack_into("<f", body, 2 * T + 4, 0.0)
    assert (decode(bytes(body), name)[1] == 0).all()


@pytest.mark.parametrize(
    ("name", "code"),
    [("float32", b"\x00\x00\xc0\x7f"), ("float16", b"\x00\x7c"), ("float8", b"\x7f"), ("float8", b"\xff")],
)
def test_a_value_that_is_not_finite_is_refused(name: str, code: bytes) -> None:
    body = encode(random_tokens(), name)
    with pytest.raises(WireError, match="value that is not finite"):
        decode(body[: -len(code)] + code, name)


@pytest.mark.parametrize(("name", "code", "value"), [("int8", b"\x80", -128.0), ("int4", b"\x08", -8.0)])
def test_the_codes_that_are_never_written_are_read_as_numbers(name: str, code: bytes, value: float) -> None:
    body = struct.pack("<Hf", 1, 1.0) + code
    assert decode(body, name, 1, 1).item() == value


@formats
def test_a_size_of_zero_is_refused(name: str) -> None:
    with pytest.raises(WireError, match="size of 0"):
        decode(b"\0\0" + encode(random_tokens(), name)[2:], name)


@pytest.mark.parametrize("declared", [True, False])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(declared: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=declared).compress(bytes(1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="field body declares"):
            decode(bomb, "float32+zstd")
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


SIZE = parse_payload("int8").token_bytes(T, C)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(compress(bytes(SIZE))[:6] + compress(bytes(1 << 20))[9:], id="lies about its size"),
        pytest.param(b"\x28\xb5\x2f\xfd\x80\x88" + struct.pack("<I", SIZE) + b"\1\0\0", id="128 MiB window"),
        pytest.param(compress(bytes(20)) + compress(bytes(SIZE - 20)), id="two frames"),
        pytest.param(b"\x50\x2a\x4d\x18" + struct.pack("<I", SIZE) + bytes(SIZE), id="skippable frame"),
    ],
)
def test_a_frame_that_is_not_ours_is_refused(frame: bytes) -> None:
    with pytest.raises(WireError, match="field body"):
        decode(frame, "int8+zstd")
