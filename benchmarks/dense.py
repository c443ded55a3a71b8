"""What dense outputs cost: unmerging as a share of a frame, and splits of Depth Anything S at 518 px (random weights).

python benchmarks/dense.py [ENGINE]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from janus_vit.model.answers import answer_of
from janus_vit.model.catalog import Model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.heads.base import unmerge
from janus_vit.model.heads.dpt import DepthAnythingLayers, DptHead, DptSettings
from janus_vit.model.merging import follow, match_tokens
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.tasks import DEPTH
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.schedules import make_schedule
from janus_vit.wire.activations import SentTokens, decode_activation, encode_activation
from janus_vit.wire.dense.answers import compress_codes

REPEATS, LEVEL, PAYLOAD = 5, 40, "float16"
SIZE, PATCH = 518, 14


def depth_anything_small() -> Model:
    """Depth Anything S with random weights."""
    arch = Architecture(
        SIZE, PATCH, 384, 12, 6, 1536, classes=0, pooling="grid", layer_scale=True, taps=(3, 6, 9)
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = VisionTransformer(arch)
        settings = DptSettings(384, (48, 96, 192, 384), (4, 2, 1, 0.5), 64, exact_sizes=True)
        network.dense_head = DptHead(settings, DepthAnythingLayers(64, 32, arch.size, metric=False, largest=1.0))
    return Model("depth-anything-s", network.eval().requires_grad_(False), Preprocessing(SIZE), (), task=DEPTH)


def median_s(call: Callable[[], object]) -> float:
    """Median time of a call."""
    call()
    times = []
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        call()
        times.append(time.perf_counter() - began_s)
    return statistics.median(times)


@torch.inference_mode()
def main(engine_name: str = "auto") -> None:
    """Print two tables, and one line of JSON."""
    model = depth_anything_small()
    engine, shape, payload = make_engine(model, engine_name), model.shape, parse_payload(PAYLOAD)
    pixels = torch.randn(1, *shape.input_shape, generator=torch.Generator().manual_seed(1))
    results: dict[str, object] = {"engine": engine.name, "threads": torch.get_num_threads()}
    for level in (0, LEVEL):
        merges = make_schedule("fixed", level, shape).applied
        done = engine.run(engine.embed(pixels, merges), shape.blocks)
        frame_s = median_s(lambda: engine.head(engine.run(engine.embed(pixels, merges), shape.blocks)))  # noqa: B023
        head_s = median_s(lambda: engine.head(done))  # noqa: B023
        grids = [*((tap.tokens, tap.token_of_patch) for tap in done.taps), (done.tokens, done.token_of_patch)]
        unmerge_s = median_s(lambda: [unmerge(*grid, model.network.architecture.grid) for grid in grids])  # type: ignore[arg-type]  # noqa: B023
        matching = match_tokens(torch.randn(1, 6, shape.tokens, 64), LEVEL, 1)
        place = done.token_of_patch
        assert place is not None
        follow_s = median_s(lambda: follow(place, matching, shape.tokens)) * (shape.blocks if level else 0)  # noqa: B023
        answer = answer_of(engine.head(done), DEPTH).map
        assert answer is not None
        share = (unmerge_s + follow_s) / frame_s
        print(
            f"{level} merged in each block: frame {1e3 * frame_s:.0f} ms, head {1e3 * head_s:.0f} ms, unmerging "
            f"{1e3 * unmerge_s:.2f} ms, following the map {1e3 * follow_s:.2f} ms: {share:.2%} of the frame; "
            f"answer {len(compress_codes(answer)) / 1e3:.0f} kB"
        )
        results[f"level {level}"] = {"frame_s": frame_s, "head_s": head_s, "unmerging_share": share}
        for split in range(1, shape.blocks + 1):
            there = engine.run(engine.embed(pixels, merges), split)
            body = encode_activation(there, payload)
            sent = SentTokens(split, there.tokens.shape[1], there.tap_tokens, payload)
            whole_s = _split_s(model, engine, pixels, merges, split)
            print(f"  split {split:2}: {len(body) / 1e6:5.2f} MB, {whole_s / frame_s - 1:+.1%} of the unsplit time")
            results[f"level {level}, split {split}"] = {"bytes": len(body), "overhead": whole_s / frame_s - 1}
            assert torch.isfinite(decode_activation(body, sent, shape).tokens).all()
    print(json.dumps(results))


def _split_s(model: Model, engine, pixels, merges, split: int) -> float:  # type: ignore[no-untyped-def]
    shape, payload = model.shape, parse_payload(PAYLOAD)

    def run() -> None:
        there = engine.run(engine.embed(pixels, merges), split)
        sent = SentTokens(split, there.tokens.shape[1], there.tap_tokens, payload)
        arrived = decode_activation(encode_activation(there, payload), sent, shape, there.merges, there.fingerprint)
        engine.head(engine.run(arrived, shape.blocks))

    return median_s(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
