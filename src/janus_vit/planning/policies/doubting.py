"""A policy that sends a frame now and then although what the cloud tells keeps all frames on the device.

A report of its load, or its latency profile, may be old, wrong or a lie, and only a frame shows it. Knows no network;
who sends tells when.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from janus_vit.planning.outcome import Outcome
from janus_vit.planning.policies.base import FREE, Decision, Policy, Situation
from janus_vit.planning.policies.probing import HOPELESS

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 320.0
_OF_A_PRICE = 12  # pauses: a price asks devices to leave the engine to others, and no answer can prove it wrong


class DoubtingPolicy:
    """Decides as another policy, except for a few trials.

    While all frames stay on the device, a trial ignores the cloud's reports and its profile after five seconds, the
    next one after twice that time, and so on up to 320 s; twelve times as long if the cloud reports a price. A trial is
    a frame that the device can still finish in time if the cloud does not answer, or one that would be late anyway.

    Args:
        policy: the other policy.
        sent_s: returns when a frame was last sent, on the device's clock.
    """

    def __init__(self, policy: Policy, sent_s: Callable[[], float]) -> None:
        self._policy = policy
        self._sent_s = sent_s
        self._pause_s = _FIRST_PAUSE_S
        self._last_s = -math.inf  # when the last frame that was sent had been captured

    def observe(self, outcome: Outcome) -> None:
        """See `Policy.observe`."""
        self._policy.observe(outcome)
        if not outcome.plan.is_local:
            is_alone = _FIRST_PAUSE_S <= outcome.at_s - self._last_s < math.inf
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if is_alone else _FIRST_PAUSE_S
            self._last_s = outcome.at_s

    def choose(self, situation: Situation) -> Decision:
        """See `Policy.choose`."""
        decision = self._policy.choose(situation)
        believed = self._believed(situation)
        if not decision.plan.is_local or believed == situation:
            return decision
        trial = self._policy.choose(believed)
        on_time = decision.predicted.on_time
        is_late_anyway = on_time is not None and on_time < HOPELESS
        is_trial = not trial.plan.is_local and (is_late_anyway or _is_cheap(trial, situation.time_left_s))
        return trial if is_trial else decision

    def _believed(self, situation: Situation) -> Situation:
        """The situation without what has kept all frames on the device for too long."""
        is_priced = situation.price.answers_per_s > 0
        pause_s = _OF_A_PRICE * self._pause_s if is_priced else self._pause_s
        is_due = situation.now_s - self._sent_s() >= pause_s
        return replace(situation, cloud_queue_s=0.0, price=FREE, doubts_profile=True) if is_due else situation


def _is_cheap(decision: Decision, time_left_s: float) -> bool:
    """Whether a frame that is sent can be finished here in time if no answer comes."""
    predicted = decision.predicted
    left_s = time_left_s - predicted.device_s - predicted.encode_s
    return (1 + 2 * predicted.spread) * predicted.finish_s < left_s
