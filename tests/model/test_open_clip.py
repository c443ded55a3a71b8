"""Checkpoints of OpenCLIP: towers of timm, weights without a config, and what is refused."""

import json

import numpy as np
import pytest
import torch
from peers import FAMILIES, OPEN_CLIP, _open_clip_peer, import_torchvision
from safetensors.torch import load_file, save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine

TRUNK = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "token", "timm_proj": "linear"}


def run(model, pixels, split):
    engine, blocks = EagerEngine(model), model.shape.blocks
    return engine.head(engine.run(engine.run(engine.embed(pixels, (0,) * blocks), split), blocks))


@pytest.mark.parametrize("change", [{}, {"timm_pool": "avg", "timm_proj": "none"}, {"timm_proj_bias": True}])
def test_towers_of_timm_answer_as_in_open_clip(tmp_path, change):
    import_torchvision()
    with torch.no_grad():
        peer = _open_clip_peer("trunk", tmp_path, False, "squash", {**TRUNK, **change})
    model = load_model(str(tmp_path))
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    wanted = peer.forward(peer.preprocess(picture))
    found = run(model, peer.preprocess(picture), 5)
    assert model.task == "embed"
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4
    ours = model.preprocessing.normalise(model.preprocessing.crop(picture))
    assert float((ours - peer.preprocess(picture)).abs().max()) < 0.02


def change_config(folder, **changes):
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"] |= changes
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pool_type": "avg"}, "field vision_cfg.pool_type is 'avg': only tok"),
        ({"attentional_pool": True}, "field attentional_pool or multimodal_cfg changes the image tower"),
        ({"qk_norm": True}, "field vision_cfg.qk_norm changes the image tower"),
        ({"act_kwargs": {"inplace": True}}, "field vision_cfg.act_kwargs is"),
        ({"width": 40}, "vision_cfg.width is 40, and the tensors show 32"),
        ({"layers": 2}, "num_hidden_layers is 2, and the tensors show 3"),
        ({"image_size": 64}, "16 patches|positions"),
    ],
)
def test_what_changes_the_tower_is_refused(tmp_path, change, message):
    FAMILIES["open-clip"](tmp_path)
    change_config(tmp_path, **change)
    with pytest.raises(InputError, match=message):
        load_model(str(tmp_path))


def test_weights_alone_need_the_name_of_open_clip(tmp_path):
    FAMILIES["open-clip"](tmp_path)
    (tmp_path / "open_clip_config.json").unlink()
    path = str(tmp_path / "open_clip_model.safetensors")
    with pytest.raises(InputError, match="use --architecture NAME, such as ViT-B-32"):
        load_model(path)
    with pytest.raises(InputError, match="'ViT-B-23' is not supported: the nearest supported one is 'ViT-B-32'"):
        load_model(path, architecture="ViT-B-23")
    with pytest.raises(InputError, match=r"ViT-B-32: field vision_cfg\.width is 768, and the tensors show 32"):
        load_model(path, architecture="ViT-B-32")


def test_weights_alone_answer_as_with_their_config(tmp_path, monkeypatch):
    from janus_vit.model.checkpoints.open_clip import config

    peer = FAMILIES["open-clip-quickgelu"](tmp_path)
    tensors = {k: v for k, v in load_file(tmp_path / "open_clip_model.safetensors").items() if not k.endswith("gamma")}
    (tmp_path / "open_clip_config.json").unlink()
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    shape = tuple(OPEN_CLIP[name] for name in ("image_size", "patch_size", "width", "layers", "head_width"))
    monkeypatch.setitem(config.NAMES, "ViT-B-32", shape)
    plain = load_model(str(tmp_path), architecture="ViT-B-32").network.architecture
    assert plain.activation == "gelu"
    assert (plain.heads, plain.depth, plain.norm_eps) == (4, 3, 1e-5)
    assert load_model(str(tmp_path), architecture="ViT-B-32-quickgelu").network.architecture.activation == "quick_gelu"
    assert peer.output == "embedding"
