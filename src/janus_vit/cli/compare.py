"""`janus-vit compare`: policies over recorded and generated links, simulated, and the limit for any policy."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
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
    Private,
    ProfileSlowdown,
    Rtt,
    Seed,
    Sla,
    check_different_paths,
    check_positive,
    check_writable,
    parse_duration,
)
from janus_vit.errors import InputError
from janus_vit.planning.accuracy.table import AccuracyTable, load_accuracy
from janus_vit.planning.jsonfile import write_text
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import POLICIES, check_policy

if TYPE_CHECKING:
    from janus_vit.links.traces import Trace
    from janus_vit.simulation.compare import Score

_DEFAULT = ("oracle", "best-fixed", "adaptive", "janus", "split-only", "cloud-jpeg", "cloud-only", "device-only")
_PRIVATE = tuple(name for name in _DEFAULT if not name.startswith("cloud"))
# Fields of a score that a `summary.Summary` has too, by its name for them.
_SUMMARY_NAMES = {"late": "violation_ratio", "value": "in_time_accuracy", "size_bytes": "mean_bytes"}


def compare(
    trace: Annotated[
        list[str] | None,
        typer.Option(
            "--trace",
            metavar="SPEC",
            help="A trace file, a folder of them, a generated link or a rate: constant:20. May be given several times; "
            "default: every kind of generated link.",
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="NAME",
            help=f"May be given several times: {', '.join(POLICIES)}, oracle, best-fixed, or FILE.py:CLASS.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="A model of the paper, or one that 'models' lists.")
    ] = "vit-large-384",
    device: Annotated[
        str, typer.Option("--device", metavar="PROFILE", help="What 'profile' wrote on the device, or orin-nano.")
    ] = "orin-nano",
    cloud: Annotated[
        str, typer.Option("--cloud", metavar="PROFILE", help="What 'profile' wrote in the cloud, or v100.")
    ] = "v100",
    slowdown: ProfileSlowdown = 1.0,
    accuracy: AccuracyFile = None,
    sla: Sla = "300ms",
    period: Annotated[
        str | None,
        typer.Option("--period", metavar="TIME", help="Of the camera; default: the SLA. 0ms: frames back to back."),
    ] = None,
    rtt: Rtt = "30ms",
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="Of each link.")] = 60.0,
    private: Private = False,
    seed: Seed = DEFAULT_SEED,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, help="Processes that simulate.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write an HTML page with figures.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write a line for each policy and link.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate policies on the same links, frame by frame, with the live device loop.

    \b
    "oracle" knows the future of the link: with the same plans no policy can do
    better. "best-fixed" is the one plan that would have been best, known
    afterwards. "regret" is how far a policy stays behind the oracle. A policy
    of your own is a class in a file, see docs/policies.md.

    \b
    Example:   janus-vit compare --trace lte-driving --trace wifi-walking --sla 200ms
               janus-vit compare --trace recorded/ --policy mine.py:Mine --policy adaptive --policy oracle
    """
    from janus_vit.report.canvas import check_figures
    from janus_vit.simulation.compare import run_cases, score
    from janus_vit.simulation.results import Case

    sla_s, rtt_s = parse_duration(sla, "--sla"), parse_duration(rtt, "--rtt", zero_allowed=True)
    period_s = sla_s if period is None else parse_duration(period, "--period", zero_allowed=True) or None
    usual = [name for name in (_PRIVATE if private else _DEFAULT) if period_s or name != "oracle"]
    names = [_check(name) for name in dict.fromkeys(policy or usual)]
    check_positive(seconds, "--seconds", "60")
    check_positive(slowdown, "--slowdown", "8")
    for path in (out, csv_file):
        if path is not None:
            check_writable(path)
    if out is not None:
        check_figures()
        check_different_paths(out, csv_file)
    links = _links(trace, seconds, seed)
    shape, both, known = _sides(model, device, cloud, accuracy)
    slowed = both[0].slowed(slowdown)
    keys = [(name, link) for name in names for link in links]
    cases = [
        Case(
            name,
            Platforms(shape, slowed, both[1], link.mean_mbps, rtt_s, known, not private),
            link,
            sla_s,
            seconds,
            period_s,
        )
        for name, link in keys
    ]
    with progress("simulating") as show:
        scores = [score(frames) for frames in run_cases(cases, workers, show)]
    found = {name: scores[at * len(links) : (at + 1) * len(links)] for at, name in enumerate(names)}
    title = _title(shape, sla_s, period_s, slowdown, private, links)
    _print(title, found, as_json)
    if as_json:
        print(json.dumps(_lines(found, links), indent=1, allow_nan=False))
    if csv_file is not None:
        write_text(csv_file, _as_csv(_lines(found, links)))
        say(human_console(as_json), f"written to {csv_file}")
    if out is not None:
        _write_page(out, title, found, links)
        say(human_console(as_json), f"written to {out}")


def _check(name: str) -> str:
    from janus_vit.simulation.compare import REFERENCES

    return name if name in REFERENCES else check_policy(name)


def _links(specs: Sequence[str] | None, seconds: float, seed: int) -> list[Trace]:
    from janus_vit.links.generator import SCENARIOS, trace_from
    from janus_vit.links.trace_files import read_trace

    found: list[Trace] = []
    for spec in specs or SCENARIOS:
        if Path(spec).is_dir():
            files = sorted(Path(spec).glob("*.csv"))
            if not files:
                raise InputError(f"{spec}: holds no .csv trace: give a folder of traces")
            found += [read_trace(path) for path in files]
        else:
            found.append(trace_from(spec, seconds, seed))
    return found


def _sides(
    model: str, device: str, cloud: str, accuracy: Path | None
) -> tuple[ModelShape, tuple[PlatformProfile, PlatformProfile], AccuracyTable | None]:
    """The model's shape, both profiles and what is known of its accuracy, from published data or from files."""
    from janus_vit.reproduction.published import MACHINES, SHAPES, assumed_accuracy, published_profile

    if model in SHAPES and {device, cloud} <= set(MACHINES):
        known = assumed_accuracy(model) if accuracy is None else load_accuracy(accuracy)
        return SHAPES[model], (published_profile(device, model), published_profile(cloud, model)), known
    from janus_vit.cli.common.loading import load_model_for_task

    loaded = load_model_for_task(model, None, None)
    wrong = [name for name in (device, cloud) if name in MACHINES and model not in SHAPES]
    if wrong:
        raise InputError(
            f"the paper has no {wrong[0]} running {model}: give --device and --cloud what 'janus-vit profile' wrote"
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
    camera = "frames back to back" if period_s is None else f"a frame each {milliseconds(period_s)} ms"
    parts = [shape.name, f"SLA {milliseconds(sla_s)} ms", camera]
    parts += [f"device {slowdown:g} times slower"] * (slowdown != 1) + ["pixels stay on the device"] * private
    return ", ".join([*parts, links[0].name if len(links) == 1 else f"{len(links)} links"])


def _print(title: str, found: dict[str, list[Score]], as_json: bool) -> None:
    from janus_vit.report.comparison import HEADER, row

    console = human_console(as_json)
    say(console, f"{title}; below a mean its 95 % interval over links\n")
    table = plain_table(*(name.replace(" ", "\n", 1) for name in HEADER))
    for name in found:
        table.add_row(*row(name, found))
    console.print(table)


def _lines(found: dict[str, list[Score]], links: Sequence[Trace]) -> list[dict[str, Any]]:
    """One for each policy and link, named as in the JSON of other commands; what is not known is null."""
    rows = []
    for name, scores in found.items():
        for link, each in zip(links, scores, strict=True):
            values: dict[str, Any] = {"policy": name, "link": link.name}
            values |= {_SUMMARY_NAMES.get(field, field): value for field, value in asdict(each).items()}
            here, image, tokens = values.pop("kinds")
            values |= {"here": here, "image": image, "tokens": tokens}
            known = {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in values.items()}
            rows.append(known)
    return rows


def _as_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write_page(path: Path, title: str, found: dict[str, list[Score]], links: Sequence[Trace]) -> None:
    from janus_vit.report.comparison import accuracy_over_latency, has_accuracy, overall, per_link
    from janus_vit.report.page import Section, write_page

    text = "Means over links; below them, 95 % intervals over links (bootstrap)."
    sections = [overall("All links", text, found)]
    if has_accuracy(found):
        sections.append(Section("Accuracy against latency", "", (accuracy_over_latency(title, found),)))
    sections.append(per_link("Link by link", found, [link.name for link in links]))
    write_page(path, "Policies compared", title, sections)
