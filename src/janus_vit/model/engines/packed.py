"""Engines on weights in oneDNN's own layout, with residuals and GELU fused into the products.

They run any number of tokens and compile nothing. They use private operations of torch, so these are checked before
use (docs/decisions/0007-private-operations-behind-a-guard.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from janus_vit.model import stage
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import OneByOne
from janus_vit.model.engines.block_variant import BlockVariant, fastest_variant
from janus_vit.model.engines.packed_attention import attend, attend_plainly
from janus_vit.model.engines.packed_block import PackedBlock, Product
from janus_vit.model.engines.packed_linear import PackedLinear
from janus_vit.model.engines.packed_stem import PackedStem
from janus_vit.model.engines.trial import TOLERANCES, deviation_reason, linear_difference, reports_changed_operations
from janus_vit.model.layers import Block
from janus_vit.model.memory import separate_large_allocations
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy.table import BFLOAT16, FLOAT32


class PackedEngine(OneByOne):
    """Run stem and blocks in float32 on packed weights. The head, and a stem of several convolutions, are plain torch.

    Args:
        model: the model to run.
        keep_model: False removes the packed weights from the model, so that memory holds them once.
    """

    name = "packed"
    precision = FLOAT32
    dtype = torch.float32
    linear: Callable[..., Product] = PackedLinear
    variants: ClassVar[tuple[BlockVariant, ...]] = (
        BlockVariant(attend, align=True, few_shapes=True),
        BlockVariant(attend_plainly, align=True, few_shapes=True),
        BlockVariant(attend_plainly, few_shapes=True),
    )

    def __init__(self, model: Model, keep_model: bool = True) -> None:
        self._network, self._fingerprint = model.network.to("cpu"), model.fingerprint
        blocks = cast(Iterable[Block], model.network.blocks)
        with separate_large_allocations():
            self._stem = self._packed_stem(keep_model)
            settings = self.pack, self.dtype, keep_model, self.variants[0]
            self._blocks = [PackedBlock(block, *settings) for block in blocks]
        if not keep_model:
            _copy_out_of_file(model.network)
        self._use_fastest_variant()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Return why this machine cannot run the engine, None if it can."""
        return product_unavailable_reason(cls.dtype)

    def pack(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> Product:
        """Make a linear layer of a block."""
        return self.linear(weight, bias, activation, self.dtype)

    @torch.inference_mode()
    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """See `Engine.embed`."""
        return stage.embed(self._network, pixels, merges, self._fingerprint, self._stem)

    @torch.inference_mode()
    def run(self, activation: Activation, stop: int) -> Activation:
        """See `Engine.run`."""
        return stage.run_blocks(self._network, activation, stop, self._blocks)

    @torch.inference_mode()
    def head(self, activation: Activation) -> Tensor:
        """See `Engine.head`."""
        return stage.head(self._network, activation)

    @torch.inference_mode()
    def _use_fastest_variant(self) -> None:
        """Time each variant on one unmerged frame and use the fastest for all frames."""
        arch, measured = self._network.architecture, self._blocks[0]
        tokens = torch.randn(1, arch.tokens, arch.width, generator=torch.Generator().manual_seed(0))
        sizes = torch.ones(1, arch.tokens)

        def run(variant: BlockVariant) -> None:
            measured.variant = variant
            measured(tokens, sizes, None, 0, arch.prefix)

        block_shape = arch.tokens, arch.width, arch.heads, arch.mlp_width, arch.activation
        chosen = fastest_variant((self.name, torch.get_num_threads(), *block_shape), self.variants, run)
        for block in self._blocks:
            block.variant = chosen

    def _packed_stem(self, keep: bool) -> PackedStem | None:
        stem = self._network.stem
        if isinstance(stem, nn.Conv2d | nn.Conv3d):
            return PackedStem(stem, partial(self.linear, dtype=self.dtype), keep)
        return None


class PackedBfloat16Engine(PackedEngine):
    """Run the products in bfloat16. Tokens between blocks, norms and softmax stay in float32."""

    name = "packed-bf16"
    precision = BFLOAT16
    dtype = torch.bfloat16


def _copy_out_of_file(network: nn.Module) -> None:
    """Copy the remaining weights: one mapped tensor keeps its whole file mapped, which counts as memory."""
    for parameter in network.parameters():
        if not parameter.is_meta:
            parameter.data = parameter.data.clone()


@lru_cache
@reports_changed_operations("torch")
def product_unavailable_reason(dtype: torch.dtype) -> str | None:
    """Return why oneDNN's products cannot be used, None if they can."""
    if dtype == torch.bfloat16 and not multiplies_bfloat16():
        return "the CPU has no bfloat16 instructions"
    return deviation_reason(linear_difference(partial(PackedLinear, dtype=dtype), dtype), TOLERANCES[dtype])


def multiplies_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware. Elsewhere oneDNN emulates it, slower than float32."""
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
