"""`janus-vit calibrate`: measure once what each way to run a frame costs in accuracy on the user's own images."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_vit.cli.common.console import human_console, plain_table, progress, say, warn
from janus_vit.cli.common.loading import ImageSize, Stride, Task, load_engine, load_model_for_task
from janus_vit.cli.common.measure import read_profile
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    AsJson,
    EngineName,
    ModelName,
    Threads,
    check_writable,
    use_threads,
)
from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTO, check_engine
from janus_vit.planning.accuracy.points import Point
from janus_vit.planning.accuracy.table import METRICS, AccuracyTable, Estimate
from janus_vit.planning.latency import PlatformProfile
from janus_vit.planning.learned import LEARNED
from janus_vit.planning.payloads import LOCAL
from janus_vit.planning.plan import ModelShape, Plan

if TYPE_CHECKING:
    from janus_vit.model.catalog import Model

_FRAMES = 1000
_BUDGET = 24
_FAMILIES = "exponential,fixed"  # the paper's, and that of its baselines


def calibrate(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the accuracy table is written.")],
    data: Annotated[
        str,
        typer.Option("--data", metavar="DIR", help="A folder of images, of one folder a class, or builtin."),
    ],
    model: ModelName = DEFAULT_MODEL,
    task: Task = None,
    image_size: ImageSize = None,
    stride: Stride = 4,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Lines file,label for a folder of images.")
    ] = None,
    frames: Annotated[
        int, typer.Option("--frames", metavar="N", min=1, help="Use N frames at most, evenly spread over all.")
    ] = _FRAMES,
    budget: Annotated[
        int, typer.Option("--budget", metavar="N", min=1, help="How many configurations are measured.")
    ] = _BUDGET,
    families: Annotated[
        str,
        typer.Option(
            "--families",
            metavar="NAMES",
            help="How merging may be spread over the blocks; learned fits it to the model and to --profile.",
        ),
    ] = _FAMILIES,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="Of the machine that learned schedules are to be fast on."),
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what an interrupted run has finished.")] = False,
    engine: EngineName = AUTO,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure what each way to run a frame costs in accuracy, on your own images.

    \b
    Merging tokens and packing them tightly changes answers, in each model and
    on each kind of image differently. The commands plan and device take the
    table with --accuracy and then weigh speed against it.

    With labels, from --labels or from a folder a class, the share of right
    answers is measured; without any, how often the answer is the same as
    without merging. The images should be like those of the camera.

    \b
    An interrupted run goes on where it was when it is started again.

    --families exponential,learned also looks for the merges a block that lose
    least for the time they save on the machine of --profile.

    \b
    Example:   janus-vit calibrate --data photos/ --out table.json
    """
    from janus_vit.calibration.calibrate import Calibration
    from janus_vit.calibration.evaluator import Evaluator
    from janus_vit.calibration.merge_losses import learned_schedules
    from janus_vit.calibration.profiler import TOKEN_FORMATS, input_formats
    from janus_vit.calibration.search import Search, check_budget, schedules_of
    from janus_vit.sources.labelled import open_labelled

    check_writable(out)
    check_engine(engine)
    use_threads(threads)
    loaded = load_model_for_task(model, task, image_size)
    names = [name.strip() for name in families.split(",")]
    chosen = schedules_of([name for name in names if name != LEARNED], loaded.shape)
    check_budget(budget, len(names))  # before anything slow begins
    measured = _profile_to_learn_for(names, profile, loaded)
    source = open_labelled(data, labels, loaded.labels, frames, warn, loaded.preprocessing.frames, stride)
    console = human_console(as_json)
    runner = load_engine(loaded, engine)
    with progress(f"calibrating {loaded.name}") as show:
        evaluator = Evaluator(loaded, runner, source, lambda count: show(0.0, f"{count} frames read"))
        if measured is not None:
            images = evaluator.images
            chosen[LEARNED] = learned_schedules(loaded, runner, images, measured, lambda step: show(0.0, step))
        search = Search(loaded.shape, chosen, TOKEN_FORMATS + input_formats(loaded), budget)
        calibration = Calibration(loaded, runner, evaluator, search)
        journal = calibration.journal(out.with_name(f"{out.name}.partial"), anew)
        if journal.points:
            say(console, f"going on after {len(journal.points)} configurations of an interrupted run")
        about = {"command": shlex.join(["janus-vit", *sys.argv[1:]]), "data": data, "skipped": sorted(source.skipped)}
        try:
            table = calibration.run(journal, about, show)
        except KeyboardInterrupt:
            say(console, f"{len(journal.points)} configurations are kept; the same command goes on from there")
            raise
    table.save(out)
    journal.remove()
    if as_json:
        print(table.to_json(), end="")
    else:
        _print(table, loaded.shape)
    if source.skipped:
        say(console, f"{len(source.skipped)} images were skipped, which cannot be read: {', '.join(source.skipped)}")
    say(console, f"written to {out}")


def _profile_to_learn_for(names: list[str], path: Path | None, model: Model) -> PlatformProfile | None:
    """The profile if schedules are to be learned. A quick one made now would be another at the next resumption."""
    if LEARNED not in names:
        return None
    if path is None:
        raise InputError("--families learned needs the --profile of a machine: make one with janus-vit profile")
    return read_profile(path, model)


def _print(table: AccuracyTable, shape: ModelShape) -> None:
    console = human_console(as_json=False)
    say(console, f"{table.model} on {table.frames} frames; % of answers {METRICS[table.metric]}, with 95 % interval")
    console.print(_measured(table.points))
    for family in table.families:
        console.print(_inferred(table, family, shape))
    say(console, "~ was not measured: it follows from merging alone and the payload alone.", "dim")


def _measured(points: tuple[Point, ...]) -> object:
    view = plain_table("measured", "level", "split", "payload", "frames", "share", "interval", "agree", "KL", "kB")
    for point in points:
        low, high = point.interval
        lossless = point.payload == LOCAL
        view.add_row(
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
    return view


def _inferred(table: AccuracyTable, family: str, shape: ModelShape) -> object:
    """Every measured payload, where it was measured first, at every measured level of a family."""
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
