"""--engine: what it runs with is what was measured with it, or the command says which of the two to change."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
from patience import PATIENCE_S

from janus_vit.cli.common.loading import load_engine
from janus_vit.cli.main import main
from janus_vit.cloud.server import Cloud
from janus_vit.errors import InputError
from janus_vit.model.catalog import load_model
from janus_vit.model.engines import factory, packed
from janus_vit.model.engines.base import Engine
from janus_vit.runtime.connect import accuracy_for, connect

NOWHERE = "127.0.0.1:1"


def refused(capsys, arguments):
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("janus-vit: error: ")
    return error


@pytest.fixture
def profile(tmp_path, make_profile):
    """Writes a profile of the built-in model that was made with an engine and so many threads."""

    def write(**about) -> str:
        made = replace(make_profile(2e-6, 1e-5, "janus-digits"), about=about)
        made.save(tmp_path / "profile.json")
        return str(tmp_path / "profile.json")

    return write


@pytest.mark.parametrize(
    "command",
    [
        ["cloud"],
        ["device", "--require-cloud", "--cloud", NOWHERE],
        ["profile", "--out", "p.json"],
        ["calibrate", "--out", "t.json", "--data", "builtin"],
        ["demo"],
    ],
)
def test_an_unknown_engine_is_refused_by_every_command(capsys, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    assert "engine 'warp' is unknown: use one of auto, auto-bf16, auto-int8, eager" in refused(
        capsys, [*command, "--engine", "warp"]
    )


@pytest.mark.parametrize(("made", "measures"), [("eager", False), ("int8", True), ("gone", True)])
def test_auto_takes_the_engine_of_a_profile_of_its_precision(monkeypatch, model, profile, made, measures):
    measured = []
    monkeypatch.setattr(factory, "fastest", lambda model, specs: measured.append(specs) or "eager")
    assert load_engine(copy.deepcopy(model), "auto", Path(profile(engine=made))).name == "eager"
    assert bool(measured) == measures


def test_a_profile_says_what_it_was_made_with(capsys, tmp_path, rough_profiles):
    out = tmp_path / "p.json"
    assert main(["profile", "--out", str(out), "--quick", "--threads", "1", "--engine", "eager"]) == 0
    about = json.loads(out.read_text())["about"]
    assert (about["engine"], about["threads"]) == ("eager", 1)
    assert "1 threads, engine eager" in capsys.readouterr().out
    device = ["device", "--require-cloud", "--cloud", NOWHERE, "--profile", str(out), "--threads", "1"]
    assert "no janus-vit cloud answers" in refused(capsys, [*device, "--engine", "eager"])


@pytest.mark.parametrize("made", [{"engine": "other", "threads": 1}, {"engine": "eager", "threads": 64}])
@pytest.mark.parametrize(
    "command", [["cloud", "--listen", "127.0.0.1:0"], ["device", "--require-cloud", "--cloud", NOWHERE]]
)
def test_a_profile_of_another_engine_or_thread_count_is_refused(capsys, profile, command, made):
    path = profile(**made)
    error = refused(capsys, [*command, "--profile", path, "--engine", "eager", "--threads", "1"])
    assert f"{path}: was measured with engine {made['engine']} and {made['threads']} threads" in error
    assert "but this command uses eager with 1: run 'janus-vit profile' with --engine eager --threads 1" in error
    assert f"--engine {made['engine']} --threads {made['threads']}" in error


def test_a_profile_that_names_neither_is_taken(capsys, profile):
    error = refused(
        capsys, ["device", "--require-cloud", "--cloud", NOWHERE, "--profile", profile(), "--engine", "eager"]
    )
    assert "no janus-vit cloud answers" in error


def test_a_fallback_is_one_warning(capsys, monkeypatch, profile):
    monkeypatch.setattr(packed, "product_unavailable_reason", lambda dtype: "no such instructions")
    main(["device", "--require-cloud", "--cloud", NOWHERE, "--profile", profile(), "--engine", "packed"])
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == [
        "janus-vit: warning: engine 'packed' cannot run here (no such instructions): 'eager' runs instead"
    ]


def test_accuracy_holds_within_one_precision_only():
    model = load_model()
    assert accuracy_for(model, "float32", None) is model.accuracy
    assert accuracy_for(model, "bfloat16", None) is None
    with pytest.raises(InputError, match=r"measured in float32 .* computes in bfloat16: calibrate with this --engine"):
        accuracy_for(model, "bfloat16", model.accuracy)


def test_calibrate_records_engine_and_precision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "calibrate",
        "--out",
        "t.json",
        "--data",
        "builtin",
        "--frames",
        "8",
        "--budget",
        "3",
        "--threads",
        "1",
    ]
    assert main([*arguments, "--engine", "eager", "--families", "fixed"]) == 0
    values = json.loads(Path("t.json").read_text())
    assert (values["engine"], values["precision"]) == ("eager", "float32")


def test_both_sides_take_an_engine_by_name_or_ready_made(model, engine: Engine, make_profile, frames):
    profile = make_profile(1e-6, 1e-5, "small")
    with (
        Cloud(model, profile, engine="eager") as cloud,
        connect(model, f"127.0.0.1:{cloud.port}", profile, sla_s=PATIENCE_S, engine=engine) as device,
    ):
        assert len(device.infer(frames[0]).answer.classes) == 5
    with pytest.raises(InputError, match="engine 'warp' is unknown"):
        Cloud(model, profile, engine="warp")
