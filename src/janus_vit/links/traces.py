"""Recorded throughput of a link: what a trace is, how long a transfer over it takes, reading and writing.

Two file formats are read: plain CSV (`# key: value` headers, then `time_s,mbps` rows) and mahimahi's packet
traces (one millisecond timestamp a line). Knows nothing of sockets, wall clocks or how a trace was made.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from janus_vit.errors import InputError
from janus_vit.planning.latency import Floats

MAX_MBPS = 1e6  # nobody's link yet; a larger number is a rate in bit/s
MAX_INTERVAL_S = 24 * 3600
MAX_TIMESTAMP_MS = MAX_INTERVAL_S * 1000  # a larger one counts from 1970, not from the start of the trace
SPACING_TOLERANCE = 0.01  # share of the interval by which rounding in a file may shift a row
PACKET_BITS = 1500 * 8  # what one mahimahi opportunity delivers
PACKET_BIN_MS = 100
COLUMNS = "time_s,mbps"


@dataclass(frozen=True, eq=False)
class Trace:
    """Rate of a link over time: equally spaced steps, each holding until the next, looping at the end.

    name        what to call it in tables
    interval_s  length of a step, seconds
    mbps        [steps] float64, read-only, 10^6 bit/s; zeros are outages, but not every step may be one
    meta        where it comes from, as text

    Raises InputError when no link could behave like this (empty, negative, not finite, dead throughout).
    Traces compare by identity.
    """

    name: str
    interval_s: float
    mbps: Floats
    meta: Mapping[str, str] = field(default_factory=dict)
    _bits_before: tuple[float, ...] = field(init=False, repr=False)  # [steps + 1], within one loop

    def __post_init__(self) -> None:
        mbps = np.array(self.mbps, dtype=np.float64)
        if mbps.ndim != 1 or mbps.size == 0:
            raise InputError(f"trace {self.name!r}: mbps has shape {mbps.shape}; give one row of rates.")
        if not (np.isfinite(mbps).all() and (mbps >= 0).all() and (mbps <= MAX_MBPS).all()):
            raise InputError(f"trace {self.name!r}: every rate must lie between 0 and {MAX_MBPS:g} Mbps.")
        if not 0 < self.interval_s <= MAX_INTERVAL_S:
            raise InputError(
                f"trace {self.name!r}: interval_s is {self.interval_s}; give 0 to {MAX_INTERVAL_S} seconds."
            )
        bits = np.concatenate([[0.0], np.cumsum(mbps * 1e6 * self.interval_s)])
        if bits[-1] < 1:
            raise InputError(f"trace {self.name!r}: every rate is 0; give at least one above 0.")
        mbps.setflags(write=False)
        object.__setattr__(self, "mbps", mbps)
        object.__setattr__(self, "meta", dict(self.meta))
        object.__setattr__(self, "_bits_before", tuple(bits.tolist()))

    @property
    def duration_s(self) -> float:
        """Seconds until the trace starts again."""
        return len(self.mbps) * self.interval_s

    @property
    def mean_mbps(self) -> float:
        return self._bits_before[-1] / self.duration_s / 1e6

    def rate_at(self, time_s: float) -> float:
        """Mbps at this time."""
        return float(self.mbps[self._step_at(time_s % self.duration_s) % len(self.mbps)])

    def bits_between(self, start_s: float, end_s: float) -> float:
        """Bits that the link can carry from start_s to end_s: the exact integral of the rate."""
        start_loop, start = divmod(start_s, self.duration_s)
        end_loop, end = divmod(end_s, self.duration_s)
        whole_loops_bits = (end_loop - start_loop) * self._bits_before[-1]
        return whole_loops_bits + self._bits_until(end) - self._bits_until(start)

    def finish_time(self, start_s: float, size_bytes: float) -> float:
        """The earliest time at which size_bytes are through when they have the link from start_s on.

        Steps of rate 0 stall the transfer. Zero bytes are through at start_s. Constant time but for one
        bisection: simulators call this in their inner loop.
        """
        if size_bytes <= 0:
            return start_s
        loop, offset_s = divmod(start_s, self.duration_s)
        loop_bits = self._bits_before[-1]
        more_loops, bits = divmod(self._bits_until(offset_s) + 8 * size_bytes, loop_bits)
        if bits == 0:  # through at the last busy moment of a loop, not after its final outage
            more_loops, bits = more_loops - 1, loop_bits
        step = bisect_left(self._bits_before, bits) - 1
        # bits_before[step] < bits <= bits_before[step + 1], so the rate of this step is above 0
        before, after = self._bits_before[step], self._bits_before[step + 1]
        finish_s = (step + (bits - before) / (after - before)) * self.interval_s
        return max(start_s, (loop + more_loops) * self.duration_s + finish_s)

    def finish_times(self, starts_s: Floats, sizes_bytes: Floats) -> Floats:
        """`finish_time` for many transfers at once, each as if it had the link for itself."""
        before = np.array(self._bits_before)
        loops, offsets_s = np.divmod(starts_s, self.duration_s)
        sent = np.interp(offsets_s / self.interval_s, np.arange(len(before)), before)
        more_loops, bits = np.divmod(sent + 8 * sizes_bytes, before[-1])
        at_end = bits == 0  # as in finish_time
        more_loops, bits = more_loops - at_end, np.where(at_end, before[-1], bits)
        step = np.searchsorted(before, bits) - 1
        within = (bits - before[step]) / (before[step + 1] - before[step])
        finish_s = (loops + more_loops) * self.duration_s + (step + within) * self.interval_s
        return np.where(sizes_bytes > 0, np.maximum(starts_s, finish_s), starts_s)

    def _step_at(self, offset_s: float) -> int:
        # 0.3 / 0.1 is a hair below 3: without the nudge the start of a step would belong to the one before
        return int(offset_s / self.interval_s + 1e-9)

    def _bits_until(self, offset_s: float) -> float:
        step = min(self._step_at(offset_s), len(self.mbps) - 1)
        before, after = self._bits_before[step], self._bits_before[step + 1]
        return before + (after - before) * (offset_s / self.interval_s - step)


def read_trace(path: str | Path) -> Trace:
    """Read a CSV or mahimahi trace; the first line tells which.

    A CSV's `trace` and `interval_s` headers become name and interval, all others go to `meta`. A mahimahi
    trace loops at its last timestamp. Its bins are as many equal parts of that period as come closest to
    0.1 s, so that there is no partial bin, and period and mean rate are exact.
    Raises InputError, naming file, line, field and the fix, for anything that is not exactly such a file.
    """
    path = Path(path)
    lines = _lines(path)
    return _read_mahimahi(path, lines) if _is_digits(lines[0]) else _read_csv(path, lines)


def write_csv(trace: Trace, path: str | Path) -> None:
    """Write a trace so that read_trace gives the same one back. Raises InputError when it cannot."""
    headers = {"trace": trace.name, "interval_s": repr(float(trace.interval_s))}
    headers |= {key: value for key, value in trace.meta.items() if key not in headers}
    for key, value in headers.items():
        if not key.strip() or ":" in key or len(f"{key} {value}".splitlines()) > 1:
            raise InputError(f"{path}, header {key!r}: is empty, or has a colon or a line break; rename it.")
    rows = (f"{i * trace.interval_s:.12g},{rate!r}" for i, rate in enumerate(trace.mbps.tolist()))
    lines = [*(f"# {key}: {value}" for key, value in headers.items()), COLUMNS, *rows]
    try:
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another place.") from error


def _lines(path: Path) -> list[str]:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is not a file; give the path of one trace.")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a trace.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check path and permissions.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8 text; give a CSV or mahimahi trace, uncompressed."
        ) from error
    if not text.strip():
        raise InputError(f"{path}: is empty; give a file with at least one row.")
    return [line.strip() for line in text.splitlines()]


def _read_csv(path: Path, lines: Sequence[str]) -> Trace:
    columns = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    headers = _headers(path, lines[:columns])
    if columns == len(lines) or lines[columns] != COLUMNS:
        found = repr(lines[columns]) if columns < len(lines) else "the end of the file"
        raise InputError(
            f"{path}, line {columns + 1}: found {found} where the row '{COLUMNS}' belongs; add that row "
            "(or give a mahimahi trace, whose every line is a whole number of milliseconds)."
        )
    first = columns + 2  # line number of the first row of numbers
    rows = [_row(path, number, line) for number, line in enumerate(lines[columns + 1 :], start=first)]
    if not rows:
        raise InputError(f"{path}, line {first}: no rows after '{COLUMNS}'; add at least one.")
    rates = [mbps for _, mbps in rows]
    if not any(rates):
        raise InputError(f"{path}, line {first} to the end, mbps: every rate is 0; give one above 0.")
    interval_s = _interval(path, headers.pop("interval_s", None), [time for time, _ in rows], first)
    return Trace(headers.pop("trace", "") or path.stem, interval_s, np.array(rates), headers)


def _headers(path: Path, lines: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        key, colon, value = (part.strip() for part in line[1:].partition(":"))
        if not (key and colon):
            raise InputError(f"{path}, line {number}: {line!r} is no header; write it as '# key: value'.")
        if key in headers:
            raise InputError(f"{path}, line {number}, {key}: appears a second time; keep one of the two.")
        headers[key] = value
    return headers


def _row(path: Path, number: int, line: str) -> tuple[float, float]:
    fields = line.split(",")
    if len(fields) != 2:
        raise InputError(f"{path}, line {number}: has {len(fields)} column(s); write the two of '{COLUMNS}'.")
    time_s = _number(fields[0], f"{path}, line {number}, time_s")
    mbps = _number(fields[1], f"{path}, line {number}, mbps")
    if mbps < 0:
        raise InputError(f"{path}, line {number}, mbps: {mbps:g} is negative; write 0 or more.")
    if mbps > MAX_MBPS:
        raise InputError(f"{path}, line {number}, mbps: {mbps:g} is no link's rate; write it in 10^6 bit/s.")
    return time_s, mbps


def _number(text: str, where: str) -> float:
    try:
        value = math.nan if "_" in text else float(text)  # Python's float() would take 1_000
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {text.strip()!r} is not a finite number; write one such as 12.5.")
    return value


def _interval(path: Path, header: str | None, times_s: Sequence[float], first: int) -> float:
    """The step in seconds, after every row was found to stand one step after the row before it.

    `first` is the line number of times_s[0]. The header wins where there is one: the times are rounded.
    """
    stated_s = None if header is None else _number(header, f"{path}, header interval_s")
    if stated_s is not None and stated_s <= 0:
        raise InputError(f"{path}, header interval_s: is {stated_s:g}; write the step in seconds, above 0.")
    if stated_s is None and len(times_s) == 1:
        raise InputError(f"{path}, line {first}: a single row has no spacing; add '# interval_s: <seconds>'.")
    step_s = stated_s or times_s[1] - times_s[0]
    if abs(times_s[0]) > SPACING_TOLERANCE * abs(step_s):
        raise InputError(f"{path}, line {first}, time_s: starts at {times_s[0]:g}; count from 0.")
    for i in range(1, len(times_s)):
        where = f"{path}, line {first + i}, time_s"
        before_s, time_s = times_s[i - 1], times_s[i]
        if time_s <= before_s:
            raise InputError(f"{where}: {time_s:g} is not after {before_s:g}; sort the rows, each time once.")
        if abs(time_s - before_s - step_s) > SPACING_TOLERANCE * step_s:
            source = "header interval_s says" if i == 1 else "step of the rows before is"
            raise InputError(
                f"{where}: is {time_s - before_s:g} s after the row before, but the {source} {step_s:g} s; "
                "correct it or resample to equal steps."
            )
    return stated_s or times_s[-1] / (len(times_s) - 1)


def _read_mahimahi(path: Path, lines: Sequence[str]) -> Trace:
    times_ms = [_timestamp(f"{path}, line {number}", line) for number, line in enumerate(lines, start=1)]
    for i in range(1, len(times_ms)):
        if times_ms[i] < times_ms[i - 1]:
            raise InputError(
                f"{path}, line {i + 1}: {times_ms[i]} ms is before {times_ms[i - 1]} ms; sort the timestamps."
            )
    period_ms = times_ms[-1]
    if period_ms == 0:
        raise InputError(f"{path}, line {len(lines)}: the trace ends at 0 ms; its last line must be above 0.")
    bins = max(1, round(period_ms / PACKET_BIN_MS))
    # A bin holds the opportunities after its start, up to and with its end: the last one ends the loop.
    bin_of = np.maximum(0, (np.array(times_ms, dtype=np.int64) * bins - 1) // period_ms)
    interval_s = period_ms / bins / 1000
    mbps = np.bincount(bin_of, minlength=bins) * PACKET_BITS / interval_s / 1e6
    processing = f"{len(times_ms)} packet opportunities of 1500 B counted in {bins} bins"
    return Trace(path.stem, interval_s, mbps, {"format": "mahimahi", "processing": processing})


def _timestamp(where: str, text: str) -> int:
    if not _is_digits(text):
        raise InputError(f"{where}: {text!r} is not a whole number of milliseconds; write one a line.")
    if len(text) > 12 or int(text) > MAX_TIMESTAMP_MS:
        raise InputError(f"{where}: {text} ms is over a day; count from the start of the trace.")
    return int(text)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
