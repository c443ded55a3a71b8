"""Attacks on a cloud, and what an honest device notices: before, during and after each of them.

python benchmarks/attacks.py [--seconds S] [--attack NAME] [--ingest N]

The cloud is the real command, with tokens. The honest device has one; the attackers have none ("stranger"), or that of
another device ("insider"). Attackers have a core of their own, the last one, so that they take no CPU time that they
would not take from machines of their own; cloud and device have the others. Beneath the protections of the cloud lies
what the machine itself shares: the first row is a control, a flood of the same core against a sink that is no cloud.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from _attackers import ATTACKS, CONTROL, VICTIM
from _common import print_json
from numpy.typing import NDArray

from janus_vit import connect, load_model, profile_machine
from janus_vit.cloud.access.tokens import hash_line, new_token
from janus_vit.planning.outcome import Outcome
from janus_vit.planning.plan import ModelShape
from janus_vit.runtime.device import Device
from janus_vit.sources.builtin import builtin_frames

SLA_S, PERIOD_S = 0.3, 0.04
MODEL, POLICY = "janus-digits", "cloud-jpeg"
SETTLE_S = 2.0  # between the end of an attack and the measurement after it
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CORES = sorted(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Phase:
    """What the honest device saw.

    Attributes:
        frames: number of frames.
        late: share of them that were late.
        fallbacks: share that the device finished itself.
        p50_ms: median of their latency.
        p99_ms: 99th percentile of it.
        memory_mb: largest memory of the cloud's processes.
        cpu: cores that the cloud used.
    """

    frames: int
    late: float
    fallbacks: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    cpu: float


class CloudUnderAttack:
    """The command `janus-vit cloud` in a process of its own."""

    def __init__(self, folder: Path, tokens: Path, profile: Path, ingest: int) -> None:
        options = ["--listen", "127.0.0.1:0", "--tokens", str(tokens), "--profile", str(profile), "--json"]
        options += ["--threads", "1", "--ingest", str(ingest), "--model", MODEL]
        command = [sys.executable, "-m", "janus_vit.cli.main", "cloud", *options]
        self._log = (folder / "cloud.log").open("w")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout is not None, "it was asked for"
        line = self._process.stdout.readline()
        if not line:
            sys.exit((folder / "cloud.log").read_text("utf-8"))
        self.where = json.loads(line)

    def memory_mb(self) -> float:
        """Memory of the cloud's process and its children."""
        return sum(_resident_mb(number) for number in self._numbers())

    def cpu_s(self) -> float:
        """CPU time of the cloud's process and its children."""
        return sum(_cpu_s(number) for number in self._numbers())

    def close(self) -> None:
        """Stop the cloud."""
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def _numbers(self) -> list[int]:
        parent = self._process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()
        return [parent, *map(int, children)]


def _resident_mb(number: int) -> float:
    lines = Path(f"/proc/{number}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _cpu_s(number: int) -> float:
    fields = Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def watch(device: Device, frames: Sequence[NDArray[np.uint8]], cloud: CloudUnderAttack, seconds: float) -> Phase:
    """Run the honest device for some seconds."""
    outcomes: list[Outcome] = []
    began_s, cpu_s, most_mb = time.monotonic(), cloud.cpu_s(), 0.0
    while (elapsed_s := time.monotonic() - began_s) < seconds:
        outcomes.append(device.infer(frames[len(outcomes) % len(frames)]))
        most_mb = max(most_mb, cloud.memory_mb())
        time.sleep(max(0.0, PERIOD_S * len(outcomes) - elapsed_s))
    latencies_ms = [1e3 * outcome.measured.total_s for outcome in outcomes]
    return Phase(
        frames=len(outcomes),
        late=float(np.mean([not outcome.met for outcome in outcomes])),
        fallbacks=float(np.mean([outcome.fallback is not None for outcome in outcomes])),
        p50_ms=float(np.median(latencies_ms)),
        p99_ms=float(np.percentile(latencies_ms, 99)),
        memory_mb=most_mb,
        cpu=(cloud.cpu_s() - cpu_s) / seconds,
    )


def attack(
    name: str, cloud: CloudUnderAttack, shape: ModelShape, seconds: float, token: str
) -> subprocess.Popen[bytes]:
    """Start an attack that ends by itself, on the last core of this machine."""
    arguments = [str(cloud.where["port"]), f"{seconds}", name, cloud.where["fingerprint"]]
    arguments += [str(shape.input_shape[-1]), str(shape.blocks), *([token] if token else [])]
    script = str(Path(__file__).with_name("_attackers.py"))
    os.sched_setaffinity(0, _CORES[-1:])
    try:
        return subprocess.Popen([sys.executable, script, *arguments], stderr=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, _own_cores())


def _own_cores() -> list[int]:
    """Cores of cloud and device: all but the last one."""
    return _CORES[:-1] or _CORES


def run(settings: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """All attacks, one after the other, against one cloud; one row each."""
    model = load_model(MODEL)
    frames = list(builtin_frames()[0])
    profile = profile_machine(model, frames[:8])
    profile.save(folder / "profile.json")
    honest, insider = new_token(), new_token()
    tokens = folder / "tokens.txt"
    tokens.write_text(f"{hash_line(VICTIM, honest)}\n{hash_line('insider', insider)}\n")
    cloud = CloudUnderAttack(folder, tokens, folder / "profile.json", settings.ingest)
    rows: list[dict[str, object]] = []
    address = f"127.0.0.1:{cloud.where['port']}"
    try:
        with connect(model, address, profile, sla_s=SLA_S, policy=POLICY, name=VICTIM, token=honest) as device:
            watch(device, frames, cloud, 2.0)
            by = (("stranger", ""), ("insider", insider))
            attacks = [(name, *attacker) for name in settings.attack or ATTACKS for attacker in by]
            for name, who, token in ((CONTROL, "nobody", ""), *attacks):
                before = watch(device, frames, cloud, settings.seconds)
                attacker = attack(name, cloud, model.shape, settings.seconds + 1.0, token)
                time.sleep(1.0)  # the attacker starts
                during = watch(device, frames, cloud, settings.seconds)
                attacker.wait()
                time.sleep(SETTLE_S)
                after = watch(device, frames, cloud, settings.seconds)
                phases = {"before": before, "during": during, "after": after}
                rows.append({"attack": name, "by": who} | {key: asdict(phase) for key, phase in phases.items()})
                print_row(name, who, before, during, after)
    finally:
        cloud.close()
    return rows


def print_row(name: str, who: str, *phases: Phase) -> None:
    """Print one line of the table."""
    bad = " / ".join(f"{100 * max(phase.late, phase.fallbacks):.1f}" for phase in phases)
    p50 = " / ".join(f"{phase.p50_ms:.0f}" for phase in phases)
    p99 = " / ".join(f"{phase.p99_ms:.0f}" for phase in phases)
    memory = " / ".join(f"{phase.memory_mb:.0f}" for phase in phases)
    cpu = " / ".join(f"{phase.cpu:.2f}" for phase in phases)
    print(f"| {name} | {who} | {bad} | {p50} | {p99} | {memory} | {cpu} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each of the three phases")
    parser.add_argument("--attack", action="append", choices=sorted(ATTACKS), help="one attack; default: all")
    parser.add_argument("--ingest", type=int, default=0, help="processes that receive requests")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, _own_cores())
    torch.set_num_threads(1)  # as the cloud, whose profile is measured here
    print("| attack | by | late or fallback, % | p50, ms | p99, ms | memory, MB | cpu, cores |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        result = run(chosen, Path(scratch))
    print_json("attacks", warm_up=0, rows=result)
