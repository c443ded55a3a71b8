"""The table of the command 'plan': one plan for each split and payload, best first."""

import pytest

from janus_vit.planning.policies.base import Situation
from janus_vit.planning.policies.presets import POLICIES, make_policy
from janus_vit.planning.policies.ranking import rank, shortlist


@pytest.mark.parametrize("policy", POLICIES)
def test_first_of_the_ranking_is_the_policys_choice(platforms, policy):
    ranked = rank(policy, platforms, 0.1)
    decision = make_policy(policy, platforms).choose(Situation(0.0, 0.1))
    assert (ranked[0].plan, ranked[0].predicted) == (decision.plan, decision.predicted)
    ways = [(candidate.plan.split, candidate.plan.payload) for candidate in ranked]
    assert len(ways) == len(set(ways))
    assert {candidate.kind for candidate in shortlist(ranked, 1)} == {candidate.kind for candidate in ranked}
