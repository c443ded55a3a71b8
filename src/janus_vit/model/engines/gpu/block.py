"""A transformer block on ragged rows: the arithmetic of `layers.Block` in few operations.

A branch's sum with the residual stream belongs to the norm that follows, which reads the row anyway; so a block leaves
its last branch to the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.engines.gpu.attention import Attention
from janus_vit.model.engines.gpu.layout import Step
from janus_vit.model.engines.gpu.operations import Branch, Operations, summed
from janus_vit.model.engines.gpu.weights import BlockWeights
from janus_vit.model.layers import AFTER_LINEAR

# x [N, inputs], weight [outputs, inputs], bias [outputs], key of `AFTER_LINEAR` to activation(x W' + b)
Linear = Callable[[Tensor, Tensor, Tensor, str | None], Tensor]


@dataclass(frozen=True)
class Rows:
    """What goes from block to block.

    Attributes:
        x: [N, C] residual stream.
        branch: still to be added; None before the first block.
        sizes: [N] patches each row stands for.
    """

    x: Tensor
    branch: Branch | None
    sizes: Tensor

    def total(self) -> Tensor:
        """The residual stream [N, C] with what is still to be added, rounded as the next block would."""
        return self.x if self.branch is None else summed(self.x, self.branch).to(self.x.dtype)


class RaggedBlock:
    """Runs a block on ragged rows.

    Args:
        weights: of the block.
        operations: on rows.
        attention: within frames.
        linear: the linear layers that have an activation.
    """

    def __init__(self, weights: BlockWeights, operations: Operations, attention: Attention, linear: Linear) -> None:
        self._weights = weights
        self._operations = operations
        self._attention = attention
        self._linear = linear

    def __call__(self, rows: Rows, step: Step) -> Rows:
        """Run the block; `rows` may be overwritten."""
        weights, operations = self._weights, self._operations
        x, normalised = operations.add_norm(rows.x, rows.branch, weights.norm1)
        query, key, value = self._heads(normalised, rows.sizes, step)
        sizes = rows.sizes
        if step.rows.head_tokens is not None:
            kept = step.head_rows()
            query, x, sizes = (part.index_select(0, kept) for part in (query, x, sizes))
        attended = self._attention(query, key, value, step).flatten(1)
        proj = weights.wide.proj if step.rows.proportional else weights.plain.proj
        branch = Branch(F.linear(attended, proj), weights.proj_bias)
        if step.rows.merging:
            keys = key[..., : weights.head_width]
            x, sizes, normalised = operations.merge_norm(x, branch, sizes, keys, step, weights.norm2)
        else:
            x, normalised = operations.add_norm(x, branch, weights.norm2)
        return Rows(x, Branch(F.linear(self._hidden(normalised), weights.fc2), weights.fc2_bias), sizes)

    def _heads(self, normalised: Tensor, sizes: Tensor, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [N, heads, width], with sizes in the keys if they count."""
        weights = self._weights
        heads = weights.wide if step.rows.proportional else weights.plain
        qkv = F.linear(normalised, heads.qkv, heads.qkv_bias).view(-1, 3, weights.heads, heads.width)
        query, key, value = qkv.unbind(1)
        if step.rows.proportional:
            self._operations.mark_sizes(key, sizes, weights.head_width)
        return query, key, value

    def _hidden(self, x: Tensor) -> Tensor:
        """The hidden layer of the MLP [N, hidden]."""
        weights = self._weights
        hidden = self._linear(x, weights.fc1, weights.fc1_bias, weights.activation)
        if weights.activation is not None:
            return hidden
        gate, values = hidden.chunk(2, dim=-1)
        return F.silu(gate) * values


def linear_then_activation(x: Tensor, weight: Tensor, bias: Tensor, activation: str | None) -> Tensor:
    """See `Linear`: two operations."""
    return AFTER_LINEAR[activation](F.linear(x, weight, bias))
