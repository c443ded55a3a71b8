"""`janus-vit plan`: explain the plan for one frame over a given link. Opens no connection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus_vit.cli.common.console import milliseconds, plain_table, results, say
from janus_vit.cli.common.loading import ArchitectureName, Head, ImageSize, Task, load_engine, load_model_for_task
from janus_vit.cli.common.measure import NO_ACCURACY, read_accuracy, read_or_measure_profile, read_profile
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    DEFAULT_POLICY,
    AccuracyFile,
    AsJson,
    ModelName,
    PolicyName,
    Private,
    ProfileSlowdown,
    Rtt,
    Sla,
    check_positive,
    parse_duration,
)
from janus_vit.cli.common.tables import print_table
from janus_vit.model.engines.registry import AUTO, precision_of
from janus_vit.planning.accuracy.table import FLOAT32, METRICS, RIGHT, Estimate
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import check_policy
from janus_vit.planning.policies.ranking import Candidate, rank, reason, shortlist

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model


def plan(
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    architecture: ArchitectureName = None,
    head: Head = None,
    bandwidth: Annotated[
        float, typer.Option("--bandwidth", metavar="MBPS", help="Rate of the uplink in 10^6 bit/s.")
    ] = 20.0,
    rtt: Rtt = "20ms",
    sla: Sla = "300ms",
    device_profile: Annotated[
        Path | None,
        typer.Option("--device-profile", metavar="FILE", help="Profile of the device. Default: measure this machine."),
    ] = None,
    cloud_profile: Annotated[
        Path | None,
        typer.Option("--cloud-profile", metavar="FILE", help="Profile of the cloud. Default: measure this machine."),
    ] = None,
    slowdown: ProfileSlowdown = 1.0,
    accuracy: AccuracyFile = None,
    policy: PolicyName = DEFAULT_POLICY,
    private: Private = False,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Number of plans to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Explain how one frame would run over a given link, and compare the alternatives.

    The table shows the best --top combinations of split point and payload
    format, and the best plan of each kind: all on the device, the image to the
    cloud, tokens to the cloud. Each plan has the pruning level that the policy
    would choose for it.

    \b
    Example:   janus-vit plan --bandwidth 20 --sla 50ms --slowdown 8
    """
    check_policy(policy)
    sla_s, rtt_s = parse_duration(sla, "--sla"), parse_duration(rtt, "--rtt", zero_allowed=True)
    check_positive(bandwidth, "--bandwidth", "20 for 20 Mbps")
    check_positive(slowdown, "--slowdown", "8")
    loaded = load_model_for_task(model, task, image_size, architecture, head)
    device = None if device_profile is None else read_profile(device_profile, loaded)
    precision = precision_of(str(device.about.get("engine"))) if device else FLOAT32
    known = read_accuracy(accuracy, loaded, precision)
    platforms = replace(_platforms(loaded, bandwidth, rtt_s, device, cloud_profile, slowdown, private), accuracy=known)
    ranked = rank(policy, platforms, sla_s)
    shown, why = shortlist(ranked, top), reason(policy, ranked[0], sla_s, METRICS[known.metric] if known else "")
    if as_json:
        print(json.dumps(_as_values(policy, platforms, sla_s, shown, why), indent=1, allow_nan=False))
    else:
        _print(policy, platforms, sla_s, shown, why)


def _platforms(
    model: Model,
    rate_mbps: float,
    rtt_s: float,
    device: PlatformProfile | None,
    cloud_file: Path | None,
    slowdown: float,
    private: bool,
) -> Platforms:
    cloud = None if cloud_file is None else read_profile(cloud_file, model)  # before the slow measurement
    if device is None or cloud is None:
        measured = read_or_measure_profile(None, model, load_engine(model, AUTO))
        device, cloud = device or measured, cloud or measured
    return Platforms(model.shape, device.slowed(slowdown), cloud, rate_mbps, rtt_s, images_allowed=not private)


def _print(policy: str, platforms: Platforms, sla_s: float, shown: Sequence[Candidate], why: str) -> None:
    console = results()
    link = f"{platforms.rate_mbps:g} Mbps, round trip {1e3 * platforms.rtt_s:g} ms"
    say(console, f"{platforms.shape.name}, policy {policy}, {link}, SLA {1e3 * sla_s:g} ms; times in ms")
    times = ("device", "encode", "link", "decode", "cloud", "total")
    metric = "right" if platforms.accuracy is None or platforms.accuracy.metric == RIGHT else "agrees"
    table = plain_table("  plan", "level", "kB", *times, "in\ntime", f"{metric}\n95 % interval")
    table.show_edge = False
    for index, candidate in enumerate(shown):
        plan, *numbers = _cells(candidate, _estimate(candidate, platforms))
        table.add_row(f"> {plan}" if index == 0 else f"  {plan}", *numbers, style=None if index else "bold")
    say(console, "")
    print_table(console, table)
    say(console, "")
    say(console, f"Chosen: {shown[0].plan}")
    say(console, f"Why: {why}.")
    if platforms.accuracy is None and policy == DEFAULT_POLICY:
        say(console, f"Accuracy: {NO_ACCURACY}.")
    elif platforms.accuracy is not None:
        about = f"on {platforms.accuracy.frames} frames; ~ was not measured, but estimated from measured plans"
        say(console, f"Accuracy: % {METRICS[platforms.accuracy.metric]} {about}.")


def _estimate(candidate: Candidate, platforms: Platforms) -> Estimate | None:
    return None if platforms.accuracy is None else platforms.accuracy.of_plan(candidate.plan)


def _cells(candidate: Candidate, accuracy: Estimate | None) -> list[str]:
    plan, predicted = candidate.plan, candidate.predicted
    times_s = (
        predicted.device_s,
        predicted.encode_s,
        predicted.transfer_s,
        predicted.decode_s,
        predicted.cloud_s,
        predicted.total_s,
    )
    return [
        f"{candidate.kind}, {plan.payload}" if plan.split == 0 else str(plan).partition(", ")[2],
        f"{plan.level:.2f}",
        _kilobytes(predicted.size_bytes),
        *(milliseconds(time_s) for time_s in times_s),
        _percent(predicted.on_time),
        _accuracy_with_interval(accuracy),
    ]


def _kilobytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e3:,.{0 if size_bytes >= 1e5 else 1}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _accuracy_with_interval(accuracy: Estimate | None) -> str:
    if accuracy is None:
        return "-"
    share, low, high = (f"{100 * part:.1f}" for part in (accuracy.share, accuracy.low, accuracy.high))
    return f"{'' if accuracy.measured else '~'}{share}% {low}-{high}"


def _as_values(policy: str, platforms: Platforms, sla_s: float, shown: Sequence[Candidate], why: str) -> dict[str, Any]:
    return {
        "model": platforms.shape.name,
        "policy": policy,
        "rate_mbps": platforms.rate_mbps,
        "rtt_s": platforms.rtt_s,
        "sla_s": sla_s,
        "why": why,
        "accuracy_metric": platforms.accuracy.metric if platforms.accuracy else None,
        "candidates": [
            {
                "chosen": index == 0,
                "kind": candidate.kind,
                "plan": asdict(candidate.plan),
                "predicted": {**asdict(candidate.predicted), "total_s": candidate.predicted.total_s},
                "accuracy": asdict(known) if (known := _estimate(candidate, platforms)) else None,
            }
            for index, candidate in enumerate(shown)
        ],
    }
