"""Decoded frames in memory that two processes share. The writer owns the slots; a message carries only a `FrameRef`."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from janus_vit.cloud.backend import Frame, Start
from janus_vit.errors import Rejected
from janus_vit.model.stage import Activation

_DTYPES = {"uint8": torch.uint8, "float32": torch.float32}
_ALIGNED_BYTES = 64


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Place of a frame in the shared memory.

    Attributes:
        slot: index of the slot.
        dtype: type of the values, "uint8" or "float32".
        shape: shape of the pixels, or of the tokens [1, T, C].
        start: the frame without its tensors.
    """

    slot: int
    dtype: str
    shape: tuple[int, ...]
    start: Start


def slots_memory(slots: int, frame_bytes: int) -> Tensor:
    """Shared memory [slots, bytes] for frames of at most `frame_bytes`, and for tokens also their sizes."""
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
        if isinstance(start, Frame):
            dtype = "uint8" if start.pixels.dtype == torch.uint8 else "float32"
            _values(self._memory[slot], dtype, tuple(start.pixels.shape)).copy_(start.pixels)
            return FrameRef(slot, dtype, tuple(start.pixels.shape), replace(start, pixels=torch.empty(0)))
        shape = tuple(start.tokens.shape)
        _values(self._memory[slot], "float32", shape).copy_(start.tokens)
        _sizes(self._memory[slot], shape).copy_(start.sizes)
        return FrameRef(slot, "float32", shape, replace(start, tokens=torch.empty(0), sizes=torch.empty(0)))

    def free(self, slot: int) -> None:
        """Mark a slot as free."""
        with self._lock:
            self._free.append(slot)


def read_frame(memory: Tensor, ref: FrameRef) -> Start:
    """Return the frame of a reference; its tensors are views of the slot."""
    values = _values(memory[ref.slot], ref.dtype, ref.shape)
    if isinstance(ref.start, Activation):
        return replace(ref.start, tokens=values, sizes=_sizes(memory[ref.slot], ref.shape))
    return replace(ref.start, pixels=values)


def _values(slot: Tensor, dtype: str, shape: tuple[int, ...]) -> Tensor:
    kind = _DTYPES[dtype]
    return slot[: math.prod(shape) * kind.itemsize].view(kind).view(shape)


def _sizes(slot: Tensor, shape: tuple[int, ...]) -> Tensor:
    """View the sizes [1, T], which follow the tokens [1, T, C] in the slot."""
    begin = math.prod(shape) * torch.float32.itemsize
    return slot[begin : begin + shape[1] * torch.float32.itemsize].view(torch.float32).view(shape[:2])
