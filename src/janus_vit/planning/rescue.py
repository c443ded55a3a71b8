"""How a device finishes a frame itself when the cloud does not answer: in a hurry.

What was merged before the split stays; from there on the frame catches up with the schedule that is fastest on this
device, as soon as the blocks can merge so much, where that is faster than going on as planned. A device hurries only if
going on as planned would be late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_vit.planning.latency import Floats, PlatformProfile
from janus_vit.planning.plan import ModelShape


@dataclass(frozen=True)
class Rescue:
    """Of every schedule from every split point.

    Attributes:
        finish_s: seconds on the device in a hurry, [levels, blocks + 2]; 0 where nothing is left to do.
        planned_s: the same without any.
        tokens: before the first block and after each one, [levels, blocks + 1 splits, blocks + 1].
        hurries: whether it departs from the schedule, [levels, blocks + 1 splits].
        target: row of the schedule that it catches up with.
    """

    finish_s: Floats
    planned_s: Floats
    tokens: NDArray[np.int64]
    hurries: NDArray[np.bool_]
    target: int

    def merges(self, row: int, split: int) -> tuple[int, ...] | None:
        """Tokens merged in each block from the split on; None for as planned."""
        if not self.hurries[row, split]:
            return None
        left = self.tokens[row, split, split:].tolist()
        return tuple(before - after for before, after in zip(left, left[1:], strict=False))

    @property
    def saved(self) -> Floats:
        """`plan.tokens_saved` of a frame that was finished so, [levels, blocks + 1 splits]."""
        return np.asarray((self.tokens[:, :, :1] - self.tokens[:, :, 1:]).sum(axis=2), float)


def plan_rescue(
    tokens: Floats,
    shape: ModelShape,
    device: PlatformProfile,
    device_before_s: Floats,
    curve: str,
    targets: Sequence[bool] | None = None,
) -> Rescue:
    """Work out the fastest way to finish from every split.

    Args:
        tokens: of each schedule before the first block and after each one, [levels, blocks + 1].
        device_before_s: compute before the hand-over at each split, [levels, blocks + 2].
        curve: which block latency to use, see `PlatformProfile.block_seconds`.
        targets: which schedules may be caught up with [levels]; all if None.
    """
    allowed = np.ones(len(tokens), bool) if targets is None else np.asarray(targets)
    target = int(np.where(allowed, device_before_s[:, -1], np.inf).argmin())
    hurried = _catch_up(tokens.astype(int), tokens[target].astype(int), shape)
    block_s = device.stack_seconds(hurried, curve, shape.head_tokens)
    ahead = np.arange(shape.blocks) >= np.arange(shape.blocks + 1)[:, None]  # [splits, blocks]
    hurried_s = (block_s * ahead).sum(axis=2) + device.head_s
    hurried_s[:, 0] += device.stem_s
    planned_s = device_before_s[:, -1:] - device_before_s[:, :-1]
    hurries = hurried_s < planned_s - 1e-9
    nothing = np.zeros((len(tokens), 1))
    finish_s = np.concatenate([np.where(hurries, hurried_s, planned_s), nothing], axis=1)
    planned_s = np.concatenate([planned_s, nothing], axis=1)
    planned = np.broadcast_to(tokens.astype(int)[:, None], hurried.shape)
    return Rescue(finish_s, planned_s, np.where(hurries[..., None], hurried, planned), hurries, target)


def _catch_up(tokens: NDArray[np.int64], target: NDArray[np.int64], shape: ModelShape) -> NDArray[np.int64]:
    """Tokens of each schedule that goes over to the target at each split: [levels, splits, blocks + 1]."""
    splits = np.arange(shape.blocks + 1)
    left = np.repeat(tokens[:, None, :1], len(splits), axis=1)  # [levels, splits, 1]
    steps = [left[..., 0]]
    for block in range(shape.blocks):
        before = steps[-1]
        fewest = before - (before - shape.protected) // 2 if shape.merges_in(block) else before
        caught_up = np.minimum(before, np.maximum(target[block + 1], fewest))
        steps.append(np.where(splits > block, tokens[:, None, block + 1], caught_up))
    return np.stack(steps, axis=2)
