"""Draw docs/dense-features.png: the patch features of a real model on a photograph, unmerged and merged.

    python scripts/draw_dense_overlays.py MODEL [PHOTO]

MODEL is the folder of a checkpoint. Without PHOTO, a photograph that scikit-learn ships is drawn: flower.jpg by dany13,
CC BY 2.0.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from janus_vit.model.answers import answer_of
from janus_vit.model.catalog import Model, load_model
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.planning.dense_answers.values import DenseMap
from janus_vit.planning.schedules import make_schedule
from janus_vit.report.overlays import Pixels, overlay

OUT = Path(__file__).parents[1] / "docs/dense-features.png"
EXAMPLE = Path(__file__).parents[1] / "examples/own_head.py"
IMAGE_SIZE, PANEL, GAP = 448, 256, 8  # pixels
LEVELS = (0, 40)  # tokens that each block merges


def main(name: str, photo: str | None = None) -> None:
    """Draw the photograph, its features unmerged and merged, and the example of a head of one's own."""
    frame = _photo(photo)
    features, own = load_model(name, IMAGE_SIZE, "features"), load_model(name, IMAGE_SIZE, head=f"{EXAMPLE}:Unusual")
    shown = features.preprocessing.crop(frame)
    panels = [Image.fromarray(shown)]
    for model in (features, own):
        engine = make_engine(model)
        for level in LEVELS:
            answer = answer_of(_output(model, engine, shown, level), model.task)
            panels.append(overlay(shown, answer))
            left = make_schedule("fixed", level, model.shape).tokens[-1]
            print(f"{model.task}, {level} merged in each block: {left} tokens left{_bytes(answer.map)}")
    _joined(panels).quantize(128).save(OUT, optimize=True)
    print(f"written to {OUT}")


def _photo(path: str | None) -> Pixels:
    if path is not None:
        return np.asarray(Image.open(path).convert("RGB"))
    from sklearn.datasets import load_sample_image

    return np.asarray(load_sample_image("flower.jpg"))


@torch.inference_mode()
def _output(model: Model, engine: Engine, shown: Pixels, level: int) -> torch.Tensor:
    merges = make_schedule("fixed", level, model.shape).applied
    start = engine.embed(model.preprocessing.normalise(shown), merges)
    return engine.head(engine.run(start, model.shape.blocks))


def _bytes(found: DenseMap | None) -> str:
    from janus_vit.wire.dense.answers import compress_codes

    return "" if found is None else f", a map of {len(compress_codes(found)) / 1e3:.0f} kB"


def _joined(panels: list[Image.Image]) -> Image.Image:
    joined = Image.new("RGB", (len(panels) * (PANEL + GAP) - GAP, PANEL), "white")
    for index, panel in enumerate(panels):
        joined.paste(panel.resize((PANEL, PANEL)), (index * (PANEL + GAP), 0))
    return joined


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
