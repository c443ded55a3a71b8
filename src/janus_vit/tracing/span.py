"""A span as plain data, and spans that follow each other. Times are those of `time.perf_counter`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Protocol, TypeAlias

from janus_vit.tracing.trace_context import SPAN_BITS, TraceContext

Attribute: TypeAlias = str | bool | int | float
_IDS = Random()


class Kind(Enum):
    """Whether a span is a call to another machine, the answer to one, or neither."""

    INTERNAL = "internal"
    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Span:
    """A named part of a trace.

    Attributes:
        name: what was done.
        context: its trace and its own number.
        parent: number of the span that it is a part of; None for the first span of a trace.
        began_s: when it began.
        ended_s: when it ended.
        attributes: what else is known of it.
        problem: why it failed, one sentence; None if it did not.
        kind: see `Kind`.
    """

    name: str
    context: TraceContext
    parent: int | None
    began_s: float
    ended_s: float
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    problem: str | None = None
    kind: Kind = Kind.INTERNAL


class SpanSink(Protocol):
    """Takes spans."""

    def add(self, spans: Sequence[Span]) -> None:
        """Take the spans of a frame; never waits."""

    def close(self) -> None:
        """Pass on what is left."""


def within(parent: TraceContext) -> TraceContext:
    """The context of a new span of the same trace."""
    return TraceContext(parent.trace, _IDS.getrandbits(SPAN_BITS) or 1)


def in_sequence(parent: TraceContext, began_s: float, parts: Iterable[tuple[str, float]]) -> Iterator[Span]:
    """Yield spans that follow each other; those that took no time are left out.

    Args:
        parent: the span that they are parts of.
        began_s: when the first one began.
        parts: name and seconds of each.
    """
    for name, seconds in parts:
        if seconds > 0:
            yield Span(name, within(parent), parent.span, began_s, began_s + seconds)
        began_s += seconds
