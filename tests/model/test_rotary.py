"""Rotary positions: a merged token stands at the mean of its patches, in every engine and across every split."""

import json
from dataclasses import replace

import onnxruntime
import pytest
import torch
from conftest import small_model
from peers import FAMILIES
from safetensors.torch import save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.model.checkpoints.training.wrappers import unwrap
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.gpu.engine import CudaFloat32Engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.export import export_onnx
from janus_vit.model.rotary import Rotary, rotate
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.schedules import levels, make_schedule
from janus_vit.planning.table import build_table, make_options
from janus_vit.wire.activations import SentTokens, decode_activation, encode_activation

KINDS = {
    "shared": {"rotary": "shared", "prefix": 3},
    "each": {"rotary": "each", "attn_norm": True, "mlp_norm": True, "activation": "swiglu", "pooling": "mean"},
    "clip": {"rotary": "unpaired", "frames": 4, "tubelet": 2, "pooling": "mean", "prefix": 0, "patch_size": 16},
    "pooled": {"rotary": "shared", "pooling": "attention", "pool_heads": 2, "pool_mlp_width": 40, "image_width": 48},
}
FLOAT32, FACTORS = parse_payload("float32"), Rotary._factors
TOLERANCES = {"float32": 1e-5, "bfloat16": 5e-2, "int8": 1e-1}  # as in test_engines
RUNNABLE = [spec for spec in ENGINES.values() if spec.runs_here and not spec.plain_only]


@pytest.fixture(scope="module", params=KINDS)
def turned(request):
    return small_model(**KINDS[request.param], depth=4)


def pixels(model, batch=1):
    return torch.randn(batch, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


def merging(model):
    return make_schedule("exponential", levels("exponential", model.shape)[-1], model.shape).applied


def run(engine, model, inputs, merges):
    return engine.head(engine.run(engine.embed(inputs, merges), model.shape.blocks))


def close(found, wanted, tolerance=1e-5):
    return float((found - wanted).abs().max() / wanted.abs().max()) < tolerance


def test_a_token_is_turned_by_the_mean_position_of_its_patches():
    rotary = Rotary((2, 3), "shared", 4, 2, 8)
    token_of_patch = torch.tensor([[1, 1, 2, 3, 1, 2], [2, 2, 2, 3, 3, 1]])
    rows, columns = torch.tensor([0.0, 0, 0, 1, 1, 1]), torch.tensor([0.0, 1, 2, 0, 1, 2])
    sizes = torch.stack([(token_of_patch == token).sum(1).clamp_min(1) for token in range(4)], dim=1)
    turns = rotary(0, sizes, 1, token_of_patch)[:, :, 0, 0]
    row, column, start = rotary.frequencies[0, :, 0]
    for frame in range(2):
        assert torch.equal(turns[frame, 0], torch.ones(4, dtype=torch.complex64))
        for token in range(1, 4):
            inside = token_of_patch[frame] == token
            angles = rows[inside].mean() * row + columns[inside].mean() * column + start
            torch.testing.assert_close(turns[frame, token], torch.polar(torch.ones(4), angles))


def test_the_channels_of_a_pair_may_turn_by_angles_of_their_own():
    rotary = Rotary((3, 5), "unpaired", 4, 1, 6).requires_grad_(False)
    values = torch.randn(1, 15, 2, 1, 6)
    turned = rotate(values.clone(), rotary(2, torch.ones(1, 15), 0, None))
    grid = torch.stack([torch.arange(15) // 5, torch.arange(15) % 5, torch.ones(15)], dim=1)
    angles = grid @ rotary.frequencies[0, :, 0]
    for channel in range(6):
        other, sign = (channel + 1, -1) if channel % 2 == 0 else (channel - 1, 1)
        cosine, sine = angles[:, channel].cos()[:, None], angles[:, channel].sin()[:, None]
        expected = values[0, :, :, 0, channel] * cosine + sign * values[0, :, :, 0, other] * sine
        torch.testing.assert_close(turned[0, :, :, 0, channel], expected, rtol=1e-4, atol=1e-5)


def test_scores_depend_only_on_the_distance_of_tokens():
    rotary = Rotary((3, 5), "shared", 1, 1, 8).requires_grad_(False)
    turned = rotate(torch.randn(1, 1, 2, 1, 8).repeat(1, 15, 1, 1, 1), rotary(0, torch.ones(1, 15), 0, None))
    query, key = turned[0, :, :, 0].unbind(1)
    scores = (query @ key.T).view(3, 5, 3, 5)
    torch.testing.assert_close(scores[1:, 2:, 1:, 2:], scores[:-1, :-2, :-1, :-2], rtol=1e-4, atol=1e-4)


def test_a_merged_run_crosses_every_split_unchanged(turned):
    engine, shape, merges = EagerEngine(turned), turned.shape, merging(turned)
    start = engine.embed(pixels(turned), merges)
    whole = engine.head(engine.run(start, shape.blocks))
    for split in range(1, shape.blocks + 1):
        there = engine.run(start, split)
        body = encode_activation(there, FLOAT32)
        sent = SentTokens(split, there.tokens.shape[1], (), FLOAT32)
        received = decode_activation(body, sent, shape, there.merges, there.fingerprint)
        assert torch.equal(engine.head(engine.run(received, shape.blocks)), whole)
    assert sum(merges) > 0


def test_positions_matter_after_merging(turned):
    engine, shape = EagerEngine(turned), turned.shape
    there = engine.run(engine.embed(pixels(turned), merging(turned)), 1)
    swapped = there.token_of_patch.flip(1)
    answers = [
        engine.head(engine.run(replace(there, token_of_patch=places), shape.blocks))
        for places in (there.token_of_patch, swapped)
    ]
    assert not close(answers[0], answers[1], 1e-3)


def test_a_batch_equals_each_input_alone(turned):
    engine, inputs = EagerEngine(turned), pixels(turned, 3)
    for merges in ((0,) * 4, merging(turned)):
        alone = torch.cat([run(engine, turned, one[None], merges) for one in inputs])
        assert close(run(engine, turned, inputs, merges), alone)


@pytest.mark.parametrize("spec", RUNNABLE, ids=lambda spec: spec.name)
def test_every_engine_answers_as_eager_and_splits_anywhere(turned, spec):
    engine, inputs, shape = make_engine(turned, spec.name), pixels(turned), turned.shape
    for merges in ((0,) * 4, merging(turned)):
        wanted = run(EagerEngine(turned), turned, inputs, merges)
        start = engine.embed(inputs, merges)
        whole = engine.head(engine.run(start, shape.blocks))
        if spec.precision == "float32" or not any(merges):  # in others, rounding may merge another pair
            assert close(whole, wanted, TOLERANCES[spec.precision])
        for split in range(shape.blocks + 1):
            assert torch.equal(engine.head(engine.run(engine.run(start, split), shape.blocks)), whole)


def test_the_planner_counts_the_bytes_of_positions(turned, make_profile):
    engine, shape = EagerEngine(turned), turned.shape
    schedules = [make_schedule("fixed", level, shape) for level in (0.0, 2.0)]
    options = make_options(shape, range(1, shape.blocks + 1), ["float32", "int8"], [])
    table = build_table(shape, schedules, options, make_profile(1e-5), make_profile(1e-5))
    for row, schedule in enumerate(schedules):
        start = engine.embed(pixels(turned), schedule.applied)
        for column, option in enumerate(options):
            there, payload = engine.run(start, option.split), parse_payload(option.payload)
            body = encode_activation(there, payload)
            assert table.size_bytes[row, column] == len(body)
            if row == 0:
                assert len(body) == payload.token_bytes(there.tokens.shape[1], shape.width)


def test_an_engine_without_rotary_positions_refuses_the_model_by_name(turned):
    with pytest.raises(InputError, match="engine 'cuda-f32' cannot run model 'small': it does not compute rotary pos"):
        CudaFloat32Engine(turned, device="cpu")
    assert make_engine(turned, "auto").name in {spec.name for spec in RUNNABLE}


def test_the_exported_part_says_where_patches_went(tmp_path):
    model = small_model(**KINDS["shared"], depth=3)
    merges = merging(model)
    export_onnx(model, 2, levels("exponential", model.shape)[-1], tmp_path / "part.onnx")
    eager = EagerEngine(model)
    wanted = eager.run(eager.embed(pixels(model), merges), 2)
    session = onnxruntime.InferenceSession(tmp_path / "part.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"pixels": pixels(model).numpy()}), strict=True))
    assert names == ["tokens", "sizes", "token_of_patch"]
    assert (found["token_of_patch"] == wanted.token_of_patch.numpy()).all()
    assert close(torch.from_numpy(found["tokens"]), wanted.tokens, 1e-4)


def test_an_own_checkpoint_keeps_its_positions_at_its_own_size_only(tmp_path):
    model = small_model(**KINDS["each"])
    metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
    save_file(model.network.state_dict(), tmp_path / "own.safetensors", metadata)
    assert load_model(str(tmp_path / "own.safetensors")).fingerprint == model.fingerprint
    with pytest.raises(InputError, match="rotary positions are those of 32 x 32 pixels: leave out --image-size"):
        load_model(str(tmp_path / "own.safetensors"), image_size=64)


def test_the_blocks_of_dinov3_are_not_taken_for_a_wrapper(tmp_path):
    names = ["embeddings.cls_token", "norm.weight", *(f"model.layer.{block}.norm1.weight" for block in range(9))]
    tensors = dict.fromkeys(names, torch.ones(1))
    assert unwrap(tmp_path, tensors)[0].keys() == tensors.keys()
    wrapped = {f"model.{name}": value for name, value in tensors.items()}
    assert unwrap(tmp_path, wrapped)[0].keys() == tensors.keys()


def test_unmerged_angles_are_computed_once():
    rotary = Rotary((4, 4), "shared", 6, 2, 8)
    assert rotary(0, torch.ones(1, 17), 1, None) is rotary(5, torch.ones(2, 17), 1, None)
    assert rotary(5, torch.ones(1, 19), 3, None).shape == (1, 19, 1, 1, 4)


def test_angles_are_computed_again_only_after_tokens_have_merged(monkeypatch):
    model = small_model(**KINDS["shared"], depth=6)
    engine, computed = EagerEngine(model), []
    monkeypatch.setattr(Rotary, "_factors", lambda *args: computed.append(1) or FACTORS(*args))
    run(engine, model, pixels(model), (3, 0, 0, 2, 0, 0))
    assert len(computed) == 3  # unmerged, and after each merge


def test_a_video_processor_is_read_as_an_image_processor_is(tmp_path):
    FAMILIES["hf-vjepa2"](tmp_path)
    wanted = load_model(str(tmp_path)).preprocessing
    (tmp_path / "preprocessor_config.json").rename(tmp_path / "video_preprocessor_config.json")
    model = load_model(str(tmp_path))
    assert model.preprocessing == wanted
    assert (wanted.frames, wanted.resize, model.notes) == (6, 37, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_gated_mlp": True, "hidden_act": "silu"}, "field use_gated_mlp is True, and the tensors show False"),
        ({"use_gated_mlp": True}, "field hidden_act is 'gelu': with use_gated_mlp only 'silu' is supported"),
        ({"rope_theta": 0}, "field rope_theta"),
    ],
)
def test_a_config_of_dinov3_that_cannot_be_right_is_refused(tmp_path, change, message):
    FAMILIES["hf-dinov3"](tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        load_model(str(tmp_path))
