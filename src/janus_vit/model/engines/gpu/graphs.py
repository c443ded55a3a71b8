"""CUDA graphs of runs that repeat: replaying one costs a single launch. Knows no model.

The hazard. A captured product keeps the address of cuBLAS' workspace, which torch holds for each stream outside of any
graph. Torch frees workspaces whoever needs them: all of the process before and after each recording of
`torch.compile(mode="reduce-overhead")` (`clear_cublass_cache` in `torch/_inductor/cudagraph_trees.py`), and in newer
versions those of a stream when any graph that was captured on it is dropped (pytorch issue 193402). If the workspace
was made before the capture, as by a warm-up on the capturing stream, it lies in ordinary memory. That is then given to
other tensors or back to the driver, and the next replay reads and writes it: an illegal memory access.

So nothing but captures ever runs on the stream of `GraphMemory`. The workspace of that stream is made inside a capture
and lies in the graphs' own pool of memory. One small graph, which is kept for ever, keeps that pool: workspaces that
others free return to the pool, not to the driver, and stay addressable as long as any replay may use them. Within the
pool graphs share memory; that is safe, since they are replayed one at a time and nothing of one is read after another
has begun: inputs lie outside, and outputs are copied.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from janus_vit.model.engines.trial import first_line

GRAPHS = 64  # kept by an engine, as many as a thorough profile needs; each holds its inputs and outputs
OFTEN = 3  # runs of one shape, from which on they are captured; the first ones let libraries choose their kernels
_KEYS = 16 * GRAPHS  # of runs that are counted

CAPTURE = Lock()  # only one capture in a process at a time

Run = Callable[..., tuple[Tensor, ...]]
_Kept = TypeVar("_Kept")


class GraphMemory:
    """The stream and the memory of all graphs on one device, kept as long as the process lives."""

    def __init__(self, device: torch.device) -> None:
        # Streams of high priority come from a set of their own, so that hardly anybody else is given the same one.
        self.stream: Any = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]
        self._anchor = torch.cuda.CUDAGraph()
        factors = [torch.ones(64, 64, device=device, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)]
        for factor in factors:  # on the current stream: makes the libraries' handles, which no capture may do
            _products(factor)
        torch.cuda.synchronize(device)
        with torch.cuda.graph(self._anchor, stream=self.stream, capture_error_mode="thread_local"):
            self._kept = [_products(factor) for factor in factors]
        self.pool = self._anchor.pool()


def _products(factor: Tensor) -> Tensor:
    """Products by each way in which torch calls cuBLAS."""
    return factor @ factor + torch.addmm(factor[0], factor, factor)


@lru_cache
def graph_memory(device: torch.device) -> GraphMemory:
    """The one of a device."""
    return GraphMemory(device)


class Graph:
    """A captured run. Replaying it costs one launch and a copy of each input and output.

    Args:
        run: what is captured; may overwrite its arguments.
        inputs: tensors of the shapes that it will be given.
        memory: of the device.
    """

    def __init__(self, run: Run, inputs: Sequence[Tensor], memory: GraphMemory) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        run(*self._inputs)  # what is loaded or compiled at its first use must not be inside the capture
        torch.cuda.current_stream().synchronize()
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile; neither must that fail nor this.
        options: dict[str, Any] = {"pool": memory.pool, "stream": memory.stream, "capture_error_mode": "thread_local"}
        with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(self._graph, **options):
            self._outputs = run(*self._inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the run gives, in memory that the next replay leaves alone."""
        for mine, given in zip(self._inputs, inputs, strict=True):
            mine.copy_(given, non_blocking=True)
        self._graph.replay()
        return tuple(output.clone() for output in self._outputs)


class Captures(Generic[_Kept]):
    """Graphs of what is asked for often. When there are as many as may be, all are dropped.

    Args:
        limit: graphs that are kept.
        often: how often a run has to be asked for until it is captured.
    """

    def __init__(self, limit: int = GRAPHS, often: int = OFTEN) -> None:
        self._limit, self._often = limit, often
        self._graphs: dict[Hashable, _Kept] = {}
        self._asked: Counter[Hashable] = Counter()
        self._refused: set[Hashable] = set()

    def get(self, key: Hashable, capture: Callable[[], _Kept], full: Callable[[], bool]) -> _Kept | None:
        """The graph of that key; none while it is not asked for often, or if it cannot be captured.

        Args:
            key: whatever a run depends on.
            capture: makes the graph.
            full: whether there is no memory for another one.
        """
        if key in self._graphs or key in self._refused:
            return self._graphs.get(key)
        self._asked[key] += 1
        if self._asked[key] < self._often:
            if len(self._asked) > _KEYS:
                self._asked.clear()
            return None
        if len(self._graphs) == self._limit or (self._graphs and full()):
            self.clear()
            return None
        try:
            return self._graphs.setdefault(key, capture())
        except RuntimeError as error:  # memory is short, or something in it cannot be captured
            warnings.warn(f"some blocks run without a CUDA graph: {first_line(error)}", RuntimeWarning, stacklevel=2)
            self.clear()
            self._refused.add(key)
            return None

    def __len__(self) -> int:
        return len(self._graphs)

    def clear(self) -> None:
        """Drop all graphs, and forget what was asked. No replay may be under way: its memory would go with it."""
        for kept in (self._graphs, self._asked, self._refused):
            kept.clear()
