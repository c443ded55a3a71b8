"""Checkpoints that are damaged or made to do harm: one sentence with file and field, before anything is built."""

import json
import struct
import time
import tracemalloc
import zipfile

import pytest
import torch
from conftest import small_model
from peers import FAMILIES
from safetensors.torch import load_file, save_file

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.reader import checkpoint_metadata


def own_file(path, change=lambda architecture, preprocessing: None, tensors=None):
    model = small_model()
    values = json.loads(checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})["janus"])
    change(values["architecture"], values["preprocessing"])
    save_file(model.network.state_dict() if tensors is None else tensors, path, {"janus": json.dumps(values)})
    return path


def refused(path, message):
    """Check that a model is refused with this message, in one sentence and fast."""
    began_s = time.thread_time()
    with pytest.raises(InputError, match=message) as error:
        load_model(str(path))
    assert time.thread_time() - began_s < 2
    assert len(str(error.value)) < 2_000


def refused_in_little_memory(path, message):
    tracemalloc.start()
    try:
        refused(path, message)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("depth", 10**6),
        ("depth", 999),
        ("width", 10**12),
        ("mlp_width", 10**12),
        ("classes", 10**18),
        ("prefix", 10**18),
        ("image_size", 10**9),
        ("image_size", 12_000),
        ("patch_size", 10**9),
        ("heads", 10**9),
        ("frames", 10**9),
        ("channels", 2),
        ("channels", 10**9),
        ("norm_eps", 1e300),
        ("depth", 10**400),
    ],
)
@pytest.mark.parametrize("tensors", [None, {"x": torch.zeros(1)}])
def test_a_size_that_no_model_has_is_refused_by_field_before_anything_is_built(tmp_path, field, value, tensors):
    path = own_file(tmp_path / "own.safetensors", lambda arch, _: arch.update({field: value}), tensors)
    refused_in_little_memory(path, r"own\.safetensors: metadata: field architecture\.")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", 10**9),
        ("resize", 10**9),
        ("mean", [1e300, 0, 0]),
        ("std", [1e-300, 1, 1]),
        ("std", [1e300, 1, 1]),
    ],
)
def test_preprocessing_that_no_model_has_is_refused_by_field(tmp_path, field, value):
    path = own_file(tmp_path / "own.safetensors", lambda _, preprocessing: preprocessing.update({field: value}))
    refused_in_little_memory(path, rf"own\.safetensors: metadata: field preprocessing\.{field}")


def test_positions_that_do_not_fit_are_refused(tmp_path):
    tensors = {**small_model().network.state_dict(), "pos_embed": torch.zeros(1, 3, 24)}
    path = own_file(tmp_path / "own.safetensors", lambda arch, _: None, tensors)
    refused(path, "field architecture.image_size does not fit the tensor pos_embed")


def test_a_convolutional_stem_that_cannot_be_built_is_refused(tmp_path):
    path = own_file(
        tmp_path / "own.safetensors", lambda arch, _: arch.update(stem="conv", patch_size=16, image_size=32)
    )
    refused(path, "field architecture.patch_size is 16, which does not divide width 24")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, value):
    tensors = {name: tensor.clone() for name, tensor in small_model().network.state_dict().items()}
    tensors["blocks.2.mlp.fc1.bias"][3] = value
    refused(own_file(tmp_path / "own.safetensors", tensors=tensors), "tensor 'blocks.2.mlp.fc1.bias' holds a value")


def safetensors_file(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


F32 = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "header",
    [
        {"x": {**F32, "shape": [2**63, 0], "data_offsets": [0, 0]}},
        {"x": {**F32, "shape": [2**64, 1]}},
        {"x": {**F32, "shape": [0], "data_offsets": [0, 0]}},
        {"x": {**F32, "shape": [-2, -2]}},
        {"x": {**F32, "data_offsets": [0, 2**63]}},
        {"x": {**F32, "data_offsets": [16, 0]}},
        {"x": F32, "y": F32},
        {"x": {**F32, "data_offsets": [8, 24]}},
        {"x": {**F32, "dtype": "F4"}},
        {"x": {"dtype": "F32"}},
        {"__metadata__": {"janus": 3}, "x": F32},
        {"__metadata__": {"janus": "[" * 100_000}, "x": F32},
        {"__metadata__": {"janus": "{}"}},
        [],
    ],
)
def test_a_damaged_safetensors_header_is_refused(tmp_path, header):
    refused_in_little_memory(
        safetensors_file(tmp_path / "model.safetensors", header, bytes(16)), r"model\.safetensors: "
    )


@pytest.mark.parametrize("start", [b"", b"\xff" * 8, struct.pack("<Q", 2**62), struct.pack("<Q", 100) + b"{" * 100])
def test_a_safetensors_file_that_is_cut_off_is_refused(tmp_path, start):
    (tmp_path / "model.safetensors").write_bytes(start)
    refused(tmp_path / "model.safetensors", "not a readable safetensors file")


@pytest.fixture(params=["timm-vit", "hf-vit"])
def folder(request, tmp_path):
    FAMILIES[request.param](tmp_path)
    return tmp_path


@pytest.fixture
def hf_folder(tmp_path):
    FAMILIES["hf-vit"](tmp_path)
    return tmp_path


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_json(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_tensor_that_is_a_single_number_is_refused(folder):
    whole = load_file(folder / "model.safetensors")
    for name in whole:
        save_file({**whole, name: torch.zeros(())}, folder / "model.safetensors")
        refused(folder, r"model\.safetensors: |config\.json: ")


@pytest.mark.parametrize("shape", [(1,), (2, 3, 4)])
def test_every_tensor_of_another_shape_is_refused(folder, shape):
    whole = load_file(folder / "model.safetensors")
    for name in whole:
        save_file({**whole, name: torch.zeros(shape)}, folder / "model.safetensors")
        refused(folder, r"model\.safetensors: |config\.json: ")


def test_every_missing_tensor_is_missed(folder):
    whole = load_file(folder / "model.safetensors")
    for name in whole:
        if name.endswith("key.bias"):  # changes no answer, and VideoMAE has none
            continue
        save_file({other: tensor for other, tensor in whole.items() if other != name}, folder / "model.safetensors")
        refused(folder, r"model\.safetensors: |config\.json: ")


@pytest.mark.parametrize("number", ["99999", "9" * 5_000, "x", "", "\u0663", "01"])
def test_a_block_that_does_not_follow_the_others_is_refused(tmp_path, number):
    FAMILIES["timm-vit"](tmp_path)
    change_tensors(tmp_path, lambda tensors: tensors.update({f"blocks.{number}.x": torch.zeros(1)}))
    refused(
        tmp_path, "tensor 'blocks.*' is of a block that does not follow the others|has depth 3, and the tensors have 4"
    )


def test_weights_of_another_library_that_are_not_finite_are_refused_by_their_own_name(hf_folder):
    name = "vit.encoder.layer.0.attention.attention.key.weight"
    found = load_file(hf_folder / "model.safetensors")
    name = next(each for each in found if "key" in each or "k_proj" in each)
    change_tensors(hf_folder, lambda tensors: tensors[name].fill_(float("nan")))
    refused(hf_folder, "holds a value that is not finite")


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"image_size": 10**400}),
        ("config.json", {"image_size": 10**300}),
        ("config.json", {"image_size": [10**9, 10**9]}),
        ("config.json", {"num_attention_heads": 10**400}),
        ("config.json", {"layer_norm_eps": 1e300}),
        ("preprocessor_config.json", {"size": 10**400}),
        ("preprocessor_config.json", {"size": {"height": 10**9, "width": 10**9}}),
        ("preprocessor_config.json", {"size": {"shortest_edge": 1e300}}),
        ("preprocessor_config.json", {"image_mean": [1e300] * 3}),
        ("preprocessor_config.json", {"image_std": [1e-300] * 3}),
        ("preprocessor_config.json", {"size": -1}),
    ],
)
def test_a_size_that_no_image_has_is_refused_by_field(hf_folder, file, changes):
    if not (hf_folder / file).exists():
        (hf_folder / file).write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": 32}')
    change_json(hf_folder, file, **changes)
    refused_in_little_memory(hf_folder, rf"{file}: field {next(iter(changes))}".replace(".", r"\."))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floats_are_refused_by_name(folder, dtype):
    change_tensors(folder, lambda tensors: tensors.update({name: each.to(dtype) for name, each in tensors.items()}))
    refused(folder, f"model.safetensors: tensor '.*' holds {dtype} and not floats")


@pytest.mark.parametrize("kind", ["F4", "F8_E8M0"])
def test_packed_floats_and_scales_are_refused_by_name(folder, kind):
    """safetensors reads both, torch calls both floating point, and neither is a weight by itself."""
    tensors = load_file(folder / "model.safetensors")
    odd, content, header = next(name for name, tensor in tensors.items() if tensor.dim() == 2), b"", {}
    for name, tensor in tensors.items():
        data = tensor.numpy().tobytes()
        if name == odd:
            data = bytes(tensor.numel() // 2 if kind == "F4" else tensor.numel())
        offsets = [len(content), len(content) + len(data)]
        header[name] = {"dtype": kind if name == odd else "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        content += data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content)
    refused(folder, f"model.safetensors: tensor '{odd}' holds torch.float.* and not floats")


def test_a_file_of_more_tensors_than_any_model_has_is_refused_before_they_are_read(tmp_path):
    parts = (f'"t{n}":{{"dtype":"U8","shape":[1],"data_offsets":[{n},{n + 1}]}}' for n in range(20_000))
    text = ("{" + ",".join(parts) + "}").encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(20_000))
    refused(tmp_path, "model.safetensors: holds 20000 tensors, and at most 16384 are read")


def save_pytorch(folder, change):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    change(tensors)
    torch.save(tensors, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(4, device="meta"),
        torch.zeros(4).to_sparse(),
        torch.zeros(1).expand(1 << 30),
        torch.zeros(0),
        torch._neg_view(torch.zeros(32)),
    ],
    ids=["meta", "sparse", "virtual", "empty", "negated"],
)
def test_tensors_without_values_of_their_own_are_refused(hf_folder, odd):
    save_pytorch(hf_folder, lambda tensors: tensors.update({"vit.layernorm.weight": odd}))
    refused_in_little_memory(
        hf_folder, r"pytorch_model\.bin: (tensor 'vit.layernorm.weight'|not a readable|holds more than weights)"
    )


def test_a_compressed_archive_is_refused_before_it_is_unpacked(hf_folder):
    save_pytorch(hf_folder, lambda tensors: None)
    path = hf_folder / "pytorch_model.bin"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data + bytes(50_000_000) if name.endswith("data.pkl") else data)
    refused_in_little_memory(hf_folder, "is a compressed archive, which torch does not write")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4" + bytes(100), b"\x80\2" + b"(" * 100_000, b"words"])
def test_files_that_are_none_of_torch_are_refused(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    refused(tmp_path / "model.pt", r"model\.pt: ")
