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


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize the shorter side, crop the centre, normalise.

    Attributes:
        image_size: height and width that the model sees.
        mean, std: of each channel, for values in 0..1.
        crop_fraction: share of the resized shorter side that the crop keeps.
    """

    image_size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    crop_fraction: float = 1.0

    def crop(self, frame: Frame) -> Frame:
        """A frame [H, W, 3] uint8 of any size to [image_size, image_size, 3] uint8.

        Raises:
            InputError: not an RGB frame of bytes.
        """
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise InputError(
                f"a frame must be uint8 [height, width, 3], not {frame.dtype} {list(frame.shape)}: convert it to RGB"
            )
        size = self.image_size
        if frame.shape[:2] == (size, size) and self.crop_fraction == 1.0:
            return frame
        height, width = frame.shape[:2]
        # Resizing and cropping in one step: the box is the crop seen in the frame's own pixels.
        side = min(height, width) * self.crop_fraction
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
        image = Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC, box=box)
        return np.asarray(image)

    def normalise(self, image: Frame) -> Tensor:
        """A cropped frame to float32 pixels [1, 3, image_size, image_size]."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        mean = 255 * torch.tensor(self.mean)[:, None, None]
        std = 255 * torch.tensor(self.std)[:, None, None]
        return ((pixels - mean) / std)[None]
