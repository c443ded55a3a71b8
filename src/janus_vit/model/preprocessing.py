"""Turn a camera's frame into the pixels that a model expects. Knows only the numbers in `Preprocessing`."""

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
        image_size: height and width of the model's input in pixels.
        mean: of each channel, for values in 0..1.
        std: of each channel, for values in 0..1.
        resize: length of the shorter side before the crop, in pixels; `image_size` if None.
        squash: whether both sides get that length and the aspect ratio is lost, as in transformers' ViT processor.
        interpolation: a key of `INTERPOLATIONS`.
        rounds_crop: whether half of an odd margin is rounded to even (torchvision, timm), not down (transformers).
        frames: frames of a clip; 1 for images.
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
        """Resize and crop a frame [H, W, 3] uint8 to [image_size, image_size, 3], or each frame of a clip [T, H, W, 3].

        Raises:
            InputError: the frame is not uint8 RGB, or the clip has another number of frames.
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
            raise InputError(f"the clip has {len(frame)} frames, the model takes {self.frames}: sample {self.frames}")
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
        """Turn a cropped frame into float32 pixels [1, 3, image_size, image_size], a clip into [1, 3, T, ...]."""
        return self.normalise_batch(torch.from_numpy(np.array(image))[None])

    def normalise_batch(self, frames: Tensor) -> Tensor:
        """Turn cropped frames uint8 [B, H, W, 3], or clips, into float32 pixels [B, 3, H, W] on the same device."""
        pixels = frames.movedim(-1, 1).float()  # [B, 3, ...]
        shape = (3, *(1,) * (pixels.dim() - 2))
        mean, std = (255 * torch.tensor(values, device=frames.device).view(shape) for values in (self.mean, self.std))
        return (pixels - mean) / std
