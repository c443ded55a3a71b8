"""NVIDIA GPUs: ragged batches in bfloat16, or in float32 for those who ask for that precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import cast

import torch
from torch import Tensor

from janus_vit.model.catalog import Model
from janus_vit.model.engines.gpu.arithmetic import Arithmetic, fastest_arithmetic, plain_arithmetic
from janus_vit.model.engines.gpu.block import RaggedBlock
from janus_vit.model.engines.gpu.ends import Ends
from janus_vit.model.engines.gpu.ragged import RaggedTokens
from janus_vit.model.engines.gpu.runner import RaggedRunner
from janus_vit.model.engines.gpu.shortage import in_halves
from janus_vit.model.engines.gpu.transfers import Transfers
from janus_vit.model.engines.gpu.weights import block_weights
from janus_vit.model.engines.packed_block import release_weight
from janus_vit.model.engines.registry import check_supported
from janus_vit.model.layers import Block
from janus_vit.model.stage import Activation
from janus_vit.planning.accuracy.table import BFLOAT16, FLOAT32


class CudaEngine:
    """Stem, blocks and the residual stream in bfloat16; norms and sums of the softmax in float32, and so the head.

    A batch that does not fit into memory runs in parts. Calls from several threads run one after the other, and return
    when the GPU is done, so that callers time the work and not its launch.

    Args:
        model: what to run.
        keep_model: False takes the weights of the blocks out of the model.
        device: "cuda", the current GPU, or "cpu" for tests, where plain PyTorch does the same.
        arithmetic: how blocks compute; what is fastest and passes a trial if None.

    Raises:
        InputError: it does not compute everything that the model needs.
    """

    name = "cuda"
    precision = BFLOAT16
    dtype = torch.bfloat16
    residual = torch.bfloat16

    def __init__(
        self, model: Model, keep_model: bool = True, device: str = "cuda", arithmetic: Arithmetic | None = None
    ) -> None:
        check_supported(self.name, model)
        self.device = torch.device(device, torch.cuda.current_device()) if device == "cuda" else torch.device(device)
        self._fingerprint = model.fingerprint
        self._lock = Lock()
        arch = model.network.architecture
        with self._here():
            arithmetic = arithmetic or self._fastest(model)
            pack = partial(self._packed, arithmetic, keep_model)
            packed = [pack(block) for block in cast(Iterable[Block], model.network.blocks)]
            self._runner = RaggedRunner(arch, packed, arithmetic, self.device)
            self._ends = Ends(model.network, self.dtype, self.device)
            self._transfers = Transfers(self.device)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why it cannot run on this machine, None if it can."""
        if not torch.cuda.is_available():
            return "torch finds no CUDA device"
        if cls.dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
            return "the GPU does not multiply bfloat16"
        return None

    def upload(self, tensor: Tensor) -> Tensor:
        """See `Engine.upload`."""
        return self._transfers.upload(tensor)

    def embed(self, pixels: Tensor, merges: tuple[int, ...]) -> Activation:
        """See `Engine.embed`."""
        return _stacked(self.embed_batch(pixels, [merges] * len(pixels)))

    def run(self, activation: Activation, stop: int) -> Activation:
        """See `Engine.run`."""
        return _stacked(self.run_batch(_frames(activation), stop))

    def head(self, activation: Activation) -> Tensor:
        """See `Engine.head`."""
        return self.head_batch(_frames(activation))

    @torch.inference_mode()
    def embed_batch(self, pixels: Tensor, merges: Sequence[tuple[int, ...]]) -> list[Activation]:
        """See `Engine.embed_batch`."""

        def embed(frames: Sequence[int]) -> list[Activation]:
            tokens = self._ends.embed(self._transfers.fetch(pixels[frames[0] : frames[-1] + 1]))
            sizes = torch.ones(tokens.shape[:2], device=tokens.device)
            pairs = zip(torch.split(tokens, 1), torch.split(sizes, 1), [merges[index] for index in frames], strict=True)
            return [Activation(one, size, 0, plan, self._fingerprint) for one, size, plan in pairs]

        with self._here():
            return self._done(in_halves(embed, range(len(pixels)), self._free))

    @torch.inference_mode()
    def run_batch(self, activations: Sequence[Activation], stop: int) -> list[Activation]:
        """See `Engine.run_batch`."""
        if not activations:
            return []
        with self._here():
            return self._done(in_halves(partial(self._run, stop=stop), activations, self._free))

    @torch.inference_mode()
    def head_batch(self, activations: Sequence[Activation]) -> Tensor:
        """See `Engine.head_batch`."""
        with self._here():
            return torch.stack(in_halves(self._head, activations, self._free)).cpu()

    def _run(self, activations: Sequence[Activation], stop: int) -> list[Activation]:
        first = activations[0].next_block
        assert all(activation.next_block == first for activation in activations)
        done = tokens = self._joined(activations)
        if stop > first:
            done = self._runner.run(tokens, [activation.merges for activation in activations], first, stop)
        return [
            Activation(rows, sizes, stop, activation.merges[max(stop - first, 0) :], activation.fingerprint)
            for (rows, sizes), activation in zip(done.frames(), activations, strict=True)
        ]

    def _joined(self, activations: Sequence[Activation]) -> RaggedTokens:
        """Rows of all frames on the device, copied in one piece if they are elsewhere."""
        tokens, sizes = [each.tokens for each in activations], [each.sizes for each in activations]
        counts = tuple(rows.shape[1] for rows in tokens)
        if len({part.device for part in tokens + sizes}) > 1:
            tokens, sizes = ([self._transfers.fetch(part) for part in parts] for parts in (tokens, sizes))
        rows, all_sizes = (self._transfers.fetch(torch.cat(parts, dim=1)[0]) for parts in (tokens, sizes))
        return RaggedTokens(rows, all_sizes, counts)

    def _head(self, activations: Sequence[Activation]) -> list[Tensor]:
        """Logits of each frame, those with as many tokens together."""
        logits: dict[int, Tensor] = {}
        for count in sorted({activation.tokens.shape[1] for activation in activations}):
            same = [index for index, each in enumerate(activations) if each.tokens.shape[1] == count]
            joined = self._joined([activations[index] for index in same])
            shape = len(same), count
            found = self._ends.logits(joined.rows.view(*shape, -1), joined.sizes.view(shape))
            logits |= dict(zip(same, found.float().unbind(), strict=True))
        return [logits[index] for index in range(len(activations))]

    def _fastest(self, model: Model) -> Arithmetic:
        arch = model.network.architecture
        if self.device.type != "cuda":
            return plain_arithmetic(arch, self.dtype, self.residual)
        return fastest_arithmetic(arch, self.dtype, self.residual, self.device)

    def _packed(self, arithmetic: Arithmetic, keep: bool, block: Block) -> RaggedBlock:
        weights = block_weights(block, self.dtype, self.device)
        for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            release_weight(linear, keep)
        return RaggedBlock(weights, arithmetic.operations, arithmetic.attention, arithmetic.linear)

    @contextmanager
    def _here(self) -> Iterator[None]:
        """Work on the device of the engine while no other thread does: a graph has one place for its tokens."""
        with self._lock, torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            yield

    def _done(self, activations: list[Activation]) -> list[Activation]:
        if self.device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return activations

    def _free(self) -> None:
        """Give back all memory that is not in use."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # a graph that is dropped while it runs takes its memory with it
        self._runner.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


class CudaFloat32Engine(CudaEngine):
    """The same in float32 throughout, not in TF32, unless torch is told that TF32 will do for products."""

    name = "cuda-f32"
    precision = FLOAT32
    dtype = torch.float32
    residual = torch.float32


def _frames(activation: Activation) -> list[Activation]:
    """The frames of a batch [B, T, C] one by one."""
    pairs = zip(torch.split(activation.tokens, 1), torch.split(activation.sizes, 1), strict=True)
    return [replace(activation, tokens=tokens, sizes=sizes) for tokens, sizes in pairs]


def _stacked(frames: Sequence[Activation]) -> Activation:
    """Frames with as many tokens each as one batch [B, T, C]."""
    tokens, sizes = (torch.cat([getattr(frame, name) for frame in frames]) for name in ("tokens", "sizes"))
    return replace(frames[0], tokens=tokens, sizes=sizes)
