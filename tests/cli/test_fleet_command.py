"""`janus-vit fleet`: tables, JSON and CSV of simulated fleets, and one sentence for what cannot be used."""

import csv
import json

import pytest

from janus_vit.cli.main import main

QUICK = ["fleet", "--devices", "4", "--seconds", "1", "--contender", "jpeg-batches-8", "--contender", "adaptive-fleet"]


def test_the_table_has_each_contender_and_the_bound(capsys):
    assert main(QUICK) == 0
    text = capsys.readouterr().out
    for word in ("jpeg-batches-8", "adaptive-fleet", "bound", "vit-large-384 on v100", "right", "in time"):
        assert word in text


def test_json_holds_every_number_and_nothing_passes_the_bound(capsys):
    assert main([*QUICK, "--devices", "4,6", "--cloud", "h100", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["devices"], row["contender"]) for row in rows] == [
        (count, name) for count in (4, 6) for name in ("jpeg-batches-8", "adaptive-fleet", "bound")
    ]
    for count in (4, 6):
        *simulated, bound = [row for row in rows if row["devices"] == count]
        assert all(row["right"] <= bound["right"] + 1e-9 for row in simulated)
        assert all(row["here"] + row["image"] + row["tokens"] <= 1 + 1e-9 for row in simulated)
        assert bound["in_time"] is None


def test_csv_has_a_line_for_every_frame(tmp_path, capsys):
    path = tmp_path / "frames.csv"
    assert main([*QUICK, "--csv", str(path), "--json"]) == 0
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert {line["contender"] for line in lines} == {"jpeg-batches-8", "adaptive-fleet"}
    assert {line["device"] for line in lines} == {"camera-0", "camera-1", "robot-0", "vehicle-0"}
    rows = json.loads(capsys.readouterr().out)
    for row in rows[:2]:
        own = [line for line in lines if line["contender"] == row["contender"]]
        in_time = [line["total_s"] != "" and float(line["total_s"]) <= float(line["sla_s"]) for line in own]
        assert sum(in_time) / len(own) == pytest.approx(row["in_time"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--head", "own.py:Head"], "--head has no effect on the default fleet: give a fleet's file, or add --live"),
        (["--live", "--head", "none.py:Head"], "none.py is no Python file"),
        (["--devices", "0"], "--devices '0' must list whole numbers from 1"),
        (["--devices", "4,x"], "--devices '4,x' must list whole numbers"),
        (["--devices", "999999"], "--devices '999999' must list whole numbers"),
        (["--contender", "magic"], "contender 'magic' is unknown: use one of"),
        (["--cloud", "abacus"], "'abacus'"),
        (["--cloud", "orin-nano"], "orin-nano"),
        (["--seconds", "0"], "--seconds"),
        (["missing.json"], "missing.json: cannot be read"),
        (["--policy", "adaptive"], "--policy"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(arguments, said, capsys):
    assert main(["fleet", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.out == ""
