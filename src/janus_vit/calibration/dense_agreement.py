"""How far dense answers agree with those of the unmerged model: a score from 0 to 1 for each frame.

    features    mean cosine similarity of the patches
    depth       1 - mean absolute relative difference
    segment     mean intersection over union of the classes
    detect      average precision of the boxes at an overlap of 0.5, the unmerged boxes being the truth
    pose        share of the key points within 5 % of the frame's longer side (PCK)
    head        1 - mean absolute difference / mean absolute value

Maps are compared at a regular sample of their places, so that the references of many frames fit in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.model.heads.answers import boxes_of, keypoints_of
from janus_vit.model.tasks import DEPTH, DETECT, FEATURES, OWN_HEAD, POSE, SEGMENT
from janus_vit.planning.dense_answers.values import Box

_MOST_PLACES = 4096  # of a map that are compared; features have fewer patches than that, mostly
_LEAST_OVERLAP = 0.5
_NEAR = 0.05  # of the frame's longer side
_SURE = 0.5  # score from which an unmerged box is an object
_LEAST_DEPTH = 0.01  # of the mean depth: smaller depths count as this


def dense_comparable(outputs: Tensor, task: str) -> Tensor:
    """Turn outputs [B, ...] of a dense head into what `dense_scores` compares, as small as possible."""
    if task == DETECT:
        return outputs
    if task == POSE:
        return torch.stack([torch.tensor([(point.x, point.y) for point in keypoints_of(heat)]) for heat in outputs])
    if task == SEGMENT:
        return _sampled(outputs).to(torch.int32)
    if task == FEATURES:
        return F.normalize(_sampled(outputs).flatten(2).transpose(1, 2), dim=2)
    return _sampled(outputs)


def dense_scores(references: Tensor, answers: Tensor, task: str) -> Tensor:
    """Return the agreement of each answer with its reference, both comparable, [B, ...]: float64 [B] in 0..1."""
    score = _SCORES[task]
    scores = [score(one, other) for one, other in zip(references, answers, strict=True)]
    return torch.tensor(scores, dtype=torch.float64).clamp(0.0, 1.0)


def _sampled(maps: Tensor) -> Tensor:
    """Take every nth row and column of maps [B, ..., rows, columns]."""
    if maps.dim() < 3:
        return maps
    step = math.ceil(math.sqrt(maps.shape[-2] * maps.shape[-1] / _MOST_PLACES))
    return maps[..., ::step, ::step].contiguous()


def _depth(reference: Tensor, answer: Tensor) -> float:
    least = _LEAST_DEPTH * reference.abs().mean().clamp_min(1e-12)
    return 1 - float(((answer - reference).abs() / reference.abs().clamp_min(least)).mean())


def _segment(reference: Tensor, answer: Tensor) -> float:
    shares = []
    for index in sorted({*reference.flatten().tolist(), *answer.flatten().tolist()}):
        one, other = reference == index, answer == index
        shares.append(float((one & other).sum() / (one | other).sum()))
    return sum(shares) / len(shares)


def _features(reference: Tensor, answer: Tensor) -> float:
    return float((reference * answer).sum(-1).mean())


def _pose(reference: Tensor, answer: Tensor) -> float:
    return float(((reference - answer).norm(dim=-1) <= _NEAR).double().mean())


def _own_head(reference: Tensor, answer: Tensor) -> float:
    return 1 - float((reference - answer).abs().mean() / reference.abs().mean().clamp_min(1e-12))


def _detect(reference: Tensor, answer: Tensor) -> float:
    """Average precision: the mean precision at each object that is found, 0 for one that is not."""
    objects = [box for box in boxes_of(reference) if box.score >= _SURE]
    found = boxes_of(answer)
    if not objects:
        return float(all(box.score < _SURE for box in found))
    precisions: list[float] = []
    missing = objects
    for rank, box in enumerate(found, start=1):
        alike = [each for each in missing if each.label == box.label]
        best = max(alike, key=partial(_overlap, box), default=None)
        if best is not None and _overlap(best, box) >= _LEAST_OVERLAP:
            missing = [each for each in missing if each is not best]
            precisions.append((len(precisions) + 1) / rank)
    return sum(precisions) / len(objects)


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(0.0, width) * max(0.0, height)
    either = _area(one) + _area(other) - both
    return both / either if either > 0 else 1.0


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


_SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {
    FEATURES: _features,
    DEPTH: _depth,
    SEGMENT: _segment,
    DETECT: _detect,
    POSE: _pose,
    OWN_HEAD: _own_head,
}
