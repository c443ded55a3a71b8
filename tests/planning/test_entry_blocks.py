"""A cloud that announces entry blocks gets frames there and nowhere else."""

from dataclasses import replace

import pytest

from janus_vit.planning.policies.presets import POLICIES, policy_table


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_keeps_to_the_blocks_at_which_the_cloud_takes_frames(name, platforms):
    free = policy_table(name, platforms)
    kept = policy_table(name, replace(platforms, entry_blocks=(0, 4, 6)))
    local = platforms.shape.blocks + 1
    allowed = {0, 4, 6, local} & {option.split for option in free.options}
    assert {option.split for option in kept.options} == allowed


def test_a_cloud_that_announces_nothing_takes_frames_at_every_block(platforms):
    splits = {option.split for option in policy_table("adaptive", platforms).options}
    assert splits == set(range(platforms.shape.blocks + 2))
