"""`janus-vit demo`: a cloud, a slow device and a mobile link between them on this machine, policy after policy."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import cycle
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
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
from janus_vit.model.engines.registry import AUTO, check_engine

if TYPE_CHECKING:
    from rich.console import Console

    from janus_vit.records.summary import Summary
    from janus_vit.testbed.rig import Step

# name in the table -> policy, and whether pixels may leave the device
RUNS = {
    "device-only": ("device-only", True),
    "cloud-only": ("cloud-only", True),
    "mixed": ("mixed", True),
    "split-only": ("split-only", True),
    "janus": ("janus", True),
    "cloud-jpeg": ("cloud-jpeg", True),
    "adaptive": ("adaptive", True),
    "adaptive, private": ("adaptive", False),
}
_COLUMNS = 72  # frames in the moving picture
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
    seconds: Seconds = 12.0,
    slowdown: Slowdown = DEFAULT_SLOWDOWN,
    seed: Seed = DEFAULT_SEED,
    engine: EngineName = AUTO,
    as_json: AsJson = False,
) -> None:
    """Watch pruning level and split point follow a mobile link, and compare with the paper's baselines.

    Everything is real but the link and the device's speed: frames, model, bytes, processes. Each policy gets the same
    link from its beginning.

    \b
    Example:  janus-vit demo --trace 5g-walking --sla 80ms
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
    check_positive(seconds, "--seconds", "12")
    check_positive(slowdown, "--slowdown", "14")
    check_engine(engine)
    console = human_console(as_json)
    rates = trace_from(trace, duration_s=max(60.0, 2 * seconds), seed=seed)
    use_threads(1)  # one core for each side
    model = load_model(DEFAULT_MODEL)
    runner = make_engine(model, engine, on_fallback=warn)
    profile = measure_profile(model, runner, None, quick=True, clock=time.thread_time)
    link = LinkSpec(rates, delay_s=_RTT_S / 2)
    say(console, f"{model.name}, SLA {milliseconds(sla_s)} ms, device {slowdown:g} times slower than this machine")
    say(console, f"link {trace}: mean {rates.mean_mbps:.3g} Mbps, round trip {milliseconds(_RTT_S)} ms\n")
    rows: dict[str, Summary] = {}
    with Rig(model, model.name, profile, EmulatedNetwork(link), slowdown, runner) as rig:
        for name, (policy, images_allowed) in RUNS.items():
            samples = cycle(open_source("builtin"))
            with _shown(name, sla_s, seconds, console) as show:
                steps = [show(step) for step in rig.stream(policy, samples, sla_s, seconds, images_allowed)]
            summary = summarise([step.outcome for step in steps], [step.label for step in steps])
            if summary is not None:
                rows[name] = summary
    _print_table(rows, console)
    if as_json:
        print(json.dumps({name: asdict(summary) for name, summary in rows.items()}))


@contextmanager
def _shown(name: str, sla_s: float, seconds: float, console: Console) -> Iterator[_Show]:
    """A moving picture on a terminal, a few lines in a pipe."""
    say(console, f"{name}", "bold")
    if not messages().is_terminal:
        yield _Lines(seconds, console)
        return
    with Live(console=messages(), transient=True, refresh_per_second=10) as live:
        yield _Picture(live, sla_s)


class _Show:
    """Shows a step and hands it on."""

    def __call__(self, step: Step) -> Step:
        self.show(step)
        return step

    def show(self, step: Step) -> None:
        """Draw one step."""


class _Lines(_Show):
    """A line now and then."""

    def __init__(self, seconds: float, console: Console) -> None:
        self._every_s = seconds / _LINES
        self._next_s = self._every_s / 2
        self._console = console

    def show(self, step: Step) -> None:
        if step.elapsed_s < self._next_s:
            return
        self._next_s += self._every_s
        outcome = step.outcome
        total = milliseconds(outcome.measured.total_s)
        late = "" if outcome.met else "  late"
        say(self._console, f"  {step.elapsed_s:5.1f} s  {step.rate_mbps:6.1f} Mbps  {outcome.plan}  {total} ms{late}")


class _Picture(_Show):
    """The last frames as small bar charts, one under the other."""

    def __init__(self, live: Live, sla_s: float) -> None:
        self._live = live
        self._sla_s = sla_s
        self._steps: deque[Step] = deque(maxlen=_COLUMNS)

    def show(self, step: Step) -> None:
        self._steps.append(step)
        steps, outcome = self._steps, step.outcome
        blocks = len(outcome.plan.merges) + 1
        facts = Table.grid(padding=(0, 2))
        rates = [each.rate_mbps for each in steps]
        facts.add_row("link", _bars(rates, max(*rates, 1.0)), f"{step.rate_mbps:.1f} Mbps")
        levels = [each.outcome.plan.level for each in steps]
        facts.add_row("pruning level", _bars(levels, max(*levels, 0.4)), f"{levels[-1]:.2f}")
        splits = [float(each.outcome.plan.split) for each in steps]
        facts.add_row("split point", _bars(splits, blocks), f"{outcome.plan.split} of {blocks}  {outcome.plan.payload}")
        totals = [each.outcome.measured.total_s for each in steps]
        latency = _bars(totals, 2 * self._sla_s)
        for index, each in enumerate(steps):
            latency.stylize("green" if each.outcome.met else "red", index, index + 1)
        facts.add_row("latency", latency, f"{milliseconds(totals[-1])} of {milliseconds(self._sla_s)} ms")
        self._live.update(Group(facts))


def _bars(values: list[float], top: float) -> Text:
    """One character a value, from nothing to a full block at `top`."""
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
    console.print(table)
    say(console, "late: over the SLA. right in time: the answer was right and came inside the SLA.", "dim")
