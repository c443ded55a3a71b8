"""Linear segmentation heads in a weight file of their own, as DINOv2 publishes them."""

import pytest
import torch
from conftest import small_model
from dense_peers import with_scores
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from janus_vit.errors import InputError
from janus_vit.model.answers import answer_of
from janus_vit.model.catalog import load_model
from janus_vit.model.checkpoints.dense.linear import attach_linear_head
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.heads.attach import as_feature_model
from janus_vit.model.stage import Activation

CLASSES = 5


def frame(model):
    return torch.randn(2, *model.shape.input_shape, generator=torch.Generator().manual_seed(1))


def write_head(path, inputs, prefix="decode_head."):
    """A batch norm and a convolution of torch, and their file as mmsegmentation writes it."""
    torch.manual_seed(3)
    norm, layer = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, CLASSES, 1)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.5, 2)
    tensors = {f"{prefix}bn.{name}": tensor for name, tensor in norm.state_dict().items()}
    tensors |= {f"{prefix}conv_seg.{name}": tensor for name, tensor in layer.state_dict().items()}
    torch.save({"meta": {"epoch": 1}, "state_dict": tensors}, path)
    return nn.Sequential(norm, layer).eval().requires_grad_(False)


@pytest.mark.parametrize("blocks", [1, 4])
def test_it_equals_the_published_head_on_the_last_blocks_split_anywhere(tmp_path, blocks):
    model = small_model()
    network, arch = model.network, model.network.architecture
    pixels, unmerged = frame(model), (0,) * model.shape.blocks
    plain = EagerEngine(small_model(pooling="mean"))
    ends = [plain.run(plain.embed(pixels, unmerged), end) for end in range(arch.depth - blocks + 1, arch.depth + 1)]
    grids = [network.norm(end.tokens[:, arch.prefix :]).transpose(1, 2).unflatten(2, arch.grid) for end in ends]
    head = write_head(tmp_path / "head.pth", blocks * arch.width)
    expected = F.interpolate(head(torch.cat(grids, 1)), size=arch.size, mode="bilinear", align_corners=False)

    assert attach_linear_head(as_feature_model(network), tmp_path / "head.pth") == CLASSES
    engine = EagerEngine(model)
    whole = engine.head(engine.run(engine.embed(pixels, unmerged), arch.depth))
    assert torch.equal(whole.long(), expected.argmax(1))
    with_scores(model)
    for split in range(model.shape.blocks + 1):
        there: Activation = engine.run(engine.embed(pixels, unmerged), split)
        torch.testing.assert_close(engine.head(engine.run(there, arch.depth)), expected, rtol=1e-4, atol=1e-4)


def test_any_backbone_takes_one_and_answers_with_a_map_of_classes(tmp_path):
    width = load_model("janus-digits").network.architecture.width
    weights = {"classifier.weight": torch.randn(CLASSES, width), "classifier.bias": torch.randn(CLASSES)}
    save_file(weights, tmp_path / "head.safetensors")
    model = load_model("janus-digits", head=str(tmp_path / "head.safetensors"))
    engine = EagerEngine(model)
    start = engine.embed(frame(model)[:1], (0,) * model.shape.blocks)
    found = answer_of(engine.head(engine.run(start, model.shape.blocks)), model.task).map
    assert (model.task, len(model.labels)) == ("segment", CLASSES)
    assert (found.shape, found.bits) == ((1, *model.network.architecture.size), 8)


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ({"linear.weight": (5, 24)}, r"has no tensor conv_seg\.weight"),
        ({"classifier.weight": (5, 24, 3, 3), "classifier.bias": (5,)}, r"of the shape \[classes, inputs, 1, 1\]"),
        ({"classifier.weight": (5, 25), "classifier.bias": (5,)}, "reads 25 values of a patch, and this model has 24"),
        ({"classifier.weight": (5, 24 * 7), "classifier.bias": (5,)}, "in each of 6 blocks"),
        ({"classifier.weight": (5, 24)}, "missing: conv_seg.bias"),
        ({"classifier.weight": (5, 24), "classifier.bias": (5,), "queries": (3,)}, "surplus: queries"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path, tensors, problem):
    path = tmp_path / "head.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path)
    with pytest.raises(InputError, match=problem):
        attach_linear_head(as_feature_model(small_model().network), path)
