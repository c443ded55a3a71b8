"""What is measured of a machine."""

import pytest
from conftest import small_model

from janus_vit.calibration.profiler import Effort, profile_machine
from janus_vit.model.engines.eager import EagerEngine


class Watched(EagerEngine):
    """An engine that notes which blocks are run alone."""

    def __init__(self, model):
        super().__init__(model)
        self.alone = set()

    def run(self, activation, stop):
        if stop == activation.next_block + 1:
            self.alone.add(activation.next_block)
        return super().run(activation, stop)


@pytest.mark.parametrize(("changes", "measured"), [({}, {0, 1, 2, 3, 4}), ({"pooling": "mean"}, {0, 1, 2, 3, 4, 5})])
def test_blocks_are_timed_that_give_all_their_tokens(frames, rough_profiles, changes, measured):
    model = small_model(**changes)
    engine = Watched(model)
    profile_machine(model, frames, engine, Effort(points=3, repeats=6, limit_s=60.0))
    assert engine.alone == measured
