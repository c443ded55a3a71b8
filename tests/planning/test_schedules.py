"""The pruner's schedules against the paper's formulas and figures."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from janus_vit.errors import InputError
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.schedules import FAMILIES, largest_level, levels, make_schedule

VIT_LARGE_384 = ModelShape("vit-large-384", 24, 577, 1, 1024, (3, 384, 384))
VIDEO_LARGE = ModelShape("video", 24, 1569, 1, 1024, (16, 3, 224, 224))


def test_largest_level_equals_the_papers_for_image_and_video():
    assert largest_level("exponential", VIT_LARGE_384) == 0.27
    assert largest_level("exponential", VIDEO_LARGE) == 0.35


def test_the_paper_has_28_levels_on_the_image_model():
    found = levels("exponential", VIT_LARGE_384)
    assert len(found) == 28
    assert found[0] == 0.0
    assert found[-1] == 0.27
    assert found[7] == 0.07


def test_exponential_follows_equation_1():
    schedule = make_schedule("exponential", 0.2, VIT_LARGE_384)
    assert schedule.wanted == tuple(math.floor(2 ** (0.2 * (24 - block))) for block in range(1, 25))


def test_level_zero_merges_nothing_in_every_family():
    for family in FAMILIES:
        schedule = make_schedule(family, 0.0, VIT_LARGE_384)
        assert sum(schedule.applied) == 0
        assert schedule.tokens == (577,) * 25


def test_whole_powers_of_two_are_not_lost_to_rounding():
    schedule = make_schedule("exponential", 0.3, ModelShape("m", 11, 2000, 0, 8, (3, 8, 8)))
    assert schedule.wanted[0] == 8  # 2 ** (0.3 * 10)


def test_merges_beyond_what_blocks_can_do_are_clipped_and_recorded():
    small = ModelShape("small", 4, 11, 1, 8, (3, 8, 8))
    schedule = make_schedule("fixed", 4.0, small)
    assert schedule.applied == (4, 3, 1, 1)
    assert schedule.clipped == (0, 1, 3, 3)
    assert schedule.tokens == (11, 7, 4, 3, 2)


@given(
    family=st.sampled_from(sorted(FAMILIES)),
    level=st.floats(0, 40),
    blocks=st.integers(1, 32),
    patches=st.integers(1, 800),
    protected=st.integers(0, 5),
)
def test_no_block_merges_more_than_half_of_its_mergeable_tokens(family, level, blocks, patches, protected):
    shape = ModelShape("m", blocks, patches + protected, protected, 8, (3, 8, 8))
    schedule = make_schedule(family, min(level, 40 / blocks), shape)
    for before, merged in zip(schedule.tokens, schedule.applied, strict=False):
        assert 0 <= merged <= (before - protected) // 2
    assert schedule.tokens[-1] == shape.tokens - sum(schedule.applied)


def test_last_block_merges_nothing_if_the_head_reads_few_tokens():
    shape = replace(VIT_LARGE_384, head_tokens=1)
    for family in ("exponential", "linear", "fixed"):
        for level in levels(family, shape):
            plain, read = make_schedule(family, level, VIT_LARGE_384), make_schedule(family, level, shape)
            assert read.applied == (*plain.applied[:-1], 0)
            assert read.tokens == (*plain.tokens[:-1], plain.tokens[-2])


def test_levels_rise_to_the_bound():
    for family in ("exponential", "linear", "fixed"):
        found = levels(family, VIT_LARGE_384)
        assert list(found) == sorted(set(found))
        assert found[-1] == largest_level(family, VIT_LARGE_384)


@pytest.mark.parametrize("level", [-0.1, math.nan, math.inf])
def test_impossible_level_is_refused(level):
    with pytest.raises(InputError, match="level"):
        make_schedule("exponential", level, VIT_LARGE_384)


def test_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="exponential, linear, fixed, none"):
        make_schedule("cubic", 0.1, VIT_LARGE_384)
