"""Checkpoints of timm and of transformers, compared with the answers of these libraries."""

import numpy as np
import pytest
import torch
from peers import FAMILIES

from janus_vit.model.catalog import load_model
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.engines.factory import make_engine
from janus_vit.model.engines.registry import ENGINES
from janus_vit.planning.accuracy.table import FLOAT32
from janus_vit.planning.schedules import levels, make_schedule

# Engines that compute in float32 on this machine, beside the plain one.
FLOAT32_ENGINES = [
    spec
    for spec in ENGINES.values()
    if spec.precision == FLOAT32 and spec.on_cpu and spec.runs_here and spec.name != "eager"
]


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def peer(request, tmp_path_factory):
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def model(peer):
    return load_model(str(peer.folder))


@pytest.fixture(scope="session")
def pictures(model):
    """Frames of several shapes, or clips, as smooth as photographs."""
    rng = np.random.default_rng(4)
    frames = model.preprocessing.frames
    shapes = [(90, 61), (55, 120), (64, 64)]
    made = []
    for shape in shapes:
        coarse = rng.integers(0, 256, (max(frames, 1), 6, 6, 3)).astype(np.float32)
        fine = torch.nn.functional.interpolate(torch.from_numpy(coarse).permute(0, 3, 1, 2), shape, mode="bilinear")
        clip = fine.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).numpy()
        made.append(clip if frames > 1 else clip[0])
    return made


def close(found, wanted):
    return torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def run(engine, pixels, merges, splits=()):
    activation = engine.embed(pixels, merges)
    for split in (*splits, len(merges)):
        activation = engine.run(activation, split)
    return engine.head(activation)


def test_preprocessing_agrees_with_the_library_within_a_grey_level(peer, model, pictures):
    preprocessing = model.preprocessing
    grey = 1 / 255 / np.array(preprocessing.std).min()
    for picture in pictures:
        ours, theirs = preprocessing.normalise(preprocessing.crop(picture)), peer.preprocess(picture)
        if preprocessing.frames > 1:
            theirs = theirs.transpose(1, 2)  # theirs has frames before channels
        assert ours.shape == theirs.shape
        assert float((ours - theirs).abs().max()) <= 1.01 * grey


def test_answers_agree_with_the_library_unsplit_and_split_anywhere(peer, model, pictures):
    engine, unmerged = EagerEngine(model), (0,) * model.shape.blocks
    for picture in pictures:
        theirs = peer.preprocess(picture)
        wanted = peer.forward(theirs)
        pixels = theirs.transpose(1, 2) if model.preprocessing.frames > 1 else theirs
        assert close(run(engine, pixels, unmerged), wanted)
    for split in range(model.shape.blocks + 1):  # of the last picture: pixels of all have one shape
        assert close(run(engine, pixels, unmerged, [split]), wanted)


def test_answers_agree_with_the_library_in_other_engines(peer, model, pictures):
    """Two engines for each family, in turn: neighbours in the list, which differ in one thing, have all of them."""
    place, count = sorted(FAMILIES).index(peer.family), len(FLOAT32_ENGINES)
    theirs, unmerged = peer.preprocess(pictures[0]), (0,) * model.shape.blocks
    wanted = peer.forward(theirs)
    pixels = theirs.transpose(1, 2) if model.preprocessing.frames > 1 else theirs
    for name in {FLOAT32_ENGINES[(2 * place + step) % count].name for step in range(min(2, count))}:
        engine = make_engine(model, name)
        for splits in ((), *((split,) for split in range(model.shape.blocks + 1))):
            assert close(run(engine, pixels, unmerged, splits), wanted), name


def test_merged_runs_split_anywhere_equal_unsplit_runs(model, pictures):
    engine = EagerEngine(model)
    pixels = model.preprocessing.normalise(model.preprocessing.crop(pictures[0]))
    merges = make_schedule("exponential", levels("exponential", model.shape)[-1], model.shape).applied
    assert sum(merges) > 0
    whole = run(engine, pixels, merges)
    for split in range(model.shape.blocks + 1):
        assert torch.equal(run(engine, pixels, merges, [split]), whole)


def test_task_and_labels_are_those_of_the_checkpoint(peer, model):
    assert model.task == {"logits": "classify", "embedding": "embed"}[peer.output]
    assert len(model.labels) == (model.network.architecture.classes if peer.output == "logits" else 0)
