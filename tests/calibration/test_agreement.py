"""When answers agree with those of the unmerged model, for each task."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import small_model

from janus_vit.calibration.agreement import agreements, comparable, divergences, spread_of
from janus_vit.calibration.evaluator import Configuration, Evaluator
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.schedules import make_schedule
from janus_vit.sources.frames import Sample, Source

FRAMES = 40


def source(labels=None):
    rng = np.random.default_rng(5)
    samples = [
        Sample(f"{index}", rng.integers(0, 256, (32, 32, 3), np.uint8), None if labels is None else labels[index])
        for index in range(FRAMES)
    ]
    return Source(lambda: iter(samples), FRAMES)


def test_labels_agree_if_the_same_ones_are_found():
    unmerged = torch.tensor([[2.0, -1.0, 0.3], [2.0, -1.0, 0.3]])
    answers = torch.tensor([[0.1, -5.0, 4.0], [2.0, 0.1, 0.3]])
    assert agreements(unmerged, answers, 0, "multilabel").tolist() == [True, False]


def test_divergence_of_labels_is_that_of_bernoulli_variables():
    unmerged, answers = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2)).double()
    p, q = (torch.distributions.Bernoulli(logits=each) for each in (unmerged, answers))
    wanted = torch.distributions.kl_divergence(p, q).sum(1)
    torch.testing.assert_close(divergences(unmerged, answers, "multilabel"), wanted)


def test_divergence_of_numbers_is_that_of_normal_distributions():
    unmerged, answers = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2)).double()
    spread = torch.tensor([0.5, 1.0, 4.0]).double()
    p, q = (torch.distributions.Normal(each, spread) for each in (unmerged, answers))
    wanted = torch.distributions.kl_divergence(p, q).sum(1)
    torch.testing.assert_close(divergences(unmerged, answers, "regress", spread), wanted)


def test_numbers_agree_within_a_tenth_of_their_spread():
    unmerged = torch.tensor([[0.0, 100.0], [2.0, 300.0]]).double()
    assert spread_of(unmerged).tolist() == [1.0, 100.0]
    answers = torch.tensor([[0.09, 109.0], [2.0, 311.0]]).double()
    assert agreements(unmerged, answers, 0, "regress").tolist() == [True, False]
    assert agreements(unmerged, answers[1:], 1, "regress").tolist() == [False]


@pytest.mark.parametrize("task", ["multilabel", "regress"])
def test_evaluator_measures_each_task(task):
    model = replace(small_model(), task=task)
    engine = EagerEngine(model)
    runs = Evaluator(model, engine, source([0] * FRAMES))
    assert runs.labels is None  # a single true class does not fit these answers
    whole = runs.run(Configuration(make_schedule("exponential", 0.0, model.shape), 7, LOCAL))
    assert (whole.agreeing, whole.right, whole.kl) == (FRAMES, None, 0.0)
    schedule = make_schedule("fixed", 1.0, model.shape)
    merged = runs.run(Configuration(schedule, 7, LOCAL))
    outputs = [
        torch.cat([finish(model, engine, image, merges) for image in runs.images])
        for merges in ((0,) * 6, schedule.applied)
    ]
    before, after = (comparable(each, task) for each in outputs)
    if task == "multilabel":
        wanted = int(((before >= 0) == (after >= 0)).all(1).sum())
    else:
        wanted = int(((before - after).abs() <= before.std(0, correction=0) / 10).all(1).sum())
    assert FRAMES - wanted > 0
    assert merged.agreeing == wanted
    spread = spread_of(before) if task == "regress" else 1.0
    assert merged.kl == pytest.approx(float(divergences(before, after, task, spread).mean()), rel=1e-3)
    assert merged.kl > 0


def finish(model, engine, image, merges):
    return engine.head(engine.run(engine.embed(model.preprocessing.normalise(image), merges), model.shape.blocks))
