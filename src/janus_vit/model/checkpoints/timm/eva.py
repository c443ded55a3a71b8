"""What the names of timm's class Eva stand for: EVA, EVA-02, DINOv3, Perception Encoder and ViTs with rotary positions.

Their tensors show neither the rotation of queries and keys nor the usual pooling.
"""

from __future__ import annotations

import re

from janus_vit.model.checkpoints.positions.rotary import RotaryFacts

_EVA = re.compile(r"^(eva02_|eva_giant_|vit_pe_)|_rope_|_dinov3|_lingbot$")
_POOLS_CLASS = re.compile(r"_clip_|_rope_(mixed_)?(ape_)?224$|_lingbot$")
_WITHOUT_LAST_NORM = re.compile(r"^vit_pe_(lang|spatial)_")
_COARSE_EPS = re.compile(r"^vit_pe_|_dinov3|_lingbot$")
# What the name says -> how queries and keys are turned; the first that is found counts.
_ROTARY: tuple[tuple[str, RotaryFacts | None], ...] = (
    (r"^eva_giant_", None),
    (r"_dinov3|_lingbot$", RotaryFacts(100.0, centred=True, interleaved=False)),
    (r"_rope_mixed_", RotaryFacts(mixed=True)),
    (r"_rope_(ape_)?224$", RotaryFacts(100.0, columns_first=True)),
    (r"^vit_pe_core_gigantic|^vit_pe_(lang|spatial)_gigantic", RotaryFacts(columns_first=True, reference=(32, 32))),
    (r"^vit_pe_(lang|spatial)_", RotaryFacts(columns_first=True, offset=1.0, reference=(32, 32))),
    (r"^vit_pe_core_base_", RotaryFacts(columns_first=True, offset=1.0, reference=(14, 14))),
    (r"^vit_pe_core_", RotaryFacts(columns_first=True, offset=1.0, reference=(24, 24))),
    (r"^eva02_|_rope_reg", RotaryFacts(reference=(16, 16))),
)


def is_eva(name: str) -> bool:
    """Whether timm's name is one of its class Eva."""
    return _EVA.search(name) is not None


def rotary_of(name: str) -> RotaryFacts | None:
    """How an architecture turns queries and keys, None if it does not."""
    return next((facts for pattern, facts in _ROTARY if re.search(pattern, name)), None)


def usual_pooling(name: str) -> str:
    """Pooling of an architecture, as timm calls it, where no file states it."""
    if name.startswith("vit_pe_core_"):
        return "map"
    return "token" if _POOLS_CLASS.search(name) else "avg"


def has_last_norm(name: str) -> bool:
    """Whether an architecture has a last norm."""
    return _WITHOUT_LAST_NORM.search(name) is None


def norm_eps(name: str) -> float:
    """Epsilon of the norms of an architecture."""
    return 1e-5 if _COARSE_EPS.search(name) else 1e-6


def pool_heads(name: str) -> int | None:
    """Heads of the attention pooling of an architecture, None if they are as many as in the blocks."""
    return 8 if name.startswith("vit_pe_core_") else None
