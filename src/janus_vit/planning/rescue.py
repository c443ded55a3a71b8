"""Rescue schedules: how a device finishes a frame itself when the cloud does not answer and time is short.

The blocks before the split have already merged as planned. After the split, each block merges as much as it can until
the frame has as few tokens as the fastest schedule on this device, the target. If that is not faster than the planned
schedule, there is no rescue schedule. A device uses it only if the planned schedule would miss the deadline.
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
    """Rescue schedules of every schedule at every split point.

    Attributes:
        finish_s: time to finish on the device with the rescue schedule, [levels, blocks + 2]; 0 if nothing is left.
        planned_s: time to finish on the device with the planned schedule, same shape.
        tokens: number of tokens before the first block and after each block, [levels, splits, blocks + 1], for the
            splits 0..blocks.
        available: whether there is a rescue schedule, [levels, splits].
        target: row of the schedule whose number of tokens the rescue schedules aim at.
    """

    finish_s: Floats
    planned_s: Floats
    tokens: NDArray[np.int64]
    available: NDArray[np.bool_]
    target: int

    def merges(self, row: int, split: int) -> tuple[int, ...] | None:
        """Number of tokens merged in each block after the split; None if there is no rescue schedule."""
        if not self.available[row, split]:
            return None
        left = self.tokens[row, split, split:].tolist()
        return tuple(before - after for before, after in zip(left, left[1:], strict=False))

    @property
    def saved(self) -> Floats:
        """`plan.tokens_saved` of a frame with the rescue schedule, [levels, splits]."""
        return np.asarray((self.tokens[:, :, :1] - self.tokens[:, :, 1:]).sum(axis=2), float)


def plan_rescue(
    tokens: Floats,
    shape: ModelShape,
    device: PlatformProfile,
    device_before_s: Floats,
    curve: str,
    targets: Sequence[bool] | None = None,
) -> Rescue:
    """Find the rescue schedule of every schedule at every split.

    Args:
        tokens: number of tokens of each schedule before the first block and after each block, [levels, blocks + 1].
        shape: shape of the model.
        device: latency profile of the device.
        device_before_s: compute on the device before each split, [levels, blocks + 2].
        curve: which block latency to use, see `PlatformProfile.block_seconds`.
        targets: which schedules may be the target, [levels]; None: all.
    """
    allowed = np.ones(len(tokens), bool) if targets is None else np.asarray(targets)
    target = int(np.where(allowed, device_before_s[:, -1], np.inf).argmin())
    rescued = _catch_up(tokens.astype(int), tokens[target].astype(int), shape)
    block_s = device.stack_seconds(rescued, curve, shape.head_tokens, shape.late_within)
    ahead = np.arange(shape.blocks) >= np.arange(shape.blocks + 1)[:, None]  # [splits, blocks]
    rescued_s = (block_s * ahead).sum(axis=2) + device.head_s
    rescued_s[:, 0] += device.stem_s
    planned_s = device_before_s[:, -1:] - device_before_s[:, :-1]
    available = rescued_s < planned_s - 1e-9
    nothing = np.zeros((len(tokens), 1))
    finish_s = np.concatenate([np.where(available, rescued_s, planned_s), nothing], axis=1)
    planned_s = np.concatenate([planned_s, nothing], axis=1)
    planned = np.broadcast_to(tokens.astype(int)[:, None], rescued.shape)
    return Rescue(
        finish_s=finish_s,
        planned_s=planned_s,
        tokens=np.where(available[..., None], rescued, planned),
        available=available,
        target=target,
    )


def _catch_up(tokens: NDArray[np.int64], target: NDArray[np.int64], shape: ModelShape) -> NDArray[np.int64]:
    """Tokens of each schedule that merges down to `target` after each split: [levels, splits, blocks + 1]."""
    splits = np.arange(shape.blocks + 1)
    left = np.repeat(tokens[:, None, :1], len(splits), axis=1)  # [levels, splits, 1]
    steps = [left[..., 0]]
    for block in range(shape.blocks):
        before = steps[-1]
        fewest = before - (before - shape.protected) // 2 if shape.merges_in(block) else before
        caught_up = np.minimum(before, np.maximum(target[block + 1], fewest))
        steps.append(np.where(splits > block, tokens[:, None, block + 1], caught_up))
    return np.stack(steps, axis=2)
