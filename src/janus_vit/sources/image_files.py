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
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # no others: for PostScript, Pillow starts another program
_NAMED = 5  # files in a message
_LARGEST_16_BIT = 65_535
_BAND_ROWS = 64  # that are scaled at once: float64 takes eight times the memory of the result


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as RGB, uint8 [H, W, 3], rotated as its EXIF orientation requires.

    Raises:
        InputError: the file is not a readable image.
    """
    check_file(path)
    try:
        with warnings.catch_warnings(), _open_small(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode == "F" or image.mode.startswith("I"):
                return np.repeat(_scaled(np.asarray(image))[..., None], 3, axis=2)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path}: is not an image of a known format ({', '.join(_FORMATS)}): remove it or convert it to PNG"
        ) from error
    except Exception as error:  # Pillow's decoders raise many exception types on damaged files
        raise InputError(f"{path}: cannot be read as an image ({error}): remove or replace it") from error


def _open_small(path: Path) -> Image.Image:
    """Open an image. One with so many pixels that Pillow would warn is an error; other warnings change no pixel."""
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    return Image.open(path, formats=_FORMATS)


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
    low, high = _range(values)
    grey = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), _BAND_ROWS):
        exact = values[top : top + _BAND_ROWS].astype(np.float64)
        share = (exact - low) / max(high - low, np.finfo(np.float64).tiny)
        grey[top : top + _BAND_ROWS] = np.rint(255 * np.where(np.isfinite(exact), share, 0.0))
    return grey


def _range(values: NDArray[np.generic]) -> tuple[float, float]:
    """Return the values that become 0 and 255."""
    if values.dtype.kind in "iu":
        low, high = float(values.min()), float(values.max())
        return (0.0, float(_LARGEST_16_BIT)) if low >= 0 and high <= _LARGEST_16_BIT else (low, high)
    rows = (row[np.isfinite(row)] for row in values)
    ends = [(float(row.min()), float(row.max())) for row in rows if row.size]
    low, high = min((low for low, _ in ends), default=0.0), max((high for _, high in ends), default=0.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
