"""Read the held-out frames that ship with the package; `scripts/draw_digits_frames.py` draws them. Knows no model."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from janus_vit.errors import InputError

FRAMES_FILE = "janus-digits-frames.npz"


def builtin_frames() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read cluttered scenes that each show one handwritten digit, drawn from digits held out from training.

    The file has the arrays `grey` [n, S, S] uint8 and `labels` [n] uint8.

    Returns:
        Frames [n, S, S, 3] uint8 with three equal channels (a read-only view), and labels [n], the digits 0 to 9.

    Raises:
        InputError: the file is missing from the package or damaged.
    """
    try:
        with (files("janus_vit") / "data" / FRAMES_FILE).open("rb") as file, np.load(file) as arrays:
            grey, labels = arrays["grey"], arrays["labels"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{FRAMES_FILE} cannot be read from the package ({error}): reinstall janus-vit") from error
    return np.broadcast_to(grey[..., None], (*grey.shape, 3)), labels.astype(np.int64)
