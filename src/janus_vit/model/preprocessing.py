"""Turn a camera's frame into the pixels that a model expects. Knows only the numbers in `Preprocessing`."""

from __future__ import annotations

import math
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


# Of models that are read from files; other numbers are damage.
LARGEST_MEAN, LEAST_STD = 1e3, 1e-6
_MOST_RESIZED = 1 << 25  # pixels of a frame before the crop
_NAFLEX_STEP = 1e-5


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize, crop the centre, normalise.

    Attributes:
        image_size: height of the model's input in pixels; also its width, unless `image_width` is set.
        mean: of each channel, for values in 0..1.
        std: of each channel, for values in 0..1.
        resize: length of the shorter side before the crop, in pixels; None if it is the input's. With `resize_width`:
            height of the area that the frame covers before the crop.
        squash: whether both sides get these lengths and the aspect ratio is lost, as in transformers' ViT processor.
        interpolation: a key of `INTERPOLATIONS`.
        rounds_crop: whether half of an odd margin is rounded to even (torchvision, timm), not down (transformers).
        frames: frames of a clip; 1 for images.
        image_width: width of the model's input in pixels; None if it is `image_size`.
        resize_width: width of the area that the frame covers before the crop; None if only the shorter side counts.
        channels: number of channels of the model's input: 3 for colour, 1 for grey.
        most_patches: of a model that takes images of any aspect ratio (NaFlex): the number of patches that decides how
            large a frame becomes. This model runs at one size, so frames that need another one are refused.
        naflex_patch_size: height and width of a patch, with `most_patches` only.
        square_only: whether frames that are not square are refused, because the model's own processor splits or pads
            them (EoMT).
    """

    image_size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resize: int | None = None
    squash: bool = False
    interpolation: str = "bicubic"
    rounds_crop: bool = False
    frames: int = 1
    image_width: int | None = None
    resize_width: int | None = None
    channels: int = 3
    most_patches: int | None = None
    naflex_patch_size: int = 1
    square_only: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's input in pixels."""
        return self.image_size, self.image_width or self.image_size

    def crop(self, frame: Frame) -> Frame:
        """Resize and crop a frame [H, W, 3] uint8 to [height, width, 3], or each frame of a clip [T, H, W, 3].

        The three channels are equal if the model reads one.

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
        if self.channels == 1:
            frame = np.repeat(np.asarray(Image.fromarray(frame).convert("L"))[..., None], 3, axis=2)
        height, width = frame.shape[:2]
        if self.most_patches is not None:
            self._check_naflex(height, width, self.most_patches)
        if self.square_only and height != width:
            raise InputError(
                f"this model's own processor splits or pads frames that are not square, which is not supported: crop "
                f"frames of {height} x {width} pixels to a square"
            )
        new_height, new_width = self._resized(height, width)
        if new_height * new_width > _MOST_RESIZED:
            raise InputError(
                f"frames of {height} x {width} pixels would be resized to {new_height} x {new_width} before the crop, "
                "which is too large: crop their longer side"
            )
        if (new_height, new_width) != (height, width):
            how = INTERPOLATIONS[self.interpolation]
            frame = np.asarray(Image.fromarray(frame).resize((new_width, new_height), how))
        top, left = (self._margin(side - part) for side, part in zip((new_height, new_width), self.size, strict=True))
        return np.ascontiguousarray(frame[top : top + self.size[0], left : left + self.size[1]])

    def _check_naflex(self, height: int, width: int, most_patches: int) -> None:
        wanted = naflex_size(height, width, self.naflex_patch_size, most_patches)
        if wanted != self.size:
            raise InputError(
                f"a NaFlex model runs frames of {height} x {width} pixels at {wanted[0]} x {wanted[1]}, and this one "
                f"was loaded for {self.size[0]} x {self.size[1]}: use --image-size frames:{height}x{width}, or crop "
                "the frames"
            )

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of a frame before the crop."""
        area = (self.resize or self.size[0], self.resize_width or self.resize or self.size[1])
        if self.squash:
            return area
        is_square = self.size[0] == self.size[1]
        if self.resize_width is None and (is_square or self.resize is not None):  # as torchvision and transformers
            shorter = min(height, width)
            return int(area[0] * height / shorter), int(area[0] * width / shorter)
        ratio = min(height / area[0], width / area[1])  # as timm
        return round(height / ratio), round(width / ratio)

    def _margin(self, spare: int) -> int:
        return round(spare / 2) if self.rounds_crop else spare // 2

    def normalise(self, image: Frame) -> Tensor:
        """Turn a cropped frame into float32 pixels [1, channels, height, width], a clip into [1, channels, T, ...]."""
        return self.normalise_batch(torch.from_numpy(np.array(image))[None])

    def normalise_batch(self, frames: Tensor) -> Tensor:
        """Turn cropped frames or clips into the model's input on the same device.

        Args:
            frames: uint8 [B, H, W, 3] or [B, T, H, W, 3]. One channel instead of three is taken as it is.

        Returns:
            float32 pixels [B, channels, H, W] or [B, channels, T, H, W].
        """
        if self.channels == 1 and frames.shape[-1] == 3:
            frames = _grey(frames)
        pixels = frames.movedim(-1, 1).float()  # [B, channels, ...]
        shape = (self.channels, *(1,) * (pixels.dim() - 2))
        mean, std = (
            255 * torch.tensor(values[: self.channels], device=frames.device).view(shape)
            for values in (self.mean, self.std)
        )
        return (pixels - mean) / std


def naflex_size(height: int, width: int, patch_size: int, most_patches: int) -> tuple[int, int]:
    """Return the size that SigLIP 2 NaFlex gives to a frame: its aspect ratio, in whole patches, as many as may be.

    Args:
        height: height of the frame in pixels.
        width: width of the frame in pixels.
        patch_size: height and width of a patch.
        most_patches: the most patches.
    """

    def scaled(scale: float) -> tuple[int, int]:
        rows, columns = (max(1, math.ceil(side * scale / patch_size)) for side in (height, width))
        return rows * patch_size, columns * patch_size

    low, high = _NAFLEX_STEP / 10, 100.0  # bisection as in transformers, whose result it must equal
    while high - low >= _NAFLEX_STEP:
        middle = (low + high) / 2
        rows, columns = (side // patch_size for side in scaled(middle))
        low, high = (middle, high) if rows * columns <= most_patches else (low, middle)
    return scaled(low)


def _grey(frames: Tensor) -> Tensor:
    """Turn RGB, uint8 [..., 3], into luma [..., 1], as Pillow does (ITU-R 601-2). Equal channels keep their value."""
    red, green, blue = (frames[..., channel].int() for channel in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16)[..., None]
