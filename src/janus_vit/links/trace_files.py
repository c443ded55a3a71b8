"""Read and write traces as files.

Reads two formats: plain CSV (`# key: value` headers, then rows of `time_s,mbps`) and mahimahi's packet traces (one
timestamp in milliseconds per line). Writes CSV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from janus_vit.errors import InputError
from janus_vit.input_files import read_file
from janus_vit.links.traces import MAX_INTERVAL_S, MAX_MBPS, Trace
from janus_vit.planning.jsonfile import printable

MAX_TIMESTAMP_MS = MAX_INTERVAL_S * 1000  # a larger one counts from 1970, not from the start of the trace
SPACING_TOLERANCE = 0.01  # share of the interval by which rounding in a file may shift a row
PACKET_BITS = 1500 * 8  # size of one packet opportunity of mahimahi
PACKET_BIN_MS = 100
COLUMNS = "time_s,mbps"
_LARGEST_BYTES = 1 << 27
_LONGEST_NAME = 200


def read_trace(path: str | Path) -> Trace:
    """Read a trace. A file whose first line is a whole number is a mahimahi trace, any other is CSV.

    The CSV headers `trace` and `interval_s` become the name and the interval, all others go to `meta`. A mahimahi trace
    repeats after its last timestamp. Its steps are equal parts of that period, each close to 0.1 s, so that the period
    and the mean rate are exact.

    Raises:
        InputError: the file cannot be read or has an error; the message names file, line, field and the fix.
    """
    path = Path(path)
    lines = _read_lines(path)
    return _read_mahimahi(path, lines) if _is_digits(lines[0]) else _read_csv(path, lines)


def write_csv(trace: Trace, path: str | Path) -> None:
    """Write a trace as CSV. `read_trace` gives an equal trace back.

    Raises:
        InputError: the file cannot be written, or a key or value of `meta` does not fit a header.
    """
    headers = {"trace": trace.name, "interval_s": repr(float(trace.interval_s))}
    headers |= {key: value for key, value in trace.meta.items() if key not in headers}
    for key, value in headers.items():
        if not key.strip() or ":" in key or len(f"{key} {value}".splitlines()) > 1:
            raise InputError(f"{path}, header {key!r}: is empty, or has a colon or a line break: rename it")
    rows = (f"{i * trace.interval_s:.12g},{rate!r}" for i, rate in enumerate(trace.mbps.tolist()))
    lines = [*(f"# {key}: {value}" for key, value in headers.items()), COLUMNS, *rows]
    try:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): choose another path") from error


def _read_lines(path: Path) -> list[str]:
    try:
        text = read_file(path, _LARGEST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8 text: use an uncompressed CSV or mahimahi trace"
        ) from error
    if not text.strip():
        raise InputError(f"{path}: is empty: use a file with at least one row")
    return [line.strip() for line in text.splitlines()]


def _read_csv(path: Path, lines: Sequence[str]) -> Trace:
    columns = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    headers = _read_headers(path, lines[:columns])
    if columns == len(lines) or lines[columns] != COLUMNS:
        found = repr(lines[columns]) if columns < len(lines) else "the end of the file"
        raise InputError(
            f"{path}, line {columns + 1}: found {found}, expected the row '{COLUMNS}': add that row "
            "(or use a mahimahi trace, in which every line is a whole number of milliseconds)"
        )
    first = columns + 2  # line number of the first row of numbers
    rows = [_read_row(path, number, line) for number, line in enumerate(lines[columns + 1 :], start=first)]
    if not rows:
        raise InputError(f"{path}, line {first}: no rows after '{COLUMNS}': add at least one")
    rates = [mbps for _, mbps in rows]
    if not any(rates):
        raise InputError(f"{path}, line {first} to the end, mbps: every rate is 0: use at least one above 0")
    interval_s = _check_interval(path, headers.pop("interval_s", None), [time for time, _ in rows], first)
    return Trace(_read_name(path, headers), interval_s, np.array(rates), headers)


def _read_name(path: Path, headers: dict[str, str]) -> str:
    name = headers.pop("trace", "") or printable(path.stem)
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise InputError(
            f"{path}, header trace: has more than {_LONGEST_NAME} characters, or some that cannot be shown: write a "
            "shorter name"
        )
    return name


def _read_headers(path: Path, lines: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        key, colon, value = (part.strip() for part in line[1:].partition(":"))
        if not (key and colon):
            raise InputError(f"{path}, line {number}: {line!r} is not a header: write it as '# key: value'")
        if key in headers:
            raise InputError(f"{path}, line {number}, {key}: appears a second time: keep one of the two")
        headers[key] = value
    return headers


def _read_row(path: Path, number: int, line: str) -> tuple[float, float]:
    fields = line.split(",")
    if len(fields) != 2:
        raise InputError(f"{path}, line {number}: has {len(fields)} column(s): write the two columns '{COLUMNS}'")
    time_s = _read_number(fields[0], f"{path}, line {number}, time_s")
    mbps = _read_number(fields[1], f"{path}, line {number}, mbps")
    if mbps < 0:
        raise InputError(f"{path}, line {number}, mbps: {mbps:g} is negative: use 0 or more")
    if mbps > MAX_MBPS:
        raise InputError(f"{path}, line {number}, mbps: {mbps:g} is too large for a link: write the rate in 10^6 bit/s")
    return time_s, mbps


def _read_number(text: str, where: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)  # Python's float() accepts 1_000
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {text.strip()!r} is not a finite number: write one such as 12.5")
    return value


def _check_interval(path: Path, header: str | None, times_s: Sequence[float], first: int) -> float:
    """Check that the rows have equal spacing, and return it in seconds.

    Args:
        path: the file, for error messages.
        header: text of the header `interval_s`, if there is one. It is more exact than the rounded times of the rows.
        times_s: time of each row.
        first: line number of the first row.
    """
    stated_s = None if header is None else _read_number(header, f"{path}, header interval_s")
    if stated_s is not None and stated_s <= 0:
        raise InputError(f"{path}, header interval_s: is {stated_s:g}: use a step in seconds above 0")
    if stated_s is None and len(times_s) == 1:
        raise InputError(f"{path}, line {first}: a single row has no spacing: add '# interval_s: <seconds>'")
    step_s = stated_s or times_s[1] - times_s[0]
    if abs(times_s[0]) > SPACING_TOLERANCE * abs(step_s):
        raise InputError(f"{path}, line {first}, time_s: starts at {times_s[0]:g}: count from 0")
    for index in range(1, len(times_s)):
        where = f"{path}, line {first + index}, time_s"
        before_s, time_s = times_s[index - 1], times_s[index]
        if time_s <= before_s:
            raise InputError(f"{where}: {time_s:g} is not after {before_s:g}: sort the rows and remove repeated times")
        if abs(time_s - before_s - step_s) > SPACING_TOLERANCE * step_s:
            source = "header interval_s says" if index == 1 else "previous rows are spaced by"
            raise InputError(
                f"{where}: is {time_s - before_s:g} s after the previous row, but the {source} {step_s:g} s: "
                "correct it, or resample to equal steps"
            )
    return stated_s or times_s[-1] / (len(times_s) - 1)


def _read_mahimahi(path: Path, lines: Sequence[str]) -> Trace:
    times_ms = [_read_timestamp(f"{path}, line {number}", line) for number, line in enumerate(lines, start=1)]
    for index in range(1, len(times_ms)):
        if times_ms[index] < times_ms[index - 1]:
            raise InputError(
                f"{path}, line {index + 1}: {times_ms[index]} ms is before {times_ms[index - 1]} ms: "
                "sort the timestamps"
            )
    period_ms = times_ms[-1]
    if period_ms == 0:
        raise InputError(f"{path}, line {len(lines)}: the trace ends at 0 ms: its last line must be above 0")
    bins = max(1, round(period_ms / PACKET_BIN_MS))
    # A bin excludes its start and includes its end, because the last timestamp ends the period.
    bin_of = np.maximum(0, (np.array(times_ms, dtype=np.int64) * bins - 1) // period_ms)
    interval_s = period_ms / bins / 1000
    mbps = np.bincount(bin_of, minlength=bins) * PACKET_BITS / interval_s / 1e6
    processing = f"{len(times_ms)} packet opportunities of 1500 B counted in {bins} bins"
    return Trace(printable(path.stem), interval_s, mbps, {"format": "mahimahi", "processing": processing})


def _read_timestamp(where: str, text: str) -> int:
    if not _is_digits(text):
        raise InputError(f"{where}: {text!r} is not a whole number of milliseconds: write one per line")
    if len(text) > 12 or int(text) > MAX_TIMESTAMP_MS:
        raise InputError(f"{where}: {text} ms is over a day: count from the start of the trace")
    return int(text)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
