"""Engines on AMD's ZenDNN, through the package zentorch: faster products and attention on CPUs with AVX-512.

Its operations share torch's threads and tensors, so they replace those of `packed` and nothing else changes. Only the
library is loaded, in 20 ms; the Python part of zentorch, for torch.compile, would take more than a second. The package
is an extra, janus-vit[zen] (docs/decisions/0013-zendnn-as-an-extra.md).
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
    OPERATION_ERRORS,
    TOLERANCES,
    attention_difference,
    deviation_reason,
    first_line,
    linear_difference,
    reports_changed_operations,
    worst,
)
from janus_vit.model.layers import size_bias
from janus_vit.planning.accuracy.table import BFLOAT16

_LEAKY_BEFORE = (2, 14)  # earlier versions leak about 100 bytes a call, gigabytes in a day
INPUTS = (64, 588, 2048, 4096)  # numbers of inputs that are checked: some operations are wrong only for many
_ONE_AT_A_TIME = Lock()
_FUSED = {None: "none", "gelu": "gelu_erf", "gelu_tanh": "gelu_tanh", "silu": "silu"}


def call(operation: str, *args: object, **options: object) -> Any:
    """Run an operation of zentorch, "name" or "name.overload", while no other thread runs one.

    Two threads that run attention at once deadlock.
    """
    with _ONE_AT_A_TIME:
        return attrgetter(operation)(torch.ops.zentorch)(*args, **options)


class ZenLinear:
    """Compute activation(x W' + b) for any number of rows.

    Args:
        weight: [outputs, inputs], copied.
        bias: [outputs].
        activation: a key of `_FUSED`, computed inside the product.
        dtype: type of factors and outputs.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, activation: str | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self._weight: Tensor = call("zentorch_weight_prepack_for_linear", weight.detach().to(dtype))
        self._bias = bias.detach().to(dtype, copy=True)  # a view would keep the whole mapped file in memory
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
        """Add the product of x [..., inputs] to a residual [..., outputs] in float32."""
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
    """Run stem and blocks in float32 on ZenDNN. The head is plain torch.

    Raises:
        InputError: the library cannot be loaded.
    """

    name = "zen"
    linear: Callable[..., Product] = ZenLinear
    variants: ClassVar[tuple[BlockVariant, ...]] = (BlockVariant(attend),)

    def __init__(self, model: Model, keep_model: bool = True) -> None:
        unavailable_reason = load_library()
        if unavailable_reason is not None:
            raise InputError(f"engine {self.name!r} cannot run here: {unavailable_reason}")
        super().__init__(model, keep_model)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return _unavailable_reason(cls.dtype) or product_unavailable_reason(cls.dtype)


class PackedZenEngine(ZenEngine):
    """Run products as `packed` and attention as `zen`: the fastest in float32 at about 200 tokens (ViT-B at 224)."""

    name = "packed-zen"
    linear = PackedEngine.linear
    variants: ClassVar[tuple[BlockVariant, ...]] = (BlockVariant(attend, align=True, few_shapes=True),)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """See `PackedEngine.unavailable_reason`."""
        return PackedEngine.unavailable_reason() or _unavailable_reason(cls.dtype)


class ZenBfloat16Engine(ZenEngine):
    """Run the products in bfloat16. Tokens between blocks, norms and softmax stay in float32."""

    name = "zen-bf16"
    precision = BFLOAT16
    dtype = torch.bfloat16


@lru_cache
def load_library() -> str | None:
    """Load the library, which registers its operations with torch. Return why it cannot be loaded, None if it is."""
    try:
        package = distribution("zentorch")
    except PackageNotFoundError:
        return "the package zentorch is not installed: pip install 'janus-vit[zen]'"
    theirs, ours = (text.split(".")[:2] for text in (package.version, torch.__version__))
    if theirs != ours:  # it is linked with one version of torch and crashes with others
        return f"zentorch {package.version} is not made for torch {torch.__version__}: pip install 'janus-vit[zen]'"
    if tuple(map(int, theirs)) < _LEAKY_BEFORE:
        return f"zentorch {package.version} leaks memory in every call: pip install 'janus-vit[zen]'"
    try:
        torch.ops.load_library(package.locate_file("zentorch/libzentorch.so"))  # type: ignore[no-untyped-call]
        able = torch.ops.zentorch.zentorch_is_avx512_supported()
    except (OSError, *OPERATION_ERRORS) as error:
        return f"zentorch {package.version} cannot be loaded: {first_line(error)}"
    return None if able else "the CPU has no AVX-512"


@lru_cache
@reports_changed_operations("zentorch")
def _unavailable_reason(dtype: torch.dtype) -> str | None:
    """Return why its attention cannot be used, None if it can."""
    load_error = load_library()
    if load_error is None and dtype == torch.bfloat16 and not multiplies_bfloat16():
        return "the CPU has no bfloat16 instructions"
    return load_error or deviation_reason(attention_difference(attend, dtype), TOLERANCES[dtype])


@lru_cache
@reports_changed_operations("zentorch")
def product_unavailable_reason(dtype: torch.dtype) -> str | None:
    """Return why its products cannot be used once the library is loaded, None if they can."""
    pack = partial(ZenLinear, dtype=dtype)
    return deviation_reason(worst(linear_difference(pack, dtype, inputs) for inputs in INPUTS), TOLERANCES[dtype])
