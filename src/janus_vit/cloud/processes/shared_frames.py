"""Decoded frames in memory that two processes share. The writer owns the slots; a message carries only a `FrameRef`."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from janus_vit.cloud.backend import Frame, Start
from janus_vit.errors import Rejected
from janus_vit.model.stage import Tap
from janus_vit.planning.plan import ModelShape

_KINDS = {kind: str(kind).removeprefix("torch.") for kind in (torch.uint8, torch.float32, torch.int64)}
_DTYPES = {name: kind for kind, name in _KINDS.items()}
_ALIGNED_BYTES = 64


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor in a slot.

    Attributes:
        begin: its first byte in the slot.
        dtype: type of the values, such as "uint8".
        shape: its shape.
    """

    begin: int
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Place of a frame in the shared memory.

    Attributes:
        slot: index of the slot.
        tensors: the frame's tensors, in the order of `_tensors`.
        start: the frame without its tensors.
    """

    slot: int
    tensors: tuple[TensorRef, ...]
    start: Start


def largest_frame_bytes(shape: ModelShape) -> int:
    """Bytes of a model's largest frame: its input, or tokens with their sizes, taps and places."""
    tokens = shape.most_sent_tokens * (shape.width + 1) * torch.float32.itemsize
    places = shape.most_places * torch.int64.itemsize
    input_bytes = shape.input_values * torch.float32.itemsize
    most_tensors = 2 + 2 * (1 + len(shape.taps))
    return max(tokens + places, input_bytes) + most_tensors * _ALIGNED_BYTES


def slots_memory(slots: int, frame_bytes: int) -> Tensor:
    """Shared memory [slots, bytes] for frames of at most `frame_bytes`."""
    size_bytes = -(-frame_bytes // _ALIGNED_BYTES) * _ALIGNED_BYTES
    memory = torch.empty(slots, size_bytes, dtype=torch.uint8)
    memory.share_memory_()  # type: ignore[no-untyped-call]
    return memory


class SharedFrames:
    """Writes frames to the slots. Any thread may write."""

    def __init__(self, memory: Tensor) -> None:
        self._memory = memory
        self._free = list(range(len(memory)))
        self._lock = threading.Lock()

    def write(self, start: Start) -> FrameRef:
        """Copy a frame into a free slot.

        Raises:
            Rejected: no slot is free.
        """
        with self._lock:
            if not self._free:
                raise Rejected("the cloud has too many requests in flight: try again later")
            slot = self._free.pop()
        refs: list[TensorRef] = []
        begin = 0
        for tensor in _tensors(start):
            refs.append(TensorRef(begin, _KINDS[tensor.dtype], tuple(tensor.shape)))
            _view(self._memory[slot], refs[-1]).copy_(tensor)
            begin += -(-tensor.nbytes // _ALIGNED_BYTES) * _ALIGNED_BYTES
        return FrameRef(slot, tuple(refs), _with_tensors(start, [torch.empty(0)] * len(refs)))

    def free(self, slot: int) -> None:
        """Mark a slot as free."""
        with self._lock:
            self._free.append(slot)


def read_frame(memory: Tensor, ref: FrameRef) -> Start:
    """Return the frame of a reference; its tensors are views of the slot."""
    return _with_tensors(ref.start, [_view(memory[ref.slot], tensor) for tensor in ref.tensors])


def _tensors(start: Start) -> list[Tensor]:
    """All tensors of a frame or an activation."""
    if isinstance(start, Frame):
        return [start.pixels]
    taps = [tensor for tap in start.taps for tensor in (tap.tokens, tap.token_of_patch)]
    places = [] if start.token_of_patch is None else [start.token_of_patch]
    return [start.tokens, start.sizes, *taps, *places]


def _with_tensors(start: Start, tensors: Sequence[Tensor]) -> Start:
    """Replace the tensors of a frame by others, in the order of `_tensors`."""
    if isinstance(start, Frame):
        return replace(start, pixels=tensors[0])
    tokens, sizes, *others = tensors
    pairs = zip(others[0 : 2 * len(start.taps) : 2], others[1 : 2 * len(start.taps) : 2], strict=True)
    places = None if start.token_of_patch is None else others[-1]
    taps = tuple(Tap(rows, place) for rows, place in pairs)
    return replace(start, tokens=tokens, sizes=sizes, taps=taps, token_of_patch=places)


def _view(slot: Tensor, ref: TensorRef) -> Tensor:
    kind = _DTYPES[ref.dtype]
    return slot[ref.begin : ref.begin + math.prod(ref.shape) * kind.itemsize].view(kind).view(ref.shape)
