"""Compare every Vision Transformer that timm knows with our own answers, and check which names are refused.

    python scripts/compare_timm_names.py

For each name, timm makes a model of two blocks, a small image and random weights, and saves it as for the hub. We read
its files and both compute in float64, so that even another epsilon shows. A supported name must agree; every other
name of timm must be refused. The exit status is 1 if a name is wrong. Takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from janus_vit.cli.common.console import messages, plain_table, results
from janus_vit.errors import InputError
from janus_vit.model.checkpoints.assemble import assemble
from janus_vit.model.checkpoints.timm.config import check_timm_config, read_timm_facts
from janus_vit.model.checkpoints.timm.names import COMPARED_NAMES
from janus_vit.model.checkpoints.weights import read_weights
from janus_vit.model.vit import VisionTransformer
from janus_vit.planning.jsonfile import Section, read_json

sys.path.insert(0, "tests")
from peers import import_torchvision, randomise

TOLERANCE = 1e-6  # of the largest value, in float64
VIT_MODULES = ("timm.models.vision_transformer", "timm.models.deit", "timm.models.eva")
# Arguments that users change when they train their own model: each must agree too, or be refused.
CHANGED_NAME = "vit_tiny_patch16_224"
CHANGES: dict[str, dict[str, Any]] = {
    "average pooling": {"global_pool": "avg"},
    "attention pooling": {"global_pool": "map"},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
    "layer scale": {"init_values": 0.1},
    "no qkv bias": {"qkv_bias": False},
    "norm before the blocks": {"pre_norm": True},
    "norm after pooling": {"fc_norm": True},
    "norm before pooling": {"fc_norm": False, "global_pool": "avg"},
    "width and heads": {"embed_dim": 96, "num_heads": 4, "mlp_ratio": 3},
    "dynamic size": {"dynamic_img_size": True},
    "dropout": {"drop_rate": 0.1, "attn_drop_rate": 0.1, "drop_path_rate": 0.1, "proj_drop_rate": 0.1},
    "width alone": {"embed_dim": 384},
    "norm of queries and keys": {"qk_norm": True},
    "another activation": {"act_layer": "relu"},
    "mean with the prefix": {"global_pool": "avg", "pool_include_prefix": True},
    "mean and maximum": {"global_pool": "avgmax"},
    "no last norm": {"final_norm": False},
    "norm in attention": {"scale_attn_norm": True},
    "no positions": {"pos_embed": "none"},
}

EMBEDDING_NAMES = ("vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224")


@dataclass(frozen=True)
class Comparison:
    """The result for one model of timm.

    Attributes:
        name: timm's name of the architecture.
        change: arguments that differ from the name's own; empty for none.
        supported: whether the files are read without a refusal.
        difference: largest difference of the answers relative to the largest value, None without an answer.
        reason: why there is no answer; empty if there is one.
    """

    name: str
    change: str
    supported: bool
    difference: float | None
    reason: str

    @property
    def verdict(self) -> str:
        """Return what the comparison means for the list of names."""
        agrees = self.difference is not None and self.difference <= TOLERANCE
        if self.supported:
            return "agrees" if agrees else "WRONG"
        return "refused, but agrees" if agrees and not self.change else "refused"


def compare(name: str, change: str = "", arguments: dict[str, Any] | None = None) -> Comparison:
    """Make a small model of this name with timm, save it, read its files, and run both."""
    import timm

    size = 4 * _patch_size(name)
    settings = {"depth": 2, "img_size": size, **(arguments or {})}
    with tempfile.TemporaryDirectory() as folder:
        try:
            theirs = timm.create_model(name, pretrained_cfg_overlay={"input_size": (3, size, size)}, **settings)
            shape = _shape(theirs)
        except (AssertionError, AttributeError) as error:  # such as parallel blocks, or heads listed for each block
            supported = _is_supported(Section(name, "", {"architecture": name, "model_args": settings}))
            return Comparison(name, change, supported, None, f"no small model: {error}")
        randomise(theirs)
        _shrink_residuals(theirs)
        timm.models.save_for_hf(theirs, folder, model_args=settings, safe_serialization=True)
        config = read_json(Path(folder) / "config.json", None)
        supported = _is_supported(config)
        stated = {**shape, **config.values["model_args"]}  # so that names outside the list can be compared too
        config = replace(config, values={**config.values, "model_args": stated})
        try:
            weights = read_weights(Path(folder) / "model.safetensors")
            ours = assemble(weights, read_timm_facts(weights, config, with_head=True), (size, size))
        except InputError as error:
            return Comparison(name, change, False, None, str(error).partition(": ")[2])
        pixels = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        wanted, found = theirs.double()(pixels), _answer(ours.double(), pixels)
    difference = float((found - wanted).abs().max() / wanted.abs().max()) if found.shape == wanted.shape else None
    return Comparison(name, change, supported, difference, "" if difference is not None else "other answers")


def _shrink_residuals(model: nn.Module) -> None:
    """Make tokens so small that the epsilon of each norm shows in the answer."""
    for name, parameter in model.named_parameters():
        if re.search(r"patch_embed|token|pos_embed|attn\.proj\.|mlp\.fc2\.", name):
            parameter.mul_(0.05)


def _patch_size(name: str) -> int:
    found = re.search(r"patch(\d+)", name)
    return int(found[1]) if found else 16


def _answer(network: VisionTransformer, pixels: Tensor) -> Tensor:
    """Logits or embeddings [B, D] of an unsplit run without merging."""
    tokens = network.embed(pixels)
    sizes = torch.ones(tokens.shape[:2], dtype=tokens.dtype)
    for index, block in enumerate(network.blocks):
        turns, prefix = network.rotary, network.architecture.prefix
        rotation = None if turns is None else turns(index, sizes, prefix, None)
        tokens, sizes, _ = block(tokens, sizes, None, 0, 0, None, rotation)
    return network.head_logits(tokens, sizes)


def _shape(theirs: Any) -> dict[str, int]:
    """The shape of a model as arguments of timm."""
    return {
        "embed_dim": theirs.embed_dim,
        "depth": len(theirs.blocks),
        "num_heads": theirs.blocks[0].attn.num_heads,
        "patch_size": theirs.patch_embed.patch_size[0],
    }


def _is_supported(config: Section) -> bool:
    try:
        check_timm_config(config)
    except InputError:
        return False
    return True


def compare_names(names: list[str], console: Console) -> list[Comparison]:
    """Run all names of timm's plain Vision Transformers, and all changes of one of them."""
    jobs: list[tuple[str, str, dict[str, Any] | None]] = [(name, "", None) for name in names]
    jobs += [(CHANGED_NAME, change, arguments) for change, arguments in CHANGES.items()]
    jobs += [(name, "seven classes", {"num_classes": 7}) for name in EMBEDDING_NAMES]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return [compare(*job) for job in track(jobs, "comparing", console=console)]


def names_of_timm() -> tuple[list[str], list[str]]:
    """Names of plain Vision Transformers, and all other names."""
    import timm

    every = timm.list_models()
    vits = [name for name in every if timm.models.model_entrypoint(name).__module__ in VIT_MODULES]
    return vits, sorted(set(every) - set(vits))


def main() -> None:
    """Compare, print a table of what does not agree and one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="compare only names that contain this")
    parser.add_argument("--all", action="store_true", help="print the names that agree too")
    arguments = parser.parse_args()
    import_torchvision()
    torch.set_num_threads(1)
    vits, others = names_of_timm()
    comparisons = compare_names([name for name in vits if arguments.only in name], messages())
    accepted = [name for name in others if _is_supported(Section(name, "", {"architecture": name}))]
    missing = sorted(COMPARED_NAMES - set(vits))
    print_table(comparisons, arguments.all)
    counts = Counter(item.verdict for item in comparisons)
    wrong = [item.name for item in comparisons if item.verdict == "WRONG"] + accepted
    print(
        json.dumps(
            {
                "timm": version("timm"),
                "counts": counts,
                "other_names_refused": len(others) - len(accepted),
                "wrong": wrong,
                "unknown_to_timm": missing,
            }
        )
    )
    sys.exit(1 if wrong or missing else 0)


def print_table(comparisons: list[Comparison], with_agreeing: bool) -> None:
    """One line a name; those that agree only on request."""
    table = plain_table("name", "change", "verdict", "difference", "reason", left=3)
    for item in comparisons:
        if with_agreeing or item.verdict != "agrees":
            difference = "" if item.difference is None else f"{item.difference:.0e}"
            table.add_row(item.name, item.change, item.verdict, difference, item.reason[:80])
    if table.row_count:
        results().print(table)


if __name__ == "__main__":
    main()
