"""The size of a model's input from text, and from the frames of a camera."""

import numpy as np
import pytest
import torch
from dense_peers import make_dense_peer
from peers import import_torchvision

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.image_size import FrameSize, parse_image_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("224", 224), ("448x672", (448, 672)), ("frames:1080x1920", FrameSize(1080, 1920))],
)
def test_a_size_is_a_side_or_height_and_width_or_those_of_the_frames(text, size):
    assert parse_image_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-3", "224x", "99999", "12x0", "frames:224", "frames:12x-3", "1x2x3", "٣"])
def test_another_text_is_refused(text):
    with pytest.raises(InputError, match=r"image size .* cannot be used"):
        parse_image_size(text)


@pytest.fixture(scope="module")
def depth_anything(tmp_path_factory):
    """A folder with Depth Anything's processor, that processor, and what transformers computes of pixels."""
    import_torchvision()
    import transformers

    peer = make_dense_peer("depth-anything", tmp_path_factory.mktemp("depth"))
    sides = {"height": 56, "width": 56}
    processor = transformers.DPTImageProcessorPil(size=sides, keep_aspect_ratio=True, ensure_multiple_of=14)
    processor.save_pretrained(peer.folder)
    return str(peer.folder), processor, peer.forward


@pytest.mark.parametrize(("height", "width"), [(48, 64), (30, 100), (75, 50), (56, 56)])
def test_depth_anything_at_the_size_of_its_processor_equals_the_whole_pipeline(depth_anything, height, width):
    folder, processor, forward = depth_anything
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    wanted = processor(frame, return_tensors="pt")["pixel_values"]
    model = load_model(folder, FrameSize(height, width))
    pixels = model.preprocessing.normalise(model.preprocessing.crop(frame))
    torch.testing.assert_close(pixels, wanted, rtol=0, atol=1e-5)
    engine = EagerEngine(model)
    start = engine.embed(pixels, (0,) * model.shape.blocks)
    expected = forward(wanted)
    found = engine.head(engine.run(start, model.shape.blocks))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_model_whose_input_has_one_size_refuses_frames(depth_anything, tmp_path):
    with pytest.raises(InputError, match="leave out --image-size frames:HxW"):
        load_model("janus-digits", FrameSize(480, 640))
    with pytest.raises(InputError, match="crop the frames"):
        load_model(depth_anything[0], FrameSize(1, 16_000))
