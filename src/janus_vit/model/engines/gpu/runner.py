"""Runs blocks on ragged rows, replayed as a CUDA graph where a run repeats. Knows no stem, head or transfer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from janus_vit.model.engines.gpu.arithmetic import Arithmetic
from janus_vit.model.engines.gpu.block import RaggedBlock, Rows
from janus_vit.model.engines.gpu.graphs import CAPTURE, Captures, Graph, graph_memory
from janus_vit.model.engines.gpu.layout import Counts, Layout, make_layout
from janus_vit.model.engines.gpu.ragged import RaggedTokens
from janus_vit.model.vit import Architecture

_PLANS = 512  # layouts that are kept; frames of one plan come again and again
# Multiplications and additions of a block's products, beyond which a GPU computes for longer than its launches take,
# even where merging leaves a fifth: at 500 TFLOP/s a millisecond, five times what a dozen launches need.
_LAUNCH_BOUND = 5e11
_LEAST_FREE = 0.25  # of the GPU's memory, below which no more graphs are kept


class RaggedRunner:
    """The blocks of a model on one device.

    Args:
        arch: of the model.
        blocks: all of them.
        arithmetic: what the blocks compute with.
        device: where they are.
    """

    def __init__(
        self, arch: Architecture, blocks: Sequence[RaggedBlock], arithmetic: Arithmetic, device: torch.device
    ) -> None:
        self._arch = arch
        self._blocks = blocks
        self._arithmetic = arithmetic
        self._device = device
        self._can_capture = device.type == "cuda" and arithmetic.capturable
        self._captures: Captures[Graph] = Captures()
        self._plan = lru_cache(_PLANS)(self._make_plan)

    @property
    def graphs(self) -> int:
        """CUDA graphs that are kept."""
        return len(self._captures)

    def run(self, tokens: RaggedTokens, merges: Sequence[Counts], first: int, stop: int) -> RaggedTokens:
        """Run blocks [first, stop). Launches all and waits for nothing.

        Args:
            tokens: float32 on the device; they stay as they are.
            merges: of each frame, tokens to merge in each block from `first` on.
        """
        layout, table = self._plan(tokens.counts, tuple(merges), first, stop)
        x, sizes = self._padded(tokens, layout.blocks[0].before)
        rows, sizes = self._graph_or_run(layout, first, x, sizes, table)
        counts = tuple(layout.counts[-1, : len(tokens.counts)].tolist())
        return RaggedTokens(rows[: sum(counts)].float(), sizes[: sum(counts)], counts)

    def clear(self) -> None:
        """Drop all graphs. Nothing may be running."""
        self._captures.clear()

    def _make_plan(self, counts: Counts, merges: tuple[Counts, ...], first: int, stop: int) -> tuple[Layout, Tensor]:
        """The layout of a run, and its table on the device."""
        options = self._arithmetic.capturable, self._arithmetic.attention.masks
        layout = make_layout(self._arch, counts, merges, first, stop, *options)
        table = layout.table()
        if self._device.type == "cuda":
            table = table.pin_memory().to(self._device, non_blocking=True)
        return layout, table

    def _padded(self, tokens: RaggedTokens, rows: int) -> tuple[Tensor, Tensor]:
        """Tokens in the type of the residual stream and their sizes, with zeros and ones up to so many rows."""
        count = len(tokens.rows)
        x = torch.zeros(rows, self._arch.width, dtype=self._arithmetic.residual, device=self._device)
        sizes = torch.ones(rows, device=self._device)
        x[:count], sizes[:count] = tokens.rows, tokens.sizes
        return x, sizes

    def _graph_or_run(self, layout: Layout, first: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        def run(x: Tensor, sizes: Tensor, table: Tensor) -> tuple[Tensor, ...]:
            rows = Rows(x, None, sizes)
            for block, step in zip(self._blocks[first:], layout.steps(table), strict=False):
                rows = block(rows, step)
            return rows.total(), rows.sizes

        def capture() -> Graph:
            with CAPTURE:
                return Graph(run, inputs, graph_memory(self._device))

        key = first, layout.frames, layout.blocks
        is_worth_it = self._can_capture and self._is_launch_bound(layout)
        graph = self._captures.get(key, capture, self._is_full) if is_worth_it else None
        return (graph or run)(*inputs)

    def _is_full(self) -> bool:
        """Whether memory is short: what the driver has left, and what torch holds but does not use."""
        free, total = torch.cuda.mem_get_info(self._device)
        unused = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return free + unused < _LEAST_FREE * total

    def _is_launch_bound(self, layout: Layout) -> bool:
        """Whether the launches of such a run may take longer than its compute, and a replay needs fewer of them.

        A replay of one block does not: it copies three inputs and two outputs. A device that finishes its frames a
        block at a time would capture all blocks in the middle of a frame that is in a hurry.
        """
        is_small = 24.0 * layout.blocks[0].before * self._arch.width**2 < _LAUNCH_BOUND
        return is_small and len(layout.blocks) > 1
