"""Find the images of a folder that are most like one image, by the embeddings of any checkpoint.

python examples/embedding_search.py QUERY FOLDER [MODEL]
"""

import sys

import torch

from janus_vit import load_model, make_engine
from janus_vit.sources.frames import Source, open_source


def embed(model, engine, source: Source) -> tuple[list[str], torch.Tensor]:
    """Return the names of the images and their vectors [images, width], each of length 1."""
    names, vectors = [], []
    for sample in source:
        pixels = model.preprocessing.normalise(model.preprocessing.crop(sample.frame))
        activation = engine.embed(pixels, merges=(0,) * model.shape.blocks)
        names.append(sample.name)
        vectors.append(engine.head(engine.run(activation, stop=model.shape.blocks)))
    return names, torch.nn.functional.normalize(torch.cat(vectors), dim=1)


def search(query: str, folder: str, name: str = "janus-digits", best: int = 5) -> list[tuple[str, float]]:
    """Return the names of the nearest images with their cosine similarity, nearest first."""
    model = load_model(name, task="embed")
    engine = make_engine(model)
    names, vectors = embed(model, engine, open_source(folder))
    _, wanted = embed(model, engine, open_source(query))
    similarity, order = (vectors @ wanted[0]).topk(min(best, len(names)))
    return [(names[index], value) for index, value in zip(order.tolist(), similarity.tolist(), strict=True)]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for name, similarity in search(*sys.argv[1:]):
        print(f"{similarity:.3f}  {name}")
