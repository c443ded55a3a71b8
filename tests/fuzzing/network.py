"""What a stranger can send: bodies of images, clips and tokens, and all messages."""

from __future__ import annotations

import numpy as np
import torch

from fuzzing.mutation import Mutate, behind_zstd, mutate_bytes, mutate_message, mutate_png
from fuzzing.target import Target
from janus_vit.model.tasks import EMBED
from janus_vit.planning.outcome import Answer
from janus_vit.planning.payloads import PayloadFormat, parse_payload
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.price import CloudLoad, EnginePrice
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.answer_check import Outputs
from janus_vit.wire.clips import decode_clip, encode_clip
from janus_vit.wire.images import decode_image, decode_tensor, encode_image, encode_tensor
from janus_vit.wire.load_messages import parse_price, parse_probe_reply, serialise_price, serialise_probe_reply
from janus_vit.wire.lossless import compress, decompress
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
from janus_vit.wire.request_check import check_request
from janus_vit.wire.stream_report import StreamReport, parse_stream_report, serialise_stream_report
from janus_vit.wire.tokens import decode_tokens, encode_tokens

SIDE, CLIP_FRAMES, CLIP_SIDE, TOKENS, WIDTH = 224, 4, 64, 197, 64
SHAPE = ModelShape("fuzzed", 6, TOKENS, 1, WIDTH, (3, SIDE, SIDE))
PRICE = EnginePrice(1e-3, 1e-3, 1e-3, 1e-5)
REPORT = StreamReport("robot", "level 0.30, split 0, jpeg90", 0.3, 12.5, 100, 97, 2, 1, 60, 10, 99, 83.5, 17.25)


def _frame(side: int = SIDE) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    noise = np.random.default_rng(0).integers(0, 20, (side, side, 3))
    return (np.stack((rows * 2, columns, rows + columns), axis=-1) % 230 + noise).astype(np.uint8)


def _with_zstd(name: str, mutate: Mutate) -> tuple[tuple[PayloadFormat, Mutate], ...]:
    return (parse_payload(name), mutate), (parse_payload(f"{name}+zstd"), behind_zstd(mutate))


def _images() -> list[Target]:
    found = []
    for name, mutate in (("png", mutate_png), ("jpeg90", mutate_bytes), ("webp80", mutate_bytes)):
        for payload, change in _with_zstd(name, mutate):
            seeds = (encode_image(_frame(), payload), encode_image(np.zeros((SIDE, SIDE, 3), np.uint8), payload))
            found.append(
                Target(
                    f"image {payload.name}",
                    lambda data, payload=payload: decode_image(data, payload, SIDE, SIDE),
                    seeds,
                    change,
                )
            )
    return found


def _clips() -> list[Target]:
    clip = np.stack([np.roll(_frame(CLIP_SIDE), shift, axis=1) for shift in range(CLIP_FRAMES)])
    found = []
    for name in ("png", "jpeg90", "webp80", "h264q23", "h265q23"):
        for payload, change in _with_zstd(name, mutate_bytes):
            found.append(
                Target(
                    f"clip {payload.name}",
                    lambda data, payload=payload: decode_clip(data, payload, CLIP_FRAMES, CLIP_SIDE, CLIP_SIDE),
                    (encode_clip(clip, payload),),
                    change,
                )
            )
    return found


def _tokens() -> list[Target]:
    generator = torch.Generator().manual_seed(0)
    tokens, sizes = torch.randn(TOKENS, WIDTH, generator=generator), torch.ones(TOKENS)
    found = []
    for name in ("float32", "float16", "float8", "int8", "int4"):
        for payload, change in _with_zstd(name, mutate_bytes):

            def run(data: bytes, payload: PayloadFormat = payload) -> None:
                values, counts = decode_tokens(data, payload, TOKENS, WIDTH)
                assert values.shape == (TOKENS, WIDTH)
                assert bool(values.isfinite().all())
                assert float(counts.min()) >= 1

            found.append(Target(f"tokens {payload.name}", run, (encode_tokens(tokens, sizes, payload),), change))
    pixels = torch.randn(3, 32, 32, generator=generator)
    found += [
        Target(
            f"tensor{'+zstd' * lossless}",
            lambda data, lossless=lossless: decode_tensor(data, (3, 32, 32), lossless_stage=lossless),
            (encode_tensor(pixels, lossless_stage=lossless),),
            behind_zstd(mutate_bytes) if lossless else mutate_bytes,
        )
        for lossless in (False, True)
    ]
    return found


def _requests() -> list[Target]:
    image = Request("abc", "jpeg90", 0, (0,) * 6, 0, 0, 1.0, "device", encode_image(_frame(), parse_payload("jpeg90")))
    tokens = Request("abc", "int8", 2, (1, 2, 0, 0), 17, WIDTH, 1.0, "device", bytes(100))
    return [
        Target(
            "request",
            lambda data: check_request(parse_request(data), SHAPE, "abc"),
            (serialise_request(image), serialise_request(tokens)),
            mutate_message(pb.InferRequest),
        )
    ]


def _replies() -> list[Target]:
    classes = Reply(Answer((3, 1, 4), (0.7, 0.2, 0.05)), 0.01, 0.001, 0.0, 0.01, 0.0, PRICE)
    vector = Reply(Answer((), (), (0.5, -0.5, 0.5, -0.5)), 0.01, 0.001, 0.0, 0.01, 0.0, PRICE)
    return [
        Target(
            "reply of classes",
            lambda data: parse_reply(data, Outputs(10)),
            (serialise_reply(classes),),
            mutate_message(pb.InferReply),
        ),
        Target(
            "reply of a vector",
            lambda data: parse_reply(data, Outputs(0, 4, EMBED)),
            (serialise_reply(vector),),
            mutate_message(pb.InferReply),
        ),
        Target(
            "greeting",
            parse_greeting,
            (serialise_greeting(Greeting("model", "abc", "{}", (0, 2, 4))),),
            mutate_message(pb.HelloReply),
        ),
        Target(
            "reply to a probe",
            parse_probe_reply,
            (serialise_probe_reply(0.01, CloudLoad(0.1, PRICE)),),
            mutate_message(pb.ProbeReply),
        ),
        Target("price", parse_price, (serialise_price(PRICE),), mutate_message(pb.Price)),
        Target(
            "stream report",
            parse_stream_report,
            (serialise_stream_report(REPORT),),
            mutate_message(pb.StreamReport),
        ),
    ]


def _frames_of_zstd() -> list[Target]:
    contents = (bytes(5_000), bytes(range(256)) * 40, np.random.default_rng(0).bytes(5_000))
    seeds = tuple(compress(content, level) for content in contents for level in (1, 19))
    return [Target("zstd", lambda data: decompress(data, 600_000), seeds)]


def network_targets() -> list[Target]:
    """Every decoder of data from the network."""
    return [*_images(), *_clips(), *_tokens(), *_frames_of_zstd(), *_requests(), *_replies()]
