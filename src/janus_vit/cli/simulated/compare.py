"""`janus-vit compare`: simulate policies over recorded and generated links, and compare them with an upper bound."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus_vit.cli.common.console import human_console, milliseconds, plain_table, progress, say
from janus_vit.cli.common.measure import read_profile
from janus_vit.cli.common.options import (
    DEFAULT_SEED,
    AccuracyFile,
    AsJson,
    LateTarget,
    Private,
    ProfileSlowdown,
    Rtt,
    Seed,
    Sla,
    check_different_paths,
    check_not_input,
    check_positive,
    parse_duration,
    parse_late_target,
)
from janus_vit.cli.common.tables import print_table
from janus_vit.errors import InputError
from janus_vit.planning.accuracy.table import AccuracyTable, load_accuracy
from janus_vit.planning.jsonfile import write_text
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import POLICIES, check_policy, weighs_late_frames

if TYPE_CHECKING:
    from janus_vit.links.traces import Trace
    from janus_vit.simulation.compare import Score

_DEFAULT = ("oracle", "best-fixed", "adaptive", "janus", "split-only", "cloud-jpeg", "cloud-only", "device-only")
_PRIVATE = tuple(name for name in _DEFAULT if not name.startswith("cloud"))
# Fields of a `Score` for which `records.summary.Summary` has another name.
_SUMMARY_NAMES = {"late": "violation_ratio", "value": "in_time_accuracy", "size_bytes": "mean_bytes"}


def compare(
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace",
            metavar="SPEC",
            help="A trace file, a folder of trace files, a generated link such as lte-driving, or a constant rate in "
            "Mbps such as constant:20. Repeat the option for several. Default: all generated links.",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="NAME",
            help=f"Policy to run: {', '.join(POLICIES)}, oracle, best-fixed, or FILE.py:CLASS of your own. Repeat the "
            "option for several. Default: a selection with both references.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", metavar="NAME", help="A model of the paper, or any value of --model of other commands."
        ),
    ] = "vit-large-384",
    device: Annotated[
        str,
        typer.Option(
            "--device", metavar="PROFILE", help="Profile that 'janus-vit profile' wrote on the device, or orin-nano."
        ),
    ] = "orin-nano",
    cloud: Annotated[
        str,
        typer.Option(
            "--cloud",
            metavar="PROFILE",
            help="Profile that 'janus-vit profile' wrote on the server, or v100, t4, h100, cpu.",
        ),
    ] = "v100",
    slowdown: ProfileSlowdown = 1.0,
    accuracy: AccuracyFile = None,
    sla: Sla = "300ms",
    late_target: LateTarget = None,
    period: Annotated[
        str | None,
        typer.Option(
            "--period", metavar="TIME", help="Time between camera frames. 0ms: back to back. Default: the SLA."
        ),
    ] = None,
    rtt: Rtt = "30ms",
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="Simulated time on each link.")] = 60.0,
    private: Private = False,
    seed: Seed = DEFAULT_SEED,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=1, help="Number of processes for the simulation.")
    ] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write an HTML page with figures.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write CSV, one line per policy and link.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate policies on the same links, frame by frame, with the device loop of the live command.

    Two references cannot run on a device. "oracle" knows the future of the
    link: no policy with the same plans can do better. "best-fixed" is the one
    plan that turned out to be the best on each link. "regret" is the gap to the
    oracle. --late-target counts for the policies that can keep to one. Your own
    policy is a class in a file, see docs/policies.md.

    \b
    Example:   janus-vit compare --trace lte-driving --sla 200ms
    Your own:  janus-vit compare --trace traces/ --policy mine.py:Mine
    """
    from janus_vit.report.canvas import check_figures
    from janus_vit.simulation.compare import run_cases, score
    from janus_vit.simulation.results import Case

    sla_s, rtt_s = parse_duration(sla, "--sla"), parse_duration(rtt, "--rtt", zero_allowed=True)
    period_s = sla_s if period is None else parse_duration(period, "--period", zero_allowed=True) or None
    default = [name for name in (_PRIVATE if private else _DEFAULT) if period_s or name != "oracle"]
    names = [_check_name(name) for name in dict.fromkeys(policy or default)]
    accepted = {name: parse_late_target(late_target, name) if weighs_late_frames(name) else None for name in names}
    check_positive(seconds, "--seconds", "60")
    check_positive(slowdown, "--slowdown", "8")
    for path in (out, csv_file):
        if path is not None:
            check_not_input(path, *(trace or []), model, device, cloud, accuracy)
    if out is not None:
        check_figures()
        check_different_paths(out, csv_file)
    links = _read_links(trace, seconds, seed)
    shape, (device_profile, cloud_profile), known = _load_sides(model, device, cloud, accuracy)
    platforms = Platforms(
        shape,
        device_profile.slowed(slowdown),
        cloud_profile,
        rate_mbps=links[0].mean_mbps,
        rtt_s=rtt_s,
        accuracy=known,
        images_allowed=not private,
    )
    cases = [
        Case(name, replace(platforms, rate_mbps=link.mean_mbps), link, sla_s, seconds, period_s, target)
        for name, target in accepted.items()
        for link in links
    ]
    with progress("simulating") as show:
        scores = [score(frames) for frames in run_cases(cases, workers, show)]
    found = {name: scores[index * len(links) : (index + 1) * len(links)] for index, name in enumerate(names)}
    title = _title(shape, sla_s, period_s, slowdown, private, links)
    _print(title, found, as_json)
    if as_json:
        print(json.dumps(_as_rows(found, links), indent=1, allow_nan=False))
    if csv_file is not None:
        write_text(csv_file, _as_csv(_as_rows(found, links)))
        say(human_console(as_json), f"written to {csv_file}")
    if out is not None:
        _write_page(out, title, found, links)
        say(human_console(as_json), f"written to {out}")


def _check_name(name: str) -> str:
    from janus_vit.simulation.compare import REFERENCES

    return name if name in REFERENCES else check_policy(name)


def _read_links(specs: Sequence[str] | None, seconds: float, seed: int) -> list[Trace]:
    from janus_vit.links.generator import SCENARIOS, trace_from
    from janus_vit.links.trace_files import read_trace

    found: list[Trace] = []
    for spec in specs or SCENARIOS:
        if os.path.isdir(spec):  # Path.is_dir raises for very long names
            files = sorted(Path(spec).glob("*.csv"))
            if not files:
                raise InputError(f"{spec}: holds no .csv trace: use a folder of traces")
            found += [read_trace(path) for path in files]
        else:
            found.append(trace_from(spec, seconds, seed))
    return found


def _load_sides(
    model: str, device: str, cloud: str, accuracy: Path | None
) -> tuple[ModelShape, tuple[PlatformProfile, PlatformProfile], AccuracyTable | None]:
    """Return the model's shape, the profiles of device and cloud, and the accuracy table, if there is one.

    The profiles and the table are published ones or come from files.
    """
    from janus_vit.reproduction.published import MACHINES, SHAPES, assumed_accuracy, published_profile

    if model in SHAPES and {device, cloud} <= set(MACHINES):
        known = assumed_accuracy(model) if accuracy is None else load_accuracy(accuracy)
        return SHAPES[model], (published_profile(device, model), published_profile(cloud, model)), known
    from janus_vit.cli.common.loading import load_model_for_task

    loaded = load_model_for_task(model, None, None)
    unpublished = [name for name in (device, cloud) if name in MACHINES and model not in SHAPES]
    if unpublished:
        raise InputError(
            f"the paper has no profile of {model} on {unpublished[0]}: give --device and --cloud profiles that "
            "'janus-vit profile' wrote"
        )
    sides = [
        published_profile(name, model) if name in MACHINES else read_profile(Path(name), loaded)
        for name in (device, cloud)
    ]
    known = loaded.accuracy or assumed_accuracy(model)
    if accuracy is not None:
        table = load_accuracy(accuracy)
        known = table.for_model(loaded.name, loaded.fingerprint, table.precision, str(accuracy))
    return loaded.shape, (sides[0], sides[1]), known


def _title(
    shape: ModelShape,
    sla_s: float,
    period_s: float | None,
    slowdown: float,
    private: bool,
    links: Sequence[Trace],
) -> str:
    camera = "frames back to back" if period_s is None else f"a frame every {milliseconds(period_s)} ms"
    parts = [shape.name, f"SLA {milliseconds(sla_s)} ms", camera]
    parts += [f"device {slowdown:g} times slower"] * (slowdown != 1) + ["pixels stay on the device"] * private
    return ", ".join([*parts, links[0].name if len(links) == 1 else f"{len(links)} links"])


def _print(title: str, found: dict[str, list[Score]], as_json: bool) -> None:
    from janus_vit.report.comparison import HEADER, row

    console = human_console(as_json)
    say(console, f"{title}; the 95 % interval over links is below each mean\n")
    table = plain_table(*(name.replace(" ", "\n", 1) for name in HEADER))
    for name in found:
        table.add_row(*row(name, found))
    print_table(console, table)


def _as_rows(found: dict[str, list[Score]], links: Sequence[Trace]) -> list[dict[str, Any]]:
    """Return one row per policy and link, with the keys of other commands' JSON. Unknown values are None."""
    rows = []
    for name, scores in found.items():
        for link, each in zip(links, scores, strict=True):
            values: dict[str, Any] = {"policy": name, "link": link.name}
            values |= {_SUMMARY_NAMES.get(field, field): value for field, value in asdict(each).items()}
            here, image, tokens = values.pop("kinds")
            values |= {"here": here, "image": image, "tokens": tokens}
            rows.append({key: _none_if_not_finite(value) for key, value in values.items()})
    return rows


def _none_if_not_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_page(path: Path, title: str, found: dict[str, list[Score]], links: Sequence[Trace]) -> None:
    from janus_vit.report.comparison import accuracy_over_latency, has_accuracy, overall, per_link
    from janus_vit.report.page import Section, write_page

    text = "Means over links, with 95 % intervals over links (bootstrap) below them."
    sections = [overall("All links", text, found)]
    if has_accuracy(found):
        sections.append(Section("Accuracy against latency", "", (accuracy_over_latency(title, found),)))
    sections.append(per_link("Link by link", found, [link.name for link in links]))
    write_page(path, "Policies compared", title, sections)
