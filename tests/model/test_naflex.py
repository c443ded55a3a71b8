"""SigLIP 2 NaFlex takes frames of any aspect ratio; we run it at one size, and equal transformers there."""

import numpy as np
import pytest
import torch
from peers import TEXT, VIT, import_torchvision, randomise

from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.preprocessing import naflex_size

MOST = 24  # patches
VISION = {**VIT, "patch_size": 8, "num_patches": 16}


@pytest.fixture(scope="module", params=["embedding", "both towers", "classifier"])
def peer(request, tmp_path_factory):
    """A folder, and what transformers makes of a frame."""
    import_torchvision()
    import transformers as hf

    config = hf.Siglip2VisionConfig(**VISION)
    both = {"text_config": {**TEXT, "projection_size": 32}, "vision_config": VISION}
    with torch.random.fork_rng():
        if request.param == "embedding":
            model = hf.Siglip2VisionModel(config)
            answer = lambda inputs: model(**inputs).pooler_output  # noqa: E731
        elif request.param == "both towers":
            model = hf.Siglip2Model(hf.Siglip2Config(**both))
            answer = lambda inputs: model.get_image_features(**inputs).pooler_output  # noqa: E731
        else:
            model = hf.Siglip2ForImageClassification(hf.Siglip2Config(**both, num_labels=5))
            answer = lambda inputs: model(**inputs).logits  # noqa: E731
    with torch.no_grad():
        randomise(model)
    processor = hf.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=MOST)
    folder = tmp_path_factory.mktemp("naflex")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder), lambda frame: answer(processor(frame, return_tensors="pt"))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 90), (120, 33)])
def test_frames_of_one_shape_have_the_answer_of_transformers_cut_anywhere(peer, height, width):
    folder, answer = peer
    model = load_model(folder, image_size=naflex_size(height, width, 8, MOST))
    frame = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    with torch.no_grad():
        wanted = answer(frame)
    engine = EagerEngine(model)
    pixels = model.preprocessing.normalise(model.preprocessing.crop(frame))
    for split in range(model.shape.blocks + 1):
        begun = engine.run(engine.embed(pixels, (0,) * model.shape.blocks), split)
        found = engine.head(engine.run(begun, model.shape.blocks))
        assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4


def test_frames_of_another_shape_are_refused(peer):
    model = load_model(peer[0])
    assert model.preprocessing.size == (32, 32)
    with pytest.raises(InputError, match=r"frames of 48 x 96 pixels at 24 x 48, and this one was loaded for 32 x 32"):
        model.preprocessing.crop(np.zeros((48, 96, 3), np.uint8))


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (1, 5000), (224, 224), (333, 77)])
def test_the_size_of_a_frame_is_that_of_transformers(height, width):
    import_torchvision()
    from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

    assert naflex_size(height, width, 16, 256) == get_image_size_for_max_num_patches(height, width, 16, 256)
