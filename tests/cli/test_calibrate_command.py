"""`janus-vit calibrate` and the table that it writes, as a user meets them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import refused
from PIL import Image
from safetensors.torch import save_file

from janus_vit.calibration.evaluator import Evaluator
from janus_vit.cli.main import main
from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.planning.accuracy.table import load_accuracy
from janus_vit.runtime.connect import connect

CHECKPOINT = "small.safetensors"
CALIBRATE = ["calibrate", "--model", CHECKPOINT, "--data", "images", "--budget", "9"]
PLAN = ["plan", "--model", CHECKPOINT, "--device-profile", "small.json", "--cloud-profile", "small.json"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, model, make_profile):
    """A folder as a user would have it, with a table made in it."""
    place = tmp_path_factory.mktemp("place")
    metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
    save_file(model.network.state_dict(), place / CHECKPOINT, metadata)
    make_profile(2e-6, 1e-5, "small").save(place / "small.json")
    (place / "images").mkdir()
    (place / "empty").mkdir()
    for index in range(12):
        noise = np.random.default_rng(index).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(noise).save(place / "images" / f"{index:02}.png")
    (place / "labels.csv").write_text("".join(f"{index:02}.png,{index % 7}\n" for index in range(12)))
    (place / "short.csv").write_text("00.png,0\n")
    return place


@pytest.fixture(autouse=True)
def _in_place(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def table(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main([*CALIBRATE, "--labels", "labels.csv", "--out", "table.json"]) == 0
    return place / "table.json"


def test_calibration_is_printed_and_written(capsys):
    assert main([*CALIBRATE, "--out", "agreement.json"]) == 0
    out = capsys.readouterr().out
    assert "small on 12 frames; % of answers as the unmerged model, with 95 % interval" in out
    assert re.search(r"none +0 +any +lossless +12 +100\.0 +75\.\d-100\.0", out)
    assert "~" in out
    assert "written to agreement.json" in out
    assert load_accuracy(Path("agreement.json")).metric == "agreement"
    assert not Path("agreement.json.partial").exists()


def test_json_is_the_file(capsys):
    assert main([*CALIBRATE, "--out", "same.json", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out == Path("same.json").read_text()
    assert "written to same.json" in err


def test_interrupted_calibration_goes_on(capsys, monkeypatch, table):
    run, left = Evaluator.run, iter(range(4))

    def interrupted(self, *arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return run(self, *arguments)

    arguments = [*CALIBRATE, "--labels", "labels.csv", "--out", "cut.json"]
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", interrupted)
        assert main(arguments) == 130
    out, err = capsys.readouterr()
    assert "4 configurations are saved; run the same command again to continue" in out
    assert "interrupted" in err
    assert "another value of frames (12, now 6)" in refused(capsys, [*arguments, "--frames", "6"])
    assert main(arguments) == 0
    assert "continuing an interrupted run after 4 configurations" in capsys.readouterr().out
    assert load_accuracy(Path("cut.json")).points == load_accuracy(table).points


def test_skipped_image_is_named_and_counted(capsys, tmp_path):
    for index in range(3):
        Image.new("RGB", (8, 8), (90 * index, 0, 0)).save(tmp_path / f"{index}.png")
    (tmp_path / "broken.png").write_bytes(b"nothing like an image")
    assert main([*CALIBRATE, "--data", str(tmp_path), "--out", "skipped.json"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"warning: skipped .*broken\.png", err)
    assert "skipped unreadable images (1): broken.png" in out
    assert load_accuracy(Path("skipped.json")).about["skipped"] == ["broken.png"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data", "nowhere"], "--data 'nowhere' is not a folder"),
        (["--data", "empty"], "empty: holds no image"),
        (["--labels", "none.csv"], "none.csv: cannot be read"),
        (["--labels", "short.csv"], "short.csv: has labels for 1 of 12 images"),
        (["--labels", "small.json"], "small.json: line 1: has 1 fields"),
        (["--families", "best"], "schedule 'best' cannot be calibrated"),
        (["--budget", "2"], "a budget of 2 is too small for 2 families"),
        (["--out", "nowhere/t.json"], "nowhere/t.json: cannot be written"),
    ],
)
def test_mistake_is_one_sentence(capsys, options, says):
    assert says in refused(capsys, [*CALIBRATE, "--out", "t.json", *options])


def test_plan_shows_accuracy_with_its_interval(capsys, table):
    arguments = [*PLAN, "--accuracy", "table.json"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "95 % interval" in out
    assert re.search(r"~?\d+\.\d% \d+\.\d-\d+\.\d", out)
    assert "Accuracy: % right on 12 frames; ~ was not measured" in out
    assert main([*arguments, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["accuracy_metric"] == "right"
    for candidate in values["candidates"]:
        known = candidate["accuracy"]
        assert known["low"] <= known["share"] <= known["high"]
        assert isinstance(known["measured"], bool)


def test_plan_says_in_one_line_that_there_is_no_table(capsys):
    assert main(PLAN) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Accuracy: ")]
    assert "ordered by what they cost another model" in line
    assert "janus-vit calibrate" in line
    assert main([*PLAN, "--policy", "janus"]) == 0
    assert "Accuracy: " not in capsys.readouterr().out


def test_table_of_another_model_is_refused(capsys, table, make_profile, model):
    values = json.loads(table.read_text())
    Path("other.json").write_text(json.dumps({**values, "model": "other", "fingerprint": "f2"}))
    assert "other.json: was measured for model other (f2), not for small" in refused(
        capsys, [*PLAN, "--accuracy", "other.json"]
    )
    Path("engine.json").write_text(json.dumps({**values, "engine": "fast", "precision": "int8"}))
    assert "engine.json: was measured in int8 (engine 'fast'), and the engine here computes in float32" in refused(
        capsys, [*PLAN, "--accuracy", "engine.json"]
    )
    with pytest.raises(InputError, match="was measured for model other"):
        connect(model, "127.0.0.1:1", make_profile(1e-6, 1e-5, "small"), accuracy=load_accuracy(Path("other.json")))


def test_device_plans_with_the_table_and_says_when_it_has_none(capsys, table, model, make_profile):
    with Cloud(model, make_profile(1e-6, 1e-5, "small")) as cloud:
        here = ["device", "--cloud", f"127.0.0.1:{cloud.port}", "--model", CHECKPOINT, "--profile", "small.json"]
        arguments = [*here, "--source", "images", "--sla", "45s", "--json"]
        assert main([*arguments, "--accuracy", "table.json"]) == 0
        out, err = capsys.readouterr()
        accuracies = [json.loads(line)["predicted"]["accuracy"] for line in out.splitlines()]
        best = max(point.share for point in load_accuracy(table).points)
        assert all(0 < accuracy <= best for accuracy in accuracies)
        assert "no accuracy table" not in err
        assert main(arguments) == 0
        out, err = capsys.readouterr()
        assert all(json.loads(line)["predicted"]["accuracy"] is None for line in out.splitlines())
        assert err.count("no accuracy table for this model: plans are ordered by") == 1


def test_help_teaches(capsys):
    assert main(["calibrate", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("--labels", "--budget", "--anew", "Example:", "continue an interrupted run"))


def test_table_of_a_renamed_checkpoint_still_fits(table, model):
    renamed = replace(model, name="renamed")
    known = load_accuracy(table).for_model(renamed.name, renamed.fingerprint, "float32")
    assert known.model == "renamed"
