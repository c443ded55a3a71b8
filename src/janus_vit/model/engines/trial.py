"""Check private or third-party operations against plain torch before an engine uses them.

A difference is the largest error of values around 1. Functions that return a difference do not catch errors of the
operations; `deviation_reason` and `reports_changed_operations` turn differences and errors into a reason for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from importlib.metadata import version
from typing import ParamSpec

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.engines.block_variant import Attend
from janus_vit.model.engines.packed_block import Packing
from janus_vit.model.layers import AFTER_LINEAR, size_bias

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
_P = ParamSpec("_P")
OPERATION_ERRORS = (AttributeError, RuntimeError, TypeError)  # an operation is missing or has another signature


@torch.inference_mode()
def linear_difference(
    pack: Packing, dtype: torch.dtype, inputs: int = 64, outputs: int = 96, rows: Iterable[int] = (7, 1)
) -> float:
    """Return the largest difference of linear layers, in each form that blocks use, for each number of rows."""
    weight, bias = _randn(outputs, inputs) / inputs**0.5, _randn(outputs)
    packed = {name: pack(weight, bias, name) for name in AFTER_LINEAR}
    differences = []
    for count in rows:
        x, residual = _randn(1, count, inputs, seed=1), _randn(1, count, outputs, seed=2)
        plain, low = F.linear(x, weight, bias), x.to(dtype)
        wanted = {name: after(plain) for name, after in AFTER_LINEAR.items()}
        differences += [_largest(packed[name](low) - right) for name, right in wanted.items()]
        differences.append(_largest(packed[None].plus(low, residual) - (plain + residual)))
    return worst(differences)


@torch.inference_mode()
def attention_difference(attend: Attend, dtype: torch.dtype) -> float:
    """Return the largest difference of attention, without sizes and with tokens that stand for several patches.

    The number of queries equals the number of tokens, exceeds it (padding), or is one (the token that the head reads).
    """
    differences = []
    for tokens, width, queries in ((17, 8, 17), (17, 8, 1), (600, 64, 600), (600, 64, 608), (600, 64, 1)):
        query = _randn(2, 2, queries, width) / width**0.25
        key, value = (_randn(2, 2, tokens, width, seed=seed) / width**0.25 for seed in (1, 2))
        for sizes in (None, 1.0 + torch.arange(2.0 * tokens).view(2, tokens) % 5):
            bias = size_bias(sizes, torch.float32, queries)
            wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
            found = attend(query.to(dtype), key.to(dtype), value.to(dtype), sizes)
            differences.append(_largest(found - wanted.transpose(1, 2).flatten(2)))
    return worst(differences)


@torch.inference_mode()
def int8_difference(pack: Packing) -> float:
    """Return the largest difference for products of the largest integers, whose 16-bit sums overflow without VNNI."""
    signs, x = _randn(96, 64).sign() / 8, torch.ones(7, 64)
    return _largest(pack(signs, torch.zeros(96))(x) - F.linear(x, signs))


def deviation_reason(difference: float, tolerance: float) -> str | None:
    """Return why results with this difference cannot be used, None if it is only rounding."""
    return None if difference < tolerance else f"its results differ from plain ones by {difference:.1g}"


def reports_changed_operations(package: str) -> Callable[[Callable[_P, str | None]], Callable[_P, str | None]]:
    """Decorate an `unavailable_reason`: missing or changed operations of the package become a reason too."""
    return partial(_reporting, package)


def _reporting(package: str, unavailable_reason: Callable[_P, str | None]) -> Callable[_P, str | None]:
    @wraps(unavailable_reason)
    def reported(*args: _P.args, **options: _P.kwargs) -> str | None:
        try:
            return unavailable_reason(*args, **options)
        except OPERATION_ERRORS as error:
            return f"{package} {version(package)} has other operations: {first_line(error)}"

    return reported


def worst(differences: Iterable[float]) -> float:
    """Return the largest difference; NaN if one is NaN, which `max` may overlook."""
    return float(torch.tensor(list(differences)).max())


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
