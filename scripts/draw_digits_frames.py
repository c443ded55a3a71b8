"""Draw the held-out frames that ship with the built-in model.

    python scripts/draw_digits_frames.py

Only digits that were never trained on. The frames are three times as noisy as what the model was trained on, as a
camera in the field is: accuracy is still above 95 % without merging, and merging costs more than it does in the studio.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from digits_data import Recipe
from train_digits import DATA, NAME, draw_frames

from janus_vit.sources.scenes import STYLE

FIELD_STYLE = replace(STYLE, noise=0.12)


def main() -> None:
    """Draw and write."""
    frames = draw_frames(Recipe(), FIELD_STYLE)
    path = Path(DATA) / f"{NAME}-frames.npz"
    np.savez_compressed(path, grey=frames.grey, labels=frames.labels.astype(np.uint8))
    print(f"{path}: {len(frames.labels)} frames, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
