"""AMD's ZenDNN through its package for torch, zentorch: faster products and attention on processors with AVX-512.

Its operations share torch's threads and tensors, so that they take the place of those of `packed` and nothing else
changes. Only its library is loaded, in 20 ms; its Python part, for torch.compile, takes more than a second. It is an
extra, janus-vit[zen] (docs/decisions/0013-zendnn-as-an-extra.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from operator import attrgetter
from threading import Lock
from typing import Any, ClassVar

import torch
from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.catalog import Model
from janus_vit.model.engines.block_variant import BlockVariant
from janus_vit.model.engines.packed import PackedEngine, multiplies_bfloat16
from janus_vit.model.engines.packed_block import Product
from janus_vit.model.engines.trial import (
    REFUSALS,
    TOLERANCES,
    attention_difference,
    first_line,
    linear_difference,
    tells_refusals,
    too_far,
    worst,
)
from janus_vit.model.layers import size_bias
from janus_vit.planning.accuracy.table import BFLOAT16

_LEAKY_BEFORE = (2, 14)  # version: each call leaves some 100 bytes behind, gigabytes in a day's stream
INPUTS = (64, 588, 2048, 4096)  # of the products that are tried: what is right for few need not be for many
_ONE_AT_A_TIME = Lock()
_FUSED = {None: "none", "gelu": "gelu_erf", "gelu_tanh": "gelu_tanh", "silu": "silu"}


def call(operation: str, *args: object, **options: object) -> Any:
    """One of its operations, "name" or "name.overload", while no other thread runs one.

    Two that attend at once wait for each other for ever.
    """
    with _ONE_AT_A_TIME:
        return attrgetter(operation)(torch.ops.zentorch)(*args, **options)


class ZenLinear:
    """activation(x W' + b) for any number of rows.

    Args:
        weight: [outputs, inputs], copied. bias: [outputs]. dtype: of factors and outputs.
        activation: a key of the table above, computed where the product is written.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: str | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self._weight: Tensor = call("zentorch_weight_prepack_for_linear", weight.detach().to(dtype))
        self._bias = bias.detach().to(dtype, copy=True)  # a view would hold the whole file that it lies in
        self._activation = _FUSED[activation]
        self._dtype = dtype

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        low, after = x.to(self._dtype), self._activation
        out: Tensor = call(
            "zentorch_linear_unary", low, self._weight, self._bias, is_weight_prepacked=True, post_op=after
        )
        return out

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product of x [..., inputs] plus a residual [..., outputs] in float32."""
        if self._dtype != torch.float32:
            return residual + self(x)
        factors = x, self._weight, residual, self._bias
        out: Tensor = call("zentorch_linear_unary_binary", *factors, is_weight_prepacked=True, post_op_2="add")
        return out


def attend(query: Tensor, key: Tensor, value: Tensor, sizes: Tensor | None) -> Tensor:
    """See `packed_attention.attend`."""
    bias = size_bias(sizes, query.dtype, query.shape[2])
    out: Tensor = call("zentorch_sdpa", query, key, value, attn_mask=bias, scale=1.0)[0]
    return out.transpose(1, 2).flatten(2)


class ZenEngine(PackedEngine):
    """Stem and blocks in float32 on ZenDNN; the head is plain.

    Raises:
        InputError: its library is not there.
    """

    name = "zen"
    linear: Callable[..., Product] = ZenLinear
    ways: ClassVar[tuple[BlockVariant, ...]] = (BlockVariant(attend),)

    def __init__(self, model: Model, keep_model: bool = True) -> None:
        unloaded = load_library()
        if unloaded is not None:
            raise InputError(f"engine {self.name!r} cannot run here: {unloaded}")
        super().__init__(model, keep_model)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return _unavailable_reason(cls.dtype) or product_unavailable_reason(cls.dtype)


class PackedZenEngine(ZenEngine):
    """Products as in `packed`, attention as in `zen`: the fastest in float32 at some 200 tokens, as of ViT-B at 224."""

    name = "packed-zen"
    linear = PackedEngine.linear
    ways: ClassVar[tuple[BlockVariant, ...]] = (BlockVariant(attend, align=True, few_shapes=True),)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return PackedEngine.unavailable_reason() or _unavailable_reason(cls.dtype)


class ZenBfloat16Engine(ZenEngine):
    """The same with products in bfloat16; tokens between blocks, norms and softmax stay in float32."""

    name = "zen-bf16"
    precision = BFLOAT16
    dtype = torch.bfloat16


@lru_cache
def load_library() -> str | None:
    """Make its operations known to torch. Why that cannot be, None once they are."""
    try:
        package = distribution("zentorch")
    except PackageNotFoundError:
        return "the package zentorch is not installed: pip install 'janus-vit[zen]'"
    theirs, ours = (text.split(".")[:2] for text in (package.version, torch.__version__))
    if theirs != ours:  # it is linked with one version of torch, and crashes with others
        return f"zentorch {package.version} is not made for torch {torch.__version__}: pip install 'janus-vit[zen]'"
    if tuple(map(int, theirs)) < _LEAKY_BEFORE:
        return f"zentorch {package.version} loses memory in every call: pip install 'janus-vit[zen]'"
    try:
        torch.ops.load_library(package.locate_file("zentorch/libzentorch.so"))  # type: ignore[no-untyped-call]
        able = torch.ops.zentorch.zentorch_is_avx512_supported()
    except (OSError, *REFUSALS) as error:
        return f"zentorch {package.version} cannot be loaded: {first_line(error)}"
    return None if able else "the processor has no AVX-512"


@lru_cache
@tells_refusals("zentorch")
def _unavailable_reason(dtype: torch.dtype) -> str | None:
    """Why its attention cannot be used."""
    unloaded = load_library()
    if unloaded is None and dtype == torch.bfloat16 and not multiplies_bfloat16():
        return "the processor does not multiply bfloat16"
    return unloaded or too_far(attention_difference(attend, dtype), TOLERANCES[dtype])


@lru_cache
@tells_refusals("zentorch")
def product_unavailable_reason(dtype: torch.dtype) -> str | None:
    """Why its products cannot be used, once its library is there; None if they can."""
    pack = partial(ZenLinear, dtype=dtype)
    return too_far(worst(linear_difference(pack, dtype, inputs) for inputs in INPUTS), TOLERANCES[dtype])
