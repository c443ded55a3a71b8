"""Draw the held-out frames that ship with the built-in image model.

    python scripts/draw_digits_frames.py

The frames show only digits that were held out from training. They are three times as noisy as the training scenes, like
those of a real camera. Accuracy is still above 95 % without merging, and merging costs more than on clean frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from train_digits import NAME, draw_frames
from training_task import DATA, Recipe

from janus_vit.sources.scenes import STYLE

NOISY_STYLE = replace(STYLE, noise=0.12)


def main() -> None:
    """Draw the frames and write them."""
    frames = draw_frames(Recipe(), NOISY_STYLE)
    path = DATA / f"{NAME}-frames.npz"
    np.savez_compressed(path, grey=frames.pixels, labels=frames.labels.astype(np.uint8))
    print(f"{path}: {len(frames.labels)} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
