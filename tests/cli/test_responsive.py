"""Long-lived objects and the garbage collector; threads."""

import gc
import sys

import pytest

from janus_vit.cli.common.responsive import quick_answers


@pytest.fixture
def _as_in_a_command():
    """Nothing is frozen yet."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("_as_in_a_command")
def test_present_objects_are_left_out_of_collections_until_the_block_ends():
    with quick_answers():
        assert gc.get_freeze_count() > 1000
        loop = []
        loop.append(loop)
        del loop
        assert gc.collect() >= 1  # what came later is still collected
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("_as_in_a_command")
def test_an_inner_block_ends_before_the_outer_one():
    with quick_answers():
        with quick_answers():
            pass
        assert gc.get_freeze_count() > 1000
    assert gc.get_freeze_count() == 0


def test_threads_take_turns_more_often_until_the_block_ends():
    before_s = sys.getswitchinterval()
    with quick_answers():
        assert sys.getswitchinterval() < before_s / 5
    assert sys.getswitchinterval() == before_s
