"""`janus-vit export` writes a file that another runtime reads, and refuses the rest in a sentence."""

import json

import onnx
import pytest

from janus_vit.cli.main import main


def test_the_part_before_the_split_is_written_and_told(tmp_path, capsys):
    file = tmp_path / "device.onnx"
    assert main(["export", "--split", "1", "--level", "0.2", "--out", str(file)]) == 0
    assert "pixels to tokens and sizes" in capsys.readouterr().err
    about = {entry.key: entry.value for entry in onnx.load(file).metadata_props}["janus-vit"]
    assert json.loads(about)["split"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--split", "0", "--out", "device.onnx"], "split 0 leaves nothing to export: use one from 1 to 13"),
        (["--split", "1", "--level", "-1", "--out", "device.onnx"], "pruning level -1.0 cannot be used"),
        (["--split", "1", "--out", "missing/device.onnx"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_exported_is_refused(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
