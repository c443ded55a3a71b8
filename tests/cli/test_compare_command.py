"""`janus-vit compare` as its users meet it."""

import csv
import json
from pathlib import Path

import pytest

from janus_vit.cli.main import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "slowest_of_ten.py"
QUICK = ("--trace", "constant:20", "--trace", "lte-driving", "--seconds", "3")


def test_policies_stand_side_by_side_with_the_users_own(capsys):
    arguments = ["compare", *QUICK, "--json", "--policy", "adaptive", "--policy", f"{EXAMPLE}:SlowestOfTen"]
    assert main([*arguments, "--policy", "oracle"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["policy"].rpartition(":")[2] for row in rows[::2]] == ["adaptive", "SlowestOfTen", "oracle"]
    assert {row["link"] for row in rows} == {"constant:20", "lte-driving-24"}
    assert all(0 <= row["violation_ratio"] <= 1 for row in rows)


def test_a_page_and_a_table_are_written(tmp_path, capsys):
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    assert (
        main(["compare", *QUICK, "--policy", "janus", "--policy", "oracle", "--out", str(page), "--csv", str(table)])
        == 0
    )
    assert "<svg" in page.read_text()
    with table.open() as file:
        assert [row["policy"] for row in csv.DictReader(file)] == ["janus", "janus", "oracle", "oracle"]
    assert "regret" in capsys.readouterr().out


def test_frames_may_come_back_to_back(capsys):
    assert main(["compare", *QUICK, "--policy", "janus", "--period", "0ms", "--json"]) == 0
    assert "back to back" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "best"], "policy 'best' is unknown"),
        (["--trace", "nowhere.csv"], "'nowhere.csv' is neither a file"),
        (["--sla", "300"], "write 300ms or 300s"),
        (["--seconds", "0"], "--seconds 0 must be a number above zero"),
        (["--model", "vit-base-224", "--device", "nowhere.json"], "nowhere.json"),
        (["--policy", "cloud-jpeg", "--private"], "can only send images"),
        (["--out", "nowhere/page.html"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments, message, capsys):
    assert main(["compare", "--trace", "constant:5", "--seconds", "1", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_folder_without_traces_is_told(tmp_path, capsys):
    assert main(["compare", "--trace", str(tmp_path)]) == 2
    assert "holds no .csv trace" in capsys.readouterr().err


def test_a_damaged_trace_names_its_line(tmp_path, capsys):
    (tmp_path / "bad.csv").write_text("# interval_s: 1\ntime_s,mbps\n0,5\n1,-3\n")
    assert main(["compare", "--trace", str(tmp_path)]) == 2
    assert "bad.csv, line 4, mbps: -3 is negative" in capsys.readouterr().err
