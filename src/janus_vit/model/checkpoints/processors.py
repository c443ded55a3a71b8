"""Read image preprocessing from the files next to a checkpoint. Agrees with the library's own processors."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from janus_vit.errors import InputError
from janus_vit.model.preprocessing import INTERPOLATIONS, Preprocessing
from janus_vit.planning.jsonfile import Section, is_number

_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in the order of Pillow's numbers
_SHORTER_SIDE = ("CLIP", "Bit", "VideoMAE")  # processors whose `size`, if one number, is that of the shorter side


def read_hugging_face_preprocessing(processor: Section, frames: int) -> Preprocessing:
    """Read the preprocessor_config.json of transformers.

    Raises:
        InputError: a field is missing, or its value is not supported.
    """
    if "image_processor" in processor.values:
        processor = processor.section("image_processor")
    if processor.values.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    else:
        mean, std = _channels(processor, "image_mean"), _channels(processor, "image_std")
    squash, resize = _size(processor)
    crops = bool(processor.values.get("do_center_crop", False)) and "crop_size" in processor.values
    image_size = _square(processor, "crop_size") if crops else resize
    if resize < image_size:
        raise InputError(
            f"{processor.source}: crops {image_size} pixels from images of {resize}: make crop_size at most size"
        )
    number = processor.values.get("resample", 2)
    if not isinstance(number, int) or not 0 <= number < len(_FILTERS):
        raise InputError(f"{processor.source}: field resample is {number!r}: use Pillow's numbers 0 to 5")
    return Preprocessing(image_size, mean, std, resize, squash, _FILTERS[number], frames=frames)


def read_timm_preprocessing(pretrained: Section) -> Preprocessing:
    """Read pretrained_cfg in timm's config.json.

    Raises:
        InputError: a field is missing, or its value is not supported.
    """
    values = pretrained.values
    size = pretrained.array("input_size")
    if (
        len(size) != 3
        or not all(is_number(side) and side == int(side) and side > 0 for side in size)
        or size[1] != size[2]
    ):
        raise InputError(f"{pretrained.source}: field input_size is {size!r}: only [3, N, N] is supported")
    image_size = int(size[1])
    mode = values.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise InputError(f"{pretrained.source}: field crop_mode is {mode!r}: supported are center and squash")
    interpolation = str(values.get("interpolation") or "bicubic")
    fraction = pretrained.number("crop_pct", 0.1) if values.get("crop_pct") else 0.875
    if fraction > 1:
        raise InputError(f"{pretrained.source}: field crop_pct is {fraction:g}: it must be at most 1")
    return Preprocessing(
        image_size,
        _channels(pretrained, "mean"),
        _channels(pretrained, "std"),
        math.floor(image_size / fraction),
        mode == "squash",
        interpolation if interpolation in INTERPOLATIONS else "bilinear",
        rounds_crop=True,
    )


def with_image_size(preprocessing: Preprocessing, image_size: int) -> Preprocessing:
    """Change the resolution. The cropped margin keeps its share of the image."""
    if preprocessing.image_size == image_size:
        return preprocessing
    resize = preprocessing.resize
    scaled = None if resize is None else round(resize * image_size / preprocessing.image_size)
    return replace(preprocessing, image_size=image_size, resize=scaled)


def _size(processor: Section) -> tuple[bool, int]:
    """Return whether both sides get the same length, and that length."""
    size: Any = processor.values.get("size")
    if isinstance(size, dict) and "shortest_edge" in size:
        return False, processor.section("size").integer("shortest_edge", 1)
    name = str(processor.values.get("image_processor_type") or processor.values.get("feature_extractor_type") or "")
    if isinstance(size, int):
        return not name.startswith(_SHORTER_SIDE), size
    return True, _square(processor, "size")


def _square(section: Section, field: str) -> int:
    if isinstance(section.values.get(field), int):
        return section.integer(field, 1)
    inner = section.section(field)
    height, width = inner.integer("height", 1), inner.integer("width", 1)
    if height != width:
        raise InputError(f"{section.source}: field {field} is {height} x {width}: only square inputs are supported")
    return height


def _channels(section: Section, field: str) -> tuple[float, float, float]:
    values = section.array(field)
    positive = not field.endswith("std") or all(is_number(value) and value > 0 for value in values)
    if len(values) != 3 or not all(map(is_number, values)) or not positive:
        raise InputError(f"{section.source}: field {field} must be three numbers, one for each of red, green and blue")
    return float(values[0]), float(values[1]), float(values[2])
