"""Transfers over a trace take as long as its rates say, and files that are not traces are refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_vit.errors import InputError
from janus_vit.links.trace_files import read_trace, write_csv
from janus_vit.links.traces import Trace

unhurried = settings(deadline=None)  # other people's load on the machine is not our bug

# Quarters of a second, half Mbps and 64ths are exact in binary, so an exact oracle can be compared with.
half_mbps = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any)
quarter_s_traces = half_mbps.map(lambda halves: trace_of([half / 2 for half in halves], 0.25))
starts_s = st.integers(0, 64 * 20).map(lambda n: n / 64)
sizes_bytes = st.integers(1, 100_000)
any_traces = st.builds(
    lambda mbps, interval_s: trace_of(mbps, interval_s),
    st.lists(st.sampled_from([0.0, 0.07, 1.3, 19.9, 333.3]), min_size=1, max_size=9).filter(any),
    st.sampled_from([0.1, 1 / 3, 1.0]),
)


def trace_of(mbps: list[float], interval_s: float = 1.0) -> Trace:
    return Trace("test", interval_s, np.array(mbps))


def exact_finish(trace: Trace, start_s: float, size_bytes: int) -> Fraction:
    """Find when a transfer ends step by step, in exact fractions."""
    interval_s, time_s = Fraction(trace.interval_s), Fraction(start_s)
    bits = Fraction(8 * size_bytes)
    step = time_s // interval_s
    while True:
        bit_s = Fraction(float(trace.mbps[step % len(trace.mbps)])) * 10**6
        step_end_s = (step + 1) * interval_s
        if bit_s * (step_end_s - time_s) >= bits:
            return time_s + bits / bit_s
        bits -= bit_s * (step_end_s - time_s)
        time_s, step = step_end_s, step + 1


# ---------------------------------------------------------------- a trace


@unhurried
@given(quarter_s_traces, starts_s, sizes_bytes)
def test_a_transfer_ends_when_the_step_by_step_walk_says(trace: Trace, start_s: float, size: int) -> None:
    assert trace.finish_time(start_s, size) == pytest.approx(float(exact_finish(trace, start_s, size)), abs=1e-9)


@unhurried
@given(any_traces, st.floats(0, 50), sizes_bytes)
def test_the_link_carries_exactly_the_transfer_until_it_ends(trace: Trace, start_s: float, size: int) -> None:
    finish_s = trace.finish_time(start_s, size)
    assert finish_s > start_s
    assert trace.bits_between(start_s, finish_s) == pytest.approx(8 * size, rel=1e-6, abs=0.1)


@unhurried
@given(any_traces, st.floats(0, 50), sizes_bytes, sizes_bytes)
def test_two_transfers_after_each_other_take_as_long_as_one(
    trace: Trace, start_s: float, size: int, other: int
) -> None:
    halfway_s = trace.finish_time(start_s, size)
    assert trace.bits_between(start_s, trace.finish_time(halfway_s, other)) == pytest.approx(
        8 * (size + other), rel=1e-6, abs=0.1
    )


@unhurried
@given(any_traces, st.lists(st.floats(0, 50), min_size=3, max_size=3).map(sorted))
def test_bits_of_two_adjacent_spans_add_up(trace: Trace, times_s: list[float]) -> None:
    start, middle, end = times_s
    whole = trace.bits_between(start, end)
    assert trace.bits_between(start, middle) + trace.bits_between(middle, end) == pytest.approx(whole, abs=0.01)


def test_a_rate_holds_until_the_next_step_and_the_trace_repeats() -> None:
    trace = trace_of([1, 2, 3], 0.1)
    assert [trace.rate_at(t) for t in (0, 0.0999, 0.1, 0.2, 0.2999, 0.3, 0.5)] == [1, 1, 2, 3, 3, 1, 3]


def test_every_step_begins_with_its_own_rate_despite_decimal_rounding() -> None:
    trace = trace_of([float(i) for i in range(900)], 0.1)
    assert [trace.rate_at(i * 0.1) for i in range(900)] == list(range(900))
    assert [trace.rate_at(float(f"{i / 10:.1f}")) for i in range(900)] == list(range(900))


def test_a_transfer_waits_through_an_outage_and_goes_on() -> None:
    trace = trace_of([8, 0, 0, 8])
    assert trace.finish_time(0.5, 1_000_000) == pytest.approx(3.5)
    assert trace.finish_time(1.5, 1) == pytest.approx(3.000001)


def test_a_transfer_that_fills_the_link_up_to_an_outage_ends_before_it() -> None:
    assert trace_of([8, 0]).finish_time(0, 1_000_000) == 1
    assert trace_of([8, 0]).finish_time(0, 3_000_000) == 5


def test_a_transfer_longer_than_the_trace_loops() -> None:
    assert trace_of([8, 16]).finish_time(1, 3_000_000) == pytest.approx(3)


def test_nothing_to_send_takes_no_time_even_in_an_outage() -> None:
    assert trace_of([0, 8]).finish_time(0.25, 0) == 0.25


def test_duration_and_mean_count_every_step() -> None:
    trace = trace_of([1, 0, 5, 2], 0.5)
    assert (trace.duration_s, trace.mean_mbps) == (2.0, 2.0)


def test_rates_cannot_be_changed_from_either_side() -> None:
    rates = np.array([1.0, 2.0])
    trace = Trace("test", 1.0, rates)
    rates[0] = 9
    assert trace.mbps[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        trace.mbps[0] = 9


@pytest.mark.parametrize(
    ("mbps", "interval_s", "message"),
    [
        ([], 1, "shape"),
        ([[1.0]], 1, "shape"),
        ([0, 0], 1, "every rate is 0"),
        ([1, -1], 1, "between 0 and"),
        ([1, float("nan")], 1, "between 0 and"),
        ([1, float("inf")], 1, "between 0 and"),
        ([2e7], 1, "between 0 and"),
        ([1], 0, "interval_s"),
        ([1], -1, "interval_s"),
        ([1], float("nan"), "interval_s"),
    ],
)
def test_a_link_that_cannot_exist_is_refused(mbps: list[float], interval_s: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trace_of(mbps, interval_s)


# ---------------------------------------------------------------- CSV


def refusal(tmp_path: Path, content: str | bytes) -> str:
    """Return the message with which a file of this content is refused: one line with file, problem and fix."""
    path = tmp_path / "link.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as refused:
        read_trace(path)
    message = str(refused.value)
    assert message.startswith(str(path))
    assert message.count(": ") >= 2  # file: problem: fix
    assert not message.endswith(".")
    assert "\n" not in message
    return message


def test_a_csv_is_read_with_its_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("# trace: lte\n# interval_s: 0.1\n# source: http://x/y\ntime_s,mbps\n0.0,1.5\n0.1,0\n0.2,3e1\n")
    trace = read_trace(path)
    assert (trace.name, trace.interval_s, dict(trace.meta)) == ("lte", 0.1, {"source": "http://x/y"})
    assert trace.mbps.tolist() == [1.5, 0, 30]


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\u202eb", "x" * 201])
def test_a_name_that_a_terminal_cannot_show_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "link.csv").write_text(f"# trace: {name}\ntime_s,mbps\n0,5\n1,5\n", "utf-8")
    with pytest.raises(InputError, match=r"link.csv, header trace: has more than 200 characters, or some that cannot"):
        read_trace(tmp_path / "link.csv")


@pytest.mark.parametrize("content", ["time_s,mbps\n0,5\n1,5\n", "100\n200\n"])
def test_the_name_of_a_file_that_a_terminal_cannot_show_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "a\x1b[31m.csv").write_text(content)
    assert read_trace(tmp_path / "a\x1b[31m.csv").name == "a\ufffd[31m"


def test_a_csv_without_headers_is_named_after_its_file_and_spaced_as_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(b"\xef\xbb\xbftime_s,mbps\r\n0,1\r\n0.333,2\r\n0.667,3\r\n1,4\r\n")
    trace = read_trace(path)
    assert trace.name == "mine"
    assert trace.interval_s == pytest.approx(1 / 3)


@unhurried
@given(
    st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=20).filter(lambda r: sum(r) > 1),
    st.sampled_from([0.1, 1 / 3, 1.0, 2.5]),
    st.dictionaries(st.sampled_from(["source", "licence", "direction"]), st.sampled_from(["", "a: b", "ü,#"])),
)
def test_what_is_written_is_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, rates: list[float], interval_s: float, meta: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("traces") / "round.csv"
    trace = Trace("round trip", interval_s, np.array(rates), meta)
    write_csv(trace, path)
    again = read_trace(path)
    assert (again.name, again.interval_s, again.meta) == (trace.name, trace.interval_s, trace.meta)
    assert again.mbps.tolist() == trace.mbps.tolist()


def test_a_header_that_would_break_the_file_is_not_written(tmp_path: Path) -> None:
    for meta in ({"note": "two\nlines"}, {"a:b": "c"}, {"": "c"}):
        with pytest.raises(InputError, match="header"):
            write_csv(Trace("t", 1.0, np.array([1.0]), meta), tmp_path / "t.csv")
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(trace_of([1]), tmp_path / "no such folder" / "t.csv")


HEAD = "# interval_s: 1\ntime_s,mbps\n"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["is empty"]),
        ("\n \n", ["is empty"]),
        (b"\x1f\x8b\x08\x00\xff\xfe", ["not UTF-8"]),
        ("0,1\n1,2\n", ["line 1", "'0,1'", "'time_s,mbps'"]),
        ("# a: b\n", ["line 2", "end of the file", "'time_s,mbps'"]),
        ("time,rate\n0,1\n", ["line 1", "'time_s,mbps'"]),
        ("# interval_s 1\ntime_s,mbps\n0,1\n", ["line 1", "# key: value"]),
        ("# a: 1\n# a: 2\ntime_s,mbps\n0,1\n", ["line 2, a", "second"]),
        (HEAD, ["line 3", "no rows"]),
        (HEAD + "0,1\n1\n", ["line 4", "1 column"]),
        (HEAD + "0,1\n1,2,3\n", ["line 4", "3 column"]),
        (HEAD + "0,1\n\n1,2\n", ["line 4", "1 column"]),
        (HEAD + "0,1\n1,fast\n", ["line 4, mbps", "'fast'"]),
        (HEAD + "0,1\nsoon,1\n", ["line 4, time_s", "'soon'"]),
        (HEAD + "0,1\n1,1_000\n", ["line 4, mbps", "'1_000'"]),
        (HEAD + "0,1\n1,nan\n", ["line 4, mbps", "finite"]),
        (HEAD + "0,1\n1,inf\n", ["line 4, mbps", "finite"]),
        (HEAD + "0,1\n1,-0.5\n", ["line 4, mbps", "negative"]),
        (HEAD + "0,20000000\n", ["line 3, mbps", "10^6 bit/s"]),
        (HEAD + "0,0\n1,0\n", ["mbps", "every rate is 0"]),
        (HEAD + "0,1\n1,1\n1,1\n", ["line 5, time_s", "sort"]),
        (HEAD + "0,1\n1,1\n0.5,1\n", ["line 5, time_s", "sort"]),
        (HEAD + "0,1\n1,1\n3,1\n", ["line 5, time_s", "2 s after", "equal steps"]),
        (HEAD + "1700000000,1\n1700000001,1\n", ["line 3, time_s", "from 0"]),
        (HEAD + "0,1\n0.5,1\n1,1\n", ["line 4, time_s", "0.5 s after", "interval_s says 1 s"]),
        ("# interval_s: 0\ntime_s,mbps\n0,1\n", ["interval_s", "above 0"]),
        ("# interval_s: one\ntime_s,mbps\n0,1\n", ["interval_s", "'one'"]),
        ("time_s,mbps\n0,1\n", ["line 2", "interval_s"]),
    ],
)
def test_a_damaged_csv_is_refused_with_line_and_field(tmp_path: Path, content: str | bytes, parts: list[str]) -> None:
    message = refusal(tmp_path, content)
    assert [part for part in parts if part not in message] == [], message


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_trace(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="it is a folder, not a file"):
        read_trace(tmp_path)


# ---------------------------------------------------------------- mahimahi


def mahimahi(tmp_path: Path, times_ms: list[int]) -> Trace:
    path = tmp_path / "cell.up"
    path.write_text("".join(f"{time_ms}\n" for time_ms in times_ms))
    return read_trace(path)


def test_packets_are_counted_in_tenths_of_a_second_up_to_the_end_of_each(tmp_path: Path) -> None:
    trace = mahimahi(tmp_path, [0, 50, 100, 101, 300])
    assert (trace.name, trace.interval_s) == ("cell", 0.1)
    assert trace.mbps == pytest.approx(np.array([3, 1, 1]) * 0.12)


@unhurried
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=200).map(sorted).filter(lambda times: times[-1] > 0))
def test_period_and_mean_rate_of_a_packet_trace_are_exact(
    tmp_path_factory: pytest.TempPathFactory, times_ms: list[int]
) -> None:
    trace = mahimahi(tmp_path_factory.mktemp("packets"), times_ms)
    assert trace.duration_s == pytest.approx(times_ms[-1] / 1000)
    assert trace.mean_mbps == pytest.approx(len(times_ms) * 1500 * 8 / times_ms[-1] / 1000)


def test_the_shortest_packet_trace_is_a_constant_link(tmp_path: Path) -> None:
    trace = mahimahi(tmp_path, [1])
    assert trace.mean_mbps == pytest.approx(12)
    assert trace.finish_time(0, 1_500_000) == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("1\n5\n4\n", ["line 3", "4 ms is before 5 ms"]),
        ("1\n2.5\n", ["line 2", "'2.5'", "whole number"]),
        ("1\n\n3\n", ["line 2", "whole number"]),
        ("1\n-3\n", ["line 2", "whole number"]),
        ("0\n0\n", ["line 2", "above 0"]),
        ("1\n1700000000000\n", ["line 2", "over a day"]),
        ("9" * 5000 + "\n", ["line 1", "over a day"]),
    ],
)
def test_a_damaged_packet_trace_is_refused_with_its_line(tmp_path: Path, content: str, parts: list[str]) -> None:
    message = refusal(tmp_path, content)
    assert [part for part in parts if part not in message] == [], message
