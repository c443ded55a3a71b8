"""Paths that are no file: every command that reads a file refuses them in one sentence, without waiting for them."""

import os
import socket
from pathlib import Path

import pytest
from conftest import refused
from PIL import Image

from janus_vit.cli.main import main

READERS = {
    "accuracy.json": ["plan", "--accuracy"],
    "profile.json": ["plan", "--device-profile"],
    "model.safetensors": ["export", "--split", "1", "--out", "new.onnx", "--model"],
    "model.bin": ["export", "--split", "1", "--out", "new.onnx", "--model"],
    "head.pth": ["plan", "--head"],
    "vectors.npz": ["device", "--cloud", "127.0.0.1:1", "--task", "embed", "--text-vectors"],
    "image.png": ["device", "--cloud", "127.0.0.1:1", "--source"],
    "authority.pem": ["device", "--cloud", "127.0.0.1:1", "--ca"],
    "device.token": ["device", "--cloud", "127.0.0.1:1", "--token-file"],
    "tokens.txt": ["cloud", "--listen", "127.0.0.1:0", "--tokens"],
    "labels.csv": ["calibrate", "--out", "new.json", "--data", "images", "--labels"],
    "trace.csv": ["compare", "--seconds", "1", "--trace"],
    "fleet.json": ["fleet", "--seconds", "1"],
    "records.jsonl": ["report"],
}
PYTHON = {"policy.py": ["plan", "--policy"], "own.py": ["plan", "--head"]}


@pytest.fixture(autouse=True)
def _in_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Image.new("RGB", (8, 8)).save("images/a.png")


def make_pipe(path):
    os.mkfifo(path)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_circle(path):
    path.symlink_to(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("make", [make_pipe, make_device, make_circle, make_socket])
@pytest.mark.parametrize("name", READERS)
def test_a_path_that_is_no_file_is_refused_at_once(capsys, name, make):
    make(Path(name))
    said = refused(capsys, [*READERS[name], name])
    assert name in said
    assert any(reason in said for reason in ("cannot be read", "no such file", "is neither a file", "does not exist"))


@pytest.mark.parametrize("name", READERS)
def test_a_name_that_is_too_long_is_refused(capsys, name):
    assert "x" * 50 in refused(capsys, [*READERS[name], "x" * 300 + name])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["export", "--split", "1", "--model", "INPUT", "--out"], "own.safetensors"),
        (["profile", "--model", "INPUT", "--out"], "own.safetensors"),
        (["profile", "--source", "INPUT", "--out", "new.json", "--costs"], "clip.mp4"),
        (["calibrate", "--data", "images", "--labels", "INPUT", "--out"], "labels.csv"),
        (["calibrate", "--data", "images", "--profile", "INPUT", "--out"], "profile.json"),
        (["compare", "--trace", "INPUT", "--csv"], "trace.csv"),
        (["compare", "--accuracy", "INPUT", "--csv"], "accuracy.json"),
        (["fleet", "INPUT", "--csv"], "fleet.json"),
        (["device", "--cloud", "127.0.0.1:1", "--profile", "INPUT", "--records"], "profile.json"),
        (["device", "--cloud", "127.0.0.1:1", "--source", "INPUT", "--records"], "images/a.png"),
    ],
)
def test_what_a_command_reads_is_never_overwritten(capsys, arguments, name):
    if not Path(name).exists():
        Path(name).write_text("mine")
    before = Path(name).read_bytes()
    Path("again").symlink_to(Path(name).absolute())
    for output in (name, "again"):
        said = refused(capsys, [*(name if each == "INPUT" else each for each in arguments), output])
        assert f"{output}: is also an input and would be overwritten: choose another path" in said
    assert Path(name).read_bytes() == before


@pytest.mark.parametrize("make", [make_pipe, make_device, make_circle, lambda path: None])
@pytest.mark.parametrize("name", PYTHON)
def test_a_class_in_a_path_that_is_no_file_is_refused(capsys, name, make):
    make(Path(name))
    assert "is no Python file" in refused(capsys, [*PYTHON[name], f"{name}:Mine"])
    assert "is no Python file" in refused(capsys, [*PYTHON[name], f"{'x' * 300}{name}:Mine"])


@pytest.mark.parametrize("name", [each for each in READERS if not each.endswith((".safetensors", ".bin", ".png"))])
def test_a_file_with_a_terabyte_of_nothing_is_refused_before_it_is_read(capsys, name):
    with Path(name).open("wb") as file:
        file.truncate(1 << 40)
    assert name in refused(capsys, [*READERS[name], name])


def test_an_error_cannot_control_the_terminal(capsys):
    Path("\x1b[2J.json").write_text("{}")
    assert main(["plan", "--accuracy", "\x1b[2J.json"]) == 2
    assert "\x1b" not in capsys.readouterr().err
