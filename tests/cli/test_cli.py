"""What a user sees: answers on stdout, one sentence for every mistake, and an exit code that scripts can trust."""

import copy
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from patience import PATIENCE_S, START_S
from PIL import Image
from safetensors.torch import save_file

import janus_vit
from janus_vit.calibration import profiler
from janus_vit.cli.common.console import wait_for_signal
from janus_vit.cli.main import main
from janus_vit.cloud.server import Cloud
from janus_vit.model import catalog
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.planning.policies.ranking import KINDS
from janus_vit.sources import frames as sources

CHECKPOINT = "small.safetensors"


def save_model(model, path: Path) -> None:
    metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
    save_file(model.network.state_dict(), path, metadata)


def changed(model):
    """The same model after one more step of training."""
    network = copy.deepcopy(model.network)
    with torch.no_grad():
        network.head.bias += 1
    return replace(model, network=network)


@pytest.fixture(scope="module")
def place(tmp_path_factory, model, make_profile):
    """A folder as a user would have it."""
    place = tmp_path_factory.mktemp("place")
    save_model(model, place / CHECKPOINT)
    (place / "changed").mkdir()
    save_model(changed(model), place / "changed" / CHECKPOINT)
    make_profile(2e-6, 1e-5, "small").save(place / "small.json")
    make_profile(2e-6, 1e-5, "other").save(place / "other.json")
    text = (place / "small.json").read_text()
    (place / "cut.json").write_text(text[: len(text) // 2])
    (place / "wrong.json").write_text(re.sub(r'"stem_s": [^,]*', '"stem_s": "fast"', text))
    (place / "images").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(noise).save(place / "images" / f"{index}.png")
    (place / "empty").mkdir()
    (place / "broken.png").write_bytes(b"nothing like an image")
    return place


@pytest.fixture(autouse=True)
def _in_place(place, monkeypatch):
    monkeypatch.chdir(place)


@pytest.fixture(scope="module")
def cloud(model, make_profile):
    with Cloud(model, make_profile(1e-6, 1e-5, "small")) as cloud:
        yield cloud


def device(cloud, *more: str) -> list[str]:
    """A device command; options in `more` win over those before them."""
    here = ["device", "--cloud", f"127.0.0.1:{cloud.port}", "--model", CHECKPOINT, "--profile", "small.json"]
    return [*here, "--source", "images", "--sla", "45s", *more]


def records(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def refused(capsys, arguments: list[str]) -> str:
    """The one line that a mistake is answered with."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert re.fullmatch(r"janus-vit: error: [^\n]+\n", err), err
    return err


def test_without_a_cloud_the_device_runs_alone_and_says_so_once(capsys, cloud):
    assert main(device(cloud, "--cloud", "127.0.0.1:1", "--json")) == 0
    out, err = capsys.readouterr()
    assert [record["plan"]["payload"] for record in records(out)] == ["local"] * 3
    assert err.count("until it answers, frames stay on this device") == 1


def test_records_of_another_day_survive_a_stream_that_does_not_start(capsys, cloud, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text("the records of another day\n")
    refused(capsys, device(cloud, "--cloud", "127.0.0.1:1", "--require-cloud", "--records", str(path)))
    refused(capsys, device(cloud, "--profile", "other.json", "--records", str(path)))
    assert path.read_text() == "the records of another day\n"


def test_a_cloud_with_another_model_is_not_used(capsys, cloud):
    assert main(device(cloud, "--model", f"changed/{CHECKPOINT}", "--json")) == 0
    out, err = capsys.readouterr()
    assert [record["plan"]["payload"] for record in records(out)] == ["local"] * 3
    assert err.count("start both with the same --model; this cloud is not used") == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--source", "broken.png"], "broken.png: is not an image"),
        (["--source", "empty"], "empty: holds no image"),
        (["--source", "nowhere"], "'nowhere' does not exist"),
        (["--model", "vit-huge"], "model 'vit-huge' is unknown: use one of janus-digits"),
        (["--model", "none.safetensors"], "none.safetensors: no such file or folder"),
        (["--profile", "none.json"], "none.json: cannot be read"),
        (["--profile", "cut.json"], r"cut.json: line \d+, column \d+"),
        (["--profile", "wrong.json"], "wrong.json: field stem_s"),
        (["--profile", "other.json"], "other.json: is the profile of model 'other'"),
        (["--cloud", "127.0.0.1:99999"], "port from 1 to 65535"),
        (["--cloud", "127.0.0.1"], "must be HOST:PORT"),
        (["--cloud", "127.0.0.1:1", "--require-cloud"], "no janus-vit cloud answers"),
        (["--sla", "0ms"], "--sla '0ms' must be above zero"),
        (["--sla", "-300ms"], "--sla '-300ms' must be above zero"),
        (["--sla", "soon"], "--sla 'soon' is not a time"),
        (["--sla", "300"], "--sla '300' has no unit: write 300ms or 300s"),
        (["--policy", "best"], "policy 'best' is unknown: use one of adaptive"),
        (["--policy", "cloud-only", "--private"], "policy cloud-only can only send images"),
        (["--fps", "0"], "--fps 0 must be a number above zero"),
        (["--frames", "0"], "--frames"),
        (["--records", "nowhere/records.jsonl"], "nowhere/records.jsonl: cannot be written"),
        (["--tls-ca", "small.json"], "small.json: holds no certificate"),
        (["--ca", "none.pem"], "none.pem: cannot be read"),
        (["--cert", "none.pem"], "--cert and --key belong together"),
        (["--cert", "none.pem", "--key", "none.pem"], "--cert needs TLS: add --ca FILE"),
        (["--token-file", "none.token"], "none.token: cannot be read"),
        (["--token-file", "cut.json"], "cut.json: must hold one token alone"),
        (["--model", f"changed/{CHECKPOINT}", "--require-cloud"], "start both with the same --model"),
        (["--page", "0.0.0.0:8080"], "--page 0.0.0.0:8080: without tokens the page is for this machine only"),
        (["--stride", "4"], "--stride 4 is for video models, and model '.*' takes images: leave it out"),
        (["--speed", "9"], "--speed"),
    ],
)
def test_mistake_at_the_device_is_one_sentence(capsys, cloud, options, says):
    assert re.search(says, refused(capsys, device(cloud, *options)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cloud", "--listen", "localhost"], "must be HOST:PORT"),
        (["cloud", "--listen", "127.0.0.1:66000"], "port from 1 to 65535"),
        (["cloud", "--cert", "small.json"], "--cert and --key belong together"),
        (["cloud", "--listen", "0.0.0.0:50051"], "anyone could use this cloud: add --tokens FILE"),
        (["cloud", "--tokens", "small.json"], "small.json: line 1 is not NAME sha256:HEX"),
        (["token", "two words"], "device name 'two words' must be 1 to 64 letters"),
        (["cloud", "--page", "8080"], "--page 8080: .* 127.0.0.1:8080"),
        (["cloud", "--tls-cert", "small.json", "--tls-key", "small.json"], "are not a PEM certificate and its key"),
        (["plan", "--rtt", "20"], "--rtt '20' has no unit"),
        (["plan", "--bandwidth", "0"], "--bandwidth 0 must be a number above zero"),
        (["plan", "--bandwidth", "fast"], "--bandwidth"),
        (["plan", "--slowdown", "-1"], "--slowdown -1 must be"),
        (["plan", "--policy", "best"], "policy 'best' is unknown"),
        (["plan", "--model", CHECKPOINT, "--cloud-profile", "cut.json"], "cut.json: line"),
        (["profile", "--out", "nowhere/p.json"], "nowhere/p.json: cannot be written"),
        (["profile", "--out", "empty"], "empty: cannot be written"),
        (["profile"], "--out.*: see janus-vit profile --help"),
        (["simulate"], "simulate"),
    ],
)
def test_mistake_anywhere_else_is_one_sentence(capsys, arguments, says):
    assert re.search(says, refused(capsys, arguments))


def test_port_in_use_is_one_sentence(capsys, cloud):
    listen = f"127.0.0.1:{cloud.port}"
    arguments = ["cloud", "--listen", listen, "--model", CHECKPOINT, "--profile", "small.json"]
    assert f"cannot listen on {listen}" in refused(capsys, arguments)


def test_device_prints_one_record_a_frame(capsys, cloud):
    assert main(device(cloud, "--json", "--policy", "cloud-jpeg")) == 0
    out, err = capsys.readouterr()
    found = records(out)
    assert [record["frame"] for record in found] == [0, 1, 2]
    assert all(record["schema"] == "janus-vit/record/1" and record["fallback"] is None for record in found)
    assert all(record["answer"]["label"].startswith("label ") for record in found)
    assert "sent: image" in err
    assert "\x1b" not in err


def test_device_answers_every_frame_when_the_cloud_stops_midway(capsys, monkeypatch, model, make_profile):
    cloud = Cloud(model, make_profile(1e-6, 1e-5, "small"))
    when_read(monkeypatch, "1.png", cloud.close)
    options = ["--json", "--policy", "cloud-jpeg", "--in-flight", "1", "--records", "stopped.jsonl"]
    assert main(device(cloud, *options)) == 0
    out, err = capsys.readouterr()
    found = records(out)
    assert [record["fallback"] is None for record in found] == [True, False, False]
    assert all(record["answer"]["classes"] for record in found)
    assert records(Path("stopped.jsonl").read_text()) == found
    assert re.search(r"fallbacks to the device +2 *\n", err)


def test_interrupt_ends_the_stream_with_a_summary(capsys, monkeypatch, cloud):
    when_read(monkeypatch, "1.png", lambda: signal.raise_signal(signal.SIGINT))
    assert main(device(cloud, "--json", "--records", "interrupted.jsonl")) == 0
    out, err = capsys.readouterr()
    assert [record["frame"] for record in records(out)] == [0, 1]
    assert records(Path("interrupted.jsonl").read_text()) == records(out)
    assert re.search(r"frames +2 *\n", err)


def test_private_device_sends_no_image(capsys, cloud):
    assert main(device(cloud, "--json", "--private")) == 0
    assert all(record["plan"]["split"] > 0 for record in records(capsys.readouterr().out))


def test_terminal_sees_the_stream_live(capsys, monkeypatch, cloud):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(device(cloud, "--fps", "50")) == 0
    out, err = capsys.readouterr()
    assert "latency" in err
    assert "frames" in err
    assert "summary" in out


def test_skipped_image_is_named_and_counted(capsys, cloud, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "fine.png")
    (tmp_path / "broken.png").write_bytes(b"nothing like an image")
    assert main(device(cloud, "--source", str(tmp_path))) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^janus-vit: warning: skipped .*broken.png", err, re.MULTILINE)
    assert re.search(r"frames +1 *\n", out)
    assert re.search(r"images skipped +1 *\n", out)


def test_interrupt_before_the_stream_is_a_line_and_130(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "load_model", interrupted)
    assert main(["plan"]) == 130
    assert capsys.readouterr().err.lstrip() == "janus-vit: interrupted\n"  # older typer begins a new line


@contextmanager
def cloud_process(*more: str) -> Iterator[subprocess.Popen]:
    """The command `cloud` in a process of its own."""
    options = ["--listen", "127.0.0.1:0", "--model", CHECKPOINT, "--profile", "small.json", "--engine", "eager"]
    command = [sys.executable, "-m", "janus_vit.cli.main", "cloud", *options, *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(process: subprocess.Popen, number: int) -> str:
    """What a process that a signal stops still writes to stderr; it ends well."""
    process.send_signal(number)
    _, last = process.communicate(timeout=START_S)
    assert process.returncode == 0
    return last


def test_cloud_says_where_it_serves_shows_its_page_and_stops_cleanly_at_ctrl_c():
    with cloud_process("--page", "127.0.0.1:0", "--json") as process:
        with urllib.request.urlopen(json.loads(process.stdout.readline())["page"], timeout=PATIENCE_S) as page:
            assert b"small, engine eager" in page.read()
        *first, last = stopped(process, signal.SIGINT).splitlines()
    assert last == "stopping: answering the requests that were accepted"
    speed = r"[\d.,e+]+ frames/s (one by one|in batches of \d+)"
    engine = rf"engine eager on cpu in float32, {speed}"
    (serving,) = [line for line in first if line.startswith("serving")]
    assert re.fullmatch(rf"serving small on 127\.0\.0\.1:\d+ with {engine}; Ctrl-C stops it", serving)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_ends_the_wait_and_has_its_own_effect_afterwards(number):
    before = signal.getsignal(number)
    with wait_for_signal() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        stop.wait()
        assert stop.requested
    assert signal.getsignal(number) is before


def test_device_serves_its_page_until_it_ends(capsys, cloud):
    assert main(device(cloud, "--page", "127.0.0.1:0")) == 0
    assert re.search(r"^live page: http://127\.0\.0\.1:\d+/$", capsys.readouterr().err, re.MULTILINE)


def test_plan_explains_its_choice(capsys):
    both = ["--device-profile", "small.json", "--cloud-profile", "small.json"]
    arguments = ["plan", "--model", CHECKPOINT, *both, "--slowdown", "1000", "--sla", "100ms", "--top", "2"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert re.search(r"^> \S", out, re.MULTILINE)
    assert all(kind in out for kind in ("device only", "image, ", "split "))
    assert re.search(r"Chosen: \d+ merged a block, .*\nWhy: in time with probability", out)
    assert main([*arguments, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [candidate["chosen"] for candidate in values["candidates"]][:2] == [True, False]
    assert {candidate["kind"] for candidate in values["candidates"]} == set(KINDS)


def test_profile_is_measured_written_and_shown(capsys, rough_profiles):
    arguments = ["profile", "--model", CHECKPOINT, "--source", "images", "--quick", "--out", "new.json"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("line", "quadratic", "stem", "head", "float8", "jpeg90", "written to new.json"))
    assert main([*arguments, "--json"]) == 0
    assert capsys.readouterr().out == Path("new.json").read_text()


def test_profile_warns_of_times_that_scatter(capsys, monkeypatch, make_profile):
    profile = make_profile(1e-6, 1e-5, "small")
    for error, warns in ((0.1, False), (0.4, True)):
        noisy = replace(profile, quadratic=replace(profile.quadratic, mean_error=error))
        monkeypatch.setattr(profiler, "profile_machine", lambda *args, result=noisy, **options: result)
        assert main(["profile", "--model", CHECKPOINT, "--engine", "eager", "--out", "noisy.json", "--json"]) == 0
        assert ("by 40% on average: stop other programs and measure again" in capsys.readouterr().err) == warns


def test_models_are_listed_without_their_weights(capsys, monkeypatch):
    monkeypatch.setattr(catalog, "CATALOG", {"vit-tiny-224": catalog.CATALOG["vit-tiny-224"]})
    assert main(["models", "--json"]) == 0
    [facts] = json.loads(capsys.readouterr().out)
    assert (facts["blocks"], facts["tokens"], facts["width"], facts["parameters"]) == (12, 197, 192, 5_717_224)
    assert main(["models"]) == 0
    assert "5,717,224" in capsys.readouterr().out


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"janus-vit {janus_vit.__version__}\n"
    assert main([]) == 0
    assert "janus-vit cloud --listen" in capsys.readouterr().out
    assert main(["device", "--help"]) == 0
    assert "Example:" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["--version"], ["models", "--json"], ["token", "robot-7"]])
def test_a_full_disk_under_the_output_is_a_sentence(capsys, monkeypatch, command):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(command) == 2
    says = "error: output: cannot be written (No space left on device): free disk space, or choose another place\n"
    assert capsys.readouterr().err.endswith(says)


def test_a_stream_whose_output_finds_a_full_disk_ends_with_a_sentence(capsys, monkeypatch, cloud):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(device(cloud, "--json")) == 2
    assert "error: output: cannot be written (No space left on device)" in capsys.readouterr().err


def when_read(monkeypatch, name: str, act) -> None:
    """Let something happen when an image is about to be read."""
    read = sources.read_image

    def reading(path):
        if path.name == name:
            act()
        return read(path)

    monkeypatch.setattr(sources, "read_image", reading)
