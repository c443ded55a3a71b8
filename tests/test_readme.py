"""The README's commands and its Python, run as they stand there."""

import contextlib
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from peers import FAMILIES
from PIL import Image

from janus_vit.sources.builtin import builtin_frames

README = Path(__file__).parents[1] / "README.md"
COMMAND = Path(sys.executable).with_name("janus-vit")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(arguments, folder):
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [COMMAND, *arguments[1:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_command_is_one_of_ours():
    assert {arguments[0] for arguments in commands()} == {"janus-vit"}
    assert {arguments[1] for arguments in commands()} == {
        "calibrate",
        "cloud",
        "compare",
        "device",
        "models",
        "profile",
        "plan",
    }


def test_the_commands_without_a_network_run(tmp_path):
    FAMILIES["timm-vit"](tmp_path / "my-model")
    (tmp_path / "photos").mkdir()
    for frame, index in zip(builtin_frames()[0][:20], range(20), strict=True):
        Image.fromarray(frame).save(tmp_path / "photos" / f"{index:02}.png")
    for arguments in commands():
        if arguments[1] not in ("cloud", "device"):
            done = run(arguments, tmp_path)
            assert done.returncode == 0, done.stderr
            assert done.stdout
            assert "Traceback" not in done.stderr


def test_cloud_and_device_run_as_the_readme_says(tmp_path, port):
    (serve,) = (arguments for arguments in commands() if arguments[1] == "cloud")
    (stream,) = (arguments for arguments in commands() if arguments[1] == "device")
    serve = [part.replace("0.0.0.0:50051", f"127.0.0.1:{port}") for part in serve]
    stream = [part.replace("HOST:50051", f"127.0.0.1:{port}") for part in stream]
    cloud = subprocess.Popen([COMMAND, *serve[1:]], stderr=subprocess.PIPE, text=True)
    try:
        assert any(f"on 127.0.0.1:{port}" in line for line in cloud.stderr)  # stops at the first
        done = run(stream, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "60" in done.stdout
    finally:
        cloud.send_signal(signal.SIGINT)
        _, errors = cloud.communicate(timeout=30)
    assert "Traceback" not in errors


def test_the_python_runs():
    (code,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert len(printed.getvalue().splitlines()) == 20
