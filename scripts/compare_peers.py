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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from janus_vit.model.catalog import Model, load_model
from janus_vit.model.checkpoints.timm.names import COMPARED_NAMES, COMPARED_WITH
from janus_vit.model.engines.base import Engine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.planning.accuracy.table import FLOAT32

sys.path.insert(0, "tests")
DOCUMENT = Path("docs/models.md")
HEAD = """# Models

This page lists the supported checkpoints, compared with the libraries that made them.
`python scripts/compare_peers.py` wrote it with torch {torch}, transformers {transformers}, timm {timm} and OpenCLIP
{open_clip_torch}, from small checkpoints with random weights and {pictures} pictures for each.

The column of an engine has the largest difference of a logit or embedding, relative to the largest value, over the
uncut model and cuts at every block. These are the engines that compute in float32 and run on the machine of the
comparison. *Grey levels* is the largest difference of a pixel after resizing, cropping and normalising.

| kind | compared with | output | blocks | tokens | {engines} | grey levels |
|---|---|---|---|---|{rules}---|
"""
TIMM = f"""
## Architectures of timm

A `config.json` of timm names an `architecture`. The tensors do not show everything that timm computes: most rotary
positions, for example, leave no tensor behind. So only architectures whose answers equal those of timm {COMPARED_WITH}
are accepted, and all others are refused by name. Weights without a config need `--architecture NAME`.

`make timm-names` compares all 244 names of timm's plain Vision Transformers, in float64 with two blocks and random
weights, and 23 changes of arguments: 213 names and 15 changes agree, with a largest difference of 2e-7 of the largest
value. 31 names and 8 changes are refused: parallel blocks (7 names), RADIO (6), Sapiens 2 (5), BEiT 3 (4), timm's test
models (4, of which two agree), differential attention (2), `eva02_enormous_*`, `*_rpn_*` and `*_so150m_*_map_*`. All
1,127 names of other families are refused. It took 27 minutes on two busy cores.

The accepted names:

{", ".join(f"`{name}`" for name in sorted(COMPARED_NAMES))}.
"""
PICTURES = 4
DENSE = """
## Dense outputs

Depth, segments, boxes and poses of small checkpoints of transformers, on two random inputs, in the same engines, uncut
and cut at every block. Segments are compared by the scores of all classes.

| kind | compared with | task | blocks | tokens | {engines} |
|---|---|---|---|---|{rules}
"""
ENGINE_NAMES = [spec.name for spec in ENGINES.values() if spec.precision == FLOAT32 and spec.on_cpu and spec.runs_here]


@dataclass(frozen=True)
class Row:
    """One kind of checkpoint, and how closely both libraries agree.

    Attributes:
        kind: name of the kind.
        original: class or architecture of the original library.
        output: what the model returns.
        model: the loaded model.
        differences: largest difference of logits or embeddings in each engine, relative to the largest value.
        grey_levels: largest difference of preprocessed pixels, in grey levels of 255.
    """

    kind: str
    original: str
    output: str
    model: Model
    differences: dict[str, float]
    grey_levels: float

    def __str__(self) -> str:
        shape = self.model.shape
        numbers = f"{shape.blocks} | {shape.tokens} | {_cells(self.differences)} | {self.grey_levels:.1f}"
        return f"| {self.kind} | `{self.original}` | {self.output} | {numbers} |"


def compare(kind: str, peer: Any) -> Row:
    """Run a checkpoint in both libraries.

    Args:
        kind: name of the kind.
        peer: the checkpoint and its original library, see tests/peers.py.
    """
    model = load_model(str(peer.folder))
    engines, preprocessing = [make_engine(model, name) for name in ENGINE_NAMES], model.preprocessing
    rng, differences, grey_levels = np.random.default_rng(0), dict.fromkeys(ENGINE_NAMES, 0.0), 0.0
    for _ in range(PICTURES):
        height, width = (int(side) for side in rng.integers(40, 120, 2))
        clip = rng.integers(0, 256, (preprocessing.frames, height, width, 3), np.uint8)
        picture = clip if preprocessing.frames > 1 else clip[0]
        pixels = in_our_order(peer.preprocess(picture), model)
        ours = preprocessing.normalise(preprocessing.crop(picture))
        std = torch.tensor(preprocessing.std[: pixels.shape[1]]).view(-1, *(1,) * (pixels.dim() - 2))
        grey_levels = max(grey_levels, float(((ours - pixels) * std * 255).abs().max()))
        wanted = peer.forward(peer.preprocess(picture))
        for engine in engines:
            differences[engine.name] = max(differences[engine.name], _difference(engine, model, pixels, wanted))
    return Row(kind, peer.original, peer.output, model, differences, grey_levels)


def _difference(engine: Engine, model: Model, pixels: Tensor, wanted: Tensor) -> float:
    """The largest difference of an engine's outputs, uncut and cut at every block, relative to the largest value."""
    shape, differences = model.shape, []
    for split in range(shape.blocks + 1):
        begun = engine.run(engine.embed(pixels, (0,) * shape.blocks), split)
        found = engine.head(engine.run(begun, shape.blocks))
        differences.append(float((found - wanted).abs().max() / wanted.abs().max()))
    return max(differences)


def _cells(differences: dict[str, float]) -> str:
    return " | ".join(f"{difference:.0e}" for difference in differences.values())


def compare_dense(kind: str, folder: Path) -> str:
    """Run a checkpoint with a dense head in transformers and in our engines; return its row of the table."""
    from dense_peers import make_dense_peer, with_scores

    peer = make_dense_peer(kind, folder)
    model = with_scores(load_model(str(peer.folder)))
    pixels = torch.randn(2, *peer.input_shape, generator=torch.Generator().manual_seed(3))
    wanted, shape = peer.forward(pixels), model.shape
    differences = {name: _difference(make_engine(model, name), model, pixels, wanted) for name in ENGINE_NAMES}
    numbers = f"{shape.blocks} | {shape.tokens + shape.late_tokens} | {_cells(differences)}"
    return f"| {kind} | `{peer.original}` | {peer.task} | {numbers} |"


def in_our_order(pixels: Tensor, model: Model) -> Tensor:
    """transformers has frames before channels."""
    return pixels.transpose(1, 2) if model.preprocessing.frames > 1 else pixels


def main() -> None:
    """Compare all kinds and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=DOCUMENT, help="where the table goes (default: %(default)s)")
    arguments = parser.parse_args()
    from dense_peers import FAMILIES as DENSE_FAMILIES
    from peers import FAMILIES

    torch.set_num_threads(1)
    versions = {name: version(name) for name in ("torch", "transformers", "timm", "open_clip_torch")}
    columns = {"engines": " | ".join(ENGINE_NAMES), "rules": "---|" * len(ENGINE_NAMES)}
    lines = [HEAD.format(**versions, **columns, pictures=PICTURES)]
    for kind, make in sorted(FAMILIES.items()):
        with tempfile.TemporaryDirectory() as folder:
            row = compare(kind, make(Path(folder)))
        print(row)
        lines.append(f"{row}\n")
    lines.append(DENSE.format(**columns))
    for kind in DENSE_FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            dense = compare_dense(kind, Path(folder))
        print(dense)
        lines.append(f"{dense}\n")
    arguments.output.write_text("".join([*lines, TIMM]), encoding="utf-8")


if __name__ == "__main__":
    main()
