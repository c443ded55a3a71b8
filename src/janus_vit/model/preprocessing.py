"""From a camera's frame to the pixels that a model expects. Knows no model beyond these numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from janus_vit.errors import InputError

Frame = NDArray[np.uint8]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, crop the centre, normalise.

    Attributes:
        image_size: height and width that the model sees.
        mean, std: of each channel, for values in 0..1.
        resize: length that the shorter side gets before the crop, `image_size` if None.
        squash: both sides get that length, whatever the aspect ratio, as in transformers' ViT processor.
        interpolation: a key of `INTERPOLATIONS`.
        rounds_crop: an odd margin is halved to the even pixel (torchvision, timm) rather than down (transformers).
        frames: of a clip, 1 for images.
    """

    image_size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resize: int | None = None
    squash: bool = False
    interpolation: str = "bicubic"
    rounds_crop: bool = False
    frames: int = 1

    def crop(self, frame: Frame) -> Frame:
        """A frame [H, W, 3] uint8 of any size to [image_size, image_size, 3]; a clip [T, H, W, 3] frame by frame.

        Raises:
            InputError: not an RGB frame of bytes, or a clip of another length.
        """
        dimensions = 3 if self.frames == 1 else 4
        if frame.dtype != np.uint8 or frame.ndim != dimensions or frame.shape[-1] != 3 or 0 in frame.shape:
            wanted = "[height, width, 3]" if self.frames == 1 else f"[{self.frames}, height, width, 3]"
            raise InputError(
                f"a frame must be uint8 {wanted}, not {frame.dtype} {list(frame.shape)}: convert it to RGB"
            )
        if self.frames == 1:
            return self._crop_one(frame)
        if len(frame) != self.frames:
            raise InputError(f"the clip has {len(frame)} frames and the model takes {self.frames}: sample as many")
        return np.stack([self._crop_one(one) for one in frame])

    def _crop_one(self, frame: Frame) -> Frame:
        size = self.image_size
        height, width = frame.shape[:2]
        scale_to, shorter = self.resize or size, min(height, width)
        if self.squash:
            new_height = new_width = scale_to
        else:
            new_height, new_width = (int(scale_to * side / shorter) for side in (height, width))
        if (new_height, new_width) != (height, width):
            how = INTERPOLATIONS[self.interpolation]
            frame = np.asarray(Image.fromarray(frame).resize((new_width, new_height), how))
        top, left = (self._margin(side - size) for side in (new_height, new_width))
        return np.ascontiguousarray(frame[top : top + size, left : left + size])

    def _margin(self, spare: int) -> int:
        return round(spare / 2) if self.rounds_crop else spare // 2

    def normalise(self, image: Frame) -> Tensor:
        """A cropped frame to float32 pixels [1, 3, image_size, image_size]; a clip to [1, 3, T, ...]."""
        return self.normalise_batch(torch.from_numpy(np.array(image))[None])

    def normalise_batch(self, frames: Tensor) -> Tensor:
        """Cropped frames uint8 [B, H, W, 3] to float32 pixels [B, 3, H, W] on the same device; clips likewise."""
        pixels = frames.movedim(-1, 1).float()  # [B, 3, ...]
        shape = (3, *(1,) * (pixels.dim() - 2))
        mean, std = (255 * torch.tensor(values, device=frames.device).view(shape) for values in (self.mean, self.std))
        return (pixels - mean) / std
