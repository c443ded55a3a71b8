"""Measure what merging, token formats and image formats cost a real pretrained model, DINOv2-S/14, on real photographs.

    python benchmarks/real_model.py

`scripts/real_checkpoint.py` makes the model. The images are crops of photographs that ship inside scikit-image and
scikit-learn (extra `bench`). Each configuration is compared with the unmerged model on the uncompressed crops:

    cosine     of the embedding (class token): mean and 5th percentile over all crops
    found      % of crops whose nearest unmerged embedding is that of the same crop
    dense      mean cosine of the features of a patch, after unmerging

Learned schedules are learned on one half of the photographs and measured on the other half, both ways.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _common import print_json
from _dense_runs import Crossing, DenseOutput, Match, random_match, run_dense
from _photographs import read_crops
from torch import Tensor
from torch.nn import functional as F

from janus_vit.calibration.merge_losses import measure_losses
from janus_vit.calibration.profiler import profile_machine
from janus_vit.cli.common.console import messages
from janus_vit.model.catalog import Model, load_model
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.merging import match_tokens
from janus_vit.model.preprocessing import Frame
from janus_vit.planning.latency import Floats, PlatformProfile, load_profile
from janus_vit.planning.learned import Losses, learn
from janus_vit.planning.payloads import parse_payload
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import Schedule, levels, make_schedule
from janus_vit.wire.inputs import decode_input, encode_input

sys.path.insert(0, "scripts")
from real_checkpoint import CACHE, make_checkpoint

RULES = ("fixed", "exponential")
OPERATIONS_LEFT = (0.9, 0.8, 0.7, 0.6, 0.5)
TIME_LEFT = (0.9, 0.8, 0.7, 0.6)
LEVELS = 60  # learned schedules to choose from
LEARN_FROM = 3  # every third crop
TOKEN_FORMATS = ("float16", "float8", "int8", "int4")
SPLITS = (1, 3, 6, 9)
IMAGE_FORMATS = ("png", "jpeg90", "jpeg75", "jpeg50", "webp75")
BATCH = 8


@dataclass(frozen=True)
class Row:
    """What one configuration costs, over all crops.

    Attributes:
        group: table of the row.
        family: family of the schedule.
        level: its level; of learned schedules the mean of both halves.
        operations: share of the unmerged model's multiplications that are left.
        time: share of its predicted time that is left.
        tokens: tokens after the last block.
        split: split point; None if nothing crosses the network.
        payload: format of what crosses it; empty if nothing does.
        kilobytes: mean size of the payload.
        cosine: mean cosine of the embedding.
        worst: 5th percentile of that cosine.
        found: % of crops that are found by their embedding.
        dense: mean cosine of the features of a patch.
    """

    group: str
    family: str
    level: float
    operations: float
    time: float
    tokens: float
    split: int | None
    payload: str
    kilobytes: float
    cosine: float
    worst: float
    found: float
    dense: float


def block_operations(width: int, hidden: int, before: Floats, after: Floats) -> Floats:
    """Return the multiplications of a block of `before` tokens in its attention and `after` tokens in its MLP."""
    n, m = np.asarray(before, float), np.asarray(after, float)
    return np.asarray(4 * n * width**2 + 2 * n**2 * width + 2 * m * width * hidden)


class Bench:
    """The model, its crops in two halves, and its unmerged outputs."""

    def __init__(self, model: Model, photographs: Sequence[Sequence[Frame]], profile: PlatformProfile) -> None:
        self.model, self.profile = model, profile
        crop = model.preprocessing.crop
        halves = photographs[::2], photographs[1::2]
        self.images = [[crop(frame) for crops in half for frame in crops] for half in halves]
        self.none = make_schedule("none", 0.0, model.shape)
        self._known: dict[tuple[object, ...], Row] = {}
        self._unmerged = [self._run(half, self.none) for half in (0, 1)]

    def operations(self, schedule: Schedule) -> float:
        """Return the share of the unmerged multiplications that a schedule leaves."""
        arch, tokens = self.model.network.architecture, np.array([schedule.tokens, self.none.tokens], float)
        total = block_operations(arch.width, arch.mlp_width, tokens[:, :-1], tokens[:, 1:]).sum(1)
        return float(total[0] / total[1])

    def time(self, schedule: Schedule) -> float:
        """Return the share of the unmerged model's predicted time that a schedule leaves."""
        tokens = np.array([schedule.tokens, self.none.tokens], float)
        blocks_s = self.profile.stack_seconds(tokens, "quadratic", self.model.shape.head_tokens).sum(1)
        whole_s = self.profile.stem_s + blocks_s + self.profile.head_s
        return float(whole_s[0] / whole_s[1])

    def measure(
        self,
        group: str,
        schedules: Sequence[Schedule],
        crossing: Crossing | None = None,
        image_format: str = "",
        match: Match = match_tokens,
        family: str = "",
    ) -> Row:
        """Run all crops, each half with its own schedule, and compare them with the unmerged outputs."""
        key = (*(schedule.applied for schedule in schedules), crossing, image_format, match)
        if key not in self._known:
            found = [
                self._run(half, schedule, crossing, image_format, match) for half, schedule in enumerate(schedules)
            ]
            self._known[key] = self._row(group, schedules, found, crossing, image_format, family)
        row = self._known[key]
        return Row(**{**asdict(row), "group": group, "family": family or schedules[0].family})

    def _row(
        self,
        group: str,
        schedules: Sequence[Schedule],
        found: Sequence[DenseOutput],
        crossing: Crossing | None,
        image_format: str,
        family: str,
    ) -> Row:
        embeddings, patches = (
            [
                F.normalize(torch.cat([getattr(half, part) for half in halves]), dim=-1)
                for halves in (found, self._unmerged)
            ]
            for part in ("embedding", "patches")
        )
        cosines, nearest = (embeddings[0] * embeddings[1]).sum(1), (embeddings[0] @ embeddings[1].T).argmax(1)
        split, payload = (0, image_format) if image_format else (None, "")
        if crossing is not None:
            split, payload = crossing.split, crossing.payload.name
        return Row(
            group=group,
            family=family or schedules[0].family,
            level=_mean([schedule.level for schedule in schedules]),
            operations=_mean([self.operations(schedule) for schedule in schedules]),
            time=_mean([self.time(schedule) for schedule in schedules]),
            tokens=_mean([float(schedule.tokens[-1]) for schedule in schedules]),
            split=split,
            payload=payload,
            kilobytes=_mean([half.size_bytes for half in found]) / 1e3,
            cosine=float(cosines.mean()),
            worst=float(cosines.quantile(0.05)),
            found=100 * float((nearest == torch.arange(len(nearest))).float().mean()),
            dense=float((patches[0] * patches[1]).sum(2).mean()),
        )

    def _run(
        self,
        half: int,
        schedule: Schedule,
        crossing: Crossing | None = None,
        image_format: str = "",
        match: Match = match_tokens,
    ) -> DenseOutput:
        images, network = self.images[half], self.model.network
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        outputs, sent_bytes = [], 0.0
        for batch in batches:
            pixels, size_bytes = self._pixels(batch, image_format)
            output = run_dense(network, pixels, schedule.applied, crossing, match)
            outputs.append(output)
            sent_bytes += len(batch) * max(size_bytes, output.size_bytes)
        embedding, patches = (torch.cat([getattr(each, part) for each in outputs]) for part in ("embedding", "patches"))
        return DenseOutput(embedding, patches, sent_bytes / len(images))

    def _pixels(self, images: Sequence[Frame], image_format: str) -> tuple[Tensor, float]:
        """Return the model's input, and the mean bytes of an image in that format."""
        normalise = self.model.preprocessing.normalise
        if not image_format:
            return torch.cat([normalise(image) for image in images]), 0.0
        payload, shape = parse_payload(image_format), self.model.shape.input_shape
        bodies = [encode_input(image, payload, normalise) for image in images]
        pixels = torch.cat([decode_input(body, payload, shape, normalise) for body in bodies])
        return pixels, sum(map(len, bodies)) / len(bodies)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


Measure = Callable[[Schedule], float]
Families = Mapping[str, Sequence[Sequence[Schedule]]]  # name -> levels of each half of the photographs


def rules(shape: ModelShape) -> Families:
    """Return all levels of the families with a rule, the same for both halves."""
    return {name: [[make_schedule(name, level, shape) for level in levels(name, shape)]] * 2 for name in RULES}


def learned(bench: Bench, losses: Sequence[Losses], block_cost: Callable[..., Floats]) -> Families:
    """Return schedules that are learned on the other half, for a cost of a block by its tokens before and after."""
    return {"learned": [learn(bench.model.shape, each, block_cost, LEVELS) for each in reversed(losses)]}


def nearest(families: Families, share: Measure, wanted: float) -> dict[str, list[Schedule]]:
    """Return, of each family and half, the schedule that leaves nearest to the wanted share."""
    return {
        name: [min(half, key=lambda schedule: abs(share(schedule) - wanted)) for half in halves]
        for name, halves in families.items()
    }


def merging_rows(bench: Bench, progress: Callable[[str], None]) -> list[Row]:
    """Compare families at equal operations and at equal predicted time, and merging with random merging."""
    engine, arch, shape = make_engine(bench.model, "packed"), bench.model.network.architecture, bench.model.shape
    progress("losses of each block")
    losses = [measure_losses(bench.model, engine, images[::LEARN_FROM]) for images in bench.images]
    operations = partial(block_operations, arch.width, arch.mlp_width)
    seconds = partial(bench.profile.block_seconds, curve="quadratic")
    by_operations = {**rules(shape), **learned(bench, losses, operations)}
    by_time = {**rules(shape), **learned(bench, losses, seconds)}
    rows = []
    for group, families, share, targets in (
        ("equal operations", by_operations, bench.operations, OPERATIONS_LEFT),
        ("equal time", by_time, bench.time, TIME_LEFT),
    ):
        for target in targets:
            for name, schedules in nearest(families, share, target).items():
                progress(f"{group} {target:.0%}: {name}")
                rows.append(bench.measure(group, schedules))
    reference = nearest(rules(shape), bench.operations, 0.7)["fixed"]
    return [*rows, bench.measure("random", reference, match=random_match, family="random")]


def format_rows(bench: Bench, progress: Callable[[str], None]) -> list[Row]:
    """Measure token formats at several splits, with and without merging, and image formats."""
    fixed = nearest(rules(bench.model.shape), bench.operations, 0.8)["fixed"]
    rows = []
    for name in TOKEN_FORMATS:
        for split in SPLITS:
            progress(f"{name} at split {split}")
            rows.append(bench.measure("tokens", [bench.none] * 2, Crossing(split, parse_payload(name))))
        rows.append(bench.measure("merged tokens", fixed, Crossing(SPLITS[-2], parse_payload(name))))
    for name in IMAGE_FORMATS:
        progress(name)
        rows.append(bench.measure("images", [bench.none] * 2, image_format=name))
    return rows


def print_tables(rows: Sequence[Row]) -> None:
    """Print the rows as tables in Markdown."""
    costs = "cosine | 5 % | found | dense"
    for group, head in {
        "equal operations": f"operations | family | level | tokens | time | {costs}",
        "equal time": f"time | family | level | tokens | operations | {costs}",
        "random": f"operations | family | level | tokens | time | {costs}",
        "tokens": f"format | split | kB | {costs}",
        "merged tokens": f"format | split | kB | {costs}",
        "images": f"format | split | kB | {costs}",
    }.items():
        print(f"\n{group}\n\n| {head} |\n|{'---|' * (head.count('|') + 1)}")
        for row in rows:
            if row.group == group:
                print(f"| {' | '.join(_cells(row))} |")


def _cells(row: Row) -> list[str]:
    costs = [f"{row.cosine:.4f}", f"{row.worst:.4f}", f"{row.found:.0f}", f"{row.dense:.4f}"]
    if row.payload:
        return [row.payload, str(row.split), f"{row.kilobytes:.1f}", *costs]
    shares = [f"{row.operations:.2f}", f"{row.time:.2f}"]
    first, last = shares if row.group != "equal time" else reversed(shares)
    return [first, row.family, f"{row.level:.3g}", f"{row.tokens:.0f}", last, *costs]


def main() -> None:
    """Print the tables and the JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the download (default: %(default)s)")
    parser.add_argument("--profile", type=Path, help="profile of a device (default: measure this machine)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(str(make_checkpoint(arguments.cache)))
    photographs = read_crops()
    progress = messages().print
    progress("profile of the device")
    profile = load_profile(arguments.profile) if arguments.profile else profile_machine(model, photographs[0][:2])
    with torch.no_grad():
        bench = Bench(model, photographs, profile)
        rows = merging_rows(bench, progress) + format_rows(bench, progress)
    print(
        f"{sum(map(len, bench.images))} crops of {len(photographs)} photographs, {model.shape.tokens} tokens unmerged"
    )
    print_tables(rows)
    print_json("real_model", 0, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
