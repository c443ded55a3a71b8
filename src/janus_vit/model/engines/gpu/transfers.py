"""Copies to a device beside its computing: from page-locked memory, on a stream of their own."""

from __future__ import annotations

import torch
from torch import Tensor


class Transfers:
    """Moves tensors to one device.

    Args:
        device: where to; on the CPU nothing is copied.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def upload(self, tensor: Tensor) -> Tensor:
        """Copy while the device computes something else, and return when the copy is there. For any thread."""
        moved, copied = self._start(tensor)
        if copied is not None:
            copied.synchronize()
        return moved

    def fetch(self, tensor: Tensor) -> Tensor:
        """Copy and return at once; what the current stream does from now on waits for the copy."""
        moved, copied = self._start(tensor)
        if copied is not None:
            torch.cuda.current_stream(self._device).wait_event(copied)
        return moved

    def _start(self, tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        if self._stream is None or tensor.device.type == "cuda":
            return tensor.to(self._device), None
        pinned = tensor.pin_memory()
        with torch.cuda.stream(self._stream):
            moved = pinned.to(self._device, non_blocking=True)
            copied = self._stream.record_event()
        # The copy's memory belongs to the copying stream: it must not be given away while another one reads it.
        moved.record_stream(torch.cuda.current_stream(self._device))
        return moved, copied
