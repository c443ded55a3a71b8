"""`janus-vit report`, as a user meets it."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from conftest import refused

from janus_vit.cli.main import main
from janus_vit.links.traces import Trace
from janus_vit.planning.policies.presets import make_policy
from janus_vit.records.writer import RecordWriter
from janus_vit.simulation.simulate import simulate

TRACE = Trace("steps", 1.0, np.array([20.0, 0.5, 8.0]), {})


@pytest.fixture(autouse=True)
def _in_place(tmp_path, monkeypatch, platforms):
    """A folder with the records of two streams."""
    monkeypatch.chdir(tmp_path)
    for name in ("adaptive", "janus"):
        writer = RecordWriter(Path(f"{name}.jsonl"))
        for outcome in simulate(make_policy(name, platforms), platforms, TRACE, 0.08, 3.0):
            writer.write(outcome)
        writer.close()


def test_a_page_is_written(capsys):
    assert main(["report", "janus.jsonl"]) == 0
    assert capsys.readouterr().out == "written to report.html\n"
    root = ElementTree.parse("report.html").getroot()
    assert [cell.text for cell in root.findall(".//*[@id='section-1']//td[1]")] == ["janus"]


def test_numbers_go_to_a_table_and_to_json(capsys):
    assert main(["report", "adaptive.jsonl", "janus.jsonl", "--out", "a.html", "--csv", "a.csv", "--json"]) == 0
    out, err = capsys.readouterr()
    values = json.loads(out)
    with Path("a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [value["name"] for value in values] == ["adaptive", "janus"]
    for row, value in zip(rows, values, strict=True):
        assert {key: float(row[key]) for key in ("violation_ratio", "p99_s")} == pytest.approx(
            {key: value[key] for key in ("violation_ratio", "p99_s")}
        )
        assert (row["accuracy"], value["accuracy"]) == ("", None)
    assert "written to a.html and a.csv" in err


def test_a_file_that_a_crash_cut_is_used_with_a_warning(capsys):
    whole = Path("janus.jsonl").read_bytes()
    Path("janus.jsonl").write_bytes(whole[:-20])
    assert main(["report", "janus.jsonl", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "warning: The records of janus end in an unfinished line" in err
    (values,) = json.loads(out)
    assert values["frames"] == whole.count(b"\n") - 1
    assert values["cut_bytes"] > 0
    assert "end in an unfinished line" in Path("report.html").read_text("utf-8")


def test_a_damaged_file_is_named_and_nothing_is_written(capsys):
    lines = Path("janus.jsonl").read_text().splitlines()
    Path("janus.jsonl").write_text("\n".join([lines[0], lines[1].replace('"sla_s": 0.08', '"sla_s": -1'), ""]))
    err = refused(capsys, ["report", "adaptive.jsonl", "janus.jsonl", "--csv", "a.csv"])
    assert "janus.jsonl: line 2: field sla_s must be at least 0, not -1" in err
    assert not Path("report.html").exists()
    assert not Path("a.csv").exists()


@pytest.mark.parametrize("option", ["--out", "--csv"])
def test_records_are_never_overwritten(capsys, option):
    before = Path("janus.jsonl").read_bytes()
    assert "is also an input" in refused(capsys, ["report", "janus.jsonl", option, "./janus.jsonl"])
    assert Path("janus.jsonl").read_bytes() == before


def test_a_file_that_is_given_twice_is_refused(capsys):
    assert "is given twice" in refused(capsys, ["report", "janus.jsonl", "./janus.jsonl"])


def test_page_and_table_are_two_files(capsys):
    assert "both" in refused(capsys, ["report", "janus.jsonl", "--out", "a.html", "--csv", "a.html"])


def test_paths_that_cannot_be_written_are_refused_first(capsys):
    assert "its folder does not exist" in refused(capsys, ["report", "none.jsonl", "--out", "none/a.html"])
    assert "cannot be read" in refused(capsys, ["report", "none.jsonl"])


def test_help_teaches_by_example(capsys):
    assert main(["report", "--help"]) == 0
    out = capsys.readouterr().out
    assert "janus-vit report monday.jsonl tuesday.jsonl --out week.html" in out
    assert "janus-vit[report]" in out
