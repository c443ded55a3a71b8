"""Measure how closely an emulated link follows its trace: the rate of a saturating sender, second by second.

    python benchmarks/link_accuracy.py

Prints a table with the trace's rate beside the measured one, and one JSON line. Takes about 12 s. Other load on the
machine increases the errors: sender, link and receiver share its cores.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from _link_setup import saturating

from janus_vit.links.emulator import EmulatedLink, LinkSpec
from janus_vit.links.generator import generate, trace_from
from janus_vit.links.traces import Trace

WARM_UP_S = 0.5
WINDOW_S = 1.0
CONSTANT_WINDOWS = 2
STEPPING_WINDOWS = 4


@dataclass(frozen=True)
class Row:
    """One link.

    Attributes:
        link: name of the trace.
        asked_mbps: mean rate of the trace.
        measured_mbps: mean rate of the sender.
        worst_error_percent: largest error of a 1-second mean, in percent of the trace's.
    """

    link: str
    asked_mbps: float
    measured_mbps: float
    worst_error_percent: float


def main() -> None:
    """Print the table and the JSON line."""
    stepping = generate("lte", "driving", duration_s=60, seed=1, interval_s=0.1)
    runs = [(trace_from(f"constant:{mbps}", 1, 0), CONSTANT_WINDOWS) for mbps in (1, 10, 100)]
    runs.append((stepping, STEPPING_WINDOWS))
    print(f"{'link':<16} {'asked Mbps':>11} {'measured Mbps':>14} {'worst 1-s error %':>18}")
    rows = []
    for trace, windows in runs:
        row = measure(trace, windows)
        print(f"{row.link:<16} {row.asked_mbps:11.3f} {row.measured_mbps:14.3f} {row.worst_error_percent:18.2f}")
        rows.append(asdict(row))
    print(json.dumps({"benchmark": "link_accuracy", "window_s": WINDOW_S, "rows": rows}))


def measure(trace: Trace, windows: int) -> Row:
    """Saturate a link that follows the trace, and compare its rate with the trace's in each window."""
    edges_s = WARM_UP_S + WINDOW_S * np.arange(windows + 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as sink,
        EmulatedLink(LinkSpec(trace), *sink.getsockname()) as link,
        socket.create_connection((link.host, link.port)) as client,
        saturating(client),
    ):
        times_s, sizes_bytes = receive_until(sink, link, edges_s[-1])
    measured_mbps = np.histogram(times_s, edges_s, weights=sizes_bytes)[0] * 8 / WINDOW_S / 1e6
    asked_mbps = np.array([trace.bits_between(t, t + WINDOW_S) for t in edges_s[:-1]]) / WINDOW_S / 1e6
    worst_error = np.abs(measured_mbps / asked_mbps - 1).max()
    return Row(
        trace.name,
        round(float(asked_mbps.mean()), 4),
        round(float(measured_mbps.mean()), 4),
        round(float(100 * worst_error), 3),
    )


def receive_until(
    sink: socket.socket, link: EmulatedLink, end_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return times (seconds on the link's clock) and sizes (bytes) of everything that arrives until `end_s`."""
    arrivals = [(0.0, 0)]
    connection, _ = sink.accept()
    with connection:
        while arrivals[-1][0] < end_s:
            size_bytes = len(connection.recv(1 << 20))
            arrivals.append((link.elapsed_s, size_bytes))
    times_s, sizes_bytes = np.array(arrivals).T
    return times_s, sizes_bytes


if __name__ == "__main__":
    main()
