"""The identity of a model: a device and a cloud compare it before they share a frame."""

from __future__ import annotations

import hashlib
from dataclasses import fields

import torch

from janus_vit.model.memory import release_pages
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.tasks import CLASSIFY, MULTILABEL, REGRESS
from janus_vit.model.vit import Architecture, VisionTransformer

# Fields that came later: at their default they do not count, so that older fingerprints stay valid.
_LATER = frozenset({
    "last_norm", "image_width", "resize_width", "channels", "taps", "stem_padding", "rotary", "attn_norm", "mlp_norm",
    "pool_heads", "pool_mlp_width", "pool_depth", "norm", "patch_norm", "most_patches", "naflex_patch_size",
    "late_tokens", "late_block", "square_only",
})  # fmt: skip
_SAMPLED_VALUES = 4096  # values of each tensor that are hashed: two trainings differ everywhere


def fingerprint(network: VisionTransformer, preprocessing: Preprocessing, task: str = CLASSIFY) -> str:
    """Return 16 hexadecimal digits that are equal for equal architecture, weights, preprocessing and task.

    Drops the pages of the weights' file from memory; see `memory.release_pages`.
    """
    digest = hashlib.sha256(f"({_describe(network.architecture)}, {_describe(preprocessing)})".encode())
    if task in (MULTILABEL, REGRESS):  # whether a model embeds shows in its architecture
        digest.update(task.encode())
    if network.dense_head is not None:
        digest.update(f"{task} {type(network.dense_head).__name__} {network.dense_head.settings}".encode())
    for name, tensor in sorted(network.state_dict().items()):
        flat = tensor.detach().flatten()
        sample = flat[:: max(1, flat.numel() // _SAMPLED_VALUES)]
        digest.update(name.encode())
        digest.update(sample.to("cpu", torch.float32).numpy().tobytes())
        release_pages(tensor)
    return digest.hexdigest()[:16]


def _describe(value: Architecture | Preprocessing) -> str:
    """Return the representation of a dataclass, without later fields that have their default."""
    parts = [
        f"{field.name}={getattr(value, field.name)!r}"
        for field in fields(value)
        if field.name not in _LATER or getattr(value, field.name) != field.default
    ]
    return f"{type(value).__name__}({', '.join(parts)})"
