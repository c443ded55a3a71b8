"""The README's commands and its Python run as they stand there; the commands of the documentation can be parsed."""

import contextlib
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import typer
from patience import START_S
from peers import FAMILIES
from PIL import Image

import janus_vit
from janus_vit.calibration import profiler
from janus_vit.cli.main import app, main
from janus_vit.sources.builtin import builtin_frames

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
ROUGH = profiler.Effort(points=3, repeats=1, limit_s=1.0)  # what is measured here is not looked at
ROUGH_COMMAND = (  # the command in a process of its own
    "import sys; from janus_vit.calibration import profiler; from janus_vit.cli.main import main; "
    f"profiler.QUICK = profiler.{ROUGH}; sys.exit(main(sys.argv[1:]))"
)


def blocks(language, page=README):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def commands(page=README):
    lines = [line for block in blocks("sh", page) for line in block.splitlines()]
    return [arguments for line in lines if (arguments := shlex.split(line, comments=True))]


def run(arguments):
    """Run one command in this process; warnings are errors here."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments[1:])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the README's reader has, as the present folder: a checkpoint and some images."""
    FAMILIES["timm-vit"](tmp_path / "my-model")
    (tmp_path / "photos").mkdir()
    for frame, index in zip(builtin_frames()[0][:20], range(20), strict=True):
        Image.fromarray(frame).save(tmp_path / "photos" / f"{index:02}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(profiler, "QUICK", ROUGH)
    return tmp_path


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def served(arguments):
    """Run the command `cloud` in a process of its own; afterwards it must have stopped without a traceback."""
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", ROUGH_COMMAND, *arguments[1:]]
    cloud = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield cloud
    finally:
        cloud.send_signal(signal.SIGINT)
        _, errors = cloud.communicate(timeout=START_S)
    assert "Traceback" not in errors


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


def test_all_commands_run_as_the_readme_says(folder, port):
    (serve,) = (arguments for arguments in commands() if arguments[1] == "cloud")
    (stream,) = (arguments for arguments in commands() if arguments[1] == "device")
    serve = [part.replace("0.0.0.0:50051", f"127.0.0.1:{port}") for part in serve]
    stream = [part.replace("HOST:50051", f"127.0.0.1:{port}").replace("camera:0", "builtin") for part in stream]
    without_network = [arguments for arguments in commands() if arguments[1] not in ("cloud", "device")]
    with served(serve) as cloud:  # starts while the others run
        assert len(without_network) == 5
        for arguments in without_network:
            code, output, errors = run(arguments)
            assert code == 0, (arguments, errors)
            assert output
            assert "Traceback" not in errors
        assert any(f"on 127.0.0.1:{port}" in line for line in cloud.stderr)  # stops at the first
        code, output, errors = run(stream)
        assert code == 0, errors
        assert "60" in output


def test_the_python_runs(monkeypatch):
    rough = partial(profiler.profile_machine, effort=ROUGH)
    monkeypatch.setattr(janus_vit, "profile_machine", rough, raising=False)
    (code,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert len(printed.getvalue().splitlines()) == 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_can_be_parsed(page):
    group = typer.main.get_command(app)
    with group.make_context("janus-vit", [], resilient_parsing=True) as parent:
        for _, name, *options in commands(page):
            command = group.get_command(parent, name)
            assert command is not None, name
            command.make_context(name, options, parent=parent)


def test_the_readme_is_short_and_shows_the_first_run_early():
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 180
    assert max(index for index, line in enumerate(lines, 1) if line.startswith("janus-vit device")) <= 60
