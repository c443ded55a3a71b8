"""When the device stops waiting for the frames in flight: early enough to finish all of them here, one after the other.

A frame that is sent while others are in the air moves their last moments ahead, since the device computes one frame at
a time. A frame whose only hope is the cloud takes no part: it moves nobody, and nobody moves it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from janus_vit.planning.outcome import patience_s
from janus_vit.planning.policies.base import Decision
from janus_vit.wire.fields import LONGEST_WAIT_S

_TIMERS_S = 0.002  # threads and timers are late by about this much


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a frame in the air may be waited for, if it were alone.

    Attributes:
        answer_s: when its reply is expected, on the device's clock.
        give_up_s: when the device stops waiting.
        deadline_s: when its answer is late.
        rescue_s: longest time that finishing it here takes.
    """

    answer_s: float
    give_up_s: float
    deadline_s: float
    rescue_s: float

    @property
    def is_rescuable(self) -> bool:
        """Whether the device could finish it in time after it has given up."""
        return self.give_up_s < self.deadline_s


def wait_for(decision: Decision, sent_s: float, deadline_s: float) -> Wait:
    """The wait for a frame that is sent at a time."""
    expected = decision.predicted
    patience = patience_s(deadline_s - sent_s, expected.finish_s, expected.remote_s, spread=expected.spread)
    return Wait(
        answer_s=sent_s + expected.remote_s,
        give_up_s=sent_s + min(float(patience), LONGEST_WAIT_S),
        deadline_s=deadline_s,
        rescue_s=(1 + 2 * expected.spread) * expected.finish_s + _TIMERS_S,
    )


def held(decision: Decision, deadline_s: float) -> Wait:
    """The wait of a frame that has not begun, because earlier ones may need the device: it needs time for itself."""
    expected = decision.predicted
    alone_s = (1 + 2 * expected.spread) * (expected.device_s + expected.encode_s + expected.finish_s) + _TIMERS_S
    return Wait(answer_s=deadline_s, give_up_s=deadline_s - alone_s, deadline_s=deadline_s, rescue_s=alone_s)


def last_moments(waits: Sequence[Wait]) -> list[float]:
    """When the device has to stop waiting for each frame, so that it could finish all of them in time.

    Args:
        waits: of all frames that have no answer, in the order of their deadlines.
    """
    moments, next_s = [], math.inf
    for wait in reversed(waits):
        moment_s = wait.give_up_s
        if wait.is_rescuable:
            moment_s = next_s = min(moment_s, next_s - wait.rescue_s)
        moments.append(moment_s)
    return moments[::-1]


def with_held(waits: Sequence[Wait], last: Wait | None, now_s: float) -> list[Wait]:
    """Add a held frame, unless it cannot be in time any more if the others are finished here before it."""
    if last is None:
        return list(waits)
    together = [*waits, last]
    return together if min(last_moments(together)) + 2 * _TIMERS_S >= now_s else list(waits)


def has_room(waits: Sequence[Wait], begin_s: float, decision: Decision, deadline_s: float, busy_s: float) -> bool:
    """Whether the device can begin one more frame, and could still finish all of them in time if the link failed.

    Args:
        waits: of the frames in the air.
        begin_s: when it would begin.
        decision: how it would run.
        deadline_s: its deadline.
        busy_s: time for which it keeps the device busy before it is sent or finished, at most.
    """
    if not waits:
        return True
    sent_s = begin_s + busy_s
    mine = () if decision.plan.is_local else (wait_for(decision, sent_s, deadline_s),)
    moments = last_moments((*waits, *mine))
    are_patient = all(
        moment_s >= min(wait.give_up_s, wait.answer_s) for moment_s, wait in zip(moments, waits, strict=False)
    )
    return are_patient and sent_s <= min(moments[: len(waits)])
