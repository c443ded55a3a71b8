"""Plain platforms and small models for all tests."""

import gc
import os
import re

import hypothesis
import numpy as np
import pytest
import torch

if not torch.cuda.is_available():  # before anything imports Triton, whose own functions must be interpreted, too
    os.environ.setdefault("TRITON_INTERPRET", "1")

from janus_vit.calibration import profiler
from janus_vit.cli.main import main
from janus_vit.model.catalog import Model
from janus_vit.model.engines import block_variant
from janus_vit.model.engines.eager import EagerEngine
from janus_vit.model.preprocessing import Preprocessing
from janus_vit.model.vit import Architecture, VisionTransformer
from janus_vit.planning.latency import Cost, Curve, PlatformProfile
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.platforms import Platforms

FORMATS = ("float32", "float16", "float8", "int8", "int4", "float16+zstd", "tensor", "png", "jpeg90")
ROUGH = profiler.Effort(points=3, repeats=1, limit_s=1.0)  # for tests that do not look at the figures
LONGEST_FIRST = (
    "test_readme.py",
    "test_ray_serve.py",
    "test_live_fleet.py",
    "test_settling.py",
    "test_chaos.py",
    "test_memory.py",
    "test_triton_merging.py",
)


def pytest_configure():
    """Compute with one thread, and let Hypothesis wait: tests share their cores with other workers.

    Half of Hypothesis's usual number of examples: they are others in each run, and `make fuzz` tries many more.
    """
    torch.set_num_threads(1)
    hypothesis.settings.register_profile("patient", deadline=None, max_examples=50)
    hypothesis.settings.load_profile("patient")


def pytest_collection_modifyitems(items):
    """Run the longest files first, so that no worker still runs one alone at the end."""
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_collection_finish():
    """Leave modules and tests out of garbage collections, each of which would take half a second to look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Which engine is fastest is kept in the user's cache directory, which tests leave alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(block_variant, "_LEAST_S", 0.0)  # for tests that do not look at which block is the fastest
        yield


@pytest.fixture
def rough_profiles(monkeypatch):
    """Let commands measure this machine roughly and without pauses."""
    monkeypatch.setattr(profiler, "QUICK", ROUGH)
    monkeypatch.setattr(profiler, "_PAUSE_S", 0.0)


@pytest.fixture(scope="session")
def make_profile():
    """A profile with simple numbers: so much for a block, so much more for each token."""

    def make(per_token_s: float, fixed_s: float = 1e-4, model: str = "example") -> PlatformProfile:
        curve = Curve(fixed_s, per_token_s, 0.0, 0.0, 0.0, 0.0, 1.0)
        costs = {name: Cost(1e-4, 1e-9) for name in FORMATS}
        sizes = {"jpeg90": 3000.0, "png": 9000.0}
        ratios = {"float16+zstd": 0.8}
        return PlatformProfile(
            model, 2 * fixed_s, fixed_s, curve, curve, Cost(fixed_s / 10, 0.0), costs, costs, sizes, ratios
        )

    return make


@pytest.fixture(scope="session")
def make_platforms(make_profile):
    """A slow device, a cloud twenty times as fast, and 10 Mbps with 20 ms between them."""

    def make() -> Platforms:
        shape = ModelShape("example", 6, 65, 1, 32, (3, 64, 64))
        return Platforms(shape, make_profile(2e-4), make_profile(1e-5), rate_mbps=10.0, rtt_s=0.02)

    return make


@pytest.fixture
def platforms(make_platforms):
    return make_platforms()


def small_model(**changes) -> Model:
    """A random ViT of 6 blocks and 17 tokens that runs in a millisecond."""
    settings = {"image_size": 32, "patch_size": 8, "width": 24, "depth": 6, "heads": 3, "mlp_width": 48, "classes": 7}
    arch = Architecture(**{**settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = VisionTransformer(arch)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.1)
    labels = tuple(f"label {index}" for index in range(arch.classes))
    preprocessing = Preprocessing(
        arch.image_size, frames=arch.frames, image_width=arch.image_width, channels=arch.channels
    )
    task = "classify" if arch.classes else "embed"
    return Model("small", network.eval().requires_grad_(False), preprocessing, labels, task=task)


@pytest.fixture(scope="session")
def model() -> Model:
    return small_model()


MODEL_KINDS = {
    "class": {},
    "distilled": {"prefix": 2, "distilled": True},
    "mean": {"pooling": "mean", "prefix": 0},
    "conv": {"stem": "conv", "pooling": "mean", "prefix": 0},
    "registers": {"prefix": 4, "layer_scale": True},
    "embed": {"classes": 0, "pooling": "attention", "prefix": 0, "activation": "gelu_tanh"},
    "clip": {"frames": 4, "tubelet": 2, "pooling": "mean", "prefix": 0, "pooled_norm": True, "patch_size": 16},
    "wide": {"channels": 1, "image_width": 48, "last_norm": False, "pooling": "mean"},
    "unfilled": {"image_size": 37, "last_norm": False},
}


@pytest.fixture(scope="module", params=MODEL_KINDS)
def any_model(request) -> Model:
    return small_model(**MODEL_KINDS[request.param])


@pytest.fixture(scope="session")
def engine(model) -> EagerEngine:
    return EagerEngine(model)


@pytest.fixture
def frames():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(4)]


def refused(capsys, arguments):
    """The one line that a mistake is answered with."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert re.fullmatch(r"janus-vit: error: [^\n]+\n", err), err
    return err
