"""`janus-vit profile --costs`, and a fleet whose cloud is the machine that it measured."""

import json

from janus_vit.cli.main import main
from janus_vit.scheduling.costs import load_costs


def test_a_measured_server_is_the_cloud_of_a_fleet(tmp_path, capsys):
    profile, costs = tmp_path / "server.json", tmp_path / "costs.json"
    arguments = ["--quick", "--engine", "eager", "--out", str(profile), "--costs", str(costs)]
    assert main(["profile", *arguments]) == 0
    assert str(costs) in capsys.readouterr().out
    assert load_costs(costs).model == "janus-digits"
    kind = {"name": "camera", "profile": "server.json", "slowdown": 8, "sla_s": 30.0, "period_s": 1.0, "rtt_s": 0.005}
    fleet = {
        "schema": "janus-vit/fleet/1",
        "model": "janus-digits",
        "cloud": {"name": "ours", "profile": "server.json", "costs": "costs.json"},
        "devices": [kind | {"links": ["constant:30"]}],
    }
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet))
    names = ["--contender", "adaptive-fleet", "--json"]
    assert main(["fleet", str(path), "--devices", "3", "--seconds", "2", *names]) == 0
    ours, bound = json.loads(capsys.readouterr().out)
    assert 0 < ours["right"] <= bound["right"] + 1e-9


def test_one_file_cannot_hold_both(tmp_path, capsys):
    path = str(tmp_path / "one.json")
    assert main(["profile", "--out", path, "--costs", path]) == 2
    assert path in capsys.readouterr().err
