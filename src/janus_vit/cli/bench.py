"""`janus-vit bench`: run policies over a trace live and simulated, and compare the two."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus_vit.cli.common.console import human_console, milliseconds, plain_table, progress, say, warn
from janus_vit.cli.common.loading import Head, load_model_for_task, threshold_for
from janus_vit.cli.common.measure import measure_profile
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    DEFAULT_POLICY,
    DEFAULT_SEED,
    DEFAULT_SLOWDOWN,
    AsJson,
    EngineName,
    ModelName,
    Policies,
    Private,
    Rtt,
    Seconds,
    Seed,
    Sla,
    Slowdown,
    check_folder,
    check_positive,
    make_folder,
    parse_duration,
    use_threads,
)
from janus_vit.cli.common.tables import print_table
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.planning.policies.presets import check_policy

if TYPE_CHECKING:
    from rich.console import Console

    from janus_vit.model.catalog import Model
    from janus_vit.records.summary import Summary
    from janus_vit.testbed.gap_analysis import Comparison
    from janus_vit.testbed.paired import BenchSettings, PairedRuns


def bench(
    trace: Annotated[
        str,
        typer.Option(
            "--trace",
            metavar="SPEC",
            help="A trace file (CSV or mahimahi), a generated link such as lte-driving, or a constant rate in Mbps "
            "such as constant:20.",
        ),
    ],
    policy: Policies = None,
    sla: Sla = "150ms",
    seconds: Seconds = 20.0,
    rtt: Rtt = "30ms",
    slowdown: Slowdown = DEFAULT_SLOWDOWN,
    model: ModelName = DEFAULT_MODEL,
    head: Head = None,
    private: Private = False,
    period: Annotated[
        str | None,
        typer.Option(
            "--period",
            metavar="TIME",
            help="Time between camera frames, of which the newest is run. Default: frames back to back.",
        ),
    ] = None,
    seed: Seed = DEFAULT_SEED,
    engine: EngineName = AUTO,
    high_fidelity: Annotated[
        bool,
        typer.Option(
            "--high-fidelity", help="Emulate the link packet by packet, with the kernel's TCP. Needs Linux and root."
        ),
    ] = False,
    records: Annotated[
        Path | None,
        typer.Option("--records", metavar="DIR", help="Write JSON records to this folder, two files per policy."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run policies live over a trace, simulate the same runs, and report how close the two are and why.

    The live run uses real frames, a real model and separate processes for
    device and cloud. The link is emulated. The device is slowed down by waiting
    after each part of its work. The command first measures this machine. Each
    policy starts at the beginning of the trace. Default: one policy, adaptive.

    \b
    Example:  janus-vit bench --trace lte-driving --policy janus --policy adaptive
    """
    from janus_vit.links.emulator import LinkSpec
    from janus_vit.links.generator import trace_from
    from janus_vit.links.netns import check_machine
    from janus_vit.links.tunnel import Tunnel
    from janus_vit.model.engines.factory import make_engine
    from janus_vit.sources.frames import BUILTIN
    from janus_vit.sources.streams import open_stream
    from janus_vit.testbed.network import EmulatedNetwork
    from janus_vit.testbed.paired import BenchSettings, compare, run_paired
    from janus_vit.testbed.rig import Rig

    check_engine(engine)
    policies = [check_policy(name) for name in dict.fromkeys(policy or [DEFAULT_POLICY])]
    sla_s, rtt_s = parse_duration(sla, "--sla"), parse_duration(rtt, "--rtt", zero_allowed=True)
    period_s = None if period is None else parse_duration(period, "--period")
    check_positive(seconds, "--seconds", "20")
    check_positive(slowdown, "--slowdown", "14")
    if high_fidelity:
        check_machine()
    uplink = trace_from(trace, duration_s=max(60.0, 2 * seconds), seed=seed)
    folder = None if records is None else check_folder(records)
    use_threads(1)  # one core per side
    loaded = load_model_for_task(model, None, None, head=head)
    source = open_stream(BUILTIN, loaded.preprocessing.frames)
    runner = make_engine(loaded, engine, on_fallback=warn)
    profile = measure_profile(loaded, runner, None, quick=True, clock=time.thread_time)
    settings = BenchSettings(uplink, rtt_s, sla_s, seconds, period_s, not private)
    console = human_console(as_json)
    _print_settings(console, loaded.name, trace, settings, slowdown, high_fidelity)
    found: list[Comparison] = []
    link = LinkSpec(uplink, delay_s=rtt_s / 2)
    with (
        Tunnel(link) if high_fidelity else nullcontext(EmulatedNetwork(link)) as network,
        Rig(loaded, model, profile, network, slowdown, runner, head) as rig,
    ):
        for name in policies:
            with progress(name) as show:
                show(0.0, "a few frames without a link")
                runs = run_paired(rig, name, settings, source, lambda share: show(share, "live"))
            found.append(compare(runs, settings))
            if folder is not None:
                _write_records(runs, folder, loaded)
    _print_tables(found, console)
    if as_json:
        about = {"model": loaded.name, "trace": trace, "high_fidelity": high_fidelity, "slowdown": slowdown}
        about |= {"slowed_by": "waiting", "rtt_s": rtt_s, "sla_s": sla_s, "duration_s": seconds}
        about |= {"period_s": period_s, "private": private}
        print(json.dumps({**about, "policies": {each.policy: _as_values(each) for each in found}}))


def _print_settings(
    console: Console, model: str, trace: str, settings: BenchSettings, slowdown: float, high_fidelity: bool
) -> None:
    from janus_vit.links.netns import CONGESTION_CONTROL

    period_s, mean_mbps = settings.period_s, settings.trace.mean_mbps
    frames = "back to back" if period_s is None else f"one every {milliseconds(period_s)} ms"
    sla_ms, rtt_ms = milliseconds(settings.sla_s), milliseconds(settings.rtt_s)
    say(console, f"{model}, frames {frames}, SLA {sla_ms} ms, {settings.duration_s:g} s per policy")
    say(console, f"link {trace}: mean {mean_mbps:.3g} Mbps, round trip {rtt_ms} ms")
    if high_fidelity:
        say(console, f"packets through a tunnel, with this kernel's TCP ({CONGESTION_CONTROL})")
    say(console, f"device {slowdown:g} times slower than this machine, by waiting, in CPU time\n")


def _write_records(runs: PairedRuns, folder: Path, model: Model) -> None:
    from janus_vit.records.writer import RecordWriter

    name = re.sub(r"[^\w.-]+", "-", runs.policy)
    make_folder(folder)
    with closing(RecordWriter(folder / f"{name}-live.jsonl", model.labels, threshold_for(model, None))) as writer:
        for outcome, label in zip(runs.live, runs.labels, strict=True):
            writer.write(outcome, truth=label)
    with closing(RecordWriter(folder / f"{name}-simulated.jsonl")) as writer:
        for outcome in runs.simulated:
            writer.write(outcome)


def _print_tables(found: Sequence[Comparison], console: Console) -> None:
    from janus_vit.testbed.gap_analysis import LATE_TOLERANCE, MEDIAN_TOLERANCE

    names = ("policy", "", "frames", "median ms", "p95 ms", "late %", "right in time %", "frames/s", "kB/frame")
    table = plain_table(*names, left=2)
    for each in found:
        live, simulated = _cells(each.live), _cells(each.simulated)
        table.add_row(each.policy, "live", *map(_format, live))
        table.add_row("", "simulated", *map(_format, simulated))
        gaps = (
            None if one is None or other is None else one - other for one, other in zip(live, simulated, strict=True)
        )
        table.add_row("", "gap", *(_format(gap, "+") for gap in gaps))
    print_table(console, table)
    tolerances = f"median within {MEDIAN_TOLERANCE:.0%} of live, late within {100 * LATE_TOLERANCE:g} points"
    for each in found:
        say(console, f"{each.policy}: {'PASS' if each.close else 'FAIL'}: " + ("; ".join(each.misses) or tolerances))
        if each.drift:
            say(console, f"{each.policy}: {each.drift}")
    print_table(console, _parts_table(found))


def _cells(row: Summary) -> tuple[float | None, ...]:
    right = None if row.in_time_accuracy is None else 100 * row.in_time_accuracy
    late, kilobytes = 100 * row.violation_ratio, row.mean_bytes / 1e3
    return (row.frames, 1e3 * row.median_s, 1e3 * row.p95_s, late, right, row.throughput_fps, kilobytes)


def _format(value: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:{sign}d}" if isinstance(value, int) else f"{value:{sign}.1f}"


def _parts_table(found: Sequence[Comparison]) -> Any:
    """Make a table of the parts that add up to the gap between live and simulated mean frame time."""
    table = plain_table("gap of the mean, ms", *(each.policy for each in found))
    for part in dict.fromkeys(part for each in found for part in each.time_parts):
        table.add_row(part, *(_format(1e3 * each.time_parts.get(part, 0.0), "+") for each in found))
    table.add_row("all", *(_format(1e3 * sum(each.time_parts.values()), "+") for each in found))
    return table


def _as_values(each: Comparison) -> dict[str, Any]:
    return {
        "live": asdict(each.live),
        "simulated": asdict(each.simulated),
        "median_gap": each.median_gap,
        "late_gap": each.late_gap,
        "time_parts_s": dict(each.time_parts),
        "late_parts": dict(each.late_parts),
        "compute_measured_by_predicted": dict(each.speeds),
        "pass": each.close,
        "why": [*each.misses, *([each.drift] if each.drift else [])],
    }
