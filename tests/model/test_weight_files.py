"""Bad weight files: each is refused in one sentence that names the file, the problem and the fix."""

import json
import pickle
import re

import pytest
import torch
from peers import FAMILIES
from safetensors.torch import load_file, save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model


@pytest.fixture
def folder(tmp_path):
    FAMILIES["hf-vit"](tmp_path)
    return tmp_path


@pytest.fixture
def timm_folder(tmp_path):
    FAMILIES["timm-vit"](tmp_path)
    return tmp_path


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def outputs(model):
    pixels = torch.randn(1, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))
    network = model.network
    tokens = network.embed(pixels)
    sizes = torch.ones(tokens.shape[:2])
    for block in network.blocks:
        tokens, sizes, _ = block(tokens, sizes, None, 0, 0)
    return network.head_logits(tokens, sizes)


def test_all_tensors_that_do_not_fit_are_listed_at_once(folder):
    def change(tensors):
        del tensors["vit.layernorm.bias"]
        tensors["vit.extra"] = torch.zeros(3)
        tensors["classifier.bias"] = torch.zeros(9)

    change_tensors(folder, change)
    wanted = r"missing: norm\.bias; surplus: vit\.extra; mis-shaped: classifier\.bias \[9\] instead of \[7\]"
    with pytest.raises(InputError, match=wanted):
        load_model(str(folder))


def test_an_unsupported_family_is_refused_with_the_nearest_name(folder):
    change_config(folder, model_type="vit_hybrid")
    with pytest.raises(InputError, match=r"config\.json: field model_type is 'vit_hybrid'.* the nearest is 'vit"):
        load_model(str(folder))


@pytest.mark.parametrize("family", [[], {}, [["vit"]], 3, None])
def test_a_family_that_is_no_text_is_refused_by_field(folder, family):
    change_config(folder, model_type=family)
    with pytest.raises(InputError, match=r"config\.json: field model_type must be a string"):
        load_model(str(folder))


def test_tensors_of_another_kind_of_network_are_refused(tmp_path):
    save_file({"conv1.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"not those of a Vision Transformer.*conv1\.weight"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "relu"}, "field hidden_act is 'relu'"),
        ({"num_attention_heads": 5}, "5 heads do not divide the width of 32"),
        ({"num_attention_heads": "many"}, "field num_attention_heads must be a finite number"),
        ({"id2label": {"0": "one"}}, None),
        ({"id2label": {str(index): "x" for index in range(9)}}, "names 9 labels and the head has 7"),
    ],
)
def test_a_config_that_does_not_fit_names_its_field(folder, changes, message):
    change_config(folder, **changes)
    if message is None:
        assert load_model(str(folder)).labels[:2] == ("one", "class 1")
        return
    with pytest.raises(InputError, match=message):
        load_model(str(folder))


def test_a_transformers_file_without_its_config_asks_for_it(folder):
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"its config\.json is missing"):
        load_model(str(folder / "model.safetensors"))


def test_a_broken_config_names_its_line(folder):
    (folder / "config.json").write_text('{"model_type": "vit",\n "hidden_size": }')
    with pytest.raises(InputError, match=r"config\.json: line 2"):
        load_model(str(folder))


def test_a_timm_file_without_its_config_needs_the_name_of_its_architecture(tmp_path):
    FAMILIES["timm-vit-hub"](tmp_path)
    with_config = outputs(load_model(str(tmp_path)))
    (tmp_path / "config.json").unlink()
    alone = load_model(str(tmp_path / "model.safetensors"), architecture="vit_tiny_patch16_224")
    assert torch.allclose(outputs(alone), with_config, atol=1e-5)
    assert alone.labels[0] == "class 0"
    assert len(alone.notes) == 1
    assert "no file beside it states mean and std of its images: both are taken as 0.5" in alone.notes[0]


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_give_the_same_model(folder, nested, zipped):
    wanted = outputs(load_model(str(folder)))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(
        {nested: tensors} if nested else tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped
    )
    assert torch.allclose(outputs(load_model(str(folder))), wanted, atol=1e-5)


class Code:
    def __reduce__(self):
        return (print, ("code was run",))


def test_code_in_a_checkpoint_is_never_run(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"patch_embed.proj.weight": Code()}, path)
    with pytest.raises(InputError, match="code from a checkpoint is never run"):
        load_model(str(path))
    path.write_bytes(pickle.dumps(Code()))
    with pytest.raises(InputError, match=re.escape(str(path))):
        load_model(str(path))
    assert capsys.readouterr().out == ""


def test_shards_give_the_same_model(folder):
    wanted = outputs(load_model(str(folder)))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.allclose(outputs(load_model(str(folder))), wanted, atol=1e-5)
    (folder / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"its part b\.safetensors is missing"):
        load_model(str(folder))


def test_an_index_may_not_point_outside_its_folder(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../other.safetensors"}}))
    with pytest.raises(InputError, match="outside the folder"):
        load_model(str(folder))


def test_half_precision_becomes_float32(timm_folder):
    change_tensors(timm_folder, lambda tensors: tensors.update({k: v.half() for k, v in tensors.items()}))
    model = load_model(str(timm_folder))
    assert {value.dtype for value in model.network.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\xff" * 100])
@pytest.mark.parametrize("name", ["model.safetensors", "weights.pt"])
def test_a_damaged_file_is_refused_by_name(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(name)):
        load_model(str(tmp_path))


def test_a_folder_without_weights_says_what_it_needs(tmp_path):
    with pytest.raises(InputError, match=r"no weight file: it needs model\.safetensors"):
        load_model(str(tmp_path))


def test_another_resolution_is_run_on_request(folder):
    model = load_model(str(folder), image_size=64)
    assert model.shape.input_shape == (3, 64, 64)
    assert model.shape.tokens == 65
    assert model.preprocessing.image_size == 64
    assert outputs(model).shape == (1, 7)
    for size in (60, 4):
        with pytest.raises(InputError, match="is not a multiple of the patch size 8: choose a multiple"):
            load_model(str(folder), image_size=size)


def change_pretrained(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"].update(changes)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": [32, 64]}, r"field input_size is \[32, 64\]: write \[channels, height, width\]"),
        ({"input_size": []}, "field input_size"),
        ({"input_size": [3, 64, "x"]}, "field input_size"),
        ({"input_size": [3, 0, 0]}, "field input_size"),
        ({"crop_pct": 1.2}, "field crop_pct is 1.2"),
        ({"crop_pct": 1e-9}, "field pretrained_cfg.crop_pct must be at least 0.1"),
        ({"std": [0, 0, 0]}, "field std"),
        ({"mean": [0.5, "a", 0.5]}, "field mean"),
    ],
)
def test_impossible_preprocessing_is_refused_by_its_field(timm_folder, changes, message):
    change_pretrained(timm_folder, **changes)
    with pytest.raises(InputError, match=message):
        load_model(str(timm_folder))


def test_a_crop_larger_than_the_resized_image_is_refused(folder):
    path = folder / "preprocessor_config.json"
    settings = {"do_center_crop": True, "crop_size": 40, "size": {"shortest_edge": 36}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    with pytest.raises(InputError, match="crops 40 pixels from images of 36"):
        load_model(str(folder))


@pytest.mark.parametrize("weight_map", [{"a": None}, {"a": 1}, {"a": "model.safetensors.index.json"}, []])
def test_a_damaged_index_is_refused(folder, weight_map):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match="weight_map"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("name", "value"),
    [("vit.embeddings.cls_token", torch.zeros(3)), ("classifier.weight", torch.zeros(7)), ("classifier.weight", 0)],
)
def test_tensors_of_odd_shapes_are_refused(folder, name, value):
    change_tensors(folder, lambda tensors: tensors.update({name: torch.as_tensor(value, dtype=torch.float32)}))
    with pytest.raises(InputError, match="have a wrong shape: copy the file again"):
        load_model(str(folder))


def test_a_name_that_is_too_long_for_a_path_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="cannot be found"):
        load_model("x" * 5000)


def test_a_classifier_embeds_when_asked(folder):
    model = load_model(str(folder), task="embed")
    assert model.task == "embed"
    assert model.labels == ()
    assert outputs(model).shape == (1, 32)


@pytest.mark.parametrize("task", ["depth", "segment", "detect", "pose", "head"])
@pytest.mark.parametrize("kind", ["own", "foreign"])
def test_a_classifier_has_no_head_for_dense_tasks(folder, kind, task):
    name = "janus-digits" if kind == "own" else str(folder)
    with pytest.raises(InputError, match=f"this model has no head for {task}: leave out --task {task}"):
        load_model(name, task=task)


def test_an_embedding_model_cannot_classify(tmp_path):
    FAMILIES["hf-clip-vision"](tmp_path)
    with pytest.raises(InputError, match="this model can only embed"):
        load_model(str(tmp_path), task="classify")


@pytest.mark.parametrize("name", ["hf:", "hf:only-a-name", "hf:a/b/c", "timm:"])
def test_a_malformed_name_on_the_hub_says_how_to_write_it(name):
    with pytest.raises(InputError, match="write timm:NAME or hf:ORG/NAME"):
        load_model(name)


def test_an_unreachable_hub_is_reported_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="never downloaded"):
        load_model("hf:someone/some-model")
