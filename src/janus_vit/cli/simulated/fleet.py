"""`janus-vit fleet`: simulate many devices that share a cloud, beside baselines and the bound, or run a few live."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus_vit.cli.common.console import human_console, plain_table, progress, say
from janus_vit.cli.common.loading import Head
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    DEFAULT_POLICY,
    DEFAULT_SEED,
    AsJson,
    Seed,
    check_not_input,
    check_positive,
)
from janus_vit.cli.common.tables import print_table
from janus_vit.errors import InputError
from janus_vit.planning.jsonfile import shown, write_text

if TYPE_CHECKING:
    from janus_vit.fleet.file import KnownModel
    from janus_vit.fleet.spec import Fleet

_DEFAULT = ("jpeg-batches-8", "jpeg-scheduler", "device-alone", "janus", "adaptive", "adaptive-fleet")
_DEVICES = "4,16,64"
_BOUND = "bound"
_COUNT = re.compile(r"[0-9]{1,9}")
_WARM_UP_S = 5.0  # until prices and forecasts have settled


def fleet(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FLEET.json",
            help="Devices, links and cloud, see docs/fleet.md. Default: a mixed fleet of cameras, robots and vehicles.",
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="N,N,...",
            help="Numbers of devices, such as 64 or 4,16,64. Default: 4,16,64; with --live as many as the cores carry.",
        ),
    ] = None,
    contender: Annotated[
        list[str] | None,
        typer.Option(
            "--contender",
            metavar="NAME",
            help="Way to plan and to schedule: jpeg-one-by-one, jpeg-batches-8, jpeg-batches-32, jpeg-scheduler, "
            "device-alone, janus, merging, splitting, adaptive or adaptive-fleet. Repeat the option for several.",
        ),
    ] = None,
    cloud: Annotated[
        str | None,
        typer.Option("--cloud", metavar="MACHINE", help="Cloud instead of the file's: v100, t4, h100 or cpu."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", help="Simulated time, after five seconds that do not count.")
    ] = 20.0,
    seed: Seed = DEFAULT_SEED,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write every frame as a line of CSV.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Run the fleet on this machine, slowed down, and hold the outcome against its simulation."
        ),
    ] = False,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="NAME", help=f"With --live: policy of the devices. Default: {DEFAULT_POLICY}."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help=f"With --live: the model that runs. Default: {DEFAULT_MODEL}."),
    ] = None,
    head: Head = None,
    as_json: AsJson = False,
) -> None:
    """Simulate many devices that share one cloud, with the live device loop, policies and scheduler.

    "right" is the share of all frames that are answered right and in time.
    "bound" is the most that any policy and any scheduler could reach on the
    same links with the same engine. The baselines send JPEGs: one frame after
    the other, in batches as NVIDIA Triton makes them, and to our scheduler.

    \b
    Example:    janus-vit fleet --devices 16,64,256 --cloud h100
    Your own:   janus-vit fleet my-fleet.json --devices 20

    With --live, the devices and the cloud are this machine, slowed down by
    waiting: real frames, a real model, a cloud process, and an emulated link
    for each device. The same fleet is then simulated, and a table shows both.
    Of the profiles in a fleet's file only the time of a frame counts; each
    must be slower than one core of this machine.

    \b
    Live:       janus-vit fleet --live --devices 6 --policy adaptive-fleet
    """
    from janus_vit.fleet.contenders import CONTENDERS
    from janus_vit.fleet.contenders import contender as look_up
    from janus_vit.fleet.file import load_fleet, mixed_fleet, published_cloud
    from janus_vit.fleet.report import Row, bound_of, frames_csv, summarise
    from janus_vit.fleet.simulate import simulate_fleet
    from janus_vit.fleet.spec import members

    check_positive(seconds, "--seconds", "20")
    if live:
        _only_without(live, {"--contender": contender, "--cloud": cloud, "--csv": csv_file})
        count = None if devices is None else _number(devices)
        _run_live(file, model or DEFAULT_MODEL, head, policy or DEFAULT_POLICY, count, seconds, seed, as_json)
        return
    _only_without(live, {"--policy": policy, "--model": model})
    counts = _numbers(devices or _DEVICES)
    names = tuple(dict.fromkeys(contender or _DEFAULT))
    for name in names:
        look_up(name)
    if csv_file is not None:
        check_not_input(csv_file, file)
    if file is None and head is not None:
        raise InputError("--head has no effect on the default fleet: give a fleet's file, or add --live")
    chosen = mixed_fleet() if file is None else load_fleet(file, partial(_find_model, head=head))
    if cloud is not None:
        chosen = replace(chosen, cloud=published_cloud(cloud, chosen.shape.name))
    drawn = {count: members(chosen, count, _WARM_UP_S + seconds, seed) for count in counts}
    rows: list[Row] = []
    lines: list[str] = []
    work = [(count, name) for count in counts for name in (*names, _BOUND)]
    with progress("simulating") as show:
        for done, (count, name) in enumerate(work):
            what = f"{name}, {count} devices"
            show(done / len(work), what)
            if name == _BOUND:
                rows.append(bound_of(chosen, drawn[count], _WARM_UP_S + seconds, _WARM_UP_S))
                continue
            run = simulate_fleet(
                chosen,
                drawn[count],
                CONTENDERS[name],
                _WARM_UP_S,
                lambda share, done=done, what=what: show((done + share) / len(work), what),  # type: ignore[misc]
            )
            rows.append(summarise(name, count, run))
            if csv_file is not None:
                lines += frames_csv(name, drawn[count], run, header=not lines)
    _print(chosen, seconds, rows, as_json)
    if csv_file is not None:
        write_text(csv_file, "".join(lines))
        say(human_console(as_json), f"written to {csv_file}")


def _only_without(live: bool, options: Mapping[str, object]) -> None:
    """Refuse options that are for the other kind of fleet."""
    for option, value in options.items():
        if value:
            advice = "is for simulated fleets: leave it out, or --live" if live else "is for live fleets: add --live"
            raise InputError(f"{option} {advice}")


def _run_live(
    file: Path | None,
    model: str,
    head: str | None,
    policy: str,
    devices: int | None,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    from janus_vit.cli.simulated.live_fleet import run_live_fleet
    from janus_vit.fleet.file import load_fleet

    wanted = None if file is None else load_fleet(file, partial(_find_model, head=head))
    run_live_fleet(file, wanted, model, head, policy, devices, seconds, seed, as_json)


def _number(text: str) -> int:
    """Read the number of devices of a live fleet."""
    numbers = _numbers(text)
    if len(numbers) > 1:
        raise InputError(f"--devices {text!r}: with --live, write one number")
    return numbers[0]


def _numbers(text: str) -> list[int]:
    """Read numbers of devices from text such as "4,16"."""
    parts = [part.strip() for part in text.split(",")]
    if not all(_COUNT.fullmatch(part) and 0 < int(part) <= 100_000 for part in parts):
        raise InputError(f"--devices {shown(text)} must list whole numbers from 1 to 100000: write 64 or 4,16,64")
    return [int(part) for part in parts]


def _find_model(name: str, head: str | None) -> KnownModel:
    """A model of the paper, or any value of --model of other commands, with the value of --head."""
    from janus_vit.fleet.file import KnownModel, published_model
    from janus_vit.reproduction.published import SHAPES

    if name in SHAPES:
        if head is not None:
            raise InputError(f"--head {head}: the paper's model {name!r} takes no head: name a checkpoint in the file")
        return published_model(name)
    from janus_vit.cli.common.loading import load_model_for_task

    model = load_model_for_task(name, None, None, head=head)
    return KnownModel(model.shape, model.accuracy)


def _print(chosen: Fleet, seconds: float, rows: Sequence[Any], as_json: bool) -> None:
    from janus_vit.fleet.report import HEADER

    kinds = ", ".join(kind.name for kind in chosen.kinds)
    console = human_console(as_json)
    say(console, f"{chosen.shape.name} on {chosen.cloud.name}; devices: {kinds}; {seconds:g} s\n")
    table = plain_table(*HEADER, left=2)
    for row in rows:
        table.add_row(*row.cells())
    print_table(console, table)
    if as_json:
        print(json.dumps([row.as_json() for row in rows], indent=1, allow_nan=False))
