"""Turn the outputs of dense heads into compact answers, and say what those answers look like."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from janus_vit.model.heads.simple import BOX_VALUES
from janus_vit.model.tasks import DETECT, FEATURES, POSE, SEGMENT
from janus_vit.planning.dense_answers.values import (
    Box,
    DenseMap,
    KeyPoint,
    MapFormat,
    class_bits,
    pack_classes,
    pack_map,
)
from janus_vit.planning.outcome import Answer

MOST_BOXES = 100
LEAST_SCORE = 0.05  # of a box that is listed
_FEATURE_BITS, _MAP_BITS = 8, 16
_QUARTER = 0.25  # of a cell of a heat map, by which a peak moves towards its higher neighbour


def dense_answer(output: Tensor, task: str) -> Answer:
    """Return the compact answer of one output, without the dimension of the batch.

    Args:
        output: depths [H, W], classes [H, W], boxes [queries, classes + 5], heat maps [points, H, W], features
            [C, rows, columns], or the output of a head of the user's own.
        task: a dense task.
    """
    if task == DETECT:
        return Answer((), (), boxes=boxes_of(output))
    if task == POSE:
        return Answer((), (), keypoints=keypoints_of(output))
    return Answer((), (), map=_map(output, task))


def map_format(shape: Sequence[int], task: str, classes: int) -> MapFormat | None:
    """Return what the map of an output of this shape looks like; None for boxes and key points.

    Args:
        shape: shape of an output, without the dimension of the batch.
        task: a dense task.
        classes: number of classes of a model that segments.
    """
    if task in (DETECT, POSE):
        return None
    if task == SEGMENT:
        return MapFormat((1, *shape), class_bits(classes), classes)
    return MapFormat(_channels_first(shape), _FEATURE_BITS if task == FEATURES else _MAP_BITS)


def boxes_of(output: Tensor) -> tuple[Box, ...]:
    """Return the objects in [queries, classes + 5], the most probable first. The last class stands for no object."""
    logits, boxes = output[:, :-BOX_VALUES], output[:, -BOX_VALUES:]
    scores, labels = logits.softmax(-1)[:, :-1].max(-1)
    order = scores.argsort(descending=True, stable=True)[:MOST_BOXES]
    order = order[scores[order] >= LEAST_SCORE]
    middle, half = boxes[order, :2], boxes[order, 2:] / 2
    corners = torch.cat([middle - half, middle + half], dim=1)
    rows = zip(labels[order].tolist(), scores[order].tolist(), corners.tolist(), strict=True)
    return tuple(Box(label, score, *corner) for label, score, corner in rows)


def keypoints_of(heat: Tensor) -> tuple[KeyPoint, ...]:
    """Return the peak of each heat map [points, H, W], moved a quarter of a cell towards its higher neighbours."""
    points, rows, columns = heat.shape
    scores, places = heat.flatten(1).max(1)
    row, column = places // columns, places % columns
    padded = torch.nn.functional.pad(heat[None], (1, 1, 1, 1), mode="replicate")[0]
    index = torch.arange(points)
    right, left = padded[index, row + 1, column + 2], padded[index, row + 1, column]
    below, above = padded[index, row + 2, column + 1], padded[index, row, column + 1]
    x = (column + 0.5 + _QUARTER * (right - left).sign()) / columns
    y = (row + 0.5 + _QUARTER * (below - above).sign()) / rows
    return tuple(KeyPoint(*values) for values in zip(x.tolist(), y.tolist(), scores.tolist(), strict=True))


def _map(output: Tensor, task: str) -> DenseMap:
    if task == SEGMENT:
        return pack_classes(output.numpy(), 8 if output.dtype == torch.uint8 else 16)
    bits = _FEATURE_BITS if task == FEATURES else _MAP_BITS
    return pack_map(output.reshape(_channels_first(output.shape)).numpy(), bits)


def _channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a map: one channel for an output of at most two dimensions, such as depth."""
    return (1, *shape) if len(shape) < 3 else tuple(shape)
