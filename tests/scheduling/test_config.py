"""Limits of a cloud."""

import pytest

from janus_vit.errors import InputError
from janus_vit.scheduling.config import CloudConfig


def test_entry_blocks_are_each_third_of_the_depth():
    assert CloudConfig().entries(24) == (0, 8, 16, 24)
    assert CloudConfig().entries(2) == (0, 1, 2)
    assert CloudConfig().entries(1) == (0, 1)


def test_entry_blocks_can_be_chosen_and_always_include_both_ends():
    assert CloudConfig(entry_blocks=(6,)).entries(12) == (0, 6, 12)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_batch_frames": 0}, "max_batch_frames is 0 and must be a whole number, at least 1"),
        ({"max_batch_tokens": 1.5}, "max_batch_tokens is 1.5 and must be a whole number"),
        ({"waiting_total": True}, "waiting_total is True and must be a whole number"),
        ({"ingest_processes": -1}, "ingest_processes is -1 and must be a whole number, at least 0"),
        ({"metrics_port": 70_000}, "metrics_port is 70000 and must be a whole number, from 0 to 65535"),
        ({"drain_s": float("inf")}, "drain_s is inf and must be a finite number of seconds"),
        ({"safety_s": float("nan")}, "safety_s is nan and must be a finite number of seconds"),
        ({"entry_blocks": ()}, r"entry_blocks is \[\] and must list blocks"),
        ({"entry_blocks": (4, 2)}, r"entry_blocks is \[4, 2\] and must list blocks"),
        ({"entry_blocks": (-1, 2)}, r"entry_blocks is \[-1, 2\] and must list blocks"),
    ],
)
def test_a_bad_limit_is_named(values, message):
    with pytest.raises(InputError, match=message):
        CloudConfig(**values)


def test_an_entry_block_beyond_the_model_is_named():
    with pytest.raises(InputError, match="entry_blocks lists block 13, and the model has 12 blocks"):
        CloudConfig(entry_blocks=(13,)).entries(12)
