"""The command bench: live and simulated side by side, its records, and one sentence for every mistake."""

import json
import re
from pathlib import Path

import pytest
from safetensors.torch import save_file

from janus_vit.cli.main import main
from janus_vit.model.checkpoints.reader import checkpoint_metadata
from janus_vit.testbed import conditions

CHECKPOINT = "small.safetensors"
CSV = "time_s,mbps\n"


@pytest.fixture(autouse=True)
def _in_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"link.csv: is empty: use a file with at least one row"),
        (CSV, r"link.csv, line 2: no rows after 'time_s,mbps': add at least one"),
        (CSV + "0,0\n1,0\n", r"link.csv, line 2 to the end, mbps: every rate is 0: use at least one above 0"),
        (CSV + "0,5\n1,-2\n", r"link.csv, line 3, mbps: -2 is negative: use 0 or more"),
        (CSV + "0,5\n2,5\n1,5\n", r"link.csv, line 4, time_s: 1 is not after 2: sort the rows"),
        ("0,5\n1,5\n", r"link.csv, line 1: found '0,5', expected the row 'time_s,mbps': add that row"),
        ("4\n9\n7\n", r"link.csv, line 3: 7 ms is before 9 ms: sort the timestamps"),
        ("0\n0\n", r"link.csv, line 2: the trace ends at 0 ms"),
    ],
)
def test_a_damaged_trace_is_one_sentence(capsys, text, says):
    Path("link.csv").write_text(text)
    assert re.search(says, refused(capsys, "link.csv"))


@pytest.mark.parametrize(
    ("trace", "options", "says"),
    [
        ("lte-flying", [], "'lte-flying' is neither a file, nor a rate"),
        ("constant:0", [], "every rate is 0"),
        ("constant:8", ["--policy", "best"], "policy 'best' is unknown"),
        ("constant:8", ["--seconds", "0"], "--seconds 0 must be a number above zero"),
        ("constant:8", ["--period", "10"], "--period '10' has no unit"),
        ("constant:8", ["--slowdown", "nan"], "--slowdown nan must be"),
        (
            "constant:8",
            ["--records", "/dev/null/where"],
            "/dev/null/where: cannot be created as a folder (Not a d",
        ),
        ("constant:8", ["--records", "x" * 300], "cannot be created as a folder (File name too long)"),
        ("constant:8", ["--model", "none.safetensors"], "none.safetensors: no such file"),
    ],
)
def test_other_mistakes_are_one_sentence(capsys, trace, options, says):
    assert says in refused(capsys, trace, *options)


def refused(capsys, trace, *options):
    assert main(["bench", "--trace", trace, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"janus-vit: error: [^\n]+\n", err), err
    return err


def test_a_bench_that_does_not_start_leaves_no_folder(capsys):
    assert "no such file" in refused(capsys, "constant:8", "--records", "records", "--model", "none.safetensors")
    assert not Path("records").exists()


def test_policies_run_live_and_simulated_on_the_users_trace(capsys, monkeypatch, model, rough_profiles):
    monkeypatch.setattr(conditions, "_FRAMES", 10)
    metadata = checkpoint_metadata(model.network.architecture, model.preprocessing, model.labels, {})
    save_file(model.network.state_dict(), CHECKPOINT, metadata)
    Path("link.csv").write_text(CSV + "0,40\n1,20\n")
    options = ["--model", CHECKPOINT, "--rtt", "4ms", "--period", "20ms", "--seconds", "0.6", "--records", "records"]
    chosen = ["--policy", "cloud-jpeg", "--policy", "device-only", "--json"]
    assert main(["bench", "--trace", "link.csv", *options, *chosen]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["policies"]
    assert list(found) == ["cloud-jpeg", "device-only"]
    for name, values in found.items():
        assert values["live"]["kinds"] == values["simulated"]["kinds"]
        gap_s = values["live"]["mean_s"] - values["simulated"]["mean_s"]
        assert sum(values["time_parts_s"].values()) == pytest.approx(gap_s)
        assert re.search(rf"^{name}: (PASS|FAIL): ", err, re.MULTILINE)
        assert values["pass"] or values["why"]
        for run in ("live", "simulated"):
            lines = Path(f"records/{name}-{run}.jsonl").read_text().splitlines()
            records = [json.loads(line) for line in lines]
            assert len(records) == values[run]["frames"] <= values[run]["taken"] == 30
            periods = [(record["at_s"] - records[0]["at_s"]) / 0.02 for record in records]
            assert periods == pytest.approx([round(count) for count in periods], abs=1e-3)
            assert len({round(count) for count in periods}) == len(records)
            assert {record["schema"] for record in records} == {"janus-vit/record/1"}
    assert "link link.csv: mean 30 Mbps, round trip 4.00 ms" in err
