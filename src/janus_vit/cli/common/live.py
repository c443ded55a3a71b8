"""Show a stream on the terminal while it runs: the last frame, its latency, the link and counts. Silent in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from janus_vit.cli.common.console import messages, milliseconds
from janus_vit.planning.outcome import DEFAULT_THRESHOLD, Answer, Outcome

_BAR_WIDTH = 30  # characters; the SLA is at two thirds


class StreamView:
    """A live display of a stream's last frame.

    Args:
        labels: names of the classes.
        length: expected number of frames; None if unknown.
        threshold: probability from which a label counts as found, for a multi-label model; None for others.
    """

    def __init__(self, labels: tuple[str, ...], length: int | None, threshold: float | None = None) -> None:
        self._labels, self._threshold = labels, threshold
        self._seen = self._late = self._fallbacks = 0
        self._last_fallback = ""
        self._frames = Progress(
            TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), disable=length is None
        )
        self._task = self._frames.add_task("frames", total=length)
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the display on the terminal until the end of the `with` block."""
        console = messages()
        if not console.is_terminal:
            yield
            return
        with Live(console=console, transient=True, refresh_per_second=10) as self._live:
            yield

    def show(self, name: str, outcome: Outcome) -> None:
        """Count one more frame and display it."""
        self._seen += 1
        self._late += not outcome.met
        if outcome.fallback is not None:
            self._fallbacks += 1
            self._last_fallback = outcome.fallback
        self._frames.advance(self._task)
        if self._live is not None:
            self._live.update(self._display(name, outcome))

    def _display(self, name: str, outcome: Outcome) -> Group:
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim", no_wrap=True, min_width=9)
        facts.add_column(no_wrap=True, overflow="ellipsis")
        for what, value in self._facts(name, outcome):
            facts.add_row(what, value)
        return Group(facts) if self._frames.disable else Group(facts, self._frames)

    def _facts(self, name: str, outcome: Outcome) -> Iterator[tuple[str, Text]]:
        answer, plan = outcome.answer, outcome.plan
        yield "frame", Text(f"{outcome.frame + 1}  {name}")
        yield "answer", Text(_answer(answer, self._labels, self._threshold), "bold")
        yield "plan", Text(f"{plan}  {outcome.size_bytes / 1e3:.1f} kB")
        yield "latency", _latency(outcome)
        yield "link", Text(_link(outcome))
        yield "late", Text(f"{self._late} of {self._seen} ({self._late / self._seen:.0%})")
        yield "fallbacks", Text(f"{self._fallbacks}  {self._last_fallback}")


def _answer(answer: Answer, labels: tuple[str, ...], threshold: float | None) -> str:
    if threshold is not None:
        found = zip(answer.above(threshold), answer.probabilities, strict=False)
        named = ", ".join(f"{labels[index]}  {probability:.0%}" for index, probability in found)
        return named or f"no label from {threshold:.0%}"
    if not (answer.classes or answer.vector):
        return _dense_answer(answer, labels)
    if answer.classes:
        return f"{labels[answer.classes[0]]}  {answer.probabilities[0]:.0%}"
    if labels:  # the numbers of a model that regresses
        return ", ".join(f"{label}  {value:.4g}" for label, value in zip(labels, answer.vector, strict=True))
    first = ", ".join(f"{value:.3f}" for value in answer.vector[:4])
    return f"vector of {len(answer.vector)}: {first}, ..."


def _dense_answer(answer: Answer, labels: tuple[str, ...]) -> str:
    if answer.map is not None:
        channels, *size = answer.map.shape
        shown = f"map of {' x '.join(map(str, size))}"
        return shown if channels == 1 else f"{shown} with {channels} channels"
    if answer.keypoints:
        return f"{len(answer.keypoints)} key points"
    found = [f"{labels[box.label]}  {box.score:.0%}" for box in answer.boxes if box.score >= DEFAULT_THRESHOLD]
    return f"{len(found)} objects: {', '.join(found)}"


def _latency(outcome: Outcome) -> Text:
    total_s, sla_s = outcome.measured.total_s, outcome.sla_s
    at_sla = _BAR_WIDTH * 2 // 3
    filled = min(_BAR_WIDTH, round(at_sla * total_s / sla_s))
    bar = "".join("|" if at == at_sla else "█" if at < filled else "·" for at in range(_BAR_WIDTH + 1))
    return Text(f"{bar}  {milliseconds(total_s)} of {milliseconds(sla_s)} ms", "green" if outcome.met else "red")


def _link(outcome: Outcome) -> str:
    rate_mbps = outcome.predicted.rate_mbps
    seen = [transfer.rtt_s for transfer in outcome.transfers if transfer.rtt_s is not None]
    rtt = f", round trip {milliseconds(seen[-1])} ms" if seen else ""
    return "not measured" if rate_mbps is None else f"about {rate_mbps:.3g} Mbps{rtt}"
