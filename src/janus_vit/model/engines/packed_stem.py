"""A stem of one convolution without overlap, computed as a linear layer over the pixels of each patch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from janus_vit.model.engines.packed_block import release_weight

Packing = Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]  # weight [outputs, inputs], bias to a linear layer


class PackedStem:
    """Replace `VisionTransformer.patches`.

    Args:
        stem: the convolution of the model.
        pack: makes the linear layer.
        keep: False removes the weight from the convolution.
    """

    def __init__(self, stem: nn.Conv2d | nn.Conv3d, pack: Packing, keep: bool) -> None:
        assert stem.bias is not None
        sides = stem.kernel_size[-2:]
        self._kernel = (stem.kernel_size[0] if isinstance(stem, nn.Conv3d) else 1, *sides)
        self._linear = pack(stem.weight.flatten(1), stem.bias)
        release_weight(stem, keep)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Turn pixels [B, 3, height, width] or [B, 3, frames, height, width] into [B, patches, C] in float32."""
        clips = pixels if pixels.dim() == 5 else pixels[:, :, None]
        counts = [size // step for size, step in zip(clips.shape[2:], self._kernel, strict=True)]
        frames, height, width = (count * step for count, step in zip(counts, self._kernel, strict=True))
        whole = clips[:, :, :frames, :height, :width]  # an incomplete last patch is dropped, as in a convolution
        sides = (number for pair in zip(counts, self._kernel, strict=True) for number in pair)
        # [B, 3, F, frames, H, height, W, width] to [B, F, H, W, 3, frames, height, width]
        pieces = whole.reshape(*clips.shape[:2], *sides).permute(0, 2, 4, 6, 1, 3, 5, 7)
        return self._linear(pieces.flatten(4).flatten(1, 3)).float()
