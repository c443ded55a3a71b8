"""Pages and figures: well-formed, all inside, the same each time, and safe against what others wrote."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from janus_vit.errors import InputError
from janus_vit.links.traces import Trace
from janus_vit.planning.outcome import Answer
from janus_vit.planning.plan import ModelShape
from janus_vit.planning.platforms import Platforms
from janus_vit.planning.policies.presets import make_policy
from janus_vit.report.canvas import colours_of
from janus_vit.report.figures import Bar, ParetoPoint, bars, cdf, pareto, pareto_front, predicted_measured
from janus_vit.report.heatmap import Choice, heatmap
from janus_vit.report.overview import Run, as_csv, as_values, make_row, summary_table
from janus_vit.report.page import Section, Table, render_page, write_page
from janus_vit.report.streams import intro, report_sections, stream_of
from janus_vit.report.timeline import Rates, Stream, timeline
from janus_vit.simulation.simulate import simulate

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script> & \"$\\frac$\" \x00 ]]> \u4eba"
TRACE = Trace("steps", 1.0, np.array([20.0, 0.5, 0.0, 8.0]), {})
FRAMES = ([0.0, 1.0], [0.1, 0.1], [0.09, 0.2], [0.0, 0.3])  # begin, SLA, time taken, level
FIGURES = {
    "timeline": lambda name: timeline(
        Stream(name, *FRAMES, name, [0, 7], 6, ["image", "nothing"], [True, False], Rates([0.1, 0.4], [9.0, 0.0]))
    ),
    "cdf": lambda name: cdf({name: [0.1, 0.2, 0.15], "b": [0.1]}, (0.1, 0.2)),
    "heatmap": lambda name: heatmap(["0-1", "1-2"], [name], [[Choice("tokens", name, 0.5), None]], name, name),
    "pareto": lambda name: pareto(
        [ParetoPoint(name, 0.1, 0.9, 0.8, 0.95, name), ParetoPoint("b", 0.2, 0.95)], name, name, name
    ),
    "predicted": lambda name: predicted_measured({name: {name: ([0.1, 0.0], [0.2, 0.3])}, "cloud": {}}),
    "bars": lambda name: bars([name, "g"], {name: [Bar(3, 2, 4, 5), None], "b": [Bar(1), Bar(2)]}, name, name, name),
}


def run(platforms, name="adaptive", policy="adaptive", **changes):
    outcomes = list(simulate(make_policy(policy, platforms), platforms, TRACE, 0.08, 6.0))
    return Run(name, [replace(outcome, **changes) for outcome in outcomes])


@pytest.fixture(scope="module")
def runs(make_profile):
    shape = ModelShape("example", 6, 65, 1, 32, (3, 64, 64))
    platforms = Platforms(shape, make_profile(2e-4), make_profile(1e-5), rate_mbps=10.0, rtt_s=0.02)
    return [run(platforms, name, name) for name in ("adaptive", "device-only")]


def sections_of(runs):
    return report_sections(runs, [make_row(one) for one in runs])


@pytest.fixture(scope="module")
def sections(runs):
    return sections_of(runs)


@pytest.fixture(scope="module")
def root(runs, sections):
    return ElementTree.fromstring(render_page("Streams", intro(runs), sections))


def texts(markup):
    return [text for text in ElementTree.fromstring(markup).itertext() if text.strip()]


def test_a_page_is_well_formed_and_refers_to_nothing_outside(root):
    targets = [value for element in root.iter() for key, value in element.attrib.items() if key in ("src", "href")]
    assert targets
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    assert not {element.tag for element in root.iter()} & {"link", "iframe", "img", "object"}
    inside = {element.get("id") for element in root.iter()}
    assert {target[1:] for target in targets if target.startswith("#")} <= inside
    styles = " ".join(element.text or "" for element in root.iter("style"))
    assert "url(" not in styles
    assert "@import" not in styles


def test_no_two_parts_of_a_page_have_one_id(root):
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_contents_name_every_section_in_order(root, sections):
    links = [(link.text, link.get("href")) for link in root.iter("a")]
    assert links == [(section.title, f"#section-{index}") for index, section in enumerate(sections, 1)]


def test_what_others_wrote_stays_text():
    hostile = HOSTILE.replace("\x00", "")
    table = Table((hostile, "b"), [(hostile, hostile)], hostile)
    root = ElementTree.fromstring(render_page(hostile, hostile, [Section(hostile, hostile, (), [table])]))
    assert len(list(root.iter("script"))) == 1
    assert root.findtext(".//h1") == root.findtext(".//h2") == root.findtext(".//td") == hostile


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_hostile_name_in_a_figure_stays_text_and_the_same_input_gives_the_same_figure(draw):
    svg = draw(HOSTILE)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert not list(root.iter(f"{SVG}script"))
    assert any("alert('x')" in text for text in texts(svg))
    assert draw(HOSTILE) == svg


def test_colours_of_a_figure_follow_the_page():
    svg = FIGURES["cdf"]("a")
    assert "var(--ink, #1b2430)" in svg
    assert not re.search(r"(?<!, )#1b2430", svg)


def test_a_figure_says_what_it_shows():
    root = ElementTree.fromstring(FIGURES["bars"]("late frames"))
    assert root.get("role") == "img"
    assert "late frames" in root.get("aria-label")


def test_figures_without_matplotlib_say_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in FIGURES.values():
        with pytest.raises(InputError, match=r"pip install 'janus-vit\[report\]'"):
            draw("a")


def test_columns_of_numbers_are_told_from_columns_of_words():
    table = Table(("name", "n", "mixed", "none"), [("1", "~3", "4 ms", "-"), ("2", "-1.5 (1-2)", "x", "-")])
    assert table.numeric == (False, True, False, True)
    assert Table(("a", "b"), []).numeric == (False, True)


def test_a_policy_has_its_colour_whoever_else_is_there():
    alone, together = colours_of(["janus"]), colours_of(["x", "adaptive", "y", "janus"])
    assert alone["janus"] == together["janus"]
    assert len(set(together.values())) == 4
    assert len(colours_of([f"stream {index}" for index in range(30)])) == 30


def test_nothing_on_the_front_is_beaten():
    points = [
        ParetoPoint("a", 3, 0.9),
        ParetoPoint("b", 1, 0.5),
        ParetoPoint("c", 2, 0.4),
        ParetoPoint("d", 3, 0.8),
        ParetoPoint("e", 4, 0.95),
    ]
    assert [point.name for point in pareto_front(points)] == ["b", "a", "e"]


def test_a_timeline_shows_the_true_link_abandoned_transfers_and_late_frames(platforms):
    late = [replace(outcome, sla_s=0.06) for outcome in run(platforms, "cloud-only", "cloud-only").outcomes]
    shown = texts(timeline(stream_of(Run("cloud-only", late), TRACE)))
    for label in (
        "true rate",
        "transfer",
        "abandoned: upper bound",
        "in time",
        "late",
        "finished on the device",
        "SLA",
    ):
        assert label in shown
    assert "nothing" not in shown


def test_a_long_stream_becomes_a_picture_not_a_huge_file(platforms):
    few = run(platforms)
    outcomes = [replace(few.outcomes[index % len(few.outcomes)], at_s=0.1 * index) for index in range(5000)]
    svg = timeline(stream_of(Run("long", outcomes)))
    assert "data:image/png;base64," in svg
    assert len(svg) < 400_000


def test_the_true_link_begins_where_the_stream_does_and_loops(platforms):
    stream = run(platforms, "device-only", "device-only")
    late = Run("late", [replace(outcome, at_s=outcome.at_s + 5.5) for outcome in stream.outcomes])
    trace = stream_of(late, TRACE).trace
    assert list(trace.at_s)[:2] == pytest.approx([-0.5, 0.5])
    assert list(trace.mbps)[:4] == [0.5, 0.0, 8.0, 20.0]


def test_a_row_counts_late_frames_and_right_answers_with_intervals(platforms):
    stream = run(platforms, answer=Answer((3,), (1.0,)))
    truths = [3, 4, *[None] * (len(stream.outcomes) - 2)]
    row = make_row(replace(stream, truths=truths))
    assert row.summary.accuracy == 0.5
    assert row.right == pytest.approx((0.0945, 0.9055), abs=1e-3)
    assert row.late[0] <= row.summary.violation_ratio <= row.late[1]
    assert row.expected is None
    values = as_values(row)
    assert values["accuracy"] == 0.5
    assert values["sla_s"] == 0.08
    assert values["image_share"] + values["tokens_share"] + values["nothing_share"] == pytest.approx(1)


def test_expected_accuracy_counts_late_answers_as_none(platforms):
    stream = run(platforms)
    slow = replace(stream.outcomes[0].measured, total_s=1.0)
    predicted = replace(stream.outcomes[0].predicted, accuracy=0.8)
    first, second = (replace(one, predicted=predicted) for one in stream.outcomes[:2])
    row = make_row(Run("a", [replace(first, measured=slow), second]))
    assert (row.expected, row.expected_in_time) == pytest.approx((0.8, 0.4))


def test_a_summary_leaves_out_what_nobody_knows(runs):
    rows = [make_row(one) for one in runs]
    assert "right %" not in summary_table(rows).header
    assert "SLA ms" not in summary_table(rows).header
    other = Run("slow", [replace(outcome, sla_s=0.2) for outcome in runs[0].outcomes])
    assert "SLA ms" in summary_table([*rows, make_row(other)]).header


def test_csv_has_a_line_a_stream(runs):
    header, *lines = as_csv([make_row(one) for one in runs]).splitlines()
    assert header.startswith("name,frames,sla_s,violation_ratio,")
    assert [line.split(",")[0] for line in lines] == [one.name for one in runs]


def test_accuracy_is_shown_where_it_is_known_alone(runs, sections):
    assert "Accuracy and latency" not in [section.title for section in sections]
    judged = replace(runs[1], truths=[0] * len(runs[1].outcomes))
    assert sections_of([judged, replace(judged, name="again")])[-1].title == "Accuracy and latency"


def test_what_was_lost_of_a_file_is_said(runs):
    assert "unfinished" not in intro(runs)
    assert "adaptive end in an unfinished line of 17 bytes" in intro([replace(runs[0], cut_bytes=17)])


def test_a_single_frame_makes_a_report(platforms):
    stream = run(platforms)
    assert len(sections_of([Run("one", stream.outcomes[:1])])) == 5


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_page(tmp_path / "none" / "page.html", "a", "", [])
