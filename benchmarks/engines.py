"""Compare the CPU engines with other runtimes: time, share of the hardware's limit, and memory.

    python benchmarks/engines.py [--models vit-base-224,vit-large-384] [--only zen,openvino] [--rounds 9] [--quick]

All run the same random weights at batch 1. Each has its own process, and they run in turn, so that other load affects
all of them. Precisions run one after another, so that 16 GB of memory are enough; transformers runs with each. Before
they are timed, engines run each of the planner's levels once, as in a stream, because libraries cache data for each
number of tokens. Peers cannot merge.

"x transf." and "x best" are speed-ups over transformers and over the fastest peer of the same precision, both unmerged;
openvino-export, which runs the file that `janus-vit export` writes, does not count as a peer there. The limit is the
speed of a packed matrix product of the model's MLP at all tokens, measured in the same turns. GFLOP/s count the
operations that are carried out. Memory is the process's size without torch itself; GPU memory is not included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import _engine_peers
import torch
from _common import print_json, resident_bytes
from _engine_models import SIZES, load_size, model_names, write_checkpoint
from _engine_peers import EXPORTED
from _engine_plans import Merges, levels_of, operations, runs
from _engine_runners import ALWAYS, LIMITS, OURS, PEERS, precision_in
from torch import Tensor

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.registry import ENGINES
from janus_vit.model.memory import trim
from janus_vit.planning.accuracy.table import BFLOAT16, FLOAT32, INT8
from janus_vit.planning.plan import ModelShape

FLOAT32_TARGET, BFLOAT16_TARGET, INT8_TARGET, LIMIT_TARGET, SAVING_TARGET = 1.9, 3.5, 5.0, 0.70, 0.85


class Competitor:
    """A peer, engine or limit in its own process, which waits while the others run.

    Args:
        name: of the peer, engine or limit.
        folder: of the checkpoint.
        threads: of the process.
        levels: merges that an engine runs before it is timed.
    """

    def __init__(self, name: str, folder: Path, threads: int, levels: list[Merges]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        kind = "peer" if name in PEERS else "engine" if name in OURS else "limit"
        before = levels if kind == "engine" else []
        arguments = theirs, kind, name, str(folder), threads, before
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # otherwise recv would wait forever if the process dies
        self.times_ms: dict[Merges, list[float]] = {}
        self.logits: dict[Merges, Tensor] = {}
        self.resident_bytes = self.peak_bytes = 0
        self._pipe.recv()  # wait until it is ready

    def turn(self, merges: Merges, counts: bool) -> None:
        """Run once with those merges, and keep time and logits if the run counts."""
        self._pipe.send(merges)
        elapsed_ms, logits, self.resident_bytes, self.peak_bytes = self._pipe.recv()
        if counts:
            self.times_ms.setdefault(merges, []).append(elapsed_ms)
            self.logits[merges] = torch.tensor(logits)

    def close(self) -> None:
        """Stop the process."""
        self._pipe.send(None)
        self._process.join()


def _serve(pipe: Connection, kind: str, name: str, folder: str, threads: int, before: list[Merges]) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before_bytes = resident_bytes("VmRSS")  # torch itself
    run = {"peer": PEERS, "engine": OURS, "limit": LIMITS}[kind][name](Path(folder))
    trim()  # release what was needed only to build it, such as a quantiser's copies
    pixels = torch.randn(1, 3, *(2 * [load_size(folder)]), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for merges in before:
            run(pixels, merges)
        pipe.send(None)
        while (merges := pipe.recv()) is not None:
            run(pixels, merges)  # warm up: the caches are cold after the others' turns
            began_s = time.perf_counter()
            logits = run(pixels, merges)
            elapsed_ms = 1e3 * (time.perf_counter() - began_s)
            memory = resident_bytes("VmRSS") - before_bytes, resident_bytes("VmHWM") - before_bytes
            pipe.send((elapsed_ms, logits[0].tolist(), *memory))


def write_graphs(folder: Path, peers: list[str]) -> None:
    """Write the peers' ONNX files in another process, because an exporter keeps hundreds of megabytes."""
    writing = multiprocessing.get_context("spawn").Process(target=_engine_peers.write_graphs, args=(folder, peers))
    writing.start()
    writing.join()
    if writing.exitcode:
        raise SystemExit("the models for the peers could not be exported: see above")


def compare(name: str, rounds: int, threads: int, only: set[str]) -> Iterator[dict[str, object]]:
    """Run all competitors on one model; yield a row for each of them and each schedule.

    Args:
        name: of the model.
        rounds: timed runs of each.
        threads: of each process.
        only: peers and engines to show; transformers and eager always run.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / name
        write_checkpoint(folder)
        shape = load_model(str(folder)).shape
        plans, levels = runs(shape), levels_of(shape)
        wanted = [each for each in (*PEERS, *OURS) if each in {*ALWAYS, *only}]
        if peers := [each for each in wanted if each in PEERS and not each.startswith("transformers")]:
            write_graphs(folder, peers)
        for precision in (FLOAT32, BFLOAT16, INT8):
            theirs = [each for each in wanted if precision_in(each) == precision]
            if theirs:
                names = [*{**dict.fromkeys(ALWAYS), **dict.fromkeys(theirs)}, *LIMITS.keys() & {precision}]
                running = {each: Competitor(each, folder, threads, levels) for each in names}
                in_turn(running, plans, rounds)
                yield from rows_of(name, shape, plans, running, theirs)


def in_turn(running: Mapping[str, Competitor], plans: Mapping[Merges, float], rounds: int) -> None:
    """Time all competitors in turn, after a warm-up round, then stop them. Only engines run the merged schedules."""
    for counts in (False, *[True] * rounds):
        for merges in plans:
            for each, competitor in running.items():
                if each in OURS or not sum(merges):
                    competitor.turn(merges, counts)
    for competitor in running.values():
        competitor.close()


def rows_of(
    name: str, shape: ModelShape, plans: Mapping[Merges, float], running: Mapping[str, Competitor], theirs: list[str]
) -> list[dict[str, object]]:
    """Return the rows of `theirs`: medians, and their ratios to the limit, to the peers and to the unmerged run."""
    unmerged = (0,) * shape.blocks
    product = 16 * shape.tokens * shape.width**2 * shape.blocks / 2  # 2 x tokens x width x 4 width in each block
    whole_ms = {each: statistics.median(run.times_ms[unmerged]) for each, run in running.items()}
    limits = {each: product / 1e6 / whole_ms[each] for each in LIMITS if each in running}
    rows: list[dict[str, object]] = []
    for merges, kept in plans.items():
        wanted = running["eager"].logits[merges]
        for each in theirs:
            if merges not in running[each].times_ms:
                continue
            competitor, precision = running[each], precision_in(each)
            ms = statistics.median(competitor.times_ms[merges])
            rivals = [p for p in theirs if p in PEERS and p not in EXPORTED and ("cuda" in p) == ("cuda" in each)]
            best_peer_ms = min((whole_ms[p] for p in rivals), default=None)
            computed = shape if each in OURS or each in EXPORTED else replace(shape, head_tokens=None)
            gflops = operations(computed, merges) / 1e6 / ms
            limit = None if "cuda" in each else limits.get(precision)
            rows.append(
                {
                    "model": name,
                    "kept": round(kept, 3),
                    "merges": merges,
                    "engine": each,
                    "precision": precision,
                    "ms": round(ms, 1),
                    "least_ms": round(min(competitor.times_ms[merges]), 1),
                    "gflops": round(gflops, 1),
                    "of_limit": round(gflops / limit, 3) if limit else None,
                    "limit_gflops": round(limit, 1) if limit else None,
                    "against_transformers": round(whole_ms["transformers"] / ms, 2),
                    "against_best_peer": round(best_peer_ms / ms, 2) if best_peer_ms else None,
                    "of_saving": round((1 - ms / whole_ms[each]) / (1 - kept), 3) if sum(merges) else None,
                    "difference": float((competitor.logits[merges] - wanted).abs().max() / wanted.abs().max()),
                    "resident_mb": round(competitor.resident_bytes / 1e6),
                    "peak_mb": round(competitor.peak_bytes / 1e6),
                }
            )
    return rows


def cell(value: object) -> str:
    """Format a value for the table."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < value < 1e-2 else f"{value:.4g}"
    return str(value)


def main() -> None:
    """Print a table for each model, then the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=model_names, default=",".join(SIZES), help=f"of {', '.join(SIZES)}")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="peers and engines, separated by commas")
    parser.add_argument("--quick", action="store_true", help="the first model, two rounds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    able = {*PEERS, *(name for name in OURS if ENGINES[name].runs_here)}
    names, only = options.models, {name for name in options.only.split(",") if name} or able - {*EXPORTED}
    if unknown := sorted(only - able):
        parser.error(f"--only: {', '.join(unknown)} cannot run here: use some of {', '.join(sorted(able))}")
    rows: list[dict[str, object]] = []
    heads = {  # heading of a column -> field of a row
        "kept": "kept",
        "ms": "ms",
        "least": "least_ms",
        "GFLOP/s": "gflops",
        "of limit": "of_limit",
        "x transf.": "against_transformers",
        "x best": "against_best_peer",
        "of saving": "of_saving",
        "differs": "difference",
        "RSS MB": "resident_mb",
        "peak MB": "peak_mb",
    }
    for name in names[:1] if options.quick else names:
        print(f"{name}, {options.threads} threads\n{'engine':<23}" + "".join(f"{head:>10}" for head in heads))
        for row in compare(name, 2 if options.quick else options.rounds, options.threads, only):
            print(f"{row['engine']:<23}" + "".join(f"{cell(row[field]):>10}" for field in heads.values()), flush=True)
            rows.append(row)
    print(
        f"targets: unmerged {FLOAT32_TARGET} x transformers in float32 and {LIMIT_TARGET} of the limit, "
        f"{BFLOAT16_TARGET} x in bfloat16, {INT8_TARGET} x in int8; merged to a fifth, {SAVING_TARGET} of the "
        "proportional saving"
    )
    print_json("engines", 1, rows)


if __name__ == "__main__":
    main()
