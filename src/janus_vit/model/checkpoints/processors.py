"""Read image preprocessing from the files next to a checkpoint. Agrees with the library's own processors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from janus_vit.errors import InputError
from janus_vit.model.image_size import MOST_PIXELS, FrameSize
from janus_vit.model.preprocessing import (
    INTERPOLATIONS,
    LARGEST_MEAN,
    LEAST_STD,
    Preprocessing,
    naflex_size,
)
from janus_vit.model.vit import Architecture
from janus_vit.planning.jsonfile import Section, is_number, shown
from janus_vit.planning.plan import MOST_TOKENS

_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # in the order of Pillow's numbers
_RESCALE_TOLERANCE = 1e-3  # files round 1/255
_Channels = tuple[float, float, float]
# Processors, by the beginnings of their names, whose files may leave out a field that is not the usual default.
_BICUBIC = ("CLIP", "Bit", "DeiT", "SiglipImage", "DPT")
_CROPPING = ("CLIP", "Bit", "DeiT", "VideoMAE", "VJEPA2")
_SHORTER_SIDE = ("CLIP", "Bit", "VideoMAE")  # processors whose `size`, if one number, is that of the shorter side


def read_hugging_face_preprocessing(processor: Section, frames: int) -> Preprocessing:
    """Read the preprocessor_config.json of transformers.

    Raises:
        InputError: a field is missing, or its value is not supported.
    """
    if "image_processor" in processor.values:
        processor = processor.section("image_processor")
    _check_pixels(processor)
    if _is_on(processor, "do_normalize"):
        channels, mean, std = _mean_and_std(processor, "image_mean", "image_std")
    else:
        channels, mean, std = 3, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if "max_num_patches" in processor.values:
        return _naflex(processor, mean, std)
    squash, resize = _size(processor)
    crops = processor.flag("do_center_crop", "do_center_crop" not in processor.values and _is_a(processor, _CROPPING))
    if crops and not _is_on(processor, "do_resize"):
        raise processor.wrong("do_resize", "is off, which is not supported with do_center_crop")
    height, width = _sides(processor, "crop_size") if crops else resize
    if resize[0] < height or resize[1] < width:
        raise InputError(
            f"{processor.source}: crops {_named(height, width)} pixels from images of {_named(*resize)}: make "
            "crop_size at most size"
        )
    return Preprocessing(
        height,
        mean,
        std,
        resize[0],
        squash,
        _interpolation(processor),
        frames=frames,
        image_width=None if width == height else width,
        resize_width=resize[1] if squash and resize[0] != resize[1] else None,
        channels=channels,
    )


def _is_a(processor: Section, names: tuple[str, ...]) -> bool:
    """Whether the processor's class has one of these names, at least in its beginning."""
    fields = ("image_processor_type", "video_processor_type", "feature_extractor_type")
    name = next((processor.values[field] for field in fields if processor.values.get(field)), "")
    return str(name).startswith(names)


def _is_on(processor: Section, step: str) -> bool:
    """Whether a step is done. It is unless the file says otherwise; null switches it off, as in transformers."""
    return processor.flag(step, step not in processor.values)


def _check_pixels(processor: Section) -> None:
    """Refuse fields that change pixels in a way that is not supported."""
    if not _is_on(processor, "do_rescale"):
        raise processor.wrong("do_rescale", "is off, and only pixels from 0 to 1 are supported")
    if processor.values.get("rescale_factor") is not None:
        factor = processor.number("rescale_factor")
        if not math.isclose(factor, 1 / 255, rel_tol=_RESCALE_TOLERANCE):
            raise processor.wrong("rescale_factor", f"is {factor:g}, and only 1/255, pixels from 0 to 1, is supported")
    if processor.flag("do_flip_channel_order", False):
        raise processor.wrong("do_flip_channel_order", "is true, and only the order red, green, blue is supported")


def size_for_frames(processor: Section | None, frame: FrameSize) -> tuple[int, int]:
    """Return height and width that a processor of transformers gives to frames of one size.

    Raises:
        InputError: it gives the same size to all frames, or a field is wrong.
    """
    if processor is not None and "image_processor" in processor.values:
        processor = processor.section("image_processor")
    if processor is not None and "max_num_patches" in processor.values:
        patch_size = processor.integer("patch_size", 1, MOST_PIXELS)
        return naflex_size(frame.height, frame.width, patch_size, processor.integer("max_num_patches", 1, MOST_TOKENS))
    if processor is None or not processor.flag("keep_aspect_ratio", False):
        raise InputError(
            "this model's input has the same size for all frames: leave out --image-size frames:HxW, or give HxW alone"
        )
    values = {"ensure_multiple_of": 1, **processor.values}
    multiple = replace(processor, values=values).integer("ensure_multiple_of", 1, MOST_PIXELS)
    height, width = _sides(processor, "size")
    scales = width / frame.width, height / frame.height
    scale = scales[0] if abs(1 - scales[0]) < abs(1 - scales[1]) else scales[1]  # the one that changes less
    rows, columns = (round(scale * side / multiple) * multiple for side in (frame.height, frame.width))
    if not (0 < rows <= MOST_PIXELS and 0 < columns <= MOST_PIXELS):
        raise InputError(
            f"--image-size: {processor.source} makes {rows} x {columns} pixels of frames of {frame.height} x "
            f"{frame.width}: crop the frames"
        )
    return rows, columns


def _naflex(processor: Section, mean: _Channels, std: _Channels) -> Preprocessing:
    """Read the processor of SigLIP 2 NaFlex, for square frames."""
    patch_size = processor.integer("patch_size", 1, MOST_PIXELS)
    most = processor.integer("max_num_patches", 1, MOST_TOKENS)
    side, _ = naflex_size(1, 1, patch_size, most)
    how = _interpolation(processor)
    return Preprocessing(
        side, mean, std, squash=True, interpolation=how, most_patches=most, naflex_patch_size=patch_size
    )


def _interpolation(processor: Section) -> str:
    number = processor.values.get("resample", 3 if _is_a(processor, _BICUBIC) else 2)
    if type(number) is not int or not 0 <= number < len(_FILTERS):
        raise InputError(f"{processor.source}: field resample is {number!r}: use Pillow's numbers 0 to 5")
    return _FILTERS[number]


def read_timm_preprocessing(pretrained: Section) -> Preprocessing:
    """Read pretrained_cfg in timm's config.json.

    Raises:
        InputError: a field is missing, or its value is not supported.
    """
    values = pretrained.values
    _, height, width = read_input_size(pretrained)
    mode = values.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise InputError(f"{pretrained.source}: field crop_mode is {mode!r}: supported are center and squash")
    interpolation = str(values.get("interpolation") or "bicubic")
    if interpolation == "random":  # of several in training, and of one here
        interpolation = "bilinear"
    if interpolation not in INTERPOLATIONS:
        names = ", ".join(INTERPOLATIONS)
        raise InputError(f"{pretrained.source}: field interpolation is {shown(interpolation)}: use one of {names}")
    fraction = pretrained.number("crop_pct", 0.1) if values.get("crop_pct") else 0.875
    if fraction > 1:
        raise InputError(f"{pretrained.source}: field crop_pct is {fraction:g}: it must be at most 1")
    channels, mean, std = _mean_and_std(pretrained, "mean", "std")
    is_square = width == height
    return Preprocessing(
        height,
        mean,
        std,
        math.floor(height / fraction),
        mode == "squash",
        interpolation,
        rounds_crop=True,
        image_width=None if is_square else width,
        resize_width=None if is_square else math.floor(width / fraction),
        channels=channels,
    )


def read_input_size(pretrained: Section) -> tuple[int, int, int]:
    """Read channels, height and width of the images from timm's pretrained_cfg.

    Raises:
        InputError: the field is missing or has another form.
    """
    size = pretrained.array("input_size")
    if len(size) != 3 or not all(is_number(side) and 0 < side <= MOST_PIXELS and side == int(side) for side in size):
        raise InputError(f"{pretrained.source}: field input_size is {shown(size)}: write [channels, height, width]")
    return int(size[0]), int(size[1]), int(size[2])


def fit_preprocessing(preprocessing: Preprocessing, arch: Architecture, path: Path) -> Preprocessing:
    """Adapt the preprocessing to the network's resolution and channels. A cropped margin keeps its share of the image.

    Args:
        preprocessing: what the files beside the checkpoint state.
        arch: architecture of the network.
        path: the checkpoint, for error messages.

    Raises:
        InputError: the network reads one channel, and mean or std differ between channels.
    """
    if preprocessing.channels != arch.channels:
        if arch.channels == 3 or max(len(set(preprocessing.mean)), len(set(preprocessing.std))) > 1:
            raise InputError(
                f"{path}: the model reads {arch.channels} channels, and the mean and std beside it are for "
                f"{preprocessing.channels}: correct them in preprocessor_config.json or config.json"
            )
        preprocessing = replace(preprocessing, channels=arch.channels)
    if preprocessing.size == arch.size:
        return preprocessing
    (old_height, old_width), (height, width) = preprocessing.size, arch.size
    resize, resize_width = preprocessing.resize, preprocessing.resize_width
    return replace(
        preprocessing,
        image_size=height,
        image_width=arch.image_width,
        resize=None if resize is None else round(resize * height / old_height),
        resize_width=None if resize_width is None else round(resize_width * width / old_width),
    )


def _size(processor: Section) -> tuple[bool, tuple[int, int]]:
    """Return whether the frame gets exactly these sides, and the sides: height and width, or twice the shorter side."""
    size: Any = processor.values.get("size")
    if isinstance(size, dict) and "shortest_edge" in size:
        edge = processor.section("size").integer("shortest_edge", 1, MOST_PIXELS)
        return False, (edge, edge)
    if isinstance(size, int):
        side = processor.integer("size", 1, MOST_PIXELS)
        return not _is_a(processor, _SHORTER_SIDE), (side, side)
    return True, _sides(processor, "size")


def _sides(section: Section, field: str) -> tuple[int, int]:
    if isinstance(section.values.get(field), int):
        side = section.integer(field, 1, MOST_PIXELS)
        return side, side
    inner = section.section(field)
    return inner.integer("height", 1, MOST_PIXELS), inner.integer("width", 1, MOST_PIXELS)


def _named(height: int, width: int) -> str:
    return f"{height}" if height == width else f"{height} x {width}"


def _mean_and_std(section: Section, mean: str, std: str) -> tuple[int, _Channels, _Channels]:
    """Return the number of channels, and mean and std; of one channel repeated three times."""
    values = _channels(section, mean), _channels(section, std)
    if len(values[0]) != len(values[1]):
        raise InputError(f"{section.source}: fields {mean} and {std} have different numbers of channels: correct them")
    first, second = ((each[0], each[-1] if len(each) == 1 else each[1], each[-1]) for each in values)
    return len(values[0]), first, second


def _channels(section: Section, field: str) -> list[float]:
    values = section.array(field)
    least = LEAST_STD if field.endswith("std") else -LARGEST_MEAN
    plausible = all(is_number(value) and least <= value <= LARGEST_MEAN for value in values)
    if len(values) not in (1, 3) or not plausible:
        raise InputError(
            f"{section.source}: field {field} must be three numbers, one for each of red, green and blue, or one for "
            "grey"
        )
    return [float(value) for value in values]
