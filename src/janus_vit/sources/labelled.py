"""Frames with their true classes: a folder and a list, a folder of one folder a class, or what is built in."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from janus_vit.errors import InputError
from janus_vit.sources.frames import BUILTIN, IMAGE_SUFFIXES, Sample, Source, images_source, list_images
from janus_vit.sources.motion import MOTION_LABELS
from janus_vit.sources.streams import DEFAULT_STRIDE, open_stream

_Item = TypeVar("_Item")
_DIGITS = tuple("0123456789")  # the classes of the built-in frames


def open_labelled(
    spec: str,
    labels: Path | None,
    classes: Sequence[str],
    frames: int | None = None,
    warn: Callable[[str], None] = lambda message: None,
    clip_frames: int = 1,
    stride: int = DEFAULT_STRIDE,
) -> Source:
    """Find images and, as far as somebody wrote them down, their classes: for all of them or for none.

    Args:
        spec: "builtin", a folder of images, or a folder of one folder a class, named as the class or its index.
        labels: a file with a line `file,label` for each image, where a label is the name of a class or its index.
        classes: names of the model's classes; of a model that has none, folders are of images without labels.
        frames: take so many, from evenly spread places: the first ones of sorted files would be of few classes.
        warn: told once of each image that is skipped because it cannot be read.
        clip_frames, stride: as in `open_stream`; clips of a video or of images in a row have no labels.

    Raises:
        InputError: nothing there that can be read, or labels that do not fit images or classes.
    """
    if labels is not None and not classes:
        raise InputError(f"--labels {labels} is for a model of classes, and this one has none: leave it out")
    if spec == BUILTIN:
        if labels is not None:
            raise InputError(f"--labels {labels} is not for the built-in frames, which have labels: leave it out")
        return _builtin(classes, frames, clip_frames)
    if clip_frames > 1:
        if labels is not None:
            raise InputError(f"--labels {labels} is for images, and the model takes clips: leave it out")
        return open_stream(spec, clip_frames, stride, frames, warn)
    folder = Path(spec)
    if not folder.is_dir():
        raise InputError(f"--data {spec!r} is no folder: use one of images, or {BUILTIN}")
    images = {path.name: path for path in list_images(folder)}
    by_class = {} if labels is not None else _class_folders(folder)
    if images and by_class:
        raise InputError(
            f"{folder}: has images beside folders of images: move {next(iter(images))} into one, or use --labels"
        )
    if not images and not by_class:
        raise InputError(f"{folder}: holds no image ({', '.join(IMAGE_SUFFIXES)}): choose another folder")
    known: Mapping[str, int] | None = None
    if labels is not None:
        known = _read_labels(labels, images, classes)
    elif by_class:
        images, known = _of_classes(by_class, classes)
    chosen = _spread(list(images), frames)
    return images_source({name: images[name] for name in chosen}, warn, known)


def _builtin(classes: Sequence[str], frames: int | None, clip_frames: int) -> Source:
    everything, known = open_stream(BUILTIN, clip_frames), _DIGITS if clip_frames == 1 else MOTION_LABELS
    kept = frozenset(_spread(range(everything.length or 0), frames))

    def samples() -> list[Sample]:
        chosen = [sample for index, sample in enumerate(everything) if index in kept]
        if tuple(classes) == known:
            return chosen
        return [replace(sample, label=None) for sample in chosen]  # labels say nothing about other classes

    return Source(lambda: iter(samples()), len(kept))


def _spread(items: Sequence[_Item], count: int | None) -> Sequence[_Item]:
    if count is None or count >= len(items):
        return items
    return [items[index * len(items) // count] for index in range(count)]


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Name of each folder inside -> its images, where it has some."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {path.name: images for path in inside if (images := list_images(path))}


def _of_classes(by_class: Mapping[str, list[Path]], classes: Sequence[str]) -> tuple[dict[str, Path], dict[str, int]]:
    images: dict[str, Path] = {}
    known: dict[str, int] = {}
    for name, paths in by_class.items():
        label = _class_index(name, classes)
        if label is None and classes:
            raise InputError(f"{paths[0].parent}: its name is {_unknown(classes)}: rename it, or use --labels")
        for path in paths:
            images[f"{name}/{path.name}"] = path
            if label is not None:
                known[f"{name}/{path.name}"] = label
    return images, known


def _read_labels(file: Path, images: Mapping[str, Path], classes: Sequence[str]) -> dict[str, int]:
    """File name -> class, exactly one for each image."""
    known: dict[str, int] = {}
    for line, row in _rows(file):
        where = f"{file}: line {line}"
        if len(row) != 2:
            raise InputError(f"{where}: has {len(row)} fields: write file,label")
        name, label = row
        if name not in images:
            raise InputError(f"{where}: file {name!r} is not among the images: correct the name or remove the line")
        if name in known:
            raise InputError(f"{where}: file {name!r} has a label already: remove one of the lines")
        index = _class_index(label, classes)
        if index is None:
            raise InputError(f"{where}: label {label!r} is {_unknown(classes)}: correct it")
        known[name] = index
    missing = [name for name in images if name not in known]
    if missing:
        raise InputError(
            f"{file}: has labels for {len(known)} of {len(images)} images: add a line for {missing[0]}, for example"
        )
    return known


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """Line number and fields of each line that has some, without a line of titles."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, skipinitialspace=True)
            rows = [(reader.line_num, [field.strip() for field in row]) for row in reader if row]
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}): check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: is no list of file,label ({error}): write it as text") from error
    return rows[1:] if rows and rows[0][1] == ["file", "label"] else rows


def _class_index(label: str, classes: Sequence[str]) -> int | None:
    """Index of a class by its name or, if no class has it, by its number."""
    if label in classes:
        return classes.index(label)
    is_number = label.isdecimal() and len(label) < 9
    return int(label) if is_number and int(label) < len(classes) else None


def _unknown(classes: Sequence[str]) -> str:
    return f"neither a class of the model, such as {classes[0]!r}, nor the index of one, 0..{len(classes) - 1}"
