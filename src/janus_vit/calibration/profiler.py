"""Profiler: measures how long this machine takes for each part of a model, and fits the latency curves.

Blocks are timed at token counts across the model's range, without merging and with random merging as in the paper. The
median of several repetitions counts, after a warm-up. Each round of repetitions visits all points, so that a busy
moment of the machine does not affect one point only. A short pause precedes each measurement: between frames, a device
waits for its camera or its network, its caches are overwritten and its clock frequency drops. In a tight loop, a small
model looks a third faster than in a stream.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch

from janus_vit.calibration.block_times import Clock, block_seconds
from janus_vit.model.answers import answer_of
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.machine import hardware
from janus_vit.model.preprocessing import Frame
from janus_vit.model.stage import Activation
from janus_vit.model.tasks import DENSE_TASKS
from janus_vit.planning.latency import Cost, Curve, PlatformProfile, effective_tokens, fit_cost, fit_line, fit_quadratic
from janus_vit.planning.payloads import parse_payload
from janus_vit.wire.dense.answers import compress_codes
from janus_vit.wire.inputs import decode_input, encode_input
from janus_vit.wire.tokens import decode_tokens, encode_tokens

TOKEN_FORMATS = ("float32", "float16", "float8", "int8", "int4", "float16+zstd")
IMAGE_FORMATS = ("tensor", "png", "jpeg90", "jpeg75", "jpeg50", "webp75")
CLIP_FORMATS = ("tensor", "jpeg90", "jpeg75", "jpeg50", "h264q23", "h264q30")
Progress = Callable[[float, str], None]  # share done 0..1, what is being measured
_REPLIES = 4  # frames whose dense answers are measured
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure.

    Attributes:
        points: number of token counts.
        repeats: repetitions of each measurement.
        limit_s: time limit for the blocks.
    """

    points: int
    repeats: int
    limit_s: float


FULL = Effort(points=20, repeats=15, limit_s=120.0)
QUICK = Effort(points=9, repeats=5, limit_s=10.0)


def profile_machine(
    model: Model,
    frames: Sequence[Frame],
    engine: Engine | None = None,
    effort: Effort = QUICK,
    command: str = "",
    progress: Progress = lambda share, what: None,
    clock: Clock = time.perf_counter,
) -> PlatformProfile:
    """Measure this machine.

    Args:
        model: the model to run.
        frames: real frames, for the sizes of image formats.
        engine: runs the model; default: the fastest that computes in float32.
        effort: how much to measure.
        command: recorded in the profile.
        progress: called with the share that is done and the present step.
        clock: `time.thread_time` measures CPU time, which is what `SlowedWorker` multiplies.
    """
    engine = engine or make_engine(model)
    images = [model.preprocessing.crop(frame) for frame in frames]
    pixels = model.preprocessing.normalise(images[0])
    progress(0.0, "warming up")
    unmerged = (0,) * model.shape.blocks
    activation = engine.embed(pixels, unmerged)
    final = engine.run(activation, model.shape.blocks)
    engine.head(final)
    progress(0.1, "stem and head")
    stem_s = _median_s(lambda: engine.embed(model.preprocessing.normalise(images[0]), unmerged), effort.repeats, clock)
    head_s = _median_s(lambda: engine.head(final), effort.repeats, clock)
    samples = _block_samples(model, engine, effort, progress, clock)
    progress(0.8, "payload formats")
    encode, decode, image_bytes, ratios = _payload_costs(model, activation, images, effort.repeats, clock)
    progress(1.0, "done")
    paper_line, quadratic, merge_cost = _fits(samples)
    return PlatformProfile(
        model=model.name,
        stem_s=stem_s,
        head_s=head_s,
        line=paper_line,
        quadratic=quadratic,
        merge=merge_cost,
        encode=encode,
        decode=decode,
        image_bytes=image_bytes,
        lossless_ratio=ratios,
        reply_bytes=_reply_bytes(model, engine, images),
        about=_about(model, engine, command, effort),
        samples=samples,
    )


def _fits(samples: Sequence[tuple[int, int, float]]) -> tuple[Curve, Curve, Cost]:
    """Fit the paper's line, our quadratic, and the additional cost of merging itself."""
    plain = [(before, seconds) for before, after, seconds in samples if before == after]
    tokens, block_s = np.array(plain).T
    merged = np.array([sample for sample in samples if sample[1] < sample[0]])
    unmerged_s = np.interp(effective_tokens(merged[:, 0], merged[:, 1]), tokens, block_s)
    return fit_line(tokens, block_s), fit_quadratic(tokens, block_s), fit_cost(merged[:, 0], merged[:, 2] - unmerged_s)


def _block_samples(
    model: Model, engine: Engine, effort: Effort, progress: Progress, clock: Clock
) -> tuple[tuple[int, int, float], ...]:
    """Time blocks; return tokens before and after merging, and seconds, for each point."""
    shape = model.shape
    rng = np.random.default_rng(0)
    protected, most = (count + shape.late_tokens for count in (shape.protected, shape.tokens))
    befores = np.unique(np.geomspace(protected + 2, most, effort.points).round().astype(int))
    points = [(before, 0) for before in befores]
    points += [(before, int(rng.integers(1, (before - protected) // 2 + 1))) for before in befores]
    states = [torch.from_numpy(rng.standard_normal((1, before, shape.width), np.float32)) for before, _ in points]
    measured: list[list[float]] = [[] for _ in points]
    began_s = time.perf_counter()
    for repeat in range(effort.repeats + 1):
        for point, (tokens, (_, merged)) in enumerate(zip(states, points, strict=True)):
            seconds = block_seconds(model, engine, tokens, merged, repeat, clock)
            if repeat:  # the first round warms up
                measured[point].append(seconds)
        progress(0.1 + 0.7 * (repeat + 1) / (effort.repeats + 1), f"blocks at {len(befores)} token counts")
        if repeat >= 3 and time.perf_counter() - began_s > effort.limit_s:
            break
    return tuple(
        (int(before), int(before) - merged, statistics.median(times))
        for (before, merged), times in zip(points, measured, strict=True)
    )


def _payload_costs(
    model: Model, activation: Activation, images: Sequence[Frame], repeats: int, clock: Clock
) -> tuple[dict[str, Cost], dict[str, Cost], dict[str, float], dict[str, float]]:
    """Return, by payload format: encoding cost, decoding cost, mean bytes of an image, and lossless ratio."""
    encode: dict[str, Cost] = {}
    decode: dict[str, Cost] = {}
    sizes: dict[str, float] = {}
    ratios: dict[str, float] = {}
    for name in TOKEN_FORMATS:
        encode[name], decode[name], ratio = _token_cost(name, activation, repeats, clock)
        if parse_payload(name).lossless_stage:
            ratios[name] = ratio
    for name in input_formats(model):
        encode[name], decode[name], size = _image_cost(name, model, images, repeats, clock)
        if parse_payload(name).base != "tensor":
            sizes[name] = size
    return encode, decode, sizes, ratios


def _token_cost(name: str, activation: Activation, repeats: int, clock: Clock) -> tuple[Cost, Cost, float]:
    """Return encoding and decoding cost, each a line through few and all tokens, and the lossless ratio."""
    payload = parse_payload(name)
    most, width = activation.tokens.shape[1:]
    found = []
    for count in (max(1, most // 16), most):
        tokens, sizes = activation.tokens[0, :count], activation.sizes[0, :count]
        body = encode_tokens(tokens, sizes, payload)
        encode_s = _median_s(lambda: encode_tokens(tokens, sizes, payload), repeats, clock)  # noqa: B023
        decode_s = _median_s(lambda: decode_tokens(body, payload, count, width), repeats, clock)  # noqa: B023
        found.append((count * width, encode_s, decode_s))
    ratio = len(body) / payload.token_bytes(most, width)
    (few, encode_few_s, decode_few_s), (many, encode_many_s, decode_many_s) = found
    return _line(few, encode_few_s, many, encode_many_s), _line(few, decode_few_s, many, decode_many_s), ratio


def _line(few: int, few_s: float, many: int, many_s: float) -> Cost:
    """Return the cost through two measurements: the time for few values and for many."""
    slope = max(0.0, (many_s - few_s) / max(many - few, 1))
    return Cost(max(0.0, many_s - slope * many), slope)


def input_formats(model: Model) -> tuple[str, ...]:
    """Return the payload formats of the model's input; H.264 only if PyAV is installed."""
    if model.preprocessing.frames == 1:
        return IMAGE_FORMATS
    return tuple(name for name in CLIP_FORMATS if find_spec("av") or not parse_payload(name).of_clips)


def _image_cost(
    name: str, model: Model, images: Sequence[Frame], repeats: int, clock: Clock
) -> tuple[Cost, Cost, float]:
    payload, normalise, shape = parse_payload(name), model.preprocessing.normalise, model.shape.input_shape
    first = images[0]
    body = encode_input(first, payload, normalise)
    encode_s = _median_s(lambda: encode_input(first, payload, normalise), repeats, clock)
    decode_s = _median_s(lambda: decode_input(body, payload, shape, normalise), repeats, clock)
    mean_bytes = statistics.fmean(len(encode_input(image, payload, normalise)) for image in images)
    return Cost(encode_s, 0.0), Cost(decode_s, 0.0), mean_bytes


def _reply_bytes(model: Model, engine: Engine, images: Sequence[Frame]) -> float:
    """Return the mean size of the maps in replies; 0 for a model without a dense head."""
    if model.task not in DENSE_TASKS:
        return 0.0
    sizes = []
    for image in images[:_REPLIES]:
        start = engine.embed(model.preprocessing.normalise(image), (0,) * model.shape.blocks)
        each = answer_of(engine.head(engine.run(start, model.shape.blocks)), model.task).map
        sizes.append(0 if each is None else len(compress_codes(each)))
    return statistics.fmean(sizes)


def _median_s(call: Callable[[], object], repeats: int, clock: Clock) -> float:
    call()
    return statistics.median(_seconds(call, clock) for _ in range(repeats))


def _seconds(call: Callable[[], object], clock: Clock) -> float:
    time.sleep(_PAUSE_S)
    began_s = clock()
    call()
    return clock() - began_s


def _about(model: Model, engine: Engine, command: str, effort: Effort) -> dict[str, object]:
    return {
        "command": command,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "engine": engine.name,
        "fingerprint": model.fingerprint,
        "threads": torch.get_num_threads(),
        "repeats": effort.repeats,
        "hardware": hardware(),
        "versions": {name: version(name) for name in ("janus-vit", "torch", "numpy", "pillow")}
        | {"python": platform.python_version()},
    }
