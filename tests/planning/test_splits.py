"""The splitter's candidates against the paper's examples."""

import pytest

from janus_vit.errors import InputError
from janus_vit.planning.splits import candidate_splits


def test_candidates_of_the_papers_figure_4():
    assert candidate_splits(12, k=3) == (0, 1, 2, 3, 5, 7, 9, 12, 13)


def test_candidates_of_24_blocks():
    assert candidate_splits(24) == (0, 1, 2, 3, 4, 5, 7, 9, 11, 13, 15, 18, 21, 24, 25)


def test_one_block_has_three_candidates():
    assert candidate_splits(1) == (0, 1, 2)


@pytest.mark.parametrize(("blocks", "k"), [(0, 5), (12, 0)])
def test_impossible_numbers_are_refused(blocks, k):
    with pytest.raises(InputError):
        candidate_splits(blocks, k)
