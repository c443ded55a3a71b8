"""When the device begins to finish frames in the air itself: early enough to finish all of them, one after the other.

A frame that is sent while others are in the air moves their last moments ahead, since the device computes one frame at
a time. A frame whose reply is expected only after its last moment takes no part: it moves nobody, and nobody moves it.
The device works on it while nothing else needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from janus_vit.planning.outcome import TIMERS_S, hedge_s
from janus_vit.planning.policies.base import Decision

_SHORT = 0.1  # of the time left: a step that may delay a reply
_SURE = 0.99  # probability of the cloud's answer from which on the next frame need not wait for the device's own


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a frame in the air may be waited for, if it were alone.

    Attributes:
        answer_s: when its reply is expected, on the device's clock.
        begin_s: when the device begins to finish it itself.
        deadline_s: when its answer is late.
        rescue_s: longest time that finishing it here takes.
        is_kept: whether time is kept for it: its reply is expected before the last moment to begin.
        by_cloud: probability that its reply comes in time, as its policy expected; 0 if the policy does not tell.
    """

    answer_s: float
    begin_s: float
    deadline_s: float
    rescue_s: float
    is_kept: bool
    by_cloud: float = 0.0

    def is_sure(self, now_s: float) -> bool:
        """Whether its reply is almost certain, and not overdue: other frames may take the time of its own answer."""
        return self.by_cloud >= _SURE and now_s <= self.answer_s

    @property
    def ends_s(self) -> float:
        """When the device no longer waits for the reply: it is late, and the device's own answer should be there."""
        return max(self.deadline_s, self.begin_s + self.rescue_s)


def steps_of(decision: Decision) -> int:
    """Number of steps of the device's own answer: its blocks."""
    return max(1, len(decision.plan.merges) - decision.plan.split)


def step_s(decision: Decision) -> float:
    """Expected time of a step of the device's own answer."""
    return decision.predicted.finish_s / steps_of(decision)


def wait_for(decision: Decision, sent_s: float, deadline_s: float) -> Wait:
    """The wait for a frame that is sent at a time.

    The device works on its own answer in steps, and a reply that comes during a step waits for its end. If its own
    answer would be late anyway and the steps are long, the device begins only when the reply is overdue.
    """
    expected = decision.predicted
    rescue_s = (1 + 2 * expected.spread) * expected.finish_s + TIMERS_S
    answer_s = sent_s + expected.remote_s
    begin_s = sent_s + float(hedge_s(deadline_s - sent_s, expected.finish_s, expected.spread))
    is_late_anyway = sent_s + expected.finish_s > deadline_s
    if is_late_anyway and step_s(decision) > _SHORT * (deadline_s - sent_s):
        begin_s = max(sent_s, min(answer_s, deadline_s))
    is_kept = begin_s >= answer_s and begin_s + rescue_s <= deadline_s + TIMERS_S
    return Wait(answer_s, begin_s, deadline_s, rescue_s, is_kept, decision.by_cloud or 0.0)


def held(decision: Decision, deadline_s: float) -> Wait:
    """The wait of a frame that has not begun, because earlier ones may need the device: it needs time for itself."""
    expected = decision.predicted
    alone_s = (1 + 2 * expected.spread) * (expected.device_s + expected.encode_s + expected.finish_s) + TIMERS_S
    return Wait(deadline_s, deadline_s - alone_s, deadline_s, alone_s, is_kept=True)


def last_moments(waits: Sequence[Wait]) -> list[float]:
    """When the device has to begin with each frame itself, so that it could finish all of them in time.

    Infinite for frames that no time is kept for.

    Args:
        waits: of all frames that have no answer, in the order of their deadlines.
    """
    moments, next_s = [], math.inf
    for wait in reversed(waits):
        moment_s = math.inf
        if wait.is_kept:
            moment_s = next_s = min(wait.begin_s, next_s - wait.rescue_s)
        moments.append(moment_s)
    return moments[::-1]


def with_held(waits: Sequence[Wait], last: Wait | None, now_s: float) -> list[Wait]:
    """Add a held frame, unless it cannot be in time any more if the others are finished here before it."""
    if last is None:
        return list(waits)
    together = [*waits, last]
    return together if min(last_moments(together)) + 2 * TIMERS_S >= now_s else list(waits)


def _latest_s(wait: Wait, now_s: float) -> float:
    """Until when another frame may keep the device busy: it could not take the reply, or begin in time itself."""
    return wait.begin_s if _could_be_rescued(wait) and not wait.is_sure(now_s) else wait.deadline_s


def _is_shared(wait: Wait) -> bool:
    """Whether another frame may take the time that the device's own answer needs to be in time."""
    return _could_be_rescued(wait) and not wait.is_kept


def _could_be_rescued(wait: Wait) -> bool:
    return wait.begin_s + wait.rescue_s <= wait.deadline_s + 2 * TIMERS_S


def has_room(
    waits: Sequence[Wait], begin_s: float, decision: Decision, deadline_s: float, busy_s: float, is_silent: bool
) -> bool:
    """Whether the device can begin one more frame, and could still finish all of them in time if the link failed.

    A policy that tells the probability of being in time counts the own answers to earlier frames in. With any other
    one, and a link that seems to be dead, a frame begins only if the device could give its own answers to all.

    Args:
        waits: of the frames in the air.
        begin_s: when it would begin.
        decision: how it would run.
        deadline_s: its deadline.
        busy_s: time for which it keeps the device busy before it is sent or finished, at most.
        is_silent: whether the last call that ended brought no reply.
    """
    if not waits:
        return True
    sent_s = begin_s + busy_s
    mine = () if decision.plan.is_local else (wait_for(decision, sent_s, deadline_s),)
    moments = last_moments((*waits, *mine))
    unkept = [wait for wait in waits if not wait.is_kept and wait.deadline_s > begin_s]
    if any(sent_s > _latest_s(wait, begin_s) for wait in unkept):
        return False
    is_silent = is_silent or any(begin_s > wait.answer_s for wait in waits)
    if decision.predicted.on_time is None and is_silent and any(_is_shared(wait) for wait in (*waits, *mine)):
        return False
    are_patient = all(moment_s >= wait.answer_s for moment_s, wait in zip(moments, waits, strict=False))
    return are_patient and sent_s <= min(moments[: len(waits)])
