"""Typical losses of merging and of payload formats, which order the plans of a model that was not measured.

They are those of DINOv2-S/14 on real photographs (`benchmarks/real_model.py`, docs/real-model.md): 1 - cosine of the
embedding to that of the unmerged model. They say which of two plans changes the answer less, not how many answers are
right.
"""

from __future__ import annotations

import numpy as np

from janus_vit.planning.latency import Floats
from janus_vit.planning.payloads import LOCAL, LOSSLESS_SUFFIX, TOKEN_FORMATS, parse_payload
from janus_vit.planning.plan import ModelShape, tokens_saved
from janus_vit.planning.schedules import Schedule
from janus_vit.planning.table import PlanTable

FAMILY = "fixed"  # loses less than the exponential family for the same operations and for the same time
# Share of the tokens of all blocks that the fixed schedule merges away -> loss.
_MERGED = (0.0, 0.1, 0.175, 0.2, 0.3, 0.4, 0.524)
_LOSS_OF_MERGING = (0.0, 0.00048, 0.00106, 0.00155, 0.00296, 0.00642, 0.01886)
# Share of the blocks before the split -> loss of a token format.
_SPLIT = (1 / 12, 3 / 12, 6 / 12, 9 / 12)
_LOSS_OF_TOKENS = {
    "float16": (0.0, 0.0, 0.0, 0.0),
    "float8": (0.00013, 0.00006, 0.00005, 0.00005),
    "int8": (0.00006, 0.00005, 0.00004, 0.00016),
    "int4": (0.0774, 0.0190, 0.0113, 0.0318),
}
# Quality -> loss of an image format.
_QUALITY = (50, 75, 90, 100)
_LOSS_OF_JPEG = (0.0131, 0.0066, 0.0021, 0.0)
_WEBP = 2.1  # times the loss of a JPEG of the same quality


def typical_losses(table: PlanTable) -> Floats:
    """Return the loss of each plan, [levels, options]: that of its merging and that of its payload, added up."""
    merging = [_merging_loss(schedule, table.shape) for schedule in table.schedules]
    payloads = [_payload_loss(option.payload, option.split / table.shape.blocks) for option in table.options]
    return np.asarray(np.add.outer(merging, payloads))


def _merging_loss(schedule: Schedule, shape: ModelShape) -> float:
    merged = tokens_saved(schedule.applied) / (shape.blocks * shape.tokens)
    return _extended(merged, _MERGED, _LOSS_OF_MERGING)


def _extended(place: float, places: tuple[float, ...], losses: tuple[float, ...]) -> float:
    """Interpolate; beyond the last place, continue its slope, so that more merging always loses more."""
    slope = (losses[-1] - losses[-2]) / (places[-1] - places[-2])
    return float(np.interp(place, places, losses)) + slope * max(0.0, place - places[-1])


def _format_of_bits(base: str) -> str:
    """Return the measured format that stands for one that was not measured: the best with no more bits."""
    bits, _ = TOKEN_FORMATS[base]
    return "float16" if bits >= 16 else "int8" if bits >= 8 else "int4"


def _payload_loss(payload: str, depth: float) -> float:
    base = payload.removesuffix(LOSSLESS_SUFFIX)
    if base in (LOCAL, "float32", "tensor", "png"):
        return 0.0
    if base in TOKEN_FORMATS:
        return float(np.interp(depth, _SPLIT, _LOSS_OF_TOKENS.get(base) or _LOSS_OF_TOKENS[_format_of_bits(base)]))
    jpeg = float(np.interp(parse_payload(base).quality, _QUALITY, _LOSS_OF_JPEG))
    return _WEBP * jpeg if base.startswith("webp") else jpeg


def typical_order(table: PlanTable) -> Floats:
    """Return a value from 0 to 1 for each plan; the plan that typically loses least has the largest."""
    return np.asarray(1.0 - np.minimum(typical_losses(table), 1.0))
