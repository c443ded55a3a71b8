"""Where text goes: results to stdout, everything that moves or warns to stderr, and nothing that moves into a pipe."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

_POLL_S = 0.1
_PIPE_WIDTH = 160  # a table in a file must not be cut at 80 columns


def results() -> Console:
    """Standard output."""
    return _console(stderr=False)


def messages() -> Console:
    """Standard error."""
    return _console(stderr=True)


def human_console(as_json: bool) -> Console:
    """Where people read: stderr while stdout carries JSON."""
    return messages() if as_json else results()


def say(console: Console, text: str, style: str | None = None) -> None:
    """One line that is never broken or interpreted."""
    console.print(text, style=style, soft_wrap=True)


def warn(text: str) -> None:
    """One line of warning."""
    say(messages(), f"janus-vit: warning: {text}")


def plain_table(*columns: str, left: int = 1) -> Table:
    """A table without frames; the first `left` columns are words, the others numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=index < left)
    return table


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with three significant digits."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on the terminal, which vanishes at the end; gives a function of share done and present step."""
    console = messages()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[step]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0, step="")
        yield lambda share, step: bar.update(task, completed=share, step=step)


class Stop:
    """Whether somebody wants the command to end.

    A plain flag that is polled. A signal handler must not wait for a lock that its own thread may hold, and a signal
    that comes just before a thread falls asleep does not wake it.
    """

    def __init__(self) -> None:
        self.asked = False

    def wait(self, seconds: float = math.inf) -> None:
        """Sleep for that long, or until somebody asks."""
        until_s = time.perf_counter() + seconds
        while not self.asked and (left_s := until_s - time.perf_counter()) > 0:
            time.sleep(min(left_s, _POLL_S))


@contextmanager
def wait_for_signal() -> Iterator[Stop]:
    """A `Stop` that Ctrl-C or SIGTERM asks for; a second one ends the command at once, as ever."""
    stop = Stop()

    def handle(number: int, frame: object) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _console(stderr: bool) -> Console:
    return _shared(stderr, Console(stderr=stderr).is_terminal)


@lru_cache
def _shared(stderr: bool, is_terminal: bool) -> Console:
    """One console a stream: a line that is printed while a live picture is shown goes above it, not through it."""
    width = None if is_terminal else _PIPE_WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)
