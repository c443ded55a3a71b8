"""Generated traces are equal for equal seeds and resemble the recordings that they imitate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from janus_vit.errors import InputError
from janus_vit.links.generator import SCENARIOS, generate, trace_from
from janus_vit.links.trace_files import read_trace, write_csv
from janus_vit.links.traces import Trace


def one_second_averages(trace: Trace) -> npt.NDArray[np.float64]:
    averages: npt.NDArray[np.float64] = trace.mbps.reshape(-1, round(1 / trace.interval_s)).mean(axis=1)
    return averages


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_arguments_give_the_same_trace_and_another_seed_another(name: str) -> None:
    technology, mobility = name.split("-")
    trace = generate(technology, mobility, 30, seed=7)
    again = generate(technology, mobility, 30, seed=7)
    other = generate(technology, mobility, 30, seed=8)
    assert trace.mbps.tolist() == again.mbps.tolist()
    assert trace.mbps.tolist() != other.mbps.tolist()
    assert (trace.duration_s, trace.interval_s, len(trace.mbps)) == (30, 0.1, 300)


@pytest.mark.parametrize(
    ("name", "mean_mbps", "variation", "low_share"),
    [
        ("3g-driving", 0.93, 0.47, 0.06),
        ("lte-static", 54.1, 0.17, 0.0),
        ("lte-walking", 48.3, 0.16, 0.0),
        ("lte-driving", 31.0, 0.38, 0.0),
        ("5g-static", 130.4, 0.16, 0.0),
        ("5g-walking", 50.8, 0.44, 0.0),
        ("5g-driving", 32.8, 0.64, 0.0),
        ("wifi-static", 26.8, 0.28, 0.0),
        ("wifi-walking", 25.4, 0.89, 0.23),
    ],
)
def test_a_scenario_resembles_its_recording(name: str, mean_mbps: float, variation: float, low_share: float) -> None:
    seconds = np.concatenate([one_second_averages(trace_from(name, 600, seed)) for seed in range(10)])
    assert seconds.mean() == pytest.approx(mean_mbps, rel=0.1)
    assert seconds.std() / seconds.mean() == pytest.approx(variation, abs=0.08)
    assert (seconds < 0.1).mean() == pytest.approx(low_share, abs=0.04)


@pytest.mark.parametrize("name", SCENARIOS)
def test_rates_stay_between_nothing_and_what_the_cell_gives(name: str) -> None:
    trace = trace_from(name, 300, 3)
    assert trace.mbps.min() >= 0
    assert trace.mbps.max() <= SCENARIOS[name].ceiling_mbps


@pytest.mark.parametrize("name", SCENARIOS)
def test_even_the_shortest_trace_can_carry_something(name: str) -> None:
    assert all(trace_from(name, 0.1, seed).mbps[0] > 0 for seed in range(50))


def test_a_trace_records_how_it_was_made_and_survives_a_file(tmp_path: Path) -> None:
    trace = generate("5g", "driving", 10, seed=4)
    assert trace.name == "5g-driving-4"
    assert trace.meta["generator"].endswith("5g-driving")
    assert trace.meta["seed"] == "4"
    assert "outage_every_s=250" in trace.meta["parameters"]
    write_csv(trace, tmp_path / "made.csv")
    assert read_trace(tmp_path / "made.csv").mbps.tolist() == trace.mbps.tolist()


def test_a_coarser_step_keeps_the_length() -> None:
    assert len(generate("lte", "static", 60, seed=0, interval_s=1).mbps) == 60


def test_a_spec_is_a_scenario_or_a_constant_or_a_file(tmp_path: Path) -> None:
    assert trace_from("lte-driving", 5, 1).name == "lte-driving-1"
    constant = trace_from("constant:20", 5, 1)
    assert (constant.mean_mbps, constant.duration_s) == (20, 5)
    write_csv(constant, tmp_path / "recorded.csv")
    assert trace_from(str(tmp_path / "recorded.csv"), 99, 1).duration_s == 5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("6g-flying", "'6g-flying' is neither.*lte-driving"),
        ("x" * 5000, "is neither"),
        ("", "is neither"),
        ("constant:fast", "'constant:fast'.*Mbps"),
        ("constant:0", "every rate is 0"),
        ("constant:-1", "between 0 and"),
        ("constant:1e400", "between 0 and"),
        ("constant:nan", "rate is not a number"),
        ("constant:1_0", "rate is not a number"),
        ("constant:\u0663", "rate is not a number"),
        ("constant:" + "9" * 5000, "rate is not a number"),
    ],
)
def test_a_spec_that_names_nothing_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trace_from(spec, 5, 1)


@pytest.mark.parametrize(
    ("technology", "mobility", "duration_s", "seed", "interval_s", "message"),
    [
        ("6g", "driving", 10, 0, 0.1, "'6g-driving'.*3g-static.*wifi-driving"),
        ("lte", "flying", 10, 0, 0.1, "'lte-flying'"),
        ("lte", "driving", 0, 0, 0.1, "duration_s"),
        ("lte", "driving", -1, 0, 0.1, "duration_s"),
        ("lte", "driving", float("nan"), 0, 0.1, "duration_s"),
        ("lte", "driving", float("inf"), 0, 0.1, "steps"),
        ("lte", "driving", 10, 0, 0, "duration_s"),
        ("lte", "driving", 10, 0, 1e-9, "steps"),
        ("lte", "driving", 10, -1, 0.1, "seed"),
    ],
)
def test_arguments_that_make_no_trace_are_refused(
    technology: str, mobility: str, duration_s: float, seed: int, interval_s: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        generate(technology, mobility, duration_s, seed, interval_s)
