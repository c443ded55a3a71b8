"""Every file in examples/ runs, and is short enough to be read at once."""

import importlib
import sys
from pathlib import Path

import pytest
from PIL import Image

import janus_vit
from janus_vit.calibration.profiler import Effort, profile_machine
from janus_vit.cli.main import main
from janus_vit.sources.builtin import builtin_frames

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def rough_profile():
    """Measures this machine once, roughly, for all examples."""
    found = []

    def measure(model, frames):
        if not found:
            found.append(profile_machine(model, frames[:2], effort=Effort(points=3, repeats=1, limit_s=1.0)))
        return found[0]

    return measure


@pytest.fixture
def load(monkeypatch, rough_profile):
    """Imports an example as if it were run: its folder is on the path."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(janus_vit, "profile_machine", rough_profile, raising=False)
    yield importlib.import_module
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def photos(tmp_path):
    frames, labels = builtin_frames()
    for index, (frame, label) in enumerate(zip(frames[:20], labels[:20], strict=True)):
        Image.fromarray(frame).save(tmp_path / f"{index:02}-{label}.png")
    return tmp_path


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short(path):
    assert len(path.read_text("utf-8").splitlines()) < 40


def test_a_camera_loop_answers_every_frame_of_a_python_server(load, capsys):
    with load("server").start(listen="127.0.0.1:0") as cloud:
        late = load("camera_loop").main(f"127.0.0.1:{cloud.port}", "camera:99", "5")
    lines = capsys.readouterr().out.splitlines()
    assert "camera /dev/video99 does not exist" in lines[0]
    assert len(lines) == 6
    assert 0 <= late <= 5


def test_a_folder_is_labelled_in_batches(load, photos):
    labelled = list(load("folder_batch").label(str(photos)))
    assert [name for name, _, _ in labelled] == sorted(path.name for path in photos.iterdir())
    right = [name.partition("-")[2] == f"{label}.png" for name, label, _ in labelled]
    assert sum(right) >= 17


def test_an_embedding_search_finds_the_image_itself_first(load, photos):
    query = sorted(photos.iterdir())[3]
    found = load("embedding_search").search(str(query), str(photos))
    assert found[0][0] == query.name
    assert found[0][1] == pytest.approx(1.0, abs=1e-4)
    assert len(found) == 5


def test_a_custom_link_carries_frames_and_fades(load):
    example = load("custom_link")
    trace = example.train()
    assert trace.rate_at(1.0) == pytest.approx(30.0)
    assert trace.rate_at(3.5) == 0.0
    assert set(example.main(frames=5)) <= {"image", "tokens", "nothing"}


def test_a_custom_policy_is_compared_by_its_file_and_class(capsys):
    policy = f"{EXAMPLES / 'slowest_of_ten.py'}:SlowestOfTen"
    assert main(["compare", "--trace", "lte-driving", "--policy", policy, "--seconds", "2"]) == 0
    assert "SlowestOfTen" in capsys.readouterr().out
