"""Long-lived objects and the garbage collector."""

import gc

from janus_vit.cli.common.collector import present_objects_kept


def test_present_objects_are_left_out_of_collections_until_the_block_ends():
    assert gc.get_freeze_count() == 0
    with present_objects_kept():
        assert gc.get_freeze_count() > 1000
        loop = []
        loop.append(loop)
        del loop
        assert gc.collect() >= 1  # what came later is still collected
    assert gc.get_freeze_count() == 0
