"""In what a GPU engine computes, and with which operations: the fastest that pass a trial on this device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from torch import Tensor

from janus_vit.model.engines.gpu.attention import Attention, Flash, FrameByFrame, Padded
from janus_vit.model.engines.gpu.block import Linear, RaggedBlock, Rows, linear_then_activation
from janus_vit.model.engines.gpu.layout import make_layout
from janus_vit.model.engines.gpu.operations import Operations, TorchOperations
from janus_vit.model.engines.gpu.weights import BlockWeights, block_weights
from janus_vit.model.engines.trial import TOLERANCES, first_line, worst
from janus_vit.model.layers import Block
from janus_vit.model.vit import Architecture


@dataclass(frozen=True)
class Arithmetic:
    """How blocks compute.

    Attributes:
        dtype: of the factors of products and of attention.
        residual: of the residual stream.
        operations: on rows.
        attention: within frames.
        linear: linear layers with an activation.
    """

    dtype: torch.dtype
    residual: torch.dtype
    operations: Operations
    attention: Attention
    linear: Linear

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph of a run serves other frames, too."""
        return self.operations.capturable and self.attention.capturable


def plain_arithmetic(arch: Architecture, dtype: torch.dtype, residual: torch.dtype) -> Arithmetic:
    """The reference: plain PyTorch, on any device."""
    operations = TorchOperations(arch.prefix, dtype)
    return Arithmetic(dtype, residual, operations, FrameByFrame(), linear_then_activation)


def fastest_arithmetic(
    arch: Architecture, dtype: torch.dtype, residual: torch.dtype, device: torch.device
) -> Arithmetic:
    """What is fastest on that GPU of what gives the same as plain PyTorch. Warns of what does not."""
    chosen = plain_arithmetic(arch, dtype, residual)
    for name, change in _candidates(arch, dtype).items():
        try:
            candidate = change(chosen)
            difference = _difference(arch, candidate, chosen, device)
        except Exception as error:  # a compiler that is not there, an operation that is missing or other than expected
            _warn(name, first_line(error))
            continue
        if difference < TOLERANCES[dtype]:
            chosen = candidate
        else:
            _warn(name, f"its results differ from plain ones by {difference:.1g}")
    return chosen


def _candidates(arch: Architecture, dtype: torch.dtype) -> dict[str, Callable[[Arithmetic], Arithmetic]]:
    """Replacements by name, in the order in which they are tried; each on top of those that passed."""
    found: dict[str, Callable[[Arithmetic], Arithmetic]] = {
        "attention on padded frames": lambda base: replace(base, attention=Padded(arch.width // arch.heads))
    }
    if dtype == torch.bfloat16 and Flash.unavailable_reason() is None:
        found["flash attention"] = lambda base: replace(base, attention=Flash())
    if dtype == torch.bfloat16:
        found["GELU within products"] = lambda base: replace(base, linear=linear_with_gelu)
    if find_spec("triton"):
        found["Triton"] = lambda base: replace(base, operations=_triton(arch, dtype))
    return found


def _triton(arch: Architecture, dtype: torch.dtype) -> Operations:
    from janus_vit.model.engines.gpu.triton_operations import TritonOperations

    return TritonOperations(arch.prefix, arch.tokens, dtype)


def linear_with_gelu(x: Tensor, weight: Tensor, bias: Tensor, activation: str | None) -> Tensor:
    """See `block.Linear`: GELU where the product is written.

    cuBLAS computes its approximation by tanh, which is off by 3e-4 at most: a tenth of what bfloat16 rounds there.
    """
    if activation not in ("gelu", "gelu_tanh"):
        return linear_then_activation(x, weight, bias, activation)
    out: Tensor = torch._addmm_activation(bias, x, weight.t(), use_gelu=True)
    return out


@torch.inference_mode()
def _difference(arch: Architecture, candidate: Arithmetic, plain: Arithmetic, device: torch.device) -> float:
    """Largest difference after two blocks, over the largest value.

    Of frames that differ in length and merges, and of whole frames of which only what the head reads comes out.
    """
    generator = torch.Generator().manual_seed(0)
    weights = block_weights(_random_block(arch, generator), plain.dtype, device)
    counts = (arch.tokens, max(arch.prefix + 4, arch.tokens // 2), arch.prefix + 4)
    trials = (
        (replace(arch, depth=2, pooling="mean", distilled=False), counts, (counts[0] // 4, 1, 0)),
        (replace(arch, depth=2), (arch.tokens,) * 2, (0, 0)),
    )
    differences = []
    for short, lengths, merges in trials:
        frames = [_tokens(arch, *pair, generator) for pair in zip(lengths, merges, strict=True)]
        found, wanted = (_two_blocks(short, each, weights, frames, merges, device) for each in (candidate, plain))
        differences.append(float((found - wanted).abs().max() / wanted.abs().max()))
    return worst(differences)


def _random_block(arch: Architecture, generator: torch.Generator) -> Block:
    with torch.device("meta"):  # which draws no random numbers of the process
        block = Block(arch.width, arch.heads, arch.mlp_width, arch.activation, arch.layer_scale, arch.norm_eps)
    block.to_empty(device="cpu")
    for name, parameter in block.named_parameters():
        centre = 1.0 if name.endswith(("weight", "gamma")) and parameter.dim() == 1 else 0.0
        spread = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
        parameter.data.normal_(generator=generator).mul_(spread).add_(centre)
    return block


def _tokens(arch: Architecture, count: int, merges: int, generator: torch.Generator) -> Tensor:
    """A frame [count, C] with as many pairs that are alike as merge, so that rounding does not choose others."""
    tokens = torch.randn(count, arch.width, generator=generator)
    first = tokens[arch.prefix : arch.prefix + 2 * merges : 2]
    tokens[arch.prefix + 1 : arch.prefix + 1 + 2 * merges : 2] = first + 0.1 * torch.randn(
        first.shape, generator=generator
    )
    return tokens


def _two_blocks(
    arch: Architecture,
    arithmetic: Arithmetic,
    weights: BlockWeights,
    frames: Sequence[Tensor],
    merges: Sequence[int],
    device: torch.device,
) -> Tensor:
    """Tokens of all frames after the same block twice, the first time with merging."""
    run = RaggedBlock(weights, arithmetic.operations, arithmetic.attention, arithmetic.linear)
    counts = tuple(len(frame) for frame in frames)
    options = arithmetic.capturable, arithmetic.attention.masks
    layout = make_layout(arch, counts, [(number, 0) for number in merges], 0, 2, *options)
    x = torch.zeros(layout.blocks[0].before, arch.width)
    x[: sum(counts)] = torch.cat(list(frames))
    rows = Rows(x.to(device, arithmetic.residual), None, torch.ones(len(x), device=device))
    for step in layout.steps(layout.table().to(device)):
        rows = run(rows, step)
    return rows.total()[: int(layout.counts[-1].sum())].float()


def _warn(name: str, reason: str) -> None:
    warnings.warn(f"{name} cannot be used on this GPU, so that it is slower: {reason}", RuntimeWarning, stacklevel=3)
