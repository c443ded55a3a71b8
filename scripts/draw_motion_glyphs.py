"""Write the handwritten digits from which the built-in clips are drawn, so that drawing needs no scikit-learn.

    python scripts/draw_motion_glyphs.py

The split is that of the built-in image model: `test` holds only digits that were held out from training. The file has
the arrays `train` and `test` [n, 8, 8] uint8 with values 0 to 16, every digit equally often, and `attribution`.
"""

from __future__ import annotations

import numpy as np
from digits_data import Digits, split_digits
from numpy.typing import NDArray
from training_task import ATTRIBUTION, DATA, Recipe

from janus_vit.sources.motion import GLYPHS_FILE

TRAIN_EACH, TEST_EACH = 64, 16  # glyphs of each of the ten digits


def first_of_each(digits: Digits, count: int) -> NDArray[np.uint8]:
    """Return the first `count` images of each digit, in the order of the data set."""
    indices = np.concatenate([np.flatnonzero(digits.labels == digit)[:count] for digit in range(10)])
    chosen: NDArray[np.uint8] = digits.images[np.sort(indices)].astype(np.uint8)
    return chosen


def main() -> None:
    """Choose the glyphs and write them."""
    train, test = split_digits(Recipe())
    chosen = first_of_each(train, TRAIN_EACH), first_of_each(test, TEST_EACH)
    path = DATA / GLYPHS_FILE
    np.savez_compressed(path, train=chosen[0], test=chosen[1], attribution=np.array(ATTRIBUTION))
    print(f"{path}: {len(chosen[0])} + {len(chosen[1])} glyphs, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
