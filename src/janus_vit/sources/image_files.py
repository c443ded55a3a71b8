"""Read image files as RGB of 8 bits, whatever they hold, and list those of a folder. Knows no stream.

Animated images and TIFF files of several pages give their first frame. Images of one channel with more than 8 bits, as
thermal and depth cameras write them, are scaled:

    16 bits                 the whole range, 0 to 65,535, becomes 0 to 255
    32 bits, from 0 to 1    becomes 0 to 255
    32 bits, other values   the image's own smallest to largest value becomes 0 to 255
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from janus_vit.errors import InputError
from janus_vit.input_files import check_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_NAMED = 5  # files in a message
_LARGEST_16_BIT = 65_535


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as RGB, uint8 [H, W, 3], rotated as its EXIF orientation requires.

    Raises:
        InputError: the file is not a readable image.
    """
    check_file(path)
    try:
        with warnings.catch_warnings(), _open_small(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode == "F" or upright.mode.startswith("I"):
                return np.repeat(_scaled(np.asarray(upright))[..., None], 3, axis=2)
            return np.asarray(upright.convert("RGB"))
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: is not an image of a known format: remove it or convert it to PNG") from error
    except Exception as error:  # Pillow's decoders raise many exception types on damaged files
        raise InputError(f"{path}: cannot be read as an image ({error}): remove or replace it") from error


def _open_small(path: Path) -> Image.Image:
    """Open an image. One with so many pixels that Pillow would warn is an error."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image.open(path)


def list_images(folder: Path) -> list[Path]:
    """List the images of a folder, sorted by name. Subfolders are ignored.

    Raises:
        InputError: the folder cannot be listed.
    """
    return [path for path in _files(folder) if _is_image(path)]


def warn_of_other_files(folder: Path, warn: Callable[[str], None], expected: Collection[Path] = ()) -> None:
    """Count and name the files of a folder that are not images by their names. Hidden files and folders do not count.

    Args:
        folder: the folder.
        warn: called with one message if there are any.
        expected: files that are used in another way.

    Raises:
        InputError: the folder cannot be listed.
    """
    known = {path.absolute() for path in expected}
    others = [path.name for path in _files(folder) if not _is_image(path) and path.absolute() not in known]
    if others:
        more = ", ..." if len(others) > _NAMED else ""
        files = "1 file" if len(others) == 1 else f"{len(others)} files"
        warn(f"{folder}: skipped {files} with the name of no image: {', '.join(others[:_NAMED])}{more}")


def no_image_error(folder: Path) -> InputError:
    """Return the error for a folder without images."""
    return InputError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)}): choose another folder")


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}): check its permissions") from error


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _scaled(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale one channel [H, W] of more than 8 bits to 0..255; values that are not finite become 0."""
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= _LARGEST_16_BIT:
        scaled = values.astype(np.uint32)
        scaled = (scaled * 255 + _LARGEST_16_BIT // 2) // _LARGEST_16_BIT
        return scaled.astype(np.uint8)
    exact = values.astype(np.float64)
    finite = np.isfinite(exact)
    low, high = (float(exact[finite].min()), float(exact[finite].max())) if finite.any() else (0.0, 0.0)
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    share = np.where(finite, (exact - low) / max(high - low, np.finfo(np.float64).tiny), 0.0)
    grey: NDArray[np.uint8] = np.rint(255 * share).astype(np.uint8)
    return grey
