"""Fuzz every decoder of the network and of files, a cloud and a device.

    python scripts/fuzz.py [--seconds 20] [--seed 1] [--engine atheris] [--list] [TARGET ...]
    python scripts/fuzz.py --replay build/fuzz/FILE TARGET

A target is run with changed valid data (tests/fuzzing). It may refuse the data with an error of `janus_vit.errors`;
any other error, too much time and too much memory are violations, and the data is saved in build/fuzz. With atheris,
coverage guides the changes, in one process for each target; without it, changes that were taken are changed further.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from fuzzing.all_targets import GROUPS, targets_of
from fuzzing.target import Target, Violation, check

FOLDER = Path("build/fuzz")
LARGEST_POOL = 300  # data that targets took, to change further
INSTRUMENTED = 4.0  # times slower: Python that atheris watches
# Modules whose coverage guides atheris.
WATCHED = [
    f"janus_vit.{name}"
    for name in (
        "wire", "records", "planning.jsonfile", "planning.latency", "planning.accuracy", "scheduling.costs",
        "links.trace_files", "model.checkpoints", "model.tensor_check", "model.text",
        "cloud.ingest", "cloud.service", "runtime.handshake",
    )
]  # fmt: skip
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one target.

    Attributes:
        name: the target.
        runs: number of inputs.
        problem: the first violation; empty if there was none.
    """

    name: str
    runs: int
    problem: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the targets, print a table, and return the exit status."""
    options = _parse(arguments)
    if options.child:
        return _fuzz_in_this_process(options)
    targets = _find_targets(options)
    if options.list:
        print("\n".join(f"{group:8s} {target.name}" for group, target in targets))
        return 0
    if options.replay is not None:
        return _replay(targets[0][1], options.replay.read_bytes())
    failed = 0
    for group, target in targets:
        alone = options.engine == "own"
        result = _alone(target, options) if alone else _with_atheris(group, target, options)
        failed += bool(result.problem)
        print(f"{result.name:26s} {result.runs:9,d} inputs  {result.problem or 'ok'}", flush=True)
    print(f"{len(targets)} targets, {failed} with violations; engine {options.engine}, seed {options.seed}")
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", nargs="*", help="names, or parts of names; default: all targets")
    parser.add_argument("--group", choices=GROUPS, help="only the targets of one group")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "atheris", "own"), default="auto")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    parser.add_argument("--replay", type=Path, help="run a saved input")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.engine == "auto":
        options.engine = "atheris" if importlib.util.find_spec("atheris") else "own"
    return options


def _find_targets(options: argparse.Namespace) -> list[tuple[str, Any]]:
    """Return the chosen targets with their groups. A whole name means only its own target."""
    groups = [options.group] if options.group else GROUPS
    targets = [(group, target) for group in groups for target in targets_of(group)]
    names = {target.name for _, target in targets}
    found = [
        (group, target)
        for group, target in targets
        if not options.target
        or target.name in options.target
        or any(part in target.name for part in options.target if part not in names)
    ]
    if not found:
        raise SystemExit(f"no target is named like {', '.join(options.target)}: see --list")
    return found


def _alone(target: Any, options: argparse.Namespace) -> Result:
    """Change data that the target took before, in this process."""
    random, pool, runs = Random(f"{target.name} {options.seed}"), list(target.seeds), 0
    until_s = time.monotonic() + options.seconds
    while time.monotonic() < until_s:
        data = target.changed(random.choice(pool), random)
        runs += 1
        try:
            taken = check(target, data)
        except Violation as violation:
            return Result(target.name, runs, f"{violation}\n  saved in {_save(target.name, data)}")
        if taken and len(data) <= 2 * max(map(len, target.seeds)):
            pool.append(data)
            if len(pool) > LARGEST_POOL:
                del pool[random.randrange(len(target.seeds), len(pool))]
    return Result(target.name, runs)


def _with_atheris(group: str, target: Any, options: argparse.Namespace) -> Result:
    command = [sys.executable, __file__, "--child", "--group", group, "--seconds", str(options.seconds)]
    ended = subprocess.run([*command, "--seed", str(options.seed), target.name], capture_output=True, text=True)
    output = ended.stdout + ended.stderr
    executed = EXECUTED.search(output)
    runs = int(executed.group(1)) if executed else 0
    if ended.returncode == 0:
        return Result(target.name, runs)
    lines = [line for line in output.splitlines() if "Violation" in line or "Test unit written" in line]
    return Result(target.name, runs, "\n  ".join(lines) or output[-2_000:])


def _fuzz_in_this_process(options: argparse.Namespace) -> int:
    """Hand one target to libFuzzer, which ends the process."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    with atheris.instrument_imports(include=WATCHED):
        ((_, target),) = _find_targets(options)

    watched = Target(
        target.name,
        target.run,
        target.seeds,
        target.mutate,
        INSTRUMENTED * target.limit_s,
        2 * target.limit_bytes,
    )

    def run_once(data: bytes) -> None:
        try:
            check(watched, data)
        except Violation:
            _save(target.name, data)
            raise

    def change(data: bytes, largest: int, seed: int) -> bytes:
        random = Random(seed)
        changed = target.changed(data, random) if random.random() < 0.7 else atheris.Mutate(data, largest)
        return bytes(changed[:largest])

    corpus = FOLDER / "corpus" / _file_name(target.name)
    corpus.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(target.seeds):
        (corpus / f"seed-{index}").write_bytes(seed)
    largest = 2 * max(map(len, target.seeds)) + 4_096
    flags = [f"-max_total_time={max(1, round(options.seconds))}", f"-seed={options.seed}", f"-max_len={largest}"]
    more = ["-print_final_stats=1", f"-artifact_prefix={FOLDER}/", "-rss_limit_mb=4096", str(corpus)]
    atheris.Setup([sys.argv[0], *flags, *more], run_once, custom_mutator=change)
    atheris.Fuzz()
    return 0


def _replay(target: Any, data: bytes) -> int:
    try:
        taken = check(target, data)
    except Violation as violation:
        print(violation)
        return 1
    print(f"{target.name}: {'taken' if taken else 'refused'}")
    return 0


def _save(name: str, data: bytes) -> Path:
    path = FOLDER / f"{_file_name(name)}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _file_name(name: str) -> str:
    return name.replace(" ", "-").replace("+", "-")


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main())
