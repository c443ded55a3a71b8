"""ONNX Runtime gives the same results for an exported part of a model as the engine; its metadata describe it."""

import json
import re

import onnx
import onnxruntime
import pytest
import torch
from conftest import small_model

from janus_vit.errors import InputError
from janus_vit.model import export
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.export import export_onnx
from janus_vit.planning.schedules import levels, make_schedule


def strongest(model):
    return levels("exponential", model.shape)[-1]


def merges_of(model):
    return make_schedule("exponential", strongest(model), model.shape).applied


def run_file(path, pixels):
    """Outputs by name."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(None, {"pixels": pixels.numpy()})
    return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}


def pixels_for(model):
    return torch.randn(1, *model.shape.input_shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The first two blocks, merging as strongly as can be."""
    path = tmp_path_factory.mktemp("exported") / "device.onnx"
    export_onnx(model, 2, strongest(model), path)
    return path


def test_tokens_and_sizes_at_the_split_equal_those_of_the_engine(exported, model):
    pixels, eager = pixels_for(model), EagerEngine(model)
    wanted = eager.run(eager.embed(pixels, merges_of(model)), 2)
    found = run_file(exported, pixels)
    assert found["tokens"].shape[1] < model.shape.tokens
    assert torch.equal(found["sizes"], wanted.sizes)
    assert torch.allclose(found["tokens"], wanted.tokens, rtol=1e-4, atol=1e-4)


def test_the_metadata_name_model_split_and_merges(exported, model):
    stored = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    about = json.loads(stored["janus-vit"])
    assert about == {"fingerprint": model.fingerprint, "model": "small", "split": 2, "merges": list(merges_of(model))}


def test_the_split_after_the_last_block_is_the_whole_model(tmp_path):
    clips = small_model(frames=4, tubelet=2, pooling="mean", prefix=0, patch_size=16, depth=1, activation="quick_gelu")
    export_onnx(clips, 2, 0.0, tmp_path / "whole.onnx")
    pixels, eager = pixels_for(clips), EagerEngine(clips)
    wanted = eager.head(eager.run(eager.embed(pixels, (0,)), 1))
    assert torch.allclose(run_file(tmp_path / "whole.onnx", pixels)["logits"], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("split", [2, 3])
def test_the_last_block_exports_the_tokens_that_the_head_reads(tmp_path, split):
    model = small_model(depth=2)
    export_onnx(model, split, strongest(model), tmp_path / "end.onnx")
    pixels, eager = pixels_for(model), EagerEngine(model)
    last = eager.run(eager.embed(pixels, merges_of(model)), 2)
    wanted = {"tokens": last.tokens, "sizes": last.sizes} if split == 2 else {"logits": eager.head(last)}
    found = run_file(tmp_path / "end.onnx", pixels)
    assert found.keys() == wanted.keys()
    assert all(found[name].shape[1] == 1 for name in ("tokens", "sizes") if name in found)
    assert all(torch.allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4) for name in wanted)


@pytest.mark.parametrize("split", [-1, 0, 8])
def test_a_split_that_leaves_nothing_is_refused(model, tmp_path, split):
    with pytest.raises(InputError, match=r"use one from 1 to 7"):
        export_onnx(model, split, 0.0, tmp_path / "device.onnx")


def test_a_missing_package_is_named_with_its_fix(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(InputError, match=re.escape("needs onnx: pip install 'janus-vit[onnx]'")):
        export_onnx(model, 2, 0.0, tmp_path / "device.onnx")
