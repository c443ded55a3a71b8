"""The agreement of dense answers with those of the unmerged model, on small cases that can be worked out by hand."""

import math

import pytest
import torch

from janus_vit.calibration.dense_agreement import dense_comparable, dense_scores
from janus_vit.calibration.evaluator import Configuration, Evaluator
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.planning.schedules import make_schedule
from janus_vit.sources.frames import open_source


def score(reference, answer, task):
    one, other = (
        dense_comparable(torch.as_tensor(each, dtype=torch.float32)[None], task) for each in (reference, answer)
    )
    return float(dense_scores(one, other, task)[0])


def boxes(*rows):
    """Queries of two classes: logits of the classes and of no object, then centre and size."""
    return torch.tensor([[*(9.0 if index == label else 0.0 for index in range(3)), *box] for label, box in rows])


HERE, THERE, NEAR = (0.25, 0.25, 0.2, 0.2), (0.75, 0.75, 0.2, 0.2), (0.27, 0.25, 0.2, 0.2)


@pytest.mark.parametrize(
    ("task", "reference", "answer", "expected"),
    [
        ("depth", [[1.0, 2.0], [4.0, 5.0]], [[1.0, 1.0], [4.0, 4.0]], 1 - (0.5 + 0.2) / 4),
        ("depth", [[1.0, 2.0]], [[9.0, 9.0]], 0.0),
        ("segment", [[0, 0, 1, 1]], [[0, 1, 1, 1]], (1 / 2 + 2 / 3) / 2),
        ("features", [[[1.0, 0]], [[0, 2]]], [[[3.0, 1]], [[0, 0]]], 0.5),
        ("head", [[1.0, 3.0]], [[1.0, 2.0]], 0.75),
        ("detect", boxes((0, HERE), (1, THERE)), boxes((0, NEAR), (1, THERE)), 1.0),
        ("detect", boxes((0, HERE), (1, THERE)), boxes((0, HERE), (0, THERE)), 0.5),
        ("detect", boxes((2, HERE)), boxes((2, HERE)), 1.0),
        ("detect", boxes((2, HERE)), boxes((1, HERE)), 0.0),
    ],
)
def test_scores(task, reference, answer, expected):
    assert math.isclose(score(reference, answer, task), expected, abs_tol=1e-6)
    assert math.isclose(score(reference, reference, task), 1.0, abs_tol=1e-6)


def test_key_points_that_moved_little_agree():
    heat = torch.zeros(3, 40, 40)
    moved = torch.zeros(3, 40, 40)
    for index, shift in enumerate((0, 1, 9)):
        heat[index, 20, 20] = moved[index, 20, 20 + shift] = 1.0
    assert math.isclose(score(heat, moved, "pose"), 2 / 3, abs_tol=1e-6)


def test_a_dense_model_is_calibrated_through_the_wire():
    model = load_model("janus-digits", task="features")
    evaluator = Evaluator(model, make_engine(model, "eager"), _first_frames(6))
    shares = []
    for level, payload in ((0.0, "float32"), (0.0, "int4"), (3.0, "int8")):
        point = evaluator.run(Configuration(make_schedule("fixed", level, model.shape), 3, payload))
        assert point.frames == 6
        shares.append(point.share)
    assert math.isclose(shares[0], 1.0, abs_tol=1e-6)
    assert 0.3 < shares[2] < shares[0]
    assert 0.3 < shares[1] < shares[0]


def _first_frames(count):
    from itertools import islice

    return list(islice(open_source("builtin"), count))
