"""An NVIDIA GPU: products in bfloat16, and one CUDA graph for each range of blocks, their merges and shape of tokens.

A graph is replayed by a single call, so that the hundreds of small kernels of some blocks do not wait for Python.
Merging asks the device nothing, so that it is inside. On a processor everything is the same but for the graphs.
"""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from janus_vit.model import stage
from janus_vit.model.catalog import Model
from janus_vit.model.engines.base import OneByOne
from janus_vit.model.engines.block_variant import BlockVariant
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.packed_attention import attend_plainly
from janus_vit.model.engines.packed_block import PackedBlock
from janus_vit.model.engines.trial import first_line
from janus_vit.model.layers import AFTER_LINEAR, Block
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy.table import BFLOAT16

_GRAPHS = 32  # kept; each holds what its blocks write, some tens of MB at ViT-L
_OFTEN = 3  # runs of the same blocks, merges and shape, from which on they are captured
_WARM_UP = 3  # runs before a capture, in which libraries choose their kernels
_LEAST_BLOCKS = 2  # that are captured: profiles run single ones, at more shapes than graphs are kept
_KEYS = 16 * _GRAPHS  # of runs that are counted
# Without cuDNN's, torch's first choice on Hopper, which makes a plan for each number of tokens in tens of milliseconds.
_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

_ONE_AT_A_TIME = Lock()  # of a process: a graph has one place for its tokens, and only one is captured at a time

Blocks = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # tokens [B, T, C] and sizes [B, T] before and after
_Graph = TypeVar("_Graph")


class Bfloat16Linear:
    """activation(x W' + b) in bfloat16.

    Args:
        weight: [outputs, inputs], copied. bias: [outputs]. activation: a key of `layers.AFTER_LINEAR`.
    """

    def __init__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> None:
        self._weight = weight.detach().to(torch.bfloat16)
        self._bias = bias.detach().to(torch.bfloat16)
        self._after = AFTER_LINEAR[activation]

    def __call__(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        out = F.linear(x.to(torch.bfloat16), self._weight, self._bias)
        return self._after(out)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product of x [..., inputs] plus a residual [..., outputs] in float32."""
        return residual + self(x)


class CudaEngine(OneByOne):
    """Blocks in bfloat16; tokens between them, norms, merging, stem and head in float32, a stem's convolution in TF32.

    Args:
        model: what to run. keep_model: False moves its weights to the device, so that they are held once.
        device: "cuda", the current GPU, or "cpu", where nothing is captured.
    """

    name = "cuda"
    precision = BFLOAT16

    def __init__(self, model: Model, keep_model: bool = True, device: str = "cuda") -> None:
        self._device = torch.device(device)
        held = replace(model, network=copy.deepcopy(model.network)) if keep_model else model
        self._ends = EagerEngine(held, device=device)
        self._network = held.network
        blocks = cast(Iterable[Block], self._network.blocks)
        how = Bfloat16Linear, torch.bfloat16, False, BlockVariant(attend_plainly)
        self._blocks = [PackedBlock(block, *how) for block in blocks]
        self._captures: Captures[Graph] = Captures(_GRAPHS, _OFTEN)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # of the float32 weights
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @staticmethod
    def unavailable_reason() -> str | None:
        """Why it cannot run on this machine, None if it can."""
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        multiplies = torch.cuda.is_bf16_supported(including_emulation=False)
        return None if multiplies else "the GPU does not multiply bfloat16"

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """See `Engine.embed`."""
        return self._over(self._ends.embed(pixels.to(self._device), merges))

    @torch.inference_mode()
    def run(self, activation: Activation, stop: int) -> Activation:
        """See `Engine.run`."""
        start = self._moved(activation)
        with _ONE_AT_A_TIME, sdpa_kernel(_ATTENTION):
            tokens, sizes = self._graph(start, stop)(start.tokens, start.sizes)
            merges = start.merges[max(stop - start.next_block, 0) :]
            return self._over(replace(start, tokens=tokens, sizes=sizes, next_block=stop, merges=merges))

    def head(self, activation: Activation) -> Tensor:
        """See `Engine.head`."""
        return self._ends.head(self._moved(activation))

    def _graph(self, start: Activation, stop: int) -> Blocks:
        """The blocks up to there, captured if they come often."""
        blocks = partial(self._part, start, stop)
        count = stop - start.next_block
        if self._device.type != "cuda" or count < _LEAST_BLOCKS:
            return blocks

        def capture(other: Graph | None) -> Graph:
            # A capture that fails leaves its own stream the current one, were it not for this.
            with torch.cuda.stream(torch.cuda.current_stream()):
                return Graph(blocks, start.tokens, start.sizes, self._stream, other)

        key = (start.next_block, start.merges[:count], start.tokens.shape)
        return self._captures.get(key, capture) or blocks

    def _part(self, start: Activation, stop: int, tokens: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        done = stage.run_blocks(self._network, replace(start, tokens=tokens, sizes=sizes), stop, self._blocks)
        return done.tokens, done.sizes

    def _over(self, activation: Activation) -> Activation:
        """Wait until it is there: who times a part of a frame would else time only its launch."""
        if self._device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return activation

    def _moved(self, activation: Activation) -> Activation:
        tokens, sizes = activation.tokens.to(self._device), activation.sizes.to(self._device)
        return replace(activation, tokens=tokens, sizes=sizes)


class Graph:
    """A captured run of some blocks at one shape. Replaying it costs one call and two small copies.

    Args:
        blocks: what is captured. tokens, sizes: such as it will be given. stream: for captures alone.
        other: one whose memory it shares, which is free when that has been replayed and its outputs copied.
    """

    def __init__(
        self, blocks: Blocks, tokens: Tensor, sizes: Tensor, stream: torch.cuda.Stream, other: Graph | None
    ) -> None:
        self._tokens, self._sizes = tokens.clone(), sizes.clone()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                blocks(self._tokens, self._sizes)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        pool = None if other is None else other._graph.pool()
        # What other threads do on the GPU meanwhile must not fail, nor make this fail.
        with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._outputs = blocks(self._tokens, self._sizes)

    def __call__(self, tokens: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """What the blocks give, in memory that the next replay leaves alone."""
        self._tokens.copy_(tokens)
        self._sizes.copy_(sizes)
        self._graph.replay()
        after, sizes_after = self._outputs
        return after.clone(), sizes_after.clone()


class Captures(Generic[_Graph]):
    """Graphs of what is asked for often.

    When there are as many as may be, or one cannot be captured, all are dropped at once, never one alone: graphs of one
    stream share cuBLAS' workspace, which goes with any of them (pytorch issue 193402).
    """

    def __init__(self, limit: int, often: int) -> None:
        self._limit, self._often = limit, often
        self._graphs: dict[Hashable, _Graph] = {}
        self._asked: Counter[Hashable] = Counter()
        self._refused: set[Hashable] = set()

    def get(self, key: Hashable, capture: Callable[[_Graph | None], _Graph]) -> _Graph | None:
        """The graph of that key; none while it is not asked for often, or if it cannot be captured.

        Args:
            capture: makes it, given another one that is kept, if there is one.
        """
        if key in self._graphs or key in self._refused:
            return self._graphs.get(key)
        self._asked[key] += 1
        if self._asked[key] < self._often:
            if len(self._asked) > _KEYS:
                self._asked.clear()
            return None
        if len(self._graphs) == self._limit:
            for kept in (self._graphs, self._asked, self._refused):
                kept.clear()
            return None
        try:
            return self._graphs.setdefault(key, capture(next(iter(self._graphs.values()), None)))
        except RuntimeError as error:  # memory is short, or something in it cannot be captured
            warnings.warn(f"some blocks run without a CUDA graph: {first_line(error)}", RuntimeWarning, stacklevel=2)
            self._graphs.clear()
            self._refused.add(key)
            return None
