"""`Operations` on Triton kernels: an unmerged block launches one for each norm, a merging one two more."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from janus_vit.model.engines.gpu.layout import Step
from janus_vit.model.engines.gpu.matching_kernels import match, select
from janus_vit.model.engines.gpu.operations import Branch, Norm
from janus_vit.model.engines.gpu.row_kernels import add_norm, mark_sizes, merge_norm

_ALIGN = 4  # values of 4 bytes: kernels have one variant for addresses that are multiples of 16
_MARKS = 256  # sizes that a program writes
_MATCHES = 64  # tokens of either set that a program compares at once: eight warps hold them without spilling registers
_COMPARISONS = 1 << 14  # of a program at once when it ranks pairs: what its registers hold


class TritonOperations:
    """Operations that launch kernels and wait for none.

    Args:
        protected: leading tokens of a frame that never merge.
        longest: tokens of a frame at most. Kernels are compiled for it, so that fewer need no other variant.
        dtype: of the norms that come out.
    """

    capturable = True

    def __init__(self, protected: int, longest: int, dtype: torch.dtype) -> None:
        self._protected = protected
        self._set_a = max(triton.next_power_of_2((longest - protected + 1) // 2), 16)
        self._dtype = dtype

    def add_norm(self, x: Tensor, branch: Branch | None, norm: Norm) -> tuple[Tensor, Tensor]:
        """See `Operations.add_norm`."""
        normalised = torch.empty_like(x, dtype=self._dtype)
        values, bias = (x, norm.bias) if branch is None else (branch.values, branch.bias)
        arguments = x, values, bias, x, normalised, norm.weight, norm.bias, norm.eps
        add_norm[(len(x),)](*arguments, **_row(x), add=branch is not None)
        return x, normalised

    def mark_sizes(self, keys: Tensor, sizes: Tensor, channel: int) -> None:
        """See `Operations.mark_sizes`."""
        rows, heads, wide = keys.shape
        grid = (triton.cdiv(rows * heads, _MARKS),)
        shape = {"stride": keys.stride(0), "heads": heads, "wide": wide}
        mark_sizes[grid](keys, sizes, rows, **shape, first_channel=channel, block=_MARKS)

    def merge_norm(
        self, x: Tensor, branch: Branch, sizes: Tensor, keys: Tensor, step: Step, norm: Norm
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Operations.merge_norm`."""
        rows, frames = step.rows, len(step.before) - 1
        plan = self._select(keys, step)
        out, out_sizes = x.new_empty(rows.after, x.shape[1]), sizes.new_empty(rows.after)
        normalised = torch.empty_like(out, dtype=self._dtype)
        before = x, branch.values, branch.bias, sizes, step.before, step.after, *plan
        after = out, out_sizes, normalised, norm.weight, norm.bias, norm.eps
        merge_norm[(frames, rows.longest_after)](*before, *after, protected=self._protected, **_row(x))
        return out, out_sizes, normalised

    def _select(self, keys: Tensor, step: Step) -> list[Tensor]:
        """Where each remaining row comes from, and which rows merge into it: as `matching_kernels.select` writes it."""
        rows, heads, head_width = keys.shape
        frames = len(step.before) - 1
        aligned = -(-rows // _ALIGN) * _ALIGN
        best = torch.empty(aligned, dtype=torch.float32, device=keys.device)
        partner, *chosen = torch.empty(5, aligned, dtype=torch.int32, device=keys.device)
        blocks = triton.cdiv((step.rows.longest_before - self._protected + 1) // 2, _MATCHES)
        shape = {"stride": keys.stride(0), "heads": heads, "wide": keys.stride(1), "head_width": head_width}
        width = max(triton.next_power_of_2(head_width), 16)
        sides = step.before, step.after, best, partner
        match[(frames, max(blocks, 1))](
            keys, *sides, protected=self._protected, **shape, block_width=width, block=_MATCHES, num_warps=8
        )
        tile = {"block": self._set_a, "chunk": min(max(_COMPARISONS // self._set_a, 1), _MATCHES)}
        between = best, partner, step.before, step.after
        select[(frames,)](*between, *chosen, protected=self._protected, **tile, num_warps=8)
        return chosen


def _row(x: Tensor) -> dict[str, int]:
    """How programs that work on one row of x [N, C] are launched."""
    block = triton.next_power_of_2(x.shape[1])
    return {"width": x.shape[1], "block": block, "num_warps": 4 if block <= 1024 else 8}
