"""Turn the outputs of a model into the answers that devices return."""

from __future__ import annotations

import torch
from torch import Tensor

from janus_vit.errors import InputError
from janus_vit.model.heads.answers import dense_answer
from janus_vit.model.tasks import DENSE_TASKS, EMBED, MULTILABEL, REGRESS
from janus_vit.planning.outcome import Answer

LISTED_CLASSES = 5
LISTED_LABELS = 100  # of a model whose labels do not exclude each other


def answer_of(output: Tensor, task: str) -> Answer:
    """Return the answer of one output [1, D]; see `answers_of`.

    Raises:
        InputError: a number of the output is infinite or none: it would pass for an answer.
    """
    if not are_finite(output)[0]:
        raise InputError("the model's answer is not finite: check the code of its head, or use an engine in float32")
    return answers_of(output, task)[0]


def are_finite(outputs: Tensor) -> list[bool]:
    """Whether all numbers of each row of the outputs [B, ...] are finite."""
    found: list[bool] = torch.isfinite(outputs).flatten(1).all(dim=1).tolist()
    return found


def answers_of(outputs: Tensor, task: str) -> list[Answer]:
    """Return one answer for each row of the outputs. Those of rows that are not finite mean nothing.

    Args:
        outputs: [B, D] logits, numbers or embeddings; of dense heads as in `heads.answers.dense_answer`.
        task: "classify" lists the 5 most probable classes; "multilabel" the 100 most probable labels; "regress" returns
            the numbers as they are; "embed" returns vectors of length 1. Dense tasks return maps, boxes or key points.
    """
    if task in DENSE_TASKS:
        return [dense_answer(output, task) for output in outputs]
    if task in (EMBED, REGRESS):
        vectors = torch.nn.functional.normalize(outputs, dim=1) if task == EMBED else outputs
        return [Answer((), (), tuple(vector)) for vector in vectors.tolist()]
    if task == MULTILABEL:
        listed, shares = LISTED_LABELS, torch.sigmoid(outputs)
    else:
        listed, shares = LISTED_CLASSES, torch.softmax(outputs, dim=1)
    classes = outputs.topk(min(listed, outputs.shape[1]), dim=1).indices  # probabilities may be equal at 1.0
    pairs = zip(classes.tolist(), shares.gather(1, classes).tolist(), strict=True)
    return [Answer(tuple(best), tuple(shares)) for best, shares in pairs]
