"""Built-in frames are held out, and the built-in model is right without merging and worse with much merging."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from janus_vit.model import stage
from janus_vit.model.catalog import BUILTIN, Model, load_model
from janus_vit.planning.schedules import largest_level, make_schedule
from janus_vit.sources.builtin import builtin_frames
from janus_vit.sources.scenes import STYLE, compose_scene

DATA = files("janus_vit") / "data"


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(BUILTIN)


@pytest.fixture(scope="module")
def provenance() -> dict[str, Any]:
    values: dict[str, Any] = json.loads((DATA / f"{BUILTIN}.json").read_text(encoding="utf-8"))
    return values


def accuracy(model: Model, level: float, count: int) -> float:
    """Return the share of right answers on the first frames."""
    frames, labels = builtin_frames()
    merges = make_schedule("exponential", level, model.shape).applied
    right = 0
    with torch.inference_mode():
        for start in range(0, count, 50):
            pixels = torch.cat([model.preprocessing.normalise(frame) for frame in frames[start : start + 50]])
            activation = stage.embed(model.network, pixels, merges, model.fingerprint)
            logits = stage.head(model.network, stage.run_blocks(model.network, activation, model.shape.blocks))
            right += int((logits.argmax(1).numpy() == labels[start : start + 50]).sum())
    return right / count


def digits(seed: int, count: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).integers(0, 17, (count, 8, 8)).astype(np.float64)


def scene(seed: int) -> NDArray[np.uint8]:
    drawn = digits(0, 8)
    return compose_scene(np.random.default_rng(seed), drawn[0], drawn)


def test_frames_are_grey_pictures_of_the_size_the_model_sees(model: Model) -> None:
    frames, labels = builtin_frames()
    size = model.preprocessing.image_size
    assert frames.shape == (len(labels), size, size, 3)
    assert frames.dtype == np.uint8
    assert (frames[0, ..., 0] == frames[0, ..., 2]).all()


def test_at_least_500_frames_show_every_digit() -> None:
    frames, labels = builtin_frames()
    assert len(frames) >= 500
    assert set(labels.tolist()) == set(range(10))


def test_digits_of_the_frames_were_never_trained_on(provenance: dict[str, Any]) -> None:
    trained, tested = set(provenance["train_digits"]), set(provenance["test_digits"])
    assert trained
    assert tested
    assert not trained & tested
    assert trained | tested == set(range(1797))


def test_provenance_names_the_source_and_its_licence(provenance: dict[str, Any]) -> None:
    for word in ("load_digits", "Alpaydin", "CC BY 4.0"):
        assert word in provenance["attribution"]
    assert "train_digits.py" in provenance["command"]


def test_checkpoint_is_small_and_names_its_labels(model: Model) -> None:
    with as_file(DATA / f"{BUILTIN}.safetensors") as path:
        assert path.stat().st_size <= 4_000_000
        with safe_open(path, framework="pt") as file:
            assert "janus" in file.metadata()
    assert model.labels == tuple("0123456789")


def test_model_is_right_without_merging_and_much_merging_costs_at_least_five_points(model: Model) -> None:
    unmerged = accuracy(model, 0.0, 300)
    assert unmerged >= 0.93
    assert unmerged - accuracy(model, largest_level("exponential", model.shape), 300) >= 0.05


def test_equal_seeds_compose_equal_scenes() -> None:
    once, again, other = scene(3), scene(3), scene(4)
    assert once.shape == (STYLE.size, STYLE.size)
    assert once.dtype == np.uint8
    assert (once == again).all()
    assert (once != other).any()


def test_composing_does_not_change_its_digits() -> None:
    drawn = digits(0, 8)
    compose_scene(np.random.default_rng(0), drawn[0], drawn)
    assert (drawn == digits(0, 8)).all()
