"""From a model's output to the answer that a device returns."""

from __future__ import annotations

import torch
from torch import Tensor

from janus_vit.model.checkpoints.reader import EMBED
from janus_vit.planning.outcome import Answer

_ANSWERS = 5


def answer_of(output: Tensor, task: str) -> Answer:
    """The answer in a model's output [1, D]: the most probable classes of logits, or an embedding of length 1."""
    if task == EMBED:
        return Answer((), (), tuple(torch.nn.functional.normalize(output[0], dim=0).tolist()))
    probabilities, classes = torch.softmax(output[0], dim=0).topk(min(_ANSWERS, output.shape[1]))
    return Answer(tuple(classes.tolist()), tuple(probabilities.tolist()))
