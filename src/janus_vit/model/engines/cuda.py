"""An NVIDIA GPU: products in bfloat16, and one CUDA graph for each range of blocks, their merges and shape of tokens.

A graph is replayed by a single call, so that the hundreds of small kernels of a block do not wait for Python. Merging
asks the device nothing, so that it is inside. On another torch device everything is the same but for the graphs.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model import stage
from janus_vit.model.catalog import Model
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.packed_attention import attend_plainly
from janus_vit.model.engines.packed_block import PackedBlock
from janus_vit.model.engines.packed_way import Way
from janus_vit.model.layers import AFTER_LINEAR, Block
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy import BFLOAT16

_GRAPHS = 32  # kept; each holds what its blocks write, some tens of MB at ViT-L
_OFTEN = 3  # runs of the same blocks, merges and shape, from which on they are captured
_WARM_UP = 3  # runs before a capture, in which libraries choose their kernels

Blocks = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # tokens [B, T, C] and sizes [B, T] before and after
_Value = TypeVar("_Value")


class Bfloat16Linear:
    """activation(x W' + b) in bfloat16.

    Args:
        weight: [outputs, inputs], copied. bias: [outputs]. activation: a key of `layers.AFTER_LINEAR`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> None:
        self._weight = weight.detach().to(torch.bfloat16)
        self._bias = bias.detach().to(torch.bfloat16)
        self._activation = None if activation is None else AFTER_LINEAR[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out = F.linear(x.to(torch.bfloat16), self._weight, self._bias)
        return out if self._activation is None else self._activation(out)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product of x [..., inputs] plus a residual [..., outputs] in float32."""
        return residual + self(x)


class CudaEngine:
    """Blocks in bfloat16; tokens between them, norms, merging, stem and head in float32.

    Args:
        model: what to run. keep_model: False moves its weights to the device, so that they are held once.
        device: a torch device.
    """

    name = "cuda"
    precision = BFLOAT16

    def __init__(self, model: Model, keep_model: bool = True, device: str = "cuda") -> None:
        self._device = torch.device(device)
        held = replace(model, network=copy.deepcopy(model.network)) if keep_model else model
        self._ends = EagerEngine(held, device=device)
        self._network = held.network
        blocks = cast(Iterable[Block], self._network.blocks)
        how = Bfloat16Linear, torch.bfloat16, False, Way(attend_plainly)
        self._blocks = [PackedBlock(block, *how) for block in blocks]
        self._graphs: Recent[Graph] = Recent(_GRAPHS)
        self._asked: Recent[list[int]] = Recent(16 * _GRAPHS)

    @staticmethod
    def obstacle() -> str | None:
        """Why it cannot run on this machine, None if it can."""
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        return None if torch.cuda.is_bf16_supported() else "the GPU does not multiply bfloat16"

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """See `Engine.embed`."""
        return self._over(self._ends.embed(self._moved(pixels), merges))

    @torch.inference_mode()
    def run(self, activation: Activation, stop: int) -> Activation:
        """See `Engine.run`."""
        tokens, sizes = self._moved(activation.tokens), self._moved(activation.sizes)
        start = replace(activation, tokens=tokens, sizes=sizes)
        count = stop - start.next_block
        key = (start.next_block, start.merges[:count], tokens.shape)
        asked = self._asked.get(key, lambda: [0])
        asked[0] += 1
        if self._device.type != "cuda" or count <= 0 or asked[0] < _OFTEN:
            return self._over(stage.run_blocks(self._network, start, stop, self._blocks))
        graph = self._graphs.get(key, lambda: Graph(partial(self._part, start, stop), tokens, sizes))
        tokens, sizes = graph(tokens, sizes)
        return self._over(replace(start, tokens=tokens, sizes=sizes, next_block=stop, merges=start.merges[count:]))

    def head(self, activation: Activation) -> Tensor:
        """See `Engine.head`."""
        moved = replace(activation, tokens=self._moved(activation.tokens), sizes=self._moved(activation.sizes))
        return self._ends.head(moved)

    def _part(self, start: Activation, stop: int, tokens: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        done = stage.run_blocks(self._network, replace(start, tokens=tokens, sizes=sizes), stop, self._blocks)
        return done.tokens, done.sizes

    def _over(self, activation: Activation) -> Activation:
        """Wait until it is there: who times a part of a frame would else time only its launch."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return activation

    def _moved(self, values: Tensor) -> Tensor:
        """On the device; from pinned memory, which the copy does not wait for."""
        if self._device.type == "cuda" and values.device.type == "cpu":
            values = values.pin_memory()
        return values.to(self._device, non_blocking=True)


class Graph:
    """A captured run of some blocks at one shape. Replaying it costs one call and two small copies."""

    def __init__(self, blocks: Blocks, tokens: Tensor, sizes: Tensor) -> None:
        self._tokens, self._sizes = tokens.clone(), sizes.clone()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                blocks(self._tokens, self._sizes)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = blocks(self._tokens, self._sizes)

    def __call__(self, tokens: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """What the blocks give, in memory that the next replay leaves alone."""
        self._tokens.copy_(tokens)
        self._sizes.copy_(sizes)
        self._graph.replay()
        after, sizes_after = self._outputs
        return after.clone(), sizes_after.clone()


class Recent(Generic[_Value]):
    """The values that were asked for last; each is made when it is not among them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Hashable, _Value] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value of that key."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        if len(self._values) == self._limit:
            self._values.popitem(last=False)
        return self._values.setdefault(key, make())
