"""Compares the answers of a model with those of its unmerged run, as its task requires.

Two answers agree if

    classify      their most probable classes are equal
    multilabel    the same labels are found: equal sets, threshold 0.5
    regress       no number differs by more than a tenth of its standard deviation over all frames
    embed         the nearest of all unmerged vectors is that of the same frame, as a search would find it

Dense answers agree in part: see `dense_agreement`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from janus_vit.calibration.dense_agreement import dense_comparable, dense_scores
from janus_vit.model.tasks import DENSE_TASKS, EMBED, MULTILABEL, REGRESS
from janus_vit.planning.outcome import DEFAULT_THRESHOLD

_REGRESSION_TOLERANCE = 0.1  # of the standard deviation of each number
_EQUAL = 1e-6  # cosine similarity of equal vectors, apart from rounding


def comparable(outputs: Tensor, task: str) -> Tensor:
    """Turn outputs [B, D] into what the other functions compare, in float64.

    Returns:
        Log-probabilities of classes, logits of labels, numbers, or vectors of length 1: [B, D]. For dense tasks what
        `dense_agreement.dense_comparable` returns.
    """
    if task in DENSE_TASKS:
        return dense_comparable(outputs, task)
    if task == EMBED:
        return F.normalize(outputs.double())
    return outputs.double() if task in (MULTILABEL, REGRESS) else outputs.double().log_softmax(1)


def divergences(reference: Tensor, answers: Tensor, task: str, spread: Tensor | float = 1.0) -> Tensor:
    """Return how far each answer is from the unmerged one: [B].

    The Kullback-Leibler divergence in nats: of the classes, of the labels (summed), or of normal distributions around
    the numbers. For vectors 1 - cosine similarity, for dense tasks 1 - agreement.

    Args:
        reference: comparable outputs of the unmerged model, [B, D].
        answers: comparable outputs, [B, D].
        task: the model's task.
        spread: standard deviation of each number of a model that regresses, [D].
    """
    if task in DENSE_TASKS:
        return 1 - dense_scores(reference, answers, task)
    if task == EMBED:
        return 1 - (reference * answers).sum(1)
    if task == REGRESS:
        return (((reference - answers) / spread) ** 2 / 2).sum(1)
    if task == MULTILABEL:
        present, absent = F.logsigmoid(reference), F.logsigmoid(-reference)
        of_present = present.exp() * (present - F.logsigmoid(answers))
        return (of_present + absent.exp() * (absent - F.logsigmoid(-answers))).sum(1)
    return (reference.exp() * (reference - answers)).sum(1)


def agreements(references: Tensor, answers: Tensor, start: int, task: str) -> Tensor:
    """Return whether each answer agrees with the unmerged one: [B] of bool; for dense tasks how far, in 0..1.

    Args:
        references: comparable outputs of the unmerged model for all frames, [N, D].
        answers: comparable outputs of some consecutive frames, [B, D].
        start: number of the first of these frames.
        task: the model's task.
    """
    reference = references[start : start + len(answers)]
    if task in DENSE_TASKS:
        return dense_scores(reference, answers, task)
    if task == EMBED:
        similarity = answers @ references.T
        own = similarity[torch.arange(len(answers)), torch.arange(start, start + len(answers))]
        return own >= similarity.max(1).values - _EQUAL
    if task == REGRESS:
        return ((answers - reference).abs() <= _REGRESSION_TOLERANCE * spread_of(references)).all(1)
    if task == MULTILABEL:
        return ((answers.sigmoid() >= DEFAULT_THRESHOLD) == (reference.sigmoid() >= DEFAULT_THRESHOLD)).all(1)
    return answers.argmax(1) == reference.argmax(1)


def spread_of(references: Tensor) -> Tensor:
    """Return the standard deviation of each number over all frames [N, D], above 0: [D]."""
    return references.std(0, correction=0).clamp_min(1e-12)
