"""Turn the outputs of a model into the answers that devices return."""

from __future__ import annotations

import torch
from torch import Tensor

from janus_vit.model.tasks import EMBED
from janus_vit.planning.outcome import Answer

_LISTED_CLASSES = 5


def answer_of(output: Tensor, task: str) -> Answer:
    """Return the answer of one output [1, D]; see `answers_of`."""
    return answers_of(output, task)[0]


def answers_of(outputs: Tensor, task: str) -> list[Answer]:
    """Return one answer for each row of the outputs.

    Args:
        outputs: [B, D] logits or embeddings.
        task: "classify" lists the most probable classes; "embed" returns vectors of length 1.
    """
    if task == EMBED:
        vectors = torch.nn.functional.normalize(outputs, dim=1).tolist()
        return [Answer((), (), tuple(vector)) for vector in vectors]
    probabilities, classes = torch.softmax(outputs, dim=1).topk(min(_LISTED_CLASSES, outputs.shape[1]), dim=1)
    pairs = zip(classes.tolist(), probabilities.tolist(), strict=True)
    return [Answer(tuple(best), tuple(shares)) for best, shares in pairs]
