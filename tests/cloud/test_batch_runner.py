"""A batch on an engine: each frame as alone, and one that fails never takes its batch along."""

from dataclasses import replace

import pytest
import torch
from conftest import small_model

from janus_vit.cloud.backend import Frame
from janus_vit.cloud.batch_runner import BatchRunner
from janus_vit.errors import Rejected, WireError
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.stage import Activation
from janus_vit.planning.outcome import Answer


@pytest.fixture
def runner(model, engine):
    return BatchRunner(model, engine)


def frame(seed, merges=(0,) * 6):
    pixels = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Frame(pixels, merges)


def activation(model, seed, block, tokens=17, merges=None):
    values = torch.randn(1, tokens, 24, generator=torch.Generator().manual_seed(seed))
    merges = (0,) * (6 - block) if merges is None else merges
    return Activation(values, torch.ones(1, tokens), block, merges, model.fingerprint)


def test_frames_of_different_levels_answer_as_alone(runner):
    starts = [frame(0), frame(1, (2, 2, 0, 0, 1, 0)), frame(2, (0, 0, 3, 0, 0, 0))]
    assert runner.run(starts, 6) == [runner.run([start], 6)[0] for start in starts]


def test_a_wave_that_stops_and_is_joined_midway_answers_as_if_it_had_not(runner, model):
    late = activation(model, 5, block=2, tokens=13, merges=(1, 0, 1, 0))
    alone = [runner.run([start], 6)[0] for start in (frame(0), frame(1, (2, 0, 2, 0, 0, 0)), late)]
    first = runner.run([frame(0), frame(1, (2, 0, 2, 0, 0, 0))], 2)
    assert all(isinstance(step, Activation) and step.next_block == 2 for step in first)
    together = runner.run([*first, late], 6)
    assert together == alone


def test_pixels_and_tensors_begin_together(runner, model):
    pixels = frame(0)
    normalised = Frame(model.preprocessing.normalise(pixels.pixels.numpy())[0], pixels.merges)
    one, two = runner.run([pixels, normalised], 6)
    assert one == two


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e38])
def test_a_poisoned_frame_fails_alone(runner, model, poison):
    good, bad = activation(model, 0, 3), activation(model, 1, 3)
    bad.tokens[0, 4] = poison
    healthy, poisoned = runner.run([good, bad], 6)
    assert healthy == runner.run([good], 6)[0]
    assert isinstance(poisoned, (WireError, Answer))
    if poison != 1e38:  # a norm may bring a huge value back into range
        assert isinstance(poisoned, WireError)
        assert "not finite" in str(poisoned)


class FullMemory(EagerEngine):
    """Runs out of memory with more than two frames."""

    def run_batch(self, activations, stop):
        if len(activations) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return super().run_batch(activations, stop)


def test_a_batch_that_is_too_large_for_the_memory_is_halved_until_it_fits(model, runner):
    starts = [frame(seed) for seed in range(7)]
    assert BatchRunner(model, FullMemory(model)).run(starts, 6) == runner.run(starts, 6)


def test_a_single_frame_without_memory_is_refused(model, caplog):
    class NoMemory(EagerEngine):
        def run_batch(self, activations, stop):
            raise torch.OutOfMemoryError("out of memory")

    (refused,) = BatchRunner(model, NoMemory(model)).run([frame(0)], 6)
    assert isinstance(refused, Rejected)
    assert "out of memory" in str(refused)
    assert "the engine failed" in caplog.text


def test_an_engine_that_fails_on_one_frame_answers_the_others(model, runner, caplog):
    class Picky(EagerEngine):
        def run_batch(self, activations, stop):
            if any(activation.merges[0] == 2 for activation in activations):
                raise RuntimeError("cannot merge two")
            return super().run_batch(activations, stop)

    starts = [frame(0), frame(1, (2, 0, 0, 0, 0, 0)), frame(2)]
    first, refused, last = BatchRunner(model, Picky(model)).run(starts, 6)
    assert [first, last] == [runner.run([starts[0]], 6)[0], runner.run([starts[2]], 6)[0]]
    assert isinstance(refused, Rejected)
    assert "log says why" in str(refused)
    assert "cannot merge two" in caplog.text


def test_a_model_that_embeds_gives_vectors():
    model = small_model(classes=0, pooling="mean", prefix=0)
    runner = BatchRunner(model, EagerEngine(model))
    one, two = runner.run([frame(0), frame(1)], 6)
    assert len(one.vector) == len(two.vector) == 24
    assert one != two
    assert replace(one, vector=()) == Answer((), ())
