"""What `janus-vit cloud --ray` refuses before it starts Ray; `tests/cloud/test_ray_serve.py` starts it."""

import importlib.util
import socket

import pytest
from conftest import refused

from janus_vit.cli.common import on_ray
from janus_vit.cli.main import main


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch, make_profile):
    monkeypatch.chdir(tmp_path)
    make_profile(1e-5, model="janus-digits").save(tmp_path / "cloud.json")
    make_profile(1e-5, model="other").save(tmp_path / "other.json")


@pytest.fixture(scope="module")
def free():
    with socket.socket() as sock:
        sock.bind(("", 0))
        return f"0.0.0.0:{sock.getsockname()[1]}"


def test_an_option_without_effect_is_refused(capsys, free):
    assert "--replicas has no effect without --ray: add --ray" in refused(capsys, ["cloud", "--replicas", "2"])
    without_effect = (
        ("--ingest", "2"),
        ("--metrics-port", "9090"),
        ("--metrics-port", "0"),
        ("--cert", "c.pem"),
        ("--tokens", "t.txt"),
        ("--traces",),
    )
    for name, *value in without_effect:
        error = refused(capsys, ["cloud", "--ray", "--listen", free, name, *value])
        assert f"{name} has no effect with --ray: leave out {name} or --ray" in error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--ray needs --profile FILE: write one with 'janus-vit profile"),
        (["--profile", "none.json"], "none.json: cannot be read"),
        (["--profile", "other.json"], "other.json: is the profile of model 'other'"),
        (["--profile", "cloud.json", "--engine", "warp"], "engine 'warp' is unknown"),
        (["--profile", "cloud.json", "--model", "warp"], "model 'warp' is unknown"),
        (["--profile", "cloud.json", "--replicas", "4-2"], "replicas '4-2' is neither a number nor a range"),
    ],
)
def test_a_wrong_option_is_named(capsys, free, options, says):
    assert says in refused(capsys, ["cloud", "--ray", "--allow-anonymous", "--listen", free, *options])


def test_everybody_may_use_ray_serve_and_the_error_advises_nothing_else(capsys, free):
    error = refused(capsys, ["cloud", "--ray", "--listen", free, "--profile", "cloud.json"])
    assert "add --allow-anonymous if everybody who can reach it may use the cloud" in error
    assert "--tokens" not in error


def test_ray_serve_listens_on_every_address(capsys):
    error = refused(capsys, ["cloud", "--ray", "--allow-anonymous", "--profile", "cloud.json"])
    assert "--listen 127.0.0.1:50051: Ray Serve listens on every address: write 0.0.0.0:50051" in error


def test_a_port_in_use_is_refused(capsys):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        listen = f"0.0.0.0:{taken.getsockname()[1]}"
        error = refused(capsys, ["cloud", "--ray", "--allow-anonymous", "--listen", listen])
    assert f"cannot listen on {listen}" in error


def test_ray_is_an_extra(capsys, monkeypatch, free):
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None if name == "ray" else importlib.util.find_spec(name))
    error = refused(capsys, ["cloud", "--ray", "--allow-anonymous", "--listen", free, "--profile", "cloud.json"])
    assert "--ray needs Ray Serve: pip install 'janus-vit[ray]'" in error


def test_help_says_what_ray_needs(capsys):
    assert main(["cloud", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "janus-vit cloud --listen 0.0.0.0:50051 --allow-anonymous --profile cloud.json --ray" in text
    assert "--replicas" in text
