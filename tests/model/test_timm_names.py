"""Which of timm's architectures are accepted: those whose answers equal timm's. All others are refused by name."""

import json
import re
import warnings

import pytest
import timm
import torch
from conftest import small_model
from peers import FAMILIES, randomise
from safetensors.torch import load_file, save_file

from janus_vit.cli.main import main
from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.checkpoints.timm.config import check_timm_config
from janus_vit.model.checkpoints.timm.names import COMPARED_NAMES, SHAPES
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


VIT_MODULES = ("timm.models.vision_transformer", "timm.models.deit", "timm.models.eva")


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


@pytest.mark.parametrize("name", ["vit_base_patch16_sapiens2", "eva02_enormous_patch14_clip_224"])
def test_what_leaves_no_tensor_is_refused(name):
    with pytest.raises(
        InputError, match=rf"config\.json: field architecture is '{name}'.*the nearest supported one is"
    ):
        check_timm_config(named(name))


def test_the_refusal_names_the_file_the_nearest_name_and_the_fix(tmp_path):
    FAMILIES["timm-vit"](tmp_path)
    change_config(tmp_path, architecture="vit_tiny_patch16_turned_224")
    with pytest.raises(InputError) as caught:
        load_model(str(tmp_path))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.json'}: field architecture is 'vit_tiny_patch16_turned_224'")
    assert "the nearest supported one is 'vit_tiny_patch16_224'" in message
    assert message.endswith("use a checkpoint of that architecture")


def test_every_kind_of_timm_outside_its_plain_vits_is_refused():
    modules = {timm.models.model_entrypoint(name).__module__: name for name in timm.list_models()}
    for name in (name for module, name in modules.items() if module not in VIT_MODULES):  # `make timm-names`: all
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


def test_weights_without_a_config_need_the_name_of_their_architecture(tmp_path):
    save_timm("vit_tiny_patch16_224", tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(
        InputError, match=r"no config\.json beside it names its architecture, .* use --architecture NAME"
    ):
        load_model(str(tmp_path))
    with pytest.raises(InputError, match="'vit_tiny_patch16_224' has depth 12, and the tensors have 2: use the name"):
        load_model(str(tmp_path), architecture="vit_tiny_patch16_224")


def test_config_without_the_name_asks_for_it_and_keeps_the_rest(tmp_path):
    save_timm("vit_tiny_patch16_224", tmp_path, class_token=False, global_pool="avg")
    with_name = load_model(str(tmp_path))
    change_config(tmp_path, architecture=None)
    with pytest.raises(InputError, match="use --architecture NAME"):
        load_model(str(tmp_path))
    again = load_model(str(tmp_path), architecture="vit_tiny_patch16_224.augreg_in21k")
    assert again.fingerprint == with_name.fingerprint


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (
            "vit_tiny_patch16_223",
            "--architecture 'vit_tiny_patch16_223' is not supported: the nearest .* 'vit_tiny",
        ),
        ("vit_tiny_patch16_turned_224", "the nearest supported one is 'vit_tiny_patch16_224'"),
        (
            "vit_small_patch16_224",
            r"field architecture is 'vit_tiny_patch16_224': leave out --architecture",
        ),
        ("", "--architecture '' is not supported"),
    ],
)
def test_name_that_cannot_be_right_is_refused(tmp_path, architecture, message):
    save_timm("vit_tiny_patch16_224", tmp_path)
    with pytest.raises(InputError, match=message):
        load_model(str(tmp_path), architecture=architecture)


@pytest.mark.parametrize("family", ["hf-vit", "own"])
def test_name_for_a_checkpoint_that_says_what_it_is_is_refused(tmp_path, family):
    if family == "own":
        model = small_model()
        metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
        save_file(model.network.state_dict(), tmp_path / "model.safetensors", metadata)
    else:
        FAMILIES[family](tmp_path)
    with pytest.raises(InputError, match="is for weights under timm's names: leave it out"):
        load_model(str(tmp_path), architecture="vit_tiny_patch16_224")


def test_name_for_a_model_of_the_catalog_is_refused():
    with pytest.raises(InputError, match="is of the catalog: leave out --architecture"):
        load_model("janus-digits", architecture="vit_tiny_patch16_224")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vit_small_patch16_224"}, "has width 384, and the tensors have 192"),
        ({"architecture": "vit_tiny_patch16_384", "model_args": {}}, "has depth 12, and the tensors have 2"),
        ({"model_args": {"depth": 2, "patch_size": 8}}, "has patch_size 8, and the tensors have 16"),
    ],
)
def test_tensors_of_another_architecture_are_refused(tmp_path, changes, message):
    save_timm("vit_tiny_patch16_224", tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(InputError, match=message):
        load_model(str(tmp_path))


def test_every_shape_is_that_of_timm(monkeypatch):
    monkeypatch.setattr(timm.models.eva.Eva, "init_weights", lambda *_, **__: None)  # takes most of the time
    for shape, name in {shape: name for name, shape in SHAPES.items()}.items():  # `make timm-names` compares all names
        is_eva = timm.models.model_entrypoint(name).__module__ == "timm.models.eva"
        with torch.device("meta"):
            theirs = timm.create_model(name, **({} if is_eva else {"weight_init": "skip"}))
        found = (theirs.embed_dim, len(theirs.blocks), theirs.blocks[0].attn.num_heads, theirs.patch_embed.patch_size)
        assert found == (*shape[:3], (shape.patch_size,) * 2), name


def test_a_config_of_half_the_facts_does_not_hide_a_foreign_tensor(tmp_path):
    FAMILIES["timm-vit"](tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({**load_file(path), "blocks.0.attn.q_norm.weight": torch.ones(8)}, path)
    with pytest.raises(InputError, match=r"surplus: blocks\.0\.attn\.q_norm\.weight"):
        load_model(str(tmp_path))


def test_command_takes_the_name(tmp_path, capsys):
    model = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=32)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    command = ["plan", "--model", str(tmp_path / "weights.safetensors"), "--bandwidth", "20", "--rtt", "30ms"]
    command += ["--sla", "300ms", "--device-profile", str(tmp_path / "missing.json")]
    assert main(command) == 2
    assert "use --architecture NAME" in capsys.readouterr().err
    assert main([*command, "--architecture", "vit_tiny_patch16_224"]) == 2
    err = capsys.readouterr().err
    assert "both are taken as 0.5" in err  # the model was read
    assert "missing.json: cannot be read" in err
