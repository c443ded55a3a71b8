"""LoRA adapters of peft, compared with transformers' own model whose layers add the adapter's output."""

import json
import math

import pytest
import torch
from peers import BICUBIC, CLIP, DINO, MEAN, NAMES, STD, TEXT, VIT, import_torchvision, randomise
from safetensors.torch import load_file, save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine

RANK, ALPHA = 4, 6


def make_base(family):
    """A model of transformers, and the function that gives its answer."""
    import_torchvision()
    import transformers as hf

    if family == "vit":
        model = hf.ViTForImageClassification(hf.ViTConfig(**VIT, num_labels=5, image_size=32, patch_size=8))
        return model, lambda pixels: model(pixels).logits
    if family == "dinov2":
        settings = {**DINO, "image_size": 56, "use_swiglu_ffn": True, "num_labels": 5}
        model = hf.Dinov2ForImageClassification(hf.Dinov2Config(**settings))
        return model, lambda pixels: model(pixels).logits
    text = {**TEXT, "projection_dim": 20}
    model = hf.CLIPModel(hf.CLIPConfig(text_config=text, vision_config=CLIP, projection_dim=20))
    return model, lambda pixels: model.get_image_features(pixels).pooler_output


class Adapted:
    """A base model in a folder, an adapter in another one, and the answers of both together."""

    def __init__(self, tmp_path, family="vit", settings=None, targets=None, bias=False):
        self.base, self.folder = tmp_path / "base", tmp_path / "adapter"
        self.folder.mkdir()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            self.model, self.forward = make_base(family)
            randomise(self.model)
            self.model.save_pretrained(self.base)
            self.settings = {
                "peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "base_model_name_or_path": str(self.base),
                "bias": "none", "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True,
                "lora_dropout": 0.1, "modules_to_save": None, "task_type": None, "use_dora": False,
                "use_rslora": False, "target_modules": "all-linear", "rank_pattern": {}, "alpha_pattern": {},
                "loftq_config": {}, "megatron_core": "megatron.core", "layer_replication": None, **(settings or {}),
            }  # fmt: skip
            self.tensors = {}
            generator = torch.Generator().manual_seed(5)
            for name, module in self.model.named_modules():
                chosen = targets is None or any(name.endswith(end) for end in targets)
                if not isinstance(module, torch.nn.Linear) or "classifier" in name or not chosen:
                    continue
                rank = self.settings["rank_pattern"].get(name.rpartition(".")[2], RANK)
                a = torch.randn(rank, module.in_features, generator=generator) / module.in_features**0.5
                b = torch.randn(module.out_features, rank, generator=generator) / 2
                self.tensors[f"base_model.model.{name}.lora_A.weight"] = a
                self.tensors[f"base_model.model.{name}.lora_B.weight"] = b
                module.register_forward_hook(self._hook(name, a, b))
            if bias:
                for name, module in self.model.named_modules():
                    if f"base_model.model.{name}.lora_A.weight" in self.tensors:
                        module.bias.normal_(generator=generator)
                        self.tensors[f"base_model.model.{name}.base_layer.bias"] = module.bias.clone()
        self.save()

    def _hook(self, name, a, b):
        alpha = self.settings["alpha_pattern"].get(name.rpartition(".")[2], self.settings["lora_alpha"])
        scale = alpha / (math.sqrt(len(a)) if self.settings["use_rslora"] else len(a))
        return lambda module, inputs, output: output + scale * (inputs[0] @ a.T) @ b.T

    def save(self):
        save_file(self.tensors, self.folder / "adapter_model.safetensors")
        (self.folder / "adapter_config.json").write_text(json.dumps(self.settings))

    def check(self):
        """The merged model equals the adapted one, unsplit and split at every block."""
        model = load_model(str(self.folder))
        engine, unmerged = EagerEngine(model), (0,) * model.shape.blocks
        pixels = torch.randn(2, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            wanted = self.forward(pixels)
        plain = EagerEngine(load_model(str(self.base)))
        untouched = plain.head(plain.run(plain.embed(pixels, unmerged), len(unmerged)))
        assert untouched.shape != wanted.shape or float((untouched - wanted).abs().max()) > 0.1
        for split in range(model.shape.blocks + 1):
            begun = engine.run(engine.embed(pixels, unmerged), split)
            found = engine.head(engine.run(begun, model.shape.blocks))
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
        return model


@pytest.mark.parametrize(
    ("family", "settings", "targets"),
    [
        ("vit", {}, ("query", "value", "q_proj", "v_proj")),  # names of transformers 4 and 5
        ("vit", {}, None),
        ("vit", {"use_rslora": True}, None),
        ("vit", {"lora_alpha": 3, "init_lora_weights": "gaussian"}, None),
        ("vit", {"rank_pattern": {"v_proj": 7}, "alpha_pattern": {"q_proj": 20, "k_proj": 1}}, None),
        ("dinov2", {}, None),
        ("clip", {}, None),
    ],
)
def test_merged_adapter_equals_the_adapted_model(tmp_path, family, settings, targets):
    adapted = Adapted(tmp_path, family, settings, targets)
    assert adapted.tensors
    model = adapted.check()
    assert any("merged the adapter of" in note and str(adapted.base) in note for note in model.notes)


def test_trained_biases_replace_those_of_the_base(tmp_path):
    Adapted(tmp_path, settings={"bias": "lora_only"}, targets=("fc1", "fc2"), bias=True).check()


def test_adapter_in_a_pytorch_file(tmp_path):
    adapted = Adapted(tmp_path)
    torch.save(adapted.tensors, adapted.folder / "adapter_model.bin")
    (adapted.folder / "adapter_model.safetensors").unlink()
    adapted.check()


def test_path_of_the_base_may_be_relative_to_the_adapter(tmp_path):
    Adapted(tmp_path, settings={"base_model_name_or_path": "../base"}).check()


def add_head(adapted, classes):
    head = torch.nn.Linear(32, classes)
    with torch.no_grad():
        randomise(head)
    adapted.model.classifier = head
    adapted.tensors |= {f"base_model.model.classifier.{name}": value for name, value in head.state_dict().items()}
    adapted.save()


def test_classifier_of_the_adapter_replaces_that_of_the_base(tmp_path):
    adapted = Adapted(tmp_path, settings={"modules_to_save": ["classifier"]})
    add_head(adapted, 3)
    assert adapted.check().labels == ("class 0", "class 1", "class 2")


def test_labels_come_from_a_config_beside_the_adapter(tmp_path):
    adapted = Adapted(tmp_path, settings={"modules_to_save": ["classifier"]})
    add_head(adapted, 3)
    config = json.loads((adapted.base / "config.json").read_text())
    config |= {"id2label": dict(enumerate(NAMES[:3])), "problem_type": "multi_label_classification"}
    (adapted.folder / "config.json").write_text(json.dumps(config))
    model = load_model(str(adapted.folder))
    assert (model.labels, model.task) == (NAMES[:3], "multilabel")


def test_preprocessing_comes_from_the_base(tmp_path):
    adapted = Adapted(tmp_path)
    processor = {"size": {"height": 32, "width": 32}, "image_mean": MEAN, "image_std": STD, "resample": BICUBIC}
    (adapted.base / "preprocessor_config.json").write_text(json.dumps(processor))
    assert load_model(str(adapted.folder)).preprocessing.mean == MEAN


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "field peft_type is 'IA3': only 'LORA' is supported: merge it with peft"),
        ({"use_dora": True}, "field use_dora is True, which is not supported: merge it with peft"),
        ({"fan_in_fan_out": True}, "field fan_in_fan_out is True"),
        ({"layer_replication": [[0, 2]]}, "field layer_replication is"),
        ({"something_new": 1}, "field something_new is 1"),
        ({"use_rslora": "false"}, "field use_rslora must be true or false, not 'false'"),
        ({"init_lora_weights": "pissa"}, "field init_lora_weights is 'pissa', which changes the base model"),
        ({"init_lora_weights": []}, "field init_lora_weights is"),
        ({"alpha_pattern": {".*q_proj": 3}}, "field alpha_pattern has the expression '.\\*q_proj'"),
        ({"r": 0}, "field r must be at least 1"),
        ({"r": 5}, "has rank 4, and adapter_config.json states 5"),
        ({"base_model_name_or_path": None}, "names no base model: write the path of its folder there"),
        ({"base_model_name_or_path": "google/vit-base"}, "is 'google/vit-base', which is not a folder on this machine"),
        ({"base_model_name_or_path": "\0"}, "which is not a folder on this machine"),
        ({"base_model_name_or_path": "."}, "the base model '.' is an adapter itself"),
    ],
)
def test_what_cannot_be_merged_is_refused_by_name(tmp_path, settings, message):
    adapted = Adapted(tmp_path)
    adapted.settings |= settings
    adapted.save()
    with pytest.raises(InputError, match=message):
        load_model(str(adapted.folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda name: ("base_model.model.vit.nothing.lora_A.weight", 1),
            "has only one of lora_A and lora_B",
        ),
        (
            lambda name: (name.replace("lora_A.weight", "lora_embedding_A"), 1),
            "lora_embedding_A is not that of a linear",
        ),
        (lambda name: (name.removeprefix("base_model."), 1), "does not begin with 'base_model.model.'"),
        (lambda name: (name, 2), "only linear layers of the adapter's own base model are supported"),
        (lambda name: (name + ".more", 1), "is not that of a linear layer"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    adapted = Adapted(tmp_path)
    name = next(name for name in adapted.tensors if name.endswith("lora_A.weight"))
    tensor = adapted.tensors.pop(name)
    new_name, times = change(name)
    adapted.tensors[new_name] = tensor.repeat(1, times)
    adapted.save()
    with pytest.raises(InputError, match=message):
        load_model(str(adapted.folder))


def test_layers_that_the_base_does_not_have_are_refused(tmp_path):
    adapted = Adapted(tmp_path)
    for half, shape in (("A", (RANK, 32)), ("B", (32, RANK))):
        adapted.tensors[f"base_model.model.vit.encoder.layer.9.output.dense.lora_{half}.weight"] = torch.zeros(shape)
    adapted.save()
    with pytest.raises(InputError, match=r"encoder\.layer\.9\.output\.dense is not a layer of the base model"):
        load_model(str(adapted.folder))


def test_adapter_without_weights_is_refused(tmp_path):
    adapted = Adapted(tmp_path)
    (adapted.folder / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has adapter_config\.json but no adapter_model\.safetensors"):
        load_model(str(adapted.folder))


def test_base_and_adapter_may_use_the_names_of_different_transformers(tmp_path):
    """Files on the hub have the names of transformers 4, whatever the version that trains the adapter."""
    adapted = Adapted(tmp_path, targets=("q_proj", "query"))
    found = load_file(adapted.base / "model.safetensors")
    old = any("attention.attention.query" in name for name in found)
    renamed = {
        name.replace("attention.attention.query", "attention.q_proj")
        if old
        else name.replace("attention.q_proj", "attention.attention.query"): tensor
        for name, tensor in found.items()
    }
    assert renamed.keys() != found.keys()
    save_file(renamed, adapted.base / "model.safetensors")
    adapted.check()


@pytest.mark.parametrize("of_the_base", [True, False])
def test_layers_that_hold_no_floats_are_not_merged(tmp_path, of_the_base):
    adapted = Adapted(tmp_path)
    path = adapted.base / "model.safetensors" if of_the_base else adapted.folder / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "query" in name or "q_proj" in name)
    tensors[name] = (100 * tensors[name]).to(torch.int8)
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(InputError, match=r"holds torch\.int8 and not floats"):
        load_model(str(adapted.folder))
