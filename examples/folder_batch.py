"""Label a folder of images in batches on this machine: no deadline, no cloud.

python examples/folder_batch.py FOLDER [MODEL]
"""

import sys
from collections.abc import Iterator
from itertools import islice

import torch

from janus_vit import load_model, make_engine
from janus_vit.sources.frames import open_source

BATCH = 16


def label(folder: str, name: str = "janus-digits") -> Iterator[tuple[str, str, float]]:
    """Yield file name, label and probability of each image."""
    model = load_model(name)
    engine = make_engine(model)
    samples = iter(open_source(folder))
    while batch := list(islice(samples, BATCH)):
        crops = [model.preprocessing.crop(sample.frame) for sample in batch]
        pixels = torch.cat([model.preprocessing.normalise(crop) for crop in crops])  # [B, 3, H, W]
        activation = engine.embed(pixels, merges=(0,) * model.shape.blocks)  # merges nothing
        logits = engine.head(engine.run(activation, stop=model.shape.blocks))  # [B, classes]
        shares, classes = torch.softmax(logits, dim=1).max(dim=1)
        for sample, best, share in zip(batch, classes.tolist(), shares.tolist(), strict=True):
            yield sample.name, model.labels[best], share


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for file, answer, share in label(*sys.argv[1:]):
        print(f"{file}: {answer} ({share:.0%})")
