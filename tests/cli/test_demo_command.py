"""`janus-vit demo` runs the policies that are asked for and prints one row for each."""

import json
import re

import pytest
from conftest import refused

from janus_vit.cli.demo import DEFAULT_RUNS, RUNS
from janus_vit.cli.main import main


def test_policies_run_one_after_another_and_each_gets_a_row(capsys, rough_profiles):
    chosen = ["--policies", "device-only, adaptive-private"]
    assert main(["demo", *chosen, "--seconds", "0.4", "--engine", "eager", "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert list(rows) == ["device-only", "adaptive-private"]
    assert all(row["frames"] > 0 and "image" not in row["kinds"] for row in rows.values())
    assert re.search(r"^1/2 device-only\n( +\d+\.\d s .* ms(  late)?\n)+2/2 adaptive-private$", err, re.MULTILINE)
    assert re.search(r"^ device-only +\d+ ", err, re.MULTILINE)


def test_the_default_policies_are_some_of_all():
    assert set(DEFAULT_RUNS.split(",")) < set(RUNS)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--policies", "adaptive,best"], "--policies: 'best' is unknown: write all, or some of device-only"),
        (["--policies", ""], "--policies: '' is unknown"),
        (["--seconds", "0"], "--seconds 0 must be"),
        (["--slowdown", "-1"], "--slowdown -1 must be"),
        (["--sla", "150"], "write 150ms or 150s"),
        (["--trace", "lte-flying"], "'lte-flying' is neither"),
    ],
)
def test_a_mistake_is_one_sentence(capsys, options, says):
    assert says in refused(capsys, ["demo", *options])
