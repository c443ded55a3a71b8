"""Check the answer in a reply against what the model can give. A cloud that is wrong, or lies, must not mislead."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from janus_vit.model.tasks import CLASSIFY, MULTILABEL, REGRESS
from janus_vit.planning.outcome import Answer
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.dense.answers import NO_DENSE, DenseOutputs, checked_dense
from janus_vit.wire.fields import require_field

MOST_LISTED = 100  # classes in one answer
_ROUNDING = 0.01  # of sums and lengths, also in bfloat16


@dataclass(frozen=True, slots=True)
class Outputs:
    """Size and meaning of a model's answer. At least one of the two sizes is 0.

    Attributes:
        classes: number of classes of a model that gives probabilities.
        vector_width: number of values in the vector of another model.
        task: the model's task, see `janus_vit.model.tasks`.
        dense: maps, boxes or key points of a model with a dense head; both sizes are 0 then.
    """

    classes: int
    vector_width: int = 0
    task: str = CLASSIFY
    dense: DenseOutputs = NO_DENSE


def checked_answer(message: pb.InferReply, outputs: Outputs) -> Answer:
    """Return the answer of a reply.

    Args:
        message: the parsed reply.
        outputs: size and meaning of the answer that the model gives.

    Raises:
        WireError: a field is out of range; the message names it.
    """
    listed = min(MOST_LISTED, outputs.classes)
    for name, most in (("classes", listed), ("probabilities", listed), ("vector", outputs.vector_width)):
        count = len(getattr(message, name))
        require_field(count <= most, name, f"has {count} values, expected at most {most}")
    dense = checked_dense(message, outputs.dense)
    found = tuple(message.classes), tuple(message.probabilities), tuple(message.vector)
    answer = replace(dense, classes=found[0], probabilities=found[1], vector=found[2])
    _check_vector(answer.vector, outputs)
    _check_classes(answer, outputs)
    if answer.classes:
        _check_probabilities(answer.probabilities, outputs)
    return answer


def _check_vector(vector: tuple[float, ...], outputs: Outputs) -> None:
    width = outputs.vector_width
    require_field(len(vector) == width, "vector", f"has {len(vector)} values, expected {width}")
    require_field(all(map(math.isfinite, vector)), "vector", "has a value that is not finite")
    if width and outputs.task != REGRESS:
        length = math.hypot(*vector)
        require_field(abs(length - 1) <= _ROUNDING, "vector", f"has length {length:.3g}, expected 1")


def _check_classes(answer: Answer, outputs: Outputs) -> None:
    listed, classes = answer.classes, outputs.classes
    consistent = (classes > 0) == bool(listed) and len(listed) == len(answer.probabilities)
    require_field(consistent, "classes", "does not match the model, or has another length than probabilities")
    require_field(
        all(index < classes for index in listed),
        "classes",
        f"has an index that is too large for the model's {classes} classes",
    )
    require_field(len(set(listed)) == len(listed), "classes", "has a class twice")


def _check_probabilities(probabilities: tuple[float, ...], outputs: Outputs) -> None:
    """Check order and sum: the most probable k of n classes share at most 1 and at least k / n."""
    require_field(all(0 <= value <= 1.001 for value in probabilities), "probabilities", "has a value outside 0 to 1")
    falling = all(one >= other for one, other in zip(probabilities[:-1], probabilities[1:], strict=True))
    require_field(falling, "probabilities", "rises, expected the most probable class first")
    if outputs.task == MULTILABEL:
        return
    least, total = len(probabilities) / outputs.classes, math.fsum(probabilities)
    require_field(
        least * (1 - _ROUNDING) <= total <= 1 + _ROUNDING,
        "probabilities",
        f"add up to {total:.3g}, expected {least:.3g} to 1",
    )
