"""Losses of merging in one block alone."""

import numpy as np
import pytest
import torch

from janus_vit.calibration.merge_losses import SHARES, divergence, learned_schedules, measure_losses
from janus_vit.model.engines.eager import EagerEngine


def test_losses_are_nothing_without_merging_and_the_same_in_any_batch(any_model, frames):
    engine = EagerEngine(any_model)
    pictures = frames if any_model.preprocessing.frames == 1 else [np.stack(frames)]
    pictures = [any_model.preprocessing.crop(picture) for picture in pictures]
    shares = []
    losses = measure_losses(any_model, engine, pictures, shares.append)
    assert losses.by_block.shape == (any_model.shape.blocks, len(SHARES))
    assert np.all(losses.by_block[:, 0] == 0)
    assert losses.by_block[:, 1:].max() > 0
    assert shares[-1] == pytest.approx(1.0)
    alone = [measure_losses(any_model, engine, [picture]).by_block for picture in pictures]
    np.testing.assert_allclose(losses.by_block, np.mean(alone, axis=0), atol=1e-5)


def test_divergence_is_that_of_the_definition():
    reference, output = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.25, 0.75]]))
    assert divergence(reference, output, "classify") == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "embed") == pytest.approx(1.0)


def test_schedules_are_learned_for_a_machine_and_are_the_same_each_time(model, make_profile, frames):
    engine, profile = EagerEngine(model), make_profile(1e-4, model="small")
    first, second = (learned_schedules(model, engine, frames, profile) for _ in range(2))
    assert first == second
    assert first[0].level == 0.0
    assert {schedule.family for schedule in first} == {"learned"}
    assert first[-1].tokens[-1] < model.shape.tokens
