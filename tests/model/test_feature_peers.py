"""The patch grid of a backbone equals what its own library gives for the patches after the last block."""

import warnings

import pytest
import torch
from peers import FAMILIES

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine

CHOSEN = (
    "hf-vit", "hf-deit-distilled", "hf-dinov2-registers", "hf-clip-without-projection", "hf-siglip-vision", "hf-ijepa",
    "hf-vit-msn", "hf-videomae", "timm-vit", "timm-dinov2-reg", "timm-clip", "timm-siglip", "timm-mae",
)  # fmt: skip


def theirs(folder, family, pixels):
    """Tokens after the last block, prefix tokens first."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if family.startswith("timm"):
            import timm

            return timm.create_model(f"local-dir:{folder}", pretrained=True).eval().forward_features(pixels)
        import transformers

        model = transformers.AutoModel.from_pretrained(folder).eval()
        pixels = pixels.transpose(1, 2) if pixels.dim() == 5 else pixels  # VideoMAE takes frames first
        return model(pixels).last_hidden_state


@pytest.mark.parametrize("family", CHOSEN)
def test_features_equal_the_tokens_of_their_library(family, tmp_path):
    folder = FAMILIES[family](tmp_path).folder
    model = load_model(str(folder), task="features")
    arch, engine = model.network.architecture, EagerEngine(model)
    pixels = torch.randn(1, *model.shape.input_shape, generator=torch.Generator().manual_seed(8))
    found = engine.head(engine.run(engine.embed(pixels, (0,) * arch.depth), arch.depth))
    assert found.shape == (1, arch.width, *arch.sides)
    expected = theirs(folder, family, pixels)[:, -arch.patches :].transpose(1, 2).reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, float(expected.abs().max())))
