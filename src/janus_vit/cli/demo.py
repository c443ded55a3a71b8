"""`janus-vit demo`: run policies one after another with a cloud, a slow device and a mobile link on this machine."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import cycle
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from janus_vit.cli.common.console import human_console, messages, milliseconds, plain_table, say, warn
from janus_vit.cli.common.measure import measure_profile
from janus_vit.cli.common.options import (
    DEFAULT_MODEL,
    DEFAULT_SEED,
    DEFAULT_SLOWDOWN,
    AsJson,
    EngineName,
    Seconds,
    Seed,
    Slowdown,
    check_positive,
    parse_duration,
    use_threads,
)
from janus_vit.cli.common.tables import print_table
from janus_vit.errors import InputError
from janus_vit.model.engines.registry import AUTO, check_engine

if TYPE_CHECKING:
    from rich.console import Console

    from janus_vit.records.summary import Summary
    from janus_vit.testbed.rig import Step

# name of a run -> policy, and whether pixels may leave the device
RUNS = {
    "device-only": ("device-only", True),
    "cloud-only": ("cloud-only", True),
    "mixed": ("mixed", True),
    "split-only": ("split-only", True),
    "cloud-jpeg": ("cloud-jpeg", True),
    "janus": ("janus", True),
    "adaptive": ("adaptive", True),
    "adaptive-private": ("adaptive", False),
}
DEFAULT_RUNS = "device-only,cloud-jpeg,janus,adaptive"  # one side alone, the paper's policy, and ours
_COLUMNS = 72  # frames in the live charts
_SHADES = " ▁▂▃▄▅▆▇█"
_LINES = 4  # of each run in a pipe
_RTT_S = 0.03


def demo(
    trace: Annotated[
        str,
        typer.Option(
            "--trace", metavar="SPEC", help="A generated link such as lte-driving, a trace file, or constant:20."
        ),
    ] = "wifi-walking",
    sla: Annotated[str, typer.Option("--sla", metavar="TIME", help="Time allowed for each frame.")] = "150ms",
    policies: Annotated[
        str,
        typer.Option("--policies", metavar="LIST", help=f"all, or some of {', '.join(RUNS)}, separated by commas."),
    ] = DEFAULT_RUNS,
    seconds: Seconds = 10.0,
    slowdown: Slowdown = DEFAULT_SLOWDOWN,
    seed: Seed = DEFAULT_SEED,
    engine: EngineName = AUTO,
    as_json: AsJson = False,
) -> None:
    """Watch policies choose a pruning level and a split point for each frame while a mobile link changes.

    Frames, model, bytes and processes are real. The link is emulated, and the
    device is slowed down. Each policy starts at the beginning of the same link.

    \b
    Example:  janus-vit demo --trace 5g-walking --sla 80ms --policies all
    """
    from janus_vit.links.emulator import LinkSpec
    from janus_vit.links.generator import trace_from
    from janus_vit.model.catalog import load_model
    from janus_vit.model.engines.factory import make_engine
    from janus_vit.records.summary import summarise
    from janus_vit.sources.frames import open_source
    from janus_vit.testbed.network import EmulatedNetwork
    from janus_vit.testbed.rig import Rig

    sla_s = parse_duration(sla, "--sla")
    runs = _parse_runs(policies)
    check_positive(seconds, "--seconds", "10")
    check_positive(slowdown, "--slowdown", "14")
    check_engine(engine)
    console = human_console(as_json)
    rates = trace_from(trace, duration_s=max(60.0, 2 * seconds), seed=seed)
    say(console, f"{DEFAULT_MODEL}, SLA {milliseconds(sla_s)} ms, device {slowdown:g} times slower than this machine")
    say(console, f"link {trace}: mean {rates.mean_mbps:.3g} Mbps, round trip {milliseconds(_RTT_S)} ms")
    say(console, f"measuring this machine, then {len(runs)} runs of {seconds:g} s\n")
    use_threads(1)  # one core for each side
    model = load_model(DEFAULT_MODEL)
    runner = make_engine(model, engine, on_fallback=warn)
    profile = measure_profile(model, runner, None, quick=True, clock=time.thread_time)
    link = LinkSpec(rates, delay_s=_RTT_S / 2)
    rows: dict[str, Summary] = {}
    with Rig(model, model.name, profile, EmulatedNetwork(link), slowdown, runner) as rig:
        for number, (name, (policy, images_allowed)) in enumerate(runs.items(), 1):
            say(console, f"{number}/{len(runs)} {name}", "bold")
            samples = cycle(open_source("builtin"))
            with _display(sla_s, seconds, console) as show:
                steps = [show(step) for step in rig.stream(policy, samples, sla_s, seconds, images_allowed)]
            summary = summarise([step.outcome for step in steps], [step.label for step in steps])
            if summary is not None:
                rows[name] = summary
    _print_table(rows, console)
    if as_json:
        print(json.dumps({name: asdict(summary) for name, summary in rows.items()}))


def _parse_runs(policies: str) -> dict[str, tuple[str, bool]]:
    """Select the runs that --policies lists.

    Raises:
        InputError: a name is unknown.
    """
    names = list(RUNS) if policies == "all" else [name.strip() for name in policies.split(",")]
    unknown = [name for name in names if name not in RUNS]
    if unknown:
        raise InputError(
            f"--policies: {unknown[0]!r} is unknown: write all, or some of {', '.join(RUNS)}, separated by commas"
        )
    return {name: RUNS[name] for name in names}


@contextmanager
def _display(sla_s: float, seconds: float, console: Console) -> Iterator[Callable[[Step], Step]]:
    """Give a function that shows a step and returns it: live charts on a terminal, a few lines in a pipe."""
    if not messages().is_terminal:
        yield _Lines(seconds, console)
        return
    with Live(console=messages(), transient=True, refresh_per_second=10) as live:
        yield _Charts(live, sla_s, seconds)


class _Lines:
    """Prints one of the steps from time to time."""

    def __init__(self, seconds: float, console: Console) -> None:
        self._every_s = seconds / _LINES
        self._next_s = self._every_s / 2
        self._console = console

    def __call__(self, step: Step) -> Step:
        if step.elapsed_s >= self._next_s:
            self._next_s += self._every_s
            self._print(step)
        return step

    def _print(self, step: Step) -> None:
        outcome = step.outcome
        total = milliseconds(outcome.measured.total_s)
        late = "" if outcome.met else "  late"
        say(self._console, f"  {step.elapsed_s:5.1f} s  {step.rate_mbps:6.1f} Mbps  {outcome.plan}  {total} ms{late}")


class _Charts:
    """Draws the last frames as small bar charts, one below the other."""

    def __init__(self, live: Live, sla_s: float, seconds: float) -> None:
        self._live = live
        self._sla_s = sla_s
        self._seconds = seconds
        self._steps: deque[Step] = deque(maxlen=_COLUMNS)

    def __call__(self, step: Step) -> Step:
        self._steps.append(step)
        self._live.update(self._draw())
        return step

    def _draw(self) -> Table:
        steps = self._steps
        outcome = steps[-1].outcome
        blocks = len(outcome.plan.merges) + 1
        facts = Table.grid(padding=(0, 2))
        elapsed_s = min(steps[-1].elapsed_s, self._seconds)
        done = round(_COLUMNS * elapsed_s / self._seconds)
        facts.add_row("time", Text(("━" * done).ljust(_COLUMNS)), f"{elapsed_s:.1f} of {self._seconds:g} s")
        rates = [each.rate_mbps for each in steps]
        facts.add_row("link", _bars(rates, max(*rates, 1.0)), f"{rates[-1]:.1f} Mbps")
        levels = [each.outcome.plan.level for each in steps]
        facts.add_row("pruning level", _bars(levels, max(*levels, 0.4)), f"{levels[-1]:.2f}")
        splits = [float(each.outcome.plan.split) for each in steps]
        facts.add_row("split point", _bars(splits, blocks), f"{outcome.plan.split} of {blocks}  {outcome.plan.payload}")
        totals = [each.outcome.measured.total_s for each in steps]
        latency = _bars(totals, 2 * self._sla_s)
        for index, each in enumerate(steps):
            latency.stylize("green" if each.outcome.met else "red", index, index + 1)
        facts.add_row("latency", latency, f"{milliseconds(totals[-1])} of {milliseconds(self._sla_s)} ms")
        return facts


def _bars(values: list[float], top: float) -> Text:
    """Draw one character for each value, from a space at 0 to a full block at `top`."""
    most = len(_SHADES) - 1
    text = "".join(_SHADES[max(0, min(most, round(most * value / top)))] for value in values)
    return Text(text.ljust(_COLUMNS))


def _print_table(rows: dict[str, Summary], console: Console) -> None:
    names = ("policy", "frames", "late %", "median ms", "p99 ms", "frames/s", "kB/frame", "level", "right %")
    table = plain_table(*names, "right in time %", "sent: image / tokens / nothing %")
    for name, row in rows.items():
        kinds = " / ".join(f"{100 * row.kinds.get(kind, 0.0):.0f}" for kind in ("image", "tokens", "nothing"))
        table.add_row(
            name,
            f"{row.frames}",
            f"{100 * row.violation_ratio:.1f}",
            milliseconds(row.median_s),
            milliseconds(row.p99_s),
            f"{row.throughput_fps:.1f}",
            f"{row.mean_bytes / 1e3:.1f}",
            f"{row.mean_level:.2f}",
            f"{100 * (row.accuracy or 0.0):.1f}",
            f"{100 * (row.in_time_accuracy or 0.0):.1f}",
            kinds,
        )
    print_table(console, table)
    say(console, "late: over the SLA. right in time: the answer was right and came within the SLA.", "dim")
