"""Open frames with their true classes: a folder and a file of labels, one subfolder per class, or the built-in samples.

Knows the names of a model's classes, but not the model.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TypeVar

from janus_vit.errors import InputError
from janus_vit.input_files import read_file
from janus_vit.sources.frames import BUILTIN, Sample, Source, images_source
from janus_vit.sources.image_files import list_images, no_image_error, warn_of_other_files
from janus_vit.sources.streams import DEFAULT_STRIDE, builtin_labels, open_stream

_LARGEST_LABELS_BYTES = 1 << 27
_Item = TypeVar("_Item")


def open_labelled(
    spec: str,
    labels: Path | None,
    classes: Sequence[str],
    frames: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
    clip_frames: int = 1,
    stride: int = DEFAULT_STRIDE,
) -> Source:
    """Open images or clips with their true classes, if these are given. Either all images have a label or none has.

    Args:
        spec: "builtin", a folder of images, or a folder with one subfolder per class, named by class or class index.
        labels: a file with one line `file,label` per image, where a label is the name of a class or its index.
        classes: names of the model's classes. If it has none, images in subfolders have no labels.
        frames: take this many images, evenly spread, because the first of the sorted files would cover few classes.
        warn: called once with a message for each image that is skipped because it cannot be read.
        clip_frames: frames per clip; 1 for a model of images. Clips of videos or image sequences have no labels.
        stride: a clip takes every `stride`th frame.

    Raises:
        InputError: the source cannot be read, or the labels do not fit the images or the classes.
    """
    if labels is not None:
        _check_labels_option(labels, spec, classes, clip_frames)
    if spec == BUILTIN:
        return _builtin_source(classes, frames, clip_frames)
    if clip_frames > 1:
        return open_stream(spec, clip_frames, stride, frames, warn)
    images, known = _find_images(spec, labels, classes)
    warn_of_other_files(Path(spec), warn, () if labels is None else (labels,))
    chosen = _evenly_spread(list(images), frames)
    return images_source({name: images[name] for name in chosen}, warn, known)


def _check_labels_option(labels: Path, spec: str, classes: Sequence[str], clip_frames: int) -> None:
    if not classes:
        raise InputError(
            f"--labels {labels} is for a model with classes that exclude each other, and this model has none: "
            "leave it out"
        )
    if spec == BUILTIN:
        raise InputError(f"--labels {labels} is not for the built-in frames, which have labels: leave it out")
    if clip_frames > 1:
        raise InputError(f"--labels {labels} is for images, but the model takes clips: leave it out")


def _find_images(
    spec: str, labels: Path | None, classes: Sequence[str]
) -> tuple[dict[str, Path], dict[str, int] | None]:
    """Return the file of each image name, and the class index of each image name if labels are given."""
    folder = Path(spec)
    if not os.path.isdir(folder):  # Path.is_dir raises for very long names
        raise InputError(f"--data {spec!r} is not a folder: use a folder of images, or {BUILTIN}")
    images = {path.name: path for path in list_images(folder)}
    by_class = {} if labels is not None else _class_folders(folder)
    if images and by_class:
        raise InputError(
            f"{folder}: has both images and folders of images: move {next(iter(images))} into one of them, "
            "or use --labels"
        )
    if by_class:
        return _label_by_folder(by_class, classes)
    if not images:
        raise no_image_error(folder)
    return images, None if labels is None else _read_labels(labels, images, classes)


def _builtin_source(classes: Sequence[str], frames: int | None, clip_frames: int) -> Source:
    everything = open_stream(BUILTIN, clip_frames)
    kept = frozenset(_evenly_spread(range(everything.length or 0), frames))
    has_labels = tuple(classes) == builtin_labels(clip_frames)

    def samples() -> Iterator[Sample]:
        for index, sample in enumerate(everything):
            if index in kept:
                yield sample if has_labels else replace(sample, label=None)

    return Source(samples, len(kept))


def _evenly_spread(items: Sequence[_Item], count: int | None) -> Sequence[_Item]:
    if count is None or count >= len(items):
        return items
    return [items[index * len(items) // count] for index in range(count)]


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each subfolder that has any, by its name."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {path.name: images for path in inside if (images := list_images(path))}


def _label_by_folder(
    by_class: Mapping[str, list[Path]], classes: Sequence[str]
) -> tuple[dict[str, Path], dict[str, int]]:
    """Return the file and the class index of each image name. A model without classes has no indices."""
    images: dict[str, Path] = {}
    known: dict[str, int] = {}
    for name, paths in by_class.items():
        label = _class_index(f"{paths[0].parent}", name, classes)
        if label is None and classes:
            raise InputError(f"{paths[0].parent}: its name is {_not_a_class(classes)}: rename it, or use --labels")
        for path in paths:
            images[f"{name}/{path.name}"] = path
            if label is not None:
                known[f"{name}/{path.name}"] = label
    return images, known


def _read_labels(file: Path, images: Mapping[str, Path], classes: Sequence[str]) -> dict[str, int]:
    """Read the class index of each image. Every image must have exactly one line."""
    known: dict[str, int] = {}
    for line, row in _rows(file):
        where = f"{file}: line {line}"
        if len(row) != 2:
            raise InputError(f"{where}: has {len(row)} fields: write file,label")
        name, label = row
        if name not in images:
            raise InputError(f"{where}: file {name!r} is not among the images: correct the name or remove the line")
        if name in known:
            raise InputError(f"{where}: file {name!r} already has a label: remove one of the lines")
        index = _class_index(where, label, classes)
        if index is None:
            raise InputError(f"{where}: label {label!r} is {_not_a_class(classes)}: correct it")
        known[name] = index
    missing = [name for name in images if name not in known]
    if missing:
        raise InputError(
            f"{file}: has labels for {len(known)} of {len(images)} images: add the missing lines, such as {missing[0]}"
        )
    return known


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the fields of each line that is not empty, without the header line."""
    data = read_file(file, _LARGEST_LABELS_BYTES)
    try:
        reader = csv.reader(StringIO(data.decode("utf-8-sig"), newline=""), skipinitialspace=True)
        is_first = True
        for row in filter(None, reader):
            fields = [field.strip() for field in row]
            if not (is_first and fields == ["file", "label"]):
                yield reader.line_num, fields
            is_first = False
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: is not a text file of lines file,label ({error}): write it as UTF-8 text") from error


def _class_index(where: str, label: str, classes: Sequence[str]) -> int | None:
    """Return the index of a class by its name or, if no class has that name, by its number.

    Raises:
        InputError: several classes have that name, as both cranes of ImageNet do; the message begins with `where`.
    """
    if (count := classes.count(label)) > 1:
        first = classes.index(label)
        raise InputError(
            f"{where}: label {label!r} is the name of {count} classes, {first} and {classes.index(label, first + 1)}: "
            "write the index of the one that is meant"
        )
    if label in classes:
        return classes.index(label)
    is_number = label.isdecimal() and len(label) < 9
    return int(label) if is_number and int(label) < len(classes) else None


def _not_a_class(classes: Sequence[str]) -> str:
    return f"neither a class of the model, such as {classes[0]!r}, nor a class index, 0 to {len(classes) - 1}"
