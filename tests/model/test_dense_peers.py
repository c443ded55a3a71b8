"""Dense heads equal the classes of transformers, unsplit and split at every block; merged, they give full grids."""

import json

import numpy as np
import pytest
import torch
from dense_peers import FAMILIES, make_dense_peer, with_scores
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES, check_supported
from janus_vit.model.heads import segments
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.schedules import make_schedule
from janus_vit.wire.activations import SentTokens, decode_activation, encode_activation

FLOAT32 = parse_payload("float32")
PEERS = {}


@pytest.fixture(params=FAMILIES)
def peer(request, tmp_path_factory):
    if request.param not in PEERS:
        PEERS[request.param] = make_dense_peer(request.param, tmp_path_factory.mktemp(request.param))
    return PEERS[request.param]


def pixels(peer):
    return torch.randn(2, *peer.input_shape, generator=torch.Generator().manual_seed(3))


def assert_equal(found, expected):
    """Within 1e-4 of the largest value."""
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(expected.abs().max())))


def run_split(engine, shape, start, split):
    """Run to a split, through the wire, and to the end."""
    there = engine.run(start, split)
    sent = SentTokens(split, there.tokens.shape[1], there.tap_tokens, FLOAT32)
    received = decode_activation(encode_activation(there, FLOAT32), sent, shape, there.merges, there.fingerprint)
    return engine.head(engine.run(received, shape.blocks))


def test_a_dense_head_equals_its_peer_split_at_every_block(peer):
    model = with_scores(load_model(str(peer.folder)))
    engine, shape = make_engine(model, "eager"), model.shape
    assert (model.task, shape.input_shape) == (peer.task, peer.input_shape)
    inputs, unmerged = pixels(peer), (0,) * shape.blocks
    expected = peer.forward(inputs)
    assert expected.abs().max() > 0
    whole = engine.head(engine.run(engine.embed(inputs, unmerged), shape.blocks))
    assert_equal(whole, expected)
    for split in range(1, shape.blocks + 1):
        assert_equal(run_split(engine, shape, engine.embed(inputs[:1], unmerged), split), expected[:1])


def test_a_merged_run_gives_full_grids_and_is_the_same_split_anywhere(peer):
    model = load_model(str(peer.folder))
    engine, shape = make_engine(model, "eager"), model.shape
    inputs, merges = pixels(peer)[:1], make_schedule("fixed", 2.0, shape).applied
    assert sum(merges) > 0
    whole = engine.head(engine.run(engine.embed(inputs, merges), shape.blocks))
    expected = peer.forward(inputs)
    assert whole.shape == (expected.argmax(1) if peer.task == "segment" else expected).shape
    assert whole.isfinite().all()
    for split in range(1, shape.blocks + 1):
        assert torch.equal(run_split(engine, shape, engine.embed(inputs, merges), split), whole)


@pytest.mark.parametrize("family", ["eomt-dinov3", "dpt-segment"])
def test_segments_are_the_classes_with_the_highest_scores_in_bands_of_any_height(family, tmp_path, monkeypatch):
    peer = make_dense_peer(family, tmp_path)
    model, inputs = load_model(str(peer.folder)), pixels(peer)
    engine, expected = make_engine(model, "eager"), peer.forward(inputs).argmax(1)
    done = engine.run(engine.embed(inputs, (0,) * model.shape.blocks), model.shape.blocks)
    for values in (1, 3000, 1 << 22):
        monkeypatch.setattr(segments, "_BAND_VALUES", values)
        found = engine.head(done)
        assert found.dtype == torch.uint8
        assert torch.equal(found.long(), expected)


def test_eomt_takes_square_frames_as_its_processor_does_and_refuses_others(tmp_path):
    peer = make_dense_peer("eomt", tmp_path)
    from transformers import EomtImageProcessorPil

    processor = EomtImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 64}, do_split_image=True)
    processor.save_pretrained(peer.folder)
    preprocessing = load_model(str(peer.folder)).preprocessing
    frame = np.random.default_rng(1).integers(0, 256, (90, 90, 3), np.uint8)
    wanted = processor(frame, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(preprocessing.normalise(preprocessing.crop(frame)), wanted, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="crop frames of 60 x 90 pixels to a square"):
        preprocessing.crop(frame[:60])


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(64, 48), (37, 53), (9, 12), (5, 70)])
def test_bands_together_are_the_enlarged_map(size, corners, monkeypatch):
    monkeypatch.setattr(segments, "_BAND_VALUES", 1000)
    maps = torch.randn(2, 3, 9, 12, generator=torch.Generator().manual_seed(1))
    bands = list(segments.enlarged_bands(maps, size, corners))
    assert all(band.numel() <= max(1000, 2 * 3 * size[1]) for band in bands)
    expected = F.interpolate(maps, size=size, mode="bilinear", align_corners=corners)
    torch.testing.assert_close(torch.cat(bands, dim=2), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["packed", "mkl", "int8", "packed-bf16"])
def test_packed_engines_run_dense_heads(name, tmp_path):
    peer = make_dense_peer("depth-anything", tmp_path)
    model = load_model(str(peer.folder))
    engine, inputs = make_engine(model, name), pixels(peer)[:1]
    found = engine.head(engine.run(engine.embed(inputs, (0,) * 4), 4))
    expected = peer.forward(inputs)
    if engine.precision == "float32":
        assert_equal(found, expected)
    assert (found - expected).abs().mean() < 0.05 * expected.abs().max()


def test_engines_that_compute_no_dense_heads_refuse_them_by_name(tmp_path):
    model = load_model(str(make_dense_peer("yolos", tmp_path).folder))
    for name in ("cuda", "cuda-f32"):
        assert ENGINES[name].unsupported_reason(model.network.architecture) is not None
        with pytest.raises(InputError, match=f"engine '{name}' .*dense heads"):
            check_supported(name, model)


def test_another_task_than_the_checkpoints_is_refused(tmp_path):
    folder = make_dense_peer("vitpose", tmp_path).folder
    with pytest.raises(InputError, match="the task of this model is pose"):
        load_model(str(folder), task="depth")
    with pytest.raises(InputError, match="runs only at its own size"):
        load_model(str(folder), image_size=64)


DAMAGED = {
    "depth-anything": [
        ({"depth_estimation_type": "stereo"}, "depth_estimation_type is 'stereo'"),
        ({"depth_estimation_type": "metric", "max_depth": "deep"}, "max_depth"),
        ({"reassemble_factors": [4, 2]}, "reassemble_factors"),
        ({"neck_hidden_sizes": [8, 12, 16, -1]}, "neck_hidden_sizes"),
        ({"fusion_hidden_size": 13}, "do not fit the architecture"),
        ({"head_in_index": 4}, "head_in_index"),
        ({"backbone_config": {"model_type": "swin"}}, "model_type is 'swin'"),
    ],
    "dpt-segment": [
        ({"is_hybrid": True}, "is_hybrid"),
        ({"readout_type": "sum"}, "readout_type"),
        ({"backbone_out_indices": [0, 1, 2, 9]}, "out_indices"),
        ({"backbone_out_indices": [3, 2, 1, 0]}, "backbone_out_indices"),
    ],
    "yolos": [
        ({"use_mid_position_embeddings": True}, "use_mid_position_embeddings is True"),
        ({"num_detection_tokens": 6}, "num_detection_tokens|positions"),
    ],
    "eomt": [
        ({"num_blocks": 4}, "num_blocks"),
        ({"num_queries": 4}, r"tensor query\.weight is of the shape \[5, 24\], expected \[4, 24\]"),
        ({"num_upscale_blocks": 1}, "do not fit the architecture"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
    ],
    "eomt-dinov3": [
        ({"rope_parameters": {"rope_theta": 100.0, "rope_type": "linear"}}, "rope_type is 'linear'"),
        ({"rope_parameters": {"rope_theta": 0}}, "rope_theta"),
    ],
    "vitpose-plus": [
        ({"dataset_index": 3}, "dataset_index"),
    ],
    "vitpose": [
        ({"scale_factor": 0}, "scale_factor"),
        ({"use_simple_decoder": False}, "do not fit the architecture"),
    ],
}


def test_masked_attention_of_eomts_training_is_refused(tmp_path):
    folder = make_dense_peer("eomt", tmp_path).folder
    tensors = load_file(folder / "model.safetensors")
    tensors["attn_mask_probs"][1] = 0.5
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="attn_mask_probs is not 0"):
        load_model(str(folder))


@pytest.mark.parametrize("family", DAMAGED)
def test_what_is_not_supported_is_refused_by_name(family, tmp_path):
    folder = make_dense_peer(family, tmp_path).folder
    own = json.loads((folder / "config.json").read_text("utf-8"))
    for changes, problem in DAMAGED[family]:
        (folder / "config.json").write_text(json.dumps({**own, **changes}), "utf-8")
        with pytest.raises(InputError, match=problem):
            load_model(str(folder))
