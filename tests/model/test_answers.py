"""What the outputs of a model mean: classes that exclude each other, labels that do not, numbers, or vectors."""

import json

import numpy as np
import pytest
import torch
from conftest import refused, small_model
from patience import PATIENCE_S
from peers import import_torchvision, randomise
from safetensors.torch import save_file

from janus_vit.cli.common.live import StreamView
from janus_vit.cli.main import main
from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError
from janus_vit.model.answers import answer_of, answers_of, are_finite
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.outcome import Answer
from janus_vit.runtime.connect import connect

LABELS = ("rain", "night", "person", "vehicle", "glare", "snow", "animal")


def save_vit(folder, problem_type, labels=LABELS[:3]):
    """A checkpoint of transformers' ViTForImageClassification, and the model itself."""
    import_torchvision()
    import transformers

    names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.ViTConfig(**sizes, **names, image_size=32, patch_size=8, problem_type=problem_type)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = transformers.ViTForImageClassification(config)
        randomise(model)
    model.save_pretrained(folder)
    return model


def answers_here_and_there(folder, pictures, make_profile):
    """The answers of the unmerged model here, and those of a cloud that gets lossless images."""
    model = load_model(str(folder))
    engine, unmerged = EagerEngine(model), (0,) * model.shape.blocks
    pixels = [model.preprocessing.normalise(model.preprocessing.crop(picture)) for picture in pictures]
    outputs = [engine.head(engine.run(engine.embed(each, unmerged), model.shape.blocks)) for each in pixels]
    here = [answer_of(output, model.task) for output in outputs]
    profile = make_profile(1e-5, model=model.name)
    with (
        Cloud(model, profile, engine="eager") as cloud,
        connect(
            model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, policy="cloud-png", engine="eager"
        ) as device,
    ):
        outcomes = [device.infer(picture) for picture in pictures]
    assert all(outcome.fallback is None for outcome in outcomes)
    return model, (here, [outcome.answer for outcome in outcomes])


def logits_of(theirs, model, picture):
    pixels = model.preprocessing.normalise(model.preprocessing.crop(picture))
    with torch.no_grad():
        return theirs(pixels).logits[0]


def test_labels_that_do_not_exclude_each_other_get_independent_probabilities(tmp_path, frames, make_profile):
    theirs = save_vit(tmp_path, "multi_label_classification", LABELS)
    model, (here, there) = answers_here_and_there(tmp_path, frames, make_profile)
    assert (model.task, model.labels) == ("multilabel", LABELS)
    for picture, *both in zip(frames, here, there, strict=True):
        logits = logits_of(theirs, model, picture)
        wanted, order = torch.sigmoid(logits), logits.argsort(descending=True)
        for answer in both:
            assert answer.classes == tuple(order.tolist())
            np.testing.assert_allclose(answer.probabilities, wanted[order], atol=1e-4)
            assert set(answer.above(0.5)) == set(torch.nonzero(wanted >= 0.5).flatten().tolist())
    assert any(sum(answer.probabilities) > 1.1 for answer in here)


def test_one_logit_is_the_probability_of_its_label(tmp_path, frames, make_profile):
    theirs = save_vit(tmp_path, "multi_label_classification", LABELS[:1])
    model, (here, there) = answers_here_and_there(tmp_path, frames, make_profile)
    for picture, *both in zip(frames, here, there, strict=True):
        wanted = torch.sigmoid(logits_of(theirs, model, picture))
        for answer in both:
            assert answer.classes == (0,)
            assert answer.probabilities[0] == pytest.approx(float(wanted), abs=1e-4)
    assert len({round(answer.probabilities[0], 3) for answer in here}) > 1


@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_returns_the_numbers_themselves(tmp_path, frames, make_profile, outputs):
    theirs = save_vit(tmp_path, "regression", LABELS[:outputs])
    model, (here, there) = answers_here_and_there(tmp_path, frames, make_profile)
    assert (model.task, model.labels) == ("regress", LABELS[:outputs])
    for picture, *both in zip(frames, here, there, strict=True):
        for answer in both:
            assert answer.classes == answer.probabilities == ()
            np.testing.assert_allclose(answer.vector, logits_of(theirs, model, picture), rtol=1e-4, atol=1e-4)


def test_classes_that_exclude_each_other_get_a_softmax(tmp_path, frames, make_profile):
    theirs = save_vit(tmp_path, "single_label_classification")
    model, (here, _) = answers_here_and_there(tmp_path, frames[:1], make_profile)
    wanted = torch.softmax(logits_of(theirs, model, frames[0]), 0)
    np.testing.assert_allclose(here[0].probabilities, wanted.sort(descending=True).values, atol=1e-4)


def test_user_says_what_outputs_mean_if_the_checkpoint_does_not(tmp_path):
    save_vit(tmp_path, None)
    assert load_model(str(tmp_path)).task == "classify"
    for task in ("classify", "multilabel", "regress", "embed"):
        assert load_model(str(tmp_path), task=task).task == task


@pytest.mark.parametrize(
    ("problem_type", "labels", "task", "message"),
    [
        (None, 1, None, "config.json: the model has one output, and no field problem_type .* use --task multilabel"),
        (None, 1, "classify", "one output, and a softmax over one class always answers 100 %"),
        ("single_label_classification", 1, None, "always answers 100 %: .* and remove the field problem_type"),
        ("single_label_classification", 1, "regress", "can only classify: leave out --task regress"),
        ("regression", 3, "classify", "config.json: this model can only regress: leave out --task classify"),
        ("multi_label_classification", 3, "regress", "this model can only multilabel: leave out --task regress"),
    ],
)
def test_answers_that_cannot_be_right_are_refused(tmp_path, problem_type, labels, task, message):
    save_vit(tmp_path, None, LABELS[:labels])
    state(tmp_path, problem_type)  # not by transformers, which now refuses one class
    with pytest.raises(InputError, match=message):
        load_model(str(tmp_path), task=task)


def test_unknown_problem_type_is_refused_by_name(tmp_path):
    save_vit(tmp_path, None)
    state(tmp_path, "ranking")
    with pytest.raises(InputError, match="field problem_type is 'ranking': supported are single_label_classification"):
        load_model(str(tmp_path))


def state(folder, problem_type):
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "problem_type": problem_type}))


def test_one_output_of_our_own_checkpoint_needs_a_task_too(tmp_path):
    path = save_own(tmp_path, small_model(classes=1))
    with pytest.raises(InputError, match="one output, and no field problem_type"):
        load_model(str(path))
    assert load_model(str(path), task="regress").task == "regress"


def save_own(folder, model):
    path = folder / "own.safetensors"
    metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
    save_file(model.network.state_dict(), path, metadata)
    return path


def test_device_and_cloud_must_agree_on_what_outputs_mean(tmp_path):
    path = str(save_own(tmp_path, small_model()))
    names = {load_model(path, task=task).fingerprint for task in ("classify", "multilabel", "regress", "embed")}
    assert len(names) == 4
    assert load_model(path).fingerprint == load_model(path, task="classify").fingerprint


def test_answer_of_a_batch_equals_that_of_one_frame():
    outputs = torch.randn(3, 120, generator=torch.Generator().manual_seed(1))
    for task, listed in (("multilabel", 100), ("classify", 5), ("regress", 0)):
        for together, row in zip(answers_of(outputs, task), outputs, strict=True):
            alone = answer_of(row[None], task)
            assert (together.classes, together.vector) == (alone.classes, alone.vector)
            assert together.probabilities == pytest.approx(alone.probabilities, rel=1e-6)
            assert len(alone.classes) == listed


@pytest.mark.parametrize(
    ("answer", "threshold", "shown"),
    [
        (Answer((1, 0, 2), (0.9, 0.6, 0.1)), 0.5, "night  90%, rain  60%"),
        (Answer((1, 0, 2), (0.4, 0.3, 0.1)), 0.5, "no label from 50%"),
        (Answer((), (), (1.5, -2.0, 1e6)), None, "rain  1.5, night  -2, person  1e+06"),
        (Answer((1,), (0.9,)), None, "night  90%"),
        (Answer((1,), (0.9,), (0.6, 0.8)), None, "night  90%"),
    ],
)
def test_terminal_shows_the_answer_in_words(answer, threshold, shown):
    from janus_vit.cli.common.live import _answer

    assert StreamView(LABELS[:3], None, threshold) is not None
    assert _answer(answer, LABELS[:3], threshold) == shown


def test_device_command_prints_the_labels_above_the_threshold(tmp_path, capsys, make_profile, monkeypatch):
    path = save_own(tmp_path, small_model())
    model = load_model(str(path), task="multilabel")
    profile = make_profile(1e-5, model=model.name)
    profile.save(tmp_path / "profile.json")
    with Cloud(model, profile) as cloud:
        base = ["device", "--cloud", f"127.0.0.1:{cloud.port}", "--model", str(path), "--task", "multilabel", "--json"]
        base += ["--engine", "eager", "--profile", str(tmp_path / "profile.json"), "--frames", "2"]
        assert main([*base, "--threshold", "0.2"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 2
    for record in records:
        answer = record["answer"]
        pairs = zip(answer["classes"], answer["probabilities"], strict=True)
        assert answer["labels"] == [model.labels[index] for index, probability in pairs if probability >= 0.2]
        assert len(answer["classes"]) == 7
        assert record["truth"] is None


def test_threshold_of_a_model_whose_classes_exclude_each_other_is_refused(tmp_path, capsys):
    path = save_own(tmp_path, small_model())
    line = refused(capsys, ["device", "--cloud", "127.0.0.1:9", "--model", str(path), "--threshold", "0.3"])
    assert "--threshold 0.3 is for a multi-label model, and model 'own' has the task classify: leave it out" in line


def test_merged_runs_of_a_multi_label_model_are_cut_anywhere(tmp_path, frames):
    save_vit(tmp_path, "multi_label_classification", LABELS)
    model = load_model(str(tmp_path))
    engine, merges = EagerEngine(model), (4, 0)
    pixels = model.preprocessing.normalise(model.preprocessing.crop(frames[0]))
    whole = answer_of(engine.head(engine.run(engine.embed(pixels, merges), 2)), model.task)
    for split in range(3):
        begun = engine.run(engine.embed(pixels, merges), split)
        assert answer_of(engine.head(engine.run(begun, 2)), model.task) == whole


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress", "embed", "head"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_output_that_is_not_finite_is_refused_and_passes_for_no_class(task, value):
    output = torch.tensor([[0.5, value, 2.0]])
    with pytest.raises(InputError, match="answer is not finite"):
        answer_of(output, task)
    assert are_finite(torch.cat([output, torch.ones(1, 3)])) == [False, True]
