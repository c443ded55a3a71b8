"""What a checkpoint says must count: what cannot be followed is refused by its field or tensor, never ignored."""

import json

import pytest
import torch
from conftest import small_model
from peers import FAMILIES
from safetensors.torch import load_file, save_file
from torch import nn

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.dense.linear import attach_linear_head
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.heads.attach import as_feature_model
from janus_vit.model.preprocessing import Preprocessing

NO_FLOATS = [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64]


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def loaded(tmp_path, family, file, changes):
    FAMILIES[family](tmp_path)
    change(tmp_path / file, **changes)
    return load_model(str(tmp_path))


PROCESSOR, CONFIG = "preprocessor_config.json", "config.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_rescale": False}, "field do_rescale is off, and only pixels from 0 to 1 are supported"),
        ({"rescale_factor": 1 / 127.5}, "field rescale_factor is 0.00784314, and only 1/255"),
        ({"rescale_factor": "1/255"}, "field rescale_factor must be a finite number"),
        ({"do_flip_channel_order": True}, "field do_flip_channel_order is true, and only the order red, green, blue"),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 32}, "field do_resize is off"),
        ({"do_center_crop": True}, "field crop_size is missing"),
        ({"resample": True}, "field resample is True"),
    ],
)
def test_what_changes_pixels_is_followed_or_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=f"{PROCESSOR}: {message}"):
        loaded(tmp_path, "hf-vit", PROCESSOR, changes)


@pytest.mark.parametrize("family", ["hf-vit", "hf-clip", "hf-deit", "hf-siglip"])
def test_fields_that_a_processor_leaves_out_have_the_defaults_of_its_class(tmp_path, family):
    FAMILIES[family](tmp_path)
    whole = load_model(str(tmp_path)).preprocessing
    path = tmp_path / "preprocessor_config.json"
    values = json.loads(path.read_text())
    usual = ("do_resize", "do_normalize", "do_rescale", "rescale_factor", "do_center_crop", "resample")
    path.write_text(json.dumps({key: value for key, value in values.items() if key not in usual}))
    assert load_model(str(tmp_path)).preprocessing == whole


def test_a_step_that_is_null_is_off_as_in_transformers(tmp_path):
    FAMILIES["hf-clip"](tmp_path)
    path = tmp_path / "preprocessor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "do_normalize": None}))
    assert load_model(str(tmp_path)).preprocessing.std == (1.0, 1.0, 1.0)
    for step in ("do_rescale", "do_resize"):
        path.write_text(json.dumps({**values, step: None}))
        with pytest.raises(InputError, match=f"field {step} is off"):
            load_model(str(tmp_path))


@pytest.mark.parametrize("change", [{"num_classes": 3}, {"model_args": {"num_classes": 3}}])
def test_a_number_of_classes_of_timm_that_the_tensors_do_not_have_is_refused(tmp_path, change):
    """timm draws a new last layer then, at random."""
    FAMILIES["timm-vit"](tmp_path)
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    change = {key: {**values[key], **each} if isinstance(each, dict) else each for key, each in change.items()}
    path.write_text(json.dumps({**values, **change}))
    with pytest.raises(InputError, match=r"num_classes is 3, and the tensors show 7"):
        load_model(str(tmp_path))
    assert load_model(str(tmp_path), task="embed").task == "embed"


def test_fields_of_a_processor_that_say_what_is_usual_change_nothing(tmp_path):
    usual = {"do_rescale": True, "rescale_factor": 0.00392, "do_resize": None, "do_center_crop": 0, "do_normalize": 1}
    before = loaded(tmp_path, "hf-vit", PROCESSOR, {}).preprocessing
    change(tmp_path / PROCESSOR, **usual)
    assert load_model(str(tmp_path)).preprocessing == before


def test_an_interpolation_that_is_not_known_is_refused(tmp_path):
    FAMILIES["timm-vit"](tmp_path)
    stated = json.loads((tmp_path / CONFIG).read_text())["pretrained_cfg"]
    change(tmp_path / CONFIG, pretrained_cfg={**stated, "interpolation": "random"})
    assert load_model(str(tmp_path)).preprocessing.interpolation == "bilinear"
    change(tmp_path / CONFIG, pretrained_cfg={**stated, "interpolation": "sinc"})
    with pytest.raises(InputError, match="field interpolation is 'sinc': use one of"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("family", "file", "field"),
    [
        ("hf-vit", PROCESSOR, "do_normalize"),
        ("hf-vit", PROCESSOR, "do_center_crop"),
        ("hf-vit", CONFIG, "qkv_bias"),
        ("hf-dinov2", CONFIG, "use_swiglu_ffn"),
        ("hf-siglip-vision", CONFIG, "vision_use_head"),
        ("hf-dinov3", CONFIG, "use_gated_mlp"),
        ("hf-videomae", CONFIG, "use_mean_pooling"),
        ("hf-aimv2", CONFIG, "is_native"),
    ],
)
@pytest.mark.parametrize("value", ["false", "", [], 2])
def test_a_flag_that_is_neither_true_nor_false_is_refused(tmp_path, family, file, field, value):
    """In Python, "false" is true."""
    with pytest.raises(InputError, match=f"{file}: field {field} must be true or false, not"):
        loaded(tmp_path, family, file, {field: value})


@pytest.mark.parametrize("kind", NO_FLOATS)
def test_own_weights_that_are_no_floats_are_refused_by_name(tmp_path, kind):
    model = small_model()
    tensors = {**model.network.state_dict(), "blocks.0.mlp.fc1.weight": torch.ones(48, 24).to(kind)}
    metadata = checkpoint_metadata(model.network.architecture, Preprocessing(32), model.labels, {})
    save_file(tensors, tmp_path / "own.safetensors", metadata)
    with pytest.raises(InputError, match=r"tensor 'blocks\.0\.mlp\.fc1\.weight' holds torch\..* and not floats"):
        load_model(str(tmp_path / "own.safetensors"))


@pytest.mark.parametrize("kind", NO_FLOATS)
@pytest.mark.parametrize("layer", ["classifier.weight", "classifier.bias", "bn.running_mean"])
def test_a_head_of_no_floats_is_refused_by_name(tmp_path, kind, layer):
    tensors = {**nn.BatchNorm2d(24).state_dict(prefix="bn."), **nn.Linear(24, 5).state_dict(prefix="classifier.")}
    save_file({**tensors, layer: tensors[layer].detach().to(kind)}, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=f"tensor '{layer}' holds torch.* and not floats"):
        attach_linear_head(as_feature_model(small_model().network), tmp_path / "head.safetensors")


def test_a_variance_below_zero_is_refused_by_name(tmp_path):
    """Its root would turn all answers into NaN."""
    tensors = {**nn.BatchNorm2d(24).state_dict(prefix="bn."), **nn.Linear(24, 5).state_dict(prefix="classifier.")}
    tensors["bn.running_var"][3] = -1
    save_file({name: tensor.detach() for name, tensor in tensors.items()}, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=r"tensor 'bn\.running_var' holds a variance below zero"):
        attach_linear_head(as_feature_model(small_model().network), tmp_path / "head.safetensors")


def test_a_tensor_in_two_parts_of_a_checkpoint_is_refused(tmp_path):
    FAMILIES["hf-vit"](tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    name = sorted(tensors)[0]
    save_file(tensors, tmp_path / "one.safetensors")
    save_file({name: 2 * tensors[name]}, tmp_path / "two.safetensors")
    parts = dict.fromkeys(tensors, "one.safetensors") | {"more": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    with pytest.raises(InputError, match=f"several of its parts hold the tensor '{name}'"):
        load_model(str(tmp_path))


def test_names_of_labels_can_be_shown_and_stored(tmp_path):
    """They may come from a stranger, and must not control the terminal of who sees them."""
    names = ["a\x1b[2Jb", "two\nlines", "half \ud800", "caf\u00e9", "\u202eturned", "f", "g"]
    model = loaded(tmp_path, "hf-vit", CONFIG, {"id2label": dict(enumerate(names))})
    shown = ("a\ufffd[2Jb", "two\ufffdlines", "half \ufffd", "caf\u00e9", "\ufffdturned", "f", "g")
    assert model.labels == shown


@pytest.mark.parametrize("name", [PROCESSOR, CONFIG, "adapter_config.json"])
def test_a_link_to_nothing_is_refused_and_not_taken_for_a_missing_file(tmp_path, name):
    """As in a cache of which a part was deleted."""
    FAMILIES["hf-vit"](tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).symlink_to("gone.json")
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        load_model(str(tmp_path))
