"""`janus-vit fleet --live`: run a fleet on this machine, and hold the outcome against its simulation."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from janus_vit.cli.common.console import human_console, plain_table, progress, say, warn
from janus_vit.cli.common.loading import load_model_for_task
from janus_vit.cli.common.measure import measure_profile, read_accuracy
from janus_vit.cli.common.options import use_threads
from janus_vit.cli.common.tables import print_table
from janus_vit.errors import InputError
from janus_vit.planning.policies.presets import check_policy

if TYPE_CHECKING:
    from rich.console import Console

    from janus_vit.fleet.spec import Fleet
    from janus_vit.model.catalog import Model
    from janus_vit.model.engines.base import Engine
    from janus_vit.planning.accuracy.table import AccuracyTable
    from janus_vit.testbed.live_fleet.comparison import FleetComparison
    from janus_vit.testbed.live_fleet.emulate import EmulatedFleet

WARM_UP_S = 3.0  # until forecasts have settled


def run_live_fleet(
    file: Path | None,
    wanted: Fleet | None,
    model: str,
    head: str | None,
    policy: str,
    devices: int | None,
    seconds: float,
    seed: int,
    as_json: bool,
) -> None:
    """Run the command.

    Args:
        file: the fleet's file, for error messages.
        wanted: the fleet; None for the default one.
        model: value of --model.
        head: value of --head.
        policy: value of --policy.
        devices: value of --devices; None for as many as the cores carry.
        seconds: value of --seconds.
        seed: value of --seed.
        as_json: value of --json.

    Raises:
        InputError: the model has no accuracy table, the fleet's file is for another model, or the fleet cannot run on
            this machine.
    """
    from janus_vit.fleet.spec import members
    from janus_vit.testbed.live_fleet.comparison import compare_fleets
    from janus_vit.testbed.live_fleet.emulate import cpu_engine, default_fleet, emulate
    from janus_vit.testbed.live_fleet.paired import FleetSettings, run_paired_fleets
    from janus_vit.testbed.live_fleet.rig import FleetRig

    check_policy(policy)
    settings = FleetSettings(devices, WARM_UP_S + seconds, WARM_UP_S, seed)
    if wanted is not None:
        members(wanted, 1, settings.duration_s, seed)  # are all links long enough?
    use_threads(1)  # one core for the cloud
    loaded = load_model_for_task(model, None, None, head=head)
    if wanted is not None and wanted.shape != loaded.shape:
        raise InputError(
            f"{file}: field model is {wanted.shape.name!r}, and --model runs {loaded.name!r}: give --live the model "
            "of the file with --model"
        )
    engine = cpu_engine(loaded, on_fallback=warn)
    accuracy = _accuracy(loaded, engine) if wanted is None else wanted.accuracy
    own = measure_profile(loaded, engine, None, quick=True, clock=time.thread_time)
    emulated = emulate(wanted or default_fleet(own, loaded.shape, accuracy), own)
    console = human_console(as_json)
    _print_fleet(console, emulated, policy, seconds)
    with FleetRig(emulated, loaded, model, engine, policy, head) as rig, progress("live fleet") as show:
        found = compare_fleets(run_paired_fleets(rig, settings, show))
    _print_found(console, found)
    if as_json:
        about = {"model": loaded.name, "policy": policy, "duration_s": seconds, "seed": seed}
        print(json.dumps(about | {"kinds_of_devices": _kinds(emulated)} | found.as_json(), allow_nan=False))


def _accuracy(model: Model, engine: Engine) -> AccuracyTable:
    accuracy = read_accuracy(None, model, engine.precision)
    if accuracy is None:
        raise InputError(
            f"no accuracy of model {model.name!r} is known: run 'janus-vit calibrate', and give --live a fleet's file "
            "that names the table"
        )
    return accuracy


def _kinds(emulated: EmulatedFleet) -> dict[str, dict[str, object]]:
    return {
        kind.name: {
            "slowdown": emulated.slowdowns[kind.name],
            "sla_s": kind.sla_s,
            "period_s": kind.period_s,
            "rtt_s": kind.rtt_s,
            "links": list(kind.links),
        }
        for kind in emulated.fleet.kinds
    }


def _print_fleet(console: Console, emulated: EmulatedFleet, policy: str, seconds: float) -> None:
    fleet = emulated.fleet
    slower = f"{emulated.cloud.factor:.3g} times slower than one core here"
    say(console, f"{fleet.shape.name}, policy {policy}, {seconds:g} s; cloud: {fleet.cloud.name}, {slower}")
    for kind in fleet.kinds:
        say(
            console,
            f"{kind.name}: {emulated.slowdowns[kind.name]:.3g} times slower, SLA {1e3 * kind.sla_s:.0f} ms, a frame "
            f"every {1e3 * kind.period_s:.0f} ms, over {', '.join(kind.links)}",
        )


def _print_found(console: Console, found: FleetComparison) -> None:
    from janus_vit.testbed.live_fleet.comparison import HEADER, TOLERANCE

    say(console, f"{found.devices} devices; the cores carry {found.carried}\n")
    table = plain_table(*HEADER, left=2)
    for kind in found.kinds:
        table.add_row(kind.name, "live", *kind.live.cells())
        table.add_row("", "simulated", *kind.simulated.cells())
    print_table(console, table)
    (live, simulated), (batch, batch_simulated) = found.busy, found.mean_batch
    say(console, f"the cloud's engine runs {live:.0%} of the time live and {simulated:.0%} simulated")
    say(console, f"a batch has {batch:.2f} frames live and {batch_simulated:.2f} simulated")
    verdict = "AGREE" if found.agrees else "DIFFER"
    say(
        console,
        f"{verdict}: of all devices, right, in time and the median are compared, within {TOLERANCE:.0%} of live",
    )
    for miss in found.misses:
        say(console, miss)
