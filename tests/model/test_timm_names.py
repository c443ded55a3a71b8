"""Which of timm's architectures are accepted: those whose answers equal timm's. All others are refused by name."""

import json
import re
import warnings

import pytest
import timm
import torch
from peers import FAMILIES, randomise
from safetensors.torch import load_file, save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.timm_config import check_timm_config
from janus_vit.model.checkpoints.timm_names import COMPARED_NAMES
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.planning.jsonfile import Section

# One of each kind; `make timm-names` compares them all.
KINDS = (
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit3_small_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_base_patch16_siglip_224",
    "vit_base_patch32_siglip_gap_256",
    "vit_base_patch32_clip_224",
    "vit_base_patch32_clip_quickgelu_224",
    "vit_betwixt_patch16_reg4_gap_256",
)


def save_timm(name, folder, **changes):
    """A folder as timm saves it: two blocks, a small image, random weights."""
    patch = int(re.search(r"patch(\d+)", name)[1])
    settings = {"depth": 2, "img_size": 4 * patch, **changes}
    size = {"input_size": (3, 4 * patch, 4 * patch)}
    with warnings.catch_warnings(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        model = timm.create_model(name, pretrained_cfg_overlay=size, **settings)
        randomise(model)
        timm.models.save_for_hf(model, folder, model_args=settings, safe_serialization=True)
    return model


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def answers(model, pixels):
    engine = EagerEngine(model)
    activation = engine.embed(pixels, (0,) * model.shape.blocks)
    return engine.head(engine.run(activation, model.shape.blocks))


def named(name, **model_args):
    return Section("config.json", "", {"architecture": name, "model_args": model_args})


@pytest.mark.parametrize("name", KINDS)
def test_a_supported_name_answers_as_timm(name, tmp_path):
    theirs = save_timm(name, tmp_path)
    model = load_model(str(tmp_path))
    pixels = torch.randn(2, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(pixels)
    assert torch.allclose(answers(model, pixels), wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    "name", ["vit_pe_core_tiny_patch16_384", "vit_small_patch16_rope_224", "eva02_tiny_patch14_224"]
)
def test_positions_that_leave_no_tensor_are_refused(name, tmp_path):
    save_timm(name, tmp_path)
    with pytest.raises(
        InputError, match=rf"config\.json: field architecture is '{name}'.*the nearest supported one is"
    ):
        load_model(str(tmp_path))


def test_the_refusal_names_the_file_the_nearest_name_and_the_fix(tmp_path):
    FAMILIES["timm-vit"](tmp_path)
    change_config(tmp_path, architecture="vit_tiny_patch16_rope_224")
    with pytest.raises(InputError) as caught:
        load_model(str(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.json'}: field architecture is 'vit_tiny_patch16_rope_224'")
    assert "the nearest supported one is 'vit_tiny_patch16_224'" in message
    assert message.endswith("use a checkpoint of that architecture")


def test_every_name_of_timm_outside_its_plain_vits_is_refused():
    for name in timm.list_models():
        if timm.models.model_entrypoint(name).__module__ in ("timm.models.vision_transformer", "timm.models.deit"):
            continue
        with pytest.raises(InputError, match="field architecture"):
            check_timm_config(named(name))


def test_timm_knows_every_supported_name():
    assert set(timm.list_models()) >= COMPARED_NAMES


def test_a_tag_behind_the_name_is_allowed():
    check_timm_config(named("vit_tiny_patch16_224.augreg_in21k"))


@pytest.mark.parametrize(
    "changes",
    [
        {"qk_norm": True},
        {"act_layer": "relu"},
        {"pool_include_prefix": True},
        {"pos_embed": "none"},
        {"an_argument_of_a_newer_timm": 1},
    ],
)
def test_an_argument_that_changes_the_answers_is_refused(changes):
    with pytest.raises(InputError, match=rf"config\.json: field model_args\.{next(iter(changes))} changes"):
        check_timm_config(named("vit_tiny_patch16_224", **changes))


def test_a_changed_width_needs_the_number_of_heads():
    with pytest.raises(InputError, match="embed_dim is set without num_heads: add num_heads"):
        check_timm_config(named("vit_tiny_patch16_224", embed_dim=384))


@pytest.mark.parametrize("architecture", [7, ["vit_tiny_patch16_224"]])
def test_an_architecture_that_is_no_text_is_refused(architecture):
    with pytest.raises(InputError, match="field architecture must be a string"):
        check_timm_config(named(architecture))


@pytest.mark.parametrize("pooling", ["avgmax", "max", "", 3])
def test_pooling_of_the_arguments_comes_first(pooling, tmp_path):
    FAMILIES["timm-vit"](tmp_path)
    change_config(tmp_path, model_args={"num_heads": 4, "global_pool": pooling})
    with pytest.raises(InputError, match=f"field global_pool is {pooling!r}: supported are token, avg, map"):
        load_model(str(tmp_path))


def test_attention_pooling_beside_a_class_token_is_refused(tmp_path):
    save_timm("vit_tiny_patch16_224", tmp_path, global_pool="map")
    with pytest.raises(InputError, match=r"config\.json: attention pooling .* with class or register tokens"):
        load_model(str(tmp_path))


def test_weights_without_a_config_are_read_by_their_tensors(tmp_path):
    save_timm("vit_tiny_patch16_224", tmp_path)
    (tmp_path / "config.json").unlink()
    assert load_model(str(tmp_path)).shape.blocks == 2


def test_a_config_of_half_the_facts_does_not_hide_a_foreign_tensor(tmp_path):
    FAMILIES["timm-vit"](tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "blocks.0.attn.q_norm.weight": torch.ones(8)}, path)
    with pytest.raises(InputError, match=r"surplus: blocks\.0\.attn\.q_norm\.weight"):
        load_model(str(tmp_path))
