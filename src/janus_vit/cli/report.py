"""`janus-vit report`: write a page with figures and tables from the records of streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from janus_vit.cli.common.console import human_console, progress, say, warn
from janus_vit.cli.common.options import AsJson, check_different_paths, check_not_input

_READING_SHARE = 0.3  # of the progress bar


def report(
    records: Annotated[
        list[Path],
        typer.Argument(metavar="RECORDS...", help="Files that 'janus-vit device --records' wrote, one per stream."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Path of the new page.")] = Path("report.html"),
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Also write the summary as CSV, one line per stream."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write an HTML page about every frame of one or more streams. The page is one file and works offline.

    The page shows late frames with confidence intervals, latency distributions,
    each stream over time, the plans chosen at each bandwidth, predicted against
    measured times, and accuracy where it is known. Each stream is named after
    its file. Figures need matplotlib: pip install 'janus-vit\\[report]'

    \b
    Example:  janus-vit device --cloud HOST:50051 --records monday.jsonl
              janus-vit report monday.jsonl tuesday.jsonl --out week.html
    """
    from janus_vit.planning.jsonfile import write_text
    from janus_vit.report.canvas import check_figures
    from janus_vit.report.overview import as_csv, as_values, make_row
    from janus_vit.report.page import write_page
    from janus_vit.report.streams import cut_line_notice, intro, read_runs, report_sections

    check_figures()
    for path in (out, csv):
        if path is not None:
            check_not_input(path, *records)
    check_different_paths(out, csv)
    with progress("report") as show:
        runs = read_runs(records, lambda share, step: show(_READING_SHARE * share, step))
        for run in runs:
            if run.cut_bytes:
                warn(cut_line_notice(run))
        rows = [make_row(run) for run in runs]
        drawing_share = 1 - _READING_SHARE
        sections = report_sections(runs, rows, lambda share, step: show(_READING_SHARE + drawing_share * share, step))
    write_page(out, "Janus-ViT report", intro(runs), sections)
    if csv is not None:
        write_text(csv, as_csv(rows))
    if as_json:
        print(json.dumps([as_values(row) for row in rows], indent=1, allow_nan=False))
    written = str(out) if csv is None else f"{out} and {csv}"
    say(human_console(as_json), f"written to {written}")
