"""Rank all plans by a policy: let it choose repeatedly, each time without the options that it has already chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from janus_vit.planning.outcome import Prediction
from janus_vit.planning.plan import Plan
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.custom import is_custom
from janus_vit.planning.policies.presets import policy_over, policy_table

KINDS = ("device only", "image", "tokens")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One split point and payload, at the level that the policy chose for it.

    Attributes:
        plan: the plan.
        predicted: its prediction.
    """

    plan: Plan
    predicted: Prediction

    @property
    def kind(self) -> str:
        """What crosses the network, in words."""
        if self.plan.is_local:
            return KINDS[0]
        return KINDS[2] if self.plan.split else KINDS[1]


def rank(policy: str, platforms: Platforms, sla_s: float) -> list[Candidate]:
    """Rank every split point and payload, the policy's choice for a first frame first.

    Args:
        policy: name of a policy, or FILE.py:CLASS; for a policy of your own, only its first choice is returned.
        platforms: both machines and the link between them.
        sla_s: time allowed for the frame.

    Raises:
        InputError: the policy is unknown, or a profile lacks a format that it needs.
    """
    table = policy_table(policy, platforms)
    if is_custom(policy):  # it may rely on the whole table
        decision = policy_over(table, policy, platforms).choose(Situation(0.0, sla_s))
        return [Candidate(decision.plan, decision.predicted)]
    found: list[Candidate] = []
    left = list(range(len(table.options)))
    while left:
        decision = policy_over(table.only(left), policy, platforms).choose(Situation(0.0, sla_s))
        found.append(Candidate(decision.plan, decision.predicted))
        chosen = (decision.plan.split, decision.plan.payload)
        left = [column for column in left if (table.options[column].split, table.options[column].payload) != chosen]
    return found


def shortlist(ranked: Sequence[Candidate], top: int) -> list[Candidate]:
    """Keep the first `top` candidates and the best of each kind, in order."""
    best = [next((candidate for candidate in ranked if candidate.kind == kind), None) for kind in KINDS]
    return [candidate for index, candidate in enumerate(ranked) if index < top or candidate in best]


def reason(policy: str, chosen: Candidate, sla_s: float, counts: str = "right") -> str:
    """Explain in a sentence why the policy chose a candidate.

    Args:
        policy: name of the policy.
        chosen: the policy's first choice.
        sla_s: time allowed.
        counts: which answers the accuracy counts, see `accuracy.table.METRICS`.
    """
    predicted = chosen.predicted
    if predicted.on_time is not None and predicted.accuracy is not None:
        worth = predicted.on_time * predicted.accuracy
        return (
            f"{counts} and in time {worth:.1%} of the time ({predicted.on_time:.1%} in time, "
            f"{predicted.accuracy:.1%} {counts}): no plan reaches more"
        )
    if predicted.on_time is not None:
        return (
            f"in time with probability {predicted.on_time:.1%}; of the plans that are likely enough, the one "
            "that changes the frame least"
        )
    if predicted.total_s <= sla_s:
        return f"the smallest level of policy {policy} whose fastest plan meets the SLA"
    return f"no plan of policy {policy} meets the SLA: the fastest plan of its largest level"
