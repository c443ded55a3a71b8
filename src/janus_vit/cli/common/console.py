"""Print results to stdout, and messages, warnings and progress bars to stderr. A pipe gets no progress bars.

Also waits for Ctrl-C and SIGTERM.
"""

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
_PIPE_WIDTH = 160  # columns; rich would cut tables in a file at 80


def results() -> Console:
    """Return the console for standard output."""
    return _console(stderr=False)


def messages() -> Console:
    """Return the console for standard error."""
    return _console(stderr=True)


def human_console(as_json: bool) -> Console:
    """Return the console for text that people read: stderr if stdout carries JSON, otherwise stdout."""
    return messages() if as_json else results()


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print one line without wrapping or markup."""
    console.print(text, style=style, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning as one line on stderr."""
    say(messages(), f"janus-vit: warning: {text}")


def plain_table(*columns: str, left: int = 1) -> Table:
    """Make a table without borders. The first `left` columns are aligned left, the others right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=index < left)
    return table


def milliseconds(seconds: float) -> str:
    """Format seconds as milliseconds with three significant digits."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar on the terminal until the end of the `with` block.

    Gives a function that updates the bar, with the share done (0 to 1) and the current step in words.
    """
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


class StopFlag:
    """Whether a signal has asked the command to stop.

    This is a plain flag that is polled. A signal handler must not wait for a lock that its own thread may hold, and a
    signal that arrives just before a thread sleeps does not wake it.

    Attributes:
        requested: whether the command should stop.
    """

    def __init__(self) -> None:
        self.requested = False

    def wait(self, seconds: float = math.inf) -> None:
        """Sleep for that time, or until a stop is requested."""
        until_s = time.perf_counter() + seconds
        while not self.requested and (left_s := until_s - time.perf_counter()) > 0:
            time.sleep(min(left_s, _POLL_S))


@contextmanager
def wait_for_signal() -> Iterator[StopFlag]:
    """Give a flag that Ctrl-C or SIGTERM sets. A second signal interrupts the command at once."""
    stop = StopFlag()

    def handle(number: int, frame: object) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

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
    """Share one console per stream, so that a line printed during a live display appears above the display."""
    width = None if is_terminal else _PIPE_WIDTH
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)
