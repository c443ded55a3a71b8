"""A reply that no model can have given is refused by field."""

import pytest
import torch

from janus_vit.errors import WireError
from janus_vit.model.answers import LISTED_CLASSES, LISTED_LABELS, answers_of
from janus_vit.model.tasks import CLASSIFY, EMBED, MULTILABEL, REGRESS
from janus_vit.planning.outcome import Answer
from janus_vit.wire import janus_pb2 as pb
from janus_vit.wire.answer_check import MOST_LISTED, Outputs
from janus_vit.wire.messages import Reply, parse_reply, serialise_reply

CLASSES = Outputs(1000)
EMBEDDING = Outputs(0, 4, EMBED)


def parse(outputs=CLASSES, **fields):
    return parse_reply(pb.InferReply(**fields).SerializeToString(), outputs)


@pytest.mark.parametrize(
    ("classes", "probabilities", "problem"),
    [
        (range(5), [1.0] * 5, "field probabilities add up to 5, expected 0.005 to 1"),
        (range(5), [0.0] * 5, "field probabilities add up to 0"),
        (range(5), [1e-4] * 5, "field probabilities add up to 0.0005"),
        (range(5), [0.3, 0.3, 0.3, 0.3, 0.3], "field probabilities add up to 1.5"),
        (range(3), [0.1, 0.2, 0.3], "field probabilities rises"),
        (range(3), [0.5, 0.1, 0.2], "field probabilities rises"),
        ([7, 7], [0.5, 0.5], "field classes has a class twice"),
        (range(101), [0.009] * 101, "field classes has 101 values, expected at most 100"),
        (range(200_000), [1e-6] * 200_000, "field classes has 200000 values"),
        ([1], [0.5] * 200_000, "field probabilities has 200000 values"),
        ([1000], [0.5], "too large for the model's 1000 classes"),
        ([1], [1.5], "outside 0 to 1"),
        ([1], [-0.1], "outside 0 to 1"),
    ],
)
def test_probabilities_that_cannot_be_are_refused(classes, probabilities, problem):
    with pytest.raises(WireError, match=problem):
        parse(classes=classes, probabilities=probabilities)


def test_an_answer_of_more_classes_than_the_model_has_is_refused():
    with pytest.raises(WireError, match="field classes has 4 values, expected at most 3"):
        parse(Outputs(3), classes=[0, 1, 2, 1], probabilities=[0.25] * 4)


@pytest.mark.parametrize(
    ("vector", "problem"),
    [
        ([0.0] * 4, "field vector has length 0, expected 1"),
        ([1.0] * 4, "field vector has length 2, expected 1"),
        ([3e38] * 4, "field vector has length 6e"),
        ([0.5] * 3, "field vector has 3 values, expected 4"),
        ([0.5] * 500_000, "field vector has 500000 values, expected at most 4"),
    ],
)
def test_an_embedding_that_cannot_be_is_refused(vector, problem):
    with pytest.raises(WireError, match=problem):
        parse(EMBEDDING, vector=vector)


def test_the_limit_holds_what_our_models_list():
    assert max(LISTED_CLASSES, LISTED_LABELS) <= MOST_LISTED


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("task", [CLASSIFY, MULTILABEL, REGRESS, EMBED])
@pytest.mark.parametrize("width", [1, 2, 7, 1000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_every_answer_of_a_model_is_taken(dtype, task, width, scale):
    outputs = (scale * torch.randn(4, width, generator=torch.Generator().manual_seed(0))).to(dtype)
    expected = Outputs(0, width, task) if task in (REGRESS, EMBED) else Outputs(width, task=task)
    for answer in answers_of(outputs, task):
        taken = parse_reply(serialise_reply(Reply(answer, 0.0, 0.0, 0.0, 0.0, 0.0)), expected).answer
        assert taken.classes == answer.classes
        assert taken.vector == pytest.approx(answer.vector)


def test_equal_probabilities_are_taken():
    answer = Answer((4, 9, 2), (0.25, 0.25, 0.25))
    assert parse(classes=answer.classes, probabilities=answer.probabilities).answer == answer
    uniform = Answer(tuple(range(5)), (0.5**10,) * 5)
    assert parse(Outputs(1024), classes=uniform.classes, probabilities=uniform.probabilities).answer == uniform
