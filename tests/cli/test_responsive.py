"""Long-lived objects and the garbage collector; threads."""

import gc
import sys

from janus_vit.cli.common.responsive import quick_answers


def test_present_objects_are_left_out_of_collections_until_the_block_ends():
    assert gc.get_freeze_count() == 0
    with quick_answers():
        assert gc.get_freeze_count() > 1000
        loop = []
        loop.append(loop)
        del loop
        assert gc.collect() >= 1  # what came later is still collected
    assert gc.get_freeze_count() == 0


def test_threads_take_turns_more_often_until_the_block_ends():
    before_s = sys.getswitchinterval()
    with quick_answers():
        assert sys.getswitchinterval() < before_s / 5
    assert sys.getswitchinterval() == before_s
