"""Measure how loading ViT-L/16@384 compares with reading the file: time, and memory beside the file's size.

    python benchmarks/loading.py

Writes a checkpoint of random float32 weights with timm's names and one with those of transformers, and loads each in a
fresh process. transformers stores query, key and value separately, so loading must copy them. The peer reads the whole
file into memory once.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from _common import print_json, resident_bytes, run_in_process
from safetensors.torch import save_file
from torch import Tensor

from janus_vit.model.catalog import load_model

ROUNDS = 3
WIDTH, DEPTH, PATCH, SIDE = 1024, 24, 16, 384
MEMORY_LIMIT, TIME_LIMIT = 1.3, 2.0


def tensors(split_qkv: bool) -> dict[str, Tensor]:
    """Return all tensors with timm's names; with those of transformers if query, key and value are split."""

    def linear(name: str, rows: int, columns: int) -> dict[str, Tensor]:
        return {f"{name}.weight": torch.rand(rows, columns), f"{name}.bias": torch.rand(rows)}

    def norm(name: str) -> dict[str, Tensor]:
        return {f"{name}.weight": torch.rand(WIDTH), f"{name}.bias": torch.rand(WIDTH)}

    positions = (SIDE // PATCH) ** 2 + 1
    stem = {"weight": torch.rand(WIDTH, 3, PATCH, PATCH), "bias": torch.rand(WIDTH)}
    if not split_qkv:
        found = {"cls_token": torch.rand(1, 1, WIDTH), "pos_embed": torch.rand(1, positions, WIDTH)}
        found |= {f"patch_embed.proj.{kind}": value for kind, value in stem.items()}
        found |= norm("norm") | linear("head", 1000, WIDTH)
        for block in range(DEPTH):
            name = f"blocks.{block}"
            found |= linear(f"{name}.attn.qkv", 3 * WIDTH, WIDTH) | linear(f"{name}.attn.proj", WIDTH, WIDTH)
            found |= linear(f"{name}.mlp.fc1", 4 * WIDTH, WIDTH) | linear(f"{name}.mlp.fc2", WIDTH, 4 * WIDTH)
            found |= norm(f"{name}.norm1") | norm(f"{name}.norm2")
        return found
    embeddings = "vit.embeddings"
    found = {f"{embeddings}.cls_token": torch.rand(1, 1, WIDTH)}
    found |= {f"{embeddings}.position_embeddings": torch.rand(1, positions, WIDTH)}
    found |= {f"{embeddings}.patch_embeddings.projection.{kind}": value for kind, value in stem.items()}
    found |= norm("vit.layernorm") | linear("classifier", 1000, WIDTH)
    for block in range(DEPTH):
        name = f"vit.encoder.layer.{block}"
        for part in ("query", "key", "value"):
            found |= linear(f"{name}.attention.attention.{part}", WIDTH, WIDTH)
        found |= linear(f"{name}.attention.output.dense", WIDTH, WIDTH)
        found |= linear(f"{name}.intermediate.dense", 4 * WIDTH, WIDTH)
        found |= linear(f"{name}.output.dense", WIDTH, 4 * WIDTH)
        found |= norm(f"{name}.layernorm_before") | norm(f"{name}.layernorm_after")
    return found


def write(folder: Path, split_qkv: bool) -> Path:
    """Write a checkpoint folder; return its weight file."""
    file = folder / "model.safetensors"
    save_file(tensors(split_qkv), file)
    config = {"model_type": "vit", "num_attention_heads": 16, "image_size": SIDE}
    (folder / "config.json").write_text(json.dumps(config if split_qkv else {"architecture": "vit_large_patch16_384"}))
    return file


def load(pipe: Connection, folder: str) -> None:
    """Load the model in a fresh process; send time and additional memory. The fingerprint reads every weight."""
    torch.set_num_threads(1)
    before_bytes = resident_bytes("VmRSS")
    began_s = time.perf_counter()
    load_model(folder).fingerprint  # noqa: B018
    elapsed_s = time.perf_counter() - began_s
    pipe.send((elapsed_s, resident_bytes("VmHWM") - before_bytes))


def measure(folder: Path) -> tuple[float, int]:
    """Return seconds and bytes of one load."""
    found: tuple[float, int] = run_in_process(load, str(folder))
    return found


def read_s(file: Path) -> float:
    """Return the seconds to read a file into memory."""
    began_s = time.perf_counter()
    file.read_bytes()
    return time.perf_counter() - began_s


def main() -> None:
    """Print the table and the JSON line."""
    rows: list[dict[str, object]] = []
    print(f"{'names':<14} {'file MB':>8} {'load s':>8} {'read s':>8} {'ratio':>6} {'memory MB':>10} {'ratio':>6}")
    for names in ("timm", "transformers"):
        with tempfile.TemporaryDirectory() as name:
            file = write(Path(name), split_qkv=names == "transformers")
            read_s(file)  # warms up the file cache
            pairs = [(*measure(file.parent), read_s(file)) for _ in range(ROUNDS)]
        size_bytes = sum(value.numel() * 4 for value in tensors(names == "transformers").values())
        load_s, memory_bytes, peer_s = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(
            f"{names:<14} {size_bytes / 1e6:>8.0f} {load_s:>8.2f} {peer_s:>8.2f} {load_s / peer_s:>6.2f} "
            f"{memory_bytes / 1e6:>10.0f} {memory_bytes / size_bytes:>6.2f}"
        )
        rows.append(
            {"names": names, "load_s": load_s, "read_s": peer_s, "memory_bytes": memory_bytes, "file_bytes": size_bytes}
        )
    print(f"limits: load time {TIME_LIMIT} x the read time, memory {MEMORY_LIMIT} x the file's size")
    print_json("loading", 1, rows)


if __name__ == "__main__":
    main()
