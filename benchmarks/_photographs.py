"""Crops of the photographs that ship inside scikit-image and scikit-learn."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
from PIL import Image

from janus_vit.model.preprocessing import Frame

PHOTOGRAPHS = {
    "skimage.data": (
        "astronaut.png",
        "camera.png",
        "chelsea.png",
        "clock_motion.png",
        "coffee.png",
        "hubble_deep_field.jpg",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "sklearn.datasets": ("images/china.jpg", "images/flower.jpg"),
}
CROPS = 8  # of each photograph
SMALLEST = 0.5  # side of a crop relative to the photograph's shorter side


def read_crops() -> list[list[Frame]]:
    """Return square crops of each photograph, at random places and of random sizes, the same in each run."""
    random = np.random.default_rng(0)
    names = [(package, name) for package, listed in PHOTOGRAPHS.items() for name in listed]
    return [_crops(_read(package, name), random) for package, name in names]


def _read(package: str, name: str) -> Frame:
    with as_file(files(package).joinpath(name)) as path:
        return np.asarray(Image.open(path).convert("RGB"))


def _crops(photograph: Frame, random: np.random.Generator) -> list[Frame]:
    height, width = photograph.shape[:2]
    crops = []
    for _ in range(CROPS):
        side = int(random.uniform(SMALLEST, 1.0) * min(height, width))
        top, left = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
        crops.append(photograph[top : top + side, left : left + side])
    return crops
