"""What a policy thinks of every way to run a frame, by asking it again without what it chose before."""

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
    """One way to split and pack, at the level that the policy would run it at."""

    plan: Plan
    predicted: Prediction

    @property
    def kind(self) -> str:
        """What crosses the network, in words."""
        if self.plan.is_local:
            return KINDS[0]
        return KINDS[2] if self.plan.split else KINDS[1]


def rank(policy: str, platforms: Platforms, sla_s: float) -> list[Candidate]:
    """Every split point and payload, the policy's choice for a first frame at the front; of a custom policy that only.

    Raises:
        InputError: unknown policy, or profiles that lack a format it needs.
    """
    table = policy_table(policy, platforms)
    if is_custom(policy):  # it may count on the whole table
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
    """The first `top`, and the best of each kind even if it comes later; still in order."""
    best = [next((candidate for candidate in ranked if candidate.kind == kind), None) for kind in KINDS]
    return [candidate for index, candidate in enumerate(ranked) if index < top or candidate in best]


def reason(policy: str, chosen: Candidate, sla_s: float, counts: str = "right") -> str:
    """Why the policy chose it, in a sentence; `counts` says which answers its accuracy counts."""
    predicted = chosen.predicted
    if predicted.on_time is not None and predicted.accuracy is not None:
        worth = predicted.on_time * predicted.accuracy
        return (
            f"{counts} and in time {worth:.1%} of the time ({predicted.on_time:.1%} in time, "
            f"{predicted.accuracy:.1%} {counts}): no plan reaches more"
        )
    if predicted.on_time is not None:
        return (
            f"in time with probability {predicted.on_time:.1%}; of the plans that are sure enough, the one that "
            "changes the frame least"
        )
    if predicted.total_s <= sla_s:
        return f"the smallest level of policy {policy} whose fastest way takes no longer than the SLA"
    return f"no plan of policy {policy} meets the SLA: its largest level, the fastest way"
