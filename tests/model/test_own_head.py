"""A head of the user's own in a Python file, and the patch grid that it reads."""

from pathlib import Path

import pytest
import torch

from janus_vit.errors import InputError
from janus_vit.model.answers import answer_of
from janus_vit.model.catalog import load_model
from janus_vit.model.engines.factory import make_engine

EXAMPLE = Path(__file__).parents[2] / "examples/own_head.py"


def run(model, merges=None):
    pixels = torch.randn(1, *model.shape.input_shape, generator=torch.Generator().manual_seed(2))
    engine = make_engine(model, "eager")
    return engine.head(engine.run(engine.embed(pixels, merges or (0,) * model.shape.blocks), model.shape.blocks))


def test_the_example_gives_a_map_of_any_model():
    model = load_model("janus-digits", head=f"{EXAMPLE}:Unusual")
    rows, columns = model.network.architecture.grid
    assert (model.task, model.dense_shape) == ("head", (4 * rows, 4 * columns))
    found = answer_of(run(model), model.task).map
    assert found.shape == (1, 4 * rows, 4 * columns)
    torch.testing.assert_close(torch.from_numpy(found.values[0]), run(model)[0], rtol=0, atol=1e-4)
    assert run(model, (3,) * model.shape.blocks).shape == (1, 4 * rows, 4 * columns)


def test_features_are_the_tokens_of_the_patches():
    model = load_model("janus-digits", task="features")
    arch = model.network.architecture
    assert model.dense_shape == (arch.width, *arch.grid)
    found = answer_of(run(model), model.task).map
    assert (found.shape, found.bits) == ((arch.width, *arch.grid), 8)


def test_models_with_another_head_have_another_fingerprint(tmp_path):
    (tmp_path / "head.py").write_text(EXAMPLE.read_text("utf-8").replace("4 * rows", "2 * rows"), "utf-8")
    heads = (None, f"{EXAMPLE}:Unusual", f"{tmp_path / 'head.py'}:Unusual")
    features = load_model("janus-digits", task="features")
    prints = {features.fingerprint, *(load_model("janus-digits", head=head).fingerprint for head in heads)}
    assert len(prints) == 4


HEAD = "import torch\nfrom torch import nn\nclass Head(nn.Module):\n    def __init__(self, width, rows, columns):\n"
RETURNS = HEAD + "        super().__init__()\n    def forward(self, grid):\n        return "


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import torch\n", "has no class 'Head'"),
        ("class Head:\n    pass\n", r"is no torch\.nn\.Module"),
        (HEAD + "        raise ValueError('no weights')\n", "line 5: ValueError: no weights"),
        (
            RETURNS + "grid[0, 0, 99]\n",
            "line 7",
        ),
        (RETURNS + "[grid]\n", "returns list"),
        (
            HEAD + "        super().__init__()\n        self.scale = nn.Parameter(torch.tensor([1.0, float('nan')]))\n",
            "its tensor 'scale' holds a value that is not finite",
        ),
        (
            RETURNS + "grid.double()\n",
            "float64",
        ),
    ],
)
def test_a_head_that_cannot_be_used_is_named_with_its_line(tmp_path, code, problem):
    file = tmp_path / "head.py"
    file.write_text(code, "utf-8")
    with pytest.raises(InputError, match=f"head .*{problem}"):
        load_model("janus-digits", head=f"{file}:Head")


@pytest.mark.parametrize(("later", "shown"), [("[grid]", "list"), ("grid.mean((2, 3))", r"torch\.float32 \[1, 96\]")])
def test_a_head_that_returns_something_else_later_is_refused_by_name(tmp_path, later, shown):
    file = tmp_path / "head.py"
    file.write_text(RETURNS + f"grid if grid.abs().sum() == 0 else {later}\n", "utf-8")
    model = load_model("janus-digits", head=f"{file}:Head")
    with pytest.raises(InputError, match=rf"head .*Head': for 1 frames it returns {shown}, and for one frame \[1, 96,"):
        run(model)


def test_a_head_in_a_file_of_another_encoding_is_loaded(tmp_path):
    code = "# coding: latin-1\n" + EXAMPLE.read_text("utf-8") + "# caf\u00e9\n"
    (tmp_path / "head.py").write_bytes(code.encode("latin-1", "replace"))
    assert load_model("janus-digits", head=f"{tmp_path / 'head.py'}:Unusual").task == "head"


def test_a_head_goes_with_no_other_task():
    with pytest.raises(InputError, match="leave out --task embed"):
        load_model("janus-digits", task="embed", head="head.py:Head")
    with pytest.raises(InputError, match=r"give FILE\.py:CLASS"):
        load_model("janus-digits", head="head")
