"""Write docs/models.md: which checkpoints janus-vit supports, and how closely it agrees with the original libraries.

    python scripts/compare_peers.py

For each kind of checkpoint, the original library makes a small model with random weights (tests/peers.py). Both run the
same pictures: unsplit and split after every block, and with the library's own preprocessing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from janus_vit.model.catalog import Model, load_model
from janus_vit.model.checkpoints.timm.names import COMPARED_NAMES, COMPARED_WITH
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.planning.accuracy.table import FLOAT32

sys.path.insert(0, "tests")
DOCUMENT = Path("docs/models.md")
HEAD = """# Models

This page lists the supported checkpoints, compared with the libraries that made them.
`python scripts/compare_peers.py` wrote it with torch {torch}, transformers {transformers}, timm {timm} and OpenCLIP
{open_clip_torch}, from small checkpoints with random weights and {pictures} pictures for each.

*Difference* is the largest difference of a logit or embedding, relative to the largest value, over the uncut model and
cuts at every block, in each engine that computes in float32 ({engines}). *Grey levels* is the largest difference of a
pixel after resizing, cropping and normalising.

| kind | compared with | output | blocks | tokens | difference | grey levels |
|---|---|---|---|---|---|---|
"""
TIMM = f"""
## Architectures of timm

A `config.json` of timm names an `architecture`. The tensors do not show everything that timm computes: most rotary
positions, for example, leave no tensor behind. So only architectures whose answers equal those of timm {COMPARED_WITH}
are accepted (`make timm-names` compares them all), and all others are refused by name. Weights without a config need
`--architecture NAME`. The names:

{", ".join(f"`{name}`" for name in sorted(COMPARED_NAMES))}.
"""
PICTURES = 4
ENGINE_NAMES = [spec.name for spec in ENGINES.values() if spec.precision == FLOAT32 and spec.on_cpu and spec.runs_here]


@dataclass(frozen=True)
class Row:
    """One kind of checkpoint, and how closely both libraries agree.

    Attributes:
        kind: name of the kind.
        original: class or architecture of the original library.
        output: what the model returns.
        model: the loaded model.
        difference: largest difference of logits or embeddings, relative to the largest value.
        grey_levels: largest difference of preprocessed pixels, in grey levels of 255.
    """

    kind: str
    original: str
    output: str
    model: Model
    difference: float
    grey_levels: float

    def __str__(self) -> str:
        shape = self.model.shape
        numbers = f"{shape.blocks} | {shape.tokens} | {self.difference:.0e} | {self.grey_levels:.1f}"
        return f"| {self.kind} | `{self.original}` | {self.output} | {numbers} |"


def compare(kind: str, peer: Any) -> Row:
    """Run a checkpoint in both libraries.

    Args:
        kind: name of the kind.
        peer: the checkpoint and its original library, see tests/peers.py.
    """
    model = load_model(str(peer.folder))
    engines, preprocessing = [make_engine(model, name) for name in ENGINE_NAMES], model.preprocessing
    rng = np.random.default_rng(0)
    difference = grey_levels = 0.0
    for _ in range(PICTURES):
        height, width = (int(side) for side in rng.integers(40, 120, 2))
        clip = rng.integers(0, 256, (preprocessing.frames, height, width, 3), np.uint8)
        picture = clip if preprocessing.frames > 1 else clip[0]
        pixels = in_our_order(peer.preprocess(picture), model)
        ours = preprocessing.normalise(preprocessing.crop(picture))
        std = torch.tensor(preprocessing.std[: pixels.shape[1]]).view(-1, *(1,) * (pixels.dim() - 2))
        grey_levels = max(grey_levels, float(((ours - pixels) * std * 255).abs().max()))
        wanted = peer.forward(peer.preprocess(picture))
        unmerged = (0,) * model.shape.blocks
        for engine, split in product(engines, range(model.shape.blocks + 1)):
            begun = engine.run(engine.embed(pixels, unmerged), split)
            found = engine.head(engine.run(begun, model.shape.blocks))
            difference = max(difference, float((found - wanted).abs().max() / wanted.abs().max()))
    return Row(kind, peer.original, peer.output, model, difference, grey_levels)


def in_our_order(pixels: Tensor, model: Model) -> Tensor:
    """transformers has frames before channels."""
    return pixels.transpose(1, 2) if model.preprocessing.frames > 1 else pixels


def main() -> None:
    """Compare all kinds and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="where the table goes (default: %(default)s)")
    arguments = parser.parse_args()
    from peers import FAMILIES

    torch.set_num_threads(1)
    versions = {name: version(name) for name in ("torch", "transformers", "timm", "open_clip_torch")}
    lines = [HEAD.format(**versions, pictures=PICTURES, engines=", ".join(ENGINE_NAMES))]
    for kind, make in sorted(FAMILIES.items()):
        with tempfile.TemporaryDirectory() as folder:
            row = compare(kind, make(Path(folder)))
        print(row)
        lines.append(f"{row}\n")
    arguments.output.write_text("".join([*lines, TIMM]), encoding="utf-8")


if __name__ == "__main__":
    main()
