"""What to do when a device has too little memory for a batch: halve it and try again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_halves(
    run: Callable[[Sequence[_Item]], list[_Result]], items: Sequence[_Item], free: Callable[[], None]
) -> list[_Result]:
    """Run items together, or in parts as small as it takes.

    Args:
        run: gives one result an item.
        free: gives memory back before the next attempt.

    Raises:
        torch.OutOfMemoryError: there is not even room for one item.
    """
    try:
        return run(items)
    except RuntimeError as error:
        if len(items) == 1 or not is_shortage(error):
            raise
    free()  # outside the handler: the error would hold the tensors of the failed attempt
    middle = len(items) // 2
    return in_halves(run, items[:middle], free) + in_halves(run, items[middle:], free)


def is_shortage(error: RuntimeError) -> bool:
    """Whether memory was too little; libraries say so in words."""
    return isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error) or "out of memory" in str(error)
