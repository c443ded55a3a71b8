"""Checkpoints as training frameworks leave them: prefixes before the names of tensors are taken off, with a message."""

import json

import pytest
import torch
from peers import FAMILIES
from safetensors.torch import load_file, save_file

from janus_vit.cli.main import main
from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model


@pytest.fixture(params=["hf-vit", "timm-vit"])
def folder(tmp_path, request):
    FAMILIES[request.param](tmp_path)
    return tmp_path


def prefixed(tensors, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def weights(model):
    """Copies of all tensors: those of the model lie in its file, which tests write again."""
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def check_equal(model, wanted):
    found = weights(model)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


SAVED = {
    "DistributedDataParallel": lambda tensors: prefixed(tensors, "module."),
    "torch.compile": lambda tensors: prefixed(tensors, "_orig_mod."),
    "both": lambda tensors: prefixed(tensors, "module._orig_mod."),
    "both, the other way round": lambda tensors: prefixed(tensors, "_orig_mod.module."),
    "FSDP": lambda tensors: prefixed(tensors, "_fsdp_wrapped_module."),
    "Lightning": lambda tensors: {
        "pytorch-lightning_version": "2.5.0",
        "epoch": 3,
        "state_dict": prefixed(tensors, "model."),
        "optimizer_states": [{"state": {0: {"step": torch.tensor(5.0)}}}],
        "hyper_parameters": {"lr": 1e-3},
    },
    "Lightning with torch.compile": lambda tensors: {"state_dict": prefixed(tensors, "model._orig_mod.")},
    "an averaged model": lambda tensors: {**prefixed(tensors, "module."), "n_averaged": torch.tensor(7)},
    "a tutorial": lambda tensors: {"epoch": 1, "model_state_dict": prefixed(tensors, "module."), "loss": 0.5},
}


@pytest.mark.parametrize("saved", SAVED)
def test_prefixes_of_training_are_taken_off(folder, saved):
    plain = load_model(str(folder))
    assert plain.notes == ()
    wanted = weights(plain)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(SAVED[saved](tensors), folder / "last.ckpt")
    wrapped = load_model(str(folder))
    check_equal(wrapped, wanted)
    assert wrapped.notes
    assert all("took off the prefix" in note for note in wrapped.notes)
    assert wrapped.fingerprint == plain.fingerprint


def test_prefix_of_one_compiled_part_is_taken_off(folder):
    wanted = weights(load_model(str(folder)))
    tensors = load_file(folder / "model.safetensors")
    part = "blocks.1." if "cls_token" in tensors else "vit."
    changed = {name.replace(part, f"{part}_orig_mod."): tensor for name, tensor in tensors.items()}
    assert changed.keys() != tensors.keys()
    save_file(changed, folder / "model.safetensors")
    check_equal(load_model(str(folder)), wanted)


def test_message_names_the_prefix_and_the_framework(folder, capsys, tmp_path):
    tensors = load_file(folder / "model.safetensors")
    save_file(prefixed(tensors, "module._orig_mod."), folder / "model.safetensors")
    arguments = ["plan", "--model", str(folder), "--bandwidth", "20", "--rtt", "30ms", "--sla", "300ms"]
    assert main([*arguments, "--device-profile", str(tmp_path / "missing.json")]) == 2
    err = capsys.readouterr().err
    assert "took off the prefix '_orig_mod.' of torch.compile from the names of its tensors" in err
    assert "took off the prefix 'module.' of DistributedDataParallel from the names of its tensors" in err


def test_two_tensors_that_become_one_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, f"_orig_mod.{name}": tensors[name].clone()}, folder / "model.safetensors")
    with pytest.raises(InputError, match="two tensors have the same name apart from the prefixes of training"):
        load_model(str(folder))


def test_other_tensors_beside_the_model_are_refused_by_name(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({**prefixed(tensors, "model."), "criterion.weight": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(InputError, match=r"has tensors beside those behind 'model\.' \(criterion\.weight\): save only"):
        load_model(str(folder))


def test_endless_prefixes_end(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file(prefixed(tensors, "module." * 50), folder / "model.safetensors")
    with pytest.raises(InputError, match=r"not those of a Vision Transformer|so it is not a ViT"):
        load_model(str(folder))


def test_labels_survive(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    save_file(prefixed(tensors, "module."), folder / "model.safetensors")
    names = config.get("label_names") or list(config["id2label"].values())
    assert list(load_model(str(folder)).labels) == names
