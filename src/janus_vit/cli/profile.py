"""`janus-vit profile`: measure how fast this machine runs a model, and write it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import human_console, milliseconds, plain_table, say
from janus_vit.cli.common.loading import (
    ArchitectureName,
    Head,
    ImageSize,
    Stride,
    Task,
    check_source,
    load_engine,
    load_model_for_task,
    stream_for,
)
from janus_vit.cli.common.measure import measure_profile
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    AsJson,
    EngineName,
    ModelName,
    SourceSpec,
    Threads,
    check_different_paths,
    check_not_input,
    use_threads,
)
from janus_vit.cli.common.tables import print_table
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.planning.latency import PlatformProfile

if TYPE_CHECKING:
    from rich.table import Table

    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine


def profile(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Path of the new profile.")],
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    architecture: ArchitectureName = None,
    head: Head = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take seconds instead of one or two minutes. Less accurate.")
    ] = False,
    engine: EngineName = AUTO,
    threads: Threads = None,
    source: SourceSpec = "builtin",
    stride: Stride = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            "--costs",
            metavar="FILE",
            help="Also measure batches, as a cloud does when it starts, and write their times for 'janus-vit fleet'.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how long this machine takes for each part of a model. The planner predicts frame times from the profile.

    Run the command once on the device and once on the server, while nothing
    else runs. Pass the files with --profile. The frames of --source also give
    the mean size of each image format.

    \b
    Example:   janus-vit profile --out device.json --source photos/
    Server:    janus-vit profile --out server.json --costs server-costs.json
    """
    check_not_input(out, model, source)
    if costs is not None:
        check_not_input(costs, model, source)
        check_different_paths(out, costs, "--costs")
    check_source(source)
    check_engine(engine)
    use_threads(threads)
    loaded = load_model_for_task(model, task, image_size, architecture, head)
    samples = stream_for(loaded, source, stride)
    runner = load_engine(loaded, engine)
    measured = measure_profile(loaded, runner, samples, quick)
    measured.save(out)
    if costs is not None:
        _write_costs(loaded, runner, measured, costs)
    if as_json:
        print(measured.to_json(), end="")
    else:
        _print(measured)
    say(human_console(as_json), f"written to {out}" + ("" if costs is None else f" and {costs}"))


def _write_costs(model: Model, engine: Engine, measured: PlatformProfile, path: Path) -> None:
    from janus_vit.cloud.engine_half import adapted, costs_of
    from janus_vit.scheduling.config import CloudConfig

    costs_of(model, engine, measured, adapted(CloudConfig(), engine)).save(path)


def _print(measured: PlatformProfile) -> None:
    console = human_console(as_json=False)
    about = measured.about
    say(console, f"{measured.model} on {about['hardware']}, {about['threads']} threads, engine {about['engine']}")
    curves = plain_table("block latency model", "mean error %", "max error %", "correlation")
    for name, curve in (("line (the paper's)", measured.line), ("quadratic", measured.quadratic)):
        errors = (f"{100 * error:.1f}" for error in (curve.mean_error, curve.max_error))
        curves.add_row(name, *errors, f"{curve.correlation:.3f}")
    print_table(console, curves)
    print_table(console, _parts_table(measured))
    print_table(console, _formats_table(measured))


def _parts_table(measured: PlatformProfile) -> Table:
    parts = plain_table("part", "ms")
    parts.add_row("stem", milliseconds(measured.stem_s))
    slowest = max(sample for sample in measured.samples if sample[0] == sample[1])
    parts.add_row(f"one block, {slowest[0]} tokens", milliseconds(slowest[2]))
    parts.add_row("merging in that block", milliseconds(float(measured.merge.seconds(slowest[0]))))
    parts.add_row("head", milliseconds(measured.head_s))
    return parts


def _formats_table(measured: PlatformProfile) -> Table:
    columns = ("payload", "encode: fixed ms", "ns per value", "decode: fixed ms", "ns per value", "kB per image")
    formats = plain_table(*columns)
    for name, encode in measured.encode.items():
        decode, size_bytes = measured.decode[name], measured.image_bytes.get(name)
        formats.add_row(
            name,
            milliseconds(encode.fixed_s),
            f"{encode.per_value_s * 1e9:.2f}",
            milliseconds(decode.fixed_s),
            f"{decode.per_value_s * 1e9:.2f}",
            "" if size_bytes is None else f"{size_bytes / 1e3:.1f}",
        )
    return formats
