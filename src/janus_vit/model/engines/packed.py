"""The processor's fastest: weights laid out once as oneDNN's matrix products want them, residuals and GELU fused in.

Any number of tokens, no compile step. The operations are torch's own but private, so they are looked for and tried out
before use (docs/decisions/0007-private-operations-behind-a-guard.md).
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
from janus_vit.model.engines.trial import TOLERANCES, linear_difference, tells_refusals, too_far
from janus_vit.model.layers import Block
from janus_vit.model.memory import large_pieces_apart
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy.table import BFLOAT16, FLOAT32


class PackedEngine(OneByOne):
    """Stem and blocks in float32 on packed weights; the head is plain, and so is a stem of several convolutions.

    Args:
        model: what to run. keep_model: False moves what is packed out of the model, so that it is held once.
    """

    name = "packed"
    precision = FLOAT32
    dtype = torch.float32
    linear: Callable[..., Product] = PackedLinear
    ways: ClassVar[tuple[BlockVariant, ...]] = (
        BlockVariant(attend, align=True, few_shapes=True),
        BlockVariant(attend_plainly, align=True, few_shapes=True),
        BlockVariant(attend_plainly, few_shapes=True),
    )

    def __init__(self, model: Model, keep_model: bool = True) -> None:
        self._network, self._fingerprint = model.network.to("cpu"), model.fingerprint
        blocks = cast(Iterable[Block], model.network.blocks)
        with large_pieces_apart():
            self._stem = self._packed_stem(keep_model)
            how = self.pack, self.dtype, keep_model, self.ways[0]
            self._blocks = [PackedBlock(block, *how) for block in blocks]
        if not keep_model:
            _leave_file(model.network)
        self._take_fastest_way()

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why it cannot run on this machine, None if it can."""
        return product_unavailable_reason(cls.dtype)

    def pack(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> Product:
        """A linear layer of a block."""
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
    def _take_fastest_way(self) -> None:
        """Of those in which a block can compute, for one frame, unmerged; others are computed so too."""
        arch, tried = self._network.architecture, self._blocks[0]
        tokens = torch.randn(1, arch.tokens, arch.width, generator=torch.Generator().manual_seed(0))
        sizes = torch.ones(1, arch.tokens)

        def run(way: BlockVariant) -> None:
            tried.way = way
            tried(tokens, sizes, None, 0, arch.prefix)

        block_shape = arch.tokens, arch.width, arch.heads, arch.mlp_width, arch.activation
        chosen = fastest_variant((self.name, torch.get_num_threads(), *block_shape), self.ways, run)
        for block in self._blocks:
            block.way = chosen

    def _packed_stem(self, keep: bool) -> PackedStem | None:
        stem = self._network.stem
        if isinstance(stem, nn.Conv2d | nn.Conv3d):
            return PackedStem(stem, partial(self.linear, dtype=self.dtype), keep)
        return None


class PackedBfloat16Engine(PackedEngine):
    """The same with products in bfloat16; tokens between blocks, norms and softmax stay in float32."""

    name = "packed-bf16"
    precision = BFLOAT16
    dtype = torch.bfloat16


def _leave_file(network: nn.Module) -> None:
    """Copy what is left of a network: a mapped file counts as memory, all of it, while one tensor lies in it."""
    for parameter in network.parameters():
        if not parameter.is_meta:
            parameter.data = parameter.data.clone()


@lru_cache
@tells_refusals("torch")
def product_unavailable_reason(dtype: torch.dtype) -> str | None:
    """Why oneDNN's products cannot be used, None if they can."""
    if dtype == torch.bfloat16 and not multiplies_bfloat16():
        return "the processor does not multiply bfloat16"
    return too_far(linear_difference(partial(PackedLinear, dtype=dtype), dtype), TOLERANCES[dtype])


def multiplies_bfloat16() -> bool:
    """Whether in hardware: oneDNN emulates it elsewhere, slower than float32."""
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
