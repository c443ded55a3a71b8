"""How a frame ended on the device, before its total time is known."""

from __future__ import annotations

from dataclasses import dataclass

from janus_vit.planning.outcome import Answer, Measured, Transfer
from janus_vit.planning.plan import Plan


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The result of one frame.

    Attributes:
        plan: the plan that ran. After a fallback it has a rescue schedule only if the device used it.
        answer: the answer.
        measured: measured times, without the total.
        size_bytes: payload bytes that were sent.
        fallback: why the device finished the frame itself; None if it did not have to.
        transfers: observation of the link from the frame's own transfer; empty if there was none.
        refused: whether the cloud refused the frame.
    """

    plan: Plan
    answer: Answer
    measured: Measured
    size_bytes: int = 0
    fallback: str | None = None
    transfers: tuple[Transfer, ...] = ()
    refused: bool = False
