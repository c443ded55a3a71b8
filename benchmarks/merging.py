"""Measure what a merge costs beside the block that contains it: 577 tokens of width 1,024, batch 1.

    python benchmarks/merging.py

The block is a ViT-L block of this package; the peer is PyTorch's own encoder layer of the same shape. Merge, block and
peer run in turn.
"""

from __future__ import annotations

import torch
from _common import median_p99, print_json, timed_ms
from torch import nn

from janus_vit.model.layers import Block
from janus_vit.model.merging import match_tokens, merge_tokens

TOKENS, WIDTH, HEADS = 577, 1024, 16
MERGES = 74  # in the first block at the paper's largest level
ROUNDS, WARM_UP = 9, 2
LIMIT_PERCENT = 2.0


@torch.inference_mode()
def main() -> None:
    """Print the table and the JSON line."""
    torch.manual_seed(0)
    block = Block(WIDTH, HEADS, 4 * WIDTH).eval()
    peer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", norm_first=True, batch_first=True).eval()
    tokens, sizes = torch.randn(1, TOKENS, WIDTH), torch.ones(1, TOKENS)
    keys = torch.randn(1, HEADS, TOKENS, WIDTH // HEADS)
    actions = {
        "block": lambda: block(tokens, sizes, None, 0, 1),
        "torch encoder layer": lambda: peer(tokens),
        "one merge": lambda: merge_tokens(tokens, sizes, match_tokens(keys, MERGES, 1)),
    }
    durations: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(ROUNDS):  # in turn, so that other load affects all of them
        for name, action in actions.items():
            durations[name] += timed_ms(action, rounds=4, warm_up=WARM_UP)
    block_ms = median_p99(durations["block"])[0]
    rows: list[dict[str, object]] = []
    print(f"{'what':<20} {'median ms':>10} {'p99 ms':>8} {'% of block':>11}")
    for name, values in durations.items():
        median_ms, p99_ms = median_p99(values)
        print(f"{name:<20} {median_ms:10.3f} {p99_ms:8.3f} {100 * median_ms / block_ms:11.2f}")
        rows.append({"what": name, "median_ms": median_ms, "p99_ms": p99_ms, "percent": 100 * median_ms / block_ms})
    print(f"limit for a merge: {LIMIT_PERCENT} % of a block")
    print_json("merging", WARM_UP, rows)


if __name__ == "__main__":
    main()
