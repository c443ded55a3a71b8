"""What a config of transformers states must be what the tensors show, or be refused by the field."""

import json

import numpy as np
import pytest
import torch
import transformers
from peers import FAMILIES
from safetensors.torch import load_file, save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.hugging_face.config import DEFAULTS
from janus_vit.model.checkpoints.hugging_face.config import FAMILIES as CONFIGS
from janus_vit.model.preprocessing import Preprocessing


def change(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("hf-vit", {"num_hidden_layers": 2}, "field num_hidden_layers is 2, and the tensors show 3: copy both"),
        ("hf-vit", {"hidden_size": 64}, "field hidden_size is 64, and the tensors show 32"),
        ("hf-vit", {"intermediate_size": 64}, "field intermediate_size is 64, and the tensors show 80"),
        ("hf-vit", {"patch_size": 16}, "field patch_size is 16, and the tensors show 8"),
        ("hf-vit", {"patch_size": [8, 4]}, r"field patch_size is \[8, 4\], and the tensors show 8"),
        ("hf-vit", {"num_channels": 1}, "field num_channels is 1, and the tensors show 3"),
        ("hf-vit", {"qkv_bias": False}, "field qkv_bias is False, and the tensors show True"),
        ("hf-vit", {"auto_map": {"AutoModel": "own.Model"}}, "field auto_map is set, which is not supported"),
        ("hf-vit", {"quantization_config": {"bits": 4}}, "field quantization_config is set"),
        ("hf-vit", {"image_size": [32]}, r"field image_size must be one number or \[height, width\]"),
        ("hf-vit", {"image_size": [32, "x"]}, "field image_size.1 must be a finite number"),
        ("hf-dinov2", {"use_swiglu_ffn": True}, "field use_swiglu_ffn is True, and the tensors show False"),
        ("hf-dinov2-swiglu", {"use_swiglu_ffn": False}, "field use_swiglu_ffn is False, and the tensors show True"),
        ("hf-videomae", {"tubelet_size": 4}, "field tubelet_size is 4, and the tensors show 2"),
        ("hf-dinov2-registers", {"num_register_tokens": 2}, "field num_register_tokens is 2, and the tensors show 3"),
        ("hf-dinov3", {"query_bias": False}, "field query_bias is False, and the tensors show True"),
        ("hf-dinov3", {"key_bias": True}, "field key_bias is True, and the tensors show False"),
        ("hf-dinov3", {"value_bias": False}, "field value_bias is False, and the tensors show True"),
        ("hf-dinov3", {"proj_bias": False}, "field proj_bias is False, and the tensors show True"),
        ("hf-dinov3", {"mlp_bias": False}, "field mlp_bias is False, and the tensors show True"),
        ("hf-dinov3-swiglu", {"intermediate_size": 64}, "field intermediate_size is 64, and the tensors show 80"),
        ("hf-aimv2", {"qkv_bias": True}, "field qkv_bias is True, and the tensors show False"),
        ("hf-aimv2-biases", {"mlp_bias": False}, "field mlp_bias is False, and the tensors show True"),
        ("hf-aimv2", {"intermediate_size": 64}, "field intermediate_size is 64, and the tensors show 80"),
        ("hf-videomae", {"qv_bias": False}, "field qv_bias is False, and the tensors show True"),
        ("hf-vjepa2-classifier", {"num_pooler_layers": 1}, "field num_pooler_layers is 1, and the tensors show 2"),
        ("hf-dinov2", {"mlp_ratio": 4}, "field mlp_ratio is 4.0, and the tensors show 'an MLP of 108 values"),
        ("hf-dinov2-swiglu", {"mlp_ratio": 4}, "field mlp_ratio is 4.0, and the tensors show 'an MLP of 72 values"),
        ("hf-dinov2", {"mlp_ratio": 1e308}, r"field mlp_ratio must be at most 10000"),
        ("hf-clip", {"projection_dim": 40}, "field projection_dim is 40, and the tensors show 20"),
    ],
)
def test_field_that_disagrees_with_the_tensors_is_refused(tmp_path, family, changes, message):
    FAMILIES[family](tmp_path)
    change(tmp_path / "config.json", **changes)
    with pytest.raises(InputError, match=f"config.json: {message}"):
        load_model(str(tmp_path))


def test_clips_whose_positions_are_those_of_another_size_are_refused_unless_the_user_chooses_a_size(tmp_path):
    FAMILIES["hf-vjepa2"](tmp_path)
    change(tmp_path / "config.json", crop_size=64)
    with pytest.raises(InputError, match=r"field crop_size of its config.json gives positions for \(64, 64\)"):
        load_model(str(tmp_path))
    assert load_model(str(tmp_path), 64).network.architecture.size == (64, 64)


def test_fields_that_a_config_leaves_out_have_the_defaults_of_transformers():
    for name, family in CONFIGS.items():
        theirs = transformers.CONFIG_MAPPING[name]()
        theirs = getattr(theirs, "vision_config", theirs)
        ours = {**DEFAULTS, **family.defaults}
        if family.naflex or family.image_size != "image_size":
            del ours["image_size"]
        if family.norm == "rms":
            del ours["layer_norm_eps"]
        assert ours == {key: getattr(theirs, key) for key in ours}, name


def test_field_of_a_vision_tower_is_named_with_its_section(tmp_path):
    FAMILIES["hf-clip"](tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"field vision_config\.num_hidden_layers is 1, and the tensors show 3"):
        load_model(str(tmp_path))


def test_biases_that_the_config_promises_must_be_there(tmp_path):
    FAMILIES["hf-vit"](tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    left = {name: tensor for name, tensor in tensors.items() if "query.bias" not in name and "q_proj.bias" not in name}
    left = {name: tensor for name, tensor in left.items() if "key.bias" not in name and "k_proj.bias" not in name}
    left = {name: tensor for name, tensor in left.items() if "value.bias" not in name and "v_proj.bias" not in name}
    assert len(tensors) - len(left) == 9
    save_file(left, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="field qkv_bias is True, and the tensors show False"):
        load_model(str(tmp_path))
    change(tmp_path / "config.json", qkv_bias=False)
    assert load_model(str(tmp_path)).shape.blocks == 3


def test_model_of_four_channels_is_refused(tmp_path):
    FAMILIES["hf-vit"](tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if name.endswith("patch_embeddings.projection.weight"))
    tensors[name] = torch.zeros(32, 4, 8, 8)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"reads 4 channels: only colour \(3\) and grey \(1\) are supported"):
        load_model(str(tmp_path))


def test_mean_and_std_must_fit_the_channels(tmp_path):
    FAMILIES["hf-vit-grey"](tmp_path)
    processor = tmp_path / "preprocessor_config.json"
    change(processor, image_mean=[0.5, 0.5, 0.5], image_std=[0.2, 0.2, 0.2])
    assert load_model(str(tmp_path)).preprocessing.channels == 1
    change(processor, image_mean=[0.5, 0.4, 0.5])
    with pytest.raises(InputError, match="the model reads 1 channels, and the mean and std beside it are for 3"):
        load_model(str(tmp_path))
    change(processor, image_std=[0.2])
    with pytest.raises(InputError, match="fields image_mean and image_std have different numbers of channels"):
        load_model(str(tmp_path))


def test_positions_of_another_shape_than_stated_are_refused(tmp_path):
    FAMILIES["hf-vit-wide"](tmp_path)
    assert load_model(str(tmp_path)).shape.input_shape == (3, 64, 96)
    change(tmp_path / "config.json", image_size=[64, 64])
    with pytest.raises(InputError, match="has 25 positions, which are not those of images of 64 x 64 pixels"):
        load_model(str(tmp_path))


def test_wide_model_runs_at_another_resolution_on_request(tmp_path):
    FAMILIES["hf-vit-wide"](tmp_path)
    model = load_model(str(tmp_path), image_size=64)
    assert model.shape.input_shape == (3, 64, 64)
    assert model.preprocessing.crop(np.zeros((30, 70, 3), np.uint8)).shape == (64, 64, 3)


def test_wide_crop_covers_its_area():
    """The frame is scaled until it covers the area, then its centre is cut out."""
    wide = Preprocessing(20, image_width=40, resize=25, resize_width=50, rounds_crop=True)
    for height, width in ((100, 100), (10, 300), (300, 10), (20, 40), (21, 39)):
        frame = np.zeros((height, width, 3), np.uint8)
        assert wide.crop(frame).shape == (20, 40, 3)
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[:, None, None], 100, 1).repeat(3, 2)  # rises from top to bottom
    cropped = wide.crop(ramp)  # 200 x 100 becomes 100 x 50; rows 40 to 59 are left
    assert abs(int(cropped[0, 0, 0]) - 80) <= 1
    assert abs(int(cropped[-1, 0, 0]) - 118) <= 2


def test_grey_values_are_those_of_pillow():
    from PIL import Image

    rng = np.random.default_rng(2)
    frame = rng.integers(0, 256, (32, 32, 3), np.uint8)
    grey = Preprocessing(32, mean=(0.0,) * 3, std=(1 / 255,) * 3, channels=1)
    wanted = np.asarray(Image.fromarray(frame).convert("L"))
    assert grey.normalise(frame).shape == (1, 1, 32, 32)
    np.testing.assert_allclose(grey.normalise(frame)[0, 0].numpy(), wanted, atol=1e-3)
    np.testing.assert_array_equal(grey.crop(frame), np.repeat(wanted[..., None], 3, 2))


def test_a_frame_as_long_as_no_camera_makes_it_is_refused_before_it_is_resized():
    with pytest.raises(InputError, match="frames of 1 x 60000 pixels would be resized to 224 x 13440000"):
        Preprocessing(224).crop(np.zeros((1, 60_000, 3), np.uint8))
