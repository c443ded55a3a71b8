"""The metadata of our own checkpoints survive saving and loading; impossible values are refused by field."""

import json
import re

import pytest
from conftest import small_model
from safetensors.torch import save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.reader import checkpoint_metadata


def save(model, path, change=lambda values: None):
    metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
    values = json.loads(metadata["janus"])
    change(values)
    save_file(model.network.state_dict(), path, {"janus": json.dumps(values)})
    return str(path)


@pytest.mark.parametrize("changes", [{}, {"classes": 0}, {"stem": "conv", "pooling": "mean", "last_norm_eps": 1e-5}])
def test_our_own_checkpoint_survives_saving_and_loading(tmp_path, changes):
    model = small_model(**changes)
    found = load_model(save(model, tmp_path / "own.safetensors"))
    assert found.fingerprint == model.fingerprint
    assert found.preprocessing == model.preprocessing
    assert found.labels == model.labels
    assert found.task == model.task


def test_a_field_that_was_added_later_may_be_missing(tmp_path):
    path = save(small_model(), tmp_path / "own.safetensors", lambda values: values["architecture"].pop("norm_eps"))
    assert load_model(path).network.architecture.norm_eps == 1e-6


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("architecture", {"width": None}, "field architecture.width must be a finite number, not None"),
        ("architecture", {"width": "wide"}, "field architecture.width must be a finite number, not 'wide'"),
        ("architecture", {"depth": 0}, "field architecture.depth must be at least 1"),
        ("architecture", {"depth": 2.5}, "field architecture.depth must be a whole number"),
        ("architecture", {"heads": 5}, "field architecture.heads is 5, which does not divide width 24"),
        ("architecture", {"prefix": 0}, "field architecture.prefix is 0, and the head reads 1 of those tokens"),
        ("architecture", {"distilled": True}, "field architecture.prefix is 1, and the head reads 2 of those tokens"),
        ("architecture", {"distilled": 1}, "field architecture.distilled must be true or false"),
        ("architecture", {"pooling": "max"}, "field architecture.pooling is 'max', not one of class, mean"),
        ("architecture", {"stem": "mlp"}, "field architecture.stem is 'mlp', not one of patch, conv"),
        ("architecture", {"activation": "relu"}, "field architecture.activation is 'relu', not one of gelu"),
        ("architecture", {"norm_eps": -1}, "field architecture.norm_eps must be at least 0"),
        ("architecture", {"frames": 3, "tubelet": 2}, "field architecture.tubelet is 2, which does not divide"),
        ("architecture", {"taps": [1, 0]}, "field architecture.taps must be numbers of blocks, rising"),
        ("architecture", {"taps": [0, "1"]}, "field architecture.taps must be numbers of blocks, rising"),
        ("architecture", {"taps": [99]}, "field architecture.taps is [99], and the model has "),
        ("architecture", {"colour": 1}, "field architecture has unknown keys (colour)"),
        ("preprocessing", {"std": [0.5, 0.0, 0.5]}, "field preprocessing.std must be above 0"),
        ("preprocessing", {"mean": [0.5]}, "field preprocessing.mean must be three finite numbers"),
        ("preprocessing", {"mean": 0.5}, "field preprocessing.mean must be a list"),
        ("preprocessing", {"resize": "no"}, "field preprocessing.resize must be a finite number"),
        ("preprocessing", {"interpolation": "cubic"}, "field preprocessing.interpolation is 'cubic', not one of"),
        (None, {"labels": ["a"]}, "field labels has 1 entries for 7 classes"),
        (None, {"architecture": []}, "field architecture must be an object"),
    ],
)
def test_an_impossible_value_is_refused_by_its_field(tmp_path, section, changes, message):
    def change(values):
        (values if section is None else values[section]).update(changes)

    path = save(small_model(), tmp_path / "own.safetensors", change)
    with pytest.raises(InputError, match=re.escape(message)) as error:
        load_model(path)
    assert "own.safetensors: metadata" in str(error.value)


def test_a_missing_field_is_named(tmp_path):
    path = save(small_model(), tmp_path / "own.safetensors", lambda values: values["architecture"].pop("patch_size"))
    with pytest.raises(InputError, match=re.escape("field architecture.patch_size is missing")):
        load_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize": 3}, "field preprocessing.resize is smaller than image_size"),
        ({"resize": 40, "resize_width": 3}, "field preprocessing.resize is smaller than image_size"),
        ({"frames": 4}, "field preprocessing.frames is 4, and the model takes 1"),
    ],
)
def test_preprocessing_that_does_not_give_the_models_input_is_refused(tmp_path, changes, message):
    path = save(small_model(), tmp_path / "own.safetensors", lambda values: values["preprocessing"].update(changes))
    with pytest.raises(InputError, match=re.escape(message)):
        load_model(path)
