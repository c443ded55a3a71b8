"""`janus-vit calibrate`: measure on the user's own images how accurate each pruning level and payload format is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import human_console, plain_table, progress, say, warn
from janus_vit.cli.common.loading import (
    ArchitectureName,
    Head,
    ImageSize,
    Stride,
    Task,
    load_engine,
    load_model_for_task,
    stride_for,
)
from janus_vit.cli.common.measure import read_profile
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    AsJson,
    EngineName,
    ModelName,
    Threads,
    check_not_input,
    use_threads,
)
from janus_vit.cli.common.tables import print_table
from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.model.tasks import CLASSIFY
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import METRICS, AccuracyTable, Estimate
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.learned import LEARNED
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import ModelShape, Plan

if TYPE_CHECKING:
    from rich.table import Table

    from janus_vit.model.catalog import Model

_FRAMES = 1000
_BUDGET = 24
_FAMILIES = "fixed,exponential"  # the family that typically loses least, and the paper's own


def calibrate(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Path of the new accuracy table.")],
    data: Annotated[
        str,
        typer.Option(
            "--data", metavar="DIR", help="A folder of images, a folder with one subfolder per class, or builtin."
        ),
    ],
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    architecture: ArchitectureName = None,
    head: Head = None,
    stride: Stride = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Labels of a folder of images: one line file,label per image."),
    ] = None,
    frames: Annotated[
        int, typer.Option("--frames", metavar="N", min=1, help="Use at most N frames, spread evenly over the data.")
    ] = _FRAMES,
    budget: Annotated[
        int, typer.Option("--budget", metavar="N", min=1, max=500, help="Number of configurations to measure.")
    ] = _BUDGET,
    families: Annotated[
        str,
        typer.Option(
            "--families",
            metavar="NAMES",
            help="Families of merging schedules, which spread the merges over the blocks: fixed, exponential, or "
            "learned, which is fitted to the model and needs --profile.",
        ),
    ] = _FAMILIES,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Profile of the machine for which schedules are learned."),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Start again instead of continuing an interrupted run.")] = False,
    engine: EngineName = AUTO,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure on your own images how much accuracy token merging and payload formats cost.

    The cost depends on the model and on the images, so use images like those of
    the camera. The commands plan and device read the table with --accuracy, and
    then trade accuracy against time.

    With labels, the table counts right answers. Labels come from --labels or
    from one subfolder per class. Without labels, the table counts answers that
    equal those of the unmerged model.

    Run the same command again to continue an interrupted run.

    --families fixed,learned also finds the schedule that loses the least
    accuracy for the time that it saves on the machine of --profile.

    \b
    Example:   janus-vit calibrate --data photos/ --out table.json
    """
    from janus_vit.calibration.calibrate import Calibration
    from janus_vit.calibration.evaluator import Evaluator
    from janus_vit.calibration.merge_losses import learned_schedules
    from janus_vit.calibration.profiler import TOKEN_FORMATS, input_formats
    from janus_vit.calibration.search import Search, check_budget, schedules_of
    from janus_vit.sources.labelled import open_labelled

    check_not_input(out, model, labels, profile)
    check_engine(engine)
    use_threads(threads)
    loaded = load_model_for_task(model, task, image_size, architecture, head)
    names = [name.strip() for name in families.split(",")]
    chosen = schedules_of([name for name in names if name != LEARNED], loaded.shape)
    check_budget(budget, len(names))  # before slow work
    profile_to_learn = _read_profile_to_learn(names, profile, loaded)
    clip_stride = stride_for(loaded, stride)
    classes = loaded.labels if loaded.task == CLASSIFY else ()
    source = open_labelled(data, labels, classes, frames, warn, loaded.preprocessing.frames, clip_stride)
    console = human_console(as_json)
    runner = load_engine(loaded, engine)
    with progress(f"calibrating {loaded.name}") as show:
        evaluator = Evaluator(loaded, runner, source, lambda count: show(0.0, f"{count} frames read"))
        if profile_to_learn is not None:
            images = evaluator.images
            chosen[LEARNED] = learned_schedules(loaded, runner, images, profile_to_learn, lambda step: show(0.0, step))
        search = Search(loaded.shape, chosen, TOKEN_FORMATS + input_formats(loaded), budget)
        calibration = Calibration(loaded, runner, evaluator, search)
        journal = calibration.journal(out.with_name(f"{out.name}.partial"), anew)
        if journal.points:
            say(console, f"continuing an interrupted run after {len(journal.points)} configurations")
        about = {"command": shlex.join(["janus-vit", *sys.argv[1:]]), "data": data, "skipped": sorted(source.skipped)}
        try:
            table = calibration.run(journal, about, show)
        except KeyboardInterrupt:
            say(console, f"{len(journal.points)} configurations are saved; run the same command again to continue")
            raise
    table.save(out)
    journal.remove()
    if as_json:
        print(table.to_json(), end="")
    else:
        _print(table, loaded.shape)
    if source.skipped:
        say(console, f"skipped unreadable images ({len(source.skipped)}): {', '.join(source.skipped)}")
    say(console, f"written to {out}")


def _read_profile_to_learn(names: list[str], path: Path | None, model: Model) -> PlatformProfile | None:
    """Read the profile for which schedules are learned; None if the family `learned` is not asked for.

    The profile must be a file, because one that is measured now would differ when the run is continued.
    """
    if LEARNED not in names:
        return None
    if path is None:
        raise InputError("--families learned needs --profile: write a profile with 'janus-vit profile'")
    return read_profile(path, model)


def _print(table: AccuracyTable, shape: ModelShape) -> None:
    console = human_console(as_json=False)
    say(console, f"{table.model} on {table.frames} frames; % of answers {METRICS[table.metric]}, with 95 % interval")
    print_table(console, _measured_table(table.points))
    for family in table.families:
        print_table(console, _estimated_table(table, family, shape))
    say(console, "~ was not measured, but estimated from the loss of merging and the loss of the payload.", "dim")


def _measured_table(points: tuple[Point, ...]) -> Table:
    columns = ("measured", "level", "split", "payload", "frames", "share", "interval", "agree", "KL", "kB")
    view = plain_table(*columns)
    for point in points:
        low, high = point.interval
        lossless = point.payload == LOCAL
        cells = (
            point.family,
            f"{point.level:g}",
            "any" if lossless else str(point.split),
            "lossless" if lossless else point.payload,
            str(point.frames),
            f"{100 * point.share:.1f}",
            f"{100 * low:.1f}-{100 * high:.1f}",
            f"{100 * point.agreeing / point.frames:.1f}",
            f"{point.kl:.4f}",
            "" if lossless else f"{point.size_bytes / 1e3:.1f}",
        )
        view.add_row(*cells)
    return view


def _estimated_table(table: AccuracyTable, family: str, shape: ModelShape) -> Table:
    """Show every measured payload at every measured level of a family, at the split where it was measured first."""
    merges = {point.level: point.merges for point in table.points if point.family == family}
    merges[0.0] = (0,) * shape.blocks
    places = {point.payload: point.split for point in reversed(table.points)}
    places[LOCAL] = shape.blocks + 1
    levels = sorted(merges)
    view = plain_table(f"{family}, level", "split", *(f"{level:g}" for level in levels))
    for payload in sorted(places, key=lambda name: (name != LOCAL, places[name], name)):
        plans = [Plan(family, level, merges[level], places[payload], payload) for level in levels]
        name = ("lossless", "any") if payload == LOCAL else (payload, str(places[payload]))
        view.add_row(*name, *(_cell(table.of_plan(plan)) for plan in plans))
    return view


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{'' if estimate.measured else '~'}{100 * estimate.share:.1f}"
